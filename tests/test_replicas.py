"""Two replicas take the step that one device takes on the same batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.cases import CASES, Case, state, variables
from tfaae import losses, optimizers, replicas
from tfaae.errors import InputError
from tfaae.models import AdversarialInference, GaussianInference, PhasedModel
from tfaae.models.phased import Phase
from tfaae.seeds import Seeds
from tfaae.train import load_model

ROWS = 22  # of a batch: neither it nor a multiple is the size of anything else in a case
QUICK = {"aae-deterministic"}


@pytest.fixture(scope="module")
def two() -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def each(two: tf.distribute.Strategy, function) -> list:
    """What `function` of the replica's number gives on each replica."""

    def ran():
        return function(tf.distribute.get_replica_context().replica_id_in_sync_group)

    return [np.asarray(value) for value in two.experimental_local_results(two.run(ran))]


# === What replicas ask each other ===


def test_means_are_of_all_rows(two):
    values = tf.constant(np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32))
    mean, variance = tf.nn.moments(values, axes=[0])
    for found in each(two, lambda place: tf.stack(replicas.moments(values[4 * place : 4 * place + 4]))):
        np.testing.assert_allclose(found, [mean, variance], rtol=1e-5)


def test_one_replica_answers_for_itself():
    values = tf.constant([[1.0], [3.0]])
    assert replicas.count() == 1
    assert float(replicas.mean(values)[0]) == 2
    assert float(replicas.share(values)) == 1
    assert int(replicas.rows(values)) == 2
    assert replicas.own(values) is values


# === Draws ===


def test_replicas_draw_their_own_numbers_unless_they_share_them(two):
    with two.scope():
        seeds = Seeds(5)

    def draw(place):
        own = keras.random.normal([3], seed=seeds)
        with seeds.shared():
            return tf.stack([own, keras.random.normal([3], seed=seeds)])

    first, second = each(two, draw)
    assert not np.isin(first[0], second[0]).any()
    np.testing.assert_array_equal(first[1], second[1])
    assert [value.numpy().tolist() for value in two.experimental_local_results(seeds.state.value)] == [[5, 2], [5, 2]]


def test_replicas_toss_one_coin_for_a_batch_and_draw_their_own_noise(two):
    with two.scope():
        model = CASES["style-alae"].build()
    first, second = each(two, lambda place: tf.stack([model.crossover() for _ in range(20)]))
    np.testing.assert_array_equal(first, second)
    assert len(set(first)) > 2
    first, second = each(two, lambda place: tf.nest.flatten(model.noise(tf.constant(2)))[0])
    assert not np.isin(first, second).any()


def test_replicas_have_one_estimate_of_moments_and_codes_of_their_own(two):
    with two.scope():
        posterior = CASES["avb-adaptive"].build().encoder
    images = tf.constant(CASES["avb-adaptive"].images(2))
    first, second = each(two, lambda place: posterior(images))  # the same images on both
    assert not np.isin(first, second).any()
    unused = tf.zeros([2, *posterior.mean_v.shape])
    first, second = each(two, lambda place: tf.stack(posterior._moments(unused)))
    np.testing.assert_array_equal(first, second)
    for kept in (posterior.mean_v, posterior.variance_v):
        assert_equal_copies(two, kept)


def assert_equal_copies(two: tf.distribute.Strategy, variable: keras.Variable) -> None:
    first, second = two.experimental_local_results(variable.value)
    np.testing.assert_array_equal(first, second, err_msg=variable.path)


def test_one_device_draws_as_without_replicas():
    plain, ours = keras.random.SeedGenerator(5), Seeds(5)
    np.testing.assert_array_equal(keras.random.normal([3], seed=plain), keras.random.normal([3], seed=ours))


# === Running means ===


def test_running_means_go_on_replica_by_replica(two, tmp_path):
    """What a file gives back is what each replica had, not their sum: floats add up in the same order then."""
    case = CASES["aae-deterministic"]
    with two.scope():
        model = case.compiled()
    images = tf.data.Dataset.from_tensors(case.images(ROWS)).repeat()
    model.fit(images, steps_per_epoch=3, shuffle=False, verbose=0)
    before, results = model.means(), [tracker.result() for tracker in model.trackers.values()]
    assert before.shape == (2, 2 * len(results))
    assert not np.isin(before[0, ::2], before[1, ::2]).any()
    model.save(tmp_path / "a.keras")
    with two.scope():
        again = load_model(tmp_path / "a.keras")
    np.testing.assert_array_equal(again.means(), before)
    alone = load_model(tmp_path / "a.keras")
    np.testing.assert_array_equal(alone.means(), before.sum(axis=0, keepdims=True))
    for model in (again, alone):
        np.testing.assert_allclose([tracker.result() for tracker in model.trackers.values()], results, rtol=1e-6)
    alone.save(tmp_path / "b.keras")
    with two.scope():
        np.testing.assert_array_equal(load_model(tmp_path / "b.keras").means(), [before.sum(axis=0), 0 * before[0]])


def test_a_strategy_of_one_device_keeps_its_running_means(tmp_path):
    case, one = CASES["aae-deterministic"], tf.distribute.MirroredStrategy(["CPU:0"])
    with one.scope():
        model = case.compiled()
    model.fit(tf.data.Dataset.from_tensors(case.images(ROWS)).repeat(), steps_per_epoch=2, shuffle=False, verbose=0)
    model.save(tmp_path / "a.keras")
    with one.scope():
        np.testing.assert_array_equal(load_model(tmp_path / "a.keras").means(), model.means())


# === Steps ===


class Line(PhasedModel):
    """Least squares and a classifier: nothing is drawn."""

    reports = ("squares", "classification")

    def __init__(self):
        super().__init__(seed=0)
        self.line, self.classifier = keras.layers.Dense(1), keras.layers.Dense(3)
        for layer in (self.line, self.classifier):
            layer.kernel_initializer = keras.initializers.Constant(0.5)
            layer.build([None, 2])

    def phases(self):
        return (Phase("both", self.loss_of_both, ("line", "classifier")),)

    def batch(self, data):
        return data

    def loss_of_both(self, batch, training):
        points, labels = batch
        squares = tf.reduce_mean((self.line(points)[:, 0] - points[:, 0] * points[:, 1]) ** 2)
        return {"squares": squares, "classification": losses.cross_entropy(self.classifier(points), labels)}


def test_batches_that_do_not_divide_count_every_row_once(two):
    """The last of three batches leaves one replica without a row; labels are known to the other alone."""
    points = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
    labels = np.array([0, -1, -1, 2, 1, -1, 2])
    models = [Line()]
    with two.scope():
        models.append(Line())
    found = []
    for model in models:
        model.compile({"both": {"class_name": "SGD", "config": {"learning_rate": 0.1}}}, jit_compile=False)
        found.append(model.fit(points, labels, batch_size=3, epochs=2, shuffle=False, verbose=0).history)
    for one, other in zip(*map(state, models), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)
    for term, values in found[0].items():
        assert found[1][term] == pytest.approx(values, rel=1e-5), term


def test_a_model_of_two_replicas_takes_optimizers_of_two(two):
    """Else every replica counts a step, and schedules run at twice their rate."""
    with two.scope():
        model = Line()
    with pytest.raises(InputError, match="the optimizer of both must be made inside the strategy's scope"):
        model.compile({"both": keras.optimizers.SGD(0.1)})
    with pytest.raises(InputError, match="expected 1 among several replicas, got 2"):
        model.compile({"both": "sgd"}, steps_per_execution=2)
    model.compile({"both": "sgd"})
    assert not model.jit_compile


def halves(draw):
    """The draw as two replicas of one seed make it: each for its half of the rows, and both alike."""

    def drawn(shape, *args, **kwargs):
        if tf.is_symbolic_tensor(shape):  # in a graph by which tfp learns the types of a joint distribution's draws
            return draw(shape, *args, **kwargs)
        shape = [int(size) for size in shape]
        axis = next((axis for axis, size in enumerate(shape) if size and size % ROWS == 0), None)
        if axis is None:
            return draw(shape, *args, **kwargs)
        shape[axis] //= 2
        return tf.concat([draw(shape, *args, **kwargs)] * 2, axis=axis)

    return drawn


def halved_choice(draw):
    def drawn(logits, *args, **kwargs):
        if logits.shape[0] is None:
            return draw(logits, *args, **kwargs)
        parts = tf.split(logits, 2) if logits.shape[0] % ROWS == 0 else [logits]
        return tf.concat([draw(part, *args, **kwargs) for part in parts], axis=0)

    return drawn


def fit(model: PhasedModel, data) -> dict:
    return model.fit(data, steps_per_epoch=2, shuffle=False, verbose=0).history


def one_by_halves(model: PhasedModel, rows, monkeypatch) -> dict:
    """Trains on one device, with the draws that replicas of one seed make. Eagerly: shapes are numbers then."""
    with monkeypatch.context() as patch:
        for module in (tf.random, tf.compat.v2.random):
            for name in ("stateless_normal", "stateless_uniform"):
                patch.setattr(module, name, halves(getattr(module, name)))
            patch.setattr(module, "stateless_categorical", halved_choice(module.stateless_categorical))
        return fit(model, tf.data.Dataset.from_tensor_slices(rows).batch(ROWS))


def by_two(model: PhasedModel, rows, two, monkeypatch) -> dict:
    """Trains on two replicas of one seed, each with a half of every batch."""
    monkeypatch.setattr(replicas, "own", lambda seed: seed)
    halves = tf.data.Dataset.from_tensor_slices(rows).batch(ROWS // 2, drop_remainder=True)
    return fit(model, two.distribute_datasets_from_function(lambda _: halves))


def assert_one_step(make, rows, two, monkeypatch, start=lambda model: None) -> None:
    """SGD: Adam would hide a gradient that is twice too large. (Instance norms enlarge rounding: `export_limit`.)"""

    def made(**options) -> PhasedModel:
        model = make()
        plain = {"name": "sgd", "learning_rate": 0.01}
        built = {name: optimizers.build(name, plain, steps_per_epoch=1, epochs=1) for name in model.optimizer_names()}
        model.compile(built, jit_compile=False, **options)
        start(model)
        return model

    one = made(run_eagerly=True)
    with two.scope():
        other = made()
    told = one_by_halves(one, rows, monkeypatch), by_two(other, rows, two, monkeypatch)
    for term, value in told[0].items():
        assert told[1][term] == pytest.approx(value, rel=2e-4, abs=1e-5), term
    for variable in variables(other):
        assert_equal_copies(two, variable)
    for first, second in zip(*map(state, (one, other)), strict=True):
        np.testing.assert_allclose(second, first, rtol=2e-4, atol=max(2e-5, getattr(one, "export_limit", 0.0) / 10))


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=name, marks=[] if name in QUICK else pytest.mark.slow) for name, case in CASES.items()],
)
def test_two_replicas_take_the_step_of_one(case: Case, two, monkeypatch):
    """Dropout is off: it draws below what `halves` reaches."""
    still = {key: 0.0 for key in ("dropout", "input_dropout") if key in case.arguments}
    rows = case.images(2 * ROWS), case.labels(2 * ROWS)
    assert_one_step(lambda: case.build(**still), rows, two, monkeypatch)


@pytest.mark.slow
def test_two_replicas_fade_a_resolution_in_as_one(two, monkeypatch):
    case = CASES["style-alae"]
    rows = case.images(2 * ROWS), case.labels(2 * ROWS)
    assert_one_step(case.build, rows, two, monkeypatch, start=lambda model: model.start(1, 3 * ROWS))


@pytest.mark.slow
@pytest.mark.parametrize("model", [GaussianInference, AdversarialInference])
def test_two_replicas_of_inference_take_the_step_of_one(model, two, monkeypatch):
    assert_one_step(lambda: model("torus", seed=1), np.zeros(2 * ROWS, np.float32), two, monkeypatch)
