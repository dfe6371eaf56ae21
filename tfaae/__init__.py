"""Adversarial autoencoders on TensorFlow and Keras.

The names below are loaded on first use: `import tfaae` and `tfaae --help` do not wait for TensorFlow.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "AAE": "tfaae.models",
    "SupervisedAAE": "tfaae.models",
    "SemiSupervisedAAE": "tfaae.models",
    "ClusteringAAE": "tfaae.models",
    "DimensionReductionAAE": "tfaae.models",
    "AVB": "tfaae.models",
    "AdaptiveAVB": "tfaae.models",
    "ALAE": "tfaae.models",
    "StyleALAE": "tfaae.models",
    "VAE": "tfaae.models",
    "IWAE": "tfaae.models",
    "AdversarialInference": "tfaae.models",
    "GaussianInference": "tfaae.models",
    "LatentModel": "tfaae.models",
    "Phase": "tfaae.models",
    "Batch": "tfaae.models",
    "register": "tfaae.models",
    "Prior": "tfaae.priors",
    "Normal": "tfaae.priors",
    "Uniform": "tfaae.priors",
    "GaussianMixture": "tfaae.priors",
    "SwissRoll": "tfaae.priors",
    "OneHot": "tfaae.priors",
    "InputError": "tfaae.errors",
    "load": "tfaae.exported",
    "load_model": "tfaae.train",
}
_MODULES = (
    "annealing",
    "bounds",
    "callbacks",
    "codes",
    "config",
    "data",
    "distribution",
    "editing",
    "evaluate",
    "export",
    "exported",
    "features",
    "figures",
    "frechet",
    "gallery",
    "import_alae",
    "losses",
    "metrics",
    "models",
    "perceptual",
    "priors",
    "quality",
    "reference",
    "targets",
    "train",
)

__all__ = [*_HOMES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"tfaae.{name}")
    raise AttributeError(f"module 'tfaae' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
