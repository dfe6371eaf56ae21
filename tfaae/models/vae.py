"""Autoencoders with a Gaussian posterior: the baselines of every table."""

import abc

import tensorflow as tf
import tensorflow_probability as tfp

from tfaae import losses, posteriors
from tfaae.errors import InputError, not_negative
from tfaae.models.base import Batch, Phase, Terms, register
from tfaae.models.explicit import ExplicitModel
from tfaae.networks import Activation, Arch, Builder, Precision, default_units


class GaussianAutoencoder(ExplicitModel, abc.ABC):
    """Abstract: q(z | x) a diagonal Gaussian, one phase for encoder and decoder.

    Args:
        arch, units, input_noise, dropout, initial_std, precision: as in `AdversarialAutoencoder`.
        activation: of hidden layers: `"relu"`, `"elu"`, `"softplus"` or `"tanh"`.
        kwargs: of `ExplicitModel` and `LatentModel`.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        *,
        arch: Arch = "mlp",
        units: tuple[int, ...] | None = None,
        activation: Activation = "relu",
        input_noise: float = 0.0,
        dropout: float = 0.0,
        initial_std: float | None = None,
        precision: Precision = "float32",
        **kwargs,
    ):
        super().__init__(image_shape, latent_dim, **kwargs)
        not_negative(type(self).__name__, input_noise=input_noise)
        self.arch, self.units = arch, tuple(default_units(arch) if units is None else units)
        self.activation, self.precision = activation, precision
        self.input_noise, self.dropout, self.initial_std = input_noise, dropout, initial_std
        builder = Builder(self.seeds, arch, initial_std, dropout, precision=precision, activation=activation)
        self.encoder = posteriors.build("gaussian", builder, self.image_shape, latent_dim, self.units, input_noise)
        self.decoder = builder.decoder(latent_dim, self.image_shape, self.units[::-1])
        self.average("encoder", "decoder")

    def proposal(self, images):
        with self.averaged():
            return self.encoder.density(self.checked(images))

    def phases(self):
        return (Phase("elbo", self.elbo_loss, ("encoder", "decoder")),)

    @abc.abstractmethod
    def elbo_loss(self, batch: Batch, training: bool) -> Terms:
        """A lower bound on log p(x), negative."""


@register
class VAE(GaussianAutoencoder):
    """Maximises the evidence lower bound, E_q log p(x | z) - KL(q(z | x), p(z)) (Kingma and Welling 2014, 1312.6114).

    The divergence is analytic where tfp knows it (a Normal prior), else estimated from the same draw as the
    reconstruction.

    Args:
        kwargs: of `GaussianAutoencoder`, `ExplicitModel` and `LatentModel`.
    """

    reports = ("reconstruction", "kl", "elbo")

    def elbo_loss(self, batch: Batch, training: bool) -> Terms:
        """-ELBO = -E_q log p(x | z) + KL(q(z | x), p(z)) (eq. 3), from one draw a image."""
        codes, density = self.encoder.with_density(batch.images, training=training)  # [n, d], [n]
        logits = self.decoder(codes, training=training)
        reconstruction = losses.reconstruction(batch.images, logits, self.likelihood)
        kl = tf.reduce_mean(self.kl(codes, density))
        self.track({"elbo": self.elbo(reconstruction, kl)}, batch)
        return {"reconstruction": reconstruction, "kl": kl}

    def kl(self, codes: tf.Tensor, density: tfp.distributions.Distribution) -> tf.Tensor:
        """KL(q(z | x), p(z)) `[n]` in nats: exact, or log q(z | x) - log p(z) at the draws `codes` `[n, d]`."""
        prior = self.prior.given(tf.fill([tf.shape(codes)[0]], -1))
        try:
            return tfp.distributions.kl_divergence(density, prior)
        except NotImplementedError:
            return density.log_prob(codes) - prior.log_prob(codes)


@register
class IWAE(GaussianAutoencoder):
    """Maximises the bound of k samples, E log 1/k sum_i p(x, z_i) / q(z_i | x) (Burda et al. 2016, 1509.00519, eq. 8).

    Args:
        samples: k, at least 1; 1 is a VAE whose divergence is estimated.
        kwargs: of `GaussianAutoencoder`, `ExplicitModel` and `LatentModel`.
    """

    reports = ("negative_bound", "reconstruction", "kl")

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int, *, samples: int = 5, **kwargs):
        if samples < 1:
            raise InputError(f"IWAE: samples must be at least 1, got {samples}")
        super().__init__(image_shape, latent_dim, **kwargs)
        self.samples = samples

    def elbo_loss(self, batch, training):
        """-L_k; `reconstruction` and `kl` are means over the k samples, for comparison with a VAE's."""
        density = self.encoder.density(batch.images, training=training)
        codes = density.sample(self.samples, seed=self.seeds.stateless())  # [k, n, d]
        flat = tf.reshape(codes, [-1, self.latent_dim])
        each = tf.shape(codes)[:2]
        logits = tf.reshape(self.decoder(flat, training=training), tf.concat([each, self.image_shape], axis=0))
        log_likelihood = losses.log_likelihood(batch.images, logits, self.likelihood)  # [k, n]
        kl = density.log_prob(codes) - tf.reshape(self.prior.log_prob(flat), each)
        bound = tf.reduce_logsumexp(log_likelihood - kl, axis=0) - tf.math.log(float(self.samples))
        self.track({"reconstruction": -tf.reduce_mean(log_likelihood), "kl": tf.reduce_mean(kl)}, batch)
        return {"negative_bound": -tf.reduce_mean(bound)}
