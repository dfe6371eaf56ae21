"""The bound of k samples: a VAE's at one, log p(x) at many, and `bounds.importance_bound` in between."""

import numpy as np
import pytest
import tensorflow as tf

from tfaae import bounds, grid
from tfaae.errors import InputError
from tfaae.models import IWAE, VAE

SHAPE, DIM = (3, 3, 1), 2
OPTIONS = {"units": [16], "initial_std": 0.4, "seed": 5}
IMAGES = (np.random.default_rng(0).uniform(size=(6, *SHAPE)) < 0.5).astype(np.float32)


def wide(kind, **options):
    """The one model that OPTIONS describe, of whatever kind; q has heavier tails than the posterior."""
    model = kind(SHAPE, DIM, **OPTIONS | options)
    model.encoder.network.get_layer("codes").bias.assign([0.0, 0.0, 2.0, 2.0])
    return model


def bound(samples: int, repeats: int = 1, **options) -> float:
    """By the training loss."""
    model = wide(IWAE, samples=samples, **options)
    images = tf.repeat(tf.constant(IMAGES), repeats, axis=0)
    return -float(model.elbo_loss(model.batch(images), training=True)["negative_bound"])


def test_one_sample_is_a_vae_with_its_divergence_by_draws():
    options = {"prior": {"name": "GaussianMixture", "components": 3}}  # no closed form: the VAE draws, too
    vae = wide(VAE, **options)
    terms = vae.elbo_loss(vae.batch(IMAGES), training=True)
    assert bound(1, **options) == pytest.approx(-sum(float(term) for term in terms.values()), rel=1e-5)


def test_one_sample_is_the_exact_elbo_in_the_mean():
    vae = wide(VAE)
    images = tf.repeat(tf.constant(IMAGES), 2000, axis=0)
    exact = -sum(float(term) for term in vae.elbo_loss(vae.batch(images), training=True).values())
    assert bound(1, repeats=2000) == pytest.approx(exact, abs=0.15)


def test_the_bound_rises_with_the_samples_to_the_likelihood():
    exact = np.mean(grid.log_likelihood(wide(IWAE), IMAGES))
    found = [bound(samples, repeats) for samples, repeats in ((1, 2000), (5, 1000), (50, 200), (2000, 10))]
    gaps = exact - np.array(found)
    assert gaps[0] > 0.1, "else there would be nothing to gain"
    assert np.all(gaps[1:] < gaps[:-1])
    assert gaps[-1] == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("samples", [1, 5])
def test_the_loss_is_the_importance_bound(samples):
    model, repeats = wide(IWAE), 2000
    images = np.repeat(IMAGES, repeats, axis=0)
    found = bounds.importance_bound(model, images, samples, batch=len(images), jit_compile=False)
    error = bounds.summary(found).error
    assert error < 0.1
    assert bound(samples, repeats) == pytest.approx(found.mean(), abs=5 * error)


def test_reported_terms_are_means_over_the_samples():
    model = wide(IWAE, samples=1)
    model.loss_terms(model.phases()[0], model.batch(IMAGES), training=False)
    found = {name: float(value) for name, value in model.report().items()}
    assert found["negative_bound"] == pytest.approx(found["reconstruction"] + found["kl"], rel=1e-5)


def test_no_samples_are_refused():
    with pytest.raises(InputError, match="samples must be at least 1, got 0"):
        IWAE(SHAPE, DIM, samples=0)
