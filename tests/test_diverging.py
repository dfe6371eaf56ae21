"""A discriminator T that diverges: training stops with what to do about it, and the last good checkpoint stays."""

from types import MappingProxyType

import numpy as np
import pytest
import tensorflow as tf

from tests.cases import CASES
from tests.conftest import TINY_RUN
from tfaae import callbacks, config, train
from tfaae.errors import InputError
from tfaae.models import avb, explicit, inference

ADVICE = {avb.DIVERGED, inference.DIVERGED, explicit.OUT_OF_RANGE}
T = {"units": [16], "discriminator_units": [16]}
LATER = {"name": "PiecewiseConstantDecay", "boundary_epochs": [1], "values": [1e-3, 1e30]}
IMAGES = {"data": TINY_RUN["data"]}
RUNS = {
    "avb": (avb.DIVERGED, IMAGES | {"model": {"name": "AVB", "latent_dim": 2, "noise_dim": 2, "head": 8} | T}),
    "adaptive": (avb.DIVERGED, IMAGES | {"model": {"name": "AdaptiveAVB", "latent_dim": 2, "bases": 2, "head": 8} | T}),
    "inference": (
        inference.DIVERGED,
        {"data": {"name": "none", "batch": 16}, "model": {"name": "AdversarialInference", "target": "gaussian"} | T},
    ),
}


def broken(model, value: float):
    for weight in model.discriminator.trainable_variables:
        weight.assign(tf.fill(weight.shape, value))
    return model


@pytest.mark.parametrize("value", [np.nan, 1e38])
@pytest.mark.parametrize("name", ["avb-residual", "avb-adaptive", "avb-adaptive-full"])
def test_weights_of_t_that_went_off_stop_the_first_step(name, value):
    """1e38: products of weights are infinite, the weights themselves are not."""
    model = broken(CASES[name].compiled(run_eagerly=True), value)
    with pytest.raises(
        InputError, match=r"regularisation is (nan|-?inf).* at step 1, in phase elbo.*: stopped"
    ) as told:
        model.fit(CASES[name].images(), batch_size=8, verbose=0, callbacks=[callbacks.StopOnNonFinite()])
    assert avb.DIVERGED in str(told.value)


@pytest.mark.parametrize("value", [np.nan, 1e38])
def test_weights_of_t_that_went_off_stop_an_inference(value):
    model = inference.AdversarialInference("gaussian", units=(8,), discriminator_units=(8, 8), seed=0)
    model.compile({"elbo": "adam", "discriminator": "adam"}, run_eagerly=True)
    broken(model, value)
    with pytest.raises(InputError, match=r"negative_elbo_t_estimate is (nan|-?inf).* at step 1, in phase elbo") as told:
        model.fit(steps_per_epoch=1, draws=16, verbose=0, callbacks=[callbacks.StopOnNonFinite()])
    assert inference.DIVERGED in str(told.value)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "avb")) for name in RUNS])
def test_the_last_good_checkpoint_of_a_run_stays(name, tmp_path):
    """T's rate explodes after an epoch."""
    advice, raw = RUNS[name]
    optimizers = {"elbo": {"name": "adam"}, "discriminator": {"name": "adam", "learning_rate": LATER}}
    resolved = config.parse(raw | {"seed": 1, "optim": optimizers, "train": {"epochs": 3, "xla": False}})
    with pytest.raises(InputError, match=r" is (nan|-?inf) at step \d+, in phase ") as told:
        train.run(resolved, tmp_path / "run")
    assert advice in str(told.value)
    files, _, model = train.load(tmp_path / "run")
    assert files.finished_epochs == 1
    assert int(model.steps) == {"inference": 1000}.get(name, 14)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert not list(files.folder.glob("partial*"))


def test_every_model_with_a_t_has_advice_for_the_terms_that_tell_of_it():
    for model in (avb.AVB, avb.AdaptiveAVB, inference.AdversarialInference):
        assert isinstance(model.advice, MappingProxyType)
        assert set(model.advice) <= set(model.reports)
        assert set(model.advice.values()) <= ADVICE
