"""Posteriors: q(z | x).

The encoder of a model *is* one of these layers; it owns its network and draws with the model's seeds.
"""

import abc
from typing import ClassVar, Literal, NamedTuple, get_args

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfaae import replicas
from tfaae.errors import InputError, choose
from tfaae.networks import Builder, Shape
from tfaae.seeds import Seeds

Name = Literal["deterministic", "gaussian", "implicit"]
Contrast = tuple[tf.Tensor, tfd.Distribution]  # codes [n, d], and r(z | x), a Gaussian, batch shape [n]
Covariance = Literal["diagonal", "full"]
VARIANCE_FLOOR = 1e-4


class Posterior(keras.layers.Layer, abc.ABC):
    """Abstract. `call` draws a code, `mode` gives the single best one.

    Args:
        network: from `Builder.encoder`, built.
        seeds: the model's.
    """

    stochastic: ClassVar[bool] = True  # whether two calls give two codes

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

    stochastic = False

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
        density = self.density(images, training)
        return density.sample(seed=self.seeds.stateless()), density

    def density(self, images, training=False) -> tfd.MultivariateNormalDiag:
        """q(z | x), batch shape `[n]`."""
        return tfd.MultivariateNormalDiag(*self._moments(images, training))

    def with_contrast(self, images, training=False) -> Contrast:
        codes, density = self.with_density(images, training)
        return codes, contrast(density.mean(), density.variance())

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

    def with_contrast(self, images, training=False, draws: int = 32) -> Contrast:
        """A draw, and the Gaussian of the mean and variance of `draws` more for each image."""
        again = tf.repeat(images, draws, axis=0)
        more = tf.reshape(self.call(again, training), [tf.shape(images)[0], draws, -1])
        return self.call(images, training), contrast(*tf.nn.moments(more, axes=[1]))

    def _noise_dim(self) -> int:
        return self.network.inputs[1].shape[-1]


class Heads(NamedTuple):
    """What the network of an `Additive` says of an image."""

    offset: tf.Tensor  # z_0, [n, d]
    amplitudes: tf.Tensor  # a_i, [n, bases, d]
    width: tf.Tensor | None = None  # a_0 of `CorrelatedBasis`: [n, d], above 0


class Additive(Posterior, abc.ABC):
    """Abstract: z = z_0(x) + sum_i a_i(x) v_i(noise_i), implicit, with moments in closed form from those of the v_i.

    Args:
        network: from `Builder.basis_encoder`: z_0 and raw amplitudes.
        basis: from `Builder.basis`: noise -> v.
    """

    def __init__(self, network: keras.Model, seeds: Seeds, basis: keras.Model):
        super().__init__(network, seeds)
        self.basis = basis

    @abc.abstractmethod
    def heads(self, images, training: bool) -> Heads:
        """Of `[n, h, w, c]` images."""

    @abc.abstractmethod
    def moments(self, v: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """E v `[bases, d]` and what r has of v's covariance, for any image; `v` while training: what it drew."""

    @abc.abstractmethod
    def gaussian(self, heads: Heads, mean_v: tf.Tensor, spread_v: tf.Tensor) -> tfd.Distribution:
        """r(z | x), no gradient through it."""

    def call(self, images, training=False):
        return self.draw(images, training)[0]

    def mode(self, images):
        return self.mean(self.heads(images, training=False), self.moments()[0])

    def with_contrast(self, images, training=False) -> Contrast:
        """A draw, and the Gaussian of the posterior's moments."""
        codes, heads, v = self.draw(images, training)
        return codes, self.gaussian(heads, *self.moments(v if training else None))

    def draw(self, images, training: bool) -> tuple[tf.Tensor, Heads, tf.Tensor]:
        """Codes `[n, d]`, and the heads and v they are made of."""
        heads = self.heads(images, training)
        v = self.basis(keras.random.normal((tf.shape(images)[0], *self.basis.input_shape[1:]), seed=self.seeds))
        return self.mean(heads, v), heads, v

    def mean(self, heads: Heads, v: tf.Tensor) -> tf.Tensor:
        """z_0 + sum_i a_i v_i `[n, d]`, of draws of v or of their mean."""
        return heads.offset + tf.reduce_sum(heads.amplitudes * v, axis=1)


class Basis(Additive):
    """The posterior of Mescheder et al. 2017, section 4; r has variances, no covariances.

    a_i are positive and start near exp(-5): almost no noise at first. The moments of v_i are estimated: while training
    from the batch's own draws or from `draws` more, else from running averages of those.

    Args:
        draws: extra draws that estimate E v and Var v at every training step; 0: the batch's own.
        others: of `Additive`.
    """

    def __init__(self, network: keras.Model, seeds: Seeds, basis: keras.Model, draws: int = 256):
        super().__init__(network, seeds, basis)
        self.draws = draws
        shape = basis.output_shape[1:]
        self.mean_v = self.add_weight(name="mean_v", shape=shape, initializer="zeros", trainable=False)
        self.variance_v = self.add_weight(name="variance_v", shape=shape, initializer="ones", trainable=False)

    def heads(self, images, training):
        both = self.network(images, training=training)
        return Heads(both[:, 0], tf.nn.elu(both[:, 1:] - 5) + 1)

    def gaussian(self, heads, mean_v, spread_v):
        """E[z | x] = z_0 + sum_i a_i E[v_i], Var[z | x] = sum_i a_i^2 Var[v_i] by coordinate: v_i are independent."""
        return contrast(self.mean(heads, mean_v), tf.reduce_sum(tf.square(heads.amplitudes) * spread_v, axis=1))

    def moments(self, v=None):
        if v is None:
            return self.mean_v.value, self.variance_v.value
        if self.draws:
            with self.seeds.shared():
                mean, variance = tf.nn.moments(self._one_for_all(self.draws), axes=[0])
        else:
            mean, variance = replicas.moments(v)
        self.mean_v.assign_add(0.05 * (mean - self.mean_v.value))
        self.variance_v.assign_add(0.05 * (variance - self.variance_v.value))
        return mean, variance

    def estimate(self, draws: int) -> tuple[tf.Tensor, tf.Tensor]:
        """E v and Var v from many draws."""
        blocks = [self._one_for_all(10_000) for _ in range(-(-draws // 10_000))]
        return tf.nn.moments(tf.concat(blocks, axis=0), axes=[0])

    def _one_for_all(self, count: int) -> tf.Tensor:
        """`count` draws of each v_i, all from one noise, which is enough for the moments of each."""
        bases, width = self.basis.input_shape[1:]
        noise = keras.random.normal((count, 1, width), seed=self.seeds)
        return self.basis(tf.repeat(noise, bases, axis=1))


class CorrelatedBasis(Additive):
    """z = z_0(x) + a_0(x) noise_0 + sum_i a_i(x) v_i(noise_i), noise_0 ~ N(0, I), noise_i a number; r has all of Cov z.

    Codes of an image are correlated, and a diagonal r leaves that for T to find, which falls tens of nats behind. Here
    T learns what no Gaussian has. a_i, i > 0, are of either sign and start near 0: at first this is a VAE's posterior,
    and then each turns a curve v_i, a line if it were linear, any way an image needs. Moments of v_i are integrals over
    one number, by quadrature: draws are too few for a covariance, and averages of them lag behind the networks.

    Args:
        network: with one amplitude more than there are bases, a_0, which is the first.
        others: of `Additive`.
    """

    def __init__(self, network: keras.Model, seeds: Seeds, basis: keras.Model):
        super().__init__(network, seeds, basis)
        nodes, weights = np.polynomial.hermite_e.hermegauss(64)
        self._nodes = np.repeat(nodes[:, None, None], basis.input_shape[1], axis=1).astype(np.float32)
        self._node_weights = (weights / weights.sum()).astype(np.float32)

    def heads(self, images, training):
        both = self.network(images, training=training)
        return Heads(both[:, 0], both[:, 2:], tf.nn.elu(both[:, 1]) + 1)

    def draw(self, images, training):
        codes, heads, v = super().draw(images, training)
        return codes + heads.width * keras.random.normal(tf.shape(codes), seed=self.seeds), heads, v

    def gaussian(self, heads, mean_v, spread_v):
        """Cov[z | x] = diag(a_0^2) + sum_i diag(a_i) Cov[v_i] diag(a_i)."""
        pairs = heads.amplitudes[:, :, :, None] * heads.amplitudes[:, :, None, :]
        covariance = tf.reduce_sum(pairs * spread_v, axis=1) + tf.linalg.diag(tf.square(heads.width) + VARIANCE_FLOOR)
        factor = tf.linalg.cholesky(tf.stop_gradient(covariance))
        return tfd.MultivariateNormalTriL(tf.stop_gradient(self.mean(heads, mean_v)), factor)

    def moments(self, v=None):
        """E v and Cov v_i `[bases, d, d]`, by Gauss-Hermite quadrature."""
        values = self.basis(tf.constant(self._nodes))
        mean = tf.einsum("n,nik->ik", self._node_weights, values)
        rest = values - mean
        return mean, tf.einsum("n,nik,nil->ikl", self._node_weights, rest, rest)


def contrast(mean: tf.Tensor, variance: tf.Tensor) -> tfd.MultivariateNormalDiag:
    """The auxiliary Gaussian r(z | x) of adaptive contrast: one regularised variance for whitening and density alike.

    Constants, as the paper has it: gradients reach the encoder through the code alone. The floor keeps log r finite
    where the posterior has collapsed.
    """
    fixed_variance = tf.stop_gradient(variance) + VARIANCE_FLOOR
    return tfd.MultivariateNormalDiag(tf.stop_gradient(mean), tf.sqrt(fixed_variance))


class CategoryAndStyle(Posterior):
    """q(y, z | x): one network, two heads, a category y = softmax and a style z (Makhzani et al. 2015, section 5).

    A code is `[y, z]`: the softmax itself, not a draw from it, so that gradients pass. The network gives
    `categories + d` values.
    """

    stochastic = False

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
