"""What models with a likelihood share: log p(x, z), draws of images, and a proposal for importance sampling."""

import abc
from types import MappingProxyType
from typing import Any, get_args

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfaae import losses, priors
from tfaae.errors import InputError, choose
from tfaae.models.base import Batch, LatentModel, check_prior
from tfaae.networks import Arch

OUT_OF_RANGE = (
    "Under likelihood: bernoulli, pixels outside [0, 1] count as nan: look at the images, divide bytes by 255, or take "
    "likelihood: squared. If they are in range, try a smaller learning rate for elbo."
)


class ExplicitModel(LatentModel, abc.ABC):
    """Abstract: the decoder is p(x | z), and log-likelihoods can be estimated (`tfaae.bounds`, `tfaae.annealing`).

    Args:
        prior: p(z), above 0 everywhere, of dimension `latent_dim`: a name, `{"name": ..., argument: ...}` or a `Prior`.
        likelihood: `"bernoulli"`, or `"squared"`, a Gaussian of unit variance. (A scale that is learned without a bound
            has no maximum likelihood on pixels that are exactly 0 or 1; there is none here.)
        kwargs: of `LatentModel`.
    """

    arch: Arch  # of the networks, which a final model makes
    advice = MappingProxyType({"reconstruction": OUT_OF_RANGE})

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

    def fit(self, x=None, y=None, *args, **kwargs):
        """As `LatentModel.fit`; refuses an array of images that the likelihood has no value for."""
        self._check_pixels(x)
        return super().fit(x, y, *args, **kwargs)

    def batch(self, data) -> Batch:
        """As `LatentModel.batch`; pixels that the likelihood has no value for are nan, and so is the step's loss.

        (A Bernoulli likelihood has no maximum there, and training would seem to go well.)
        """
        batch = super().batch(data)
        if self.likelihood == "squared":
            return batch
        inside = (batch.images >= 0) & (batch.images <= 1)
        return batch._replace(images=tf.where(inside, batch.images, np.nan))

    def _check_pixels(self, images: Any) -> None:
        """Raises an InputError for values outside [0, 1] under a Bernoulli likelihood; a graph's go through."""
        if self.likelihood == "squared" or not isinstance(images, np.ndarray | tf.Tensor):
            return
        # none at all are Keras's affair
        least, most = float(np.min(images, initial=0)), float(np.max(images, initial=0))
        if not (least >= 0 and most <= 1):
            raise InputError(
                f"{type(self).__name__}: likelihood bernoulli expects pixels in [0, 1], got {least:g} to {most:g}; "
                "divide bytes by 255, or build the model with likelihood='squared'"
            )

    @abc.abstractmethod
    def proposal(self, images) -> tfd.Distribution:
        """A distribution near q(z | x) that has a density: batch shape `[n]`, event shape `[d]`."""

    def log_joint(self, images, codes) -> tf.Tensor:
        """`[n, h, w, c]` images in [0, 1], `[..., n, d]` codes -> `[..., n]` log p(x | z) + log p(z), nats."""
        images, codes = tf.convert_to_tensor(images), tf.convert_to_tensor(codes)
        if not tf.is_symbolic_tensor(images):
            self._check_pixels(images)
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
