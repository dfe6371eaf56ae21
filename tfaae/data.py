"""Data: named sources -> float32 images in [0, 1] and int32 labels, in batches that (seed, epoch) alone orders."""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfaae.config import DataConfig, DistortionConfig
from tfaae.distortion import DRAWS, distort
from tfaae.errors import InputError
from tfaae.image_sources import SOURCES, Split, check_memory, fitted, tensorflow_datasets

LABELLED_STREAM = 2**30  # a bit of the seed: the labelled images have an order of their own
BINARY_STREAM = 2**29  # another bit: binary pixels
FLIP_STREAM = 2**28  # another: mirrored images
DISTORTION_STREAM = 2**27  # another: moved, turned, scaled and slanted images
# of held-out images: every model is measured on the same ones (the seed of Tomczak and Welling 2018's code)
BINARY_SEED = 777
HELD_OUT_SEED = 0  # splits never depend on a run's seed: no run trains on another's test images


class Part(NamedTuple):
    """Which rows of every batch a worker reads: those of `here` of the `replicas` that share it, from `first` on."""

    first: int = 0
    here: int = 1
    replicas: int = 1

    def of(self, rows: tf.Tensor) -> tf.Tensor:
        """These rows of `[n, ...]`, n a multiple of `replicas`."""
        each = rows.shape[0] // self.replicas
        return rows if self.replicas == 1 else rows[self.first * each : (self.first + self.here) * each]

    def by_replica(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """A worker's part of each batch, as one batch for each of its replicas."""
        if self.here == 1:
            return batches

        def split(rows: tf.Tensor) -> tf.Tensor:
            return tf.reshape(rows, [self.here, rows.shape[0] // self.here, *rows.shape[1:]])

        return batches.map(lambda *parts: tf.nest.map_structure(split, parts)).unbatch()


class Data(NamedTuple):
    """A data set, split: the test images are for reports alone."""

    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]  # names of the labels; empty where there are none

    @property
    def labelled(self) -> int:
        """Training images whose label is known."""
        return int(np.sum(self.train.labels >= 0))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels


def load(config: DataConfig, seed: int = 0) -> Data:
    """Reads, resizes, checks and splits a data set.

    Args:
        seed: of the draw of `config.labelled` images; splits never depend on it.
    Raises:
        InputError: unknown name, missing or damaged files, pixels or labels out of range, too few images for the
        splits, or too few labels for a balanced draw.
    """
    source = SOURCES.get(config.name, tensorflow_datasets)(config)
    splits = [split for split in (source.train, source.test) if split is not None]
    if config.stream and (not source.train.stored or config.test is None):
        raise InputError(
            "data.stream is for the sources folder and tfrecords, and for a data.test that says how many images are "
            f"held out in memory; got data.name {config.name} and data.test {config.test}"
        )
    for split in splits:
        check(split, len(source.classes))
    if config.size and not source.train.stored:
        check_memory(sum(map(len, splits)), (config.size, config.size, config.channels or 1))
    splits = [
        split if split.stored else Split(np.asarray(fitted(split.images, config)), split.labels) for split in splits
    ]
    if config.test and source.test is not None:
        raise InputError(f"data.test: leave it out; {config.name} has a test set of its own")
    shapes = [split.images.shape[1:] for split in splits]
    if len(set(shapes)) > 1:
        raise InputError(f"training images are {list(shapes[0])}, test images {list(shapes[1])}; set data.size")
    height, width = shapes[0][:2]
    if height != width:
        raise InputError(f"images are {height} x {width}, models take squares; set data.size to crop and resize them")
    train, test = splits if source.test is not None else _hold_out(splits[0], config.test or len(splits[0]) // 6 or 1)
    train, validation = _hold_out(train, config.validation)
    validation, test = validation.in_memory(), test.in_memory()
    if len(train) < config.batch:
        raise InputError(
            f"{len(train)} training images do not fill one batch of {config.batch}; use a smaller data.batch"
        )
    if config.labelled:
        train = Split(train.images, _keep_labels(train.labels, config.labelled, len(source.classes), seed))
    if config.labelled_batch and not (train.labels >= 0).any():
        raise InputError(f"data.labelled_batch: {config.name} has no labels; leave it out")
    if config.binarise:
        validation, test = (binarised(split) for split in (validation, test))
    return Data(train, validation, test, source.classes)


def binarised(split: Split) -> Split:
    """Each pixel drawn once as 1 with its own value as the probability; always the same draw."""
    uniform = np.random.default_rng(BINARY_SEED).random(split.images.shape, dtype=np.float32)
    return Split((uniform < split.images).astype(np.float32), split.labels)


def _keep_labels(labels: np.ndarray, count: int, classes: int, seed: int) -> np.ndarray:
    """The labels, all but `count` of them unknown: as many of each class, drawn by seed."""
    if count == len(labels):
        return labels
    if not classes or count % classes or count > len(labels):
        raise InputError(
            f"data.labelled: expected as many of each of {classes} classes, a multiple of {classes} up to "
            f"{len(labels)}, got {count}"
        )
    random = np.random.default_rng(seed)
    kept = np.full_like(labels, -1)
    for label in range(classes):
        rows = np.flatnonzero(labels == label)
        if len(rows) < count // classes:
            raise InputError(
                f"data.labelled: {count} labels need {count // classes} of each class, class {label} has {len(rows)}; "
                "ask for fewer"
            )
        kept[random.permutation(rows)[: count // classes]] = label
    return kept


def check(split: Split, classes: int = 0) -> None:
    """Raises an InputError unless images are `[n, h, w, 1 or 3]`, finite, in [0, 1], and labels -1 to classes - 1."""
    images, labels = split
    if len(images.shape) != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise InputError(f"expected images [n, height, width, 1 or 3] with n above 0, got {list(images.shape)}")
    if not split.stored:  # whose pixels are bytes
        _check_pixels(images)
    if labels.shape != images.shape[:1]:
        raise InputError(f"expected one label for each of {len(images)} images, got {list(labels.shape)}")
    top = classes or np.inf
    if labels.min() < -1 or labels.max() >= top:
        raise InputError(f"expected labels -1 (unknown) to {top - 1}, got {labels.min()} to {labels.max()}")


def _check_pixels(images: np.ndarray) -> None:
    if not np.isfinite(images).all():
        bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
        raise InputError(f"{len(bad)} images hold NaN or infinite pixels, the first is image {bad[0]}")
    low, high = images.min(), images.max()
    if low < 0 or high > 1:
        hint = "; divide by 255" if high <= 255 and low >= 0 else ""
        raise InputError(f"expected pixels in [0, 1], got {low:g} to {high:g}{hint}")


def batches(
    split: Split,
    batch: int,
    *,
    seed: int,
    epochs: int,
    first_epoch: int = 0,
    first_step: int = 0,
    labelled_batch: int | None = None,
    binarise: bool = False,
    flip: bool = False,
    distortion: DistortionConfig | None = None,
    part: Part = Part(),  # noqa: B008 - it cannot change
) -> tf.data.Dataset:
    """(images, labels) for training; (seed, epoch) alone decides order and draws, so that resuming needs nothing saved.

    Every batch is full: what is left of an epoch's order is dropped, other images each time.

    Args:
        split: an epoch is one pass over it, however few of its labels are known.
        epochs: of the whole run; batches begin with number `first_step` of `first_epoch`, and no image is read before.
        labelled_batch: where it is given, batches are ((images, labelled images), (labels, their labels)); the
            labelled images of the split come in cycles, each cycle in its own order.
        binarise: pixels are drawn, 1 with their own value as the probability, anew in every epoch.
        flip: every other image, at random, is mirrored.
        distortion: each image goes through a small affine map of its own, anew in every epoch.
        part: what this worker reads of each batch; all parts together are the batch.
    """
    pixels_of, labels = _reader(split), tf.constant(split.labels)
    steps = len(split) // batch
    known = tf.constant(np.flatnonzero(split.labels >= 0), tf.int32)

    def order(rows, epoch, stream):
        return tf.random.experimental.stateless_shuffle(rows, seed=tf.stack([seed ^ stream, epoch]))

    def epoch_rows(epoch):
        rows = order(tf.range(len(split)), epoch, 0)
        first = tf.data.Dataset.from_tensor_slices(tf.reshape(rows[: steps * batch], [steps, batch]))
        if not labelled_batch:
            return first
        cycles = -(-steps * labelled_batch // len(known))
        again = tf.data.Dataset.range(cycles, output_type=tf.int32).flat_map(
            lambda cycle: tf.data.Dataset.from_tensor_slices(order(known, epoch * cycles + cycle, LABELLED_STREAM))
        )
        return tf.data.Dataset.zip(first, again.batch(labelled_batch, drop_remainder=True))

    def seen(rows, step, place):
        pixels = pixels_of(part.of(rows))

        def uniform(shape, stream):
            own = tf.stack([seed ^ stream ^ place, tf.cast(step, tf.int32)])
            return part.of(tf.random.stateless_uniform([*rows.shape, *shape], own))  # one draw, of the whole batch

        if flip:
            mirrored = uniform([1, 1, 1], FLIP_STREAM) < 0.5
            pixels = tf.where(mirrored, pixels[:, :, ::-1], pixels)
        if distortion:
            pixels = distort(pixels, uniform([DRAWS], DISTORTION_STREAM), distortion)
        return tf.cast(uniform(pixels.shape[1:], BINARY_STREAM) < pixels, tf.float32) if binarise else pixels

    def gather(step, rows):
        places = rows if isinstance(rows, tuple) else (rows,)
        pairs = [(seen(at, step, place), tf.gather(labels, part.of(at))) for place, at in enumerate(places)]
        return pairs[0] if len(pairs) == 1 else tuple(zip(*pairs, strict=True))

    epochs_left = tf.data.Dataset.range(first_epoch, epochs, output_type=tf.int32)
    rows = epochs_left.flat_map(epoch_rows).skip(first_step)
    mine = rows.enumerate(first_epoch * steps + first_step).map(gather)
    return part.by_replica(mine).prefetch(tf.data.AUTOTUNE)


def _reader(split: Split) -> Callable[[tf.Tensor], tf.Tensor]:
    """`[m]` rows -> `[m, h, w, c]` images."""
    if not split.stored:
        # a constant would be held twice, by Python and by the data set; as numpy, the map would be 100 times slower
        with tf.device("CPU"):
            images = tf.Variable(split.images, trainable=False)
        return lambda rows: tf.gather(images, rows)

    def read(rows):
        pixels = tf.numpy_function(split.images.__getitem__, [rows], tf.float32)
        return tf.ensure_shape(pixels, [*rows.shape, *split.images.shape[1:]])

    return read


def input_error(error: tf.errors.OpError) -> InputError | None:
    """The InputError that reading images raised within the graph, which tells of it in a text; None: another error."""
    found = re.search(r"InputError: (.*)", str(error.message))
    return InputError(found[1]) if found else None


def in_order(split: Split, batch: int) -> tf.data.Dataset:
    """(images, labels) for evaluation: every image once, in order."""
    return tf.data.Dataset.from_tensor_slices(tuple(split)).batch(batch)


def in_parts(split: Split, batch: int, part: Part) -> tf.data.Dataset:
    """As `in_order`, this worker's part: in each of `steps_in_parts` steps a batch for each of its replicas.

    Batches differ in size by one row at most.
    """
    count = steps_in_parts(len(split), batch, part.replicas) * part.replicas
    ends = len(split) * np.arange(count + 1) // count
    mine = [place for place in range(count) if part.first <= place % part.replicas < part.first + part.here]
    images, labels = (tf.constant(values) for values in split)
    bounds = tf.data.Dataset.from_tensor_slices((ends[mine], ends[np.array(mine) + 1]))
    return bounds.map(lambda start, end: (images[start:end], labels[start:end]))


def steps_in_parts(count: int, batch: int, replicas: int) -> int:
    """Steps in which replicas see `count` rows, `batch` at most each."""
    return -(-count // (batch * replicas))


def _hold_out(split: Split, count: int) -> tuple[Split, Split]:
    if count == 0:  # nothing moves, nothing is copied
        return split, split.take(slice(0))
    if count >= len(split):
        raise InputError(f"cannot hold out {count} of {len(split)} images; use a smaller data.validation or data.test")
    order = np.random.default_rng(HELD_OUT_SEED).permutation(len(split))
    return split.take(order[count:]), split.take(order[:count])
