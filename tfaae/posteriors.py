"""Posteriors: q(z | x).

The encoder of a model *is* one of these layers; it owns its network and draws with the model's seeds.
"""

import abc
import math
from typing import ClassVar, Literal, get_args

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfaae import replicas
from tfaae.errors import InputError, choose
from tfaae.networks import Builder, Shape
from tfaae.seeds import Seeds

Name = Literal["deterministic", "gaussian", "implicit"]
# codes [n, d]; r(z | x), a Gaussian, batch shape [n]; the same codes, their gradient passing to what T can tell alone
Contrast = tuple[tf.Tensor, tfd.Distribution, tf.Tensor]
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

    def density_between(self, images, others: int, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Codes, and log q twice: as `CorrelatedBasis.density_between`, with nothing to estimate."""
        density = self.density(images)
        codes = density.sample(seed=seed)
        return codes, density.log_prob(codes), density.log_prob(codes)

    def with_contrast(self, images, training=False) -> Contrast:
        codes, density = self.with_density(images, training)
        return codes, contrast(density.mean(), density.variance()), codes

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
        codes = self.call(images, training)
        return codes, contrast(*tf.nn.moments(more, axes=[1])), codes

    def _noise_dim(self) -> int:
        return self.network.inputs[1].shape[-1]


class Basis(Posterior):
    """z = z_0(x) + sum_i a_i(x) v_i(noise_i), implicit, with moments in closed form from those of the v_i.

    The posterior of Mescheder et al. 2017, section 4; r has variances, no covariances. a_i are positive and start near
    exp(-5): almost no noise at first. The moments of v_i are estimated: while training from the batch's own draws or
    from `draws` more, else from running averages of those.

    Args:
        network: from `Builder.basis_encoder`: z_0 and raw amplitudes.
        basis: from `Builder.basis`: noise -> v.
        draws: extra draws that estimate E v and Var v at every training step; 0: the batch's own.
    """

    def __init__(self, network: keras.Model, seeds: Seeds, basis: keras.Model, draws: int = 256):
        super().__init__(network, seeds)
        self.basis, self.draws = basis, draws
        shape = basis.output_shape[1:]
        self.mean_v = self.add_weight(name="mean_v", shape=shape, initializer="zeros", trainable=False)
        self.variance_v = self.add_weight(name="variance_v", shape=shape, initializer="ones", trainable=False)

    def call(self, images, training=False):
        return self._draw(images, training)[0]

    def mode(self, images):
        offset, amplitudes = self._heads(images, training=False)
        return self._mean(offset, amplitudes, self.mean_v.value)

    def with_contrast(self, images, training=False) -> Contrast:
        """A draw, and the Gaussian of E[z | x] = z_0 + sum_i a_i E[v_i], Var[z | x] = sum_i a_i^2 Var[v_i]."""
        codes, offset, amplitudes, v = self._draw(images, training)
        mean_v, variance_v = self._moments(v) if training else (self.mean_v.value, self.variance_v.value)
        mean = self._mean(offset, amplitudes, mean_v)
        return codes, contrast(mean, tf.reduce_sum(tf.square(amplitudes) * variance_v, axis=1)), codes

    def estimate(self, draws: int) -> tuple[tf.Tensor, tf.Tensor]:
        """E v and Var v from many draws."""
        blocks = [self._one_for_all(10_000) for _ in range(-(-draws // 10_000))]
        return tf.nn.moments(tf.concat(blocks, axis=0), axes=[0])

    def _draw(self, images, training: bool) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Codes `[n, d]`, and z_0, a and v they are made of."""
        offset, amplitudes = self._heads(images, training)
        noise = keras.random.normal((tf.shape(images)[0], *self.basis.input_shape[1:]), seed=self.seeds)
        v = self.basis(noise)
        return self._mean(offset, amplitudes, v), offset, amplitudes, v

    def _heads(self, images, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """z_0 `[n, d]` and a `[n, bases, d]`."""
        both = self.network(images, training=training)
        return both[:, 0], tf.nn.elu(both[:, 1:] - 5) + 1

    def _mean(self, offset, amplitudes, v) -> tf.Tensor:
        """z_0 + sum_i a_i v_i, of draws of v or of their mean."""
        return offset + tf.reduce_sum(amplitudes * v, axis=1)

    def _moments(self, v: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if self.draws:
            with self.seeds.shared():
                mean, variance = tf.nn.moments(self._one_for_all(self.draws), axes=[0])
        else:
            mean, variance = replicas.moments(v)
        self.mean_v.assign_add(0.05 * (mean - self.mean_v.value))
        self.variance_v.assign_add(0.05 * (variance - self.variance_v.value))
        return mean, variance

    def _one_for_all(self, count: int) -> tf.Tensor:
        """`count` draws of each v_i, all from one noise, which is enough for the moments of each."""
        bases, width = self.basis.input_shape[1:]
        noise = keras.random.normal((count, 1, width), seed=self.seeds)
        return self.basis(tf.repeat(noise, bases, axis=1))


class CorrelatedBasis(Posterior):
    """z = z_0(x) + a(x) (noise_0 + sum_i b_i(x) noise_i + sum_j c_j(x) v_j(noise_j)); r has all of Cov z.

    Codes of an image are correlated, and a diagonal r leaves that for T to find, which falls tens of nats behind. Here
    noise_0 ~ N(0, I) and the lines b_i, one a code dimension and noise_i a number, make a Gaussian of any covariance,
    as r is, and T learns what the curves v_j add to it. Curves have mean 0 and variance 1, and squares of c sum up to
    less than `curve_width`^2: else the encoder threads the codes on curves with no noise around them, and T is slow to
    see it. b and c start near 0, a VAE's posterior. Moments of v_j are integrals over one number, by quadrature: draws
    are too few for a covariance, and averages of them lag behind the networks.

    Args:
        network: from `Builder.correlated_encoder`.
        basis: from `Builder.basis`: noise -> curves, before they are brought to mean 0 and variance 1.
        curve_width: of all curves together, the noise around them being 1.
    """

    def __init__(self, network: keras.Model, seeds: Seeds, basis: keras.Model, curve_width: float = 0.5):
        super().__init__(network, seeds)
        self.basis, self.curve_width = basis, curve_width
        self.bases = basis.input_shape[1]
        nodes, weights = np.polynomial.hermite_e.hermegauss(64)
        self._nodes = np.repeat(nodes[:, None, None], self.bases, axis=1).astype(np.float32)
        self._node_weights = (weights / weights.sum()).astype(np.float32)

    def call(self, images, training=False):
        return self.with_contrast(images, training)[0]

    def mode(self, images):
        """The mean."""
        return self.heads(images, training=False)[0]

    def with_contrast(self, images, training=False) -> Contrast:
        """What T tells reaches the curves alone.

        In its coordinates q does not depend on z_0 and a, and on b only by how lines blur curves: without curves q is
        r, and T* is 0. That little is left out: T's noise, which would come with it, throws the encoder back.
        """
        offset, width, lines, curves = self.heads(images, training)
        count, dim = tf.unstack(tf.shape(offset))
        noise = keras.random.normal((count, dim), seed=self.seeds)
        along = keras.random.normal((count, lines.shape[1]), seed=self.seeds)
        at_nodes, v = self._curves(keras.random.normal((count, self.bases, 1), seed=self.seeds))
        gaussian = offset + width * (noise + tf.einsum("nid,ni->nd", lines, along))
        curved = tf.reduce_sum(curves * v, axis=1)
        seen = tf.stop_gradient(gaussian) + tf.stop_gradient(width) * curved
        return gaussian + width * curved, self._gaussian(offset, width, lines, curves, at_nodes), seen

    def _gaussian(self, offset, width, lines, curves, at_nodes) -> tfd.MultivariateNormalTriL:
        """Cov[z | x] = diag(a) (I + sum_i b_i b_i' + sum_j diag(c_j) Cov[v_j] diag(c_j)) diag(a)."""
        spread = tf.einsum("n,nik,nil->ikl", self._node_weights, at_nodes, at_nodes)
        inner = tf.reduce_sum(curves[:, :, :, None] * curves[:, :, None, :] * spread, axis=1)
        inner += tf.linalg.matmul(lines, lines, transpose_a=True) + tf.eye(tf.shape(offset)[1])
        scale = width[:, :, None] * tf.linalg.cholesky(inner)
        return tfd.MultivariateNormalTriL(tf.stop_gradient(offset), tf.stop_gradient(scale))

    def density_between(self, images, others: int, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Codes `[n, d]`, one draw for each image, and what is above and below log q(z | x) in the mean `[n]`, nats.

        Given the noise of its curves a code is Gaussian, so that q is a mixture of those. `others` draws of that noise
        give log q from below (Jensen); with the code's own among them, which is likelier than they are, from above
        (Yin and Zhou 2018, arXiv 1805.11183). The more there are the closer the two.
        """
        offset, width, lines, curves = self.heads(images, training=False)
        count = tf.shape(offset)[0]
        seeds = tf.random.split(seed, 3)
        inner = tf.linalg.matmul(lines, lines, transpose_a=True) + tf.eye(tf.shape(offset)[1])
        gaussian = tfd.MultivariateNormalTriL(scale_tril=tf.linalg.cholesky(inner))
        own = tf.reduce_sum(curves * self._drawn(count, seeds[0]), axis=1)
        white = own + gaussian.sample(seed=seeds[1])
        shifts = tf.einsum("nid,kid->knd", curves, self._drawn(others, seeds[2]))
        theirs, its_own = tf.reduce_logsumexp(gaussian.log_prob(white - shifts), axis=0), gaussian.log_prob(white - own)
        volume = tf.reduce_sum(tf.math.log(width), axis=-1)
        above = tf.reduce_logsumexp([theirs, its_own], axis=0) - math.log(others + 1)
        return offset + width * white, above - volume, theirs - math.log(others) - volume

    def heads(self, images, training: bool) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """z_0 `[n, d]`, a `[n, d]`, b `[n, d, d]` and c `[n, bases, d]`."""
        offset, raw, lines, curves = self.network(images, training=training)
        width = tf.nn.elu(raw) + 1 + math.sqrt(VARIANCE_FLOOR)
        return offset, width, lines, self.curve_width / math.sqrt(self.bases) * tf.tanh(curves)

    def _drawn(self, count: tf.Tensor | int, seed: tf.Tensor) -> tf.Tensor:
        """`[count, bases, d]` draws of the curves."""
        return self._curves(tf.random.stateless_normal([count, self.bases, 1], seed))[1]

    def _curves(self, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`v [., bases, d]` at the quadrature's nodes, and at noise `[n, bases, 1]`."""
        both = self.basis(tf.concat([self._nodes, noise], axis=0))
        at_nodes, v = both[: len(self._nodes)], both[len(self._nodes) :]
        mean = tf.einsum("n,nik->ik", self._node_weights, at_nodes)
        variance = tf.einsum("n,nik->ik", self._node_weights, tf.square(at_nodes - mean))
        scale = tf.math.rsqrt(variance + VARIANCE_FLOOR)
        return (at_nodes - mean) * scale, (v - mean) * scale


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
