"""Layers of StyleALAE (Pidhorskyi, Adjeroh and Doretto 2020, arXiv 2004.04467): equalised dense layers, convolutions.

The learning rate is equalised on the optimizer's side: weights are used as they are, and each variable carries a
`step_factor` by which `optimizers.EqualisedAdam` multiplies its steps.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from tfaae.seeds import Seeds

SLOPE = 0.2  # of every leaky rectifier of StyleALAE
Resampling = Literal["same", "up", "transposed", "down"]
Named = dict[str, keras.Variable]


class Equalised(keras.layers.Layer):
    """Abstract: weights start from N(0, gain^2 / fan_in), and their steps are scaled by gain / sqrt(fan_in) * rate.

    Args:
        gain: sqrt(2) for what a rectifier follows.
        rate: learning rate relative to the rest of the model's.
        bias: whether there is one; it starts from 0, and its steps are scaled by `rate`.
    """

    def __init__(self, *, gain: float = math.sqrt(2), rate: float = 1.0, bias: bool = True):
        super().__init__()
        self.gain, self.rate, self.with_bias = gain, rate, bias
        self.bias: keras.Variable | None = None

    def add_weights(self, seeds: Seeds, shape: tuple[int, ...], fan_in: int, outputs: int) -> None:
        """Makes `kernel` of that shape and, where there is one, `bias` `[outputs]`; the model's seeds start them."""
        std = self.gain / math.sqrt(fan_in)
        initializer = keras.initializers.RandomNormal(stddev=std, seed=seeds.for_initializer())
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=initializer)
        self.kernel.step_factor = std * self.rate
        if self.with_bias:
            self.bias = self.add_weight(name="bias", shape=(outputs,), initializer="zeros")
            self.bias.step_factor = self.rate
        self.built = True

    def published(self) -> Named:
        """`weight` and `bias`, as the published checkpoints call them."""
        return {"weight": self.kernel} | ({"bias": self.bias} if self.bias is not None else {})


class Dense(Equalised):
    """`[..., inputs]` -> `[..., outputs]`."""

    def __init__(self, inputs: int, outputs: int, seeds: Seeds, **kwargs):
        super().__init__(**kwargs)
        self.add_weights(seeds, (inputs, outputs), inputs, outputs)

    def call(self, inputs):
        outputs = tf.matmul(inputs, self.kernel)
        return outputs if self.bias is None else outputs + self.bias


class Convolution(Equalised):
    """`[n, h, w, inputs]` -> `[n, h', w', outputs]`, a convolution of odd size with zero padding.

    Args:
        resampling: `"same"`; `"up"`, h' = 2 h, of what `double` gives; `"down"`, h' = h / 2, and then `halve`. Both in
            one step, by the 4 x 4 kernel that a 3 x 3 one becomes, with less than half of the products.
            `"transposed"`: as `"up"`, by a kernel `[3, 3, outputs, inputs]` that is mirrored, as the authors' is where
            they do it in one step.
    """

    def __init__(
        self, inputs: int, outputs: int, size: int, seeds: Seeds, *, resampling: Resampling = "same", **kwargs
    ):
        super().__init__(**kwargs)
        self.resampling, self.outputs = resampling, outputs
        ends = (outputs, inputs) if resampling == "transposed" else (inputs, outputs)
        self.add_weights(seeds, (size, size, *ends), size * size * inputs, outputs)

    def call(self, inputs):
        kernel = tf.convert_to_tensor(self.kernel)
        if self.resampling in ("up", "transposed"):
            if self.resampling == "up":
                kernel = tf.reverse(tf.transpose(kernel, [0, 1, 3, 2]), [0, 1])
            shape = [tf.shape(inputs)[0], 2 * inputs.shape[1], 2 * inputs.shape[2], self.outputs]
            outputs = tf.nn.conv2d_transpose(inputs, spread(kernel), shape, 2, "SAME")
        elif self.resampling == "down":
            outputs = tf.nn.conv2d(inputs, spread(kernel) / 4, 2, "SAME")
        else:
            outputs = tf.nn.conv2d(inputs, kernel, 1, "SAME")
        return outputs if self.bias is None else outputs + self.bias


def spread(kernel: tf.Tensor) -> tf.Tensor:
    """`[3, 3, a, b]` -> `[4, 4, a, b]`: the kernel summed over the four places that it can take in 4 x 4."""
    wide = tf.pad(kernel, [[1, 1], [1, 1], [0, 0], [0, 0]])
    return wide[1:, 1:] + wide[:-1, 1:] + wide[1:, :-1] + wide[:-1, :-1]


def leaky(x: tf.Tensor, slope: float = SLOPE) -> tf.Tensor:
    """max(x, slope x)."""
    if (
        x.dtype == tf.float64
    ):  # `tf.nn.leaky_relu` rounds the slope to float32; its gradient takes a quarter of the time
        return tf.maximum(x, slope * x)
    return tf.nn.leaky_relu(x, slope)


def blur(x: tf.Tensor) -> tf.Tensor:
    """`[n, h, w, c]` smoothed by [1, 2, 1] / 4 along both axes, zeros outside."""
    weights = tf.constant([1, 2, 1], x.dtype) / 4
    kernel = tf.tile((weights[:, None] * weights)[..., None, None], [1, 1, x.shape[-1], 1])
    return tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "SAME")


def double(x: tf.Tensor) -> tf.Tensor:
    """`[n, h, w, c]` -> `[n, 2 h, 2 w, c]`, each pixel four times."""
    return tf.nn.depth_to_space(tf.concat([x] * 4, axis=-1), 2)


def halve(x: tf.Tensor) -> tf.Tensor:
    """`[n, h, w, c]` -> `[n, h / 2, w / 2, c]`, averages of 2 x 2 pixels."""
    return tf.nn.avg_pool2d(x, 2, 2, "VALID")


def moments(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance, `[n, 1, 1, c]` each, of each map of `[n, h, w, c]`.

    (`tf.nn.moments` stops a gradient at the mean: that leaves the first derivative right and makes the second, which
    R1 needs, wrong.)
    """
    mean = tf.reduce_mean(x, axis=[1, 2], keepdims=True)
    return mean, tf.reduce_mean(tf.square(x - mean), axis=[1, 2], keepdims=True)


def instance_norm(x: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Each map of `[n, h, w, c]` with mean 0 and variance 1, by its `moments`."""
    return (x - mean) * tf.math.rsqrt(variance + epsilon)


def style_statistics(mean: tf.Tensor, variance: tf.Tensor, epsilon: float) -> tf.Tensor:
    """`[n, 2 c]`, mean and sqrt(variance + epsilon) of each map, by `moments`.

    Without epsilon, as the authors have it, the gradient at a constant map is NaN.
    """
    return tf.concat([mean, tf.sqrt(variance + epsilon)], axis=-1)[:, 0, 0]


def pixel_norm(codes: tf.Tensor) -> tf.Tensor:
    """`[n, d]` codes on the sphere of radius sqrt(d)."""
    return codes * tf.math.rsqrt(tf.reduce_mean(tf.square(codes), axis=-1, keepdims=True) + 1e-8)


def prefixed(prefix: str, named: Mapping[str, keras.Variable]) -> Named:
    """Every name with the prefix and a dot before it."""
    return {f"{prefix}.{name}": variable for name, variable in named.items()}


def numbered(pattern: str, layers: Sequence[Any]) -> Named:
    """What all layers have published, each with its number in the prefix."""
    found: Named = {}
    for number, layer in enumerate(layers):
        found |= prefixed(pattern.format(number), layer.published())
    return found
