"""Targets: hand-computed values, evidence against other integrations, and what a user gets told."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, stats
from tensorflow_probability import distributions as tfd

from tfaae import targets
from tfaae.errors import InputError
from tfaae.targets import SCHOOL_EFFECTS, SCHOOL_ERRORS

SCHOOLS = targets.eight_schools()


def test_eight_schools_is_its_formula():
    z = np.random.default_rng(1).normal(size=(4, 3, 10)).astype(np.float32)
    mu, tau, eta = z[..., 0], z[..., 1], z[..., 2:]
    expected = stats.norm.logpdf(z).sum(axis=-1)
    expected += stats.norm.logpdf(SCHOOL_EFFECTS, mu[..., None] + tau[..., None] * eta, SCHOOL_ERRORS).sum(axis=-1)
    np.testing.assert_allclose(SCHOOLS.log_joint(z), expected, rtol=1e-5)
    assert SCHOOLS.coordinates == ("mu", "tau", *(f"eta_{j}" for j in range(1, 9)))
    assert SCHOOLS.dim == 10


def test_eight_schools_has_two_modes_that_mirror_each_other():
    z = np.random.default_rng(2).normal(size=(5, 10)).astype(np.float32)
    mirrored = z * np.float32([1] + 9 * [-1])
    np.testing.assert_allclose(SCHOOLS.log_joint(z), SCHOOLS.log_joint(mirrored), rtol=1e-6)


def test_values_at_points_by_hand():
    points = tf.constant([[1.0, 1.0], [0.0, 2.0], [2.0, -1.0]])
    np.testing.assert_allclose(targets.rosenbrock().log_joint(points), [0, -17, -2])
    np.testing.assert_allclose(targets.torus().log_joint(points), [0, -4, -9])
    top = -np.log(2 * np.pi * 1 * 0.5 * 0.6)  # at the mean: 0.6 = sqrt(1 - 0.8^2)
    exact = [top, top - 0.5 / 0.36]  # the second is one deviation from the mean along the first axis
    np.testing.assert_allclose(targets.gaussian().log_joint([[1.0, -1.0], [2.0, -1.0]]), exact, rtol=1e-5)


@pytest.mark.parametrize("name", ["gaussian", "rosenbrock", "torus"])
def test_evidence_is_the_integral(name):
    target = targets.find(name)
    nodes = np.polynomial.legendre.leggauss(120)
    points = np.stack(np.meshgrid(7 * nodes[0], 7 * nodes[0]), axis=-1).astype(np.float32)
    weights = 49 * nodes[1][:, None] * nodes[1]
    assert np.log(np.sum(weights * np.exp(target.log_joint(points)))) == pytest.approx(target.log_evidence, abs=1e-4)


def test_evidence_in_closed_form():
    torus = np.pi * np.sqrt(np.pi) * stats.norm.cdf(2 * np.sqrt(2))  # u = r^2 is a Gaussian cut off at 0
    assert targets.torus().log_evidence == pytest.approx(np.log(torus), abs=1e-6)
    arms, _ = integrate.quad(lambda t: np.exp(-((t**2 - 1) ** 2) / 2), -8, 8)  # z_1 is Gaussian given z_2
    assert targets.rosenbrock().log_evidence == pytest.approx(np.log(np.sqrt(np.pi / 2) * arms), abs=1e-6)


@pytest.mark.parametrize("name", ["eight_schools", "gaussian", "rosenbrock", "torus"])
def test_a_named_target_is_found_and_takes_any_batch(name):
    target = targets.find(name)
    assert target.name == name
    for shape in ((), (3,), (2, 3)):
        assert target.log_joint(tf.zeros((*shape, target.dim))).shape == shape


def test_an_unknown_name_gets_the_closest():
    with pytest.raises(InputError, match=r"unknown target 'eight_school'; did you mean 'eight_schools'\?"):
        targets.find("eight_school")


def scale_model(**rates):
    """scale ~ Exponential(1), x_i ~ N(0, scale^2), as users write it; the scale is above 0."""
    return tfd.JointDistributionNamedAutoBatched(
        {"scale": tfd.Exponential(1.0), "x": lambda scale: tfd.Sample(tfd.Normal(0.0, scale), 3), **rates}
    )


def test_a_constrained_part_becomes_free_with_its_jacobian():
    x = np.float32([0.5, -1.0, 2.0])
    target = targets.from_joint(scale_model(), x=x)
    free = np.linspace(-25, 8, 4000)
    evidence = np.trapezoid(np.exp(target.log_joint(free[:, None].astype(np.float32))), free)
    exact, _ = integrate.quad(lambda scale: np.exp(-scale) * stats.norm.pdf(x, 0, scale).prod(), 0, np.inf)
    assert target.coordinates == ("scale",)
    assert evidence == pytest.approx(exact, rel=1e-4)


def test_parts_of_a_dict_come_by_name_and_a_double_precision_joint_works():
    parts = {"b": tfd.Normal(np.float64(0), 2), "a": tfd.Sample(tfd.Normal(np.float64(1), 1), 2)}
    seen = tfd.JointDistributionNamedAutoBatched({**parts, "y": lambda a, b: tfd.Normal(a + b, 1)})
    target = targets.from_joint(seen, y=np.zeros(2))
    assert target.coordinates == ("a_1", "a_2", "b")
    z = tf.constant([[1.0, 2.0, -3.0]])
    expected = stats.norm.logpdf([1, 2], 1).sum() + stats.norm.logpdf(-3, 0, 2) + stats.norm.logpdf(0, [-2, -1]).sum()
    np.testing.assert_allclose(target.log_joint(z), [expected], rtol=1e-5)
    assert target.log_joint(z).dtype == tf.float32


def test_a_joint_that_is_no_target_is_refused():
    with pytest.raises(InputError, match="unknown part of joint 'X'; did you mean 'x'"):
        targets.from_joint(scale_model(), X=1.0)
    with pytest.raises(InputError, match="one real type, got float32, int32"):
        targets.from_joint(scale_model(k=tfd.Categorical([0.0, 0.0])), x=np.zeros(3, np.float32))
    with pytest.raises(InputError, match="one real type, got none"):
        targets.from_joint(scale_model(), scale=1.0, x=np.zeros(3, np.float32))
    with pytest.raises(InputError, match=r"scalar and vector parts, got m of shape \(2, 3\)"):
        targets.from_joint(tfd.JointDistributionNamed({"m": tfd.Sample(tfd.Normal(0.0, 1.0), (2, 3))}))
    flat = tfd.JointDistributionNamed(
        {"a": tfd.Normal(0.0, 1.0), "x": lambda a: tfd.Independent(tfd.Normal(a + tf.zeros(3), 1.0), 1)}
    )
    with pytest.raises(InputError, match=r"to be `\[2, 3\]`"):
        targets.from_joint(flat, x=np.zeros(3, np.float32))


def test_any_function_makes_a_target():
    target = targets.from_function(lambda z: -tf.reduce_sum(z**2, axis=-1), 3, "bowl")
    assert (target.name, target.dim, target.log_evidence) == ("bowl", 3, None)
    assert target.coordinates == ("z_1", "z_2", "z_3")


@pytest.mark.parametrize(
    ("log_joint", "told"),
    [
        (lambda z: -tf.reduce_sum(z**2), r"to be `\[2, 3\]`, got \(\)"),
        (lambda z: -tf.reduce_sum(z**2, axis=1), r"`\[2, 3\]`, got \(2, 4\): it keeps every axis but the last"),
        (lambda z: tf.reduce_sum(z @ tf.zeros((5, 5)), axis=-1), r"got InvalidArgumentError"),
        (lambda z: tf.reduce_sum(tf.math.log(z), axis=-1), r"finite .* got \[.*nan"),
        (lambda z: tf.reduce_sum(z, axis=-1) * 1e39, r"finite"),
        (lambda z: z.numpy().sum(axis=-1), r"with a gradient, got none"),
    ],
)
def test_a_function_that_is_no_target_is_refused(log_joint, told):
    with pytest.raises(InputError, match=told):
        targets.from_function(log_joint, 4)


def test_no_dimension_is_refused():
    with pytest.raises(InputError, match="dim must be above 0, got 0"):
        targets.from_function(lambda z: z[..., 0], 0)
