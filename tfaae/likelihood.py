"""Log-likelihood by Parzen windows (Makhzani et al. 2015, section 3, table 1): a Gaussian kernel on every sample.

Not a measure to choose models by. It ranks them poorly (Theis et al. 2016, "A note on the evaluation of generative
models", arXiv 1511.01844), and published numbers depend on how many samples were drawn and how wide the kernel was. It
is here to stand beside table 1 of the paper, at the same number of samples.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from tfaae import errors
from tfaae.errors import InputError

SIGMAS = tuple(np.geomspace(0.1, 0.2, 15))

_IMAGES, _SAMPLES = 1000, 10_000  # at most so many at a time: 40 MB of distances
_EXTENSIONS = 5  # of the grid: from the widths above down to 0.002, where float32 distances begin to show, or up to 8


def parzen(images: np.ndarray, samples: Iterable[np.ndarray], sigmas: Sequence[float] | np.ndarray) -> np.ndarray:
    """`[len(sigmas), n]` log-likelihoods of images under a Gaussian of each width on every sample, in nats, float64.

    log p(x) = logsumexp_i(-|x - s_i|^2 / 2 sigma^2) - log N - d/2 log(2 pi sigma^2), d pixels, N samples. Memory does
    not grow with N: a block of samples is forgotten before the next one is asked for.

    Args:
        images: `[n, h, w, c]` in [0, 1].
        samples: blocks `[m, h, w, c]` of any sizes.
        sigmas: widths, in units of a pixel's range; all of them share one pass.
    Raises:
        InputError: where a width is not above 0, samples are not of the images' shape, or there are none.
    """
    for sigma in sigmas:
        errors.above_zero("parzen", sigma=sigma)
    widths, flat = np.asarray(sigmas, np.float64)[:, None], _flat(images)
    nearest = np.full(len(flat), np.inf)  # squared distance: the largest term of the sum, at every width
    totals, count = np.zeros((len(widths), len(flat))), 0
    for block in samples:
        if block.shape[1:] != images.shape[1:]:
            raise InputError(f"parzen: expected samples {images.shape[1:]} as the images, got {block.shape[1:]}")
        count += len(block)
        for rows, part in _blocks(flat, _flat(block)):
            closest, sums = _sums(flat[rows], part, widths[:, 0].astype(np.float32))
            best = np.minimum(nearest[rows], closest)
            kept, added = ((distance - best) / (2 * widths**2) for distance in (nearest[rows], closest.numpy()))
            totals[:, rows] = totals[:, rows] * np.exp(-kept) + sums.numpy() * np.exp(-added)
            nearest[rows] = best
    if not count:
        raise InputError("parzen: expected at least one sample, got none")
    constant = np.log(count) + flat.shape[1] / 2 * np.log(2 * np.pi * widths**2)
    return np.log(totals) - nearest / (2 * widths**2) - constant


def select_sigma(images: np.ndarray, samples: Sequence[np.ndarray], sigmas: Sequence[float] = SIGMAS) -> float:
    """The width at which images (for validation, not the test images) have the highest mean log-likelihood.

    A grid whose best width is its first or last is extended on that side by as many widths again.

    Args:
        images: `[n, h, w, c]`.
        samples: blocks `[m, h, w, c]`, which are gone through again for each extension.
        sigmas: at least two widths, rising by a constant factor.
    Raises:
        InputError: where no extension helps, as when the samples are the images themselves.
    """
    grid = np.asarray(sigmas, np.float64)
    if len(grid) < 2 or not (np.diff(grid) > 0).all():
        raise InputError(f"select_sigma: expected at least two rising sigmas, got {list(sigmas)}")
    factors = (grid[1] / grid[0]) ** np.arange(1, len(grid) + 1)
    means = parzen(images, samples, grid).mean(axis=1)
    for _ in range(_EXTENSIONS):
        best = int(np.argmax(means))
        if 0 < best < len(grid) - 1:
            return float(grid[best])
        more = grid[0] / factors[::-1] if best == 0 else grid[-1] * factors
        order = (more, grid) if best == 0 else (grid, more)
        found = parzen(images, samples, more).mean(axis=1)
        grid, means = np.concatenate(order), np.concatenate((found, means) if best == 0 else (means, found))
    raise InputError(
        f"select_sigma: no best width between {grid[0]:.2g} and {grid[-1]:.2g}; "
        "give samples that are not the images themselves, and pixels in [0, 1]"
    )


def sample_blocks(model: Any, count: int, block: int = 10_000, seed: int = 0) -> Iterator[np.ndarray]:
    """`count` samples in blocks `[at most block, h, w, c]`; the same seed and block give the same samples.

    Args:
        model: anything with `sample(n, seed=[2] int32)`.
    """
    for index, start in enumerate(range(0, count, block)):
        yield np.asarray(model.sample(min(block, count - start), seed=np.array([seed, index], np.int32)))


def parzen_report(
    model: Any, validation_images: np.ndarray, test_images: np.ndarray, count: int, seed: int = 0
) -> dict[str, float]:
    """The mean log-likelihood of the test images under `count` samples, as in the paper's table 1.

    Args:
        model: anything with `sample(n, seed=[2] int32)`.
        validation_images: `[n, h, w, c]`: they alone, under the first 10,000 samples, choose the width.
        test_images: `[n, h, w, c]`.
        count: of samples; the paper has 10,000 and 10 million.
    Returns:
        `nats`, its standard error over test images `nats_se`, and the width `sigma`.
    """
    sigma = select_sigma(validation_images, list(sample_blocks(model, min(count, _SAMPLES), seed=seed)))
    nats = parzen(test_images, sample_blocks(model, count, seed=seed), [sigma])[0]
    return {"nats": float(nats.mean()), "nats_se": float(nats.std() / np.sqrt(len(nats))), "sigma": sigma}


def nearest(images: np.ndarray, training_images: np.ndarray) -> np.ndarray:
    """`[n]` index of the training image closest to each image in squared pixel distance (figure 5)."""
    from sklearn.metrics import pairwise_distances_argmin

    return pairwise_distances_argmin(_flat(images), _flat(training_images))  # blockwise, sums in float64


def _flat(images: np.ndarray) -> np.ndarray:
    return np.asarray(images, np.float32).reshape(len(images), -1)


def _blocks(images: np.ndarray, samples: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    for start in range(0, len(samples), _SAMPLES):
        for row in range(0, len(images), _IMAGES):
            yield slice(row, row + _IMAGES), samples[start : start + _SAMPLES]


@contextmanager
def _full_precision() -> Iterator[None]:
    """No TensorFloat-32, which on GPUs rounds products to 10 bits: errors of several nats."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def _sums(images: np.ndarray, samples: np.ndarray, sigmas: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
    with _full_precision():
        return _sums_of_block(images, samples, sigmas)


@tf.function(input_signature=[tf.TensorSpec(shape, tf.float32) for shape in ([None, None], [None, None], [None])])
def _sums_of_block(images, samples, sigmas):
    """The least squared distance D `[n]` of `[n, d]` images, and sum_i exp((D - |x - s_i|^2) / 2 sigma^2) `[s, n]`."""
    squares = tf.reduce_sum(tf.square(images), 1)[:, None] + tf.reduce_sum(tf.square(samples), 1)[None]
    distances = tf.maximum(squares - 2 * tf.matmul(images, samples, transpose_b=True), 0)
    least = tf.reduce_min(distances, 1)
    excess = least[:, None] - distances
    sums = tf.map_fn(lambda sigma: tf.reduce_sum(tf.exp(excess / (2 * sigma**2)), 1), sigmas, parallel_iterations=1)
    return least, sums
