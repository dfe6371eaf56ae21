"""Callbacks: checkpoint, stop on a loss that is not finite, curves, pictures and the Embedding Projector."""

import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from tensorboard.plugins import projector

from tfaae import bounds, durable, figures, frechet, metrics, moves, reference
from tfaae.checkpoints import Checkpoint
from tfaae.errors import InputError

__all__ = [
    "Checkpoint",
    "Curves",
    "Divergence",
    "Equilibrium",
    "ImportanceBound",
    "LearningRates",
    "Marginals",
    "OnDisk",
    "Pictures",
    "SampleDistance",
    "StopOnNonFinite",
    "TimeLeft",
]

PROJECTED = 2500  # points: a sheet of 50 x 50 thumbnails
SHEET = 8192  # pixels: the widest sprite that browsers draw


class StopOnNonFinite(keras.callbacks.Callback):
    """Stops at the first step whose running means are not finite.

    (Keras's TerminateOnNaN looks at a `loss`, which is not there.)
    """

    def on_train_batch_end(self, batch, logs=None):
        wrong = [term for term in self.model.reports if not np.isfinite(logs[term])]
        if not wrong:
            return
        model, steps = self.model, int(tf.convert_to_tensor(self.model.steps))
        phases = " and ".join(dict.fromkeys(model.phase_of.get(term, term) for term in wrong))
        usual = f"Try a smaller learning rate for {phases} or a phase before it"
        # all of them: after several steps in an execution nobody knows which was the first
        advice = " ".join(dict.fromkeys(model.advice[term] for term in wrong if term in model.advice)) or usual
        told = ", ".join(f"{term} is {float(logs[term])}" for term in wrong)
        raise InputError(
            f"{told} at step {steps}, in phase {phases}: stopped; the last good checkpoint, if any, stays. {advice}"
        )


class LearningRates(keras.callbacks.Callback):
    """Adds each phase's learning rate to the logs, before the callbacks that write them.

    (Keras logs that of `model.optimizer`.)
    """

    def on_epoch_end(self, epoch, logs=None):
        for phase, optimizer in self.model.optimizers.items():
            logs[f"learning_rate/{phase}"] = float(tf.convert_to_tensor(optimizer.learning_rate))


class Divergence(keras.callbacks.Callback):
    """Adds KL(q, p) in nats to the logs of a model of a named target, from samples: `kl_knn`, of `reference.knn_kl`."""

    def on_epoch_end(self, epoch, logs=None):
        logs["kl_knn"] = reference.divergence(self.model.sample(10_000, seed=0).numpy(), self.model.density)


class ImportanceBound(keras.callbacks.Callback):
    """Adds to the logs a lower bound on log p(x) in nats, beside what an adversary tells: `importance_bound`.

    Args:
        images: `[n, h, w, c]` in [0, 1]; the first 100, with 100 draws each.
    """

    def __init__(self, images: np.ndarray):
        super().__init__()
        self.images = images[:100]

    def on_epoch_end(self, epoch, logs=None):
        with self.model.seeds.kept():
            bound = bounds.importance_bound(self.model, self.images, 100, jit_compile=False)
        logs["importance_bound"] = float(np.mean(bound))


class SampleDistance(keras.callbacks.Callback):
    """Adds to the logs how far samples are from images as a network sees them: `fid_generation_<network>`.

    Args:
        images: `[n, h, w, c]` in [0, 1]; as many samples are drawn after every epoch.
        network: of `features.get`.
    """

    def __init__(self, images: np.ndarray, network: Any):
        super().__init__()
        self.images, self.network = images, network

    def on_epoch_end(self, epoch, logs=None):
        found = frechet.generation(self.model, self.images, self.network.vectors)
        logs[f"fid_generation_{self.network.name}"] = found


class TimeLeft(keras.callbacks.Callback):
    """A line before an epoch, every ten seconds at most: how long the rest will take, by the epochs so far.

    Args:
        epochs: of the whole run, which may take several calls of `fit`.
    """

    def __init__(self, epochs: int):
        super().__init__()
        self.epochs = epochs
        self.begun: tuple[int, float] | None = None  # epoch and time

    def on_epoch_begin(self, epoch, logs=None):
        now = time.monotonic()
        if self.begun is None:
            self.begun, self.told = (epoch, now), now
        first, start = self.begun
        if epoch > first and now - self.told >= 10:
            left = (now - start) / (epoch - first) * (self.epochs - epoch)
            print(f"about {left / 60:.0f} min left" if left >= 90 else f"about {max(left, 1):.0f} s left", flush=True)
            self.told = now


class Curves(keras.callbacks.TensorBoard):
    """Keras's scalars, in the files at the end of an epoch, not up to two minutes later."""

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        for writer in self._writers.values():
            writer.flush()


class OnDisk(keras.callbacks.Callback):
    """Before a checkpoint that counts an epoch: what others wrote of it would outlast a power cut.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder

    def on_epoch_end(self, epoch, logs=None):
        durable.sync_all(self.folder)


class Equilibrium(keras.callbacks.Callback):
    """Draws the levels at which an adversary can only guess into the TensorBoard charts, as one more run."""

    def __init__(self, folder: str | Path):
        super().__init__()
        self.folder = str(folder)

    def on_train_begin(self, logs=None):
        self.levels = {f"epoch_{term}": level for term, level in self.model.equilibrium.items()}
        if self.levels:
            self.writer = tf.summary.create_file_writer(self.folder)

    def on_epoch_end(self, epoch, logs=None):
        if self.levels:
            with self.writer.as_default(step=epoch):
                for tag, level in self.levels.items():
                    tf.summary.scalar(tag, level)
            self.writer.flush()

    def on_train_end(self, logs=None):
        if self.levels:
            self.writer.close()


class Drawing(keras.callbacks.Callback):
    """Abstract: every few epochs and at the end, figures (PNG, TensorBoard) and histograms of codes.

    Args:
        folder: for the PNG files, each the newest of its kind.
        logs: TensorBoard run folder.
        every: epochs between two sets.
    """

    def __init__(self, *, folder: Path, logs: Path, every: int):
        super().__init__()
        self.folder, self.logs, self.every = Path(folder), Path(logs), every

    def on_train_begin(self, logs=None):
        self.writer = tf.summary.create_file_writer(str(self.logs))

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0 or epoch + 1 == self.params["epochs"]:
            self.draw(epoch)

    def on_train_end(self, logs=None):
        self.writer.close()

    def draw(self, epoch: int) -> None:
        """Draws one set."""
        raise NotImplementedError

    def write(self, epoch: int, drawn: dict[str, Figure], codes: np.ndarray) -> None:
        """Keeps a set of figures, and the histograms of `[n, d]` codes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.writer.as_default(step=epoch):
            for name, figure in drawn.items():
                png = figures.to_png(figure)
                (self.folder / f"{name}.png").write_bytes(png)
                tf.summary.image(f"pictures/{name}", tf.io.decode_png(png, channels=3)[None])
            for axis in range(min(codes.shape[1], 20)):
                tf.summary.histogram(f"codes/axis {axis}", codes[:, axis])
        self.writer.flush()


class Marginals(Drawing):
    """Of a model without images: its draws, pair by pair of coordinates; over the target, where that is a plane."""

    def draw(self, epoch):
        target = self.model.density
        codes = np.asarray(self.model.sample(4000, seed=0))
        drawn = {"draws": figures.marginals(codes, target.coordinates)}
        if target.dim == 2:
            drawn["draws_over_density"] = figures.over_density(codes, target.log_joint, target.coordinates)
        self.write(epoch, drawn, codes)


class Pictures(Drawing):
    """What shows how a model of images does, and the Embedding Projector.

    Args:
        images, labels: held out from training, `[n, h, w, c]` and `[n]`; the first 2,500 are used, or as many as a
            sprite holds.
        classes: names of the labels.
        kwargs: of `Drawing`.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], **kwargs):
        super().__init__(**kwargs)
        most = min(PROJECTED, (SHEET // images.shape[1]) ** 2)
        self.images, self.labels, self.classes = images[:most], labels[:most], classes

    def draw(self, epoch):
        with self.model.seeds.kept():
            codes = metrics.batched(self.model.encode_sample, self.images)
            drawn = figures.of_model(self.model, self.images, self.labels, self.classes, codes=codes)
            drawn |= moves.of_model(self.model, self.images, self.labels)
        self.write(epoch, drawn, codes)
        names = [figures.class_name(label, self.classes) for label in self.labels]
        write_projector(self.logs, codes, self.images, names)


def write_projector(folder: Path, codes: np.ndarray, images: np.ndarray, names: list[str]) -> None:
    """What TensorBoard's projector plugin reads: codes and labels as TSV, a sprite of thumbnails, a config.

    Args:
        folder: a TensorBoard run folder.
        codes, images: `[n, d]`, `[n, h, w, c]`, n at most a sprite of 8,192 pixels.
        names: n class names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    padded = np.pad(codes, [(0, 0), (0, max(0, 3 - codes.shape[1]))])  # of fewer than 3 axes it would draw no point
    np.savetxt(folder / "codes.tsv", padded, delimiter="\t", fmt="%.6g")
    lines = ["label\timage", *(f"{name}\t{row}" for row, name in enumerate(names))]
    (folder / "metadata.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sheet = tf.image.convert_image_dtype(figures.sprite(images), tf.uint8)
    (folder / "sprite.png").write_bytes(tf.io.encode_png(sheet).numpy())
    config: Any = projector.ProjectorConfig()
    embedding = config.embeddings.add(tensor_name="codes", tensor_path="codes.tsv", metadata_path="metadata.tsv")
    embedding.sprite.image_path = "sprite.png"
    embedding.sprite.single_image_dim.extend(reversed(images.shape[1:3]))
    projector.visualize_embeddings(str(folder), config)
