"""Optimizers from plain data: `{"name": "adam", "learning_rate": 0.001}`; schedules are told in epochs."""

import math
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


def build(what: str, spec: dict[str, Any], *, steps_per_epoch: int, epochs: int) -> keras.optimizers.Optimizer:
    """A Keras optimizer. `what` names it in errors.

    Durations of a schedule are given in epochs, `{"name": "CosineDecay", "initial_learning_rate": 0.001,
    "decay_epochs": 30}`: Keras's own argument names with `_epochs` for `_steps`, and `boundary_epochs` for
    `boundaries`. Without `decay_epochs`, a decay takes the whole run, `epochs`.
    """
    spec = dict(spec)
    rate = spec.get("learning_rate", 0.001)
    if isinstance(rate, dict):
        spec["learning_rate"] = _schedule(f"{what}.learning_rate", rate, steps_per_epoch, epochs)
    elif isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise InputError(f"{what}.learning_rate: expected a number above 0 or a schedule, got {rate!r}")
    found = _classes(keras.optimizers, keras.optimizers.Optimizer)
    return _make(what, spec, {name.lower(): cls for name, cls in found.items()})


def _schedule(what: str, spec: dict[str, Any], steps_per_epoch: int, epochs: int) -> Any:
    found = _classes(keras.optimizers.schedules, keras.optimizers.schedules.LearningRateSchedule)
    if "decay_steps" in naming.parameters(found.get(spec.get("name", ""), object)):
        spec = {"decay_epochs": epochs} | spec
    steps = {
        EPOCHS.get(key, key): _in_steps(value, steps_per_epoch) if key in EPOCHS else value
        for key, value in spec.items()
    }
    try:
        return _make(what, steps, found)
    except InputError as error:
        message = str(error)
        for told, name in EPOCHS.items():  # the names that a config uses
            message = message.replace(name, told)
        raise InputError(message) from error


def _in_steps(epochs: Any, steps_per_epoch: int) -> Any:
    if isinstance(epochs, list):
        return [_in_steps(epoch, steps_per_epoch) for epoch in epochs]
    return epochs * steps_per_epoch if isinstance(epochs, int | float) else epochs


def _make(what: str, spec: dict[str, Any], classes: dict[str, Any]) -> Any:
    """`naming.make` for Keras's classes, which annotate nothing: their arguments are numbers, or lists, never texts."""
    for key, value in spec.items():
        if key != "name" and isinstance(value, str | dict):
            raise InputError(f"{what}.{key}: expected a number, got {value!r}")
    try:
        return naming.make(what, spec, classes)
    except InputError:
        raise
    except (TypeError, ValueError) as error:  # what Keras checks by itself
        raise InputError(f"{what}: {error}") from error


def _classes(module: Any, base: type) -> dict[str, Any]:
    members = vars(module).items()
    return {name: cls for name, cls in members if isinstance(cls, type) and issubclass(cls, base) and cls is not base}
