"""Progressive growing: the authors' schedules, what a transition shows, and a run that grows and may be resumed."""

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import TINY_RUN
from tests.test_resume import history
from tfaae import callbacks, config, growing, train
from tfaae.errors import InputError
from tfaae.models import StyleALAE

# config: images of the data, epochs, kimg of a resolution and in all (section 5 of the authors' schedule, traced)
SCHEDULES = {
    "style_alae_ffhq_1024": (60_000, 9, 960, 18_000),
    "style_alae_celebahq_256": (29_000, 7, 870, 8_120),
    "style_alae_celeba_128": (182_637, 6, 1_096, 14_611),
    "style_alae_bedroom_256": (758_260, 7, 1_517, 84_925),
    "style_alae_mnist_32": (60_000, 4, 600, 3_600),
}


def planned(name: str, levels: int) -> list[growing.Stage]:
    told = config.load(config.find(name)).train
    given = told.growing
    return growing.stages(levels, told.epochs, given.epochs_per_lod, given.batches, given.learning_rates)


@pytest.mark.parametrize("name", SCHEDULES)
def test_published_schedules(name):
    images, levels, each, whole = SCHEDULES[name]
    found = planned(name, levels)
    assert [stage.first for stage in found[1:]] == [stage.end for stage in found[:-1]]
    kimg = [sum(images * (s.end - s.first) for s in found if s.lod == lod) / 1000 for lod in range(levels)]
    np.testing.assert_allclose(kimg[:-1], each, atol=1)
    assert sum(kimg) == pytest.approx(whole, abs=1)
    halves = [(s.end - s.first) for s in found if s.lod and s.lod < levels - 1]
    assert len(set(halves)) == 1  # half fade, half stable
    assert [s.fading for s in found] == [False, *[True, False] * (levels - 1)]


def test_the_last_resolution_of_faces():
    found = planned("style_alae_ffhq_1024", 9)
    assert [(s.lod, s.fading, s.first, s.end) for s in found[-2:]] == [(8, True, 128, 136), (8, False, 136, 300)]
    assert [s.batch for s in found if not s.fading] == [512, 256, 128, 64, 32, 32, 32, 32, 32]
    assert [s.learning_rate for s in found if not s.fading] == [1.5e-3] * 6 + [2e-3, 3e-3, 3e-3]


def test_short_runs_and_short_lists():
    stage = growing.Stage
    assert growing.stages(3, 5, 2, [8, 4], [0.1]) == [
        stage(0, False, 0, 2, 8, 0.1, 0),
        stage(1, True, 2, 3, 4, 0.1, 1),
        stage(1, False, 3, 4, 4, 0.1, 0),
        stage(2, True, 4, 5, 4, 0.1, 1),
    ]
    assert growing.stages(2, 3, 1, [8], [0.1]) == [stage(0, False, 0, 1, 8, 0.1, 0), stage(1, False, 1, 3, 8, 0.1, 0)]
    (cut,) = (s for s in growing.stages(2, 5, 4, [8], [0.1]) if s.fading)
    assert (cut.end, cut.fade) == (5, 2)  # a run that ends within a transition does not hurry it


def test_blend_is_half_a_cosine():
    seen = np.array([0, 25, 50, 75, 100, 300])
    np.testing.assert_allclose(
        growing.blend(seen, 100), [0, 0.5 - 0.5 * np.sqrt(0.5), 0.5, 0.5 + 0.5 * np.sqrt(0.5), 1, 1], atol=1e-15
    )
    assert float(growing.blend(0, 7)) == 0


def test_images_of_a_resolution():
    images = np.random.default_rng(0).uniform(size=(3, 8, 8, 1)).astype(np.float32)
    means = images.reshape(3, 2, 4, 2, 4, 1).mean(axis=(2, 4))
    np.testing.assert_allclose(growing.shrunk(tf.constant(images), 2), means, rtol=1e-6)
    np.testing.assert_allclose(growing.all_shrunk(images, 2), means, rtol=1e-6)
    np.testing.assert_array_equal(growing.grown(tf.constant(images), 16), images.repeat(2, 1).repeat(2, 2))
    coarse = images.reshape(3, 4, 2, 4, 2, 1).mean(axis=(2, 4)).repeat(2, 1).repeat(2, 2)
    np.testing.assert_allclose(growing.faded(tf.constant(images), 0.3), 0.3 * images + 0.7 * coarse, rtol=1e-5)


@pytest.fixture
def model() -> StyleALAE:
    made = StyleALAE((16, 16, 1), 4, base_channels=2, max_channels=4, mapping_depth=1, seed=1)
    made.compile({"discriminator": "adam", "generator": "adam"}, run_eagerly=True)
    return made


def test_starting_a_resolution(model):
    images = tf.random.stateless_uniform([4, 16, 16, 1], [0, 0])
    model.start(0)
    before = {weight.path: np.asarray(weight).copy() for weight in model.trainable_variables}
    model.train_step(images)
    moved = {path for weight in model.trainable_variables if (path := weight.path) and np.any(before[path] != weight)}
    active = {w.path for phase in model.phases() for w in model.weights_of(phase)}
    assert moved == active
    assert len(active) < len(before)
    for optimizer in model.optimizers.values():
        assert int(optimizer.iterations) == 2
    rates = [float(optimizer.learning_rate) for optimizer in model.optimizers.values()]
    model.start(1, fade=8)
    for optimizer in model.optimizers.values():
        rest = [np.any(v) for v in optimizer.variables if v is not optimizer.learning_rate]
        assert not any(rest)
    assert rates == [float(optimizer.learning_rate) for optimizer in model.optimizers.values()]
    assert float(model.growth.blend()) == 0
    model.train_step(growing.shrunk(images, 8))  # smaller images are taken too
    assert float(model.growth.blend()) == pytest.approx(0.5)
    model.settle()
    assert model.growth.blend() is None
    assert (model.growth.lod, model.growth.fading, model.growth.size) == (1, False, 8)
    assert model.sample(2).shape == model.reconstruct(images[:2]).shape == (2, 16, 16, 1)
    with pytest.raises(InputError, match="StyleALAE expects float images"):
        model.batch(images[:, :4, :4])


@pytest.mark.parametrize("wrong", [(3, 0), (-1, 0), (0, 5), (1, -1)])
def test_resolutions_that_are_not_there(wrong):
    with pytest.raises(InputError, match="expected lod 0 to 2"):
        growing.Growth(3).start(*wrong)


RUN = {
    **TINY_RUN,
    "data": TINY_RUN["data"] | {"flip": True},
    "model": {"name": "StyleALAE", "latent_dim": 3, "base_channels": 2, "max_channels": 3, "mapping_depth": 1},
    "optim": {key: {"name": "equalised_adam"} for key in ("discriminator", "generator")},
    "train": {
        "epochs": 7,
        "xla": False,
        "figures_every": 100,
        "growing": {"epochs_per_lod": 4, "batches": [200, 100], "learning_rates": [0.002, 0.001]},
    },
}


def test_growing_that_cannot_be(tmp_path):
    with pytest.raises(InputError, match="AAE does not grow"):
        train.run(config.parse(TINY_RUN | {"train": RUN["train"]}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    large = RUN["train"] | {"growing": RUN["train"]["growing"] | {"batches": [5000]}}
    with pytest.raises(InputError, match="do not fill 5000"):
        train.run(config.parse(RUN | {"train": large}), tmp_path / "run")
    odd = RUN["train"] | {"steps_per_execution": 2}
    with pytest.raises(InputError, match="a divisor of 7 and 14, the steps of an epoch, got 2; use 1"):
        train.run(config.parse(RUN | {"train": odd}), tmp_path / "run")


@pytest.mark.slow
def test_a_run_that_grows(tmp_path, monkeypatch):
    """Four epochs of 4 x 4 pixels, two of transition, one of 8 x 8."""
    monkeypatch.setattr(callbacks.Pictures, "draw", lambda self, epoch: None)
    whole = train.run(config.parse(RUN), tmp_path / "whole")
    _, _, model = train.load(whole.folder)
    count = 1797 - 1797 // 6 - 98
    assert int(model.steps) == 4 * (count // 200) + 3 * (count // 100)
    assert (model.growth.lod, model.growth.fading) == (1, False)
    rates = [float(line["learning_rate/generator"]) for line in history(whole.folder)]
    np.testing.assert_allclose(rates, [0.002] * 4 + [0.001] * 3, rtol=1e-6)
