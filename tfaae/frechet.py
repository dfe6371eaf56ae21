"""The Fréchet distance between Gaussians that are fitted to features: NumPy and SciPy in float64, chunk by chunk.

(Heusel et al. 2017, "GANs trained by a two time-scale update rule", equation 6: the "FID" where the features are those
of an Inception network.) A distance goes by the name of its features, and compares with no other's.
"""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import scipy.linalg

from tfaae import metrics
from tfaae.errors import InputError

ENOUGH = 10_000  # samples; below, the distance is biased upwards by what the covariances miss
Features = Callable[[np.ndarray], np.ndarray]  # [n, h, w, c] images in [0, 1] -> [n, d]


class Moments:
    """Count, mean and covariance of rows that come in chunks, the same for any chunks up to rounding.

    Chunks are centred before they are squared, then merged (Chan, Golub and LeVeque 1983, "Algorithms for computing
    the sample variance", equation 2.1), so a large mean costs no digits.
    """

    def __init__(self, dim: int):
        self.count = 0
        self.mean = np.zeros(dim)
        self.scatter = np.zeros((dim, dim))  # sum of outer products of centred rows

    @classmethod
    def of(cls, chunks: Iterable[np.ndarray]) -> "Moments":
        """Of all rows of chunks `[n, d]`.

        Raises:
            InputError: for chunks that are not `[n, d]` with one d, not finite, or none.
        """
        found = None
        for rows in chunks:
            if np.ndim(rows) != 2 or (found is not None and rows.shape[1] != len(found.mean)):
                wanted = "[n, d]" if found is None else f"[n, {len(found.mean)}]"
                raise InputError(f"expected features {wanted}, got {list(np.shape(rows))}")
            found = found or cls(rows.shape[1])
            found.add(rows)
        if found is None or not found.count:
            raise InputError("expected features of at least one image, got none; give images")
        return found

    def add(self, rows: np.ndarray) -> None:
        """Takes `[n, d]` rows in."""
        rows = np.asarray(rows, np.float64)
        if not len(rows):
            return
        if not np.isfinite(rows).all():
            raise InputError(
                "features must be finite, got nan or inf; look at the images, and at the network's weights"
            )
        chunk = Moments(rows.shape[1])
        chunk.count, chunk.mean = len(rows), rows.mean(axis=0)
        chunk.scatter = (rows - chunk.mean).T @ (rows - chunk.mean)
        self.merge(chunk)

    def merge(self, other: "Moments") -> None:
        """Takes the rows in that another has seen."""
        count = self.count + other.count
        if not count:
            return
        step = other.mean - self.mean
        self.scatter += other.scatter + np.outer(step, step) * (self.count * other.count / count)
        self.mean = self.mean + step * (other.count / count)
        self.count = count

    @property
    def covariance(self) -> np.ndarray:
        """`[d, d]`, unbiased; 0 for a single row."""
        return self.scatter / max(self.count - 1, 1)


def distance(first: Moments, second: Moments) -> float:
    """Squared Fréchet distance of the Gaussians with these moments, in squared units of the features.

    Warns under 10,000 samples on either side.
    """
    least = min(first.count, second.count)
    if least < ENOUGH:
        warnings.warn(
            f"a Fréchet distance of {least} samples is too high, the more so the fewer there are: take {ENOUGH} or "
            "more, and compare only distances of equally many",
            stacklevel=2,
        )
    return between(first.mean, first.covariance, second.mean, second.covariance)


def between(mean: np.ndarray, covariance: np.ndarray, other_mean: np.ndarray, other_covariance: np.ndarray) -> float:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of two Gaussians; covariances may be singular.

    tr (C C')^(1/2) is the sum of singular values of C^(1/2) C'^(1/2), both roots symmetric: no root is taken of the
    product, which is neither symmetric nor, where a covariance is singular, well conditioned.
    """
    cross = scipy.linalg.svdvals(_root(covariance) @ _root(other_covariance)).sum()
    apart = float(np.sum((mean - other_mean) ** 2))
    return max(0.0, apart + float(np.trace(covariance) + np.trace(other_covariance) - 2 * cross))


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = scipy.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def generation(model: Any, images: np.ndarray, features: Features, *, seed: int = 0) -> float:
    """Distance of as many samples of a model to images, both seen through `features`.

    (The protocol of the papers: 50,000 training images.)

    Args:
        model: anything with `sample(count, seed=[2] int32) -> [n, h, w, c]`.
        images: `[n, h, w, c]` in [0, 1].
    """

    def samples(start: int, count: int) -> np.ndarray:
        return as_stored(np.asarray(model.sample(count, seed=np.array([seed, start], np.int32))))

    return _of(images, samples, features)


def reconstruction(model: Any, images: np.ndarray, labels: np.ndarray, features: Features) -> float:
    """Distance of reconstructions to the images `[n, h, w, c]` with labels `[n]`, both seen through `features`."""

    def reconstructions(start: int, count: int) -> np.ndarray:
        part = slice(start, start + count)
        return as_stored(np.asarray(model.reconstruct(images[part], labels[part])))

    return _of(images, reconstructions, features)


def _of(images: np.ndarray, others: Callable[[int, int], np.ndarray], features: Features) -> float:
    size = metrics.rows_at_once(images)
    chunks = [(start, min(size, len(images) - start)) for start in range(0, len(images), size)]
    real = Moments.of(features(images[start : start + count]) for start, count in chunks)
    return distance(real, Moments.of(features(others(start, count)) for start, count in chunks))


def as_stored(images: np.ndarray) -> np.ndarray:
    """Images as a file of 8 bits a channel holds them, as those did that they are set against."""
    return np.round(np.clip(images, 0, 1) * 255).astype(np.float32) / np.float32(255)
