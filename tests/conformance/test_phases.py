"""A phase moves every weight of the parts that it declares, and nothing else."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.cases import CASES, Case, marks
from tfaae.models.alae import LatentReciprocal
from tfaae.posteriors import Basis

MOVES = [
    pytest.param(case, phase.name, id=f"{name}-{phase.name}", marks=marks(name))
    for name, case in CASES.items()
    for phase in case.build().distinct_phases()
]


@pytest.mark.parametrize(("case", "name"), MOVES)
def test_gradients_reach_all_that_a_phase_trains(case: Case, name: str):
    model = case.build()
    phase = next(phase for phase in model.phases() if phase.name == name)
    with tf.GradientTape() as tape:
        total = tf.add_n(list(phase.loss(model.batch((case.images(), case.labels())), True).values()))
    weights = model.weights_of(phase)
    assert weights
    for weight, gradient in zip(weights, tape.gradient(total, weights), strict=True):
        assert gradient is not None, f"{weight.path} is declared by {name} but its loss does not depend on it"


@pytest.mark.parametrize(("case", "name"), MOVES)
def test_a_phase_moves_its_parts_alone(case: Case, name: str):
    """One phase's move, made as `train_step` makes it, with every other weight compared bit for bit."""
    model = case.compiled(optimizer="adam", run_eagerly=True)
    phase = next(phase for phase in model.phases() if phase.name == name)
    model.phases = lambda: (phase,)
    trained = {id(weight) for weight in model.weights_of(phase)}
    before = [(weight, keras.ops.convert_to_numpy(weight).copy()) for weight in model.weights]
    model.train_on_batch(case.images(), case.labels())
    moved = {id(weight) for weight, old in before if not np.array_equal(old, weight)}
    # the power iteration's vector, moving statistics of batch normalisation, running averages
    followers = [getattr(model, part) for part in phase.parts if case.arguments.get("spectral_norm")]
    followers += [model.encoder] if case.arguments.get("batch_norm") else []
    followers += [model.encoder] if isinstance(model.encoder, Basis) else []
    followers += [model.averages] if model.averages else []
    followers += [model.mean_code] if isinstance(model, LatentReciprocal) else []
    follow = {id(weight) for part in followers for weight in part.non_trainable_weights}
    assert trained <= moved, "Adam moves every weight that has a gradient"
    assert moved <= trained | follow | {id(model.steps)}
