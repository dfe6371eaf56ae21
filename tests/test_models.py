"""AAE and VAE against closed forms, and what they refuse."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tests.cases import MLP
from tfaae import priors
from tfaae.errors import InputError
from tfaae.models import AAE, VAE, final_models

SHAPE = (8, 8, 1)
IMAGES = np.random.default_rng(0).uniform(size=(12, *SHAPE)).astype(np.float32)


def test_vae_divergence_is_the_closed_form_for_a_normal_prior():
    model = VAE(SHAPE, 3, units=[8], prior={"name": "Normal", "dim": 3, "std": 2.0}, seed=0)
    codes, density = model.encoder.with_density(IMAGES)
    mean, std = density.mean().numpy(), density.stddev().numpy()
    expected = np.sum(np.log(2 / std) + (std**2 + mean**2) / (2 * 4) - 0.5, axis=1)
    np.testing.assert_allclose(model.kl(codes, density), expected, rtol=1e-5)


def test_vae_divergence_by_draws_agrees_with_the_exact_one():
    """A mixture of one broad Gaussian is a Gaussian that tfp has no exact divergence for."""
    model = VAE(SHAPE, 2, units=[8], seed=0, prior={"name": "GaussianMixture", "components": 1, "radius": 1.0})
    exact = tfd.MultivariateNormalDiag([1.0, 0.0], [2.7, 0.55])
    density = tfd.MultivariateNormalDiag(tf.zeros([1, 2]), tf.fill([1, 2], 0.5))
    copies = tfd.MultivariateNormalDiag(tf.zeros([40_000, 2]), tf.fill([40_000, 2], 0.5))
    draws = model.kl(copies.sample(seed=[0, 1]), copies).numpy()
    assert draws.mean() == pytest.approx(float(density.kl_divergence(exact)[0]), abs=5 * float(draws.std()) / 200)


def test_vae_elbo_is_minus_its_terms():
    for likelihood, constant in (("bernoulli", 0.0), ("squared", 32 * np.log(2 * np.pi))):
        model = VAE(SHAPE, 2, units=[8], likelihood=likelihood, seed=0)
        model.compile({"elbo": "sgd"}, jit_compile=False)
        found = model.evaluate(IMAGES, verbose=0, return_dict=True)
        assert found["elbo"] == pytest.approx(-found["reconstruction"] - found["kl"] - constant, rel=1e-5)


def test_a_gaussian_posterior_without_variance_is_deterministic():
    gaussian = AAE(SHAPE, 2, posterior="gaussian", seed=0, **MLP)
    last = gaussian.encoder.network.layers[-1]
    kernel, bias = (np.asarray(weight).copy() for weight in last.weights)
    kernel[:, 2:], bias[2:] = 0, -100
    last.set_weights([kernel, bias])
    np.testing.assert_allclose(gaussian.encode_sample(IMAGES), gaussian.encode(IMAGES), atol=1e-4)


@pytest.mark.parametrize("posterior", ["gaussian", "implicit"])
def test_stochastic_posteriors_draw(posterior):
    model = AAE(SHAPE, 2, posterior=posterior, seed=0, **MLP)
    assert not np.array_equal(model.encode_sample(IMAGES), model.encode_sample(IMAGES))


def test_the_adversary_makes_codes_follow_the_prior():
    """On one fixed batch, the generator's codes move to where the prior is."""
    model = AAE(SHAPE, 2, prior=Shifted(), seed=0, units=[32], discriminator_units=[32])
    rates = {"reconstruction": 0.0, "discriminator": 3e-3, "generator": 3e-3}
    model.compile({name: keras.optimizers.Adam(rate, beta_1=0.5) for name, rate in rates.items()}, jit_compile=False)
    before = np.linalg.norm(np.mean(model.encode(IMAGES), axis=0) - [4, -3])
    model.fit(np.tile(IMAGES[:8], [200, 1, 1, 1]), batch_size=8, epochs=2, shuffle=False, verbose=0)
    assert before > 4
    assert np.linalg.norm(np.mean(model.encode(IMAGES), axis=0) - [4, -3]) < 1


class Shifted(priors.Prior):
    """A prior of a user's own: N((4, -3), I)."""

    dim = 2

    def given(self, labels):
        return tfd.MultivariateNormalDiag(tf.tile([[4.0, -3.0]], [tf.shape(labels)[0], 1]))


def test_discriminator_noise_fades_out_with_the_steps():
    model = AAE(SHAPE, 2, discriminator_noise=2.0, discriminator_noise_steps=100, seed=0, **MLP)
    codes = np.zeros((20_000, 2), np.float32)
    for steps, std in ((0, 2.0), (50, 1.0), (100, 0.0), (1000, 0.0)):
        model.steps.assign(steps)
        assert np.std(model.blur(codes, training=True)) == pytest.approx(std, rel=0.03)
    model.steps.assign(0)
    np.testing.assert_array_equal(model.blur(codes, training=False), codes)


def test_a_users_own_prior_has_a_name():
    assert isinstance(priors.get("Shifted"), Shifted)


def test_final_models():
    assert {"AAE", "VAE"} <= set(final_models())
    assert "LatentModel" not in final_models()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: AAE(SHAPE, 3, prior="Normal"), "latent_dim is 3"),
        (lambda: AAE(SHAPE, 0), "latent_dim must be at least 1"),
        (lambda: AAE(SHAPE, 2, seed=-1), "seed must be at least 0"),
        (lambda: AAE((8, 9, 1), 2), "image_shape must be"),
        (lambda: AAE((8, 8, 2), 2), "image_shape must be"),
        (lambda: AAE(SHAPE, 2, posterior="gausian"), "did you mean 'gaussian'"),
        (lambda: AAE(SHAPE, 2, posterior="implicit", noise_dim=0), "noise_dim must be at least 1"),
        (lambda: AAE(SHAPE, 2, prior="Norml"), "did you mean 'Normal'"),
        (lambda: AAE(SHAPE, 2, likelihood="bernouli"), "did you mean 'bernoulli'"),
        (lambda: AAE(SHAPE, 2, arch="cnn"), "unknown arch"),
        (lambda: AAE(SHAPE, 2, units=[]), "units"),
        (lambda: AAE(SHAPE, 2, units=[0]), "units"),
        (lambda: AAE(SHAPE, 2, discriminator_units=[]), "discriminator_units"),
        (lambda: AAE(SHAPE, 2, input_noise=-0.1), "input_noise"),
        (lambda: AAE(SHAPE, 2, discriminator_noise=-0.1), "discriminator_noise"),
        (lambda: AAE(SHAPE, 2, dropout=1.0), "dropout"),
        (lambda: AAE(SHAPE, 2, initial_std=0.0), "initial_std"),
        (lambda: VAE(SHAPE, 2, prior={"name": "SwissRoll", "noise": 0.0}), "must be finite everywhere"),
        (lambda: VAE(SHAPE, 2, prior="Uniform"), "must be finite everywhere"),
        (lambda: VAE(SHAPE, 10, prior="OneHot"), "must be finite everywhere"),
    ],
)
def test_impossible_models(make, says):
    with pytest.raises(InputError, match=says):
        make()


@pytest.mark.parametrize(
    ("optimizers", "says"),
    [
        ("adam", "one optimizer for each phase"),
        ({"reconstruction": "adam"}, "one optimizer for each phase"),
        (dict.fromkeys(["reconstruction", "discriminator", "generator"], keras.optimizers.Adam()), "of its own"),
    ],
)
def test_optimizers_that_do_not_fit(optimizers, says):
    with pytest.raises(InputError, match=says):
        AAE(SHAPE, 2, **MLP).compile(optimizers)


@pytest.mark.parametrize("images", [IMAGES[:, :7], (IMAGES * 255).astype(np.uint8)], ids=["size", "dtype"])
def test_images_that_do_not_fit(images):
    model = AAE(SHAPE, 2, **MLP)
    model.compile(dict.fromkeys(["reconstruction", "discriminator", "generator"], "sgd"), jit_compile=False)
    with pytest.raises(InputError, match="expects float images"):
        model.fit(images, batch_size=4, verbose=0)
