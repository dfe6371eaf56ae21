"""log p(x) by annealed importance sampling (Neal 2001; for decoders, Wu et al. 2017, arXiv 1611.04273), and its error.

A chain walks by Hamiltonian Monte Carlo from a density that is known, p0(z), to the posterior of an image, along
p0^(1 - beta) p(x, z)^beta, and gathers a weight w with E w = p(x). The logarithm of a mean of weights is thus a lower
bound of log p(x) in the mean; `bidirectional` bounds it from above, too, on images that the model has drawn (Grosse et
al. 2015, arXiv 1511.02543).
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import tensorflow as tf
from scipy.special import logsumexp, softmax

from tfaae import errors, streams
from tfaae.chains import Schedule, Start, anneal, temperatures
from tfaae.errors import InputError


@dataclass(frozen=True)
class Annealed:
    """What the chains found.

    Attributes:
        log_weights: `[chains, n]` in nats, float64.
        acceptance: `[n]`: the mean probability of the last transition, over chains; nan where one step needs none.
        step_size: `[n]`: in units of the proposal's standard deviations, at the end.
    """

    log_weights: np.ndarray
    acceptance: np.ndarray
    step_size: np.ndarray

    @property
    def log_likelihood(self) -> np.ndarray:
        """`[n]` log p(x) in nats: the logarithm of the weights' mean over chains."""
        return logsumexp(self.log_weights, axis=0) - np.log(len(self.log_weights))

    @property
    def effective_samples(self) -> np.ndarray:
        """`[n]` from 1 to the number of chains: 1 / sum of squared normalised weights; near 1, one chain decides."""
        return 1 / np.sum(softmax(self.log_weights, axis=0) ** 2, axis=0)


class Sandwich(NamedTuple):
    """Bounds `[n]` on log p(x) in nats: each holds in the mean over draws, and fails by b nats in exp(-b) of them."""

    lower: np.ndarray
    upper: np.ndarray

    @property
    def gap(self) -> float:
        """The mean difference: how far off, at most, the lower bound is on images like these."""
        return float(np.mean(self.upper - self.lower))


def annealed_importance(
    model: Any,
    images: np.ndarray,
    *,
    steps: int = 1000,
    chains: int = 16,
    schedule: Schedule = "linear",
    start: Start = "proposal",
    step_size: float = 0.1,
    batch: int = 100,
    seed: int = 0,
    file: str | Path | None = None,
    jit_compile: bool = True,
    verbose: int = 1,
) -> Annealed:
    """log p(x) by annealed importance sampling.

    Each transition is 10 leapfrogs, with a step for every image that follows its own acceptance.

    Args:
        model: with `log_joint` and `proposal`, as `streams.checked` says.
        images: `[n, h, w, c]`.
        steps: from p0 to the posterior. One step is importance sampling from p0.
        chains: independent, to an image.
        schedule: of beta: `"linear"`, or `"sigmoid"`, slower at both ends: for a start from the prior.
        start: p0: the model's `"proposal"`, or the `"prior"` N(0, I).
        step_size: of a leapfrog at the start, in units of the proposal's standard deviations.
        batch: images at a time; batch times chains are decoded at once.
        seed: the same seed and batch give the same chains.
        file: `.npz` that keeps finished batches, so that an interrupted call can be made again, and goes on.
        jit_compile: XLA. Off, a convolutional decoder takes half the time on a CPU; results differ by rounding.
        verbose: 1 shows a progress bar.
    Raises:
        InputError: where a number is not above 0, a name is unknown, `streams.checked` finds fault with images or
            model, a weight is nan, or the file was begun with other settings.
    """
    what = "annealed_importance"
    images = _checked(what, model, images, start, steps=steps, chains=chains, batch=batch, step_size=step_size)
    program = _program(model, temperatures(steps, schedule), chains, start, step_size, jit_compile)
    settings = {"steps": steps, "chains": chains, "schedule": schedule, "start": start, "step_size": step_size}
    if file is not None:
        settings |= {"batch": batch, "seed": seed, **streams.fingerprint(model, images)}
    of_batch = partial(_of_batch, what, program, seed)
    return Annealed(**streams.over_batches(of_batch, [images], batch, file=file, settings=settings, verbose=verbose))


def bidirectional(
    model: Any,
    count: int,
    *,
    steps: int = 1000,
    chains: int = 16,
    schedule: Schedule = "linear",
    start: Start = "proposal",
    step_size: float = 0.1,
    batch: int = 100,
    seed: int = 0,
    jit_compile: bool = True,
    verbose: int = 1,
) -> Sandwich:
    """Lower and upper bounds on log p(x) of images that the model draws (Grosse et al. 2015, section 3.1).

    Above: chains that go back from the very code z that an image x was drawn from, an exact draw of its posterior, to
    p0; they gather weights whose mean is 1 / p(x).

    Args:
        model: as for `annealed_importance`, and `simulate(count, seed) -> (images [n, h, w, c], codes [n, d])`, z from
            N(0, I) and x from p(x | z).
        count: of images.
        steps, chains, schedule, start, step_size, batch, seed, jit_compile, verbose: as for `annealed_importance`.
    Raises:
        InputError: as `annealed_importance`, or where `simulate` gives other shapes.
    """
    what = "bidirectional"
    errors.above_zero(what, count=count)
    images, codes = (np.asarray(array) for array in model.simulate(count, seed))
    if len(images) != count or codes.ndim != 2 or len(codes) != count:
        raise InputError(
            f"{what}: expected simulate to give images [{count}, h, w, c] and codes [{count}, d], "
            f"got {images.shape} and {codes.shape}"
        )
    images = _checked(what, model, images, start, steps=steps, chains=chains, batch=batch, step_size=step_size)
    betas, logs = temperatures(steps, schedule), []
    for path, arrays in ((betas, [images]), (betas[::-1], [images, codes])):
        of_batch = partial(_of_batch, what, _program(model, path, chains, start, step_size, jit_compile), seed)
        logs.append(Annealed(**streams.over_batches(of_batch, arrays, batch, verbose=verbose)).log_likelihood)
    return Sandwich(logs[0], -logs[1])


def _checked(what: str, model: Any, images: np.ndarray, start: Start, **above_zero: float) -> np.ndarray:
    errors.above_zero(what, **above_zero)
    errors.choose("start", start, get_args(Start))
    return streams.checked(what, model, images)


def _program(model: Any, betas: np.ndarray, chains: int, start: Start, step_size: float, jit_compile: bool) -> Any:
    """Compiled: seed, images `[n, h, w, c]` and, for the way back, codes `[n, d]` to the arrays of `Annealed`."""
    return tf.function(partial(anneal, model, betas, chains, start, step_size), jit_compile=jit_compile)


def _of_batch(what: str, program: Any, seed: int, first: int, *arrays: np.ndarray) -> streams.Results:
    log_weights, acceptance, step_size = program(streams.seed_of(seed, first), *arrays)
    streams.usable(what, log_weights.numpy(), first)
    return {"log_weights": log_weights, "acceptance": acceptance, "step_size": step_size}
