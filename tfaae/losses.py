"""Losses: pure functions of tensors. Nats per example: summed over pixels or codes, averaged over the batch.

(A mean over 784 pixels instead of the sum would make the gradient 784 times smaller; under SGD that is another
algorithm.)
"""

import math
from typing import Literal

import tensorflow as tf

# where the codes follow the prior, and the discriminator can only guess
EQUILIBRIUM = {"discriminator": 2 * math.log(2), "discriminator_accuracy": 0.5, "generator": math.log(2)}
Likelihood = Literal["bernoulli", "squared"]


def reconstruction(images: tf.Tensor, logits: tf.Tensor, likelihood: Likelihood) -> tf.Tensor:
    """-log p(x | z), without the terms that no parameter changes.

    `bernoulli`: sum of -x log s - (1 - x) log(1 - s), s = sigmoid(logits).
    `squared`: half the squared error, 1/2 |x - s|^2, as public implementations of Makhzani et al. 2015 have it.

    Args:
        images: `[n, h, w, c]` float32 in [0, 1].
        logits: `[n, h, w, c]`, the decoder's raw output.
        likelihood: `"bernoulli"` or `"squared"`.
    Returns:
        Scalar, nats per example.
    """
    if likelihood == "bernoulli":
        pixels = tf.nn.sigmoid_cross_entropy_with_logits(labels=images, logits=logits)
    else:
        pixels = 0.5 * tf.math.squared_difference(images, tf.sigmoid(logits))
    return tf.reduce_mean(tf.reduce_sum(pixels, axis=[1, 2, 3]))


def log_normaliser(likelihood: Likelihood, pixels: int) -> float:
    """What `reconstruction` leaves out of -log p(x | z), in nats: d/2 log 2 pi for `squared` (unit variance)."""
    return 0.5 * pixels * math.log(2 * math.pi) if likelihood == "squared" else 0.0


def discriminator_loss(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """-E log D(real) - E log(1 - D(fake)), D = sigmoid(logit) (Goodfellow et al. 2014, eq. 1).

    Args:
        real: `[n]` logits of draws from the prior, the positive class.
        fake: `[n]` logits of codes.
    Returns:
        Scalar, nats per example; 2 ln 2 = 1.386 where the two cannot be told apart.
    """
    return tf.reduce_mean(tf.nn.softplus(-real)) + tf.reduce_mean(tf.nn.softplus(fake))


def generator_loss(fake: tf.Tensor) -> tf.Tensor:
    """-E log D(fake), the non-saturating form (Goodfellow et al. 2014, section 3).

    `[n]` logits -> scalar; ln 2 at equilibrium.
    """
    return tf.reduce_mean(tf.nn.softplus(-fake))


def discriminator_accuracy(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """Share of logits on their own side of 0, in [0, 1]; 0.5 at equilibrium."""
    right = tf.concat([real > 0, fake <= 0], axis=0)
    return tf.reduce_mean(tf.cast(right, tf.float32))
