"""Moves in the code space: of codes that are known, and of the package's own models."""

import numpy as np
import pytest

from tfaae import editing
from tfaae.errors import InputError
from tfaae.models import AAE, VAE, SupervisedAAE

RANDOM = np.random.default_rng(0)
SMALL = {"units": [16], "seed": 0}
MODELS = {
    "AAE": lambda: AAE((8, 8, 1), 3, discriminator_units=[16], **SMALL),
    "VAE": lambda: VAE((8, 8, 1), 3, **SMALL),
    "SupervisedAAE": lambda: SupervisedAAE((8, 8, 1), 3, classes=10, discriminator_units=[16], **SMALL),
}


class Plain:
    """Codes are the image's two pixels, and back; two styles, one a pixel; the mean code is (1, -1)."""

    conditional = False
    slots = 2

    def encode(self, images):
        return images.reshape(-1, 2)

    def decode(self, codes):
        return codes.reshape(-1, 1, 2, 1)

    def truncated(self, codes, psi):
        assert codes.shape.rank == 2  # a tensor
        return np.array([1, -1]) + psi * (codes - np.array([1, -1]))

    def style_mix(self, codes, sources, *, first, end):
        taken = (np.arange(2) >= first) & (np.arange(2) < end)
        return self.decode(np.where(taken, sources, codes))


def pixels(*rows):
    return np.array(rows, np.float32).reshape(-1, 1, 2, 1)


def separable(count=400, dim=5, seed=0):
    """Codes on two sides of the plane n . z = 2, none within 0.5 of it."""
    random = np.random.default_rng(seed)
    normal = np.linspace(1, 2, dim) / np.linalg.norm(np.linspace(1, 2, dim))
    points = random.normal(size=(count, dim)) + 2 * normal
    distance = points @ normal - 2
    points += np.outer(np.sign(distance) * 0.5, normal)
    return points.astype(np.float32), distance > 0, normal


def test_a_direction_is_the_normal_of_the_plane():
    points, labels, normal = separable()
    direction = editing.fit_direction(points, labels)
    assert np.linalg.norm(direction.vector) == pytest.approx(1, rel=1e-6)
    assert direction.vector @ normal > 0.99
    assert direction.bias == pytest.approx(-2, abs=0.15)
    assert direction.accuracy_percent == 100
    np.testing.assert_array_equal(points @ direction.vector + direction.bias > 0, labels)


def test_a_directions_accuracy_is_of_codes_that_it_has_not_seen():
    """Labels by chance: in so many dimensions the training codes can be told apart, held-out ones cannot."""
    points, labels = RANDOM.normal(size=(200, 300)), RANDOM.uniform(size=200) < 0.5
    direction = editing.fit_direction(points, labels)
    assert 25 < direction.accuracy_percent < 75
    assert np.mean((points @ direction.vector + direction.bias > 0) == labels) > 0.85
    assert 50 <= direction.majority_percent < 65
    assert editing.fit_direction(points, labels, seed=1).accuracy_percent != direction.accuracy_percent


@pytest.mark.parametrize(
    ("points", "labels", "told"),
    [
        (RANDOM.normal(size=(20, 2)), np.arange(20), "expected a boolean for each of 20 codes, got int64"),
        (RANDOM.normal(size=(20, 2)), np.zeros(19, bool), r"each of 20 codes, got bool \[19\]"),
        (RANDOM.normal(size=(20, 2)), np.arange(20) < 4, "5 codes or more with the attribute, and without it; got 4"),
        (np.zeros((20, 2)), np.arange(20) < 10, "do not tell the attribute at all"),
    ],
)
def test_directions_that_are_refused(points, labels, told):
    with pytest.raises(InputError, match=told):
        editing.fit_direction(points, labels)


def test_edit_moves_along_the_direction():
    direction = editing.Direction(np.array([0.6, 0.8], np.float32), 0.0, 100.0, 50.0)
    edited = editing.edit(Plain(), pixels((1, 2), (3, 4)), direction, [-5, 0, 10])
    np.testing.assert_allclose(
        edited.reshape(2, 3, 2), [[(-2, -2), (1, 2), (7, 10)], [(0, 0), (3, 4), (9, 12)]], atol=1e-6
    )
    with pytest.raises(InputError, match=r"of codes \(3,\), the model's are \(2,\)"):
        editing.edit(Plain(), pixels((1, 2)), direction._replace(vector=np.ones(3)), [1])


def test_interpolations_are_straight_and_end_in_the_reconstructions():
    found = editing.interpolate(Plain(), pixels((0, 0), (1, 1)), pixels((4, 8), (1, 3)), 5)
    np.testing.assert_allclose(found[0].reshape(5, 2), [(0, 0), (1, 2), (2, 4), (3, 6), (4, 8)])
    np.testing.assert_allclose(found[1].reshape(5, 2)[[0, 2, 4]], [(1, 1), (1, 2), (1, 3)])
    for first, second, steps in ((pixels((0, 0)), pixels((0, 0)), 1), (pixels((0, 0)), pixels((0, 0), (1, 1)), 3)):
        with pytest.raises(InputError, match="2 steps or more"):
            editing.interpolate(Plain(), first, second, steps)


def test_truncation_goes_to_the_mean_code():
    found = editing.truncate(Plain(), np.array([[3, 3], [0, 0.0]]), [0, 0.5, 1, -1])
    assert found.shape == (2, 4, 1, 2, 1)
    np.testing.assert_allclose(found[0].reshape(4, 2), [(1, -1), (2, 1), (3, 3), (-1, -5)])


def test_styles_are_mixed_in_a_table():
    mixed = editing.mix_styles(Plain(), np.array([[1, 2], [3, 4]]), np.array([[5, 6], [7, 8], [9, 10]]), first=1, end=2)
    assert mixed.shape == (2, 3, 1, 2, 1)
    np.testing.assert_array_equal(mixed.reshape(2, 3, 2), [[(1, 6), (1, 8), (1, 10)], [(3, 6), (3, 8), (3, 10)]])


@pytest.mark.parametrize(("first", "end"), [(0, 3), (1, 1), (-1, 1)])
def test_styles_that_there_are_not(first, end):
    with pytest.raises(InputError, match=f"expected styles within 0 to 2, got {first} to {end}"):
        editing.mix_styles(Plain(), np.zeros((1, 2)), np.zeros((1, 2)), first=first, end=end)
    with pytest.raises(InputError, match="int has no styles to mix; StyleALAE has"):
        editing.mix_styles(3, np.zeros((1, 2)), np.zeros((1, 2)), first=0, end=1)


@pytest.mark.parametrize("name", MODELS)
def test_of_the_packages_models(name, digits):
    """Where nothing moves, pictures are reconstructions; and moved ones are images too."""
    model = MODELS[name]()
    images, labels = digits.test.take(slice(5))
    expected = np.asarray(model.reconstruct(images, labels))
    direction = editing.Direction(np.array([0, 0.6, 0.8], np.float32), 0.0, 100.0, 50.0)
    edited = editing.edit(model, images, direction, [0, 3], labels)
    lines = editing.interpolate(model, images, images[::-1], 3, labels)
    codes = np.asarray(model.encode(images))
    truncated = editing.truncate(model, codes, [1, 0], labels)
    for found in (edited, lines, truncated):
        np.testing.assert_allclose(found[:, 0], expected, atol=1e-6)
        assert found.min() >= 0
        assert found.max() <= 1
        assert not np.allclose(found[0, 1], expected[0])
    if model.conditional:
        with pytest.raises(InputError, match="decodes a style and a label"):
            editing.edit(model, images, direction, [0])
    else:
        np.testing.assert_allclose(truncated[0, 1], truncated[4, 1], atol=1e-6)  # the mean is one image
