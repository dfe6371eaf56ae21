"""A model whose every answer is known: z ~ N(0, I), x | z ~ N(W z + b, sigma^2 I)."""

import numpy as np
import tensorflow as tf
from scipy.stats import multivariate_normal
from tensorflow_probability import distributions as tfd


class LinearGaussian:
    """log p(x) is that of N(b, W W' + sigma^2 I), and the posterior N(m, S), S = (I + W' W / sigma^2)^-1.

    Args:
        width: of the proposal, a Gaussian of the posterior's mean and, scaled by this, its standard deviations; None
            makes it the posterior itself, with all of its covariance.
    """

    def __init__(self, codes=8, shape=(4, 4, 1), sigma=0.3, width: float | None = 1.0, constant=0.0):
        draws = np.random.default_rng(0)
        pixels = int(np.prod(shape))
        self.codes, self.shape, self.sigma, self.width, self.constant = codes, shape, sigma, width, constant
        self.weights = draws.normal(size=(pixels, codes)) / np.sqrt(codes)
        self.offset = draws.normal(size=pixels)
        self.covariance = np.linalg.inv(np.eye(codes) + self.weights.T @ self.weights / sigma**2)

    def log_joint(self, images, codes):
        """`[n, h, w, c]`, `[..., n, d]` -> `[..., n]`."""
        means = tf.einsum("...d,pd->...p", codes, tf.constant(self.weights, tf.float32)) + self.offset.astype("f4")
        squares = tf.reduce_sum((_flat(images) - means) ** 2, -1)
        pixels = len(self.offset)
        log_likelihood = -squares / (2 * self.sigma**2) - pixels / 2 * np.log(2 * np.pi * self.sigma**2)
        log_prior = -tf.reduce_sum(codes**2, -1) / 2 - self.codes / 2 * np.log(2 * np.pi)
        return log_likelihood + log_prior + self.constant

    def proposal(self, images):
        gain = self.covariance @ self.weights.T / self.sigma**2
        means = tf.einsum("np,dp->nd", _flat(images) - self.offset.astype("f4"), tf.constant(gain, tf.float32))
        if self.width is None:
            return tfd.MultivariateNormalTriL(means, tf.constant(np.linalg.cholesky(self.covariance), tf.float32))
        deviations = self.width * np.sqrt(np.diag(self.covariance))
        return tfd.MultivariateNormalDiag(means, tf.ones_like(means) * deviations.astype("f4"))

    def simulate(self, count, seed):
        draws = np.random.default_rng(seed)
        codes = draws.normal(size=(count, self.codes)).astype("f4")
        noise = self.sigma * draws.normal(size=(count, len(self.offset)))
        images = codes @ self.weights.T + self.offset + noise
        return images.reshape(count, *self.shape).astype("f4"), codes

    def log_likelihood(self, images):
        """`[n]`, the exact answer."""
        covariance = self.weights @ self.weights.T + self.sigma**2 * np.eye(len(self.offset))
        flat = np.reshape(images, (len(images), -1)).astype(np.float64)
        return multivariate_normal(self.offset, covariance).logpdf(flat) + self.constant


def _flat(images):
    return tf.reshape(tf.convert_to_tensor(images, tf.float32), (tf.shape(images)[0], -1))
