"""Adversarial latent autoencoders (Pidhorskyi, Adjeroh and Doretto 2020, arXiv 2004.04467).

F maps draws z of the prior to codes w, G codes to images; E maps images to codes, D codes to logits. The discriminator
of images is D after E, and reciprocity is asked of codes, E(G(w)) = w, not of pixels.
"""

import abc

import keras
import tensorflow as tf

from tfaae import inputs, losses, priors, replicas
from tfaae.alae_networks import DenseDecoder, DenseEncoder
from tfaae.errors import above_zero, not_negative
from tfaae.models.base import Averages, Batch, LatentModel, Phase, Terms, register
from tfaae.networks import check_units
from tfaae.style_networks import Head, HeadKind, Mapping

MEAN_RATE = 0.005  # of the running mean of codes


class MeanCode(keras.layers.Layer):
    """A running mean of codes, `[slots, d]`, one row a style that the decoder takes."""

    def __init__(self, slots: int, dim: int):
        super().__init__(name="mean_code")
        self.mean = self.add_weight(name="mean", shape=(slots, dim), initializer="zeros", trainable=False)
        self.built = True

    def move(self, codes: tf.Tensor) -> None:
        self.mean.assign_add(MEAN_RATE * (replicas.mean(codes) - self.mean))


class LatentReciprocal(LatentModel, abc.ABC):
    """Abstract: the three phases and the verbs. A final model makes the networks and says how they are called.

    Args:
        image_shape: (size, size, channels).
        latent_dim: d, length of z and of w. The prior of z is N(0, I).
        mapping_depth: layers of F.
        head: D: `"linear"` as in the authors' results, or `"nonlinear"` as in the paper.
        separate_discriminator: D reads images through a network of its own, not through E, so that E learns from
            reciprocity alone.
        r1: weight gamma of the gradient penalty gamma/2 |grad_x D(E(x))|^2 at real images.
        ema_images: half-life, in images, of running averages of all networks, which every verb then uses; 0: none.
        seed, name: of `PhasedModel`.
    """

    reports = ("discriminator", "r1", "generator", "reciprocity")
    slots = 1  # styles that the decoder takes
    mapping: Mapping
    discriminator: Head

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        *,
        mapping_depth: int = 8,
        head: HeadKind = "linear",
        separate_discriminator: bool = False,
        r1: float = 10.0,
        ema_images: float = 10_000.0,
        seed: int | None = None,
        name: str | None = None,
    ):
        super().__init__(image_shape, latent_dim, seed=seed, name=name)
        not_negative(type(self).__name__, r1=r1, ema_images=ema_images)
        above_zero(type(self).__name__, mapping_depth=mapping_depth)
        self.mapping_depth, self.head, self.separate_discriminator = mapping_depth, head, separate_discriminator
        self.r1, self.ema_images = r1, ema_images
        self.prior = priors.Normal(latent_dim)
        self.equilibrium = dict(losses.EQUILIBRIUM["logistic"])

    def make_networks(self) -> None:
        """Called last by a constructor."""
        self.mapping = Mapping(self.latent_dim, self.mapping_depth, self.seeds)
        self.decoder = self.new_decoder()
        self.encoder = self.new_encoder()
        self.discriminator = Head(self.latent_dim, self.seeds, self.head)
        self.trunk = self.new_encoder() if self.separate_discriminator else None
        self.mean_code = MeanCode(self.slots, self.latent_dim)
        if self.ema_images:
            parts = (self.mapping, self.decoder, self.encoder, self.discriminator)
            self.averages = Averages([weight for part in parts for weight in part.weights])

    @abc.abstractmethod
    def new_decoder(self) -> keras.layers.Layer:
        """G."""

    @abc.abstractmethod
    def new_encoder(self) -> keras.layers.Layer:
        """E, and the discriminator's own trunk."""

    @abc.abstractmethod
    def read(self, encoder: keras.layers.Layer, pixels: tf.Tensor) -> tf.Tensor:
        """`[n, d]` codes of images as the networks see them."""

    @abc.abstractmethod
    def draw_images(self, codes: tf.Tensor, *, mixing: bool) -> tf.Tensor:
        """G's images, as the networks see them, of `[n, d]` codes; what is random in it is drawn."""

    @abc.abstractmethod
    def pixels(self, images: tf.Tensor) -> tf.Tensor:
        """Images in [0, 1] as the networks see them."""

    @abc.abstractmethod
    def images(self, pixels: tf.Tensor) -> tf.Tensor:
        """What G gives, as images in [0, 1]."""

    # === Phases ===

    def phases(self):
        own = "trunk" if self.separate_discriminator else "encoder"
        alone = "reciprocity" if self.separate_discriminator else "discriminator"
        return (
            Phase("discriminator", self.discriminator_loss, (own, "discriminator")),
            Phase("generator", self.generator_loss, ("mapping", "decoder")),
            Phase("reciprocity", self.reciprocity_loss, {alone: ("encoder",), "generator": ("mapping", "decoder")}),
        )

    def discriminator_loss(self, batch: Batch, training: bool) -> Terms:
        """softplus(D(E(G(F(z))))) + softplus(-D(E(x))) + gamma/2 |grad_x D(E(x))|^2 (algorithm 1, step I)."""
        _, fake = self.generate(batch, training)
        real, penalty = losses.r1_penalty(self.criticise, self.pixels(batch.images))
        loss = losses.discriminator_loss(real, self.criticise(tf.stop_gradient(fake)))
        return {"discriminator": loss, "r1": self.r1 * penalty}

    def generator_loss(self, batch: Batch, training: bool) -> Terms:
        """softplus(-D(E(G(F(z))))) (algorithm 1, step II)."""
        _, fake = self.generate(batch, training)
        return {"generator": losses.generator_loss(self.criticise(fake))}

    def reciprocity_loss(self, batch: Batch, training: bool) -> Terms:
        """|E(G(w)) - w|^2 / d, the second w standing still (algorithm 1, step III): a mean over d as the authors' is.

        Through the image, F learns too.
        """
        codes, fake = self.generate(batch, training, mixing=False)
        return {"reciprocity": tf.reduce_mean(tf.square(self.read(self.encoder, fake) - tf.stop_gradient(codes)))}

    def generate(self, batch: Batch, training: bool, mixing: bool = True) -> tuple[tf.Tensor, tf.Tensor]:
        """As many codes F(z) as the batch has images, and what G makes of them."""
        codes = self.mapping(self.draw(tf.shape(batch.images)[0]))
        if training:
            self.mean_code.move(codes)
        return codes, self.draw_images(codes, mixing=mixing)

    def draw(self, count: tf.Tensor) -> tf.Tensor:
        """`[count, d]` draws z."""
        return self.prior.sample(count, seed=self.seeds.stateless())

    def criticise(self, pixels: tf.Tensor) -> tf.Tensor:
        """`[n]` logits."""
        return self.discriminator(self.read(self.trunk or self.encoder, pixels))

    def after_step(self, batch):
        if self.averages is not None:
            seen = tf.cast(replicas.rows(batch.images), tf.float64)
            self.averages.move(1 - tf.constant(0.5, tf.float64) ** (seen / self.ema_images))

    # === Verbs ===

    def encode(self, images) -> tf.Tensor:
        with self.averaged():
            return self.read(self.encoder, self.pixels(self.checked(images)))

    stochastic = False

    def encode_sample(self, images, *, seed=None) -> tf.Tensor:
        return self.encode(images)

    def sample_codes(self, count, labels=None, *, seed):
        """`[count, d]` codes F(z), draws of z from the prior."""
        with self.averaged():
            return self.mapping(self.prior.sample(count, labels, seed=seed))

    def sample(self, count=None, *, labels=None, seed=None, truncation: float | None = None) -> tf.Tensor:
        """`[count, h, w, c]` images of codes F(z).

        Args:
            count, seed: as in `LatentModel`.
            truncation: psi: codes are drawn towards their running mean, mean + psi (w - mean); None: they are not.
        """
        codes = self.sample_codes(self._count(count, labels), labels, seed=self._draw_seed(seed))
        return self.decode(codes if truncation is None else self.truncated(codes, truncation))

    def truncated(self, codes: tf.Tensor, psi: float) -> tf.Tensor:
        """Codes, or styles, drawn towards the mean of codes."""
        return self.mean_code.mean + psi * (codes - self.mean_code.mean)

    def manifolds(self):
        return {title: self._mapped(plane) for title, plane in self.prior.manifolds().items()}

    def _mapped(self, plane):
        with self.averaged():
            return self.mapping(tf.convert_to_tensor(plane, self.compute_dtype)).numpy()

    def exported(self):
        return [self.averages] if self.averages is not None else [self.mapping, self.decoder, self.encoder]


@register
class ALAE(LatentReciprocal):
    """An adversarial latent autoencoder of dense layers: it learns to encode its own images' codes, not their pixels.

    Its networks see images in [0, 1]; what leaves that range is cut off where it is shown.

    Args:
        units: widths of E's hidden layers, reversed in G.
        mapping_depth: layers of F.
        kwargs: of `LatentReciprocal`.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        *,
        units: tuple[int, ...] = (1024, 1024),
        mapping_depth: int = 6,
        **kwargs,
    ):
        super().__init__(image_shape, latent_dim, mapping_depth=mapping_depth, **kwargs)
        check_units(units=units)
        self.units = tuple(units)
        self.make_networks()

    def new_decoder(self):
        return DenseDecoder(self.latent_dim, self.units[::-1], self.image_shape, self.seeds)

    def new_encoder(self):
        return DenseEncoder(self.image_shape, self.units, self.latent_dim, self.seeds)

    def read(self, encoder, pixels):
        return encoder(pixels)

    def draw_images(self, codes, *, mixing):
        return self.decoder(codes)

    def pixels(self, images):
        return images

    def images(self, pixels):
        return tf.clip_by_value(pixels, 0.0, 1.0)

    def decode(self, codes):
        with self.averaged():
            return self.images(self.decoder(inputs.floats("codes", codes, [None, self.code_dim])))
