"""Posteriors: q(z | x).

The encoder of a model *is* one of these layers; it owns its network and draws with the model's seeds.
"""

import abc
from typing import Literal, get_args

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfaae.errors import InputError, choose
from tfaae.networks import Builder, Shape
from tfaae.seeds import Seeds

Name = Literal["deterministic", "gaussian", "implicit"]


class Posterior(keras.layers.Layer, abc.ABC):
    """Abstract. `call` draws a code, `mode` gives the single best one.

    Args:
        network: from `Builder.encoder`, built.
        seeds: the model's.
    """

    def __init__(self, network: keras.Model, seeds: Seeds):
        super().__init__(name="encoder")
        self.network, self.seeds = network, seeds
        self.built = True  # a posterior's only weights are its network's

    @abc.abstractmethod
    def call(self, images, training=False) -> tf.Tensor:
        """`[n, h, w, c]` -> `[n, d]`, one draw from q(z | x)."""

    @abc.abstractmethod
    def mode(self, images) -> tf.Tensor:
        """`[n, h, w, c]` -> `[n, d]` without a draw, so that it exports to TFLite."""


class Deterministic(Posterior):
    """z = f(x): the only randomness is the data's. Every number of Makhzani et al. 2015 was made with it."""

    def call(self, images, training=False):
        return self.network(images, training=training)

    def mode(self, images):
        return self.network(images, training=False)


class Gaussian(Posterior):
    """z ~ N(mean(x), deviation(x)^2), reparameterised (Kingma and Welling 2014, section 2.4).

    The network gives `2 d` values.
    """

    def call(self, images, training=False):
        return self.with_density(images, training)[0]

    def mode(self, images):
        return self._moments(images, training=False)[0]

    def with_density(self, images, training=False) -> tuple[tf.Tensor, tfd.MultivariateNormalDiag]:
        """A draw `[n, d]`, and q(z | x) itself with batch shape `[n]`."""
        density = tfd.MultivariateNormalDiag(*self._moments(images, training))
        return density.sample(seed=self.seeds.stateless()), density

    def _moments(self, images, training):
        mean, raw = tf.split(self.network(images, training=training), 2, axis=-1)
        return mean, tf.nn.softplus(raw) + 1e-5  # the floor keeps log q finite


class Implicit(Posterior):
    """z = f(x, noise), noise ~ N(0, I): any q(z | x), without a density: the universal approximator (section 2.2)."""

    def call(self, images, training=False):
        noise = keras.random.normal((tf.shape(images)[0], self._noise_dim()), seed=self.seeds)
        return self.network([images, noise], training=training)

    def mode(self, images):
        noise = tf.zeros((tf.shape(images)[0], self._noise_dim()))
        return self.network([images, noise], training=False)

    def _noise_dim(self) -> int:
        return self.network.inputs[1].shape[-1]


class CategoryAndStyle(Posterior):
    """q(y, z | x): one network, two heads, a category y = softmax and a style z (Makhzani et al. 2015, section 5).

    A code is `[y, z]`: the softmax itself, not a draw from it, so that gradients pass. The network gives
    `categories + d` values.
    """

    def __init__(self, network: keras.Model, seeds: Seeds, categories: int):
        super().__init__(network, seeds)
        self.categories = categories

    def call(self, images, training=False):
        return tf.concat(self.with_logits(images, training)[1:], axis=-1)

    def mode(self, images):
        return self.call(images, training=False)

    def with_logits(self, images, training=False) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Logits of the category `[n, categories]`, their softmax, and the style `[n, d]`."""
        logits, style = self.split(self.network(images, training=training))
        return logits, tf.nn.softmax(logits), style

    def split(self, codes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`[n, categories + d]` -> category, style."""
        return codes[:, : self.categories], codes[:, self.categories :]


def build(
    name: Name,
    builder: Builder,
    image_shape: Shape,
    latent_dim: int,
    units: tuple[int, ...],
    input_noise: float = 0.0,
    noise_dim: int = 10,
    input_dropout: float = 0.0,
) -> Posterior:
    """The encoder of a model: a posterior over `[n, latent_dim]` codes on a new network.

    `noise_dim` is for `implicit` alone.
    """
    choose("posterior", name, get_args(Name))
    if name == "implicit":
        if noise_dim < 1:
            raise InputError(f"posterior implicit: noise_dim must be at least 1, got {noise_dim}")
        network = builder.encoder(image_shape, latent_dim, units, input_noise, noise_dim, input_dropout)
        return Implicit(network, builder.seeds)
    outputs = 2 * latent_dim if name == "gaussian" else latent_dim
    network = builder.encoder(image_shape, outputs, units, input_noise, input_dropout=input_dropout)
    return (Gaussian if name == "gaussian" else Deterministic)(network, builder.seeds)
