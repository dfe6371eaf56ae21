"""What models with a likelihood share: log p(x, z), draws of images, and a proposal for importance sampling."""

import abc
from typing import Any, get_args

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfaae import losses, priors
from tfaae.errors import InputError, choose
from tfaae.models.base import LatentModel, check_prior
from tfaae.networks import Arch


class ExplicitModel(LatentModel, abc.ABC):
    """Abstract: the decoder is p(x | z), and log-likelihoods can be estimated (`tfaae.bounds`, `tfaae.annealing`).

    Args:
        prior: p(z), above 0 everywhere, of dimension `latent_dim`: a name, `{"name": ..., argument: ...}` or a `Prior`.
        likelihood: `"bernoulli"`, or `"squared"`, a Gaussian of unit variance. (A scale that is learned without a bound
            has no maximum likelihood on pixels that are exactly 0 or 1; there is none here.)
        kwargs: of `LatentModel`.
    """

    arch: Arch  # of the networks, which a final model makes

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        *,
        prior: Any = "Normal",
        likelihood: losses.Likelihood = "bernoulli",
        **kwargs,
    ):
        super().__init__(image_shape, latent_dim, **kwargs)
        choose("likelihood", likelihood, get_args(losses.Likelihood))
        spec = {"name": "Normal", "dim": latent_dim} if prior == "Normal" else prior
        self.prior = check_prior(priors.get(spec), latent_dim)
        if not self.prior.positive_everywhere:
            raise InputError(
                f"{type(self).__name__}'s posterior reaches every code, so log p(z) must be finite everywhere; "
                f"it is not for {self.prior.get_config()}"
            )
        self.likelihood = likelihood

    @abc.abstractmethod
    def proposal(self, images) -> tfd.Distribution:
        """A distribution near q(z | x) that has a density: batch shape `[n]`, event shape `[d]`."""

    def log_joint(self, images, codes) -> tf.Tensor:
        """`[n, h, w, c]` images in [0, 1], `[..., n, d]` codes -> `[..., n]` log p(x | z) + log p(z), nats."""
        images, codes = tf.convert_to_tensor(images), tf.convert_to_tensor(codes)
        flat = tf.reshape(codes, [-1, self.latent_dim])
        with self.averaged():
            logits = self.decoder(flat, training=False)
        logits = tf.reshape(logits, tf.concat([tf.shape(codes)[:-1], self.image_shape], axis=0))
        log_prior = tf.reshape(self.prior.log_prob(flat), tf.shape(codes)[:-1])
        return losses.log_likelihood(images, logits, self.likelihood) + log_prior

    def simulate(self, count: int, seed: int | tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws of p(x, z): `[count, h, w, c]` images, not means, and `[count, d]` codes."""
        seeds = tf.random.split(self._draw_seed(seed), 2)
        codes = self.prior.sample(count, seed=seeds[0])
        means = self.decode(codes)
        if self.likelihood == "squared":
            return means + tf.random.stateless_normal(tf.shape(means), seeds[1]), codes
        return tf.cast(tf.random.stateless_uniform(tf.shape(means), seeds[1]) < means, tf.float32), codes

    def elbo(self, reconstruction: tf.Tensor, kl: tf.Tensor) -> tf.Tensor:
        """-reconstruction - kl with the constants that `losses.reconstruction` leaves out; nats, scalars."""
        height, width, channels = self.image_shape
        return -reconstruction - kl - losses.log_normaliser(self.likelihood, height * width * channels)
