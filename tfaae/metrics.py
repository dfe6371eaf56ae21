"""Metrics: arrays in, floats out. How well codes follow a prior is measured here without asking the discriminator."""

from collections.abc import Callable, Iterator

import numpy as np

from tfaae.errors import InputError


def rows_at_once(images: np.ndarray) -> int:
    """How many images to pass through a network at a time: a million pixels, from 1 to 1,000 images."""
    return int(np.clip(1_000_000 // np.prod(images.shape[1:]), 1, 1000))


def batched(function: Callable, images: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """`function` over slices of images (and of arrays beside them), joined: large sets without large activations."""
    size = rows_at_once(images)
    slices = (slice(start, start + size) for start in range(0, len(images), size))
    return np.concatenate([np.asarray(function(*(array[part] for array in (images, *others)))) for part in slices])


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


def classification_error_percent(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Share of images whose most probable class is not their label, 0 to 100; images labelled -1 are left out.

    Args:
        probabilities: `[n, k]`, or anything that grows with them.
        labels: `[n]` integers.
    Raises:
        InputError: where no label is known.
    """
    known = _known(labels)
    return float(100 * np.mean(np.argmax(probabilities[known], axis=1) != labels[known]))


def in_own_region_percent(log_probs: np.ndarray, labels: np.ndarray) -> float:
    """Share of codes that are densest under the segment of the prior that is their label's, 0 to 100 (-1: left out).

    Args:
        log_probs: `[n, k]` log p(z | segment) of each code under each segment, in nats.
        labels: `[n]` integers below k.
    Raises:
        InputError: where no label is known.
    """
    return 100 - classification_error_percent(log_probs, labels)


def cluster_errors(
    validation_probabilities: np.ndarray,
    validation_labels: np.ndarray,
    test_probabilities: np.ndarray,
    test_labels: np.ndarray,
) -> dict[str, float]:
    """How well clusters match classes on test images. Labels name the clusters here; training has not seen them.

    Args:
        validation_probabilities, test_probabilities: `[n, k]` q(y | x); an image is assigned to its largest.
        validation_labels, test_labels: `[n]` integers; test images labelled -1 are left out.
    Returns:
        `error_percent`: each cluster has the label of the validation image that is most probable in it (Makhzani et
        al. 2015, section 6). `majority_error_percent`: it has the most common label of the validation images assigned
        to it; without any, its test images count as errors. `hungarian_error_percent`: clusters and classes are paired
        one to one, at best for the test images; only where there are as many of both. `nmi`, `ari`: normalised mutual
        information (0 to 1) and adjusted Rand index (at most 1, chance 0). `clusters_used`: with a test image or more.
    Raises:
        InputError: where there are no validation images, one has an unknown label, or no test label is known.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    if not len(validation_labels) or np.min(validation_labels) < 0:
        raise InputError(
            f"clusters are named by labelled validation images, got {len(validation_labels)} images, "
            f"{np.sum(validation_labels < 0)} of them without a label; give data with labels and set data.validation"
        )
    known = _known(test_labels)
    labels, assigned = test_labels[known], np.argmax(test_probabilities[known], axis=1)
    surest = validation_labels[np.argmax(validation_probabilities, axis=0)]
    found = {
        "error_percent": _share(surest[assigned] != labels),
        "majority_error_percent": _share(_majority(validation_probabilities, validation_labels)[assigned] != labels),
    }
    classes = np.union1d(validation_labels, labels)
    if len(classes) == len(surest):
        found["hungarian_error_percent"] = _share(_paired(assigned, labels, classes)[assigned] != labels)
    return found | {
        "nmi": float(normalized_mutual_info_score(labels, assigned)),
        "ari": float(adjusted_rand_score(labels, assigned)),
        "clusters_used": float(len(np.unique(assigned))),
    }


def _known(labels: np.ndarray) -> np.ndarray:
    known = np.asarray(labels) >= 0
    if not known.any():
        raise InputError(f"expected labels from 0, got {len(known)} images without a known one; give labelled images")
    return known


def _share(wrong: np.ndarray) -> float:
    return float(100 * np.mean(wrong))


def _majority(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`[k]`: the most common label of the images assigned to each cluster (the lowest of equals), -1 without images."""
    assigned = np.argmax(probabilities, axis=1)
    counts = np.zeros((probabilities.shape[1], np.max(labels) + 1), int)
    np.add.at(counts, (assigned, labels), 1)
    return np.where(counts.any(axis=1), np.argmax(counts, axis=1), -1)


def _paired(assigned: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """`[k]`: a class to each of k = len(classes) clusters, one to one, so that most images are right."""
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (assigned, np.searchsorted(classes, labels)), 1)
    return classes[linear_sum_assignment(counts, maximize=True)[1]]


def table(values: dict[str, float]) -> Iterator[str]:
    """Lines of a two-column table."""
    width = max(map(len, values))
    return (f"{name:<{width}}  {value:.5g}" for name, value in values.items())
