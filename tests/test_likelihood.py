"""Parzen windows against Gaussian densities that scipy knows."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from tfaae import likelihood
from tfaae.errors import InputError


def uniform(seed, count, shape=(4, 3, 2)):
    return np.random.default_rng(seed).uniform(size=(count, *shape)).astype(np.float32)


def gaussian(seed, count, sigma, pixels=4):
    return np.random.default_rng(seed).normal(0.5, sigma, size=(count, pixels, 1, 1)).astype(np.float32)


def by_scipy(images, samples, sigma):
    """The definition, in float64."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    densities = [multivariate_normal(s.ravel().astype(np.float64), sigma**2).logpdf(flat) for s in samples]
    return logsumexp(np.reshape(densities, (len(samples), -1)), axis=0) - np.log(len(samples))


def test_one_sample_is_a_gaussian():
    images, sample = uniform(0, 5), uniform(1, 1)
    found = likelihood.parzen(images, [sample], [0.1, 0.5])
    assert (found.shape, found.dtype) == ((2, 5), np.float64)
    for row, sigma in zip(found, (0.1, 0.5), strict=True):
        np.testing.assert_allclose(row, by_scipy(images, sample, sigma), atol=1e-3)


def test_many_samples_are_a_mixture():
    images, samples = uniform(0, 6), uniform(1, 50)
    for sigma in (0.05, 0.2, 3.0):
        found = likelihood.parzen(images, [samples], [sigma])[0]
        np.testing.assert_allclose(found, by_scipy(images, samples, sigma), rtol=1e-5, atol=1e-4)


def test_mnist_sized_images_lose_no_precision():
    """784 bright pixels: |x|^2 and |s|^2 are some 500 while the distances are 4, and less for the last sample."""
    images = 1 - 0.3 * uniform(0, 3, (28, 28, 1))
    samples = images[[0, 1, 2, 0]] + np.random.default_rng(1).normal(0, 0.07, (4, 28, 28, 1)).astype(np.float32)
    samples[3] = images[0]
    found = likelihood.parzen(images, [samples], [0.1])[0]
    np.testing.assert_allclose(found, by_scipy(images, samples, 0.1), atol=0.02)


def test_far_images_neither_underflow_nor_overflow():
    found = likelihood.parzen(np.ones((1, 28, 28, 1)), [np.zeros((2, 28, 28, 1))], [0.01])
    assert found[0, 0] == pytest.approx(-784 / 2e-4 - 392 * np.log(2 * np.pi * 1e-4))


@pytest.mark.parametrize("size", [1, 7])
def test_blocks_do_not_matter(size):
    images, samples = uniform(0, 9), uniform(1, 30)
    whole = likelihood.parzen(images, [samples], [0.1, 1.0])
    blocks = (samples[start : start + size] for start in range(0, 30, size))  # gone through once
    np.testing.assert_allclose(likelihood.parzen(images, blocks, [0.1, 1.0]), whole, rtol=1e-6, atol=1e-5)


def test_memory_does_not_grow_with_the_samples(monkeypatch):
    monkeypatch.setattr(likelihood, "_IMAGES", 4)
    monkeypatch.setattr(likelihood, "_SAMPLES", 8)
    images, samples, shapes = uniform(0, 10), uniform(1, 20), []
    inner = likelihood._sums_of_block
    monkeypatch.setattr(
        likelihood, "_sums_of_block", lambda i, s, sigmas: shapes.append((len(i), len(s))) or inner(i, s, sigmas)
    )
    found = likelihood.parzen(images, [samples], [0.3])[0]
    assert shapes == [(i, s) for s in (8, 8, 4) for i in (4, 4, 2)]
    np.testing.assert_allclose(found, by_scipy(images, samples, 0.3), atol=1e-4)


def test_no_image_is_closer_to_a_sample_than_the_sample_itself():
    """Rounding may make a squared distance of 0 negative: at small widths a likelihood above the highest there is."""
    images = uniform(0, 50, (28, 28, 1))
    found = likelihood.parzen(images, [images], [1e-3])
    assert (found <= -np.log(50) - 392 * np.log(2 * np.pi * 1e-6) + 1e-6).all()


@pytest.mark.parametrize("before", [False, True])
def test_products_are_of_full_precision_and_others_are_left_as_they_were(monkeypatch, before):
    enabled, inner, inside = tf.config.experimental.tensor_float_32_execution_enabled, likelihood._sums_of_block, []
    monkeypatch.setattr(likelihood, "_sums_of_block", lambda *arrays: inside.append(enabled()) or inner(*arrays))
    tf.config.experimental.enable_tensor_float_32_execution(before)
    try:
        likelihood.parzen(uniform(0, 2), [uniform(1, 2)], [0.3])
        assert (inside, enabled()) == ([False], before)
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(True)  # TensorFlow's default


@pytest.mark.parametrize(
    ("samples", "sigmas", "message"),
    [
        ([], [0.1], "at least one sample"),
        ([np.zeros((3, 4, 3, 1))], [0.1], r"expected samples \(4, 3, 2\).* got \(4, 3, 1\)"),
        ([np.zeros((3, 4, 3, 2))], [0.1, 0.0], "sigma must be above 0, got 0"),
    ],
)
def test_parzen_says_what_is_wrong(samples, sigmas, message):
    with pytest.raises(InputError, match=message):
        likelihood.parzen(uniform(0, 2), samples, sigmas)


@pytest.mark.parametrize("width", [0.13, 0.03, 0.9])
def test_select_sigma_finds_the_width_of_the_data(width):
    """Every sample is the centre itself, so that the images are Gaussian of the width; below and above the grid too."""
    images = gaussian(0, 3000, width)
    found = likelihood.select_sigma(images, [np.full((2, 4, 1, 1), 0.5)])
    assert found == pytest.approx(width, rel=0.04)  # steps of 5 %


def test_select_sigma_knows_the_best_of_a_grid():
    images, samples = uniform(0, 20), [uniform(1, 200)]
    found = likelihood.select_sigma(images, samples, np.geomspace(0.05, 1, 12))
    assert found == max(np.geomspace(0.05, 1, 12), key=lambda s: likelihood.parzen(images, samples, [s]).mean())


def test_select_sigma_does_not_go_on_for_ever():
    with pytest.raises(InputError, match="not the images themselves"):
        likelihood.select_sigma(uniform(0, 1) * 0, [uniform(0, 1) * 0])
    for sigmas in ([0.1], [0.2, 0.1]):
        with pytest.raises(InputError, match="two rising sigmas"):
            likelihood.select_sigma(uniform(0, 2), [uniform(1, 2)], sigmas)


def model_of(sigma):
    def sample(count, seed):
        draws = tf.random.stateless_normal((count, 4, 1, 1), seed, 0.5, sigma)
        calls.append((count, tuple(int(part) for part in seed)))
        return draws

    calls: list = []
    return SimpleNamespace(sample=sample, calls=calls)


def test_sample_blocks():
    model = model_of(0.2)
    blocks = list(likelihood.sample_blocks(model, 25, block=10, seed=3))
    assert model.calls == [(10, (3, 0)), (10, (3, 1)), (5, (3, 2))]
    assert len(np.unique(np.concatenate(blocks).round(6), axis=0)) == 25
    again = list(likelihood.sample_blocks(model, 25, block=10, seed=3))
    np.testing.assert_array_equal(np.concatenate(blocks), np.concatenate(again))


def test_parzen_report():
    """A model that is the data's distribution comes close to its negative entropy, from below."""
    validation, test = gaussian(0, 300, 0.2), gaussian(1, 300, 0.2)
    found = likelihood.parzen_report(model_of(0.2), validation, test, 3000)
    assert set(found) == {"nats", "nats_se", "sigma"}
    best = -2 * np.log(2 * np.pi * np.e * 0.2**2)
    assert best - 0.3 < found["nats"] < best + 3 * found["nats_se"]
    assert found["nats_se"] == pytest.approx(np.sqrt(2 / 300), rel=0.3)  # log p varies by d / 2
    assert likelihood.parzen_report(model_of(0.2), validation, test[:50], 3000)["sigma"] == found["sigma"]


def test_the_width_is_chosen_with_few_samples():
    model = model_of(0.2)
    likelihood.parzen_report(model, gaussian(0, 2, 0.2), gaussian(1, 2, 0.2), 10_001)
    assert [count for count, _ in model.calls] == [10_000, 10_000, 1]


def test_nearest():
    training = uniform(0, 40)
    order = np.array([7, 0, 39])
    np.testing.assert_array_equal(likelihood.nearest(training[order] + 0.01, training), order)
