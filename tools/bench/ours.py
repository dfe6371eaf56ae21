"""This package, and Keras as its users write it: `python -m tools.bench.ours NAME --batch N --images FILE`."""

import argparse
import os
import tempfile
from pathlib import Path

from tfaae.quiet import import_tensorflow

import_tensorflow()

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from tfaae import callbacks, config, data, train  # noqa: E402
from tfaae.data import Data, Split  # noqa: E402
from tfaae.models import AAE  # noqa: E402
from tools.bench import setting  # noqa: E402
from tools.bench.turns import Turns  # noqa: E402

ENDLESS = 10**6  # epochs


class Turn(keras.callbacks.Callback):
    """Ends a turn's last step."""

    def __init__(self, turns: Turns):
        super().__init__()
        self.turns = turns

    def on_train_batch_end(self, batch, logs=None):
        self.turns.step()


def images_of(split: Split) -> Data:
    return Data(split, split.take(slice(0)), split.take(slice(0)), ())


def build(split: Split, batch: int, **options) -> AAE:
    """The model as `tfaae train` builds it from a config."""
    phases = ("reconstruction", "discriminator", "generator")
    settings = {
        "data": {"name": "mnist", "batch": batch},
        "model": {"name": "AAE", "latent_dim": setting.CODE, "units": list(setting.UNITS)}
        | {"discriminator_units": list(setting.UNITS)}
        | options,
        "optim": dict.fromkeys(phases, {"name": "adam", "learning_rate": setting.RATE}),
    }
    return train.build(config.parse(settings), images_of(split))


def fit(turns: Turns, images: np.ndarray, batch: int, more=(), **options) -> None:
    """`fit`, on the batches of `tfaae train`."""
    split = Split(images, np.full(len(images), -1, np.int32))
    model = build(split, batch, **options)
    training = data.batches(split, batch, seed=0, epochs=ENDLESS)
    steps = len(images) // batch
    model.fit(training, epochs=ENDLESS, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[*more, Turn(turns)])


CONTENDERS = {
    "tfaae-fp32": fit,
    "tfaae-bf16": lambda turns, images, batch: fit(turns, images, batch, precision="bfloat16"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--images", required=True)
    told = parser.parse_args()
    CONTENDERS[told.name](Turns(), np.load(told.images), told.batch)


if __name__ == "__main__":
    main()
