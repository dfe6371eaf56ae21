"""What every adversarial autoencoder shares: networks, noises, and the game between encoder and discriminators."""

import abc
from typing import get_args

import keras
import tensorflow as tf

from tfaae import losses
from tfaae.errors import InputError, choose, not_negative
from tfaae.models.base import Batch, LatentModel
from tfaae.models.passes import Pass
from tfaae.networks import Arch, BatchNorm, Builder, Precision, default_units


class AdversarialAutoencoder(LatentModel, abc.ABC):
    """Abstract: the options of a model whose codes a discriminator makes follow a prior (Makhzani et al. 2015).

    Everything from `game` on is newer than the paper and off by default.

    Args:
        likelihood: `"squared"` (half the squared error) or `"bernoulli"`.
        arch: of encoder and decoder, `"mlp"` or `"conv"`; discriminators read codes and are always dense.
        units: hidden widths of the encoder, reversed in the decoder; with `conv`, filters of each halving. None: two of
            1,000 (the paper's), or 64 and 128 filters.
        discriminator_units: hidden widths of each discriminator.
        input_noise: standard deviation added to the images while training.
        input_dropout: share of the pixels dropped while training.
        dropout: share of hidden activations dropped in encoder and decoder while training.
        batch_norm: of the encoder: `"none"`, its `"hidden"` layers, or `"all"`, the last one too. Never elsewhere: it
            is known to stop discriminators learning.
        initial_std: weights start from N(0, std^2), as public implementations do with 0.01; None: Glorot's uniform.
        game: `"logistic"` (the paper's), `"lsgan"`, `"hinge"` or `"wgan-gp"`.
        r1: weight gamma of the zero-centred gradient penalty at draws of the prior (Mescheder et al. 2018).
        label_smoothing: one-sided: the discriminator's target for draws is 1 - this (Salimans et al. 2016).
        discriminator_noise: standard deviation added to codes and prior draws before the discriminator while training.
        discriminator_noise_steps: training steps over which that noise fades out linearly; 0 keeps it.
        spectral_norm: spectral normalisation of the discriminators (Miyato et al. 2018).
        precision: of products of matrices, `"float32"` or `"bfloat16"` (faster on CPUs that have it, without XLA).
        kwargs: of `LatentModel`: ema, seed, name.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        *,
        likelihood: losses.Likelihood = "squared",
        arch: Arch = "mlp",
        units: tuple[int, ...] | None = None,
        discriminator_units: tuple[int, ...] = (1000, 1000),
        input_noise: float = 0.0,
        input_dropout: float = 0.0,
        dropout: float = 0.0,
        batch_norm: BatchNorm = "none",
        initial_std: float | None = None,
        game: losses.Game = "logistic",
        r1: float = 0.0,
        label_smoothing: float = 0.0,
        discriminator_noise: float = 0.0,
        discriminator_noise_steps: int = 0,
        spectral_norm: bool = False,
        precision: Precision = "float32",
        **kwargs,
    ):
        super().__init__(image_shape, latent_dim, **kwargs)
        what = type(self).__name__
        choose("likelihood", likelihood, get_args(losses.Likelihood))
        choose("game", game, get_args(losses.Game))
        not_negative(what, input_noise=input_noise, discriminator_noise=discriminator_noise, r1=r1)
        not_negative(what, discriminator_noise_steps=discriminator_noise_steps, label_smoothing=label_smoothing)
        if label_smoothing and (game != "logistic" or label_smoothing >= 0.5):
            raise InputError(
                f"{what}: label_smoothing belongs to the logistic game, and below 0.5; got {label_smoothing}"
            )
        self.likelihood, self.arch = likelihood, arch
        self.units = tuple(default_units(arch) if units is None else units)
        self.discriminator_units = tuple(discriminator_units)
        self.input_noise, self.input_dropout, self.dropout = input_noise, input_dropout, dropout
        self.batch_norm, self.initial_std, self.precision = batch_norm, initial_std, precision
        self.game, self.r1, self.label_smoothing = game, r1, label_smoothing
        self.discriminator_noise, self.discriminator_noise_steps = discriminator_noise, discriminator_noise_steps
        self.spectral_norm = spectral_norm
        self.builder = Builder(self.seeds, arch, initial_std, dropout, spectral_norm, batch_norm, precision)
        levels = losses.EQUILIBRIUM[game] | {"discriminator_accuracy": 0.5}
        self.equilibrium = {term: levels[kind] for term in self.reports for kind in levels if term.endswith(kind)}

    def codes(self, batch: Batch, training: bool) -> tf.Tensor:
        """`[n, d]` codes of the batch's images, a draw each."""
        return self.encoder(batch.images, training=training) if batch.codes is None else batch.codes

    def shared_codes(self) -> Pass | None:
        """Codes for all losses between two moves of the encoder; None where each pass through it is another."""
        varies = self.input_noise or self.input_dropout or self.dropout or self.batch_norm != "none"
        return None if varies or self.encoder.stochastic else Pass("codes", self.codes, ("encoder",))

    def discriminate(
        self, discriminator: keras.Model, draws: tf.Tensor, codes: tf.Tensor, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The discriminator's loss with its penalties, and its accuracy. Prior draws are the positive class.

        Args:
            draws, codes: `[n, d]` each, blurred.
        """
        real, fake = tf.split(discriminator(tf.concat([draws, codes], axis=0), training=training), 2)
        loss = losses.discriminator_loss(real, fake, self.game, self.label_smoothing)
        if training and self.r1:
            loss += self.r1 * losses.r1_penalty(discriminator, draws)[1]
        if training and self.game == "wgan-gp":
            places = keras.random.uniform((tf.shape(codes)[0], 1), seed=self.seeds)
            loss += 10 * losses.lipschitz_penalty(discriminator, draws, codes, places)
        return loss, losses.discriminator_accuracy(real, fake)

    def fool(self, discriminator: keras.Model, codes: tf.Tensor) -> tf.Tensor:
        """The encoder is the generator: its codes are to pass for prior draws. The discriminator stands still here."""
        return losses.generator_loss(discriminator(codes, training=False), self.game)

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
