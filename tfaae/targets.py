"""Targets: unnormalised log densities over R^d, for variational inference without images.

The posterior of a statistical model is one: p(z | y) is p(z, y) up to the evidence p(y), which only exact or simulated
references know (`tfaae.reference`). The named ones are those of the experiments of Mescheder, Nowozin and Geiger 2017,
"Adversarial variational Bayes" (arXiv 1701.04722): Eight Schools (their figures 3 and 5) and the toys of their code.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfaae.errors import InputError, above_zero, choose
from tfaae.seeds import fixed

SCHOOL_EFFECTS = np.array([2.8, 0.8, -0.3, 0.7, -0.1, 0.1, 1.8, 1.2], np.float32)  # y: Rubin 1981, over 10
SCHOOL_ERRORS = np.array([0.8, 0.5, 0.8, 0.6, 0.5, 0.6, 0.5, 0.4], np.float32)  # sigma: about his over 20
PLANE = 8.0  # extent of the named targets in the plane


@dataclass(frozen=True)
class Target:
    """An unnormalised density over R^d.

    Attributes:
        log_joint: `[..., d]` -> `[...]`, in nats, written with TensorFlow: gradients pass.
        coordinates: a name for each of the d.
        log_evidence: log of the integral of exp(log_joint), in nats, where it is known.
        extent: every coordinate of all the mass that counts is between -extent and extent, where that is known.
    """

    name: str
    log_joint: Callable[[tf.Tensor], tf.Tensor]
    coordinates: tuple[str, ...]
    log_evidence: float | None = None
    extent: float | None = None

    @property
    def dim(self) -> int:
        return len(self.coordinates)


def find(name: str) -> Target:
    """One of this module's own targets.

    Raises:
        InputError: an unknown name, with the closest one.
    """
    named = {make.__name__: make for make in (eight_schools, gaussian, rosenbrock, torus)}
    return named[choose("target", name, named)]()


def from_function(log_joint: Callable[[tf.Tensor], tf.Tensor], dim: int, name: str = "function") -> Target:
    """A target from any function `[..., dim]` -> `[...]` of TensorFlow operations.

    Raises:
        InputError: where its values, or their gradients, are not what a target's are.
    """
    above_zero(f"target {name}", dim=dim)
    return checked(Target(name, log_joint, tuple(_numbered("z", dim))))


def from_joint(joint: tfd.Distribution, name: str = "joint", **observed: Any) -> Target:
    """The posterior of a tfp joint distribution, given values of some of its parts.

    A constrained part (a scale, a probability) is replaced by its preimage u under tfp's default bijector f, and
    log |det df/du| is added, so that the evidence stays the same; `coordinates` then name values of u. Parts are
    flattened in the joint's order, that of their names for a joint made of a dict.

    Args:
        joint: any `tfd.JointDistribution*` of scalar and vector parts that takes batches: `AutoBatched`, or written
            with `[..., None]`.
        observed: a value for each part that was seen, by name.
    Raises:
        InputError: an unknown part, a discrete one, or log probabilities that are not what a target's are.
    """
    parts = joint._flat_resolve_names()
    seen = {choose(f"part of {name}", part, parts): value for part, value in observed.items()}
    free = joint.experimental_pin(**seen) if seen else joint
    kinds = sorted({tf.as_dtype(kind).name for kind in tf.nest.flatten(free.dtype)})
    if len(kinds) != 1 or not tf.as_dtype(kinds[0]).is_floating:
        raise InputError(f"target {name}: expected unobserved parts of one real type, got {', '.join(kinds) or 'none'}")
    constrain = free.experimental_default_event_space_bijector()
    shapes = constrain.inverse_event_shape(free.event_shape)

    def log_joint(z):
        z = tf.convert_to_tensor(z)
        u = _split(tf.cast(z, kinds[0]), shapes)
        total = free.unnormalized_log_prob(constrain.forward(u)) + constrain.forward_log_det_jacobian(u)
        return tf.cast(total, z.dtype)

    return checked(Target(name, log_joint, tuple(_coordinates(name, free._flat_resolve_names(), shapes))))


def eight_schools() -> Target:
    """Eight Schools, non-centred: mu, tau, eta_j ~ N(0, 1), y_j ~ N(mu + tau eta_j, sigma_j^2).

    tau has no sign: (tau, eta) and (-tau, -eta) are as probable, so the posterior has two modes. The data are those of
    their code, which are not the classic ones: with those over 10 the posterior of tau has a single mode. The evidence
    is by quadrature (`tfaae.reference.exact_grid`).
    """

    def model():
        root = tfd.JointDistributionCoroutine.Root
        mu = yield root(tfd.Normal(0.0, 1.0, name="mu"))
        tau = yield root(tfd.Normal(0.0, 1.0, name="tau"))
        eta = yield root(tfd.Sample(tfd.Normal(0.0, 1.0), len(SCHOOL_EFFECTS), name="eta"))
        effects = mu[..., None] + tau[..., None] * eta
        yield tfd.Independent(tfd.Normal(effects, SCHOOL_ERRORS), reinterpreted_batch_ndims=1, name="y")

    target = from_joint(tfd.JointDistributionCoroutine(model), "eight_schools", y=SCHOOL_EFFECTS)
    return Target(target.name, target.log_joint, target.coordinates, log_evidence=-12.7108)


def gaussian() -> Target:
    """A correlated Gaussian in the plane: means 1 and -1, deviations 1 and 0.5, correlation 0.8; normalised."""
    covariance = np.array([[1.0, 0.4], [0.4, 0.25]], np.float32)
    density = tfd.MultivariateNormalTriL([1.0, -1.0], np.linalg.cholesky(covariance))
    return Target("gaussian", density.log_prob, ("z_1", "z_2"), log_evidence=0.0, extent=PLANE)


def rosenbrock() -> Target:
    """-(z_1 - 1)^2 - (z_2^2 - z_1)^2, as their code has it: a bend with one arm above and one below."""

    def log_joint(z):
        first, second = tf.unstack(z, axis=-1)
        return -((first - 1) ** 2) - (second**2 - first) ** 2

    return _in_the_plane("rosenbrock", log_joint)


def torus() -> Target:
    """-(z_1^2 + z_2^2 - 2)^2: a ring of radius sqrt(2)."""
    return _in_the_plane("torus", lambda z: -((tf.reduce_sum(z**2, axis=-1) - 2) ** 2))


def _in_the_plane(name: str, log_joint: Callable[[tf.Tensor], tf.Tensor]) -> Target:
    """A target in two dimensions with its evidence by the midpoint rule, which is exact for tails that vanish."""
    cells = 400
    centres = ((np.arange(cells) + 0.5) / cells * 2 - 1) * PLANE
    values = log_joint(tf.constant(np.stack(np.meshgrid(centres, centres), axis=-1)))  # float64
    evidence = float(tf.reduce_logsumexp(values) + 2 * np.log(2 * PLANE / cells))
    return Target(name, log_joint, ("z_1", "z_2"), evidence, PLANE)


def _numbered(part: str, count: int) -> Iterator[str]:
    return (f"{part}_{index + 1}" for index in range(count))


def _coordinates(name: str, parts: Sequence[str], shapes: Any) -> Iterator[str]:
    """Names in the order in which `tf.nest` flattens the parts."""
    ordered = sorted(parts) if isinstance(shapes, dict) else parts
    for part, shape in zip(ordered, tf.nest.flatten(shapes), strict=True):
        if shape.rank not in (0, 1):
            raise InputError(f"target {name}: expected scalar and vector parts, got {part} of shape {shape}")
        yield from _numbered(part, shape[0]) if shape.rank else [part]


def _split(z: tf.Tensor, shapes: Any) -> Any:
    """`[..., d]` -> the parts, in the structure of their event shapes."""
    flat = tf.nest.flatten(shapes)
    parts = tf.split(z, [shape.num_elements() for shape in flat], axis=-1)
    parts = [part if shape.rank else part[..., 0] for part, shape in zip(parts, flat, strict=True)]
    return tf.nest.pack_sequence_as(shapes, parts)


def checked(target: Target) -> Target:
    """The target itself, after a look at a few standard normal points with two batch axes.

    Raises:
        InputError: where its values, or their gradients, are not `[...]`, finite, for `[..., dim]` points.
    """
    z = tf.random.stateless_normal((2, 3, target.dim), fixed(0))
    told = f"target {target.name}: expected log_joint of `[2, 3, {target.dim}]` points to be `[2, 3]`"
    with tf.GradientTape() as tape:
        tape.watch(z)
        try:
            values = tf.convert_to_tensor(target.log_joint(z), z.dtype)
        except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
            raise InputError(f"{told}, got {type(error).__name__}: {error}") from error
    if values.shape != (2, 3):
        raise InputError(f"{told}, got {values.shape}: it keeps every axis but the last")
    gradient = tape.gradient(values, z)
    if gradient is None:
        raise InputError(f"{told} with a gradient, got none: write it with TensorFlow operations alone")
    if not (np.isfinite(values).all() and np.isfinite(gradient).all()):
        raise InputError(f"{told}, finite and with finite gradients, got {values.numpy().ravel().tolist()}")
    return target
