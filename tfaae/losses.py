"""Losses: pure functions of tensors. Nats per example: summed over pixels or codes, averaged over the batch.

(A mean over 784 pixels instead of the sum would make the gradient 784 times smaller; under SGD that is another
algorithm.)
"""

import math
from collections.abc import Callable
from typing import Literal

import tensorflow as tf

from tfaae import replicas

Likelihood = Literal["bernoulli", "squared"]
Game = Literal["logistic", "lsgan", "hinge", "wgan-gp"]
# where the codes follow the prior, every logit is 0: the discriminator can only guess
EQUILIBRIUM: dict[Game, dict[str, float]] = {
    "logistic": {"discriminator": 2 * math.log(2), "generator": math.log(2)},
    "lsgan": {"discriminator": 2.0, "generator": 1.0},
    "hinge": {"discriminator": 2.0, "generator": 0.0},
    "wgan-gp": {"discriminator": 0.0, "generator": 0.0},
}


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
    return tf.reduce_mean(tf.reduce_sum(_pixels(images, logits, likelihood), axis=[1, 2, 3]))


def log_likelihood(images: tf.Tensor, logits: tf.Tensor, likelihood: Likelihood) -> tf.Tensor:
    """log p(x | z) with its constants, `[..., n]` nats, for `[n, h, w, c]` images and `[..., n, h, w, c]` logits."""
    constant = log_normaliser(likelihood, math.prod(images.shape[-3:]))
    return -tf.reduce_sum(_pixels(images, logits, likelihood), axis=[-3, -2, -1]) - constant


def _pixels(images: tf.Tensor, logits: tf.Tensor, likelihood: Likelihood) -> tf.Tensor:
    if likelihood == "bernoulli":
        # tf.nn's own takes equal shapes alone
        return tf.nn.softplus(logits) - images * logits
    return 0.5 * tf.math.squared_difference(images, tf.sigmoid(logits))


def log_normaliser(likelihood: Likelihood, pixels: int) -> float:
    """What `reconstruction` leaves out of -log p(x | z), in nats: d/2 log 2 pi for `squared` (unit variance)."""
    return 0.5 * pixels * math.log(2 * math.pi) if likelihood == "squared" else 0.0


def discriminator_loss(
    real: tf.Tensor, fake: tf.Tensor, game: Game = "logistic", label_smoothing: float = 0.0
) -> tf.Tensor:
    """What the discriminator minimises.

    `logistic`: -E log D(real) - E log(1 - D(fake)), D = sigmoid(logit) (Goodfellow et al. 2014, eq. 1).
    `lsgan`: E (real - 1)^2 + E (fake + 1)^2 (Mao et al. 2017, targets 1 and -1).
    `hinge`: E max(0, 1 - real) + E max(0, 1 + fake) (Miyato et al. 2018).
    `wgan-gp`: E fake - E real (Gulrajani et al. 2017); it needs its gradient penalty beside it.

    Args:
        real: `[n]` logits of draws from the prior, the positive class.
        fake: `[n]` logits of codes.
        game: one of `Game`.
        label_smoothing: one-sided (Salimans et al. 2016): the target of the real ones is 1 - this; `logistic` alone.
    Returns:
        Scalar; `EQUILIBRIUM` says where it settles, 2 ln 2 = 1.386 nats for `logistic`.
    """
    if game == "lsgan":
        return tf.reduce_mean(tf.square(real - 1)) + tf.reduce_mean(tf.square(fake + 1))
    if game == "hinge":
        return tf.reduce_mean(tf.nn.relu(1 - real)) + tf.reduce_mean(tf.nn.relu(1 + fake))
    if game == "wgan-gp":
        return tf.reduce_mean(fake) - tf.reduce_mean(real)
    smooth = (1 - label_smoothing) * tf.nn.softplus(-real) + label_smoothing * tf.nn.softplus(real)
    return tf.reduce_mean(smooth) + tf.reduce_mean(tf.nn.softplus(fake))


def generator_loss(fake: tf.Tensor, game: Game = "logistic") -> tf.Tensor:
    """What the encoder minimises so that its codes, `[n]` logits, pass for draws from the prior.

    `logistic`: -E log D(fake), the non-saturating form (Goodfellow et al. 2014, section 3), ln 2 at equilibrium.
    `lsgan`: E (fake - 1)^2. `hinge`, `wgan-gp`: -E fake.
    """
    if game == "lsgan":
        return tf.reduce_mean(tf.square(fake - 1))
    if game in ("hinge", "wgan-gp"):
        return -tf.reduce_mean(fake)
    return tf.reduce_mean(tf.nn.softplus(-fake))


def squared_gradient_norms(critic: Callable[[tf.Tensor], tf.Tensor], points: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`[n]` logits of `critic` at `[n, ...]` points, and the squared norms of their gradients there, `[n]`."""
    with tf.GradientTape() as tape:
        tape.watch(points)
        logits = critic(points)
        total = tf.reduce_sum(logits)
    return logits, tf.reduce_sum(tf.square(tape.gradient(total, points)), axis=list(range(1, points.shape.rank)))


def r1_penalty(critic: Callable[[tf.Tensor], tf.Tensor], real: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Logits at real points, draws from the prior or images, and 1/2 E |grad D|^2 there, from one pass.

    (Mescheder et al. 2018, eq. 9, gamma = 1.)
    """
    logits, norms = squared_gradient_norms(critic, real)
    return logits, 0.5 * tf.reduce_mean(norms)


def lipschitz_penalty(
    critic: Callable[[tf.Tensor], tf.Tensor], real: tf.Tensor, fake: tf.Tensor, places: tf.Tensor
) -> tf.Tensor:
    """E (|grad D| - 1)^2 between draws and codes, `places` `[n, 1]` in [0, 1] (Gulrajani et al. 2017, eq. 3)."""
    _, squares = squared_gradient_norms(critic, places * real + (1 - places) * fake)
    return tf.reduce_mean(tf.square(tf.sqrt(squares + 1e-12) - 1))


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """-log q(y | x), averaged over the examples whose label is known.

    Args:
        logits: `[n, k]`, before the softmax: a softmax of a softmax hardly learns.
        labels: `[n]` integers, -1 = unknown; where all are, the answer is 0.
    """
    known = tf.cast(labels >= 0, tf.float32)
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.maximum(labels, 0), logits=logits)
    return _mean_of_known(each, known)


def accuracy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Share of the known labels (`[n]`, -1 = unknown) that have the largest of `[n, k]` logits, in [0, 1]."""
    known = tf.cast(labels >= 0, tf.float32)
    right = tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32) == labels, tf.float32)
    return _mean_of_known(right, known)


def _mean_of_known(each: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
    """Replicas know different numbers of labels: each divides by its share of all; the mean is the batch's."""
    return tf.math.divide_no_nan(tf.reduce_sum(known * each), replicas.fair(tf.reduce_sum(known), known))


def divergence(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """E KL(q(y | x) || q(y | x')): views are to say what their images say, which stand still (Miyato et al. 2018, VAT).

    Args:
        first, second: `[n, k]` logits of images and of views of them.
    Returns:
        Scalar, nats, at least 0.
    """
    told = tf.stop_gradient(tf.nn.log_softmax(first))
    return tf.reduce_mean(tf.reduce_sum(tf.exp(told) * (told - tf.nn.log_softmax(second)), axis=-1))


def imbalance(probabilities: tf.Tensor) -> tf.Tensor:
    """KL(q(y) || Cat(1 / k)), q(y) the mean of `[n, k]` probabilities: 0 where categories are used alike, at most ln k.

    (ln k less the entropy of the marginal; Hu et al. 2017, eq. 7, raise that.)
    """
    here = tf.reduce_mean(probabilities, axis=0)
    # of the whole batch. No gradient is lost: that through the logarithm is of a total, which stays 1
    marginal = tf.stop_gradient(replicas.mean_of_means(here, probabilities))
    k = tf.cast(tf.shape(probabilities)[1], here.dtype)
    return tf.reduce_sum(here * tf.math.log(k * marginal + 1e-12))


def head_separation(heads: tf.Tensor, margin: float) -> tf.Tensor:
    """sum over pairs of max(0, margin - |w_i - w_j|), for `[m, d]` cluster heads (Makhzani et al. 2015, section 7)."""
    count = heads.shape[0]
    pairs = [(i, j) for i in range(count) for j in range(i)]
    one, other = tf.gather(heads, [i for i, _ in pairs]), tf.gather(heads, [j for _, j in pairs])
    # without the small term, two heads on one place would have no direction to part in, but NaN
    distance = tf.sqrt(tf.reduce_sum(tf.square(one - other), axis=-1) + 1e-12)
    return tf.reduce_sum(tf.nn.relu(margin - distance))


def discriminator_accuracy(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """Share of logits on their own side of 0, in [0, 1]; 0.5 at equilibrium."""
    right = tf.concat([real > 0, fake <= 0], axis=0)
    return tf.reduce_mean(tf.cast(right, tf.float32))
