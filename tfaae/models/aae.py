"""Adversarial autoencoders (Makhzani, Shlens, Jaitly, Goodfellow and Frey 2015, arXiv 1511.05644) with one code."""

import abc
from typing import Any

import numpy as np
import tensorflow as tf

from tfaae import inputs, losses, posteriors, priors
from tfaae.errors import InputError
from tfaae.models.adversarial import AdversarialAutoencoder
from tfaae.models.base import Batch, Phase, Terms, check_prior, register


class OneCode(AdversarialAutoencoder, abc.ABC):
    """Abstract: one code, one discriminator, three phases. A subclass says what the two networks are told of labels."""

    reports = ("reconstruction", "discriminator", "discriminator_accuracy", "generator")

    def phases(self):
        codes = self.shared_codes()
        return (
            Phase("reconstruction", self.reconstruction_loss, ("encoder", "decoder"), codes),
            Phase("discriminator", self.discriminator_loss, ("discriminator",), codes),
            Phase("generator", self.generator_loss, ("encoder",), codes),
        )

    def reconstruction_loss(self, batch: Batch, training: bool) -> Terms:
        """E_q(z|x) -log p(x | z)."""
        codes = self.codes(batch, training)
        logits = self.decoder(self.decoder_sees(codes, batch.labels), training=training)
        return {"reconstruction": losses.reconstruction(batch.images, logits, self.likelihood)}

    def discriminator_loss(self, batch: Batch, training: bool) -> Terms:
        """Prior draws are the positive class, codes the negative (section 2)."""
        codes = self.codes(batch, training)
        draws = self.draws(batch)
        real, fake = (self.discriminator_sees(self.blur(z, training), batch.labels) for z in (draws, codes))
        loss, accuracy = self.discriminate(self.discriminator, real, fake, training)
        self.track({"discriminator_accuracy": accuracy}, batch)
        return {"discriminator": loss}

    def generator_loss(self, batch: Batch, training: bool) -> Terms:
        """The encoder is the generator: it moves codes to where the discriminator takes them for draws of the prior."""
        codes = self.blur(self.codes(batch, training), training)
        return {"generator": self.fool(self.discriminator, self.discriminator_sees(codes, batch.labels))}

    def draws(self, batch: Batch) -> tf.Tensor:
        """`[n, d]` draws of the prior to set against the codes of a batch."""
        return self.prior.sample(tf.shape(batch.images)[0], seed=self.seeds.stateless())

    def decoder_sees(self, codes: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return codes

    def discriminator_sees(self, codes: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return codes


@register
class AAE(OneCode):
    """An autoencoder whose codes, over the whole data, a discriminator makes follow the prior (section 2, figure 1).

    Args:
        prior: p(z): a name, `{"name": ..., argument: ...}` or a `Prior` of dimension `latent_dim`; None: N(0, I).
        posterior: q(z | x) (section 2.2): `"deterministic"`, `"gaussian"`, or `"implicit"`, the universal approximator.
        noise_dim: length of the noise that the implicit posterior's encoder reads.
        labels: label-regularised (section 2.3, figure 3): the discriminator also reads a one-hot label with one class
            more for "unknown", so that images of label k take segment k of the prior. Encoder and decoder see no label.
        kwargs: of `AdversarialAutoencoder` and `LatentModel`.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        *,
        prior: Any = None,
        posterior: posteriors.Name = "deterministic",
        noise_dim: int = 10,
        labels: bool = False,
        **kwargs,
    ):
        super().__init__(image_shape, latent_dim, **kwargs)
        self.prior = check_prior(priors.get(prior or priors.Normal(latent_dim)), latent_dim)
        self.posterior, self.noise_dim, self.labels = posterior, noise_dim, labels
        if labels and not self.prior.segments:
            raise InputError(
                f"labels need a prior with segments, GaussianMixture or SwissRoll; got {self.prior.get_config()}"
            )
        self.classes = self.prior.segments if labels else 0
        builder = self.builder
        self.encoder = posteriors.build(
            posterior,
            builder,
            self.image_shape,
            latent_dim,
            self.units,
            self.input_noise,
            noise_dim,
            self.input_dropout,
        )
        self.decoder = builder.decoder(latent_dim, self.image_shape, self.units[::-1])
        seen = latent_dim + (self.classes + 1 if labels else 0)
        self.discriminator = builder.discriminator((seen,), self.discriminator_units)
        self.average("encoder", "decoder")

    def draws(self, batch):
        labels = batch.labels if self.labels else None  # -1 draws from the whole prior
        return self.prior.sample(tf.shape(batch.images)[0], labels, seed=self.seeds.stateless())

    def discriminator_sees(self, codes, labels):
        """Where labels count, `[z, one-hot]`, both for draws and for codes; the last class is "unknown" (figure 3)."""
        if not self.labels:
            return codes
        known = tf.where(labels < 0, self.classes, labels)
        return tf.concat([codes, tf.one_hot(known, self.classes + 1)], axis=-1)


@register
class SupervisedAAE(OneCode):
    """The decoder is told the label, so the code is what the label does not say: the style (section 4, figure 6).

    The discriminator reads the style alone.

    Args:
        latent_dim: length of the style; the paper's is 15.
        classes: k, number of labels.
        style_std: deviation of the style's Gaussian prior.
        kwargs: of `AdversarialAutoencoder` and `LatentModel`.
    """

    conditional = True

    def __init__(
        self, image_shape: tuple[int, int, int], latent_dim: int, *, classes: int, style_std: float = 1.0, **kwargs
    ):
        super().__init__(image_shape, latent_dim, **kwargs)
        if classes < 2:
            raise InputError(f"SupervisedAAE: classes must be at least 2, got {classes}; it needs data with labels")
        self.classes, self.style_std = classes, style_std
        self.prior = priors.Normal(latent_dim, style_std)
        builder = self.builder
        self.encoder = posteriors.build(
            "deterministic",
            builder,
            self.image_shape,
            latent_dim,
            self.units,
            self.input_noise,
            input_dropout=self.input_dropout,
        )
        self.decoder = builder.decoder(classes + latent_dim, self.image_shape, self.units[::-1])
        self.discriminator = builder.discriminator((latent_dim,), self.discriminator_units)
        self.average("encoder", "decoder")

    def decoder_sees(self, codes, labels):
        """`[y, z]`, the one-hot label first."""
        return tf.concat([tf.one_hot(labels, self.classes), codes], axis=-1)

    def decode(self, codes, labels=None) -> tf.Tensor:
        """`[n, d]` styles and `[n]` labels -> `[n, h, w, c]` images in [0, 1]."""
        if labels is None:
            raise InputError("a SupervisedAAE decodes a style and a label: give labels [n]")
        styles, known = inputs.floats("styles", codes, [None, self.latent_dim]), inputs.labels(labels, self.classes)
        if not styles.shape[:1].is_compatible_with(known.shape):
            raise InputError(f"expected one label a style, got {len(styles)} styles and {len(known)} labels")
        return super().decode(self.decoder_sees(styles, known))

    def reconstruct(self, images, labels=None) -> tf.Tensor:
        return self.decode(self.encode(images), labels)

    def sample(self, count=None, *, labels=None, seed: int | tf.Tensor | None = None) -> tf.Tensor:
        """`[count, h, w, c]` images of the given labels, or of each class in turn, with styles drawn from the prior."""
        if labels is None:
            labels = tf.range(self._count(count, None)) % self.classes
        draws = self.prior.sample(self._count(count, labels), seed=self._draw_seed(seed))
        return self.decode(draws, labels)

    def call(self, inputs, training=False):
        """Reconstruction of `(images, labels)`."""
        return self.reconstruct(*inputs)

    def styles_by_content(self, styles: int, seed: int = 0) -> np.ndarray:
        """`[styles, k, h, w, c]`: a row a style, a column a label (figure 7)."""
        draws = self.prior.sample(styles, seed=self._draw_seed(seed))
        codes = tf.repeat(draws, self.classes, axis=0)
        images = self.decode(codes, tf.tile(tf.range(self.classes), [styles]))
        return images.numpy().reshape(styles, self.classes, *self.image_shape)
