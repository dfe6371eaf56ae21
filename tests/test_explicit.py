"""What models with a likelihood refuse, and what tells one of them from another."""

import numpy as np
import pytest
import tensorflow as tf

from tests.cases import CASES, MLP
from tfaae import annealing, bounds, streams
from tfaae.callbacks import StopOnNonFinite
from tfaae.errors import InputError
from tfaae.models import AVB, IWAE, VAE, AdaptiveAVB

SHAPE = (8, 8, 1)
KINDS = {
    "vae": (VAE, {"units": [16]}),
    "iwae": (IWAE, {"units": [16]}),
    "avb": (AVB, MLP),
    "adaptive": (AdaptiveAVB, MLP | {"bases": 4}),
}
EXPLICIT = pytest.mark.parametrize("kind", KINDS)
BYTES = (np.random.default_rng(0).uniform(size=(24, *SHAPE)) * 255).astype(np.float32)


def make(kind: str, **changes):
    model, options = KINDS[kind]
    made = model(SHAPE, 2, seed=3, **options | changes)
    made.compile(dict.fromkeys(made.optimizer_names(), "adam"), jit_compile=False)
    return made


@EXPLICIT
@pytest.mark.parametrize("images", [BYTES, tf.constant(BYTES), BYTES / 255 - 0.01], ids=["bytes", "tensor", "below"])
def test_pixels_without_a_likelihood_are_refused(kind, images):
    with pytest.raises(InputError, match=r"bernoulli expects pixels in \[0, 1\], got .*; divide bytes by 255"):
        make(kind).fit(images, verbose=0)


@EXPLICIT
def test_such_pixels_in_a_data_set_stop_the_first_step(kind):
    batches = tf.data.Dataset.from_tensor_slices(BYTES).batch(8)
    with pytest.raises(InputError, match=r"is nan at step 1, .*pixels outside \[0, 1\] count as nan"):
        make(kind).fit(batches, shuffle=False, verbose=0, callbacks=[StopOnNonFinite()])


@EXPLICIT
def test_a_gaussian_likelihood_takes_them(kind):
    found = make(kind, likelihood="squared").fit(BYTES / 200, verbose=0)
    assert all(np.isfinite(values).all() for values in found.history.values())


@pytest.mark.parametrize("estimate", [bounds.importance_bound, annealing.annealed_importance])
def test_such_pixels_have_no_estimate(estimate):
    with pytest.raises(InputError, match="VAE: likelihood bernoulli expects pixels"):
        estimate(make("vae"), BYTES)


@pytest.mark.parametrize("estimate", [bounds.importance_bound, annealing.annealed_importance])
def test_a_model_without_density_has_no_estimate(estimate):
    with pytest.raises(
        InputError, match=r"expected a model with log_joint and proposal .* got a AAE without log_joint"
    ):
        estimate(CASES["aae-deterministic"].build(), BYTES / 255)


@pytest.mark.parametrize(
    ("kind", "options"), [("vae", {}), ("avb", {}), ("adaptive", {}), ("adaptive", {"posterior": "implicit"})]
)
def test_a_model_is_the_same_to_a_file_of_chains_whenever_it_is_asked(kind, options):
    model, images = make(kind, **options), BYTES[:4] / 255
    before = streams.fingerprint(model, images)
    model.encode_sample(images)
    assert streams.fingerprint(model, images) == before


def test_another_encoder_is_another_model_to_a_file_of_chains(tmp_path):
    model, images = make("vae"), BYTES[:4] / 255
    chosen = {"steps": 2, "chains": 2, "file": tmp_path / "chains.npz", "verbose": 0, "jit_compile": False}
    before = annealing.annealed_importance(model, images, **chosen)
    again = annealing.annealed_importance(model, images, **chosen)
    np.testing.assert_array_equal(before.log_weights, again.log_weights)
    other = make("vae")
    other.decoder.set_weights(model.decoder.get_weights())
    bias = other.encoder.weights[-1]
    bias.assign(bias.value + 0.3)
    assert streams.fingerprint(other, images)["log_joint_at_0"] == streams.fingerprint(model, images)["log_joint_at_0"]
    with pytest.raises(InputError, match="was begun with proposal_at_0"):
        annealing.annealed_importance(other, images, **chosen)
