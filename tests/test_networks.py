"""Networks: every size and channel count, noise only while training, spectral normalisation, starts."""

import numpy as np
import pytest

from tfaae.errors import InputError
from tfaae.networks import Builder, Dropout, Noise
from tfaae.seeds import Seeds

SIZES = [8, 9, 11, 28, 32, 33]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("arch", ["mlp", "conv"])
def test_any_square_size(arch, channels, size):
    builder = Builder(Seeds(0), arch)
    shape = (size, size, channels)
    images = np.random.default_rng(0).uniform(size=(2, *shape)).astype(np.float32)
    codes = builder.encoder(shape, 5, (6, 4))(images)
    assert codes.shape == (2, 5)
    assert builder.decoder(5, shape, (4, 6))(codes).shape == images.shape
    assert builder.discriminator(shape, (6, 4))(images).shape == (2,)
    assert builder.discriminator((5,), (6, 4))(codes).shape == (2,)


@pytest.mark.parametrize("arch", ["mlp", "conv"])
def test_noise_reaches_the_code(arch):
    builder = Builder(Seeds(0), arch)
    encoder = builder.encoder((8, 8, 1), 2, (6, 4), noise_dim=3)
    images = np.ones((4, 8, 8, 1), np.float32)
    noise = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    codes = np.asarray(encoder([images, noise]))
    assert len(np.unique(codes[:, 0])) == 4
    midpoint = np.asarray(encoder([images[:1], (noise[:1] + noise[1:2]) / 2]))
    assert not np.allclose(midpoint, (codes[:1] + codes[1:2]) / 2, atol=1e-4), "the noise must pass a non-linearity"


@pytest.mark.parametrize("layer", [Noise(0.5, Seeds(0)), Dropout(0.5, Seeds(0))], ids=["noise", "dropout"])
def test_noise_and_dropout_act_only_while_training(layer):
    inputs = np.ones((3, 1000), np.float32)
    np.testing.assert_array_equal(layer(inputs), inputs)
    first, second = np.asarray(layer(inputs, training=True)), np.asarray(layer(inputs, training=True))
    assert not np.array_equal(first, second)
    assert first.mean() == pytest.approx(1, abs=0.1)


def test_noise_has_its_deviation():
    noisy = np.asarray(Noise(3.0, Seeds(0))(np.zeros((100, 100), np.float32), training=True))
    assert noisy.std() == pytest.approx(3, rel=0.05)


def test_spectral_normalisation_bounds_every_layer():
    builder = Builder(Seeds(0), initial_std=1.0, spectral_norm=True)
    network = builder.discriminator((4,), (16, 16))
    inputs = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    for _ in range(50):  # one power iteration a call
        network(inputs, training=True)
    kernels = [np.asarray(weight) for weight in network.trainable_variables if weight.name == "kernel"]
    assert len(kernels) == 3
    for kernel in kernels:
        assert np.linalg.norm(kernel, ord=2) == pytest.approx(1, abs=0.02)


def test_initial_std():
    encoder = Builder(Seeds(0), initial_std=0.01).encoder((28, 28, 1), 2, (300,))
    kernel = next(weight for weight in encoder.trainable_variables if weight.name == "kernel")
    assert np.asarray(kernel).std() == pytest.approx(0.01, rel=0.05)


def test_no_batch_normalisation_in_a_discriminator():
    """It is known to stop discriminators from learning."""
    network = Builder(Seeds(0)).discriminator((2,), (8,))
    assert not any("batch" in type(layer).__name__.lower() for layer in network.layers)


@pytest.mark.parametrize(("size", "units"), [(7, (4,)), (8, (4, 4, 4)), (28, (2,) * 5)])
def test_too_small_for_the_convolutions(size, units):
    with pytest.raises(InputError, match="convolutions need images"):
        Builder(Seeds(0), "conv").encoder((size, size, 1), 2, units)
