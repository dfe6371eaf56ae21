"""The papers' other numbers of a model: their names, and their values where those are known."""

import keras
import numpy as np
import pytest

from tfaae import frechet, quality, targets
from tfaae.errors import InputError
from tfaae.features import FeatureNetwork
from tfaae.models import AAE, GaussianInference

FEW = "ignore:a Fréchet distance of:UserWarning"


@pytest.fixture
def model():
    return AAE((8, 8, 1), 2, units=[16], discriminator_units=[16], seed=0)


def network():
    """Four pixels for Fréchet distances; the image beside its negative for perceptual ones."""
    image = keras.Input((8, 8, 1))
    both = keras.layers.Concatenate()([image, keras.layers.Rescaling(-1, offset=1)(image)])
    pixels = keras.layers.Flatten()(keras.layers.AveragePooling2D(4)(image))
    return FeatureNetwork("four", keras.Model(image, [pixels, both]))


@pytest.mark.filterwarnings(FEW)
def test_names_end_in_the_network(model, digits):
    found = quality.measure(model, digits, quality.MEASURES, network(), count=50)
    assert set(found) == {
        "fid_generation_four",
        "fid_reconstruction_four",
        "ppl_full_lpips_unweighted_four",
        "ppl_end_lpips_unweighted_four",
        "lpips_unweighted_four_reconstruction",
        "short_one_nn_percent",
        "short_svm_percent",
    }
    assert all(np.isfinite(value) and value > 0 for value in found.values())
    again = quality.measure(model, digits, ["fid", "ppl"], network(), count=50)
    assert again == {name: found[name] for name in again}
    other = quality.measure(model, digits, ["fid", "ppl"], network(), count=50, seed=1)
    assert all(other[name] != found[name] for name in other)


@pytest.mark.filterwarnings(FEW)
def test_of_a_model_that_keeps_its_images(model, digits):
    """What comes back as it went in is at distance 0; samples that are dark are as far as the images are bright."""
    model.reconstruct = lambda images, labels: images
    model.sample = lambda count, seed: np.zeros((count, 8, 8, 1), np.float32)
    found = quality.measure(model, digits, ["fid", "lpips"], network(), count=10_000)
    assert found["fid_reconstruction_four"] == pytest.approx(0, abs=1e-6)
    assert found["lpips_unweighted_four_reconstruction"] == 0
    vectors = network().vectors(digits.train.images)
    moments = frechet.Moments.of([vectors])
    expected = np.sum(moments.mean**2) + np.trace(moments.covariance)
    assert found["fid_generation_four"] == pytest.approx(expected, rel=1e-4)


def test_long_features_are_those_of_the_encoder(model, digits):
    short = quality.measure(model, digits, ["codes"])
    model.encoder.features = lambda images: images.reshape(len(images), -1)
    found = quality.measure(model, digits, ["codes"])
    assert short == {name: found[name] for name in short}
    assert found["long_one_nn_percent"] > 95 > found["short_one_nn_percent"]
    assert found["long_svm_percent"] > 90


def test_refused(model, digits):
    with pytest.raises(InputError, match="unknown measure 'fids'; did you mean 'fid'"):
        quality.measure(model, digits, ["fids"])
    with pytest.raises(InputError, match="ppl looks through a network"):
        quality.measure(model, digits, ["ppl"])
    of_density = GaussianInference(targets.rosenbrock(), seed=0)
    with pytest.raises(InputError, match="a GaussianInference has no images"):
        quality.measure(of_density, digits, ["codes"])
