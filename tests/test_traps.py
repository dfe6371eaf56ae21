"""The mistakes that kept earlier implementations from the paper's numbers: a test for each that it is not made here."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.cases import CASES, CONV, MLP
from tfaae import data, losses
from tfaae.config import DataConfig
from tfaae.models import AAE, ClusteringAAE, DimensionReductionAAE, SemiSupervisedAAE, SupervisedAAE
from tfaae.models.base import Batch

SHAPE = (8, 8, 1)
FLOWER = {"name": "GaussianMixture", "components": 3, "radius": 50.0, "radial_std": 1.0, "tangential_std": 1.0}


def numbered(count: int, labelled: int, classes: int = 10) -> data.Split:
    """Row i is an image full of i / count; its label is i % classes for the first `labelled` rows, else unknown."""
    rows = np.arange(count)
    images = np.broadcast_to((rows / count)[:, None, None, None], (count, 2, 2, 1)).astype(np.float32)
    return data.Split(images, np.where(rows < labelled, rows % classes, -1).astype(np.int32))


def rows_of(images, count: int) -> np.ndarray:
    """The row numbers that `numbered` wrote into the pixels."""
    return np.rint(np.asarray(images)[:, 0, 0, 0] * count).astype(int)


def batch_of(images, labels) -> Batch:
    both = tf.convert_to_tensor(images), tf.convert_to_tensor(np.asarray(labels, np.int32))
    return Batch(*both, *both)


def images_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(count, *SHAPE)).astype(np.float32)


def log_softmax(logits) -> np.ndarray:
    logits = np.asarray(logits, np.float64)
    return logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))


# === 1: what an epoch is ===


@pytest.mark.parametrize("labelled", [1, 7, 50])
@pytest.mark.parametrize("labelled_batch", [None, 3, 10])
def test_an_epoch_passes_over_all_images_however_few_labels_there_are(labelled, labelled_batch):
    split = numbered(50, labelled)
    found = list(data.batches(split, 10, seed=0, epochs=2, labelled_batch=labelled_batch))
    assert len(found) == 2 * 5
    images = [images if labelled_batch is None else images[0] for images, _ in found]
    for epoch in (images[:5], images[5:]):
        assert sorted(np.concatenate([rows_of(one, 50) for one in epoch])) == list(range(50))


@pytest.mark.parametrize("labelled", [1, 4, 7, 30])
def test_every_labelled_image_is_seen_equally_often(labelled):
    """In whole cycles: within an epoch, no image is more than one ahead of another."""
    found = list(data.batches(numbered(50, labelled), 10, seed=0, epochs=2, labelled_batch=6))
    for epoch in (found[:5], found[5:]):
        seen = np.concatenate([rows_of(images[1], 50) for images, _ in epoch])
        counts = np.bincount(seen, minlength=50)
        assert len(seen) == 5 * 6
        assert not counts[labelled:].any()
        assert np.ptp(counts[:labelled]) <= 1


# === 2: the sum over pixels ===


def test_reconstruction_is_half_the_sum_over_pixels_averaged_over_the_batch():
    model = AAE(SHAPE, 2, seed=0, **MLP)
    images = images_of(5)
    decoded = np.asarray(model.reconstruct(images))
    expected = np.mean([0.5 * np.sum((image - copy) ** 2) for image, copy in zip(images, decoded, strict=True)])
    found = model.reconstruction_loss(batch_of(images, [-1] * 5), True)["reconstruction"]
    assert float(found) == pytest.approx(expected, rel=1e-5)


# === 3: cross-entropy of logits, of known labels ===


@pytest.mark.parametrize("labels", [[0, 2, 1, 2], [0, -1, 1, -1], [-1, -1, -1, 2]])
def test_cross_entropy_takes_logits_and_leaves_unknown_labels_out(labels):
    logits = np.random.default_rng(0).normal(scale=3, size=(4, 3)).astype(np.float32)
    expected = np.mean([-log_softmax(logits)[row, label] for row, label in enumerate(labels) if label >= 0])
    assert float(losses.cross_entropy(logits, tf.constant(labels))) == pytest.approx(expected, rel=1e-5)


def test_without_a_known_label_classification_is_nothing():
    logits = tf.Variable([[1.0, -2.0], [3.0, 0.5]])
    with tf.GradientTape() as tape:
        loss = losses.cross_entropy(logits, tf.constant([-1, -1]))
    assert float(loss) == 0
    np.testing.assert_array_equal(tape.gradient(loss, logits), np.zeros((2, 2)))


@pytest.mark.parametrize("name", ["semi-supervised-options", "reduction-labels"])
def test_models_classify_labelled_images_by_their_logits(name):
    model = CASES[name].build()
    labelled, labels = images_of(6, seed=1), np.array([0, 1, 2, -1, 2, 0], np.int32)
    batch = batch_of(images_of(9), [-1] * 9)._replace(labelled_images=tf.constant(labelled), labelled_labels=labels)
    logits = np.asarray(model.encoder.network(labelled, training=False))[:, :3]
    expected = np.mean([-log_softmax(logits)[row, label] for row, label in enumerate(labels) if label >= 0])
    found = model.classification_loss(batch, training=False)["classification"]
    assert float(found) == pytest.approx(expected, rel=1e-4)


# === 4: the decoder sees y ===


@pytest.mark.parametrize("name", ["semi-supervised-paper", "clustering", "reduction-labels"])
def test_the_decoder_sees_the_category(name):
    model = CASES[name].build()
    category, style = tf.one_hot([0, 1, 2], model.encoder.categories), tf.zeros([3, model.latent_dim])
    with tf.GradientTape() as tape:
        tape.watch(category)
        pixels = tf.reduce_sum(model.decoder(model.code(tf.concat([category, style], axis=-1))) ** 2)
    assert np.all(tape.gradient(pixels, category) != 0)


@pytest.mark.parametrize("name", ["semi-supervised-paper", "clustering", "reduction-labels"])
def test_reconstruction_teaches_the_category(name):
    """Its gradient reaches the logits: y is no constant to the encoder."""
    model = CASES[name].build()
    kernel = next(layer for layer in model.encoder.network.layers if layer.name == "codes").kernel
    with tf.GradientTape() as tape:
        loss = model.reconstruction_loss(batch_of(images_of(8), [-1] * 8), True)["reconstruction"]
    assert np.any(np.asarray(tape.gradient(loss, kernel))[:, : model.encoder.categories] != 0, axis=0).all()


def test_a_supervised_decoder_sees_the_label():
    model = SupervisedAAE(SHAPE, 3, classes=3, seed=0, **MLP)
    images = np.asarray(model.decode(np.zeros((3, 3), np.float32), [0, 1, 2]))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(images[one] - images[other]).max() > 1e-3
    loss = [float(model.reconstruction_loss(batch_of(images_of(4), [y] * 4), True)["reconstruction"]) for y in range(3)]
    assert len(set(loss)) == 3


# === 5: images and labels stay together ===


@pytest.mark.parametrize("labelled", [12, 40])
def test_images_keep_their_labels_in_both_streams(labelled):
    split = numbered(40, labelled)
    for images, labels in data.batches(split, 8, seed=2, epochs=2, labelled_batch=5):
        for some, theirs in zip(images, labels, strict=True):
            np.testing.assert_array_equal(split.labels[rows_of(some, 40)], theirs)
        assert np.min(labels[1]) >= 0


def test_a_model_takes_the_two_streams_apart():
    model = CASES["semi-supervised-paper"].build()
    first, more = (images_of(4), np.full(4, -1)), (images_of(6, seed=1), np.arange(6) % 3)
    batch = model.batch(((first[0], more[0]), (first[1], more[1])))
    for found, expected in zip(batch[:4], (*first, *more), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert batch.codes is None


# === 6: the label-regularised discriminator ===


def flower(**changes) -> AAE:
    return AAE(SHAPE, 2, prior=FLOWER, labels=True, seed=0, **MLP | changes)


def test_the_discriminator_reads_the_label():
    model, codes = flower(), tf.ones([4, 2])
    seen = model.discriminator_sees(codes, tf.constant([0, 1, 2, -1]))
    np.testing.assert_array_equal(seen[:, 2:], np.eye(4))
    np.testing.assert_array_equal(seen[:, :2], codes)
    assert len(set(np.asarray(model.discriminator(seen)).tolist())) == 4


def test_draws_and_codes_carry_the_labels_of_the_batch(monkeypatch):
    model, labels = flower(), np.array([2, 0, -1, 1, 2, -1])
    seen = []
    monkeypatch.setattr(model, "discriminate", lambda _, *both: seen.extend(both[:2]) or (0.0, 0.0))
    monkeypatch.setattr(model, "fool", lambda _, codes: seen.append(codes) or 0.0)
    batch = batch_of(images_of(6), labels)
    model.discriminator_loss(batch, True)
    model.generator_loss(batch, True)
    assert len(seen) == 3
    for codes in seen:
        np.testing.assert_array_equal(codes[:, 2:], np.eye(4)[labels])


def test_draws_with_a_label_come_from_its_segment():
    model, labels = flower(), np.repeat([0, 1, 2, -1], 50)
    draws = np.asarray(model.draws(batch_of(images_of(200), labels)))
    angles = 2 * np.pi * np.arange(3) / 3
    centres = 50 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    nearest = np.argmin(np.linalg.norm(draws[:, None] - centres, axis=-1), axis=1)
    np.testing.assert_array_equal(nearest[:150], labels[:150])
    assert set(nearest[150:]) == {0, 1, 2}


@pytest.mark.parametrize("phase", ["discriminator", "generator"])
def test_a_phase_of_the_game_uses_the_labels(phase):
    """The gradient of the first layer is not 0 just where a label of the batch, or "unknown", comes in."""
    model = flower()
    kernel = model.discriminator.trainable_variables[0]
    with tf.GradientTape() as tape:
        (loss,) = getattr(model, f"{phase}_loss")(batch_of(images_of(8), [0, 2] * 4), True).values()
    used = np.any(np.asarray(tape.gradient(loss, kernel))[2:] != 0, axis=1)
    assert used.tolist() == [True, False, True, False]


def test_encoder_and_decoder_of_a_label_regularised_model_see_no_label():
    model = flower()
    assert [tensor.shape[1:] for tensor in (*model.encoder.network.inputs, *model.decoder.inputs)] == [SHAPE, (2,)]
    found = {float(model.reconstruction_loss(batch_of(images_of(4), [y] * 4), True)["reconstruction"]) for y in (0, 1)}
    assert len(found) == 1


# === 7: batch normalisation ===

MAKERS = {
    "aae": lambda **given: AAE(SHAPE, 2, **given),
    "supervised": lambda **given: SupervisedAAE(SHAPE, 2, classes=3, **given),
    "semi-supervised": lambda **given: SemiSupervisedAAE(SHAPE, 2, classes=3, **given),
    "clustering": lambda **given: ClusteringAAE(SHAPE, 2, clusters=3, **given),
    "reduction": lambda **given: DimensionReductionAAE(SHAPE, 2, clusters=3, **given),
}


def normalisations(network: keras.Model) -> int:
    return sum(isinstance(layer, keras.layers.BatchNormalization) for layer in network.layers)


@pytest.mark.parametrize("arch", [MLP, CONV | {"discriminator_units": [8]}], ids=["mlp", "conv"])
@pytest.mark.parametrize(("batch_norm", "expected"), [("none", 0), ("hidden", 2), ("all", 3)])
@pytest.mark.parametrize("name", MAKERS)
def test_batch_normalisation_is_the_encoders_alone(name, batch_norm, expected, arch):
    model = MAKERS[name](batch_norm=batch_norm, **arch)
    parts = {part for phase in model.phases() for part in phase.parts} - {"encoder", "cluster_heads"}
    assert normalisations(model.encoder.network) == expected
    assert {part: normalisations(getattr(model, part)) for part in parts} == dict.fromkeys(parts, 0)


# === 9: phases and their optimizers ===

BOTH, GAMES = ("encoder", "decoder"), ("category_discriminator", "style_discriminator")
ONE_CODE = [("reconstruction", BOTH), ("discriminator", ("discriminator",)), ("generator", ("encoder",))]
TWO_CODES = [("reconstruction", BOTH), ("discriminator", GAMES), ("generator", ("encoder",))]
CLASSIFICATION = ("classification", ("encoder",))
REDUCTION = [("reconstruction", (*BOTH, "cluster_heads")), *TWO_CODES[1:]]
SEPARATION = ("separation", ("cluster_heads",))
PHASES = {
    "aae-deterministic": ONE_CODE,
    "aae-labels-wgan": ONE_CODE,
    "supervised-averaged": ONE_CODE,
    "semi-supervised-paper": [*TWO_CODES, CLASSIFICATION],
    "clustering": TWO_CODES,
    "reduction-labels": [*REDUCTION, CLASSIFICATION, SEPARATION],
    "reduction-fixed-heads": TWO_CODES,
}


@pytest.mark.parametrize("name", PHASES)
def test_phases_are_the_papers_in_its_order(name):
    assert [(phase.name, phase.trains) for phase in CASES[name].build().phases()] == PHASES[name]


@pytest.mark.parametrize("name", ["aae-deterministic", "semi-supervised-paper"])
def test_a_step_plays_the_phases_in_order_each_with_an_optimizer_of_its_own(name, monkeypatch):
    case = CASES[name]
    model = case.compiled(run_eagerly=True)
    played = []
    for phase, optimizer in model.optimizers.items():
        apply = optimizer.apply
        monkeypatch.setattr(
            optimizer, "apply", lambda *given, phase=phase, apply=apply: played.append(phase) or apply(*given)
        )
    model.train_on_batch(case.images(8), case.labels(8))
    names = [phase for phase, _ in PHASES[name]]
    assert played == names
    assert len({id(optimizer) for optimizer in model.optimizers.values()}) == len(names)
    slots = [id(variable) for optimizer in model.optimizers.values() for variable in optimizer.variables]
    assert len(set(slots)) == len(slots)


# === 10: the discriminators' noise ===


@pytest.mark.parametrize(
    ("name", "games"), [("aae-implicit-roll-noises", 1), ("semi-supervised-options", 2), ("supervised-averaged", 1)]
)
def test_every_discriminator_sees_noise_on_codes_and_on_draws(name, games, monkeypatch):
    case = CASES[name]
    model = case.build(discriminator_noise=1000.0, discriminator_noise_steps=0, dropout=0.0)
    batch = batch_of(case.images(64), np.zeros(64))
    for training, low, high in ((True, 500, 2000), (False, 0, 50)):
        pairs, fooling = [], []
        monkeypatch.setattr(model, "discriminate", lambda _, *both, to=pairs: to.append(both[:2]) or (0.0, 0.0))
        monkeypatch.setattr(model, "fool", lambda _, codes, to=fooling: to.append(codes) or 0.0)
        model.discriminator_loss(batch, training)
        model.generator_loss(batch, training)
        assert (len(pairs), len(fooling)) == (games, games)
        for seen in [*fooling, *(each for pair in pairs for each in pair), *(real - fake for real, fake in pairs)]:
            assert low < np.std(seen) < high


def test_noise_leaves_the_label_alone(monkeypatch):
    model = flower(discriminator_noise=1000.0)
    seen = []
    monkeypatch.setattr(model, "discriminate", lambda _, *both: seen.extend(both[:2]) or (0.0, 0.0))
    model.discriminator_loss(batch_of(images_of(4), [0, 1, 2, -1]), True)
    for codes in seen:
        np.testing.assert_array_equal(codes[:, 2:], np.eye(4))
        assert np.std(codes[:, :2]) > 200


# === 11 and 12: few labels, clean splits ===


def loaded(seed: int = 0, labelled: int | None = None) -> data.Data:
    return data.load(DataConfig(name="digits", validation=98, labelled=labelled), seed)


def kept(seed: int, labelled: int) -> set[int]:
    return set(np.flatnonzero(loaded(seed, labelled).train.labels >= 0))


@pytest.mark.parametrize("labelled", [10, 100, 1000])
def test_label_draws_are_balanced(labelled):
    labels = loaded(3, labelled).train.labels
    assert np.bincount(labels[labels >= 0]).tolist() == [labelled // 10] * 10


def test_label_draws_follow_the_seed_and_are_nested():
    assert kept(1, 100) == kept(1, 100)
    assert len(kept(1, 100) & kept(2, 100)) < 50
    assert kept(1, 10) < kept(1, 100) < kept(1, 500)


@pytest.mark.parametrize(("seed", "labelled"), [(1, None), (1, 10), (2, 100)])
def test_labels_are_taken_from_training_rows_and_splits_stay(seed, labelled):
    full, found = loaded(), loaded(seed, labelled)
    known = found.train.labels >= 0
    np.testing.assert_array_equal(found.train.images, full.train.images)
    np.testing.assert_array_equal(found.train.labels[known], full.train.labels[known])
    assert known.sum() == (labelled or len(full.train))
    for name in ("validation", "test"):
        for one, other in zip(getattr(found, name), getattr(full, name), strict=True):
            np.testing.assert_array_equal(one, other)
