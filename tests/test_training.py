"""What a run leaves behind, and what its callbacks do when things go wrong."""

import csv
import errno

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.cases import CASES, MLP, assert_same, fit, state
from tfaae import bounds, building, callbacks, config, data, figures, train
from tfaae.errors import InputError
from tfaae.models import SupervisedAAE


def tags(folder) -> dict[str, list[str]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return {kind: events.Tags()[kind] for kind in ("tensors", "images", "histograms")}


def test_a_run_leaves_its_files(tiny_run):
    assert {path.name for path in tiny_run.iterdir()} == {
        "config.yaml",
        "checkpoint.keras",
        "history.csv",
        "figures",
        "logs",
    }
    assert {path.name for path in (tiny_run / "figures").iterdir()} == {
        "reconstructions.png",
        "samples.png",
        "codes.png",
        "manifold_percentiles.png",
        "interpolations.png",
    }


def test_history_has_every_epoch_term_and_rate(tiny_run):
    with (tiny_run / "history.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    terms = {"reconstruction", "discriminator", "discriminator_accuracy", "generator"}
    rates = {f"learning_rate/{phase}" for phase in ("reconstruction", "discriminator", "generator")}
    assert set(rows[0]) == {"epoch"} | terms | {f"val_{term}" for term in terms} | rates


def test_tensorboard_has_what_people_look_at(tiny_run):
    scalars = tags(tiny_run / "logs" / "train")["tensors"]
    assert {"epoch_reconstruction", "epoch_discriminator", "epoch_discriminator_accuracy", "epoch_generator"} <= set(
        scalars
    )
    assert "epoch_learning_rate/generator" in scalars
    assert "epoch_generator" in tags(tiny_run / "logs" / "validation")["tensors"]
    assert "epoch_discriminator" in tags(tiny_run / "logs" / "equilibrium")["tensors"]
    pictures = tags(tiny_run / "logs" / "pictures")["tensors"]
    drawn = {f"pictures/{name}" for name in ("reconstructions", "samples", "codes", "manifold_percentiles")}
    assert drawn | {"codes/axis 0"} <= set(pictures)


def test_projector_files_agree(tiny_run, digits):
    folder = tiny_run / "logs" / "pictures"
    codes = np.loadtxt(folder / "codes.tsv", delimiter="\t")
    lines = (folder / "metadata.tsv").read_text().splitlines()
    assert len(codes) == len(lines) - 1 == len(digits.test)
    assert lines[0] == "label\timage"
    assert [line.split("\t")[0] for line in lines[1:]] == [str(label) for label in digits.test.labels]
    side = int(np.ceil(np.sqrt(len(codes))))
    with Image.open(folder / "sprite.png") as sprite:
        assert sprite.size == (8 * side, 8 * side)
    assert "codes.tsv" in (folder / "projector_config.pbtxt").read_text()


def test_sprite_keeps_the_order():
    images = np.arange(6, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 2, 1), np.float32)
    sheet = figures.sprite(images)
    assert sheet.shape == (6, 6, 1)
    np.testing.assert_array_equal(sheet[::2, ::2, 0], [[0, 1, 2], [3, 4, 5], [0, 0, 0]])


def test_the_checkpoint_is_the_trained_model(tiny_run, digits):
    _, config, model = train.load(tiny_run)
    assert int(model.steps) == 2 * (len(digits.train) // config.data.batch)
    assert all(int(optimizer.iterations) == int(model.steps) for optimizer in model.optimizers.values())


@pytest.fixture
def model():
    return CASES["aae-deterministic"].compiled()


def test_a_failed_write_keeps_the_old_checkpoint(model, tmp_path, monkeypatch):
    checkpoint = callbacks.Checkpoint(tmp_path / "checkpoint.keras")
    checkpoint.set_model(model)
    checkpoint.save()
    before = (tmp_path / "checkpoint.keras").read_bytes()

    def disk_full(path):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(model, "save", disk_full)
    with pytest.raises(InputError, match=r"was not written, No space left on device: the file that was there stays"):
        checkpoint.save()
    assert (tmp_path / "checkpoint.keras").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.keras"]


def test_weights_that_are_not_finite_are_not_saved(model, tmp_path):
    checkpoint = callbacks.Checkpoint(tmp_path / "checkpoint.keras")
    checkpoint.set_model(model)
    weight = model.decoder.trainable_variables[0]
    weight.assign(tf.fill(weight.shape, np.nan))
    with pytest.raises(InputError, match="weights are not finite"):
        checkpoint.on_epoch_end(0)
    assert not (tmp_path / "checkpoint.keras").exists()


@pytest.mark.parametrize(("part", "phase"), [("decoder", "reconstruction"), ("discriminator", "discriminator")])
def test_a_loss_that_is_not_finite_stops_and_names_its_phase(model, part, phase):
    images = CASES["aae-deterministic"].images()
    weight = getattr(model, part).trainable_variables[-1]  # the output's: a rectifier may turn NaN into 0
    weight.assign(tf.fill(weight.shape, np.nan))
    with pytest.raises(InputError, match=rf"is nan at step 1, in phase {phase}.*learning rate for {phase}"):
        model.fit(images, batch_size=8, verbose=0, callbacks=[callbacks.StopOnNonFinite()])


def test_a_run_repeats_itself(tiny_run, tmp_path):
    from tests.conftest import TINY_RUN
    from tfaae import config

    train.run(config.parse(TINY_RUN), tmp_path / "again")
    _, _, first = train.load(tiny_run)
    _, _, second = train.load(tmp_path / "again")
    for one, other in zip(state(first), state(second), strict=True):
        np.testing.assert_array_equal(one, other)


def test_looking_does_not_change_training(tmp_path):
    """Pictures and validation draw from a stochastic posterior; the run must not notice."""
    from tests.conftest import TINY_RUN
    from tfaae import config

    ends = []
    for name, figures_every, validation in (("often", 1, 98), ("once", 100, 98)):
        raw = TINY_RUN | {
            "data": TINY_RUN["data"] | {"validation": validation},
            "model": TINY_RUN["model"] | {"posterior": "gaussian"},
            "train": {"epochs": 2, "figures_every": figures_every, "xla": False},
        }
        train.run(config.parse(raw), tmp_path / name)
        ends.append(state(train.load(tmp_path / name)[2]))
    for one, other in zip(*ends, strict=True):
        np.testing.assert_array_equal(one, other)


def test_evaluation_leaves_the_seeds_alone(model):
    before = np.asarray(model.seeds.state)
    images = CASES["aae-deterministic"].images()
    first = model.evaluate(images, verbose=0)
    np.testing.assert_array_equal(before, model.seeds.state)
    np.testing.assert_array_equal(first, model.evaluate(images, verbose=0))


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("vae", set()),
        pytest.param("aae-conv-rgb-spectral", set(), marks=pytest.mark.slow),
        ("supervised-averaged", {"style_by_content"}),
        ("semi-supervised-options", set()),
        ("clustering", {"clusters"}),
        ("reduction-labels", {"clusters"}),
    ],
)
def test_figures_of_every_kind_of_model(name, more):
    case = CASES[name]
    model = case.compiled()
    images = case.images(12)
    fit(model, case, 8)
    labels = np.array([1 if model.conditional else -1, 0, 1, 2] * 3)
    codes = np.asarray(model.encode_sample(images))
    drawn = figures.of_model(model, images, labels, ("a", "b", "c"), codes=codes)
    assert {"reconstructions", "samples", "codes"} | more <= set(drawn)
    assert all(figures.to_png(figure).startswith(b"\x89PNG") for figure in drawn.values())


def test_a_style_of_two_axes_is_drawn_with_its_labels():
    model = SupervisedAAE((8, 8, 1), 2, classes=3, seed=0, **MLP)
    images, codes = np.zeros((4, 8, 8, 1), np.float32), np.zeros((4, 2), np.float32)
    assert "style_by_content" in figures.of_model(model, images, np.arange(4) % 3, "abc", codes=codes)


def test_schedules_of_a_phase_that_moves_twice_end_with_the_run():
    rate = {"name": "CosineDecay", "initial_learning_rate": 0.1}
    raw = {
        "data": {"name": "digits", "batch": 100},
        "model": {"name": "AVB", "latent_dim": 2, "units": [8], "discriminator_units": [8], "adversary_steps": 2},
        "optim": {name: {"name": "sgd", "learning_rate": rate} for name in ("elbo", "discriminator")},
        "train": {"epochs": 3, "xla": False},
    }
    resolved = config.parse(raw)
    source = data.load(resolved.data)
    built = building.build(resolved, source).optimizers
    steps = len(source.train) // 100 * 3
    assert built["elbo"]._learning_rate.decay_steps == steps
    assert built["discriminator"]._learning_rate.decay_steps == 2 * steps


@pytest.mark.parametrize(
    "name",
    ["avb-adaptive", *(pytest.param(f"avb-{kind}", marks=pytest.mark.slow) for kind in ("residual", "adaptive-full"))],
)
def test_a_bound_without_an_adversary_is_logged_and_leaves_no_trace(name):
    case = CASES[name]
    plain, watched = case.compiled(), case.compiled()
    given = {"x": case.images(), "batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0}
    plain.fit(**given)
    found = watched.fit(**given, callbacks=[callbacks.ImportanceBound(case.images()[:5])]).history["importance_bound"]
    assert np.isfinite(found).all()
    assert_same(state(plain), state(watched))
    again = bounds.importance_bound(watched, case.images()[:5], 100, jit_compile=False)
    assert found[-1] == pytest.approx(again.mean(), abs=1)


@pytest.mark.parametrize(("name", "expected"), [("avb_mnist_dense", True), ("vae_mnist_dense", False)])
def test_runs_of_avb_log_it(tmp_path, name, expected):
    small = ["data.name=digits", "data.size=28", "data.validation=98", "model.units=[8]", "train.epochs=1"]
    small += ["train.xla=false"] + ["model.discriminator_units=[8]", "model.bases=2"] * expected
    train.run(config.load(config.find(name), small), tmp_path / "run")
    with (tmp_path / "run" / "history.csv").open() as rows:
        assert ("importance_bound" in next(csv.DictReader(rows))) == expected
