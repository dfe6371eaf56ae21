"""Priors: draws against densities, labels against segments, the numbers measured on the paper's figures."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tfaae import priors
from tfaae.errors import InputError
from tfaae.seeds import fixed

PLANE = {
    "normal": (priors.Normal(2, 1.5), 8),
    "uniform": (priors.Uniform(2, 2.0), 3),
    "flower": (priors.GaussianMixture(), 20),
    "toy-flower": (priors.get("ToyGaussianMixture"), 4),
    "roll": (priors.SwissRoll(), 17),
}
LABELLED = {"flower": priors.GaussianMixture(), "roll": priors.SwissRoll(), "one-hot": priors.OneHot(10)}
EVERY = {**{name: prior for name, (prior, _) in PLANE.items()}, **LABELLED, "normal-8": priors.Normal(8, 5.0)}

every_prior = pytest.mark.parametrize("prior", EVERY.values(), ids=EVERY.keys())


def chi_squared(prior, extent: float, labels=None) -> tuple[float, int]:
    """Histogram of 40,000 draws against the density summed over each bin: the statistic and its degrees of freedom."""
    count, bins, fine = 40_000, 25, 10
    draws = prior.sample(count, None if labels is None else np.full(count, labels), seed=fixed(1)).numpy()
    observed, *_ = np.histogram2d(*draws.T, bins=bins, range=[[-extent, extent]] * 2)
    centres = (np.arange(bins * fine) + 0.5) / (bins * fine) * 2 * extent - extent
    grid = np.stack(np.meshgrid(centres, centres, indexing="ij"), axis=-1).reshape(-1, 2)
    given = None if labels is None else np.full(len(grid), labels)
    parts = [
        prior.log_prob(grid[i : i + 9000], None if given is None else given[i : i + 9000])
        for i in range(0, len(grid), 9000)
    ]
    density = np.exp(np.concatenate(parts)).reshape(bins, fine, bins, fine).sum(axis=(1, 3))
    expected = count * density * (2 * extent / (bins * fine)) ** 2
    full = expected > 8  # the statistic needs bins that are not nearly empty
    return float(np.sum((observed - expected)[full] ** 2 / expected[full])), int(full.sum())


@pytest.mark.parametrize("name", PLANE)
def test_draws_follow_the_density(name):
    prior, extent = PLANE[name]
    statistic, bins = chi_squared(prior, extent)
    assert abs(statistic - bins) < 5 * np.sqrt(2 * bins)


@pytest.mark.parametrize("name", ["flower", "roll"])
def test_labelled_draws_follow_their_segment_density(name):
    prior, extent = PLANE[name]
    statistic, bins = chi_squared(prior, extent, labels=3)
    assert abs(statistic - bins) < 5 * np.sqrt(2 * bins)


def test_a_wrong_density_is_found():
    """The statistic above can fail: the roll's draws against a roll of another scale."""
    prior = priors.SwissRoll(scale=14.0)
    prior.log_prob = priors.SwissRoll(scale=13.8).log_prob
    statistic, bins = chi_squared(prior, 17)
    assert statistic - bins > 20 * np.sqrt(2 * bins)


@pytest.mark.parametrize(("prior", "extent"), PLANE.values(), ids=PLANE.keys())
def test_density_integrates_to_one(prior, extent):
    steps = np.linspace(-extent * 1.3, extent * 1.3, 200)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    density = np.concatenate([np.exp(prior.log_prob(grid[at : at + 8000])) for at in range(0, len(grid), 8000)])
    assert density.sum() * (steps[1] - steps[0]) ** 2 == pytest.approx(1, abs=0.02 if "Uniform" in str(prior) else 0.01)


def test_swiss_roll_density_at_known_points():
    """Converged values in float64 at scale 14, noise 0.25."""
    roll = priors.SwissRoll()
    ends = [[0, 0], [7 * np.cos(7), 7 * np.sin(7)], [14 * np.cos(14), 14 * np.sin(14)], [10, 0]]
    expected = [-6.42284455, -4.12755131, -4.81326836, -56.27979509]
    np.testing.assert_allclose(roll.log_prob(ends), expected, atol=2e-4)
    t = 14 * np.sqrt(0.35)
    assert float(roll.log_prob([[t * np.cos(t), t * np.sin(t)]], [3])[0]) == pytest.approx(-1.82214739, abs=1e-4)


@pytest.mark.parametrize(
    ("prior", "mean"),
    [(priors.SwissRoll(noise=0.2), -4.413), (priors.SwissRoll(), -4.634), (priors.GaussianMixture(), -5.51)],
    ids=["roll-0.2", "roll-0.25", "flower"],
)
def test_mean_log_density_of_own_draws(prior, mean):
    draws = prior.sample(50_000, seed=fixed(0))
    assert float(tf.reduce_mean(prior.log_prob(draws))) == pytest.approx(mean, abs=0.03)


def test_normal_and_one_hot_densities():
    normal = priors.Normal(3, 2.0)
    assert float(normal.log_prob(tf.zeros([1, 3]))[0]) == pytest.approx(-1.5 * np.log(2 * np.pi * 4), abs=1e-5)
    np.testing.assert_allclose(priors.OneHot(10).log_prob(np.eye(10)), np.full(10, -np.log(10)), atol=1e-5)


def test_label_k_of_the_flower_lies_along_ray_k():
    labels = np.repeat(np.arange(10), 200)
    draws = priors.GaussianMixture().sample(len(labels), labels, seed=fixed(0)).numpy()
    angles = 2 * np.pi * labels / 10
    along = draws[:, 0] * np.cos(angles) + draws[:, 1] * np.sin(angles)
    across = draws[:, 1] * np.cos(angles) - draws[:, 0] * np.sin(angles)
    assert along.mean() == pytest.approx(9, abs=0.25)
    assert along.std() == pytest.approx(2.7, rel=0.06)
    assert across.std() == pytest.approx(0.55, rel=0.06)


def test_label_k_of_the_roll_lies_in_segment_k():
    labels = np.repeat(np.arange(10), 500)
    draws = priors.SwissRoll(noise=0.0).sample(len(labels), labels, seed=fixed(0)).numpy()
    u = (np.linalg.norm(draws, axis=1) / 14) ** 2
    assert np.all(u >= labels / 10 - 1e-5)
    assert np.all(u < (labels + 1) / 10 + 1e-5)
    radius = np.linalg.norm(draws, axis=1)
    np.testing.assert_allclose(draws, radius[:, None] * np.stack([np.cos(radius), np.sin(radius)], 1), atol=1e-3)


@pytest.mark.parametrize("prior", LABELLED.values(), ids=LABELLED.keys())
def test_draws_of_a_label_are_likeliest_under_it(prior):
    labels = np.repeat(np.arange(10), 50)
    draws = prior.sample(len(labels), labels, seed=fixed(0))
    scores = np.stack([prior.log_prob(draws, np.full(len(labels), k)) for k in range(10)], axis=1)
    assert np.mean(scores.argmax(axis=1) == labels) > 0.98


@pytest.mark.parametrize("prior", LABELLED.values(), ids=LABELLED.keys())
def test_unknown_labels_draw_from_everything(prior):
    mixed = prior.sample(1000, np.full(1000, -1), seed=fixed(4))
    np.testing.assert_array_equal(mixed, prior.sample(1000, seed=fixed(4)))
    scores = np.stack([prior.log_prob(mixed, np.full(1000, k)) for k in range(10)], axis=1)
    assert set(scores.argmax(axis=1)) == set(range(10))


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "Normal", "std": 5},
        {"name": "Uniform", "bound": 2},
        {"name": "GaussianMixture", "radius": 9, "radial_std": 3, "tangential_std": 1},
        {"name": "SwissRoll", "scale": 14, "noise": 1},
    ],
    ids=lambda spec: spec["name"],
)
def test_whole_numbers_are_numbers(spec):
    """YAML's `std: 5` is an integer."""
    prior = priors.get(spec)
    assert np.isfinite(prior.log_prob(prior.sample(4, seed=fixed(0)))).all()


def test_swiss_roll_density_of_any_noise():
    """The entropy of a thin band: length 14^2 / 2 times width sqrt(2 pi e) noise."""
    for noise in (0.05, 0.02):
        roll = priors.SwissRoll(noise=noise)
        found = float(tf.reduce_mean(roll.log_prob(roll.sample(2000, seed=fixed(0)))))
        assert found == pytest.approx(-np.log(98 * np.sqrt(2 * np.pi * np.e) * noise), abs=0.06)


@every_prior
def test_seeds_and_xla(prior):
    draw = tf.function(lambda seed: prior.sample(64, seed=seed), jit_compile=True)
    first = draw(fixed(0))
    assert first.shape == (64, prior.dim)
    np.testing.assert_array_equal(first, draw(fixed(0)))
    assert not np.array_equal(first, draw(fixed(1)))
    assert np.isfinite(tf.function(prior.log_prob, jit_compile=True)(first)).all()


@every_prior
def test_config_round_trip(prior):
    config = json.loads(json.dumps(prior.get_config()))
    again = priors.get(config)
    assert type(again) is type(prior)
    assert again.get_config() == config
    np.testing.assert_array_equal(again.sample(8, seed=fixed(2)), prior.sample(8, seed=fixed(2)))


@every_prior
def test_manifolds_are_codes(prior):
    for codes in prior.manifolds().values():
        assert codes.ndim == 3
        assert codes.shape[2] == prior.dim
        assert np.isfinite(codes).all()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: priors.get("SwisRoll"), "did you mean 'SwissRoll'"),
        (lambda: priors.get({"name": "SwissRoll", "nois": 1.0}), "did you mean 'noise'"),
        (lambda: priors.get({"noise": 1.0}), "expected a name"),
        (lambda: priors.get(3), "expected a name, a mapping or a Prior"),
        (lambda: priors.Normal(std=0.0), "std must be above 0"),
        (lambda: priors.SwissRoll(noise=-1.0), "noise must be at least 0"),
        (lambda: priors.OneHot(1), "dim must be at least 2"),
        (lambda: priors.SwissRoll(noise=0.0).log_prob([[0.0, 0.0]]), "has no density"),
        (lambda: priors.Normal().sample(2, [0, 1], seed=fixed(0)), "no labelled segments"),
    ],
)
def test_errors(make, says):
    with pytest.raises(InputError, match=says):
        make()
