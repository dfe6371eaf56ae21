"""The convolutional networks of adversarial variational Bayes (Mescheder et al. 2017, as in the authors' code).

`conv1` is the small family, which trains on a CPU; `conv0` is the DCGAN-like one. Kernels are 5 x 5, padding "same",
activations ELU in encoders. Where an encoder takes noise, each feature map gets a linear image of it added; where it
does not, conv0 normalises its batches instead.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import keras

from tfaae.errors import InputError

Family = Literal["conv1", "conv0"]
Layer = Callable[..., keras.layers.Layer]  # (class, *arguments) -> a layer with the model's initializer and precision


def trunk(family: Family, image: Any, noise: Any, layer: Layer) -> Any:
    """`[n, h, w, c]` images in [0, 1], and noise `[n, e]` or None -> features `[n, f]`."""
    hidden = keras.layers.Rescaling(2.0, offset=-1.0)(image)
    filters = (16, 32, 32) if family == "conv1" else (64, 128, 256, 512)
    strides = _strides(family, image.shape[1])
    for index, (width, stride) in enumerate(zip(filters, strides, strict=True)):
        hidden = layer(keras.layers.Conv2D, width, 5, stride, "same")(hidden)
        last = index == len(filters) - 1
        if family == "conv0" and noise is None and not last:
            hidden = keras.layers.BatchNormalization(momentum=0.999, epsilon=1e-3)(hidden)
        if family == "conv0":
            hidden = keras.layers.ELU()(_with_noise(hidden, noise, layer))
        else:
            hidden = _with_noise(keras.layers.ELU()(hidden), noise, layer)
    hidden = keras.layers.Flatten()(hidden)
    return hidden if family == "conv0" else layer(keras.layers.Dense, 800, activation="elu")(hidden)


def decoder(family: Family, code: Any, image_shape: tuple[int, ...], layer: Layer) -> Any:
    """Codes `[n, d]` -> logits `[n, h, w, c]`."""
    size, _, channels = image_shape
    strides = _strides(family, size)
    sizes = [size]
    for stride in strides:
        sizes.append(math.ceil(sizes[-1] / stride))
    *larger, smallest = sizes
    if family == "conv1":
        hidden = layer(keras.layers.Dense, 300, activation="softplus")(code)
        hidden = layer(keras.layers.Dense, smallest**2 * 32, activation="softplus")(hidden)
        hidden = keras.layers.Reshape((smallest, smallest, 32))(hidden)
    else:
        hidden = layer(keras.layers.Dense, smallest**2 * 512, activation="elu")(code)
        hidden = keras.layers.Reshape((smallest, smallest, 512))(hidden)
    widths: tuple[int, ...] = (32, 16) if family == "conv1" else (256, 128, 64)
    activation = "softplus" if family == "conv1" else "relu"
    steps = zip((*widths, channels), reversed(strides), reversed(larger), strict=True)
    for index, (width, stride, target) in enumerate(steps):
        used = activation if index < len(widths) else None
        hidden = layer(keras.layers.Conv2DTranspose, width, 5, stride, "same", activation=used)(hidden)
        surplus = hidden.shape[1] - target  # 1 where an odd size was halved
        if surplus:
            hidden = keras.layers.Cropping2D(((0, surplus), (0, surplus)))(hidden)
    return hidden


def _strides(family: Family, size: int) -> tuple[int, ...]:
    """conv0 halves only as often as leaves 4 pixels or more: 1, 1, 2, 2 at 28 pixels."""
    if family == "conv1":
        if size < 8:
            raise InputError(f"arch conv1 needs images of at least 8 pixels, got {size}")
        return (2, 2, 2)
    if size < 4:
        raise InputError(f"arch conv0 needs images of at least 4 pixels, got {size}")
    halvings = min(4, max(0, int(math.log2(size)) - 2))
    return (1,) * (4 - halvings) + (2,) * halvings


def _with_noise(hidden: Any, noise: Any, layer: Layer) -> Any:
    if noise is None:
        return hidden
    _, height, width, channels = hidden.shape
    image = layer(keras.layers.Dense, height * width * channels)(noise)
    return keras.layers.Add()([hidden, keras.layers.Reshape((height, width, channels))(image)])
