"""Networks: every size and channel count, noise only while training, spectral normalisation, starts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfaae import config
from tfaae.contrast_networks import ContrastBuilder
from tfaae.errors import InputError
from tfaae.models import AdaptiveAVB
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


# === The convolutional families of adversarial variational Bayes ===


def maps(network: keras.Model, convolution: type) -> list[tuple]:
    """(side, filters) of every convolution's maps, cropped where they are."""
    shapes = []
    for layer in network.layers:
        if isinstance(layer, convolution | keras.layers.Cropping2D):
            shapes[len(shapes) - isinstance(layer, keras.layers.Cropping2D) :] = [layer.output.shape]
    assert all(shape[1] == shape[2] for shape in shapes)
    return [(shape[1], shape[3]) for shape in shapes]


@pytest.mark.parametrize(
    ("arch", "size", "channels", "encoder", "decoder"),
    [
        ("conv1", 28, 1, [(14, 16), (7, 32), (4, 32)], [(7, 32), (14, 16), (28, 1)]),
        ("conv1", 64, 3, [(32, 16), (16, 32), (8, 32)], [(16, 32), (32, 16), (64, 3)]),
        ("conv0", 28, 1, [(28, 64), (28, 128), (14, 256), (7, 512)], [(14, 256), (28, 128), (28, 64), (28, 1)]),
        ("conv0", 64, 3, [(32, 64), (16, 128), (8, 256), (4, 512)], [(8, 256), (16, 128), (32, 64), (64, 3)]),
    ],
)
def test_feature_maps_are_those_of_the_authors(arch, size, channels, encoder, decoder):
    builder, shape = Builder(Seeds(0), arch), (size, size, channels)
    down, up = builder.encoder(shape, 5, ()), builder.decoder(5, shape, ())
    assert maps(down, keras.layers.Conv2D) == encoder
    assert maps(up, keras.layers.Conv2DTranspose) == decoder
    kernels = {layer.kernel.shape[:2] for layer in [*down.layers, *up.layers] if "conv" in layer.name}
    assert kernels == {(5, 5)}
    side, filters = encoder[-1]
    features = {"conv1": 800, "conv0": side * side * filters}[arch]
    assert down.get_layer("codes").kernel.shape == (features, 5)
    images = np.random.default_rng(0).uniform(size=(1, *shape)).astype(np.float32)
    assert up(down(images)).shape == (1, *shape)


@pytest.mark.parametrize(("arch", "maps_with_noise", "normalised"), [("conv1", 3, 0), ("conv0", 4, 3)])
def test_noise_is_added_to_every_map_and_takes_the_place_of_batch_normalisation(arch, maps_with_noise, normalised):
    builder = Builder(Seeds(0), arch)
    for noise_dim, added, batch_norms in ((0, 0, normalised), (3, maps_with_noise, 0)):
        network = builder.encoder((8, 8, 1), 2, (), noise_dim=noise_dim)
        layers = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
        assert [(layer.momentum, layer.epsilon) for layer in layers] == [(0.999, 1e-3)] * batch_norms
        images_of_noise = [layer for layer in network.layers if "dense" in layer.name and layer.kernel.shape[0] == 3]
        assert len(images_of_noise) == added
    images, noise = np.ones((2, 8, 8, 1), np.float32), np.float32([[1, 0, 0], [0, 0, 2]])
    codes = np.asarray(network([images, noise]))
    assert np.all(codes[0] != codes[1])


def test_convolutions_of_the_authors_see_centred_pixels():
    """From -1 to 1: a grey image of 1/2 is 0, and without a bias gives nothing."""
    network = Builder(Seeds(0), "conv1").encoder((8, 8, 1), 2, ())
    grey, white = (np.full((1, 8, 8, 1), value, np.float32) for value in (0.5, 1.0))
    assert np.all(np.asarray(network(grey)) == 0)
    assert np.all(np.asarray(network(white)) != 0)


@pytest.mark.parametrize(("arch", "size"), [("conv1", 7), ("conv0", 3)])
def test_too_small_for_the_authors_convolutions(arch, size):
    for make in (
        lambda builder, shape: builder.encoder(shape, 2, ()),
        lambda builder, shape: builder.decoder(2, shape, ()),
    ):
        with pytest.raises(InputError, match=f"arch {arch} needs images of at least {size + 1} pixels, got {size}"):
            make(Builder(Seeds(0), arch), (size, size, 1))


@pytest.mark.parametrize("arch", ["conv1", "conv0"])
def test_a_family_with_layers_of_its_own_takes_no_units(arch):
    with pytest.raises(InputError, match=f"arch {arch} has layers of its own: leave units out"):
        Builder(Seeds(0), arch).encoder((28, 28, 1), 2, (8,))


# === Discriminators of pairs ===


@pytest.fixture(scope="module")
def pair():
    """(x, z) -> logits, and what they are made of: theta(x), s(z), a(x) and b(z), none of them near 0."""
    network = ContrastBuilder(Seeds(0)).pair_discriminator((2, 2, 1), 3, (8, 8), head=6)
    for layer in network.layers:
        if layer.name.startswith("dense") and layer.units == 1:
            layer.kernel.assign(1e5 * layer.kernel)
    kinds = keras.layers.Dot, keras.layers.Add
    dot, add = (next(layer for layer in network.layers if isinstance(layer, kind)) for kind in kinds)
    return network, keras.Model(network.inputs, [*dot.input, *add.input[1:]])


def pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.uniform(size=(count, 2, 2, 1)).astype("f4"), random.normal(size=(count, 3)).astype("f4")


def test_a_pairs_logit_is_an_inner_product_and_two_sides(pair):
    network, parts = pair
    theta, s, a, b = (np.asarray(part) for part in parts(list(pairs(5))))
    assert (theta.shape, s.shape, a.shape, b.shape) == ((5, 6), (5, 6), (5, 1), (5, 1))
    assert theta.min() >= -1, "ELU"
    terms = np.stack([np.sum(theta * s, axis=1), a[:, 0], b[:, 0]])
    np.testing.assert_allclose(network(list(pairs(5))), terms.sum(axis=0), rtol=1e-5, atol=1e-6)
    assert np.all(terms.std(axis=1) > 1e-3), "each of them varies"


def test_each_tower_sees_one_of_a_pair(pair):
    network, parts = pair
    images, codes = pairs(5)
    here = [np.asarray(part) for part in parts([images, codes])]
    for (x, z), stays in (((images[::-1], codes), "sb"), ((images, codes[::-1]), "ta")):
        for name, one, other in zip("tsab", here, parts([x, z]), strict=True):
            assert np.allclose(one, other) == (name in stays), name
        assert not np.allclose(network([x, z]), network([images, codes]), atol=1e-4)


def test_what_a_pair_tells_together_is_bilinear(pair):
    """T(x, z) - T(x, z') - T(x', z) + T(x', z') = <theta - theta', s - s'>: the sides tell nothing of it."""
    network, parts = pair
    images, codes = pairs(6)
    theta, s = (np.asarray(part) for part in parts([images, codes])[:2])
    mixed = sum(
        sign * np.asarray(network([images[x : x + 3], codes[z : z + 3]]))
        for sign, x, z in ((1, 0, 0), (-1, 0, 3), (-1, 3, 0), (1, 3, 3))
    )
    expected = np.sum((theta[:3] - theta[3:]) * (s[:3] - s[3:]), axis=1)
    np.testing.assert_allclose(mixed, expected, atol=1e-5)
    assert np.all(np.abs(expected) > 1e-3)


def test_the_large_networks_of_the_paper_have_its_shapes():
    """Of avb_mnist_dcgan, at full width: an offset and 32 basis vectors, towers of 3 x 1024 that end in 8192."""
    options = {key: value for key, value in config.load(config.find("avb_mnist_dcgan")).model.items() if key != "name"}
    model = AdaptiveAVB((28, 28, 1), **options, seed=0)
    assert model.encoder.network.input_shape == (None, 28, 28, 1)
    assert model.encoder.network.output_shape == (None, 1 + 32, 32)
    assert maps(model.encoder.network, keras.layers.Conv2D) == [(28, 64), (28, 128), (14, 256), (7, 512)]
    assert (model.encoder.basis.input_shape, model.encoder.basis.output_shape) == ((None, 32, 64), (None, 32, 32))
    assert model.decoder.output_shape == (None, 28, 28, 1)
    towers = sum((inputs + 1) * 1024 + 2 * 1025 * 1024 for inputs in (784, 784, 32, 32))
    assert model.discriminator.count_params() == towers + 2 * 1025 * 8192 + 2 * 1025
    image = tf.ones((1, 28, 28, 1))
    codes, contrast, _ = model.encoder.with_contrast(image, training=True)
    assert codes.shape == contrast.mean().shape == (1, 32)
    assert model.discriminate(image, codes, contrast).shape == (1,)
