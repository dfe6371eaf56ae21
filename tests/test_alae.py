"""ALAE and StyleALAE against the authors' numbers, and what they promise beside those."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests import alae_fixtures as fixtures
from tests.alae_fixtures import float64, nhwc  # noqa: F401 (a fixture)
from tfaae import config
from tfaae.errors import InputError
from tfaae.models import ALAE, StyleALAE
from tfaae.models.base import Batch
from tfaae.optimizers import EqualisedAdam

GROUPS = {"mapping_f": "mapping", "mapping_d": "discriminator", "decoder": "decoder", "encoder": "encoder"}
MLP_GROUPS = {"mapping_fl": "mapping", "mapping_tl": "discriminator", "decoder": "decoder", "encoder": "encoder"}


class Draws:
    """Takes the place of everything random in a model."""

    def __init__(self, model, monkeypatch, z, noise=None, cutoffs=None):
        self.z, self.maps, self.cutoffs = list(z), noise, cutoffs
        monkeypatch.setattr(model, "draw", lambda count: tf.constant(self.z.pop(0), tf.float64))
        if noise is not None:
            monkeypatch.setattr(model, "noise", lambda count: self.maps.pop(0))
            monkeypatch.setattr(model, "crossover", lambda: tf.constant(self.cutoffs.pop(0)))


def style_model(cfg: dict, **changes) -> StyleALAE:
    size = 2 ** (cfg["layer_count"] + 1)
    return StyleALAE(
        (size, size, cfg["channels"]),
        cfg["latent_size"],
        base_channels=cfg["startf"],
        max_channels=cfg["maxf"],
        mapping_depth=cfg["mapping_layers"],
        std_epsilon=0.0,
        seed=0,
        **changes,
    )


def fill(model, groups: dict, arrays: dict, prefix: str, logit: int) -> None:
    named = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
    for group, part in groups.items():
        fixtures.fill(getattr(model, part), group, named, logit)


def in_unit_range(x: np.ndarray) -> Batch:
    images = tf.constant((x + 1) / 2)
    return Batch(images, None, images, None)


def relative(got, wanted, name: str, tolerance: float) -> None:
    scale = max(np.abs(wanted).max(), 1e-12)
    assert np.abs(np.asarray(got) - wanted).max() / scale < tolerance, name


def published(model, groups: dict) -> dict:
    """{the authors' name: variable} of all networks."""
    found = {}
    for group, part in groups.items():
        found |= {f"{group}.{name}": variable for name, variable in getattr(model, part).published().items()}
    return found


def check_gradients(model, phase, batch, groups: dict, arrays: dict, prefix: str, logit: int) -> int:
    """Compares every gradient of the phase that the file has; returns how many."""
    weights = published(model, groups)
    with tf.GradientTape() as tape:
        total = tf.add_n(list(phase.loss(batch, True).values()))
    gradients = dict(zip(weights, tape.gradient(total, [w.value for w in weights.values()]), strict=True))
    compared = 0
    for name, variable in weights.items():
        if f"{prefix}/grad/{name}" in arrays:
            wanted = fixtures.picked(arrays[f"{prefix}/grad/{name}"], variable, logit)
            relative(gradients[name], wanted, name, 1e-9)
            compared += 1
        elif f"{prefix}/gradnorm/{name}" in arrays:
            norm, total_of, first = arrays[f"{prefix}/gradnorm/{name}"]
            gradient = np.asarray(gradients[name])
            relative([np.linalg.norm(gradient)], np.array([norm]), name, 1e-9)
            np.testing.assert_allclose([gradient.sum(), gradient.flat[0]], [total_of, first], atol=1e-9 * norm)
            compared += 1
    return compared


TERMS = {"discriminator": ("d", "loss/d"), "generator": ("g", "loss/g"), "reciprocity": ("ae", "loss/ae")}


@pytest.mark.slow  # three whole iterations by default say the same
@pytest.mark.parametrize("phase_name", list(TERMS))
def test_style_losses_and_gradients_are_the_authors(phase_name, float64, monkeypatch):  # noqa: F811
    arrays, meta = fixtures.load("stylealae_small.npz")
    model = style_model(meta["cfg"])
    fill(model, GROUPS, arrays, "sd/", 32)
    silent = [tf.zeros([1, 1, 1, 1], tf.float64)] * 8  # as the authors' zeros, it gives the noise's weights a gradient
    Draws(model, monkeypatch, [arrays["in/z"]] * 2, [silent] * 2, [8] * 2)
    monkeypatch.setattr(model, "mixing", 0.0)
    batch = in_unit_range(nhwc(arrays["in/image_lod3"]))
    phase = next(phase for phase in model.phases() if phase.name == phase_name)
    _, key = TERMS[phase_name]
    terms = phase.loss(batch, True)
    relative([sum(terms.values())], arrays[f"{key}/total"].reshape(1), phase_name, 1e-10)
    if phase_name == "discriminator":
        relative([terms["discriminator"]], arrays[f"{key}/total_no_r1"].reshape(1), "without R1", 1e-10)
        relative([terms["r1"]], 5 * arrays[f"{key}/r1_per_sample_unscaled"].mean(keepdims=True), "R1", 1e-9)
    Draws(model, monkeypatch, [arrays["in/z"]] * 2, [silent] * 2, [8] * 2)
    compared = check_gradients(model, phase, batch, GROUPS, arrays, key, 32)
    assert compared == {"discriminator": 40, "generator": 48, "reciprocity": 82}[phase_name]


def test_three_iterations_are_the_authors(float64, monkeypatch):  # noqa: F811
    """Losses, parameters after each phase, mean codes, running averages and step counters, in a transition."""
    arrays, meta = fixtures.load("stylealae_train3.npz")
    model = style_model(meta["cfg"])
    fill(model, GROUPS, arrays, "init/", 16)
    model.mean_code.mean.assign(arrays["init/dlatent_avg.buff"].astype(float))
    names, averages = published(model, GROUPS), {id(source): copy for source, copy in model.averages.pairs()}
    for name, variable in names.items():
        averages[id(variable)].assign(fixtures.picked(arrays[f"ema_init/{name}"], variable, 16))
    model.compile(
        {name: EqualisedAdam(meta["lr"]) for name in ("discriminator", "generator")},
        run_eagerly=True,
        jit_compile=False,
    )
    model.start(meta["lod"], fade=1000)
    monkeypatch.setattr(model.growth, "blend", lambda: tf.constant(meta["blend"], tf.float64))
    monkeypatch.setattr(model, "batch", lambda data: in_unit_range(data))
    z, noise, cutoffs, played = [], [], [], []
    for iteration in range(3):
        for short, _ in TERMS.values():
            where = f"it{iteration}/{short}/"
            draw = where + "draw/"
            z += [arrays[f"{draw}{key}"] for key in ("z", "z2") if f"{draw}{key}" in arrays]
            cutoff = int(arrays[where + "mixing_cutoff"])
            if cutoff < 0 and short != "ae":  # no mixing there, but ours draws a second z for nothing
                z.append(np.zeros_like(arrays[draw + "z"]))
            cutoffs += [6 if cutoff < 0 else cutoff] if short != "ae" else []
            noise.append([nhwc(arrays[f"{draw}noise_block{i}_{half}"]) for i in range(3) for half in (1, 2)])
    Draws(model, monkeypatch, z, noise, cutoffs)
    move, terms_of = model._move, model.loss_terms

    def watched_terms(phase, batch, training):
        terms = terms_of(phase, batch, training)
        where = f"it{len(played) // 3}/{TERMS[phase.name][0]}"
        relative([sum(terms.values())], arrays[f"{where}/loss"].reshape(1), where, 1e-10)
        np.testing.assert_allclose(model.mean_code.mean, arrays[f"{where}/w_avg_after"], rtol=0, atol=1e-12)
        return terms

    def watched_move(phase, weights, gradients):
        move(phase, weights, gradients)
        if len(played) < 3:
            check_weights(names, arrays, f"it0/{TERMS[phase.name][0]}/params_after/")
        played.append(phase.name)

    monkeypatch.setattr(model, "loss_terms", watched_terms)
    monkeypatch.setattr(model, "_move", watched_move)
    for iteration in range(3):
        model.train_step(nhwc(arrays[f"it{iteration}/x_orig"]))
    assert played == ["discriminator", "generator", "reciprocity"] * 3
    check_weights(names, arrays, "final_orig/params/")
    check_weights({name: averages[id(variable)] for name, variable in names.items()}, arrays, "final_orig/ema/")
    for optimizer in model.optimizers.values():
        assert int(optimizer.iterations) == 6
    moved = {id(weight) for phase in model.phases() for weight in model.weights_of(phase)}
    for name, variable in names.items():
        assert int(arrays[f"final_orig/opt/{name}/step"]) == (6 if id(variable) in moved else 0), name


def check_weights(names: dict, arrays: dict, prefix: str) -> None:
    for name, variable in names.items():
        wanted = fixtures.picked(arrays[prefix + name], variable, 16)
        np.testing.assert_allclose(variable, wanted, rtol=0, atol=1e-8, err_msg=f"{prefix}{name}")


@pytest.mark.parametrize("phase_name", list(TERMS))
def test_mlp_losses_and_gradients_are_the_authors(phase_name, float64, monkeypatch):  # noqa: F811
    arrays, meta = fixtures.load("alae_mlp_ref.npz")
    model = ALAE((28, 28, 1), 50, seed=0, ema_images=0)
    fill(model, MLP_GROUPS, fixtures.recipe(meta["shapes"]), "", 0)
    images = tf.constant(nhwc(arrays["in/x"]))
    batch = Batch(images, None, images, None)
    Draws(model, monkeypatch, [arrays["in/z"]] * 2)
    phase = next(phase for phase in model.phases() if phase.name == phase_name)
    key = TERMS[phase_name][1]
    terms = phase.loss(batch, True)
    relative([sum(terms.values())], arrays[f"{key}/total"].reshape(1), phase_name, 1e-10)
    if phase_name == "discriminator":
        relative([terms["r1"]], 5 * arrays[f"{key}/r1_per_sample_unscaled"].mean(keepdims=True), "R1", 1e-9)
    compared = check_gradients(model, phase, batch, MLP_GROUPS, arrays, key, 0)
    assert compared == {"discriminator": 12, "generator": 30, "reciprocity": 24}[phase_name]
    np.testing.assert_allclose(model.encode(images), arrays["E/w"], rtol=0, atol=1e-10)


# === What is not the authors' ===


@pytest.fixture
def style() -> StyleALAE:
    return StyleALAE((8, 8, 1), 4, base_channels=2, max_channels=4, mapping_depth=1, seed=1)


def test_truncation_is_the_authors(float64):  # noqa: F811
    arrays, meta = fixtures.load("stylealae_small.npz")
    model = style_model(meta["cfg"], ema_images=0)
    model.mean_code.mean.assign(arrays["sd/dlatent_avg.buff"].astype(float))
    for first in (4, 8):
        got = model.truncated(tf.constant(arrays["F/styles"]), 0.7, first)
        np.testing.assert_allclose(got, arrays[f"trunc/psi0.7_cut{first}/styles"], rtol=0, atol=1e-10)


def test_truncated_samples_are_nearer_to_the_mean():
    model = ALAE((8, 8, 1), 3, units=(8,), mapping_depth=1, seed=1)
    np.testing.assert_allclose(model.sample(4, seed=3, truncation=1.0), model.sample(4, seed=3), atol=1e-6)
    middle = model.decode(tf.repeat(model.mean_code.mean, 4, axis=0))
    np.testing.assert_allclose(model.sample(4, seed=3, truncation=0.0), middle, atol=1e-6)


def test_style_mixing_of_images(style):
    codes, sources = tf.unstack(tf.random.stateless_normal([2, 3, 4], [1, 1]))
    mixed = style.style_mix(codes, sources, first=0, end=4)
    np.testing.assert_allclose(mixed, style.decode(sources), atol=1e-6)
    some = np.asarray(style.style_mix(codes, sources, first=1, end=2))
    for other in (style.decode(codes), style.decode(sources)):
        assert np.abs(some - other).max() > 1e-4
    with pytest.raises(InputError, match="0 <= first < end <= 4"):
        style.style_mix(codes, sources, first=3, end=5)


def test_one_code_has_one_image_and_samples_have_noise(style):
    codes = tf.random.stateless_normal([2, 4], [1, 1])
    for block in style.decoder.blocks:
        block.noise_weight_1.assign(tf.ones_like(block.noise_weight_1))
    for source, copy in style.averages.pairs():
        copy.assign(source)
    np.testing.assert_array_equal(style.decode(codes), style.decode(codes))
    noisy = style.decode(codes, noise=style.decoder.random_noise(tf.constant([0, 1]), 2))
    assert np.abs(noisy - style.decode(codes)).max() > 1e-4
    np.testing.assert_array_equal(style.decode(style.styles(codes)), style.decode(codes))


def test_crossovers(style):
    draw = tf.function(style.crossover)
    drawn = np.array([int(draw()) for _ in range(600)])
    assert set(drawn) == {1, 2, 3, 4}
    expected = 600 * np.array([0.225, 0.225, 0.225, 0.325])  # 4: no visible mixing, by the coin or by the place
    counts = np.bincount(drawn, minlength=5)[1:]
    assert np.sum((counts - expected) ** 2 / expected) < 16.3  # chi-squared, 3 degrees of freedom, p = 0.001


def test_averages_have_a_half_life_in_images():
    model = ALAE((8, 8, 1), 2, units=(4,), mapping_depth=1, ema_images=16.0, seed=0)
    source, copy = model.averages.pairs()[0]
    copy.assign(tf.zeros_like(copy))
    images = tf.zeros([8, 8, 8, 1])
    for _ in range(2):
        model.after_step(Batch(images, None, images, None))
    np.testing.assert_allclose(copy, 0.5 * np.asarray(source), rtol=1e-5)
    np.testing.assert_array_equal(model.encode(images), model.encode(images))


@pytest.mark.parametrize(
    ("model", "shape", "arguments", "message"),
    [
        (StyleALAE, (28, 28, 1), {}, "8, 16, 32"),
        (StyleALAE, (16, 16, 3), {"mixing": 1.5}, "mixing must be at least 0"),
        (StyleALAE, (16, 16, 3), {"base_channels": 0}, "base_channels must be above 0"),
        (ALAE, (8, 8, 1), {"head": "liner"}, "did you mean 'linear'"),
        (ALAE, (8, 8, 1), {"r1": -1.0}, "r1 must be at least 0"),
        (ALAE, (8, 8, 1), {"units": ()}, "units must be one or more"),
        (ALAE, (8, 8, 1), {"mapping_depth": 0}, "mapping_depth must be above 0"),
    ],
)
def test_arguments_that_do_not_fit(model, shape, arguments, message):
    with pytest.raises(InputError, match=message):
        model(shape, 2, **arguments)


def test_optimizers_are_those_of_the_phases():
    assert ALAE((8, 8, 1), 2, units=(4,)).optimizer_names() == [
        "discriminator",
        "generator",
        "discriminator",
        "generator",
    ]
    separate = ALAE((8, 8, 1), 2, units=(4,), separate_discriminator=True)
    assert separate.optimizer_names() == ["discriminator", "generator", "reciprocity", "generator"]
    with pytest.raises(InputError, match="takes one optimizer for each phase, \\['discriminator', 'generator'"):
        separate.compile({"discriminator": "adam"})


PUBLISHED = {"celeba_128": "celeba", "celebahq_256": "celeba-hq256", "bedroom_256": "bedroom", "ffhq_1024": "ffhq"}


@pytest.mark.parametrize("name", [*PUBLISHED, "mnist_32"])
def test_configs_are_the_published_architectures(name):
    path = fixtures.FIXTURES / f"shapes_{PUBLISHED.get(name, 'mnist')}.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    cfg, told = json.loads(path.read_text())["cfg"], config.load(config.find(f"style_alae_{name}"))
    assert told.data.size == 2 ** (cfg["layer_count"] + 1)
    names = {
        "startf": "base_channels",
        "maxf": "max_channels",
        "latent_size": "latent_dim",
        "mapping_layers": "mapping_depth",
    }
    assert {key: told.model[ours] for key, ours in names.items()} == {key: cfg[key] for key in names}


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 128, 256, 1024])
def test_a_step_at_every_size(size):
    """At reduced width: the last resolution of the large configs, with their fused convolutions."""
    model = StyleALAE((size, size, 3), 2, base_channels=1, max_channels=2, mapping_depth=1, seed=0)
    model.compile({name: EqualisedAdam() for name in ("discriminator", "generator")}, run_eagerly=True)
    reported = model.train_on_batch(np.zeros((2, size, size, 3), np.float32), return_dict=True)
    assert set(reported) == set(model.reports)
    assert all(np.isfinite(value) for value in reported.values())


@pytest.mark.slow
def test_graph_and_xla_are_one_algorithm(monkeypatch):
    results = []
    images = np.random.default_rng(0).uniform(size=(16, 8, 8, 1)).astype(np.float32)
    for compiled in (False, True):
        model = StyleALAE((8, 8, 1), 4, base_channels=2, max_channels=4, mapping_depth=1, seed=1)
        monkeypatch.setattr(model, "draw", lambda count: tf.reshape(tf.linspace(-1.0, 1.0, 8 * 4), [8, 4]))
        monkeypatch.setattr(model, "noise", lambda count: [tf.fill([1, 1, 1, 1], 0.5)] * 4)
        monkeypatch.setattr(model, "crossover", lambda: tf.constant(2))
        model.compile(dict.fromkeys(("discriminator", "generator"), "sgd"), jit_compile=compiled)  # Adam blows up zeros
        history = model.fit(images, batch_size=8, epochs=1, shuffle=False, verbose=0).history
        results.append((history, model.get_weights()))
    for term, values in results[0][0].items():
        np.testing.assert_allclose(results[1][0][term], values, rtol=1e-3, err_msg=term)
    for one, other in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-4)
