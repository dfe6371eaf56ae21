"""What makes training fast changes no result: fused optimizers, shared passes, the choice of XLA."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.cases import CASES, fit, state
from tfaae import execution, optimizers
from tfaae.models import AAE
from tfaae.optimizers import PLAIN, FusedAdam, FusedSGD

SHAPES = [(3, 5), (5,)]


def play(optimizer, weights: list, steps: list, graph: bool) -> None:
    def move(gradients):
        optimizer.apply(gradients, weights)

    move = tf.function(move) if graph else move
    for gradients in steps:
        move(gradients)


@pytest.mark.parametrize(
    ("fused", "arguments"),
    [
        (FusedAdam, {}),
        (FusedAdam, {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3, "weight_decay": 0.1, "clipnorm": 0.5}),
        (FusedAdam, {"amsgrad": True}),
        (FusedSGD, {}),
        (FusedSGD, {"momentum": 0.9, "clipvalue": 0.3}),
        (FusedSGD, {"momentum": 0.5, "nesterov": True}),
        (FusedSGD, {"learning_rate": keras.optimizers.schedules.CosineDecay(0.1, 4), "momentum": 0.9}),
    ],
)
@pytest.mark.parametrize("graph", [False, True])
def test_fused_optimizers_are_kerass(fused, arguments, graph):
    """Weights and slots after four steps, and slots that Keras's class takes over as they are."""
    random = np.random.default_rng(0)
    starts = [random.normal(size=shape).astype(np.float32) for shape in SHAPES]
    steps = [[tf.constant(random.normal(size=shape), tf.float32) for shape in SHAPES] for _ in range(4)]
    found = []
    for cls in (fused, PLAIN[fused]):
        optimizer = cls(**{"learning_rate": 0.01} | arguments)
        weights = [keras.Variable(start, name=f"w{place}") for place, start in enumerate(starts)]
        optimizer.build(weights)
        play(optimizer, weights, steps, graph)
        found.append([*weights, *optimizer.variables])
    assert [one.name for one in found[0]] == [one.name for one in found[1]]
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-6)  # the kernel takes 1 - beta_2 in float32
    assert not np.allclose(found[0][0], starts[0])


@pytest.mark.parametrize(
    ("spec", "operation"),
    [
        ({"name": "adam", "learning_rate": 0.1}, "ResourceApplyAdam"),
        ({"name": "sgd", "learning_rate": 0.1}, "ResourceApplyGradientDescent"),
        ({"name": "sgd", "learning_rate": 0.1, "momentum": 0.9}, "ResourceApplyKerasMomentum"),
    ],
)
def test_a_config_names_the_fused_optimizers(spec, operation):
    """One operation moves a variable with its slots; the other assignment counts the step."""
    optimizer, weight = optimizers.build("optim.x", spec, steps_per_epoch=1, epochs=1), keras.Variable([1.0, 2.0])
    optimizer.build([weight])
    move = tf.function(lambda gradient: optimizer.apply([gradient], [weight]))
    graph = move.get_concrete_function(tf.TensorSpec([2])).graph
    writes = [op.type for op in graph.get_operations() if op.type.startswith(("ResourceApply", "Assign"))]
    assert sorted(writes) == ["AssignVariableOp", operation]


# === Shared passes ===


def without_sharing(model):
    """The plain form: every phase runs the encoder itself."""
    phases = model.phases
    model.phases = lambda: tuple(phase._replace(given=None) for phase in phases())
    return model


def passes_through(model) -> list[int]:
    """Grows by one whenever the encoder is run while a graph is traced."""
    runs, run = [], model.encoder.call
    model.encoder.call = lambda *args, **kwargs: runs.append(1) or run(*args, **kwargs)
    return runs


@pytest.mark.parametrize(
    ("name", "order", "eagerly"),
    [
        ("aae-deterministic", "sequential", True),
        ("aae-deterministic", "simultaneous", True),
        ("reduction-fixed-heads", "sequential", True),
        pytest.param("supervised-averaged", "sequential", False, marks=pytest.mark.slow),
        pytest.param("aae-labels-wgan", "simultaneous", False, marks=pytest.mark.slow),
    ],
)
def test_a_shared_pass_changes_nothing(name, order, eagerly):
    case, states, reports = CASES[name], [], []
    for change in (lambda model: model, without_sharing):
        model = change(case.compiled(run_eagerly=eagerly))
        model.order = order
        reports.append(fit(model, case, 16).history)
        states.append(state(model))
    for one, other in zip(*states, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    for term, values in reports[0].items():
        np.testing.assert_allclose(values, reports[1][term], rtol=1e-5, err_msg=term)


def test_the_encoder_runs_no_more_than_it_must():
    """Again after it moved, not while it stands still; and once where nothing moves."""
    case = CASES["aae-deterministic"]
    for change, training, looking in ((lambda model: model, 2, 1), (without_sharing, 3, 3)):
        model = change(case.compiled(run_eagerly=True))
        runs = passes_through(model)
        model.train_on_batch(case.images(8))
        assert len(runs) == training
        model.test_on_batch(case.images(8))
        assert len(runs) == training + looking


@pytest.mark.parametrize(
    ("options", "shared"),
    [
        ({}, True),
        ({"posterior": "gaussian"}, False),
        ({"posterior": "implicit"}, False),
        ({"input_noise": 0.1}, False),
        ({"input_dropout": 0.1}, False),
        ({"dropout": 0.1}, False),
        ({"batch_norm": "hidden"}, False),
        ({"discriminator_noise": 0.1}, True),
    ],
)
def test_a_pass_that_draws_or_counts_is_not_shared(options, shared):
    model = AAE((8, 8, 1), 2, units=[4], discriminator_units=[4], seed=0, **options)
    assert (model.shared_codes() is not None) == shared


# === XLA ===


@pytest.mark.parametrize(
    ("told", "options", "on", "why"),
    [
        ("auto", {}, False, "a CPU, whose own kernels take as little time or less"),
        (True, {"precision": "bfloat16"}, True, "as told by train.xla"),
        (False, {}, False, "as told by train.xla"),
    ],
)
def test_where_xla_compiles(told, options, on, why):
    model = AAE((8, 8, 1), 2, seed=0, **{"units": [4], "discriminator_units": [4]} | options)
    assert execution.xla(told, model) == (on, why)
    model.compile({name: FusedSGD() for name in model.optimizer_names()}, jit_compile=told)
    assert model.jit_compile == on
    line = f"XLA {'on' if on else 'off'} ({why}), precision {options.get('precision', 'float32')}, FusedSGD"
    assert execution.describe(model) == f"{line}, encoder's pass shared, 1 step per execution"


def test_a_line_of_what_varies():
    model = AAE((8, 8, 1), 2, units=[4], discriminator_units=[4], dropout=0.1, seed=0)
    model.compile({name: FusedSGD() for name in model.optimizer_names()}, jit_compile=False, steps_per_execution=5)
    assert execution.describe(model).endswith(", precision float32, FusedSGD, no pass shared, 5 steps per execution")


def test_xla_is_on_on_a_gpu(monkeypatch):
    model = AAE((8, 8, 1), 2, units=[4], discriminator_units=[4], seed=0)
    gpu = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [gpu] if kind == "GPU" else [])
    assert execution.xla("auto", model) == (True, "a GPU")
    assert execution.xla(False, model) == (False, "as told by train.xla")


def test_xla_is_off_among_replicas():
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = AAE((8, 8, 1), 2, units=[4], discriminator_units=[4], seed=0)
        assert execution.xla("auto", model) == (False, "several replicas")
