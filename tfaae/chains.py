"""One batch's chains of annealed importance sampling, as a graph to compile: `annealing` says what for.

The loop is not tfp's `sample_annealed_importance_chain`, which starts each transition from the log density and gradient
of the temperature before: with Hamiltonian dynamics hardly a proposal is then accepted.
"""

from typing import Any, Literal, get_args

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from scipy.special import expit
from tensorflow_probability import distributions as tfd

from tfaae.errors import choose

Schedule = Literal["linear", "sigmoid"]
Start = Literal["proposal", "prior"]

_LEAPFROGS = 10
_SIGMOID = 4.0  # the schedule's range: slow where beta is near 0 and near 1
_FEWEST, _MOST, _FACTOR = 0.6, 0.7, 1.1  # acceptance between which a step stays; else it is divided or multiplied


def temperatures(steps: int, schedule: Schedule) -> np.ndarray:
    """`[steps + 1]` values of beta from 0 to 1."""
    if choose("schedule", schedule, get_args(Schedule)) == "linear":
        return np.linspace(0, 1, steps + 1)
    heights = expit(np.linspace(-_SIGMOID, _SIGMOID, steps + 1))
    return (heights - heights[0]) / (heights[-1] - heights[0])


def anneal(
    model: Any,
    betas: np.ndarray,
    count: int,
    start: Start,
    step_size: float,
    seed: tf.Tensor,
    images: tf.Tensor,
    codes: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Log weights `[count, n]` of chains along betas, and the acceptance and step sizes `[n]` that they end with.

    The weight of a chain z_0, z_1, ... is sum_i (beta_{i+1} - beta_i) (log p(x, z_i) - log p0(z_i)), with z_i from a
    transition that leaves p0^(1 - beta_i) p(x, z)^beta_i as it is (Neal 2001, eq. 11).

    Args:
        betas: from 0 to 1, or from 1 to 0 for chains that begin at codes `[n, d]`.
        seed: `[2]` int32.
    """
    proposal = model.proposal(images)  # once: it may draw
    scale = proposal.stddev()  # [n, d]
    known = proposal if start == "proposal" else tfd.MultivariateNormalDiag(tf.zeros_like(scale), tf.ones_like(scale))
    if codes is None:
        codes = known.sample(count, seed=tf.random.fold_in(seed, 0))
    else:
        codes = tf.repeat(tf.cast(codes, scale.dtype)[None], count, axis=0)
    tempered, increments = tf.constant(betas, scale.dtype), tf.constant(np.diff(betas), tf.float64)

    def log_weight(index, codes):
        gain = model.log_joint(images, codes) - known.log_prob(codes)
        return increments[index] * tf.cast(gain, tf.float64)  # summed a thousand times

    def step(index, codes, log_weights, sizes, _):
        beta = tempered[index]
        transition = kernel(
            lambda codes: (1 - beta) * known.log_prob(codes) + beta * model.log_joint(images, codes),
            sizes[:, None] * scale,
        )
        # The results of the step before are of another temperature: its log density and gradient are not for this one.
        codes, results = transition.one_step(codes, transition.bootstrap_results(codes), tf.random.fold_in(seed, index))
        acceptance = tf.reduce_mean(tf.exp(tf.minimum(results.log_accept_ratio, 0)), axis=0)
        return index + 1, codes, log_weights + log_weight(index, codes), _adapted(sizes, acceptance), acceptance

    sizes = tf.fill([tf.shape(images)[0]], tf.cast(step_size, scale.dtype))
    state = (1, codes, log_weight(0, codes), sizes, tf.fill(tf.shape(sizes), tf.cast(np.nan, scale.dtype)))
    state = tf.while_loop(lambda index, *_: index < len(betas) - 1, step, state, parallel_iterations=1)
    _, _, log_weights, sizes, acceptance = state
    return log_weights, acceptance, sizes


def kernel(log_density: Any, step_sizes: tf.Tensor) -> tfp.mcmc.HamiltonianMonteCarlo:
    """The transition: leapfrogs of size `step_sizes` `[n, d]` for codes `[count, n, d]`."""
    return tfp.mcmc.HamiltonianMonteCarlo(log_density, step_size=step_sizes, num_leapfrog_steps=_LEAPFROGS)


def _adapted(sizes: tf.Tensor, acceptance: tf.Tensor) -> tf.Tensor:
    """`[n]`: every image follows its own chains."""
    factors = tf.where(acceptance < _FEWEST, 1 / _FACTOR, tf.where(acceptance > _MOST, _FACTOR, 1.0))
    return sizes * tf.cast(factors, sizes.dtype)
