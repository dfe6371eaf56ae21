"""References: Eight Schools against published and hand-made numbers, estimators against known answers."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, stats

from tfaae import reference, targets
from tfaae.errors import InputError
from tfaae.targets import SCHOOL_EFFECTS, SCHOOL_ERRORS

SIGNED_ETA = [1.092, 0.018, -0.577, -0.055, -0.745, -0.489, 0.866, 0.418]
ETA_DEVIATION = [1.375, 0.697, 0.990, 0.736, 1.033, 0.888, 1.123, 0.779]


@pytest.fixture(scope="module")
def draws():
    return reference.exact_samples(20_000, seed=1)


def test_the_evidence_of_eight_schools():
    """Against the other order: tau outside, and y given tau alone, which is a Gaussian of 8 correlated values."""

    def joint(tau):
        covariance = np.diag(SCHOOL_ERRORS.astype(np.float64) ** 2 + tau**2) + 1
        return stats.norm.pdf(tau) * stats.multivariate_normal.pdf(SCHOOL_EFFECTS, np.zeros(8), covariance)

    exact, _ = integrate.quad(joint, -10, 10, limit=200)
    grid = reference.exact_grid()
    assert grid.log_evidence == pytest.approx(np.log(exact), abs=1e-6)
    assert grid.log_evidence == pytest.approx(-12.7108, abs=1e-4)
    assert targets.eight_schools().log_evidence == pytest.approx(grid.log_evidence, abs=1e-4)


def test_the_grid_is_a_density_with_two_modes():
    grid = reference.exact_grid()
    assert grid.mass.sum() == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(grid.density, grid.density[:, ::-1], rtol=1e-6)
    tau = grid.mass.sum(axis=0)
    assert abs(grid.tau[tau.argmax()]) == pytest.approx(0.62, abs=0.02)
    assert tau[len(tau) // 2] / tau.max() == pytest.approx(0.242, abs=1e-3)


def test_the_exact_moments():
    folded, deviation = reference.exact_moments()
    np.testing.assert_allclose(folded, [0.7764, 0.7024, *SIGNED_ETA], atol=6e-4)
    np.testing.assert_allclose(deviation, [0.3238, 0.7892, *ETA_DEVIATION], atol=6e-4)


def test_the_exact_sampler_has_the_exact_moments(draws):
    folded, deviation = reference.exact_moments()
    error = deviation / np.sqrt(len(draws))
    assert (abs(reference.fold(draws).mean(axis=0) - folded) < 4 * error).all()
    assert (abs(draws.mean(axis=0) - [folded[0], *9 * [0]]) < 4 * error).all()
    np.testing.assert_allclose(draws.std(axis=0), deviation, rtol=0.025)
    assert draws.shape == (20_000, 10)
    assert draws.dtype == np.float32


def test_the_exact_sampler_follows_the_joint_density(draws):
    """E_p[g / p(z, y)] = 1 / p(y) for any normalised g, here one narrower than the posterior: covariances count."""
    inside = stats.multivariate_normal(reference.fold(draws).mean(axis=0), np.cov(reference.fold(draws).T) / 2)
    log_ratio = inside.logpdf(draws) - targets.eight_schools().log_joint(draws).numpy()
    assert np.log(np.mean(np.exp(log_ratio))) == pytest.approx(12.7108, abs=0.05)


@pytest.mark.parametrize("name", ["gaussian", "rosenbrock", "torus"])
def test_draws_in_the_plane_follow_the_density(name):
    """Means of five functions against the integral by another rule than the sampler's, within 4 standard errors."""
    target = targets.find(name)
    found = reference.plane_samples(target, 20_000, seed=1)
    nodes, weights = np.polynomial.legendre.leggauss(160)
    points = np.stack(np.meshgrid(7 * nodes, 7 * nodes), axis=-1)
    mass = weights[:, None] * weights * np.exp(np.float64(target.log_joint(points.astype(np.float32))))

    def looks(z):
        return np.stack([z[..., 0], z[..., 1], z[..., 0] ** 2, z[..., 1] ** 2, z[..., 0] * z[..., 1]], axis=-1)

    seen, exact = looks(found.astype(np.float64)), np.tensordot(mass / mass.sum(), looks(points), axes=2)
    assert (abs(seen.mean(axis=0) - exact) < 4 * seen.std(axis=0) / np.sqrt(len(found))).all()
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:5], reference.plane_samples(target, 20_000, seed=1)[:5])


@pytest.mark.parametrize("name", ["eight_schools", "gaussian", "rosenbrock", "torus"])
def test_named_targets_have_exact_draws_to_compare_with(name):
    target = targets.find(name)
    assert reference.sampler(target)(7, 3).shape == (7, target.dim)
    assert reference.divergence(reference.sampler(target)(4000, 3), target) == pytest.approx(0, abs=0.15)


def test_a_target_of_ones_own_has_no_exact_draws():
    target = targets.from_function(lambda z: -tf.reduce_sum(z**2, axis=-1), 2)
    assert reference.sampler(target) is None
    with pytest.raises(InputError, match="function has no exact draws to compare with"):
        reference.divergence(np.zeros((9, 2)), target)
    with pytest.raises(InputError, match="a target in the plane with an extent, got function"):
        reference.plane_samples(target, 5, seed=0)


def test_divergence_in_the_plane_of_a_shifted_gaussian():
    """KL of N(m + d, S) and N(m, S) is d' S^-1 d / 2."""
    target, shift = targets.gaussian(), np.float32([0.6, 0.6])
    exact = shift @ np.linalg.inv([[1.0, 0.4], [0.4, 0.25]]) @ shift / 2
    found = reference.divergence(reference.plane_samples(target, 10_000, seed=5) + shift, target)
    assert found == pytest.approx(exact, rel=0.07)


def test_one_seed_is_one_sample(draws):
    np.testing.assert_array_equal(reference.exact_samples(5, 2), reference.exact_samples(5, 2))
    assert not np.array_equal(reference.exact_samples(5, 2), reference.exact_samples(5, 3))


def test_fold_brings_both_modes_together(draws):
    mirrored = draws * np.float32([1] + 9 * [-1])
    np.testing.assert_array_equal(reference.fold(draws), reference.fold(mirrored))
    assert (reference.fold(draws)[:, 1] >= 0).all()


def test_knn_kl_of_gaussians():
    random = np.random.default_rng(3)
    p, q = random.normal(size=(10_000, 2)), random.normal(size=(8_000, 2)) * [1, 0.5] + [1, 0]
    exact = 0.5 + (0.25 - 1) / 2 + np.log(2)
    assert reference.knn_kl(q, p) == pytest.approx(exact, abs=0.06)
    assert reference.knn_kl(random.normal(size=(8_000, 2)), p) == pytest.approx(0, abs=0.05)


def test_knn_kl_of_eight_schools(draws):
    """In 10 dimensions it is biased low: -0.1 for nothing, and less than log 2 for one mode of two."""
    other = reference.exact_samples(5_000, seed=4)
    assert -0.2 < reference.knn_kl(other, draws) < 0.05
    assert 0.4 < reference.knn_kl(reference.fold(other), draws) < np.log(2) + 0.05


def test_marginal_kl(draws):
    assert reference.marginal_kl(draws) == pytest.approx(0, abs=0.01)
    assert reference.marginal_kl(reference.fold(draws)) == pytest.approx(np.log(2), abs=0.01)
    assert reference.marginal_kl(draws + np.float32(100)) > 10  # outliers count


def test_marginal_kl_of_a_gaussian(draws):
    """The density itself, integrated with q: an answer without bins."""
    q = np.random.default_rng(5).normal([0.7, 0.5] + 8 * [0], [0.3, 0.4] + 8 * [1], size=(20_000, 10))
    grid = reference.exact_grid()
    density = stats.norm.pdf(grid.mu, 0.7, 0.3)[:, None] * stats.norm.pdf(grid.tau, 0.5, 0.4)
    area = grid.mass[0, 0] / grid.density[0, 0]
    exact = area * np.sum(density * np.log(density / grid.density))
    assert reference.marginal_kl(q) == pytest.approx(exact, abs=0.03)


@pytest.mark.slow
def test_nuts_has_the_moments_of_a_gaussian():
    run = reference.nuts(targets.gaussian(), count=1000, seed=1, chains=4, warm_up=300)
    flat = run.samples.reshape(-1, 2)
    assert run.samples.shape == (4, 1000, 2)
    assert run.r_hat.max() < 1.05
    assert 0.6 < run.acceptance < 0.97
    np.testing.assert_allclose(flat.mean(axis=0), [1, -1], atol=0.15)
    np.testing.assert_allclose(np.cov(flat.T), [[1, 0.4], [0.4, 0.25]], atol=0.12)


def test_nuts_has_the_moments_of_eight_schools():
    run = reference.nuts(targets.eight_schools(), count=1000, seed=1, chains=8, warm_up=300)
    folded, deviation = reference.exact_moments()
    found = reference.fold(run.samples.reshape(-1, 10))
    np.testing.assert_allclose(found.mean(axis=0), folded, atol=0.1)
    np.testing.assert_allclose(run.samples.reshape(-1, 10).std(axis=0), deviation, rtol=0.1)
    assert 0.3 < np.mean(run.samples[..., 1] > 0) < 0.7


@pytest.mark.slow
def test_nuts_warns_of_chains_that_do_not_mix():
    def far_apart(z):
        return tf.reduce_logsumexp(-((z - tf.constant([-30.0, 30.0])) ** 2) / 2, axis=-1)

    target = targets.from_function(far_apart, 1, "islands")
    with pytest.warns(UserWarning, match=r"R-hat of islands is above 1.05 \(z_1: \d+"):
        reference.nuts(target, count=20, seed=1, chains=8, warm_up=20)


@pytest.mark.parametrize("given", [{"count": 3}, {"count": 10, "chains": 1}, {"count": 10, "warm_up": 0}])
def test_nuts_refuses_too_few_draws(given):
    with pytest.raises(InputError, match="expected count >= 4, chains >= 2, warm_up >= 1"):
        reference.nuts(targets.gaussian(), seed=1, **given)


def test_samples_that_are_none_are_refused(draws):
    with pytest.raises(InputError, match=r"finite q_samples \[n, d\], got shape \(10,\)"):
        reference.knn_kl(draws[0], draws)
    with pytest.raises(InputError, match="finite p_samples"):
        reference.knn_kl(draws, np.full((5, 10), np.nan))
    with pytest.raises(InputError, match=r"got \(20000, 10\), \(20000, 2\), k = 3"):
        reference.knn_kl(draws, draws[:, :2])
    with pytest.raises(InputError, match="k = 0"):
        reference.knn_kl(draws[:9], draws[9:], k=0)
    with pytest.raises(InputError, match="samples repeat"):
        reference.knn_kl(np.repeat(draws[:9], 4, axis=0), draws[9:])
    with pytest.raises(InputError, match=r"samples \[n, 10\], got \(20000, 2\)"):
        reference.marginal_kl(draws[:, :2])
    with pytest.raises(InputError, match="count must be above 0"):
        reference.exact_samples(0, seed=1)
