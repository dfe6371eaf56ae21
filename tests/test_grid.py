"""Numbers by grid and by histogram against models whose answers are known."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tests.gaussian import LinearGaussian
from tfaae import grid, priors
from tfaae.errors import InputError
from tfaae.models import VAE
from tfaae.seeds import Seeds

SHAPE = (2, 2, 1)


def linear(sigma: float = 0.5):
    """A linear Gaussian model with a 2-D code, whose encoder draws from the posterior itself."""
    model = LinearGaussian(codes=2, shape=SHAPE, sigma=sigma, width=None)
    model.latent_dim, model.prior, model.seeds = 2, priors.Normal(2), Seeds(0)
    model.encode_sample = lambda images: model.proposal(images).sample(seed=model.seeds.stateless())
    return model


def ignorant(mean, deviation):
    """q(z | x) = N(mean, deviation^2) whatever x, and 3 nats of reconstruction: all is known."""
    density, seeds, prior = tfd.MultivariateNormalDiag(mean, deviation), Seeds(1), priors.Normal(2)

    def log_joint(images, codes):
        log_prior = tf.reshape(prior.log_prob(tf.reshape(codes, [-1, 2])), tf.shape(codes)[:-1])
        return log_prior - 3.0

    return SimpleNamespace(
        latent_dim=2,
        prior=prior,
        seeds=seeds,
        log_joint=log_joint,
        encode_sample=lambda images: density.sample(len(images), seed=seeds.stateless()),
        density=density,
    )


def test_the_likelihood_is_that_of_the_linear_gaussian_model():
    model = linear(sigma=0.3)
    images, _ = model.simulate(4, seed=1)
    found = grid.log_likelihood(model, images)
    assert (found.shape, found.dtype) == ((4,), np.float64)
    np.testing.assert_allclose(found, model.log_likelihood(images), atol=1e-3)


@pytest.mark.parametrize(
    ("mean", "deviation", "error"),
    [
        ([0.0, 0.0], [1.0, 1.0], 0.005),
        ([1.0, -0.5], [0.5, 0.8], 0.015),
        ([0.0, 4.0], [1.0, 1.0], 0.1),  # outside of the grid
        ([0.0, 30.0], [1.0, 1.0], 20.0),  # where the prior's density is 0 in float64
    ],
)
def test_a_posterior_that_ignores_the_image(mean, deviation, error):
    """KL(N(m, s^2), N(0, I)) in closed form; no information."""
    model = ignorant(mean, deviation)
    found = grid.decomposition(model, np.zeros((2, *SHAPE), np.float32), draws=50_000)
    exact = float(model.density.kl_divergence(tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))))
    assert found["kl_aggregate_prior"] == pytest.approx(exact, abs=error)
    assert found["mutual_information"] == pytest.approx(0, abs=0.003)
    assert found["reconstruction"] == pytest.approx(3, abs=1e-3)
    assert found["elbo"] == pytest.approx(-3 - exact, abs=error)


def test_images_that_codes_tell_apart_share_all_their_information():
    model = ignorant([0.0, 0.0], [0.2, 0.2])
    centres = iter(np.float32([[-2, -2], [-2, 2], [2, -2], [2, 2]]))
    model.encode_sample = lambda images: next(centres) + model.density.sample(len(images), seed=model.seeds.stateless())
    found = grid.decomposition(model, np.zeros((4, *SHAPE), np.float32), draws=50_000)
    assert found["mutual_information"] == pytest.approx(np.log(4), abs=1e-3)


def test_from_the_exact_posterior_the_elbo_is_the_likelihood():
    """E ELBO = -R - I - KL (Hoffman and Johnson 2016), and no gap is left."""
    model = linear()
    images, _ = model.simulate(4, seed=1)
    found = grid.decomposition(model, images, draws=50_000)
    assert found["elbo"] == pytest.approx(np.mean(model.log_likelihood(images)), abs=0.02)
    assert 0 < found["mutual_information"] < np.log(4)
    parts = found["reconstruction"] + found["mutual_information"] + found["kl_aggregate_prior"]
    assert found["elbo"] == pytest.approx(-parts)


def test_the_identity_gives_a_vaes_own_elbo():
    images = np.eye(4, dtype=np.float32).reshape(4, *SHAPE)
    model = VAE(SHAPE, 2, units=[16], seed=1)
    model.compile({"elbo": keras.optimizers.Adam(0.02)}, jit_compile=False)
    model.fit(np.repeat(images, 2000, axis=0), batch_size=50, epochs=2, verbose=0)
    density = model.encoder.density(tf.constant(images))
    codes = density.sample(20_000, seed=[1, 2])
    exact = float(tf.reduce_mean(model.log_joint(images, codes) - density.log_prob(codes)))
    before = np.array(model.seeds.state)
    found = grid.decomposition(model, images, draws=50_000)
    assert found["elbo"] == pytest.approx(exact, abs=0.02)
    assert found["mutual_information"] > 0.1
    assert np.mean(grid.log_likelihood(model, images)) > exact
    np.testing.assert_array_equal(model.seeds.state, before)  # looking at a model leaves no trace


@pytest.mark.parametrize("number", [grid.log_likelihood, grid.decomposition])
def test_codes_must_be_a_plane(number):
    with pytest.raises(InputError, match=r"needs 2 of them, this model has 3; use tfaae\.annealing"):
        number(SimpleNamespace(latent_dim=3), np.zeros((1, *SHAPE), np.float32))
