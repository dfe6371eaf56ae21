"""Training images moved, turned, scaled and slanted a little, by a random affine map each."""

import math

import tensorflow as tf

from tfaae.config import DistortionConfig

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
    turn, scale, slant, right, down = tf.unstack(2 * draws - 1, axis=1)
    angle, zoom = math.radians(limits.degrees) * turn, tf.exp(-math.log1p(limits.scale) * scale)
    slant, right, down = limits.shear * slant, limits.pixels * right, limits.pixels * down
    # pixel (x, y) of the result comes from centre + A ((x, y) - centre - shift)
    a, b = zoom * tf.cos(angle), zoom * (slant * tf.cos(angle) - tf.sin(angle))
    c, d = zoom * tf.sin(angle), zoom * (slant * tf.sin(angle) + tf.cos(angle))
    height, width = images.shape[1:3]
    x, y = (width - 1) / 2, (height - 1) / 2
    zeros = tf.zeros_like(a)
    across = [a, b, x - a * (x + right) - b * (y + down)]
    along = [c, d, y - c * (x + right) - d * (y + down)]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([*across, *along, zeros, zeros], axis=1),
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
