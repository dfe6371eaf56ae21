"""Random affine maps of training images: each limit does what its name says, the seed decides which map."""

import numpy as np
import pydantic
import pytest
import tensorflow as tf

from tests.cases import assert_same
from tfaae import data
from tfaae.config import DistortionConfig
from tfaae.data import Split
from tfaae.distortion import distort, limits, view
from tfaae.errors import InputError

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.uniform(size=(3, 9, 9, 2)).astype(np.float32)
ORDER = ("turn", "scale", "shear", "right", "down")  # of an image's draws
ALL = DistortionConfig(pixels=2, degrees=15, scale=0.2, shear=0.2)


def draw(**at: float) -> tf.Tensor:
    """Draws of all images: 1/2, no map, except where another is given."""
    draws = np.full([len(IMAGES), 5], 0.5, np.float32)
    for name, value in at.items():
        draws[:, ORDER.index(name)] = value
    return tf.constant(draws)


def test_halves_leave_images_as_they_are():
    np.testing.assert_allclose(distort(IMAGES, draw(), ALL), IMAGES, atol=1e-6)


@pytest.mark.parametrize(
    ("at", "down", "right"),
    [({"right": 1.0}, 0, 2), ({"right": 0.0}, 0, -2), ({"down": 1.0}, 2, 0), ({"down": 0.25}, -1, 0)],
)
def test_pixels_move_an_image_and_zeros_come_in(at, down, right):
    expected = np.zeros_like(IMAGES)
    to, whence = (tuple(slice(max(0, sign * by), 9 + min(0, sign * by)) for by in (down, right)) for sign in (1, -1))
    expected[:, *to] = IMAGES[:, *whence]
    np.testing.assert_allclose(distort(IMAGES, draw(**at), DistortionConfig(pixels=2)), expected, atol=1e-5)


@pytest.mark.parametrize(("turn", "quarters"), [(1.0, 1), (0.0, -1)])
def test_degrees_turn_an_image_about_its_centre(turn, quarters):
    found = distort(IMAGES, draw(turn=turn), DistortionConfig(degrees=90))
    np.testing.assert_allclose(found, np.rot90(IMAGES, quarters, axes=(1, 2)), atol=1e-5)


def test_scale_and_shear_of_a_slope():
    """An image whose pixel is its own place tells from where each was read."""
    places = np.linspace(-4, 4, 9, dtype=np.float32)
    x, y = np.meshgrid(places, places)
    given = np.repeat(np.stack([x, y], axis=-1)[None], len(IMAGES), axis=0)
    inner = (slice(None), slice(2, 7), slice(2, 7))  # read from within
    larger = distort(given, draw(scale=1.0), DistortionConfig(scale=0.25))
    np.testing.assert_allclose(larger[inner], given[inner] / 1.25, atol=1e-5)
    smaller = distort(given, draw(scale=0.0), DistortionConfig(scale=0.25))
    np.testing.assert_allclose(smaller[inner], given[inner] * 1.25, atol=1e-5)
    slanted = distort(given, draw(shear=1.0), DistortionConfig(shear=0.5))
    expected = given + 0.5 * np.stack([given[..., 1], np.zeros_like(given[..., 1])], axis=-1)
    np.testing.assert_allclose(slanted[inner], expected[inner], atol=1e-5)


def test_what_is_read_stays_in_range():
    draws = tf.constant(RANDOM.uniform(size=[500, 5]).astype(np.float32))
    found = distort(tf.ones([500, 9, 9, 1]), draws, ALL).numpy()
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6


def test_views_are_the_seeds():
    one, again, other = (view(IMAGES, ALL, tf.constant([seed, 0])) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_xla_reads_the_same():
    draws = tf.constant(RANDOM.uniform(size=[3, 5]).astype(np.float32))
    compiled = tf.function(lambda images: distort(images, draws, ALL), jit_compile=True)
    np.testing.assert_allclose(compiled(IMAGES), distort(IMAGES, draws, ALL), atol=1e-5)


def batches(seed: int, **told) -> list:
    split = Split(IMAGES[np.arange(12) % 3], np.arange(12, dtype=np.int32))
    return [np.asarray(part) for pair in data.batches(split, 6, seed=seed, epochs=2, **told) for part in pair]


def test_the_seed_and_the_step_decide():
    assert_same(batches(1, distortion=ALL), batches(1, distortion=ALL))
    assert_same(batches(1, distortion=ALL, first_epoch=1), batches(1, distortion=ALL)[4:])
    assert not np.array_equal(batches(1, distortion=ALL)[0], batches(1)[0])
    for one, other in zip(batches(1, distortion=DistortionConfig()), batches(1), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("wrong", [{"pixels": -1.0}, {"degrees": 181.0}, {"scale": 2.0}, {"shear": float("nan")}])
def test_limits_have_limits(wrong):
    with pytest.raises(pydantic.ValidationError):
        DistortionConfig(**wrong)


def test_limits_from_plain_data():
    assert limits("x", {"pixels": 2, "degrees": 15, "scale": 0.2, "shear": 0.2}) == limits("x", ALL) == ALL
    with pytest.raises(InputError, match=r"x.pixel: extra inputs are not permitted, got 1"):
        limits("x", {"pixel": 1.0})
    with pytest.raises(InputError, match="x: expected a mapping, got 3"):
        limits("x", 3)
