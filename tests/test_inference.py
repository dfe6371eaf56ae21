"""Variational inference for a log density: optima that are known, what is saved, what is refused."""

import keras
import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tests.cases import assert_same, state
from tfaae import callbacks, reference, targets
from tfaae.errors import InputError
from tfaae.models.inference import AdversarialInference, GaussianInference
from tfaae.targets import Target

MEAN, COVARIANCE = np.array([1.0, -1.0]), np.array([[1.0, 0.4], [0.4, 0.25]])  # of the target "gaussian"
QUICK = {"units": (32, 32), "discriminator_units": (64, 64), "adversary_steps": 1}
TINY = {"units": (8,), "discriminator_units": (8, 8)}


def adam(rate: float, steps: int, beta_1: float = 0.9) -> keras.optimizers.Adam:
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps), beta_1=beta_1)


def fitted(target: str, rank: str, rate: float, steps: int) -> GaussianInference:
    model = GaussianInference(target, rank=rank, seed=1)
    model.compile({"elbo": adam(rate, steps)}, steps_per_execution=100)
    model.fit(steps_per_epoch=steps, verbose=0)
    return model


def elbo(model: GaussianInference, draws: int = 200_000) -> float:
    codes = model.sample(draws, seed=7)
    return float(tf.reduce_mean(model.density.log_joint(codes) - model.gaussian.distribution().log_prob(codes)))


def exact_target() -> tfd.Distribution:
    return tfd.MultivariateNormalTriL(MEAN.astype("f4"), np.linalg.cholesky(COVARIANCE).astype("f4"))


# === Gaussian families ===


@pytest.mark.parametrize(
    ("rank", "covariance", "optimum"),
    [
        pytest.param("full", COVARIANCE, 0.0, marks=pytest.mark.slow),
        # 1 / diagonal of the precision; the divergence that is left is -1/2 log(1 - 0.8^2)
        ("diagonal", np.diag([0.36, 0.09]), 0.5 * np.log(0.36)),
    ],
)
def test_a_gaussian_target_is_fitted_to_its_known_optimum(rank, covariance, optimum):
    model = fitted("gaussian", rank, rate=0.05, steps=600)
    found = model.gaussian.distribution()
    np.testing.assert_allclose(found.mean(), MEAN, atol=0.01)
    np.testing.assert_allclose(found.covariance(), covariance, atol=0.02)
    assert elbo(model) == pytest.approx(optimum, abs=0.01)
    assert model.density.log_evidence == 0


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "optimum"), [("full", -13.894), ("diagonal", -14.288)])
def test_eight_schools_is_fitted_to_its_known_optima(rank, optimum):
    """By other programs, to 0.005: the best Gaussian of each kind, on one of the two modes."""
    model = fitted("eight_schools", rank, rate=0.03, steps=2500)
    assert elbo(model) == pytest.approx(optimum, abs=0.03)


def test_the_loss_is_minus_the_lower_bound_with_its_entropy():
    model = GaussianInference("gaussian", starts=1, seed=0)
    found = model.elbo_loss((tf.zeros([100_000]),), training=True)["negative_elbo"]
    start = tfd.MultivariateNormalTriL([0.0, 0.0], np.eye(2, dtype=np.float32))
    exact = start.kl_divergence(exact_target())
    assert float(found) == pytest.approx(float(exact), rel=0.01)


def test_of_several_fits_the_best_is_drawn_from():
    """Two wells, the deeper one far from where the first fit starts: it stays in the nearer one."""

    def wells(z):
        near, far = (-0.5 * tf.reduce_sum((z - place) ** 2, axis=-1) for place in (1.0, -6.0))
        return tf.reduce_logsumexp([near, far + 3.0], axis=0)

    found = {}
    for starts in (1, 8):
        model = GaussianInference(targets.from_function(wells, 2), starts=starts, seed=0)
        model.gaussian.mean.assign(model.gaussian.mean * 5.0)
        model.compile({"elbo": adam(0.05, 400)}, steps_per_execution=100)
        history = model.fit(steps_per_epoch=400, draws=64, verbose=0).history["negative_elbo"]
        found[starts] = model.gaussian.distribution().mean().numpy()
    assert history[-1] < 0  # log of the integral is log(2 pi) + 3.05
    np.testing.assert_allclose(found[1], 1.0, atol=0.3)
    np.testing.assert_allclose(found[8], -6.0, atol=0.3)


# === AVB ===


@pytest.mark.parametrize("contrast", ["adaptive", pytest.param("none", marks=pytest.mark.slow)])
def test_draws_come_to_have_the_targets_moments(contrast):
    model, steps = AdversarialInference("gaussian", contrast=contrast, seed=1, **QUICK), 1000
    model.compile(
        {"elbo": adam(1e-3, steps, beta_1=0.5), "discriminator": adam(4e-3, steps, beta_1=0.5)},
        steps_per_execution=50,
        jit_compile=False,
    )
    model.fit(steps_per_epoch=steps, verbose=0)
    codes = np.asarray(model.sample(20_000, seed=3))
    np.testing.assert_allclose(codes.mean(axis=0), MEAN, atol=0.15)
    np.testing.assert_allclose(codes.std(axis=0), np.sqrt(np.diag(COVARIANCE)), rtol=0.2)
    assert np.corrcoef(codes.T)[0, 1] == pytest.approx(0.8, abs=0.1)


@pytest.mark.slow
def test_both_modes_of_eight_schools_are_found():
    """In a third of the config's steps. One mode alone leaves log 2 = 0.69 nats, and the best Gaussian 1.18."""
    model, steps = AdversarialInference("eight_schools", discriminator_units=(128,) * 4, seed=1), 6000
    model.compile(
        {"elbo": adam(4e-4, steps, beta_1=0.5), "discriminator": adam(8e-4, 2 * steps, beta_1=0.5)},
        steps_per_execution=100,
        jit_compile=False,
    )
    model.fit(steps_per_epoch=steps, verbose=0)
    draws = model.sample(20_000, seed=0).numpy()
    assert reference.divergence(draws[:10_000], model.density) < 0.8
    assert np.mean(draws[:, 1] > 0) == pytest.approx(0.5, abs=0.1)


def test_the_estimate_is_exact_where_t_is():
    """T* = log q - log r is put in T's place: draws of q are a Gaussian's, whose divergence is known."""
    model = AdversarialInference("gaussian", seed=0, **TINY)
    q = tfd.MultivariateNormalTriL([0.5, -0.5], [[0.9, 0.0], [0.3, 0.4]])
    model.draw = lambda count, seed: q.sample(count, seed=seed)
    model.discriminate = lambda codes, r: q.log_prob(codes) - r.log_prob(codes)
    found = model.elbo_loss((tf.zeros([100_000]),), training=True)["negative_elbo_t_estimate"]
    exact = q.kl_divergence(exact_target())
    assert float(found) == pytest.approx(float(exact), rel=0.01)


def test_t_does_not_see_where_the_draws_lie_or_how_wide_they_are():
    model = AdversarialInference("gaussian", seed=0, **TINY)
    codes, mean = np.random.default_rng(0).normal(size=(2, 5, 2)).astype(np.float32)
    here, there = (
        model.discriminate(scale * codes + 3, tfd.MultivariateNormalDiag(scale * mean[0] + 3, [scale, scale]))
        for scale in (1.0, 20.0)
    )
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-4)


def test_no_gradient_passes_through_the_contrast():
    model = AdversarialInference("gaussian", seed=0, **TINY)
    with tf.GradientTape() as tape:
        _, r = model.contrasted((tf.zeros([16]),))
        moments = tf.stack([r.mean(), r.stddev()])
    assert tape.gradient(moments, model.sampler.trainable_variables) == [None] * 4


# === Files ===


def tiny(kind: str):
    if kind == "gaussian":
        model = GaussianInference("gaussian", rank="full", seed=2)
    else:
        model = AdversarialInference("gaussian", contrast=kind, seed=2, **TINY)
    model.compile({phase.name: adam(0.01, 20) for phase in model.distinct_phases()}, jit_compile=False)
    return model


KINDS = pytest.mark.parametrize("kind", ["gaussian", pytest.param("adaptive", marks=pytest.mark.slow)])


@KINDS
def test_a_resumed_fit_is_the_fit_that_was_not_stopped(kind, tmp_path):
    whole, half = tiny(kind), tiny(kind)
    whole.fit(epochs=2, steps_per_epoch=4, draws=16, verbose=0)
    half.fit(epochs=1, steps_per_epoch=4, draws=16, verbose=0)
    half.save(tmp_path / "half.keras")
    resumed = keras.models.load_model(tmp_path / "half.keras")
    assert_same(state(half), state(resumed))
    resumed.fit(epochs=2, initial_epoch=1, steps_per_epoch=4, draws=16, verbose=0)
    assert_same(state(whole), state(resumed))
    assert int(whole.steps) == 8


@KINDS
def test_a_loaded_model_draws_what_the_saved_one_would(kind, tmp_path):
    model = tiny(kind)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.sample(5), model.sample(5))
    np.testing.assert_array_equal(loaded.sample(5, seed=1), loaded.sample(5, seed=1))
    assert np.all(loaded.sample(5) != loaded.sample(5))
    assert loaded.get_config() == model.get_config()


def test_a_target_that_is_code_cannot_be_saved(tmp_path):
    bowl = targets.from_function(lambda z: -tf.reduce_sum(z**2, axis=-1), 3, "bowl")
    model = GaussianInference(bowl, seed=0)
    assert model.sample(4).shape == (4, 3)
    with pytest.raises(InputError, match=r"target 'bowl' cannot be saved: its density is code; keep the weights"):
        model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")


# === What a run keeps of it ===


def test_every_epoch_logs_its_divergence():
    model, logs = tiny("gaussian"), {"negative_elbo": 1.0}
    model.gaussian.mean.assign(tf.broadcast_to(tf.constant(MEAN, tf.float32), model.gaussian.mean.shape))
    model.gaussian.log_scale.assign_add(np.log(0.3) * np.eye(2))
    callback = callbacks.Divergence()
    callback.set_model(model)
    before = model.seeds.state.numpy()
    callback.on_epoch_end(0, logs)
    assert logs.keys() == {"negative_elbo", "kl_knn"}
    draws = model.sample(10_000, seed=0).numpy()
    assert logs["kl_knn"] == reference.divergence(draws, targets.gaussian())
    exact = model.gaussian.distribution().kl_divergence(exact_target())
    assert logs["kl_knn"] == pytest.approx(float(exact), abs=0.1)
    np.testing.assert_array_equal(model.seeds.state.numpy(), before)


@pytest.mark.parametrize(
    ("target", "names"), [("torus", {"draws.png", "draws_over_density.png"}), ("eight_schools", {"draws.png"})]
)
def test_pictures_of_draws_are_written(target, names, tmp_path):
    """Over the density where that is a plane; every second epoch, and at the end."""
    model = GaussianInference(target, seed=0)
    callback = callbacks.Marginals(folder=tmp_path / "figures", logs=tmp_path / "logs", every=2)
    callback.set_model(model)
    callback.set_params({"epochs": 3})
    callback.on_train_begin()
    before = model.seeds.state.numpy()
    callback.on_epoch_end(0)
    assert not (tmp_path / "figures").exists()
    for epoch in (1, 2):
        callback.on_epoch_end(epoch)
        assert {path.name for path in (tmp_path / "figures").iterdir()} == names
        for path in (tmp_path / "figures").iterdir():
            assert np.ptp(matplotlib.image.imread(path)[..., :3]) > 0.5
            path.unlink()
    callback.on_train_end()
    np.testing.assert_array_equal(model.seeds.state.numpy(), before)
    assert list((tmp_path / "logs").iterdir())


# === What a user gets told ===


@pytest.mark.parametrize(
    ("log_joint", "told"),
    [
        (lambda z: -tf.reduce_sum(z**2), r"to be `\[2, 3\]`, got \(\)"),  # summed over the draws: n times too steep
        (lambda z: -(z**2), r"to be `\[2, 3\]`, got \(2, 3, 2\)"),
        (lambda z: tf.reduce_sum(tf.math.log(z), axis=-1), "finite"),
    ],
)
def test_a_density_that_is_none_is_refused(log_joint, told):
    with pytest.raises(InputError, match=told):
        GaussianInference(Target("mine", log_joint, ("a", "b")))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: GaussianInference("gausian"), "did you mean 'gaussian'"),
        (lambda: GaussianInference(lambda z: -z), r"expected a name or a Target, got .*from_function makes one"),
        (lambda: GaussianInference("gaussian", rank="low"), "unknown rank 'low'"),
        (lambda: AdversarialInference("gaussian", contrast="prior"), "unknown contrast 'prior'"),
        (lambda: AdversarialInference("gaussian", noise_dim=1), "noise_dim must be at least 2, the target's dimension"),
        (lambda: AdversarialInference("gaussian", adversary_steps=0), "adversary_steps must be above 0, got 0"),
        (lambda: AdversarialInference("gaussian", discriminator_units=(8, 4)), "expected equal widths"),
    ],
)
def test_what_cannot_be_is_refused(make, told):
    with pytest.raises(InputError, match=told):
        make()
