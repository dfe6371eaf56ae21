"""Losses against values worked out by hand, and the mistakes of earlier implementations."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfaae import losses


def test_squared_is_half_the_sum_over_pixels_averaged_over_images():
    images = np.zeros((2, 2, 2, 1), np.float32)
    images[1] = 1.0
    logits = np.zeros_like(images)  # sigmoid 0.5: every pixel is off by 0.5
    assert float(losses.reconstruction(images, logits, "squared")) == pytest.approx(0.5 * 4 * 0.25)


def test_bernoulli_is_the_negative_log_probability_of_the_pixels():
    images = np.array([[[[1.0], [0.0]]]], np.float32)
    logits = np.array([[[[2.0], [-1.0]]]], np.float32)
    probability = 1 / (1 + np.exp(-logits))
    expected = -np.sum(images * np.log(probability) + (1 - images) * np.log(1 - probability))
    assert float(losses.reconstruction(images, logits, "bernoulli")) == pytest.approx(expected, rel=1e-6)


def test_bernoulli_is_finite_at_extreme_logits():
    logits = np.full((1, 2, 2, 1), -1e4, np.float32)
    assert np.isfinite(losses.reconstruction(np.ones_like(logits), logits, "bernoulli"))


@pytest.mark.parametrize("game", losses.EQUILIBRIUM)
def test_equilibrium(game):
    zeros = tf.zeros(7)
    found = {
        "discriminator": losses.discriminator_loss(zeros, zeros, game),
        "generator": losses.generator_loss(zeros, game),
    }
    assert {name: float(value) for name, value in found.items()} == pytest.approx(losses.EQUILIBRIUM[game])


def test_prior_draws_are_the_positive_class():
    right = losses.discriminator_loss(real=tf.fill([4], 5.0), fake=tf.fill([4], -5.0))
    wrong = losses.discriminator_loss(real=tf.fill([4], -5.0), fake=tf.fill([4], 5.0))
    assert float(right) < 0.02 < 9 < float(wrong)
    assert float(losses.generator_loss(tf.fill([4], 5.0))) < 0.01  # codes that pass for prior draws


def test_the_generator_does_not_saturate():
    """Where the discriminator wins, the gradient is 1, not e^-10 as -log(1 - D) would give."""
    logit = tf.Variable(-10.0)
    with tf.GradientTape() as tape:
        loss = losses.generator_loss(logit[None])
    assert float(tape.gradient(loss, logit)) == pytest.approx(-1, abs=1e-3)


def test_accuracy():
    assert float(losses.discriminator_accuracy(tf.constant([1.0, -1.0]), tf.constant([-1.0, -1.0]))) == 0.75


@pytest.mark.parametrize(
    ("probabilities", "nats"),
    [
        (np.eye(4), 0.0),  # sure, and used alike
        (np.full([3, 4], 0.25), 0.0),  # unsure, and used alike
        (np.eye(4)[[2, 2, 2]], math.log(4)),
        (np.eye(4)[[0, 1]], math.log(2)),
    ],
)
def test_imbalance_is_the_divergence_of_the_mean_from_equal_use(probabilities, nats):
    assert float(losses.imbalance(np.asarray(probabilities, np.float32))) == pytest.approx(nats, abs=1e-6)


def test_imbalance_has_its_whole_gradient():
    """That through the logarithm too, which the loss holds still."""
    logits = tf.constant(np.random.default_rng(0).normal(size=[7, 3]), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        loss = losses.imbalance(tf.nn.softmax(logits))
        mean = tf.reduce_mean(tf.nn.softmax(logits), axis=0)
        expected = tf.reduce_sum(mean * tf.math.log(3 * mean))
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    np.testing.assert_allclose(tape.gradient(loss, logits), tape.gradient(expected, logits), atol=1e-7)


def test_divergence_moves_views_towards_their_images_alone():
    images, views = tf.constant([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]]), tf.constant([[2.0, 1.0, 0.0], [3.0, 0.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch([images, views])
        loss = losses.divergence(images, views)
    p, q = np.exp([0, 1, 2]) / np.sum(np.exp([0, 1, 2])), np.exp([2, 1, 0]) / np.sum(np.exp([2, 1, 0]))
    assert float(loss) == pytest.approx(np.sum(p * np.log(p / q)) / 2, rel=1e-6)
    still, moved = tape.gradient(loss, [images, views])
    assert still is None
    np.testing.assert_allclose(moved, [(q - p) / 2, np.zeros(3)], atol=1e-6)
