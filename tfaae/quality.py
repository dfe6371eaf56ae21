"""How good samples, reconstructions and codes are, as a network or labels see them: the papers' other numbers."""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from tfaae import codes, frechet, metrics, perceptual, verbs
from tfaae.data import Data
from tfaae.errors import InputError, choose
from tfaae.features import FeatureNetwork
from tfaae.models import LatentModel

LOOKED_AT = 10_000  # test images at most whose reconstructions are compared


def measure(
    model: Any,
    data: Data,
    chosen: Collection[str],
    network: FeatureNetwork | None = None,
    *,
    count: int = 10_000,
    seed: int = 0,
) -> dict[str, float]:
    """Numbers by name; what a network has seen ends in its name, and compares only with numbers of the same network.

    `fid`: Fréchet distances of samples, and of reconstructions, to `count` training images, as the papers have it (of
    50,000). `ppl`: path lengths of `count` pairs of codes, full and at the ends. `lpips`: mean distance of test images
    to their reconstructions. `codes`: accuracies by codes ("short") and, where an encoder has `features`, by its last
    hidden layer ("long"), in percent; of the weights that verbs use (ALAE's authors leave running averages out there).

    Args:
        chosen: of `MEASURES`.
        network: for all but `codes`.
        seed: of draws and of the choice of training images.
    """
    if not isinstance(model, LatentModel):
        raise InputError(f"a {type(model).__name__} has no images to look at; tfaae.evaluate measures it")
    found: dict[str, float] = {}
    for name in chosen:
        choose("measure", name, MEASURES)
        if name != "codes" and network is None:
            raise InputError(f"{name} looks through a network: give one")
        found |= MEASURES[name](model, data, network, count, seed)
    return found


def needs_network(chosen: Collection[str]) -> bool:
    return set(chosen) != {"codes"}


def fid(model: LatentModel, data: Data, network: Any, count: int, seed: int) -> dict[str, float]:
    rows = np.random.default_rng(seed).permutation(len(data.train))[:count]
    images, labels = data.train.take(rows)
    return {
        f"fid_generation_{network.name}": frechet.generation(model, images, network.vectors, seed=seed),
        f"fid_reconstruction_{network.name}": frechet.reconstruction(model, images, labels, network.vectors),
    }


def ppl(model: LatentModel, data: Data, network: Any, count: int, seed: int) -> dict[str, float]:
    def apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return perceptual.distance(network, first, second)

    return {
        f"ppl_{kind}_{perceptual.name_of(network)}": perceptual.path_length(
            model, apart, count=count, end=kind == "end", seed=seed
        )
        for kind in ("full", "end")
    }


def lpips(model: LatentModel, data: Data, network: Any, count: int, seed: int) -> dict[str, float]:
    images, labels = data.test.take(slice(LOOKED_AT))
    reconstructions = metrics.batched(model.reconstruct, images, labels)
    distances = perceptual.distance(network, images, reconstructions)
    return {f"{perceptual.name_of(network)}_reconstruction": float(np.mean(distances, dtype=np.float64))}


def of_codes(model: Any, data: Data, network: Any, count: int, seed: int) -> dict[str, float]:
    hidden = verbs.hidden(model)
    return by_length({"short": model.encode} | ({"long": hidden} if hidden else {}), data)


def by_length(seen: dict[str, Callable[[np.ndarray], Any]], data: Data) -> dict[str, float]:
    """`codes.accuracies` of each function images -> features, under its name."""
    return {
        f"{length}_{name}": value
        for length, features in seen.items()
        for name, value in codes.accuracies(features, *data.train, *data.test).items()
    }


MEASURES: dict[str, Callable[[Any, Data, Any, int, int], dict[str, float]]] = {
    "fid": fid,
    "ppl": ppl,
    "lpips": lpips,
    "codes": of_codes,
}
