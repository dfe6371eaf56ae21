"""Labels and options that do not fit, and what labels, games, averages and precision do, against values by hand."""

import re

import numpy as np
import pytest
import tensorflow as tf

from tests.cases import CASES, CONV, MLP
from tfaae import building, config, data, distortion, losses
from tfaae.config import DataConfig
from tfaae.errors import InputError
from tfaae.models import AAE, ClusteringAAE, DimensionReductionAAE, SemiSupervisedAAE, SupervisedAAE
from tfaae.models.base import Batch

SHAPE = (8, 8, 1)
ROLL = {"name": "SwissRoll", "parts": 3}


def compiled(name: str, **changes):
    model = CASES[name].build(**changes)
    model.compile({phase.name: "adam" for phase in model.phases()}, run_eagerly=True)  # tracing would take longer
    return model


def images_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(count, *SHAPE)).astype(np.float32)


# === What is refused ===


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.full(8, 3), "made for labels 0 to 2 (-1: unknown), got 3 to 3"),
        ([0, 1, 2, 0, 1, 2, 0, 7], "made for labels 0 to 2 (-1: unknown), got 0 to 7"),
        (np.full(8, -2), "made for labels 0 to 2 (-1: unknown), got -2 to -2"),
        (np.zeros(8, np.float32), "expected labels [n], integers, got float32 [8]"),
        (np.zeros((8, 1), np.int32), "expected labels [n], integers, got int32 [8, 1]"),
        (np.eye(3, dtype=np.int32)[[0, 1] * 4], "expected labels [n], integers, got int32 [8, 3]"),
    ],
)
@pytest.mark.parametrize("name", ["supervised-averaged", "semi-supervised-paper", "aae-labels-wgan"])
def test_labels_that_do_not_fit(name, labels, says):
    with pytest.raises(InputError, match=re.escape(says)):
        compiled(name).fit(images_of(8), labels, batch_size=4, verbose=0)


def test_labels_in_tensors_are_checked_too():
    with pytest.raises(InputError, match=r"made for labels 0 to 2 .*, got 7 to 7"):
        compiled("supervised-averaged").fit(tf.constant(images_of(8)), tf.fill([8], 7), batch_size=4, verbose=0)


def test_as_many_labels_as_images():
    with pytest.raises(ValueError, match=r"(?s)8.*7"):
        compiled("semi-supervised-paper").fit(images_of(8), np.zeros(7, np.int32), batch_size=4, verbose=0)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"labelled": 15}, "a multiple of 10 up to 1400, got 15"),
        ({"labelled": 5}, "a multiple of 10 up to 1400, got 5"),
        ({"labelled": 2000}, "a multiple of 10 up to 1400, got 2000"),
        ({"labelled": 1390}, "1390 labels need 139 of each class, class [0-9] has 13[0-8]; ask for fewer"),
    ],
)
def test_draws_of_labels_that_cannot_be_balanced(keys, says):
    with pytest.raises(InputError, match=f"data.labelled: .*{says}"):
        data.load(DataConfig(name="digits", validation=98, **keys))


@pytest.mark.parametrize(
    ("keys", "says"), [({"labelled_batch": 4}, "data.labelled_batch: npz has no labels"), ({"labelled": 4}, "labelled")]
)
def test_labels_asked_of_data_without_any(keys, says, tmp_path):
    np.savez(tmp_path / "plain.npz", images=images_of(20))
    with pytest.raises(InputError, match=says):
        data.load(DataConfig(name="npz", path=str(tmp_path / "plain.npz"), batch=4, **keys))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ClusteringAAE(SHAPE, 2, clusters=1), "clusters must be at least 2, got 1"),
        (lambda: DimensionReductionAAE(SHAPE, 2, clusters=1), "clusters must be at least 2, got 1"),
        (lambda: DimensionReductionAAE(SHAPE, 2, clusters=3, margin=-1.0), "margin must be at least 0"),
        (lambda: DimensionReductionAAE(SHAPE, 2, clusters=3, fixed_heads=10.0), "latent_dim = clusters, got 2 and 3"),
        (lambda: SemiSupervisedAAE(SHAPE, 2, classes=1), "classes must be at least 2, got 1"),
        (lambda: SemiSupervisedAAE(SHAPE, 2, classes=3, style_std=0.0), "style_std must be above 0"),
        (lambda: SupervisedAAE(SHAPE, 2, classes=0), "classes must be at least 2, got 0"),
        (lambda: AAE(SHAPE, 2, labels=True, prior="Normal"), "labels need a prior with segments"),
        (lambda: AAE(SHAPE, 2, ema=1.0), "ema must be at least 0 and below 1"),
        (lambda: AAE(SHAPE, 2, game="hing"), "unknown game 'hing'; did you mean 'hinge'"),
        (lambda: AAE(SHAPE, 2, batch_norm="hiden"), "unknown batch_norm 'hiden'; did you mean 'hidden'"),
        (lambda: AAE(SHAPE, 2, precision="bfloat"), "unknown precision 'bfloat'; did you mean 'bfloat16'"),
        (lambda: AAE(SHAPE, 2, game="lsgan", label_smoothing=0.1), "label_smoothing belongs to the logistic game"),
        (lambda: AAE(SHAPE, 2, label_smoothing=0.5), "label_smoothing .* below 0.5; got 0.5"),
        (lambda: AAE(SHAPE, 2, r1=-1.0), "r1 must be at least 0"),
        (lambda: AAE(SHAPE, 2, input_dropout=1.0), "input_dropout must be at least 0 and below 1"),
    ],
)
def test_impossible_options(make, says):
    with pytest.raises(InputError, match=says):
        make()


@pytest.mark.parametrize(
    ("model", "labelled", "classes", "says"),
    [
        ({"name": "SupervisedAAE"}, 6, 3, "needs the label of every image, 12 of 24 have none"),
        ({"name": "SupervisedAAE"}, 0, 3, "learns from labels, but no training image has one"),
        ({"name": "SupervisedAAE"}, 0, 0, "classes must be at least 2, got 0"),
        ({"name": "SemiSupervisedAAE"}, 0, 3, "learns from labels, but no training image has one"),
        ({"name": "SemiSupervisedAAE"}, 0, 0, "classes must be at least 2, got 0"),
        ({"name": "SemiSupervisedAAE", "classes": 3}, 12, 3, "model.classes: leave it out"),
        ({"name": "AAE", "labels": True, "prior": ROLL}, 0, 0, "learns from labels, but no training image has one"),
        ({"name": "AAE", "labels": True, "prior": ROLL}, 12, 4, "made for 3 labels, the data has 4"),
        ({"name": "DimensionReductionAAE", "clusters": 3, "labels": True}, 0, 3, "learns from labels"),
    ],
)
def test_models_and_data_that_do_not_go_together(model, labelled, classes, says):
    labels = np.where(np.arange(12) < labelled, np.arange(12) % 3, -1).astype(np.int32)
    split = data.Split(images_of(12), labels)
    raw = {"data": {"name": "npz", "batch": 4}, "model": model | {"latent_dim": 2} | MLP, "optim": {}}
    given = data.Data(split, split.take(slice(0)), split, tuple("abcd"[:classes]))
    with pytest.raises(InputError, match=says):
        building.build(config.parse(raw), given)


def test_a_supervised_model_decodes_labels_alone():
    model = CASES["supervised-averaged"].build()
    for decode in (lambda: model.decode(tf.zeros([2, 3])), lambda: model.reconstruct(images_of(2))):
        with pytest.raises(InputError, match=r"give labels \[n\]"):
            decode()


@pytest.mark.parametrize("name", ["supervised-averaged", "semi-supervised-paper", "aae-labels-wgan"])
def test_samples_of_labels_that_are_not_there(name):
    model = CASES[name].build()
    with pytest.raises(InputError, match="expected labels 0 to 2, got 0 to 3"):
        model.sample(labels=[0, 3])
    with pytest.raises(InputError, match="one label a draw"):
        model.sample(3, labels=[0, 1])


# === Games and penalties ===


def softplus(x: float) -> float:
    return float(np.log1p(np.exp(x)))


@pytest.mark.parametrize(
    ("game", "discriminator", "generator"),
    [  # real logits 2 and 0.5, fake ones -0.5 and 3
        (
            "logistic",
            (softplus(-2) + softplus(-0.5) + softplus(-0.5) + softplus(3)) / 2,
            (softplus(0.5) + softplus(-3)) / 2,
        ),
        ("lsgan", (1 + 0.25) / 2 + (0.25 + 16) / 2, (2.25 + 4) / 2),
        ("hinge", (0 + 0.5) / 2 + (0.5 + 4) / 2, -1.25),
        ("wgan-gp", 1.25 - 1.25, -1.25),
    ],
)
def test_games(game, discriminator, generator):
    real, fake = tf.constant([2.0, 0.5]), tf.constant([-0.5, 3.0])
    assert float(losses.discriminator_loss(real, fake, game)) == pytest.approx(discriminator, rel=1e-6)
    assert float(losses.generator_loss(fake, game)) == pytest.approx(generator, rel=1e-6)


def test_the_wgan_critic_tells_draws_from_codes():
    real, fake = tf.constant([2.0, 0.5]), tf.constant([-0.5, -3.0])
    assert float(losses.discriminator_loss(real, fake, "wgan-gp")) == pytest.approx(-1.75 - 1.25)


@pytest.mark.parametrize(("game", "told"), losses.EQUILIBRIUM.items())
def test_where_a_discriminator_can_only_guess(game, told):
    ln2 = np.log(2)
    expected = {"logistic": (2 * ln2, ln2), "lsgan": (2, 1), "hinge": (2, 0), "wgan-gp": (0, 0)}[game]
    zeros = tf.zeros(3)
    found = float(losses.discriminator_loss(zeros, zeros, game)), float(losses.generator_loss(zeros, game))
    assert found == pytest.approx(expected)
    assert tuple(told.values()) == pytest.approx(expected)


def test_label_smoothing_is_one_sided():
    real, fake = tf.constant([2.0]), tf.constant([-0.5])
    expected = 0.9 * softplus(-2) + 0.1 * softplus(2) + softplus(-0.5)
    assert float(losses.discriminator_loss(real, fake, label_smoothing=0.1)) == pytest.approx(expected, rel=1e-6)


def test_penalties_of_a_linear_critic():
    slope = tf.constant([3.0, -4.0])
    real, fake = tf.random.stateless_normal([5, 2], [0, 1]), tf.zeros([5, 2])
    critic = lambda points: tf.linalg.matvec(points, slope) + 7.0  # noqa: E731
    assert float(losses.r1_penalty(critic, real)[1]) == pytest.approx(25 / 2)
    assert float(losses.lipschitz_penalty(critic, real, fake, tf.fill([5, 1], 0.3))) == pytest.approx((5 - 1) ** 2)


def test_where_the_penalties_look():
    """The gradient of |x|^2 is 2 x: R1 looks at draws, the other one between draws and codes."""
    critic = lambda points: tf.reduce_sum(points**2, axis=-1)  # noqa: E731
    real, fake = tf.constant([[2.0, 0.0]]), tf.constant([[0.0, 1.0]])
    assert float(losses.r1_penalty(critic, real)[1]) == pytest.approx(0.5 * 16)
    between = 2 * np.hypot(0.25 * 2, 0.75 * 1)
    assert float(losses.lipschitz_penalty(critic, real, fake, tf.constant([[0.25]]))) == pytest.approx(
        (between - 1) ** 2, rel=1e-5
    )


@pytest.mark.parametrize(
    ("margin", "expected"), [(0.5, 0.0), (1.0, 0.0), (4.5, 3.5 + 4.5 - np.sqrt(18)), (6.0, 1 + 5 + 6 - np.sqrt(18))]
)
def test_head_separation(margin, expected):
    heads = tf.constant([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])  # 5, 1 and the root of 18 apart
    assert float(losses.head_separation(heads, margin)) == pytest.approx(expected, abs=1e-5)


def test_heads_on_one_place_have_a_finite_gradient():
    heads = tf.Variable([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0]])
    with tf.GradientTape() as tape:
        loss = losses.head_separation(heads, 3.0)
    assert float(loss) == pytest.approx(3 + 2 * (3 - np.sqrt(5)), abs=1e-4)
    assert np.isfinite(tf.convert_to_tensor(tape.gradient(loss, heads))).all()


# === Running averages ===


@pytest.mark.parametrize("ema", [0.2, 0.9])
def test_averages_follow_the_weights(ema):
    model = compiled("supervised-averaged", ema=ema)
    watched = [*model.encoder.weights, *model.decoder.weights]
    expected = [np.array(weight) for weight in watched]
    for t in (1, 2, 3):
        model.train_on_batch(images_of(8, seed=t), np.arange(8) % 3)
        decay = min(ema, (1 + t) / (10 + t))
        expected = [decay * old + (1 - decay) * np.array(new) for old, new in zip(expected, watched, strict=True)]
    for found, value in zip(model.averages.weights, expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["supervised-averaged", "semi-supervised-options", "reduction-labels"])
def test_verbs_use_the_averages(name):
    model, twin = compiled(name), CASES[name].build(ema=0.0)
    model.fit(images_of(16), np.arange(16) % 3, batch_size=8, verbose=0)
    raw = CASES[name].build(ema=0.0)
    parts = ["encoder", "decoder", *(["cluster_heads"] if hasattr(model, "cluster_heads") else [])]
    for other, values in ((raw, [w for part in parts for w in getattr(model, part).weights]), (twin, None)):
        targets = [weight for part in parts for weight in getattr(other, part).weights]
        for target, value in zip(targets, values or model.averages.weights, strict=True):
            target.assign(value)
    images = images_of(4, seed=1)
    labels = {"labels": [0, 1, 2, 0]} if model.conditional else {}
    for verb in (lambda m: m.encode(images), lambda m: m.reconstruct(images, **labels)):
        np.testing.assert_allclose(verb(model), verb(twin), atol=1e-6)
        assert np.abs(np.asarray(verb(model)) - np.asarray(verb(raw))).max() > 1e-4


@pytest.mark.parametrize("name", ["supervised-averaged", "semi-supervised-options", "reduction-labels"])
def test_training_does_not_notice_the_averages(name):
    ends = []
    for ema in (0.0, 0.9):
        model = compiled(name, ema=ema)
        model.fit(images_of(16), np.arange(16) % 3, batch_size=8, shuffle=False, verbose=0)
        assert (model.averages is None) == (ema == 0)
        ends.append([np.array(weight) for weight in model.trainable_weights] + [np.array(model.seeds.state)])
    for one, other in zip(*ends, strict=True):
        np.testing.assert_array_equal(one, other)


# === Codes with a category ===


def test_a_reduced_code_is_the_head_of_the_cluster_plus_the_style():
    model = CASES["reduction-labels"].build(ema=0.0)
    images = images_of(5)
    raw = np.asarray(model.encoder.network(images, training=False), np.float64)
    category = np.exp(raw[:, :3]) / np.exp(raw[:, :3]).sum(axis=1, keepdims=True)
    expected = category @ np.asarray(model.cluster_heads.heads) + raw[:, 3:]
    np.testing.assert_allclose(model.encode(images), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.classify(images), category, rtol=1e-4)


def test_the_prior_of_a_reduction_stays_around_its_heads():
    model = CASES["reduction-labels"].build(ema=0.0, style_std=0.5)
    heads = np.array([[9.0, 0.0], [0.0, -7.0], [-5.0, 5.0]], np.float32)
    model.cluster_heads.heads.assign(heads)
    draws = np.asarray(model.prior.sample(6000, np.repeat([0, 1, 2], 2000), seed=[0, 1])).reshape(3, 2000, 2)
    np.testing.assert_allclose(draws.mean(axis=1), heads, atol=0.1)
    np.testing.assert_allclose(draws.std(axis=1), 0.5, rtol=0.1)
    free = np.asarray(model.prior.sample(300, seed=[0, 2]))
    nearest = np.argmin(np.linalg.norm(free[:, None] - heads, axis=-1), axis=1)
    assert np.bincount(nearest, minlength=3).min() > 60


@pytest.mark.parametrize(("name", "fixed"), [("reduction-fixed-heads", True), ("reduction-labels", False)])
def test_fixed_heads_stay_and_learned_ones_move(name, fixed):
    model = compiled(name)
    before = np.asarray(model.cluster_heads.heads).copy()
    model.fit(images_of(8), np.arange(8) % 3, batch_size=4, epochs=2, verbose=0)
    assert np.array_equal(before, model.cluster_heads.heads) == fixed
    if fixed:
        np.testing.assert_array_equal(before, 10 * np.eye(4))


def test_labelled_images_are_rebuilt_from_their_true_label():
    model = CASES["semi-supervised-options"].build(batch_norm="none")
    images, labelled = images_of(3), images_of(4, seed=1)
    labels = np.array([2, -1, 0, 1], np.int32)
    batch = Batch(*map(tf.constant, (images, np.array([1, 1, 1], np.int32), labelled, labels)))
    both = np.concatenate([images, labelled])
    _, category, style = (np.array(part) for part in model.encoder.with_logits(both))
    for row, label in zip(range(3, 7), labels, strict=True):
        if label >= 0:
            category[row] = np.eye(3)[label]
    decoded = np.asarray(tf.sigmoid(model.decoder(np.concatenate([category, style], axis=1), training=False)))
    expected = 0.5 * np.sum((both - decoded) ** 2) / 7
    assert float(model.reconstruction_loss(batch, True)["reconstruction"]) == pytest.approx(expected, rel=1e-5)
    plain = CASES["semi-supervised-options"].build(batch_norm="none", true_labels=False)
    alone = float(plain.reconstruction_loss(batch, True)["reconstruction"])
    assert float(model.reconstruction_loss(batch, False)["reconstruction"]) == pytest.approx(alone, rel=1e-6)
    assert abs(alone - expected) > 1e-3


def test_samples_of_a_label_have_its_corner_as_category(monkeypatch):
    model = CASES["semi-supervised-paper"].build()
    monkeypatch.setattr(model, "decode", lambda codes: codes)
    labels = [2, 0, 1, 2]
    codes = np.asarray(model.sample(labels=labels, seed=0))
    np.testing.assert_array_equal(codes[:, :3], np.eye(3)[labels])
    assert len(np.unique(codes[:, 3:])) == 4 * 4


# === Invariance ===

TWO_CODES = [
    (SemiSupervisedAAE, {"classes": 3}),
    (ClusteringAAE, {"clusters": 3}),
    (DimensionReductionAAE, {"clusters": 3}),
    (DimensionReductionAAE, {"clusters": 3, "labels": True}),
]


@pytest.mark.parametrize(("cls", "extra"), TWO_CODES)
def test_invariance_is_a_phase_of_the_encoder_where_it_is_asked_for(cls, extra):
    plain, invariant = (cls(SHAPE, 2, **extra, **MLP, invariance=told) for told in (None, {"pixels": 1.0}))
    added = set(invariant.reports) - set(plain.reports)
    assert added == {"invariance"}
    names = [phase.name for phase in invariant.phases()]
    assert [name for name in names if name != "invariance"] == [phase.name for phase in plain.phases()]
    assert {phase.name: phase.trains for phase in invariant.phases()}["invariance"] == ("encoder",)
    assert cls.from_config(invariant.get_config()).invariance == invariant.invariance


@pytest.mark.parametrize("still", [True, False])
def test_reconstruction_moves_still_categories_not_at_all(still):
    model = CASES["reduction-labels"].build(still_categories=still, initial_std=0.3)
    codes = next(layer for layer in model.encoder.network.layers if layer.name == "codes")
    batch = Batch(tf.constant(images_of(8)), None, None, None)
    with tf.GradientTape(persistent=True) as tape:
        loss = model.reconstruction_loss(batch, True)["reconstruction"]
    kernel, heads = (np.asarray(tape.gradient(loss, weight)) for weight in (codes.kernel, model.cluster_heads.heads))
    category, style = kernel[:, :3], kernel[:, 3:]
    assert np.any(style)
    assert np.any(heads)
    assert np.any(category) != still
    plain = CASES["reduction-labels"].build(initial_std=0.3).reconstruction_loss(batch, True)["reconstruction"]
    assert float(loss) == pytest.approx(float(plain), rel=1e-6)


@pytest.mark.parametrize(("cls", "extra"), TWO_CODES)
def test_views_take_their_images_category_and_clusters_are_used_alike(cls, extra):
    model = cls(SHAPE, 2, **extra, **MLP, seed=0, initial_std=1.0, invariance={"pixels": 3.0})
    batch = Batch(tf.constant(images_of(32)), None, None, None)
    seed = tf.constant([1, 2])
    views = distortion.view(batch.images, model.invariance, seed)
    (first, p, _), (second, q, _) = model.encoder.with_logits(batch.images), model.encoder.with_logits(views)
    expected = losses.divergence(first, second)
    assert float(expected) > 0.01
    if not model.classes:
        expected += losses.imbalance(tf.concat([p, q], axis=0))
    with model.seeds.given(seed):
        found = model.invariance_loss(batch, True)["invariance"]
    assert float(found) == pytest.approx(float(expected), rel=1e-3)


@pytest.mark.slow
def test_training_makes_categories_invariant():
    """Bars, upright or level, that move by up to two pixels; left alone, clusters know their places too."""
    bars = np.zeros((256, *SHAPE), np.float32)
    for row, place in enumerate(np.random.default_rng(0).integers(1, 7, len(bars))):
        bars[(row, slice(None), place) if row % 2 else (row, place)] = 1.0
    found = {}
    for told in (None, {"pixels": 2.0}):
        model = ClusteringAAE(SHAPE, 2, clusters=2, **MLP, seed=2, invariance=told)
        moves = {phase.name: {"class_name": "Adam", "config": {"learning_rate": 0.01}} for phase in model.phases()}
        model.compile(moves, jit_compile=False)
        model.fit(bars, batch_size=64, epochs=20, verbose=0)
        views = distortion.view(bars, config.DistortionConfig(pixels=2.0), tf.constant([5, 5]))
        (first, p, _), (second, _, _) = model.encoder.with_logits(bars), model.encoder.with_logits(views)
        found[told is None] = float(losses.divergence(first, second) + losses.imbalance(p))
    assert found[False] < 0.5 < found[True]


@pytest.mark.parametrize(
    ("wrong", "says"), [({"turn": 1.0}, "extra inputs"), ({"pixels": -1.0}, "greater than or equal")]
)
def test_invariance_to_what_no_distortion_is(wrong, says):
    with pytest.raises(InputError, match=f"ClusteringAAE: invariance.*{says}"):
        ClusteringAAE(SHAPE, 2, clusters=3, **MLP, invariance=wrong)


# === Precision ===


@pytest.mark.parametrize(
    ("cls", "extra"), [(AAE, {}), (SupervisedAAE, {"classes": 3}), (SemiSupervisedAAE, {"classes": 3})]
)
@pytest.mark.parametrize(
    ("arch", "size"),
    [
        (MLP, 8),
        (CONV | {"discriminator_units": [8]}, 9),
        (CONV | {"discriminator_units": [8]}, 8),
    ],
    ids=["mlp", "conv-odd", "conv-even"],
)
def test_bfloat16_is_for_products_alone(cls, extra, arch, size):
    model = cls((size, size, 1), 2, precision="bfloat16", seed=0, **extra, **arch)
    assert {weight.dtype for weight in model.weights} == {"float32", "int64"}  # int64: the count of steps
    networks = [model.encoder.network, model.decoder]
    networks += [getattr(model, name) for phase in model.phases() for name in phase.parts if "discriminator" in name]
    for network in networks:
        assert "bfloat16" in {layer.compute_dtype for layer in network.layers}
        assert [output.dtype for output in network.outputs] == ["float32"]
    model.compile({phase.name: "sgd" for phase in model.phases()}, run_eagerly=True)
    images = np.zeros((4, size, size, 1), np.float32)
    model.fit(images, np.arange(4) % 3, batch_size=4, verbose=0)
    assert model.encode(images).dtype == tf.float32
