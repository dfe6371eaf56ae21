"""Perceptual distance of images, and the path length of a generator measured with it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tfaae import verbs
from tfaae.errors import InputError, above_zero
from tfaae.features import FeatureNetwork

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]  # two [n, h, w, c] sets of images -> [n]
EPSILON = 1e-4
CODES_AT_ONCE = 1000


def distance(network: FeatureNetwork, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """`[n]` float32 distances of images `[n, h, w, c]` in the form of LPIPS (Zhang et al. 2018, equation 1).

    sum over layers, mean over places, sum over channels of weight (f / |f| - f' / |f'|)^2, where |f| is over the
    channels of a place; without weights of the network's, they are 1. `name_of` tells the two apart.
    """
    if first.shape != second.shape:
        raise InputError(f"expected two sets of images of one shape, got {first.shape} and {second.shape}")
    return np.concatenate([_distance(network, first[part], second[part]) for part in network.slices(first)])


def name_of(network: FeatureNetwork) -> str:
    """`lpips_vgg16`, or `lpips_unweighted_vgg16` where channels count alike."""
    return f"lpips_{'' if network.linear else 'unweighted_'}{network.name}"


def _distance(network: FeatureNetwork, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    total = np.zeros(len(first), np.float32)
    for layer, pair in enumerate(zip(network.maps(first), network.maps(second), strict=True)):
        apart = np.square(_unit(pair[0]) - _unit(pair[1]))
        if network.linear:
            apart = apart * network.linear[layer]
        total += apart.sum(axis=-1).mean(axis=(1, 2))
    return total


def _unit(maps: np.ndarray) -> np.ndarray:
    return maps / (np.linalg.norm(maps, axis=-1, keepdims=True) + 1e-10)


def path_length(
    model: Any, apart: Distance, *, count: int = 50_000, end: bool = False, epsilon: float = EPSILON, seed: int = 0
) -> float:
    """Perceptual path length (Karras et al. 2019, StyleGAN, equation 3): E[d(g(c(t)), g(c(t + epsilon)))] / epsilon^2.

    c(t) goes in a straight line of codes, from one draw to another: in w for a model with a mapping network, as in
    ALAE's protocol. The smallest and the largest hundredth are left out, as there. Faces are cropped there before; here
    whole images count.

    Args:
        model: with `sample_codes` and `decode`, which must not draw noise.
        apart: distance of images.
        count: of pairs.
        end: t = 0 alone ("end"), where otherwise t is uniform in [0, 1) ("full").
    """
    above_zero("path_length", count=count, epsilon=epsilon)
    random = np.random.default_rng(seed)
    found = []
    for start in range(0, count, CODES_AT_ONCE):
        here = min(CODES_AT_ONCE, count - start)
        first, second = (verbs.sample_codes(model, here, (seed, 2 * start + side)) for side in (0, 1))
        t = np.zeros((here, 1)) if end else random.uniform(size=(here, 1))
        labels = verbs.any_labels(model, here)
        images = (
            verbs.decode(model, verbs.lerp(first, second, at).astype(np.float32), labels) for at in (t, t + epsilon)
        )
        found.append(np.asarray(apart(*images), np.float64) / epsilon**2)
    return _without_tails(np.concatenate(found))


def _without_tails(lengths: np.ndarray) -> float:
    low, high = np.percentile(lengths, 1, method="lower"), np.percentile(lengths, 99, method="higher")
    return float(np.mean(lengths[(lengths >= low) & (lengths <= high)]))
