"""How a model's steps are run: what XLA on `auto` comes to, and why. Measured by `tools/bench`."""

import math
from typing import Any, Literal

import tensorflow as tf

from tfaae.errors import InputError

Told = Literal[True, False, "auto"]


def xla(told: Told, model: Any) -> tuple[bool, str]:
    """Whether XLA is to compile the model's steps, and the reason in a few words.

    Args:
        told: `"auto"`, or the answer.
        model: a `PhasedModel`.
    """
    if model.distribute_strategy.num_replicas_in_sync > 1:
        return False, "several replicas"
    if told != "auto":
        return told, "as told by train.xla"
    if tf.config.list_physical_devices("GPU"):
        return True, "a GPU"
    return False, "a CPU, whose own kernels take as little time or less"


def check_steps(model: Any, *steps_per_epoch: int) -> None:
    """Raises an InputError unless epochs of so many steps are whole executions: Keras takes the rest from the next."""
    told, each = model.steps_per_execution, math.gcd(*steps_per_epoch)
    if each % told:
        counts = " and ".join(map(str, dict.fromkeys(steps_per_epoch)))
        fits = max(divisor for divisor in range(1, told) if each % divisor == 0)
        raise InputError(
            f"train.steps_per_execution: expected a divisor of {counts}, the steps of an epoch, got {told}; use {fits}"
        )


def describe(model: Any) -> str:
    """One line about the choices of a model that is compiled."""
    on, why = xla(model.asked_for_xla, model)
    optimizers = ", ".join(dict.fromkeys(type(optimizer).__name__ for optimizer in model.optimizers.values()))
    passes = "encoder's pass shared" if any(phase.given for phase in model.phases()) else "no pass shared"
    steps = f"{model.steps_per_execution} step{'s' * (model.steps_per_execution > 1)} per execution"
    precision = f"precision {getattr(model, 'precision', 'float32')}"
    return f"XLA {'on' if on else 'off'} ({why}), {precision}, {optimizers}, {passes}, {steps}"
