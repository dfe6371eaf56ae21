"""Annealing against a model whose log p(x) is known, and the mistakes that such a loop invites."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tests.gaussian import LinearGaussian
from tfaae import annealing, bounds, chains, streams
from tfaae.errors import InputError

MODEL = LinearGaussian()
IMAGES = MODEL.simulate(20, seed=1)[0]
EXACT = MODEL.log_likelihood(IMAGES)


def annealed(model=MODEL, images=IMAGES, **arguments):
    return annealing.annealed_importance(model, images, verbose=0, **arguments)


@pytest.fixture(scope="module")
def from_proposal():
    return annealed(steps=100)


@pytest.fixture(scope="module")
def from_prior():
    return annealed(steps=100, start="prior")


# === the exact answer ===


def test_it_finds_the_likelihood(from_proposal):
    found = from_proposal.log_likelihood
    assert (found.shape, found.dtype) == ((20,), np.float64)
    mean, error = bounds.paired(found, EXACT)
    assert error < 0.03
    assert abs(mean) < min(0.05, 3 * error)


def test_weights_are_right_in_the_mean_however_few_the_steps():
    """A small model and many chains: an increment of the wrong temperature, or in the wrong place, shows."""
    model = LinearGaussian(codes=2, shape=(2, 2, 1), sigma=0.5)
    images = model.simulate(20, seed=1)[0]
    path = {"steps": 4, "start": "prior", "schedule": "sigmoid", "chains": 4000, "step_size": 0.3}
    found = annealed(model, images, **path, jit_compile=False)
    mean, error = bounds.paired(found.log_likelihood, model.log_likelihood(images))
    assert error < 0.01
    assert abs(mean) < 3 * error


def test_one_step_from_the_posterior_weighs_every_chain_alike():
    found = annealed(LinearGaussian(width=None), steps=1, chains=3)
    np.testing.assert_allclose(found.log_weights, np.broadcast_to(EXACT, (3, 20)), atol=2e-5)
    np.testing.assert_allclose(found.effective_samples, 3)
    assert np.isnan(found.acceptance).all()
    np.testing.assert_allclose(found.step_size, 0.1)


def test_log_weights_are_below_the_likelihood_and_rise_with_the_steps(from_proposal):
    """Jensen's inequality. One step is importance sampling: the bound of one sample."""
    one, hundred = bounds.importance_bound(MODEL, IMAGES, 1) - EXACT, from_proposal.log_weights.mean(0) - EXACT
    for difference in (hundred, one - hundred):
        mean, error = bounds.summary(difference)
        assert mean < -2 * error
    assert np.mean(hundred) > 0.1 * np.mean(one)


def test_each_transition_knows_its_own_temperature(from_prior):
    """From the results of the temperature before, log weights vary by 198 nats and nearly no proposal is accepted."""
    assert np.std(from_prior.log_weights - EXACT) < 6.7  # reached by a fixed step
    assert from_prior.acceptance.mean() > 0.4


def test_effective_samples(from_proposal, from_prior):
    for found in (from_proposal.effective_samples, from_prior.effective_samples):
        assert ((found >= 1) & (found <= 16)).all()
    assert from_proposal.effective_samples.mean() > 10 > from_prior.effective_samples.mean()


# === what the program depends on, and what it does not ===


class Uneven(LinearGaussian):
    """The proposal is ten times too wide for images whose first pixel is above 5."""

    def proposal(self, images):
        right = super().proposal(images)
        widths = tf.where(images[:, 0, 0, 0] > 5, 10.0, 1.0)
        return tfd.MultivariateNormalDiag(right.mean(), widths[:, None] * right.stddev())


@pytest.fixture(scope="module")
def uneven():
    """Log weights, acceptance and step sizes of images 0 and 1; of 0 and one of a bad proposal; with a constant."""
    model = Uneven(constant=tf.Variable(0.0))
    program = annealing._program(model, np.linspace(0, 1, 60), 8, "proposal", 0.1, True)
    hard = IMAGES[1].copy()
    hard[0, 0] = 6
    found = []
    for constant, pair in ((0, [IMAGES[0], IMAGES[1]]), (0, [IMAGES[0], hard]), (16, [IMAGES[0], IMAGES[1]])):
        model.constant.assign(constant)
        found.append([part.numpy() for part in program(tf.constant([0, 1]), np.stack(pair))])
    return found


def test_every_image_has_its_own_step(uneven):
    (_, _, easy_sizes), (_, acceptance, sizes), _ = uneven
    assert easy_sizes[0] / easy_sizes[1] == pytest.approx(1, abs=0.5)
    assert sizes[0] > 4 * sizes[1]
    assert (acceptance > 0.3).all()


def test_an_image_does_not_depend_on_its_neighbours(uneven):
    for easy, hard in zip(*uneven[:2], strict=True):
        np.testing.assert_allclose(easy[..., 0], hard[..., 0], rtol=1e-5)
    assert not np.allclose(uneven[0][0][..., 1], uneven[1][0][..., 1])


def test_a_constant_of_the_density_moves_the_answer_by_itself(uneven):
    np.testing.assert_allclose(uneven[2][0], uneven[0][0] + 16, atol=1e-3)


def test_steps_follow_the_acceptance():
    found = chains._adapted(tf.ones(4), tf.constant([0.5, 0.6, 0.7, 0.8])).numpy()
    np.testing.assert_allclose(found, [1 / 1.1, 1, 1, 1.1], rtol=1e-6)


def test_schedules():
    np.testing.assert_allclose(chains.temperatures(4, "linear"), [0, 0.25, 0.5, 0.75, 1])
    found = chains.temperatures(100, "sigmoid")
    np.testing.assert_allclose(found[[0, 50, 100]], [0, 0.5, 1], atol=1e-12)
    increments = np.diff(found)
    assert (increments > 0).all()
    assert increments[50] > 10 * increments[0]
    np.testing.assert_array_equal(chains.temperatures(1, "sigmoid"), [0, 1])


# === tfp's integrator, as it is configured here ===


def kernel_of(size):
    """In the middle of the way: images of their own scales, codes `[2, 20, 8]`."""
    proposal = MODEL.proposal(IMAGES)
    sizes = tf.linspace(0.5 * size, size, 20)[:, None] * proposal.stddev()
    density = lambda z: 0.5 * proposal.log_prob(z) + 0.5 * MODEL.log_joint(IMAGES, z)  # noqa: E731
    return chains.kernel(density, sizes), proposal.sample(2, seed=[0, 1])


def test_leapfrogs_are_reversible():
    kernel, codes = kernel_of(0.3)
    assert kernel.num_leapfrog_steps == 10
    integrator = tfp.mcmc.internal.leapfrog_integrator.SimpleLeapfrogIntegrator(
        kernel.target_log_prob_fn, [kernel.step_size], kernel.num_leapfrog_steps
    )
    momentum = tf.random.stateless_normal(codes.shape, [0, 2])
    there, moved, *_ = integrator([momentum], [codes])
    back, home, *_ = integrator([-there[0]], moved)
    assert np.abs(moved[0] - codes).max() > 0.3
    np.testing.assert_allclose(home[0], codes, atol=1e-4)
    np.testing.assert_allclose(back[0], -momentum, atol=1e-4)


def test_the_error_of_the_energy_is_of_second_order():
    """The same momenta, half the step, and twice as many for the same time."""
    errors = []
    for size, leapfrogs in ((0.2, 10), (0.1, 20)):
        kernel, codes = kernel_of(size)
        kernel = tfp.mcmc.HamiltonianMonteCarlo(kernel.target_log_prob_fn, kernel.step_size, leapfrogs)
        _, results = kernel.one_step(codes, kernel.bootstrap_results(codes), seed=[0, 3])
        errors.append(np.abs(results.log_accept_ratio).mean())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)


# === bounds from both sides ===


def test_bidirectional_encloses_the_likelihood():
    path = {"steps": 50, "start": "prior", "schedule": "sigmoid", "chains": 8}
    found = annealing.bidirectional(MODEL, 24, **path, seed=2, jit_compile=False, verbose=0)
    exact = MODEL.log_likelihood(MODEL.simulate(24, 2)[0])
    for above, below in ((found.upper, exact), (exact, found.lower)):
        mean, error = bounds.paired(above, below)
        assert mean > 2 * error
    assert found.gap == pytest.approx(np.mean(found.upper - found.lower))
    assert 0 < found.gap < 5


def test_one_step_both_ways_is_off_by_the_divergences():
    """KL(r, posterior) below and KL(posterior, r) above, in the mean."""
    found = annealing.bidirectional(MODEL, 200, steps=1, chains=1, jit_compile=False, verbose=0)
    images = MODEL.simulate(200, 0)[0]
    ends = MODEL.proposal(images), LinearGaussian(width=None).proposal(images)
    for bound, sign, (one, other) in ((found.lower, -1, ends), (found.upper, 1, ends[::-1])):
        expected = MODEL.log_likelihood(images) + sign * tfd.kl_divergence(one, other).numpy()
        mean, error = bounds.paired(bound, expected)
        assert error < 0.5
        assert abs(mean) < 3 * error


# === files ===


class Interrupted(keras.utils.Progbar):
    """As by the user, after two batches."""

    def update(self, current, **kwargs):
        if current >= 4:
            raise KeyboardInterrupt


@pytest.fixture
def counted(monkeypatch):
    """One program for all calls of a test; the seeds that it was run with."""
    program, seeds = annealing._program(MODEL, np.linspace(0, 1, 6), 4, "proposal", 0.1, True), []
    monkeypatch.setattr(
        annealing, "_program", lambda *_: lambda seed, *rows: seeds.append(seed[1]) or program(seed, *rows)
    )
    return seeds


def same(first, second):
    for name in ("log_weights", "acceptance", "step_size"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_an_interrupted_call_goes_on(tmp_path, monkeypatch, counted, capsys):
    arguments = {"images": IMAGES[:7], "steps": 5, "chains": 4, "batch": 2}
    file = tmp_path / "annealed.npz"
    whole = annealed(**arguments)
    assert (len(counted), whole.log_weights.shape) == (4, (4, 7))
    with monkeypatch.context() as patch:
        patch.setattr(keras.utils, "Progbar", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            annealed(**arguments, file=file)
    assert len(counted) == 4 + 2
    same(annealing.annealed_importance(MODEL, **arguments, file=file), whole)
    assert len(counted) == 4 + 4
    assert "7/7" in capsys.readouterr().out
    same(annealed(**arguments, file=file), whole)  # nothing is left to do
    assert len(counted) == 4 + 4
    assert [path.name for path in tmp_path.iterdir()] == ["annealed.npz"]


@pytest.fixture
def begun(tmp_path):
    """A finished file, as annealed_importance leaves it."""
    settings = {"steps": 5, "chains": 4, "schedule": "linear", "start": "proposal", "step_size": 0.1}
    settings |= {"batch": 100, "seed": 0, **streams.fingerprint(MODEL, IMAGES)}
    file = tmp_path / "annealed.npz"
    np.savez(file, settings=json.dumps(settings), log_weights=np.zeros((4, 20)), acceptance=EXACT, step_size=EXACT)
    return file


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"steps": 6}, "steps 5, not 6"),
        ({"schedule": "sigmoid"}, "schedule linear, not sigmoid"),
        ({"seed": 1}, "seed 0, not 1"),
        ({"batch": 7}, "batch 100, not 7"),
        ({"images": IMAGES[:3]}, "images"),
        ({"model": LinearGaussian(sigma=0.31)}, "log_joint_at_0"),
    ],
)
def test_a_file_of_other_settings_is_refused(begun, changed, name):
    np.testing.assert_array_equal(annealed(steps=5, chains=4, file=begun).acceptance, EXACT)
    with pytest.raises(InputError, match=f"was begun with {name}.*another file"):
        annealed(**{"steps": 5, "chains": 4, "file": begun, **changed})


def test_a_file_in_no_folder_is_refused_before_the_work(tmp_path, counted):
    with pytest.raises(InputError, match="no folder"):
        annealed(file=tmp_path / "absent" / "annealed.npz")
    assert not counted


def test_a_file_of_something_else_is_refused(tmp_path):
    file = tmp_path / "annealed.npz"
    for write in (
        lambda: file.write_text("?"),
        lambda: file.write_bytes(b"PK\x03\x04"),
        lambda: np.savez(file, images=EXACT),
    ):
        write()
        with pytest.raises(InputError, match=r"annealed.npz does not hold finished batches"):
            annealed(file=file)


# === what is wrong ===


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps must be above 0, got 0"),
        ({"chains": 0}, "chains must be above 0, got 0"),
        ({"step_size": 0.0}, "step_size must be above 0"),
        ({"schedule": "sigmoidal"}, "unknown schedule 'sigmoidal'; did you mean 'sigmoid'"),
        ({"start": "posterior"}, "unknown start 'posterior'"),
        ({"images": IMAGES[:0]}, "at least one"),
    ],
)
def test_it_says_what_is_wrong(arguments, message):
    with pytest.raises(InputError, match=message):
        annealed(**arguments)


def test_a_weight_that_is_not_a_number_stops_it(monkeypatch):
    program = lambda *_: lambda seed, rows: (tf.fill((16, len(rows)), np.nan), tf.zeros(1), tf.zeros(1))  # noqa: E731
    monkeypatch.setattr(annealing, "_program", program)
    with pytest.raises(InputError, match="annealed_importance: a log weight of image 0 is nan"):
        annealed()


def test_simulate_gives_as_many_as_asked(monkeypatch):
    monkeypatch.setattr(LinearGaussian, "simulate", lambda self, count, seed: (IMAGES, IMAGES))
    with pytest.raises(InputError, match=r"images \[20, h, w, c\] and codes \[20, d\], got \(20, 4, 4, 1\)"):
        annealing.bidirectional(MODEL, 20)
