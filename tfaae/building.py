"""From a config to a compiled model that fits its data."""

from typing import Any

import numpy as np

from tfaae import keras_files, memory, naming, optimizers
from tfaae.config import Config
from tfaae.data import Data
from tfaae.errors import InputError, choose
from tfaae.models import LatentModel, final_models

MOMENTS = 2  # numbers that an optimizer keeps for each weight; Adam's


def build(config: Config, data: Data) -> Any:
    """The compiled model of a config. What the data decides, `image_shape` and `classes`, comes from the data.

    Raises:
        InputError: unknown model, argument, phase or optimizer, a value of the wrong type, parts that do not go
        together.
    """
    given: dict[str, Any] = dict(config.model)
    name = given.pop("name", None)
    if name is None:
        raise InputError("model: missing name")
    cls: Any = final_models()[choose("model", name, final_models())]
    decided: dict[str, Any] = {"seed": config.seed}
    if issubclass(cls, LatentModel):
        decided["image_shape"] = data.image_shape
    if "classes" in naming.parameters(cls):
        decided["classes"] = len(data.classes)
    for key in decided.keys() & given.keys():
        raise InputError(f"model.{key}: leave it out; it comes from the data, the seed from `seed`")
    steps = len(data.train) // config.data.batch
    given = _in_steps(given, steps) | decided
    naming.check_arguments(f"model {name}", cls, given)
    _check_size(cls, given)
    model = cls(**given)
    if isinstance(model, LatentModel):
        _check_labels(model, data)
    moves = model.optimizer_names()  # one that moves twice a step ends its schedule in the same epoch
    for name in config.optim:
        choose(f"phase in optim of {cls.__name__},", name, moves)
    built = {
        name: optimizers.build(
            f"optim.{name}", spec, steps_per_epoch=steps * moves.count(name), epochs=config.train.epochs
        )
        for name, spec in config.optim.items()
    }
    model.compile(built, jit_compile=config.train.xla, steps_per_execution=config.train.steps_per_execution)
    return model


def _check_size(cls: Any, given: dict[str, Any]) -> None:
    """Before any weight is made: a zero too many in `units` would take all memory."""
    numbers = keras_files.count_numbers(cls, given)
    needed = 4 * numbers * (1 + MOMENTS)
    memory.check(f"{cls.__name__} of {numbers} weights, with their optimizers,", needed, "use fewer or smaller layers")


def _check_labels(model: LatentModel, data: Data) -> None:
    what = type(model).__name__
    if model.classes and len(data.classes) > model.classes:
        raise InputError(f"{what} was made for {model.classes} labels, the data has {len(data.classes)}")
    if model.classes and not data.labelled:
        raise InputError(f"{what} learns from labels, but no training image has one")
    splits = (data.train, data.validation, data.test)
    unknown = sum(int(np.sum(split.labels < 0)) for split in splits)
    if model.conditional and unknown:
        raise InputError(
            f"{what} needs the label of every image, {unknown} of {sum(map(len, splits))} have none; "
            "leave data.labelled out, or use SemiSupervisedAAE"
        )


def _in_steps(arguments: dict[str, Any], steps_per_epoch: int) -> dict[str, Any]:
    """A config tells durations in epochs, a model counts steps: `..._epochs` becomes `..._steps`."""
    return {
        f"{key.removesuffix('_epochs')}_steps" if key.endswith("_epochs") else key: (
            value * steps_per_epoch if key.endswith("_epochs") and isinstance(value, int) else value
        )
        for key, value in arguments.items()
    }
