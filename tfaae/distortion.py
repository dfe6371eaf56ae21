"""Images moved, turned, scaled and slanted a little, by a random affine map each."""

import math
from collections.abc import Mapping

import pydantic
import tensorflow as tf

from tfaae.config import DistortionConfig
from tfaae.errors import InputError, mismatch

DRAWS = 5  # uniform numbers that one image's map takes


def distort(images: tf.Tensor, draws: tf.Tensor, limits: DistortionConfig) -> tf.Tensor:
    """Images under affine maps around their centres, read by bilinear interpolation, 0 where they had no pixels.

    Args:
        images: `[n, h, w, c]`.
        draws: `[n, 5]`, uniform in [0, 1): all 1/2 leaves an image as it is.
        limits: the largest map of either sign.
    Returns:
        `[n, h, w, c]`, within the range of `images` and 0.
    """
    turn, scale, slant, right, down = tf.unstack((2 * draws - 1)[:, :, None, None], axis=1)
    angle, zoom = math.radians(limits.degrees) * turn, tf.exp(-math.log1p(limits.scale) * scale)
    slant, right, down = limits.shear * slant, limits.pixels * right, limits.pixels * down
    # pixel (x, y) of the result comes from centre + A ((x, y) - centre - shift)
    a, b = zoom * tf.cos(angle), zoom * (slant * tf.cos(angle) - tf.sin(angle))
    c, d = zoom * tf.sin(angle), zoom * (slant * tf.sin(angle) + tf.cos(angle))
    height, width = images.shape[1:3]
    x, y = (width - 1) / 2, (height - 1) / 2
    across = tf.range(width, dtype=tf.float32) - x - right
    along = tf.range(height, dtype=tf.float32)[:, None] - y - down
    return _read(images, x + a * across + b * along, y + c * across + d * along)


def _read(images: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """`[n, h, w, c]` images at places `[n, h, w]` each, columns and rows, bilinearly; 0 outside.

    (TensorFlow's own op for it has no XLA kernel.)
    """
    height, width, channels = images.shape[1:]
    framed = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])  # of zeros: what lies further out reads the frame
    x, y = tf.clip_by_value(x, -1.0, width) + 1, tf.clip_by_value(y, -1.0, height) + 1
    left, top = tf.minimum(tf.floor(x), width), tf.minimum(tf.floor(y), height)
    right, down = (x - left)[..., None], (y - top)[..., None]
    row = width + 2
    flat = tf.reshape(framed, [-1, (height + 2) * row, channels])
    at = tf.cast(top * row + left, tf.int32)
    corners = [tf.gather(flat, at + step, batch_dims=1) for step in (0, 1, row, row + 1)]
    above, below = ((1 - right) * one + right * other for one, other in (corners[:2], corners[2:]))
    return (1 - down) * above + down * below


def view(images: tf.Tensor, limits: DistortionConfig, seed: tf.Tensor) -> tf.Tensor:
    """Each of `[n, h, w, c]` images under a random map of its own, for a `[2]` int32 seed."""
    return distort(images, tf.random.stateless_uniform([tf.shape(images)[0], DRAWS], seed=seed), limits)


def limits(what: str, told: DistortionConfig | Mapping[str, float]) -> DistortionConfig:
    """Limits, as they are or from plain data. Raises an InputError that begins with `what`."""
    try:
        return DistortionConfig.model_validate(told)
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        raise InputError(f"{'.'.join((what, *map(str, problem['loc'])))}: {mismatch(problem)}") from None
