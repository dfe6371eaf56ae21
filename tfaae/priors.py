"""Priors: p(z), and p(z | k) for priors with segments, as tfp distributions.

A prior is a thin wrapper that adds labels to a tfp distribution: label k asks for segment k, -1 for the whole prior.
"""

import abc
import math
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfaae import naming
from tfaae.errors import InputError, above_zero, not_negative


class Prior(abc.ABC):
    """p(z) over `[d]` codes. A subclass defines `given`; its constructor's arguments are its config."""

    dim: int
    segments: int = 0  # labelled parts: mixture components, parts of the roll; 0 where there are none
    positive_everywhere: bool = True  # p(z) > 0 for every code: what KL(q, p) needs for a Gaussian q

    @abc.abstractmethod
    def given(self, labels: tf.Tensor) -> tfd.Distribution:
        """p(z | labels), batch shape `[n]`, event shape `[d]`, for `[n]` int32 labels; -1 is the whole prior."""

    def sample(self, count: int | tf.Tensor, labels: Any = None, *, seed: tf.Tensor) -> tf.Tensor:
        """`[count, d]` codes. `labels`: None or `[count]` int32. `seed`: `[2]` int32, stateless: one seed, one draw."""
        return self.given(self._labels(count, labels)).sample(seed=seed)

    def log_prob(self, codes: tf.Tensor, labels: Any = None) -> tf.Tensor:
        """`[n]` log p(z | labels) in nats, for `[n, d]` codes."""
        codes = tf.convert_to_tensor(codes, tf.float32)
        return self.given(self._labels(tf.shape(codes)[0], labels)).log_prob(codes)

    def manifolds(self) -> dict[str, np.ndarray]:
        """Codes worth decoding into a picture each, `{title: [rows, columns, d]}`; none unless the code is a plane."""
        return {}

    def get_config(self) -> dict[str, Any]:
        return {"name": type(self).__name__} | naming.arguments(self)

    def _labels(self, count, labels) -> tf.Tensor:
        if labels is None:
            return tf.fill([count], -1)
        if not self.segments:
            raise InputError(f"prior {type(self).__name__} has no labelled segments: sample it without labels")
        return tf.convert_to_tensor(labels, tf.int32)


def get(spec: Any) -> Prior:
    """A prior from its name, from `{"name": ..., argument: ...}`, or itself. Your own subclasses count."""
    prior = naming.make("prior", spec, {cls.__name__: cls for cls in naming.subclasses(Prior)})
    if not isinstance(prior, Prior):
        raise InputError(f"prior: expected a name, a mapping or a Prior, got {prior!r}")
    return prior


class Normal(Prior):
    """N(0, std^2 I). The paper's 2-D Gaussian has std 5 (its figure 2)."""

    def __init__(self, dim: int = 2, std: float = 1.0):
        above_zero("prior Normal", dim=dim, std=std)
        self.dim, self.std = dim, float(std)

    def given(self, labels):
        scale = tf.fill([tf.shape(labels)[0], self.dim], self.std)
        return tfd.MultivariateNormalDiag(tf.zeros_like(scale), scale)

    def manifolds(self):
        return {"percentiles": _plane(self.std * _gaussian_percentiles(17))} if self.dim == 2 else {}


class Uniform(Prior):
    """Uniform on the cube [-bound, bound]^dim."""

    positive_everywhere = False

    def __init__(self, dim: int = 2, bound: float = 1.0):
        above_zero("prior Uniform", dim=dim, bound=bound)
        self.dim, self.bound = dim, float(bound)

    def given(self, labels):
        bound = tf.fill([tf.shape(labels)[0], self.dim], self.bound)
        return tfd.Independent(tfd.Uniform(-bound, bound), reinterpreted_batch_ndims=1)

    def manifolds(self):
        return {"percentiles": _plane(self.bound * (2 * _percentiles(17) - 1))} if self.dim == 2 else {}


class GaussianMixture(Prior):
    """A flower of 2-D Gaussians (Makhzani et al. 2015, figures 2 and 4a).

    Component k lies along the ray at angle 2 pi k / components; it is segment k. The defaults were measured on the
    paper's figure 4a.

    Args:
        radius: distance of the means from the origin.
        radial_std, tangential_std: deviations along and across the ray.
    """

    dim = 2

    def __init__(
        self, components: int = 10, radius: float = 9.0, radial_std: float = 2.7, tangential_std: float = 0.55
    ):
        above_zero(
            "prior GaussianMixture",
            components=components,
            radius=radius,
            radial_std=radial_std,
            tangential_std=tangential_std,
        )
        self.components = self.segments = components
        self.radius = float(radius)
        self.radial_std, self.tangential_std = float(radial_std), float(tangential_std)

    def given(self, labels):
        logits = segment_logits(labels, self.components)
        rays, across = self._axes()
        scale = np.stack([self.radial_std * rays, self.tangential_std * across], axis=-1)  # [k, 2, 2], columns are axes
        covariance = scale @ np.swapaxes(scale, 1, 2)
        petals = tfd.MultivariateNormalTriL(
            tf.constant(self.radius * rays, tf.float32), tf.constant(np.linalg.cholesky(covariance), tf.float32)
        )
        return tfd.MixtureSameFamily(tfd.Categorical(logits=logits), petals)

    def manifolds(self):
        """The first three components along their own axes, at Gaussian percentiles (figure 4b)."""
        rays, across = self._axes()
        steps = _gaussian_percentiles(17)
        return {
            f"component {k}": self.radius * rays[k]
            + self.tangential_std * steps[:, None, None] * across[k]
            + self.radial_std * steps[None, :, None] * rays[k]
            for k in range(min(3, self.components))
        }

    def _axes(self) -> tuple[np.ndarray, np.ndarray]:
        angles = 2 * np.pi * np.arange(self.components) / self.components
        rays = np.stack([np.cos(angles), np.sin(angles)], axis=1)  # [k, 2]
        return rays, np.stack([-rays[:, 1], rays[:, 0]], axis=1)


class ToyGaussianMixture(GaussianMixture):
    """The small flower of most public implementations."""

    def __init__(self):
        super().__init__(components=10, radius=1.4, radial_std=0.5, tangential_std=0.1)


class SwissRoll(Prior):
    """A spiral sampled uniformly by area (figure 4c).

    t = scale sqrt(u), u ~ U(0, 1), z = (t cos t, t sin t) + N(0, noise^2 I).

    Scale 14 was measured on the paper's figure. Segment k of `parts` is u in [k / parts, (k + 1) / parts).

    Args:
        noise: standard deviation around the curve; 0 leaves the bare curve, which has no density.
    """

    dim = 2

    def __init__(self, scale: float = 14.0, noise: float = 0.25, parts: int = 10):
        above_zero("prior SwissRoll", scale=scale, parts=parts)
        not_negative("prior SwissRoll", noise=noise)
        self.scale, self.noise, self.parts = float(scale), float(noise), parts
        self.segments, self.positive_everywhere = parts, noise > 0

    def given(self, labels):
        part = tf.cast(labels, tf.float32)
        low = tf.where(labels < 0, 0.0, part / self.parts)
        high = tf.where(labels < 0, 1.0, (part + 1) / self.parts)
        return SwissRollDistribution(self.scale, self.noise, low, high)

    def manifolds(self):
        """A walk along the roll from its centre, row by row: 8 rows of 24 (figure 4d)."""
        t = self.scale * np.sqrt(_percentiles(8 * 24))
        return {"walk along the roll": np.stack([t * np.cos(t), t * np.sin(t)], axis=1).reshape(8, 24, 2)}


class SwissRollDistribution(tfd.Distribution):
    """The roll between u = low and u = high, as a tfp distribution with batch shape `[n]`.

    (tfp's `MixtureSameFamily` along the curve would be the same density, but it draws from every component.)

    Args:
        low, high: `[n]`, 0 <= low < high <= 1.
    """

    def __init__(self, scale: float, noise: float, low: tf.Tensor, high: tf.Tensor):
        parameters = dict(locals())
        self.scale, self.noise = scale, noise
        self.low, self.high = tf.convert_to_tensor(low), tf.convert_to_tensor(high)
        super().__init__(
            dtype=self.low.dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name="SwissRoll",
        )

    def _batch_shape(self):
        return self.low.shape

    def _batch_shape_tensor(self, **_):
        return tf.shape(self.low)

    def _event_shape(self):
        return tf.TensorShape([2])

    def _event_shape_tensor(self):
        return tf.constant([2])

    def _sample_n(self, n, seed=None):
        shape = tf.concat([[n], tf.shape(self.low)], axis=0)
        along, around = tfp.random.split_seed(seed)
        u = self.low + (self.high - self.low) * tf.random.stateless_uniform(shape, along, dtype=self.dtype)
        jitter = tf.random.stateless_normal(tf.concat([shape, [2]], axis=0), around, dtype=self.dtype)
        return self._curve(self.scale * tf.sqrt(u)) + self.noise * jitter

    def _log_prob(self, codes):
        """log of the integral of N(z; c(t), noise^2 I) p(t) dt, p(t) = 2 t / (t1^2 - t0^2), by quadrature."""
        if self.noise == 0:
            raise InputError("a SwissRoll without noise is a curve and has no density; set noise above 0")
        t, weight = self._nodes()  # [n, nodes]
        distance = tf.reduce_sum(tf.square(codes[..., None, :] - self._curve(t)), axis=-1)  # [..., n, nodes]
        log_normal = -distance / (2 * self.noise**2) - math.log(2 * math.pi * self.noise**2)
        return tf.reduce_logsumexp(tf.math.log(weight) + log_normal, axis=-1)

    def _nodes(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Nodes t and weights p(t) dt, `[n, nodes]` each: 16 Gauss-Legendre nodes a piece of 6 noise of the curve.

        u is proportional to the length of the curve (but for the innermost turn), so pieces are equal in u; within a
        piece t is the variable, since dt/du has no bound at 0.
        """
        pieces = math.ceil(self.scale**2 / 2 / (6 * self.noise))
        places, weights = np.polynomial.legendre.leggauss(16)
        span = (self.high - self.low)[:, None]
        u = self.low[:, None] + span * tf.cast(tf.linspace(0.0, 1.0, pieces + 1), self.dtype)
        ends = self.scale * tf.sqrt(u)
        first, width = ends[:, :-1, None], (ends[:, 1:] - ends[:, :-1])[..., None]  # [n, pieces, 1]
        t = first + width * tf.constant((places + 1) / 2, self.dtype)  # [n, pieces, 16]
        weight = 2 * t / (self.scale**2 * span[..., None]) * width * tf.constant(weights / 2, self.dtype)
        shape = [-1, 16 * pieces]
        return tf.reshape(t, shape), tf.reshape(weight, shape)

    @staticmethod
    def _curve(t):
        return tf.stack([t * tf.cos(t), t * tf.sin(t)], axis=-1)


class OneHot(Prior):
    """One of `dim` corners, each with probability 1 / dim: the categorical prior. Segment k is corner k."""

    positive_everywhere = False

    def __init__(self, dim: int = 10):
        if dim < 2:
            raise InputError(f"prior OneHot: dim must be at least 2, got {dim}")
        self.dim = self.segments = dim

    def given(self, labels):
        logits = segment_logits(labels, self.dim, never=-1e9)  # -inf would make tfp's log_prob NaN: 0 times -inf
        return tfd.OneHotCategorical(logits=logits, dtype=tf.float32)


class CategoryAndStyle(Prior):
    """A corner of `categories`, then a style from N(0, std^2 I), independent (Makhzani et al. 2015, section 5).

    Segment k is category k.

    Args:
        categories: at least 2.
        style_dim: length of the style; codes have length categories + style_dim.
        std: deviation of the style.
    """

    positive_everywhere = False

    def __init__(self, categories: int = 10, style_dim: int = 10, std: float = 1.0):
        self.category, self.style = OneHot(categories), Normal(style_dim, std)
        self.categories, self.style_dim, self.std = categories, style_dim, float(std)
        self.dim, self.segments = categories + style_dim, categories

    def given(self, labels):
        return tfd.Blockwise([self.category.given(labels), self.style.given(labels)])


def segment_logits(labels: tf.Tensor, segments: int, never: float = -math.inf) -> tf.Tensor:
    """`[n, segments]` logits of a choice that `[n]` labels settle: label k leaves segment k alone, -1 leaves all."""
    return tf.where((labels[:, None] < 0) | (labels[:, None] == tf.range(segments)), 0.0, never)


def _percentiles(count: int) -> np.ndarray:
    return (np.arange(count) + 0.5) / count


def _gaussian_percentiles(count: int) -> np.ndarray:
    return tfd.Normal(np.float64(0), np.float64(1)).quantile(_percentiles(count)).numpy()


def _plane(steps: np.ndarray) -> np.ndarray:
    """All pairs of steps as `[rows, columns, 2]`, the second coordinate falling from row to row, as in a plot."""
    return np.stack(np.meshgrid(steps, steps[::-1]), axis=-1)
