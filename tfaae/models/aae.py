"""Adversarial autoencoders (Makhzani, Shlens, Jaitly, Goodfellow and Frey 2015, arXiv 1511.05644)."""

from typing import Any, get_args

import keras
import tensorflow as tf

from tfaae import losses, posteriors, priors
from tfaae.errors import choose, not_negative
from tfaae.models.base import Batch, LatentModel, Phase, Terms, check_prior, register
from tfaae.networks import Arch, Builder, default_units


@register
class AAE(LatentModel):
    """An autoencoder whose codes, over the whole data, a discriminator makes follow the prior (section 2, figure 1).

    Args:
        prior: p(z): a name, `{"name": ..., argument: ...}` or a `Prior` of dimension `latent_dim`.
        posterior: q(z | x) (section 2.2): `"deterministic"`, `"gaussian"`, or `"implicit"`, the universal approximator.
        noise_dim: length of the noise that the implicit posterior's encoder reads.
        likelihood: `"squared"` (half the squared error) or `"bernoulli"`.
        arch: of encoder and decoder, `"mlp"` or `"conv"`; the discriminator reads codes and is always dense.
        units: hidden widths of the encoder, reversed in the decoder; with `conv`, filters of each halving. None: two of
            1,000 (the paper's), or 64 and 128 filters.
        discriminator_units: hidden widths of the discriminator.
        input_noise: standard deviation added to the images while training.
        discriminator_noise: standard deviation added to codes and prior draws before the discriminator while training.
        discriminator_noise_steps: training steps over which that noise fades out linearly; 0 keeps it.
        dropout: share of hidden activations dropped in encoder and decoder while training.
        spectral_norm: spectral normalisation of the discriminator.
        initial_std: weights start from N(0, std^2), as public implementations do with 0.01; None: Glorot's uniform.
    """

    reports = ("reconstruction", "discriminator", "discriminator_accuracy", "generator")
    equilibrium = losses.EQUILIBRIUM

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        *,
        prior: Any = "Normal",
        posterior: posteriors.Name = "deterministic",
        noise_dim: int = 10,
        likelihood: losses.Likelihood = "squared",
        arch: Arch = "mlp",
        units: tuple[int, ...] | None = None,
        discriminator_units: tuple[int, ...] = (1000, 1000),
        input_noise: float = 0.0,
        discriminator_noise: float = 0.0,
        discriminator_noise_steps: int = 0,
        dropout: float = 0.0,
        spectral_norm: bool = False,
        initial_std: float | None = None,
        seed: int | None = None,
        name: str | None = None,
    ):
        super().__init__(image_shape, latent_dim, seed=seed, name=name)
        self.prior = check_prior(priors.get(prior), latent_dim)
        choose("likelihood", likelihood, get_args(losses.Likelihood))
        not_negative("AAE", input_noise=input_noise, discriminator_noise=discriminator_noise)
        not_negative("AAE", discriminator_noise_steps=discriminator_noise_steps)
        self.posterior, self.noise_dim, self.likelihood = posterior, noise_dim, likelihood
        self.arch, self.units = arch, tuple(default_units(arch) if units is None else units)
        self.discriminator_units = tuple(discriminator_units)
        self.input_noise, self.dropout = input_noise, dropout
        self.discriminator_noise, self.discriminator_noise_steps = discriminator_noise, discriminator_noise_steps
        self.spectral_norm, self.initial_std = spectral_norm, initial_std

        builder = Builder(self.seeds, arch, initial_std, dropout, spectral_norm)
        self.encoder = posteriors.build(
            posterior, builder, self.image_shape, latent_dim, self.units, input_noise, noise_dim
        )
        self.decoder = builder.decoder(latent_dim, self.image_shape, self.units[::-1])
        self.discriminator = builder.discriminator((latent_dim,), self.discriminator_units)

    def phases(self):
        return (
            Phase("reconstruction", self.reconstruction_loss, ("encoder", "decoder")),
            Phase("discriminator", self.discriminator_loss, ("discriminator",)),
            Phase("generator", self.generator_loss, ("encoder",)),
        )

    def reconstruction_loss(self, batch: Batch, training: bool) -> Terms:
        """E_q(z|x) -log p(x | z)."""
        logits = self.decoder(self.encoder(batch.images, training=training), training=training)
        return {"reconstruction": losses.reconstruction(batch.images, logits, self.likelihood)}

    def discriminator_loss(self, batch: Batch, training: bool) -> Terms:
        """Prior draws are the positive class, codes the negative (section 2)."""
        codes = self.encoder(batch.images, training=training)
        draws = self.prior.sample(tf.shape(codes)[0], seed=self.seeds.stateless())
        both = self.blur(tf.concat([draws, codes], axis=0), training)
        real, fake = tf.split(self.discriminator(both, training=training), 2)
        self.track({"discriminator_accuracy": losses.discriminator_accuracy(real, fake)}, batch)
        return {"discriminator": losses.discriminator_loss(real, fake)}

    def generator_loss(self, batch: Batch, training: bool) -> Terms:
        """The encoder is the generator: its codes are to pass for prior draws. The discriminator stands still here."""
        codes = self.blur(self.encoder(batch.images, training=training), training)
        return {"generator": losses.generator_loss(self.discriminator(codes, training=False))}

    def blur(self, codes: tf.Tensor, training: bool) -> tf.Tensor:
        """Instance noise (Arjovsky and Bottou 2017): where two distributions hardly overlap, blurred ones do.

        It shows codes the way across a gap of the prior; faded out, it leaves the prior as it is.
        """
        if not training or not self.discriminator_noise:
            return codes
        std = self.discriminator_noise
        if self.discriminator_noise_steps:
            std *= tf.maximum(0.0, 1.0 - tf.cast(self.steps, tf.float32) / self.discriminator_noise_steps)
        return codes + std * keras.random.normal(tf.shape(codes), seed=self.seeds)
