"""Perceptual distances and path lengths against closed forms."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tfaae import perceptual, priors, verbs
from tfaae.errors import InputError
from tfaae.features import FeatureNetwork

RANDOM = np.random.default_rng(0)


def identity(linear=(), layers=1):
    """A network whose maps are the image itself, `layers` times; its channels are what is compared."""
    image = keras.Input((None, None, 3))
    mean = keras.layers.GlobalAveragePooling2D()(image)
    return FeatureNetwork("identity", keras.Model(image, [mean] + [image] * layers), linear=linear)


class Linear:
    """Images that are a linear map of codes."""

    conditional = False

    def __init__(self, matrix, shape, std=1.0):
        self.matrix, self.shape = matrix, shape
        self.sample_codes = priors.Normal(len(matrix), std).sample

    def decode(self, codes):
        return (codes.astype(np.float64) @ self.matrix).reshape(-1, *self.shape)


def squares(first, second):
    return np.sum((first - second) ** 2, axis=(1, 2, 3))


def test_distance_in_closed_form():
    """Unit vectors a and b at a place are 2 - 2 cos apart; a weight counts its channel alone; layers add up."""
    first, second = RANDOM.uniform(0.1, 1, size=(2, 5, 4, 4, 3)).astype(np.float32)
    lengths = [np.linalg.norm(images, axis=-1) for images in (first, second)]
    cosine = np.sum(first * second, axis=-1) / lengths[0] / lengths[1]
    expected = (2 - 2 * cosine).mean(axis=(1, 2))
    np.testing.assert_allclose(perceptual.distance(identity(), first, second), expected, rtol=1e-4)
    np.testing.assert_allclose(perceptual.distance(identity(layers=3), first, second), 3 * expected, rtol=1e-4)
    red = (first[..., 0] / lengths[0] - second[..., 0] / lengths[1]) ** 2
    weighted = identity(linear=(np.array([2.0, 0, 0], np.float32),))
    np.testing.assert_allclose(perceptual.distance(weighted, first, second), 2 * red.mean(axis=(1, 2)), rtol=1e-4)


def test_distance_is_symmetric_and_zero_at_itself():
    first, second = RANDOM.uniform(size=(2, 5, 4, 4, 3)).astype(np.float32)
    network = identity()
    assert (perceptual.distance(network, first, first) == 0).all()
    forth, back = perceptual.distance(network, first, second), perceptual.distance(network, second, first)
    np.testing.assert_array_equal(forth, back)
    np.testing.assert_allclose(perceptual.distance(network, first, 0.5 * first), 0, atol=1e-10)  # direction alone
    assert np.isfinite(perceptual.distance(network, first, np.zeros_like(first))).all()


def test_names_say_whether_channels_count_alike():
    assert perceptual.name_of(identity()) == "lpips_unweighted_identity"
    assert perceptual.name_of(identity(linear=(np.ones(3),))) == "lpips_identity"
    with pytest.raises(InputError, match="one shape"):
        perceptual.distance(identity(), np.zeros((2, 4, 4, 3)), np.zeros((1, 4, 4, 3)))


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize("count", [1, 2500])
def test_path_length_of_a_linear_decoder(end, count):
    """|A (z' - z)|^2 for every pair, wherever on the path; without the smallest and the largest hundredth."""
    model = Linear(RANDOM.normal(size=(3, 12)), (2, 2, 3))
    lengths = []
    for start in range(0, count, perceptual.CODES_AT_ONCE):
        here = min(perceptual.CODES_AT_ONCE, count - start)
        first, second = (verbs.sample_codes(model, here, (7, 2 * start + side)) for side in (0, 1))
        lengths.append(squares(model.decode(first), model.decode(second)))
    lengths = np.sort(np.concatenate(lengths))
    expected = lengths[count // 100 - (count > 1) : count - count // 100 + (count > 1)].mean()
    found = perceptual.path_length(model, squares, count=count, end=end, seed=7)
    assert found == pytest.approx(expected, rel=1e-2)


def test_path_length_on_average():
    """E |A (z' - z)|^2 = 2 std^2 tr A A'; the tails, heavier above, take a little of it."""
    matrix = RANDOM.normal(size=(8, 12))
    found = perceptual.path_length(Linear(matrix, (2, 2, 3), std=3.0), squares, count=10_000)
    assert 0.93 < found / (2 * 9 * np.trace(matrix @ matrix.T)) < 1


def test_path_length_with_normalised_features():
    """Channels (cos kz, sin kz): a step of dz turns a unit vector by k dz, so the length is k^2 E (z' - z)^2."""

    class Turning(Linear):
        def decode(self, codes):
            angles = 2.0 * codes.astype(np.float64)
            channels = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=-1)
            return np.tile(channels[:, :, None], (1, 2, 2, 1)).astype(np.float64)

    def apart(first, second):
        unit = [perceptual._unit(images) for images in (first, second)]
        return np.square(unit[0] - unit[1]).sum(axis=-1).mean(axis=(1, 2))

    model = Turning(np.ones((1, 1)), (2, 2, 3))
    straight = perceptual.path_length(Linear(np.array([[2.0]]), (1, 1, 1)), squares, count=2000)
    assert perceptual.path_length(model, apart, count=2000) == pytest.approx(straight, rel=1e-3)


@pytest.mark.parametrize("end", [False, True])
def test_full_and_end_see_other_parts_of_a_path(end):
    """g(z) = z^2 / 2: (c (z' - z))^2, which is 4 on average at the ends and 2 along paths, as c lies nearer to 0."""

    class Square(Linear):
        def decode(self, codes):
            return (codes.astype(np.float64) ** 2 / 2).reshape(-1, 1, 1, 1)

    z, far = np.random.default_rng(1).normal(size=(2, 300_000))
    at = 0 if end else np.random.default_rng(2).uniform(size=300_000)
    lengths = np.square((z + at * (far - z)) * (far - z))
    assert np.mean(lengths) == pytest.approx(4 if end else 2, rel=0.05)
    expected = np.mean(np.sort(lengths)[3_000:-3_000])
    model = Square(np.ones((1, 1)), (1, 1, 1))
    found = perceptual.path_length(model, squares, count=10_000, end=end)
    assert found == pytest.approx(expected, rel=0.08)
    first, again, other = (perceptual.path_length(model, squares, count=100, end=end, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_a_model_may_draw_its_codes_itself():
    """As one with a mapping network does: the path is straight in w, not in z."""
    own = SimpleNamespace(
        conditional=True,
        classes=2,
        sample_codes=lambda count, *, seed: np.full((count, 1), float(seed[1] % 2)),
        decode=lambda codes, labels: 3 * codes.reshape(-1, 1, 1, 1) + labels.reshape(-1, 1, 1, 1),
    )
    assert perceptual.path_length(own, squares, count=10) == pytest.approx(9, rel=1e-2)
