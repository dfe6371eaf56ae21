"""Eager, graph and XLA are one algorithm.

XLA draws other numbers from one seed, so draws are replaced by constants.
"""

import numpy as np
import pytest
import tensorflow as tf

from tests.cases import CASES, FEW, few_by_default, fit
from tfaae import distortion, priors, seeds

MODES = {"eager": {"run_eagerly": True}, "graph": {"jit_compile": False}, "xla": {"jit_compile": True}}
NOISELESS = [
    pytest.param(name, marks=[] if name in FEW else pytest.mark.slow)
    for name, case in CASES.items()
    if not {"input_noise", "input_dropout", "discriminator_noise", "dropout", "noise_dim"} & set(case.arguments)
    and case.arguments.get("game") != "wgan-gp"
]


@pytest.fixture
def constant_draws(monkeypatch):
    """Every stateless seed is the same, and every normal draw a fixed ramp."""

    def ramp(shape, *args, **kwargs):
        count = tf.reduce_prod(shape)
        return tf.reshape(tf.linspace(-1.0, 1.0, count), shape)

    def half(images):
        return (1 + ramp([tf.shape(images)[0], distortion.DRAWS])) / 2

    monkeypatch.setattr(priors.Prior, "sample", lambda self, count, labels=None, *, seed: ramp([count, self.dim]))
    monkeypatch.setattr("tfaae.posteriors.tfd.MultivariateNormalDiag.sample", _mean_plus_ramp(ramp))
    monkeypatch.setattr(seeds.Seeds, "stateless", lambda self: seeds.fixed(0))
    monkeypatch.setattr(
        distortion, "view", lambda images, limits, seed: distortion.distort(images, half(images), limits)
    )


def _mean_plus_ramp(ramp):
    def sample(self, sample_shape=(), seed=None):
        shape = tf.concat([tf.cast(tf.reshape(sample_shape, [-1]), tf.int32), tf.shape(self.mean())], axis=0)
        return self.mean() + self.stddev() * ramp(shape)

    return sample


@pytest.mark.parametrize("name", NOISELESS)
def test_modes_agree(name, constant_draws):
    case = CASES[name]
    results = {}
    for mode, options in MODES.items():
        model = case.compiled(optimizer="sgd", **options)
        results[mode] = (fit(model, case, 16).history, model.get_weights())
    for mode in ("graph", "xla"):
        for term, values in results["eager"][0].items():
            np.testing.assert_allclose(results[mode][0][term], values, rtol=1e-5, err_msg=term)
        for one, other in zip(results[mode][1], results["eager"][1], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@few_by_default
@pytest.mark.slow  # `test_modes_agree` compiles some by default
def test_every_model_trains_under_xla(case):
    model = case.compiled(jit_compile=True)
    history = fit(model, case, 16).history
    assert all(np.isfinite(values).all() for values in history.values())
    assert int(model.steps) == 2
