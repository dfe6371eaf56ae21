"""tools/accelerator: runs that train side by side do what each would do alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfaae import building
from tfaae import config as configs
from tfaae import data as sources
from tools.accelerator import save, vectorised

SEMI = {
    "model": {"name": "SemiSupervisedAAE", "latent_dim": 3, "units": [16], "discriminator_units": [16], "ema": 0.9},
    "data": {"batch": 20, "labelled": 100, "labelled_batch": 20},
}
CLUSTERS = {
    "model": {"name": "ClusteringAAE", "latent_dim": 3, "clusters": 5, "units": [16], "batch_norm": "all"},
    "data": {"batch": 20},
}


@pytest.fixture(scope="module", autouse=True)
def digits(tmp_path_factory) -> None:
    """Images of whole bytes, as files keep them: the digits of scikit-learn have 17 grey values."""
    source = sources.load(configs.DataConfig(name="digits"), 0)
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    kept = {}
    for name, split in (("train", source.train), ("test", source.test)):
        kept |= {f"x_{name}": np.rint(split.images * 255).astype(np.uint8), f"y_{name}": split.labels}
    np.savez(path, **kept)
    for spec in (SEMI, CLUSTERS):
        spec["data"] |= {"name": "npz", "path": str(path)}


def member(spec: dict, seed: int = 0) -> save.Member:
    momentum = {"name": "sgd", "momentum": 0.9, "learning_rate": {"name": "CosineDecay", "initial_learning_rate": 0.01}}
    phases = ["reconstruction", "discriminator", "generator"]
    phases += ["classification"] if "labelled" in spec["data"] else []
    config = configs.parse(spec | {"seed": seed, "optim": dict.fromkeys(phases, momentum), "train": {"epochs": 3}})
    return save.Member(f"test/only-{seed}", config)


@pytest.mark.parametrize(
    "spec", [SEMI, pytest.param(CLUSTERS, marks=pytest.mark.slow)], ids=["semi-supervised", "clustering"]
)
def test_one_run_moves_as_its_own_train_step(spec):
    alone = member(spec)
    ensemble = save.Ensemble([alone])
    data = sources.load(alone.config.data, 0)
    model = building.build(alone.config, data)
    streams = [np.arange(20), np.flatnonzero(data.train.labels >= 0)[:20]][: 2 if spec is SEMI else 1]
    pairs = [(tf.constant(data.train.images[rows]), tf.constant(data.train.labels[rows])) for rows in streams]

    ensemble._stretch_schedules()
    rows = [tf.constant(found[None], tf.int32) for found in streams]
    values = [tf.convert_to_tensor(variable) for variable in ensemble.stacked]
    given = (values, ensemble.labels, rows)
    step = tf.function(lambda *given: tf.vectorized_map(ensemble._step, given, fallback_to_while_loop=False))
    moved = step(*given)
    tf.function(model.train_step)(pairs[0] if len(pairs) == 1 else tuple(zip(*pairs, strict=True)))

    for variable, value in zip(vectorised.variables(model), moved, strict=True):
        np.testing.assert_allclose(value[0], variable, rtol=1e-4, atol=1e-6, err_msg=variable.path)


@pytest.mark.slow
def test_runs_draw_and_learn_apart():
    ensemble = save.Ensemble([member(SEMI, seed) for seed in range(3)])
    epoch = tf.function(ensemble.epoch, jit_compile=True)
    first = {name: value.numpy() for name, value in epoch(tf.constant(0)).items()}
    last = {name: value.numpy() for name, value in epoch(tf.constant(1)).items()}
    assert set(first) == set(ensemble.model.reports)
    for name, values in first.items():
        assert np.isfinite(values).all()
        assert len(np.unique(values)) == 3, name
    assert (last["reconstruction"] < first["reconstruction"]).all()


def test_every_labelled_image_comes_once_a_cycle():
    ensemble = save.Ensemble([member(SEMI)])
    known, cycle = ensemble.known.numpy()[0], ensemble.cycle.numpy()[0]
    assert len(np.unique(known)) == 100
    for number in range(int(cycle.max())):  # the last cycle may be cut
        assert len(np.unique(known[cycle == number])) == 100


def test_the_header_of_a_program_tells_what_changes():
    header = "HloModule m, input_output_alias={ {0}: (3, {}, may-alias), {2}: (1, {}, may-alias) }, entry..."
    assert vectorised.replaced(header) == {"0": 2, "2": 0}


def test_drawn_kernels_are_those_of_the_builder(tmp_path):
    """What is drawn anew on the other machine must be told by deviation and kind."""
    spec = SEMI | {"model": SEMI["model"] | {"units": [300], "initial_std": 0.01}}
    ensemble = save.Ensemble([member(spec), member(spec, 1)])
    at = next(at for at, value in enumerate(ensemble.stacked) if value[0].shape.num_elements() > save.LARGE)
    told = save.start(ensemble, ensemble.stacked[at].handle, tmp_path / "program")
    assert told["normal"] == 0.01
    assert [seed for seed, _ in told["seeds"]] == [0, 1]
    assert isinstance(ensemble.model, keras.Model)
