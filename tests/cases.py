"""The one table of models: every property in `conformance/` is tested on every row. A new model is a new row."""

from typing import Any, NamedTuple

import keras
import numpy as np
import pytest

from tfaae.data import Data
from tfaae.image_sources import Split
from tfaae.models import (
    AAE,
    ALAE,
    AVB,
    IWAE,
    VAE,
    AdaptiveAVB,
    ClusteringAAE,
    DimensionReductionAAE,
    LatentModel,
    SemiSupervisedAAE,
    StyleALAE,
    SupervisedAAE,
)

MLP = {"units": [16, 12], "discriminator_units": [16, 12]}
CONV = {"arch": "conv", "units": [4, 6]}
VIEWS = {"pixels": 1.0, "degrees": 10.0, "scale": 0.1, "shear": 0.1}


class Case(NamedTuple):
    """A model small enough to compile in seconds."""

    model: type[LatentModel]
    image_shape: tuple[int, int, int]
    latent_dim: int
    arguments: dict[str, Any]

    def build(self, seed: int = 3, **changes: Any) -> LatentModel:
        return self.model(self.image_shape, self.latent_dim, seed=seed, **self.arguments | changes)

    def compiled(self, seed: int = 3, optimizer: str = "adam", **options: Any) -> LatentModel:
        """Without XLA unless asked: compiling takes longer than all the steps of a test."""
        model = self.build(seed)
        model.compile(dict.fromkeys(model.optimizer_names(), optimizer), **{"jit_compile": False} | options)
        return model

    def images(self, count: int = 24) -> np.ndarray:
        return np.random.default_rng(0).uniform(size=(count, *self.image_shape)).astype(np.float32)

    def data(self) -> Data:
        """Random images in every split, each with a label, as exports take them."""
        labels = np.arange(24, dtype=np.int32) % 3
        split = Split(self.images(), labels)
        return Data(split, split, split, ("a", "b", "c"))

    def labels(self, count: int = 24) -> np.ndarray:
        """Of three classes; a third unknown, unless the model needs all."""
        labels = np.arange(count, dtype=np.int32) % 3
        if not self.model.conditional:
            labels[np.arange(count) % 9 < 3] = -1
        return labels


CASES = {
    "aae-deterministic": Case(AAE, (8, 8, 1), 2, MLP | {"prior": {"name": "Normal", "std": 5.0}}),
    "aae-gaussian-mixture": Case(AAE, (8, 8, 1), 2, MLP | {"posterior": "gaussian", "prior": "GaussianMixture"}),
    "aae-implicit-roll-noises": Case(
        AAE,
        (8, 8, 1),
        2,
        MLP
        | {
            "posterior": "implicit",
            "noise_dim": 3,
            "prior": "SwissRoll",
            "input_noise": 0.3,
            "discriminator_noise": 0.3,
        }
        | {"dropout": 0.2, "initial_std": 0.01, "likelihood": "bernoulli"},
    ),
    "aae-conv-rgb-spectral": Case(
        AAE,
        (9, 9, 3),
        3,
        CONV | {"discriminator_units": [8], "prior": {"name": "Uniform", "dim": 3}, "spectral_norm": True},
    ),
    "aae-labels-wgan": Case(
        AAE, (8, 8, 1), 2, MLP | {"prior": {"name": "SwissRoll", "parts": 3}, "labels": True, "game": "wgan-gp"}
    ),
    "supervised-averaged": Case(SupervisedAAE, (8, 8, 1), 3, MLP | {"classes": 3, "ema": 0.9}),
    "semi-supervised-paper": Case(
        SemiSupervisedAAE, (8, 8, 1), 4, MLP | {"classes": 3, "input_noise": 0.3, "initial_std": 0.01}
    ),
    "semi-supervised-options": Case(
        SemiSupervisedAAE,
        (8, 8, 1),
        4,
        MLP
        | {"classes": 3, "true_labels": True, "ema": 0.9, "batch_norm": "hidden", "r1": 0.1, "label_smoothing": 0.1}
        | {"discriminator_noise": 0.3, "discriminator_noise_steps": 10, "invariance": VIEWS},
    ),
    "clustering": Case(
        ClusteringAAE, (8, 8, 1), 2, MLP | {"clusters": 4, "batch_norm": "all", "input_dropout": 0.2, "game": "hinge"}
    ),
    "clustering-conv-rgb": Case(
        ClusteringAAE, (8, 8, 3), 2, CONV | {"discriminator_units": [8], "clusters": 4, "spectral_norm": True}
    ),
    "clustering-invariant": Case(
        ClusteringAAE, (8, 8, 1), 2, MLP | {"clusters": 4, "batch_norm": "all", "invariance": VIEWS}
    ),
    "reduction-labels": Case(
        DimensionReductionAAE,
        (8, 8, 1),
        2,
        MLP | {"clusters": 3, "labels": True, "margin": 20.0, "ema": 0.9, "game": "lsgan"},
    ),
    "reduction-fixed-heads": Case(
        DimensionReductionAAE, (8, 8, 1), 4, MLP | {"clusters": 4, "fixed_heads": 10.0, "still_categories": True}
    ),
    "vae": Case(VAE, (8, 8, 1), 4, {"units": [16], "prior": {"name": "Normal", "dim": 4}}),
    "iwae": Case(IWAE, (8, 8, 1), 4, {"units": [16], "activation": "tanh", "samples": 3}),
    "avb-residual": Case(
        AVB,
        (8, 8, 1),
        2,
        {"units": [16], "noise_dim": 3, "adversary": "residual", "discriminator_units": [16, 16], "adversary_steps": 2}
        | {"prior": "GaussianMixture"},
    ),
    "avb-adaptive": Case(
        AdaptiveAVB,
        (8, 8, 1),
        3,
        {"units": [16], "activation": "softplus", "noise_dim": 3, "bases": 2, "moment_draws": 16, "ema": 0.9}
        | {"discriminator_units": [16], "head": 8, "order": "simultaneous", "warm_up_steps": 4},
    ),
    "avb-adaptive-conv1": Case(
        AdaptiveAVB,
        (8, 8, 1),
        3,
        {"arch": "conv1", "noise_dim": 3, "bases": 2, "moment_draws": 0, "discriminator_units": [8], "head": 8},
    ),
    "avb-adaptive-full": Case(
        AdaptiveAVB,
        (8, 8, 1),
        3,
        {"units": [16], "noise_dim": 1, "bases": 2, "covariance": "full"}
        | {"discriminator_units": [16], "head": 8, "adversary_steps": 2},
    ),
    "avb-adaptive-implicit": Case(
        AdaptiveAVB,
        (8, 8, 1),
        2,
        {"posterior": "implicit", "units": [16], "noise_dim": 3, "discriminator_units": [16], "head": 8},
    ),
    "alae": Case(ALAE, (8, 8, 1), 3, {"units": [16, 12], "mapping_depth": 2}),
    "alae-separate": Case(
        ALAE,
        (8, 8, 1),
        2,
        {"units": [16], "mapping_depth": 2, "separate_discriminator": True, "head": "nonlinear", "ema_images": 0.0},
    ),
    "style-alae": Case(
        StyleALAE, (8, 8, 3), 4, {"base_channels": 4, "max_channels": 6, "mapping_depth": 2, "ema_images": 100.0}
    ),
    "vae-conv-mixture": Case(VAE, (10, 10, 1), 2, CONV | {"prior": "GaussianMixture", "likelihood": "squared"}),
}

# a second row of a model that a quick one covers too
SLOW = {
    "aae-labels-wgan",
    "avb-residual",
    "avb-adaptive-conv1",
    "avb-adaptive-full",
    "avb-adaptive-implicit",
    "alae-separate",
    "style-alae",  # seconds a graph
    "vae-conv-mixture",
    "semi-supervised-paper",
    "clustering-conv-rgb",
    "clustering-invariant",
    "reduction-fixed-heads",
}


def marks(name: str) -> list:
    return [pytest.mark.slow] if name in SLOW else []


# one row of each kind of decoding, posterior and export: the default where a property costs seconds a row
FEW = {"aae-deterministic", "supervised-averaged", "clustering", "reduction-labels", "avb-adaptive", "iwae"}

few_by_default = pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=name, marks=[] if name in FEW else pytest.mark.slow) for name, case in CASES.items()],
)
every_case = pytest.mark.parametrize(
    "case", [pytest.param(case, id=name, marks=marks(name)) for name, case in CASES.items()]
)


def fit(model: LatentModel, case: Case, count: int = 24, epochs: int = 1) -> keras.callbacks.History:
    """Full batches of 8, in order."""
    given = case.images(count), case.labels(count)
    return model.fit(*given, batch_size=8, epochs=epochs, shuffle=False, verbose=0)


def variables(model: LatentModel) -> list[keras.Variable]:
    """Everything that training moves: weights, optimizer slots, seeds."""
    slots = [variable for optimizer in model.optimizers.values() for variable in optimizer.variables]
    return [*model.weights, *slots, model.seeds.state]


def state(model: LatentModel) -> list[np.ndarray]:
    """Their values."""
    return [keras.ops.convert_to_numpy(variable).copy() for variable in variables(model)]


def assert_same(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
