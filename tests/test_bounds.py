"""The importance bound against a model whose log p(x), posterior and ELBO are known."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tests.gaussian import LinearGaussian
from tfaae import bounds, streams
from tfaae.errors import InputError

MODEL = LinearGaussian()
IMAGES = MODEL.simulate(150, seed=1)[0]


@pytest.fixture(scope="module")
def found():
    """By the number of samples."""
    return {samples: bounds.importance_bound(MODEL, IMAGES, samples) for samples in (1, 5, 2000)}


def test_many_samples_find_the_likelihood(found):
    assert (found[2000].shape, found[2000].dtype) == ((150,), np.float64)
    mean, error = bounds.paired(found[2000], MODEL.log_likelihood(IMAGES))
    assert error < 0.02
    assert abs(mean) < min(0.05, 3 * error)


def test_one_sample_is_the_elbo(found):
    """log p(x) - KL(r, posterior), in the mean."""
    divergence = tfd.kl_divergence(MODEL.proposal(IMAGES), LinearGaussian(width=None).proposal(IMAGES))
    mean, error = bounds.paired(found[1], MODEL.log_likelihood(IMAGES) - divergence.numpy())
    assert error < 0.5
    assert abs(mean) < 3 * error


def test_it_rises_with_the_samples_and_stays_below(found):
    for fewer, more in ((1, 5), (5, 2000)):
        mean, error = bounds.paired(found[more], found[fewer])
        assert mean > 3 * error
    for samples in (1, 5):
        assert bounds.paired(found[samples], MODEL.log_likelihood(IMAGES)).mean < 0


def test_from_the_posterior_every_sample_has_the_same_weight():
    """So that neither a short last chunk, nor a short last batch, nor a constant of log_joint may show."""
    model = LinearGaussian(width=None, constant=7.0)
    found = bounds.importance_bound(model, IMAGES[:5], samples=10, batch=3, chunk=4)
    np.testing.assert_allclose(found, model.log_likelihood(IMAGES[:5]), atol=2e-5)
    np.testing.assert_allclose(found - 7, MODEL.log_likelihood(IMAGES[:5]), atol=2e-5)


def test_inflate_widens_the_proposal(found):
    narrow = bounds.importance_bound(LinearGaussian(width=0.5), IMAGES[:50], 5, inflate=2.0)
    np.testing.assert_allclose(narrow, found[5][:50], atol=1e-4)


def test_inflate_widens_a_proposal_of_any_covariance():
    """One sample finds log p(x) - KL(r inflated, posterior), in the mean; r is the posterior."""
    model, factor = LinearGaussian(width=None), 2.0
    found = bounds.importance_bound(model, IMAGES, 1, inflate=factor)
    divergence = model.codes / 2 * (factor**2 - 1 - np.log(factor**2))
    mean, error = bounds.paired(found, model.log_likelihood(IMAGES) - divergence)
    assert error < 0.5
    assert abs(mean) < 3 * error


class Mixed(LinearGaussian):
    """Its encoder says what is 1 below and 2 above the density of its proposal."""

    @property
    def encoder(self):
        def density_between(images, others, seed):
            proposal = self.proposal(images)
            codes = proposal.sample(seed=seed)
            return codes, proposal.log_prob(codes) + others, proposal.log_prob(codes) - 2 * others

        return SimpleNamespace(density_between=density_between)

    def averaged(self):
        return nullcontext()


def test_an_elbo_is_enclosed_whatever_t_says(found):
    below, above = bounds.elbo_between(Mixed(), IMAGES, others=1, codes=20, batch=40)
    assert below.dtype == np.float64
    np.testing.assert_allclose(above - below, np.full(150, 3.0), atol=1e-3)
    divergence = tfd.kl_divergence(MODEL.proposal(IMAGES), LinearGaussian(width=None).proposal(IMAGES))
    mean, error = bounds.paired(below + 1, MODEL.log_likelihood(IMAGES) - divergence.numpy())
    assert error < 0.2
    assert abs(mean) < 3 * error


def test_a_posterior_without_a_density_has_no_enclosed_elbo():
    with pytest.raises(InputError, match="nothing bounds the density of LinearGaussian's posterior; VAE, IWAE"):
        bounds.elbo_between(MODEL, IMAGES)
    with pytest.raises(InputError, match="others must be above 0"):
        bounds.elbo_between(Mixed(), IMAGES, others=0)


def test_memory_does_not_grow_with_images_or_samples(monkeypatch):
    shapes, inner, model = [], LinearGaussian.log_joint, LinearGaussian()
    monkeypatch.setattr(
        LinearGaussian, "log_joint", lambda self, x, z: shapes.append(tuple(z.shape)) or inner(self, x, z)
    )
    bounds.importance_bound(model, IMAGES[:7], 55, batch=3, chunk=10)
    assert set(shapes) == {(2, 7, 8), (10, 3, 8)}  # a look at the model, then traces of one shape


def test_the_seed_names_the_draws(found):
    again, other = (bounds.importance_bound(MODEL, IMAGES[:50], 1, seed=seed) for seed in (0, 4))
    np.testing.assert_array_equal(again, found[1][:50])  # whatever batches come after
    assert (other != again).all()


def test_summary_and_paired():
    assert bounds.summary(np.array([1.0, 2.0, 3.0])) == pytest.approx((2, 1 / np.sqrt(3)))
    common = np.random.default_rng(0).normal(-90, 25, 100)
    assert bounds.paired(common + 1, common) == pytest.approx((1, 0), abs=1e-12)
    with pytest.raises(InputError, match=r"each of two images or more, got shape \(1,\)"):
        bounds.summary(np.zeros(1))
    with pytest.raises(InputError, match=r"same images, got \(3,\) and \(2,\)"):
        bounds.paired(np.zeros(3), np.zeros(2))


def with_verbs(**verbs):
    return SimpleNamespace(**{"log_joint": MODEL.log_joint, "proposal": MODEL.proposal, **verbs})


@pytest.mark.parametrize(
    ("model", "images", "arguments", "message"),
    [
        (MODEL, IMAGES, {"samples": 0}, "samples must be above 0, got 0"),
        (MODEL, IMAGES, {"inflate": 0.0}, "inflate must be above 0"),
        (MODEL, IMAGES[:0], {}, r"at least one, got \(0, 4, 4, 1\)"),
        (MODEL, IMAGES[0], {}, r"expected images \[n, h, w, c\]"),
        (MODEL, IMAGES * np.nan, {}, "images must be finite"),
        (
            with_verbs(proposal=lambda x: tfd.Independent(tfd.Normal(tf.zeros((len(x), 8)), 1.0), 1)),
            IMAGES,
            {"inflate": 1.1},
            "widens a Gaussian, got Independent; use inflate=1",
        ),
        (with_verbs(proposal=lambda x: tf.zeros(8)), IMAGES, {}, "tfp distribution, got EagerTensor"),
        (with_verbs(proposal=lambda x: tfd.Normal(tf.zeros((8, 8)), 1.0)), IMAGES, {}, r"event shape \[d\]"),
        (with_verbs(log_joint=lambda x, z: tf.zeros((2, 8, 16))), IMAGES, {}, r"log_joint \(2, 8\) .* sum over pixels"),
        (with_verbs(log_joint=lambda x, z: tf.fill((2, 8), np.nan)), IMAGES, {}, "log_joint is not finite"),
    ],
)
def test_it_says_what_is_wrong(model, images, arguments, message):
    with pytest.raises(InputError, match=message):
        bounds.importance_bound(model, images, **arguments)


def test_an_image_with_a_weight_that_is_not_a_number_is_named():
    weights = np.zeros((3, 4))
    weights[0, 0] = -np.inf  # a code of density zero
    streams.usable("annealing", weights, first=100)
    for value in (np.nan, np.inf):
        weights[1, 2] = value
        with pytest.raises(InputError, match=f"annealing: a log weight of image 102 is {value}"):
            streams.usable("annealing", weights, first=100)
