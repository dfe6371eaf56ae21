"""Models of images whose log p(x) is known, by a grid over their codes: what estimates it, and what trains for it."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.cases import CASES
from tfaae import annealing, bounds, evaluate, grid
from tfaae.models import AVB, VAE, AdaptiveAVB

POINTS = np.eye(4, dtype=np.float32).reshape(4, 2, 2, 1)
SMALL = {"units": (16,), "activation": "elu", "seed": 1}
T = {"adversary": "residual", "discriminator_units": (32, 32)}
MODELS = {
    "vae": (VAE, {}),
    "squared": (VAE, {"likelihood": "squared"}),
    "avb": (AVB, T | {"noise_dim": 4}),
    "basis": (AdaptiveAVB, T | {"noise_dim": 4, "bases": 4}),
    "implicit": (AdaptiveAVB, T | {"noise_dim": 4, "posterior": "implicit"}),
    "gaussian": (AdaptiveAVB, T | {"posterior": "gaussian"}),
    "full": (AdaptiveAVB, T | {"noise_dim": 1, "bases": 4, "covariance": "full"}),
}


def of(*names: str, quick: str) -> pytest.MarkDecorator:
    """One model by default, the others where tests may take minutes."""
    marks = {True: [], False: [pytest.mark.slow]}
    return pytest.mark.parametrize("name", [pytest.param(name, marks=marks[name == quick]) for name in names])


def fit(model: VAE | AVB | AdaptiveAVB, steps: int, batch: int, **rates: float) -> None:
    """On the four points; rates of each phase fall along a cosine."""
    optimizers, moves = {}, model.optimizer_names()
    for phase, rate in rates.items():
        schedule = keras.optimizers.schedules.CosineDecay(rate, steps * moves.count(phase), alpha=0.01)
        optimizers[phase] = keras.optimizers.Adam(schedule, beta_1=0.5)
    model.compile(optimizers, steps_per_execution=50, jit_compile=False)
    model.fit(np.tile(POINTS, (batch * steps // 4, 1, 1, 1)), batch_size=batch, shuffle=False, verbose=0)


def made(name: str):
    cls, options = MODELS[name]
    return cls((2, 2, 1), 2, **SMALL | options)


@functools.cache
def trained(name: str):
    """Tests only read it."""
    model = made(name)
    rates = {"elbo": 1e-2, "discriminator": 2e-2}
    fit(model, 400, 64, **{phase: rates[phase] for phase in set(model.optimizer_names())})
    if isinstance(model, AdaptiveAVB):
        model.settle()
    return model


# === Estimates of log p(x) ===


@of("vae", "squared", "avb", "basis", "implicit", "full", quick="avb")
def test_annealing_and_importance_find_what_the_grid_finds(name):
    model = trained(name)
    exact = grid.log_likelihood(model, POINTS)
    annealed = annealing.annealed_importance(model, POINTS, steps=60, jit_compile=False, verbose=0)
    bound = bounds.importance_bound(model, POINTS, 5000, inflate=1.2, chunk=1000, jit_compile=False)
    for found in (annealed.log_likelihood, bound):
        mean, error = bounds.paired(found, exact)
        assert error < 0.1
        assert abs(mean) < 3 * error + 0.05


@of("vae", "squared", "avb", "basis", "implicit", "full", quick="avb")
def test_chains_both_ways_enclose_what_the_grid_finds(name):
    model = trained(name)
    found = annealing.bidirectional(model, 20, steps=60, chains=8, seed=3, jit_compile=False, verbose=0)
    exact = grid.log_likelihood(model, model.simulate(20, seed=3)[0])
    assert np.mean(found.lower) < np.mean(exact) + 0.05
    assert np.mean(found.upper) > np.mean(exact) - 0.05
    assert found.gap < 0.2


@pytest.mark.parametrize("name", ["vae", "squared", "avb"])
def test_simulated_images_are_draws_around_the_decoders_means(name):
    model, count = made(name), 40_000
    model.decoder.set_weights([3 * weight for weight in model.decoder.get_weights()])  # so that a code says much
    images, codes = (np.asarray(each) for each in model.simulate(count, seed=5))
    means = np.asarray(model.decode(codes))
    error = 5 / np.sqrt(count)
    np.testing.assert_allclose(codes.mean(axis=0), 0, atol=error)
    np.testing.assert_allclose(np.cov(codes.T), np.eye(2), atol=2 * error)
    assert np.all(means.std(axis=0) > 0.1)
    rest = images - means
    variance = np.ones_like(means) if model.likelihood == "squared" else means * (1 - means)
    np.testing.assert_allclose(rest.mean(axis=0), 0, atol=error)
    np.testing.assert_allclose((rest**2).mean(axis=0), variance.mean(axis=0), atol=2 * error)
    for seen in (means.reshape(count, 4), codes):  # nothing of them is left in the rest
        np.testing.assert_allclose(rest.reshape(count, 4).T @ seen / count, 0, atol=error)
    if model.likelihood == "bernoulli":
        assert set(np.unique(images)) == {0, 1}


# === The identity E ELBO = -reconstruction - I(x; z) - KL(q(z), p(z)) ===


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gaussian", "full"])
def test_the_identity_gives_the_elbo_of_a_posterior_whose_density_is_known(name):
    model = trained(name)
    many = np.repeat(POINTS, 2000, axis=0)  # in one batch, whose codes share their draws of noise
    below, above = (np.mean(each) for each in bounds.elbo_between(model, many, others=300, codes=5, batch=len(many)))
    found = grid.decomposition(model, POINTS, draws=200_000)
    assert below - 0.02 < found["elbo"] < above + 0.02
    assert above - below < 0.01
    assert found["mutual_information"] > 0.3
    assert above < np.mean(grid.log_likelihood(model, POINTS))


@pytest.mark.slow
def test_avb_is_ahead_of_a_vae_on_the_four_points():
    """Table 1 of Mescheder et al. 2017 in a third of the steps: there -1.403 and -1.568 nats, -1.386 being the best."""
    networks = {"units": (64, 64), "activation": "elu", "seed": 1}
    vae = VAE((2, 2, 1), 2, **networks)
    fit(vae, 4000, 128, elbo=2e-3)
    assert np.mean(grid.log_likelihood(vae, POINTS)) == pytest.approx(-1.57, abs=0.01)

    options = {"noise_dim": 16, "adversary": "residual", "discriminator_units": (64, 64, 64), "adversary_steps": 2}
    model = AVB((2, 2, 1), 2, ema=0.99, **networks, **options)
    fit(model, 8000, 128, elbo=1e-3, discriminator=3e-3)
    log_likelihood = np.mean(grid.log_likelihood(model, POINTS))
    assert -1.45 < log_likelihood < -np.log(4)
    found = grid.decomposition(model, POINTS)
    assert found["elbo"] == pytest.approx(log_likelihood, abs=0.03)
    assert found["kl_aggregate_prior"] < 0.04


# === What evaluating tells of T ===


@pytest.mark.parametrize(
    ("name", "contrast"),
    [
        ("avb-residual", evaluate.TRUSTED - 0.1),
        ("avb-residual", evaluate.TRUSTED + 0.1),
        pytest.param("avb-adaptive", evaluate.TRUSTED + 0.1, marks=pytest.mark.slow),
    ],
)
def test_a_divergence_beyond_what_t_learns_is_warned_of(name, contrast, monkeypatch):
    monkeypatch.setattr(evaluate, "is_dense", lambda _: False)  # XLA takes seconds to compile
    case = CASES[name]
    model = case.compiled(run_eagerly=True)
    model.discriminate = lambda images, codes, r: tf.fill([len(images)], contrast)
    if contrast > evaluate.TRUSTED:
        told = rf"divergence of posterior and contrast at {contrast:.1f} nats; .* reliable up to 5, .*importance_bound"
        with pytest.warns(UserWarning, match=told):
            found = evaluate.evaluate(model, case.data())
    else:
        found = evaluate.evaluate(model, case.data())  # tests let no warning pass
    assert found["test_contrast"] == pytest.approx(contrast)
    bound = bounds.importance_bound(model, case.data().test.images, evaluate.IMPORTANCE_SAMPLES, jit_compile=False)
    assert found["importance_bound"] == pytest.approx(np.mean(bound), abs=1e-3)
    assert found["test_elbo_t_estimate"] < 0
