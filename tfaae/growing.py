"""Progressive growing: which resolution is trained when, how it fades in, and images of a resolution.

Resolutions are counted by `lod`, 0 for 4 x 4, doubling with each (Karras et al. 2018, arXiv 1710.10196, section 2;
the schedule is that of Pidhorskyi et al. 2020).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfaae.errors import InputError
from tfaae.style_layers import double, halve


class Stage(NamedTuple):
    """Epochs in which one network is trained."""

    lod: int
    fading: bool  # the transition to this resolution
    first: int  # epochs from this one
    end: int  # to before this one
    batch: int
    learning_rate: float | None = None  # None: whatever the optimizers have
    fade: int = 0  # epochs of its transition


def stages(
    levels: int, epochs: int, epochs_per_lod: int, batches: Sequence[int], learning_rates: Sequence[float]
) -> list[Stage]:
    """The stages of a run: the first half of each resolution's epochs fades it in, except the lowest's.

    Args:
        levels: resolutions, L.
        epochs: of the run; what is left of them goes to the last resolution.
        epochs_per_lod: at least 1.
        batches, learning_rates: one for each resolution; the last one holds for those that follow.
    """
    found = []
    for lod in range(levels):
        begin, fade = lod * epochs_per_lod, epochs_per_lod // 2 if lod else 0
        close = epochs if lod == levels - 1 else min(begin + epochs_per_lod, epochs)
        batch, rate = (values[min(lod, len(values) - 1)] for values in (batches, learning_rates))
        for fading, first, end in ((True, begin, min(begin + fade, close)), (False, begin + fade, close)):
            if first < end:
                found.append(Stage(lod, fading, first, end, int(batch), rate, fade * fading))
    return found


def blend(seen: tf.Tensor | float, fade: tf.Tensor | float) -> tf.Tensor:
    """A new resolution's weight, 1/2 - 1/2 cos(pi seen / fade), after `seen` of the `fade` images of its transition."""
    share = tf.minimum(tf.cast(seen, tf.float64) / tf.cast(fade, tf.float64), 1.0)
    return 0.5 - 0.5 * tf.cos(math.pi * share)


def shrunk(images: tf.Tensor, size: int) -> tf.Tensor:
    """`[n, s, s, c]` images averaged down to `size` pixels, s a power of two times that."""
    for _ in range(int(math.log2(images.shape[1] / size))):
        images = halve(images)
    return images


def all_shrunk(images: np.ndarray, size: int) -> np.ndarray:
    """`shrunk` of a whole data set, not all at once."""
    if images.shape[1] == size:
        return images
    return np.concatenate([shrunk(tf.constant(images[at : at + 1000]), size) for at in range(0, len(images), 1000)])


def grown(images: tf.Tensor, size: int) -> tf.Tensor:
    """`[n, s, s, c]` images with every pixel repeated, up to `size`."""
    for _ in range(int(math.log2(size / images.shape[1]))):
        images = double(images)
    return images


def faded(images: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Images as a transition shows them: weight x + (1 - weight) of x at half its resolution."""
    coarse = double(halve(images))
    return coarse + weight * (images - coarse)


class Growth(keras.layers.Layer):
    """Where a growing model is: its resolution, and how far that has faded in; saved with the model.

    Args:
        levels: resolutions; it starts at the last one.
    """

    def __init__(self, levels: int):
        super().__init__(name="growth")
        self.levels = levels
        self.state = self.add_weight(name="state", shape=(3,), dtype="int64", initializer="zeros", trainable=False)
        self.state.assign([levels - 1, 0, 0])
        self.built = True

    @property
    def lod(self) -> int:
        """A Python integer, while a graph is traced too: each resolution has a graph of its own."""
        with tf.init_scope():
            return int(self.state.value[0])

    @property
    def fading(self) -> bool:
        with tf.init_scope():
            return bool(self.state.value[1] > 0)

    @property
    def size(self) -> int:
        """Pixels."""
        return 4 * 2**self.lod

    def blend(self) -> tf.Tensor | None:
        """Scalar, None outside of transitions."""
        return tf.cast(blend(self.state.value[2], self.state.value[1]), self.compute_dtype) if self.fading else None

    def start(self, lod: int, fade: int) -> None:
        """A new resolution, that fades in over so many images; 0: at once."""
        if not 0 <= lod < self.levels or fade < 0 or (fade and not lod):
            raise InputError(f"expected lod 0 to {self.levels - 1}, and images to fade above lod 0; got {lod}, {fade}")
        self.state.assign([lod, fade, 0])

    def count(self, images: tf.Tensor) -> None:
        """So many images were seen."""
        self.state.assign_add(tf.stack([0, 0, tf.cast(images, tf.int64)]))
