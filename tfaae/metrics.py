"""Metrics: arrays in, floats out. How well codes follow a prior is measured here without asking the discriminator."""

from collections.abc import Callable, Iterator

import numpy as np


def rows_at_once(images: np.ndarray) -> int:
    """How many images to pass through a network at a time: a million pixels, from 1 to 1,000 images."""
    return int(np.clip(1_000_000 // np.prod(images.shape[1:]), 1, 1000))


def batched(function: Callable, images: np.ndarray) -> np.ndarray:
    """`function` over slices of images, joined: large sets without large activations."""
    size = rows_at_once(images)
    parts = [np.asarray(function(images[start : start + size])) for start in range(0, len(images), size)]
    return np.concatenate(parts)


def reconstruction_error(images: np.ndarray, reconstructions: np.ndarray) -> float:
    """Half the squared error, summed over pixels, averaged over images."""
    return float(0.5 * np.mean(np.sum((images - reconstructions) ** 2, axis=(1, 2, 3), dtype=np.float64)))


def sliced_wasserstein(first: np.ndarray, second: np.ndarray, *, seed: int = 0, projections: int = 200) -> float:
    """Mean 1-Wasserstein distance between two samples over random directions, in units of the codes.

    (Bonneel et al. 2015, "Sliced and Radon Wasserstein barycenters of measures".)

    Args:
        first, second: `[n, d]` samples of the same size.
        seed: of the directions; the same seed gives the same directions.
    """
    directions = np.random.default_rng(seed).normal(size=(first.shape[1], projections))
    directions /= np.linalg.norm(directions, axis=0)
    return float(np.mean(np.abs(np.sort(first @ directions, axis=0) - np.sort(second @ directions, axis=0))))


def mmd(first: np.ndarray, second: np.ndarray, *, rows: int = 1000) -> float:
    """Squared maximum mean discrepancy, unbiased (so that it may fall below 0), dimensionless.

    Kernel: inverse multiquadrics summed over scales, k(a, b) = sum_s C_s / (C_s + |a - b|^2), C_s = s 2 d var, with the
    variance of
    `second` (Tolstikhin et al. 2018, "Wasserstein auto-encoders", section 4).

    Args:
        first, second: `[n, d]` samples, n at least 2; `second` sets the scale, so give the prior's draws there.
        rows: of the kernel matrix at a time.
    """
    base = 2 * np.sum(np.var(second, axis=0))

    def mean_kernel(a: np.ndarray, b: np.ndarray, same: bool) -> float:
        total = sum(_kernel(a[at : at + rows], b, base).sum(dtype=np.float64) for at in range(0, len(a), rows))
        diagonal = len(_SCALES) * len(a) if same else 0  # k(a, a) = 1 at every scale
        return (total - diagonal) / (len(a) * (len(b) - same))

    return float(
        mean_kernel(first, first, True) + mean_kernel(second, second, True) - 2 * mean_kernel(first, second, False)
    )


_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def _kernel(a: np.ndarray, b: np.ndarray, base: float) -> np.ndarray:
    distance = np.maximum(np.sum(a**2, 1)[:, None] + np.sum(b**2, 1)[None] - 2 * a @ b.T, 0)
    return sum(scale * base / (scale * base + distance) for scale in _SCALES)


def prior_match(codes: np.ndarray, draws: Callable[[int], np.ndarray]) -> dict[str, float]:
    """How far codes are from a prior, beside how far the prior's own samples of that size are from each other.

    Args:
        codes: `[n, d]`.
        draws: seed -> `[n, d]` prior draws.
    Returns:
        Means over five pairs of samples: `sliced_wasserstein_to_prior`, `sliced_wasserstein_prior_to_prior`, and the
        same for
        `mmd` (of the first pair, at most 5,000 rows).
    """
    pairs = [(draws(2 * pair), draws(2 * pair + 1)) for pair in range(5)]
    to_prior = [sliced_wasserstein(codes, a, seed=seed) for seed, (a, _) in enumerate(pairs)]
    prior_to_prior = [sliced_wasserstein(b, a, seed=seed) for seed, (a, b) in enumerate(pairs)]
    first, second = (sample[:5000] for sample in pairs[0])
    return {
        "sliced_wasserstein_to_prior": float(np.mean(to_prior)),
        "sliced_wasserstein_prior_to_prior": float(np.mean(prior_to_prior)),
        "mmd_to_prior": mmd(codes[:5000], first),
        "mmd_prior_to_prior": mmd(second, first),
    }


def table(values: dict[str, float]) -> Iterator[str]:
    """Lines of a two-column table."""
    width = max(map(len, values))
    return (f"{name:<{width}}  {value:.5g}" for name, value in values.items())
