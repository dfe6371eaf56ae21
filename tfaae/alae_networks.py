"""Networks of ALAE with dense layers, the permutation-invariant MNIST of Pidhorskyi et al. 2020 (arXiv 2004.04467).

F and D are `style_networks.Mapping` and `Head`. Layers are `dense[k]`, the authors' `fc_{k + 1}`, dense weights (O, I)
theirs and [I, O] ours. Two leaky slopes are the authors': 0.2, and their library's default.
"""

import itertools
import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from tfaae.seeds import Seeds
from tfaae.style_layers import SLOPE, Dense, Named, leaky, prefixed

DEFAULT_SLOPE = 0.01


class DenseNetwork(keras.layers.Layer):
    """Abstract: equalised dense layers of the given widths, the inputs' first."""

    def __init__(self, widths: Sequence[int], seeds: Seeds, name: str):
        super().__init__(name=name)
        self.dense = [Dense(*ends, seeds) for ends in itertools.pairwise(widths)]
        self.built = True

    def published(self) -> Named:
        found: Named = {}
        for number, layer in enumerate(self.dense, start=1):
            found |= prefixed(f"fc_{number}", layer.published())
        return found


class DenseEncoder(DenseNetwork):
    """E: `[n, h, w, c]` images -> `[n, d]` codes w."""

    def __init__(self, image_shape: Sequence[int], units: Sequence[int], dim: int, seeds: Seeds):
        super().__init__((math.prod(image_shape), *units, dim), seeds, "dense_encoder")

    def call(self, images):
        return leaky(self.dense[-1](self.features(images)), DEFAULT_SLOPE)

    def features(self, images) -> tf.Tensor:
        """`[n, units]`, the last hidden layer: the long code of the authors' MNIST errors."""
        hidden = tf.reshape(images, [tf.shape(images)[0], -1])
        for layer in self.dense[:-1]:
            hidden = leaky(layer(hidden), SLOPE)
        return hidden


class DenseDecoder(DenseNetwork):
    """G: `[n, d]` codes w -> `[n, h, w, c]` images, not clipped."""

    def __init__(self, dim: int, units: Sequence[int], image_shape: Sequence[int], seeds: Seeds):
        super().__init__((dim, *units, math.prod(image_shape)), seeds, "dense_decoder")
        self.image_shape = tuple(image_shape)

    def call(self, codes):
        hidden = codes
        for layer in self.dense[:-1]:
            hidden = leaky(layer(hidden), DEFAULT_SLOPE)
        return tf.reshape(self.dense[-1](hidden), [-1, *self.image_shape])
