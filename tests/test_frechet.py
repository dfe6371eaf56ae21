"""Fréchet distances against closed forms, SciPy's matrix root, and what must not matter."""

import warnings

import numpy as np
import pytest
import scipy.linalg

from tfaae import frechet
from tfaae.errors import InputError

RANDOM = np.random.default_rng(0)
FEW = "ignore:a Fréchet distance of:UserWarning"


def spd(dim, rank=None, seed=0):
    """A random covariance `[dim, dim]`."""
    factor = np.random.default_rng(seed).normal(size=(dim, rank or 2 * dim))
    return factor @ factor.T / factor.shape[1]


def rows(count, dim=4, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dim)) @ scipy.linalg.cholesky(spd(dim, seed=9)) + 3


def chunked(values, size):
    return [values[at : at + size] for at in range(0, len(values), size)]


def test_of_gaussians_in_closed_form():
    """Diagonal covariances: sum of (m - m')^2 + (s - s')^2; and in one rotated basis the same."""
    means, deviations = RANDOM.normal(size=(2, 5)), RANDOM.uniform(0.1, 3, size=(2, 5))
    expected = np.sum((means[0] - means[1]) ** 2) + np.sum((deviations[0] - deviations[1]) ** 2)
    rotation = scipy.linalg.qr(RANDOM.normal(size=(5, 5)))[0]
    for basis in (np.eye(5), rotation):
        first, second = ((basis @ m, basis @ np.diag(s**2) @ basis.T) for m, s in zip(means, deviations, strict=True))
        assert frechet.between(*first, *second) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dim", [1, 3, 20])
def test_agrees_with_scipys_root_of_the_product(dim):
    first, second = spd(dim, seed=1), spd(dim, seed=2)
    root = scipy.linalg.sqrtm(first @ second)
    expected = np.trace(first) + np.trace(second) - 2 * np.trace(root).real
    assert frechet.between(np.zeros(dim), first, np.zeros(dim), second) == pytest.approx(expected, rel=1e-9)


def test_is_a_distance():
    first, second, zero = spd(6, seed=1), spd(6, seed=2), np.zeros(6)
    assert frechet.between(zero, first, zero, first) == pytest.approx(0, abs=1e-12)
    assert frechet.between(zero, first, zero, second) > 0.01
    there, back = frechet.between(zero, first, zero, second), frechet.between(zero, second, zero, first)
    assert there == pytest.approx(back, rel=1e-12)


def test_singular_covariances():
    """Of rank 2 in 8 dimensions: itself is at 0, and Gaussians in orthogonal planes are as far as their traces say."""
    thin, zero = spd(8, rank=2), np.zeros(8)
    assert frechet.between(zero, thin, zero, thin) == pytest.approx(0, abs=1e-12)
    first, second = np.diag([4.0, 1, 0, 0]), np.diag([0, 0, 9.0, 1])
    assert frechet.between(np.zeros(4), first, np.zeros(4), second) == pytest.approx(4 + 1 + 9 + 1, rel=1e-12)
    half = frechet.between(np.zeros(4), first, np.zeros(4), np.eye(4))
    assert half == pytest.approx((2 - 1) ** 2 + 0 + 1 + 1, rel=1e-12)


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_moments_do_not_depend_on_chunks_or_order(size):
    values = rows(1000)
    found = frechet.Moments.of(chunked(values[RANDOM.permutation(1000)], size))
    assert found.count == 1000
    np.testing.assert_allclose(found.mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(values.T), rtol=1e-11)


def test_moments_keep_their_digits_far_from_the_origin():
    """A sum of squares in float64 would keep none of them: 1e9^2 has 18 digits before the point."""
    values = rows(1000)
    found = frechet.Moments.of(chunked(values + 1e9, 64))
    np.testing.assert_allclose(found.covariance, np.cov(values.T), rtol=1e-6)


def test_merged_moments_are_those_of_all_rows():
    values = rows(900)
    first, second, single = (frechet.Moments.of([part]) for part in (values[:200], values[200:], values[:1]))
    first.merge(second)
    np.testing.assert_allclose(first.covariance, np.cov(values.T), rtol=1e-12)
    assert (single.covariance == 0).all()


@pytest.mark.filterwarnings(FEW)
def test_a_shift_of_both_changes_nothing_and_of_one_its_square():
    first, second, shift = rows(500, seed=1), rows(500, seed=2), np.array([1.0, -2.0, 3.0, 0.5])

    def distance(a, b):
        return frechet.distance(frechet.Moments.of([a]), frechet.Moments.of([b]))

    assert distance(first + shift, second + shift) == pytest.approx(distance(first, second), rel=1e-9)
    assert distance(first, first + shift) == pytest.approx(np.sum(shift**2), rel=1e-9)


def test_few_samples_warn_and_enough_do_not():
    few, enough = (frechet.Moments.of([rows(count, dim=2)]) for count in (9_999, 10_000))
    with pytest.warns(UserWarning, match="of 9999 samples is too high"):
        frechet.distance(few, enough)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frechet.distance(enough, enough)


@pytest.mark.parametrize(
    ("chunks", "told"),
    [
        ([], "at least one image"),
        ([np.zeros((0, 3))], "at least one image"),
        ([np.zeros(3)], r"features \[n, d\], got \[3\]"),
        ([np.zeros((2, 3)), np.zeros((2, 4))], r"features \[n, 3\], got \[2, 4\]"),
        ([np.full((2, 3), np.nan)], "must be finite"),
    ],
)
def test_features_that_are_refused(chunks, told):
    with pytest.raises(InputError, match=told):
        frechet.Moments.of(chunks)


class Known:
    """Samples and reconstructions that are the images themselves, or brighter by a constant."""

    def __init__(self, images, brighter=0.0):
        self.images, self.brighter = images, brighter

    def sample(self, count, seed):
        return self.images[seed[1] : seed[1] + count] + self.brighter

    def reconstruct(self, images, labels):
        assert len(images) == len(labels)
        return images + self.brighter


@pytest.mark.filterwarnings(FEW)
@pytest.mark.parametrize("pixels", [8, 600])  # 600 x 600: two images at a time
def test_of_a_model_in_closed_form(pixels):
    images = frechet.as_stored(RANDOM.uniform(0, 0.5, size=(5, pixels, pixels, 1)))
    labels = np.zeros(5, int)

    def corner(pictures):
        return 255 * pictures[:, :2, 0, 0]

    for brighter, expected in ((0.0, 0.0), (2 / 255, 2 * 2.0**2), (10.0, None)):
        model = Known(images, brighter)
        generated = frechet.generation(model, images, corner)
        assert frechet.reconstruction(model, images, labels, corner) == pytest.approx(generated)
        if expected is None:  # out of range is white, not brighter than white
            assert generated < 2 * 255**2
        else:
            assert generated == pytest.approx(expected, abs=1e-3)
