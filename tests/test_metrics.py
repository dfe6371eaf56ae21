"""Metrics against values known in closed form."""

import numpy as np
import pytest

from tfaae import metrics


def normal(seed, count=800, dim=2, shift=0.0):
    return np.random.default_rng(seed).normal(size=(count, dim)) + shift


def test_sliced_wasserstein_of_a_shift():
    """Moving a sample by v moves each projection by |v . direction|, whose mean in the plane is 2 |v| / pi."""
    points = normal(0)
    distance = metrics.sliced_wasserstein(points, points + np.array([3.0, 4.0]), projections=5000)
    assert distance == pytest.approx(5 * 2 / np.pi, rel=0.03)


def test_sliced_wasserstein_of_itself_and_symmetry():
    first, second = normal(0), normal(1, shift=0.5)
    assert metrics.sliced_wasserstein(first, first[::-1]) == pytest.approx(0, abs=1e-12)
    assert metrics.sliced_wasserstein(first, second) == pytest.approx(metrics.sliced_wasserstein(second, first))


def test_mmd_is_unbiased_and_sees_a_shift():
    same = [metrics.mmd(normal(seed, 300), normal(seed + 100, 300)) for seed in range(40)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(40)
    assert metrics.mmd(normal(0, 300), normal(1, 300, shift=1.0)) > 10 * np.std(same)


def test_mmd_does_not_depend_on_the_chunks():
    first, second = normal(0, 500), normal(1, 500)
    assert metrics.mmd(first, second, rows=70) == pytest.approx(metrics.mmd(first, second, rows=1000))


def test_prior_match():
    found = metrics.prior_match(normal(999), lambda seed: normal(seed))
    assert 0.3 < found["sliced_wasserstein_to_prior"] / found["sliced_wasserstein_prior_to_prior"] < 2
    far = metrics.prior_match(normal(999, shift=2.0), lambda seed: normal(seed))
    assert far["sliced_wasserstein_to_prior"] > 20 * far["sliced_wasserstein_prior_to_prior"]
    assert far["mmd_to_prior"] > 20 * abs(far["mmd_prior_to_prior"])


def test_reconstruction_error():
    images = np.zeros((3, 2, 2, 1))
    assert metrics.reconstruction_error(images, images + 0.5) == pytest.approx(0.5 * 4 * 0.25)


def test_batched_keeps_to_a_million_pixels():
    images = np.random.default_rng(0).uniform(size=(5, 500, 500, 2))
    sizes = []
    doubled = metrics.batched(lambda part: sizes.append(len(part)) or 2 * part, images)
    np.testing.assert_array_equal(doubled, 2 * images)
    assert sizes == [2, 2, 1]
    assert metrics.rows_at_once(np.zeros((1, 28, 28, 1))) == 1000
    assert metrics.rows_at_once(np.zeros((1, 2048, 2048, 3))) == 1
