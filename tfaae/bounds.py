"""Lower bounds on log p(x) by importance sampling (Burda et al. 2016, arXiv 1509.00519), and how sure a mean is.

The bound of k samples rises with k towards log p(x), and is below it in the mean over draws, whatever the proposal.
With the encoder's q(z | x) as the proposal and one sample it is the ELBO; with k, the bound of importance-weighted
autoencoders. How far below log p(x) it stays is for `annealing` to say.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfaae import errors, streams
from tfaae.errors import InputError


class Summary(NamedTuple):
    """A mean over images, and its standard error."""

    mean: float
    error: float


def importance_bound(
    model: Any,
    images: np.ndarray,
    samples: int = 5000,
    seed: int = 0,
    inflate: float = 1.0,
    *,
    batch: int = 50,
    chunk: int = 100,
    jit_compile: bool = True,
    verbose: int = 0,
) -> np.ndarray:
    """`[n]` log mean_k p(x, z_k) / r(z_k | x), z_k ~ r, in nats, float64 (Burda et al. 2016, eq. 8).

    Args:
        model: with `log_joint` and `proposal`, as `streams.checked` says.
        images: `[n, h, w, c]`.
        samples: k.
        seed: the same seed, batch and chunk give the same draws.
        inflate: widens r's scale: 1.1 or 1.2 for a Gaussian that is narrower than the posterior, whose few draws in
            the tails would weigh too much.
        batch, chunk: images and samples at a time: so many decodings, batch times chunk, are in memory at once.
        jit_compile: XLA. Off, a convolutional decoder may be faster on a CPU; results differ by rounding.
        verbose: 1 shows a progress bar.
    Raises:
        InputError: where a number is not above 0, `streams.checked` finds fault with images or model, r cannot be
            inflated, or a weight is nan.
    """
    errors.above_zero("importance_bound", samples=samples, inflate=inflate, batch=batch, chunk=chunk)
    images = streams.checked("importance_bound", model, images)
    _inflated(model.proposal(images[:1]), inflate)
    chunk = min(chunk, samples)
    bound = tf.function(partial(_bound, model, samples, chunk, inflate), jit_compile=jit_compile)

    def of_batch(start: int, rows: np.ndarray) -> streams.Results:
        found = bound(rows, streams.seed_of(seed, start)).numpy()
        streams.usable("importance_bound", found, start)
        return {"bound": found}

    return streams.over_batches(of_batch, [images], batch, verbose=verbose)["bound"]


def elbo_between(
    model: Any, images: np.ndarray, others: int = 1000, codes: int = 10, seed: int = 0, *, batch: int = 50
) -> tuple[np.ndarray, np.ndarray]:
    """What is below and above the ELBO in the mean `[n]`, nats, float64, no T involved; the same where q has a density.

    Args:
        model: with `log_joint`, and an encoder with `density_between`: VAE, IWAE, `AdaptiveAVB(covariance="full")`.
        images: `[n, h, w, c]`.
        others: draws of the noise for each code: the more, the closer the two.
        codes: draws an image, of which the mean is taken.
        seed: the same seed and batch give the same draws.
        batch: images at a time.
    Raises:
        InputError: where a number is not above 0, the model has no such encoder, `streams.checked` finds fault with
            images or model, or a weight is nan.
    """
    errors.above_zero("elbo_between", others=others, codes=codes, batch=batch)
    if not hasattr(getattr(model, "encoder", None), "density_between"):
        raise InputError(
            f"elbo_between: nothing bounds the density of {type(model).__name__}'s posterior; VAE, IWAE and "
            'AdaptiveAVB(covariance="full") have one, and for others there is importance_bound'
        )
    images = streams.checked("elbo_between", model, images)
    bound = tf.function(partial(_elbo_between, model, others, codes), jit_compile=True)

    def of_batch(start: int, rows: np.ndarray) -> streams.Results:
        found = bound(rows, streams.seed_of(seed, start)).numpy()
        streams.usable("elbo_between", found, start)
        return {"between": found}

    below, above = streams.over_batches(of_batch, [images], batch)["between"]
    return below, above


def summary(values: np.ndarray) -> Summary:
    """The mean of one value an image `[n]`, and its standard error.

    Raises:
        InputError: where there are fewer than two images.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise InputError(f"summary: expected a value for each of two images or more, got shape {values.shape}")
    return Summary(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))


def paired(first: np.ndarray, second: np.ndarray) -> Summary:
    """The mean of first - second and its standard error, for two models on the same images, `[n]` each.

    Images differ from one another by far more than models do on an image: two means of unpaired images hide it.

    Raises:
        InputError: where the shapes differ or there are fewer than two images.
    """
    if np.shape(first) != np.shape(second):
        raise InputError(f"paired: expected both on the same images, got {np.shape(first)} and {np.shape(second)}")
    return summary(np.subtract(first, second, dtype=np.float64))


def _inflated(proposal: tfd.Distribution, factor: float) -> tfd.Distribution:
    if factor == 1:
        return proposal
    if isinstance(proposal, tfd.MultivariateNormalDiag):
        return tfd.MultivariateNormalDiag(proposal.mean(), factor * proposal.stddev())
    if isinstance(proposal, tfd.MultivariateNormalTriL):
        return tfd.MultivariateNormalTriL(proposal.mean(), factor * proposal.scale.to_dense())
    raise InputError(f"importance_bound: inflate widens a Gaussian, got {type(proposal).__name__}; use inflate=1")


def _bound(model, samples, chunk, inflate, images, seed):
    proposal = _inflated(model.proposal(images), inflate)

    def add(index, total):
        codes = proposal.sample(chunk, seed=tf.random.fold_in(seed, index))
        weights = tf.cast(model.log_joint(images, codes) - proposal.log_prob(codes), tf.float64)
        past_the_last = (index * chunk + tf.range(chunk) >= samples)[:, None]
        weights = tf.where(past_the_last, tf.constant(-np.inf, tf.float64), weights)
        return index + 1, tf.reduce_logsumexp(tf.concat((total[None], weights), 0), 0)

    start = tf.fill([tf.shape(images)[0]], tf.constant(-np.inf, tf.float64))
    chunks = -(-samples // chunk)
    _, total = tf.while_loop(lambda index, _: index < chunks, add, (0, start), parallel_iterations=1)
    return total - np.log(samples)


def _elbo_between(model, others, codes, images, seed):
    def once(index):
        with model.averaged():
            drawn, *log_densities = model.encoder.density_between(images, others, tf.random.fold_in(seed, index))
        return tf.cast(model.log_joint(images, drawn) - tf.stack(log_densities), tf.float64)

    return tf.reduce_mean(tf.map_fn(once, tf.range(codes), fn_output_signature=tf.float64), axis=0)
