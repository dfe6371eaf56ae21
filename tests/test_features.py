"""Feature networks by name: where their weights come from, and what they make of images."""

import keras
import numpy as np
import pytest

from tfaae import data, features
from tfaae.config import DataConfig
from tfaae.errors import InputError
from tfaae.image_sources import Split


@pytest.fixture(scope="module")
def large():
    """scikit-learn's digits, enlarged to 12 pixels."""
    return data.load(DataConfig(name="digits", size=12))


@pytest.fixture(scope="module")
def folder(large, tmp_path_factory):
    """Where the classifier of those digits is kept."""
    kept = tmp_path_factory.mktemp("networks") / "new"
    features.classifying(large.train, kept)
    return kept


@pytest.fixture(scope="module")
def vgg16_weights(tmp_path_factory):
    """VGG16 without ImageNet: random weights in a local file."""
    file = tmp_path_factory.mktemp("vgg16") / "random.weights.h5"
    keras.utils.set_random_seed(1)
    keras.applications.VGG16(include_top=False, weights=None).save_weights(file)
    return file


def test_the_classifier_reads_digits(large, folder):
    guessed = np.argmax(features.classifying(large.train, folder)(large.test.images), axis=1)
    assert np.mean(guessed == large.test.labels) > 0.5  # 3 epochs of 1,498 images; a tenth by chance


def test_the_classifier_is_kept_by_its_images(large, folder, monkeypatch):
    images = large.test.images
    before = features.classifier(large.train, folder).vectors(images)
    assert before.shape == (len(images), 64)
    assert len(list(folder.iterdir())) == 1

    def trained_again(network, images):
        raise AssertionError("trained again")

    monkeypatch.setattr(features, "_trained", trained_again)
    np.testing.assert_array_equal(features.classifier(large.train, folder).vectors(images), before)
    for other in (large.train.take(slice(100)), Split(large.train.images, large.train.labels[::-1])):
        with pytest.raises(AssertionError, match="trained again"):
            features.classifier(other, folder)


def test_the_classifier_is_one_of_its_images_and_leaves_unknown_labels_out(large):
    some = large.train.take(slice(256))
    unknown = Split(np.concatenate([some.images, some.images]), np.concatenate([some.labels, np.full(256, -1)]))
    first, second = (features.classifier(images).vectors(some.images) for images in (some, unknown))
    np.testing.assert_array_equal(first, second)


def test_images_pass_in_slices(large, folder, monkeypatch):
    network = features.classifier(large.train, folder)
    together = network.vectors(large.test.images)
    monkeypatch.setattr(features, "PIXELS_AT_ONCE", 12 * 12 * 50)
    assert [part.start for part in network.slices(large.test.images)] == [0, 50, 100, 150, 200, 250]
    np.testing.assert_allclose(network.vectors(large.test.images), together, atol=1e-5)


def test_maps_of_the_classifier_are_its_layers(large, folder):
    maps = features.classifier(large.train, folder).maps(large.test.images[:3])
    assert [layer.shape for layer in maps] == [(3, 10, 10, 32), (3, 3, 3, 64)]
    assert all((layer >= 0).all() and layer.any() for layer in maps)


def test_vgg16_takes_grey_images_of_many_sizes(vgg16_weights):
    network = features.vgg16(vgg16_weights)
    grey = np.random.default_rng(0).uniform(size=(2, 28, 28, 1)).astype(np.float32)
    assert [layer.shape[1:] for layer in network.maps(grey)] == [
        (28, 28, 64),
        (14, 14, 128),
        (7, 7, 256),
        (3, 3, 512),
        (1, 1, 512),
    ]
    np.testing.assert_allclose(network.vectors(np.repeat(grey, 3, axis=-1)), network.vectors(grey))
    np.testing.assert_allclose(network.vectors(grey), network.maps(grey)[-1].mean(axis=(1, 2)), rtol=1e-5)
    assert network.prepare(np.ones((1, 512, 512, 1), np.float32)).shape == (1, 256, 256, 3)
    with pytest.raises(InputError, match="16 pixels or more, got 8"):
        network.vectors(grey[:, :8, :8])


def test_linear_weights_of_vgg16(vgg16_weights, tmp_path):
    arrays = {
        name: np.full((1, count, 1, 1), count, np.float32)
        for name, count in zip(features.VGG16_LINEAR, features.VGG16_CHANNELS, strict=True)
    }
    np.savez(tmp_path / "linear.npz", **arrays)
    found = features.vgg16(vgg16_weights, tmp_path / "linear.npz").linear
    assert [(len(weights), weights[0]) for weights in found] == [(c, c) for c in features.VGG16_CHANNELS]
    below = arrays | {features.VGG16_LINEAR[0]: -arrays[features.VGG16_LINEAR[0]]}
    for wrong, told in ((dict(list(arrays.items())[:4]), "expected an .npz with arrays"), (below, "at least 0")):
        np.savez(tmp_path / "wrong.npz", **wrong)
        with pytest.raises(InputError, match=told):
            features.vgg16(vgg16_weights, tmp_path / "wrong.npz")


@pytest.mark.slow
def test_inception_v3_sees_299_pixels_from_minus_1_to_1(tmp_path):
    plain = keras.applications.InceptionV3(include_top=False, weights=None, pooling="avg")
    plain.save_weights(tmp_path / "random.weights.h5")
    network = features.get("inception_v3", weights=tmp_path / "random.weights.h5")
    images = np.random.default_rng(0).uniform(size=(13, 299, 299, 3)).astype(np.float32)
    expected = plain(keras.applications.inception_v3.preprocess_input(255 * images), training=False)
    assert np.ptp(expected, axis=0).max() > 1e-5  # images differ by more than what is let pass
    np.testing.assert_allclose(network.vectors(images), expected, rtol=1e-4, atol=1e-7)
    assert network.vectors(images[:2, :28, :28, :1]).shape == (2, 2048)
    with pytest.raises(InputError, match="no layers for a perceptual distance"):
        network.maps(images[:1])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"name": "inception_v4"}, "did you mean 'inception_v3'"),
        ({"name": "inception_v3"}, "needs its ImageNet weights: give the local path"),
        ({"name": "vgg16"}, "or allow the download"),
        ({"name": "vgg16", "weights": "nowhere.h5"}, "there is no file nowhere.h5"),
        ({"name": "vgg16", "weights": __file__}, "no weights from"),
        ({"name": "classifier"}, "give images"),
        ({"name": "classifier", "images": Split(np.zeros((3, 12, 12, 1)), np.full(3, -1))}, "none of 3 images has one"),
        (
            {"name": "classifier", "images": Split(np.zeros((3, 8, 8, 1)), np.arange(3))},
            "10 pixels and more, got 8 x 8",
        ),
    ],
)
def test_refused(arguments, told):
    with pytest.raises(InputError, match=told):
        features.get(**arguments)


def test_a_download_that_fails_says_so(monkeypatch):
    def offline(**options):
        assert options["weights"] == "imagenet"
        raise Exception("URL fetch failure")

    offline.__name__ = "InceptionV3"
    monkeypatch.setattr(keras.applications, "InceptionV3", offline)
    with pytest.raises(InputError, match=r"no weights from the network \(URL fetch failure\)"):
        features.get("inception_v3", download=True)
