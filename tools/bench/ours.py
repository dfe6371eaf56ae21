"""This package, and Keras as its users write it: `python -m tools.bench.ours NAME --batch N --images FILE`."""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from tfaae.quiet import import_tensorflow

import_tensorflow()

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from tfaae import building, callbacks, config, data  # noqa: E402
from tfaae.data import Data, Split  # noqa: E402
from tfaae.models import AAE, StyleALAE  # noqa: E402
from tfaae.optimizers import EqualisedAdam  # noqa: E402
from tools.bench import keras_plain, products, setting  # noqa: E402
from tools.bench.turns import Turns  # noqa: E402

ENDLESS = 10**6  # epochs


class Turn(keras.callbacks.Callback):
    """Ends a turn's last step."""

    def __init__(self, turns: Turns):
        super().__init__()
        self.turns = turns

    def on_train_batch_end(self, batch, logs=None):
        self.turns.step()


class Unwritten(callbacks.Checkpoint):
    """Looks at every step as ever; a file is what an epoch takes, not a step."""

    def save(self):
        pass


def unlabelled(images: np.ndarray) -> Split:
    return Split(images, np.full(len(images), -1, np.int32))


def build(split: Split, batch: int, xla: bool | str = "auto", **options) -> AAE:
    """The model as `tfaae train` builds it from a config."""
    phases = ("reconstruction", "discriminator", "generator")
    networks = {"units": list(setting.UNITS), "discriminator_units": list(setting.UNITS)}
    settings = {
        "data": {"name": "mnist", "batch": batch},
        "model": {"name": "AAE", "latent_dim": setting.CODE} | networks | options,
        "optim": {phase: {"name": "adam", "learning_rate": setting.RATE} for phase in phases},
        "train": {"xla": xla},
    }
    held_out = split.take(slice(0))
    return building.build(config.parse(settings), Data(split, held_out, held_out, ()))


def fit(turns: Turns, images: np.ndarray, batch: int, observed: bool = False, **options) -> None:
    """`fit` on the batches of `tfaae train`; `observed`: with those of its callbacks that act in every step."""
    split = unlabelled(images)
    model = build(split, batch, **options)
    training = data.batches(split, batch, seed=0, epochs=ENDLESS)
    steps = len(images) // batch
    told: dict = {"epochs": ENDLESS, "steps_per_epoch": steps, "shuffle": False, "verbose": 2 if observed else 0}
    with tempfile.TemporaryDirectory() as folder:
        watching = [
            callbacks.StopOnNonFinite(),
            keras.callbacks.ProgbarLogger(),
            keras.callbacks.TensorBoard(folder),
            Unwritten(Path(folder) / "checkpoint.keras"),
        ]
        model.fit(training, **told, callbacks=[*(watching if observed else []), Turn(turns)])


def bare(turns: Turns, images: np.ndarray, batch: int, **options) -> None:
    """The compiled training step alone, on one batch: what no frame could be faster than."""
    model = build(unlabelled(images), batch, **options)
    step, given = tf.function(model.train_step, jit_compile=model.jit_compile), tf.constant(images[:batch])
    forever(turns, lambda: step((given,)))


def pipeline(turns: Turns, images: np.ndarray, batch: int) -> None:
    """The batches of `tfaae train`, and nobody who uses them."""
    for _ in data.batches(unlabelled(images), batch, seed=0, epochs=ENDLESS):
        turns.step()


def verb(turns: Turns, images: np.ndarray, batch: int, name: str) -> None:
    """A verb as Python calls it."""
    model, given = build(unlabelled(images), len(images)), tf.constant(images[:batch])
    given = model.encode(given) if name == "decode" else given
    forever(turns, lambda: getattr(model, name)(given).numpy())


def style(turns: Turns, images: np.ndarray, batch: int) -> None:
    """A StyleALAE at its last resolution, on random images."""
    told = {name: value for name, value in setting.STYLE.items() if name not in ("size", "batch")}
    size = setting.STYLE["size"]
    alternate(turns, StyleALAE((size, size, 3), seed=0, **told), size, batch)


def grown(turns: Turns, images: np.ndarray, batch: int, size: int) -> None:
    """A StyleALAE of full width while `size` pixels are trained, on random images."""
    told = config.load(config.find(setting.GROWN)).model
    largest = setting.GROWN_SIZES[-1]
    model = StyleALAE((largest, largest, 3), seed=0, **{name: told[name] for name in told if name != "name"})
    model.start(setting.GROWN_SIZES.index(size))
    alternate(turns, model, size, batch)


def alternate(turns: Turns, model: StyleALAE, size: int, batch: int) -> None:
    rates = {name: EqualisedAdam(0.0015) for name in dict.fromkeys(model.optimizer_names())}
    model.compile(rates, jit_compile=False)  # as train.xla: auto has it
    step, pixels = tf.function(model.train_step), tf.random.uniform([batch, size, size, 3])
    forever(turns, lambda: step((pixels,)))


def forever(turns: Turns, step: Callable[[], object]) -> None:
    while True:
        step()
        turns.step()


def products_in(precision: tf.DType, xla: bool = False) -> Callable:
    return lambda turns, images, batch: products.play(turns, batch, precision, xla)


def with_options(play: Callable, **options) -> Callable:
    return lambda turns, images, batch: play(turns, images, batch, **options)


CONTENDERS: dict[str, Callable[[Turns, np.ndarray, int], None]] = {
    "tfaae-fp32": fit,
    "tfaae-fp32-xla": with_options(fit, xla=True),
    "tfaae-bf16": with_options(fit, precision="bfloat16"),
    "tfaae-observed": with_options(fit, observed=True),
    "tfaae-bare": bare,
    "keras-plain": keras_plain.fit,
    "products-fp32": products_in(tf.float32),
    "products-fp32-xla": products_in(tf.float32, xla=True),
    "products-bf16": products_in(tf.bfloat16),
    "pipeline": pipeline,
    "encode": with_options(verb, name="encode"),
    "decode": with_options(verb, name="decode"),
    "tfaae-style": style,
} | {f"tfaae-grown-{size}": with_options(grown, size=size) for size in setting.GROWN_SIZES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--images", type=Path, required=True)
    told = parser.parse_args()
    CONTENDERS[told.name](Turns(), np.load(told.images), told.batch)


if __name__ == "__main__":
    main()
