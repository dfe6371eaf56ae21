"""The variational autoencoder (Kingma and Welling 2014, arXiv 1312.6114): the baseline of every table."""

from typing import Any, get_args

import tensorflow as tf
import tensorflow_probability as tfp

from tfaae import losses, posteriors, priors
from tfaae.errors import InputError, choose, not_negative
from tfaae.models.base import Batch, LatentModel, Phase, Terms, check_prior, register
from tfaae.networks import Arch, Builder, default_units


@register
class VAE(LatentModel):
    """Maximises the evidence lower bound, E_q log p(x | z) - KL(q(z | x), p(z)), in one phase.

    The divergence is analytic where tfp knows it (a Normal prior), else estimated from the same draw as the
    reconstruction.

    Args:
        prior: p(z), above 0 everywhere, of dimension `latent_dim`: a name, `{"name": ..., argument: ...}` or a `Prior`.
        likelihood: `"bernoulli"`, or `"squared"`, a Gaussian of unit variance.
        arch, units, input_noise, dropout, initial_std: as in `AdversarialAutoencoder`.
        kwargs: of `LatentModel`.
    """

    reports = ("reconstruction", "kl", "elbo")

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        *,
        prior: Any = "Normal",
        likelihood: losses.Likelihood = "bernoulli",
        arch: Arch = "mlp",
        units: tuple[int, ...] | None = None,
        input_noise: float = 0.0,
        dropout: float = 0.0,
        initial_std: float | None = None,
        **kwargs,
    ):
        super().__init__(image_shape, latent_dim, **kwargs)
        self.prior = check_prior(priors.get(prior), latent_dim)
        choose("likelihood", likelihood, get_args(losses.Likelihood))
        not_negative("VAE", input_noise=input_noise)
        if not self.prior.positive_everywhere:
            raise InputError(
                "a VAE's posterior is Gaussian, so log p(z) must be finite everywhere; "
                f"it is not for {self.prior.get_config()}"
            )
        self.likelihood, self.arch, self.units = (
            likelihood,
            arch,
            tuple(default_units(arch) if units is None else units),
        )
        self.input_noise, self.dropout, self.initial_std = input_noise, dropout, initial_std

        builder = Builder(self.seeds, arch, initial_std, dropout)
        self.encoder = posteriors.build("gaussian", builder, self.image_shape, latent_dim, self.units, input_noise)
        self.decoder = builder.decoder(latent_dim, self.image_shape, self.units[::-1])
        self.average("encoder", "decoder")

    def phases(self):
        return (Phase("elbo", self.elbo_loss, ("encoder", "decoder")),)

    def elbo_loss(self, batch: Batch, training: bool) -> Terms:
        """-ELBO = -E_q log p(x | z) + KL(q(z | x), p(z)) (eq. 3), from one draw a image."""
        codes, density = self.encoder.with_density(batch.images, training=training)  # [n, d], [n]
        logits = self.decoder(codes, training=training)
        reconstruction = losses.reconstruction(batch.images, logits, self.likelihood)
        kl = tf.reduce_mean(self.kl(codes, density))
        pixels = self.image_shape[0] * self.image_shape[1] * self.image_shape[2]
        normaliser = losses.log_normaliser(self.likelihood, pixels)
        self.track({"elbo": -reconstruction - kl - normaliser}, batch)
        return {"reconstruction": reconstruction, "kl": kl}

    def kl(self, codes: tf.Tensor, density: tfp.distributions.Distribution) -> tf.Tensor:
        """KL(q(z | x), p(z)) `[n]` in nats: exact, or log q(z | x) - log p(z) at the draws `codes` `[n, d]`."""
        prior = self.prior.given(tf.fill([tf.shape(codes)[0]], -1))
        try:
            return tfp.distributions.kl_divergence(density, prior)
        except NotImplementedError:
            return density.log_prob(codes) - prior.log_prob(codes)
