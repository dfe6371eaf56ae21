"""Optimizers from plain data: `{"name": "adam", "learning_rate": 0.001}`; schedules are told in epochs."""

from typing import Any

import keras

from tfaae import naming
from tfaae.errors import InputError

EPOCHS = {
    "decay_epochs": "decay_steps",
    "first_decay_epochs": "first_decay_steps",
    "warmup_epochs": "warmup_steps",
    "boundary_epochs": "boundaries",
}


def build(what: str, spec: dict[str, Any], steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """A Keras optimizer. `what` names it in errors.

    Durations of a schedule are given in epochs, `{"name": "CosineDecay", "initial_learning_rate": 0.001,
    "decay_epochs": 30}`: Keras's own argument names with `_epochs` for `_steps`, and `boundary_epochs` for
    `boundaries`.
    """
    spec = dict(spec)
    rate = spec.get("learning_rate")
    if isinstance(rate, dict):
        schedules = _classes(keras.optimizers.schedules, keras.optimizers.schedules.LearningRateSchedule)
        spec["learning_rate"] = naming.make(f"{what}.learning_rate", _in_steps(rate, steps_per_epoch), schedules)
    elif rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float) or rate <= 0):
        raise InputError(f"{what}.learning_rate: expected a number above 0 or a schedule, got {rate!r}")
    found = _classes(keras.optimizers, keras.optimizers.Optimizer)
    return naming.make(what, spec, {name.lower(): cls for name, cls in found.items()})


def _in_steps(schedule: dict[str, Any], steps_per_epoch: int) -> dict[str, Any]:
    steps = {}
    for key, value in schedule.items():
        if key in EPOCHS:
            steps[EPOCHS[key]] = (
                [v * steps_per_epoch for v in value] if isinstance(value, list) else value * steps_per_epoch
            )
        else:
            steps[key] = value
    return steps


def _classes(module: Any, base: type) -> dict[str, Any]:
    members = vars(module).items()
    return {name: cls for name, cls in members if isinstance(cls, type) and issubclass(cls, base) and cls is not base}
