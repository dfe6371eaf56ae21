"""Pictures: which image stands where."""

import io

import numpy as np
import pytest
from PIL import Image

from tfaae import figures
from tfaae.errors import InputError


def flat(*values, size=3):
    """Images of one grey each, `[n, size, size, 1]`."""
    return np.ones((len(values), size, size, 1)) * np.reshape(values, (-1, 1, 1, 1))


def drawn(figure):
    """The picture of a figure, white as 1."""
    return np.asarray(figure.axes[0].images[0].get_array())


def test_image_grid_parts_images_by_hairlines():
    picture = drawn(figures.image_grid(flat(0, 0.25, 0.5, 0.75).reshape(2, 2, 3, 3, 1)))
    assert picture.shape == (7, 7)
    assert (picture[1, 1], picture[1, 5], picture[5, 1], picture[5, 5]) == (0, 0.25, 0.5, 0.75)
    assert (picture[3] == 1).all()
    assert (picture[:, 3] == 1).all()


def test_style_by_content_names_its_columns():
    figure = figures.style_by_content(flat(0, 0.1, 0.2, 0.3, 0.4, 0.5).reshape(2, 3, 3, 3, 1), ["a", "b", "c"])
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    np.testing.assert_array_equal(drawn(figure)[5, axes.get_xticks().astype(int)], [0.3, 0.4, 0.5])
    assert figures.to_png(figure).startswith(b"\x89PNG")
    with pytest.raises(InputError, match="a name for each of 3 columns, got 2"):
        figures.style_by_content(flat(0, 0, 0).reshape(1, 3, 3, 3, 1), ["a", "b"])


def test_cluster_heads_shows_what_is_assigned():
    images = flat(0.1, 0.2, 0.3, 0.4, 0.5)
    picture = drawn(figures.cluster_heads(flat(0, 0.9), np.eye(2)[[0, 1, 0, 1, 1]], images, columns=3))
    assert picture.shape == (7, 3 + 1 + 11)  # a head, a gap, three images
    assert (picture[1, 1], picture[5, 1]) == (0, 0.9)
    assert (picture[:, 3] == 1).all()
    assert set(picture[1, [5, 9, 13]]) == {0.1, 0.3, 1}  # two images and a white place
    assert set(picture[5, [5, 9, 13]]) == {0.2, 0.4, 0.5}


def test_cluster_heads_draws_at_random_by_seed():
    images, probabilities = flat(*np.linspace(0, 0.9, 50)), np.ones((50, 1))

    def shown(seed):
        return drawn(figures.cluster_heads(flat(0), probabilities, images, seed=seed))

    np.testing.assert_array_equal(shown(1), shown(1))
    assert (shown(1) != shown(2)).any()


def test_many_clusters_are_two_panels():
    heads = np.linspace(0, 0.9, 25)
    figure = figures.cluster_heads(flat(*heads), np.eye(25), flat(*heads / 2), columns=2)
    picture, panel = drawn(figure), 3 + 1 + 7
    assert picture.shape == (13 * 4 - 1, 2 * panel + 3)
    np.testing.assert_allclose(picture[1::4, 1], heads[:13])
    np.testing.assert_allclose(picture[1:-4:4, panel + 3 + 1], heads[13:])
    assert (picture[-3:, panel:] == 1).all()  # the 26th place
    assert [text.get_text() for text in figure.axes[0].texts] == [str(cluster) for cluster in range(25)]


def test_with_nearest_sets_the_last_column_apart():
    picture = drawn(figures.with_nearest(flat(0, 0.1, 0.2, 0.3), flat(0.8, 0.9)))
    assert picture.shape == (7, 7 + 1 + 3)
    np.testing.assert_array_equal(picture[[1, 5]][:, [1, 5, 9]], [[0, 0.1, 0.8], [0.2, 0.3, 0.9]])
    with pytest.raises(InputError, match="each of 2 rows, got 3"):
        figures.with_nearest(flat(0, 0, 0), flat(0, 0))


def test_circle_projection_of_a_simplex():
    """Heads 10 I: the map is C / 10, C the points of a circle."""
    codes = np.random.default_rng(0).normal(size=(20, 10))
    points, heads = figures.circle_projection(codes, 10 * np.eye(10))
    np.testing.assert_allclose(np.linalg.norm(heads, axis=1), 10)
    turns = np.unwrap(np.arctan2(heads[:, 1], heads[:, 0]))
    np.testing.assert_allclose(np.diff(turns), 2 * np.pi / 10)
    np.testing.assert_allclose(points, codes @ (heads / 10))


def test_circle_projection_of_any_independent_heads():
    random = np.random.default_rng(1)
    weights, heads = random.normal(size=(2, 5)), random.normal(size=(5, 7))
    points, on_circle = figures.circle_projection(weights @ heads, heads)
    radius = np.mean(np.linalg.norm(heads, axis=1))
    np.testing.assert_allclose(np.linalg.norm(on_circle, axis=1), radius)
    np.testing.assert_allclose(points, weights @ on_circle)  # linear


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_scatter_numbers_the_heads(dim):
    random = np.random.default_rng(0)
    codes, draws, heads = (random.normal(size=(count, dim)) for count in (30, 60, 3))
    labels = np.arange(30) % 4 - 1
    axes = figures.scatter(codes, labels, ["a", "b", "c"], draws=draws, heads=heads).axes[0]
    assert [text.get_text() for text in axes.texts] == ["0", "1", "2"]
    if dim == 2:
        np.testing.assert_array_equal([text.xy for text in axes.texts], heads)
    names = {text.get_text() for text in axes.get_legend().get_texts()}
    assert names == {"prior draws", "unknown", "a", "b", "c"}  # heads are named by their numbers
    assert not figures.scatter(codes, labels, ["a", "b", "c"], draws=draws).axes[0].texts


def test_style_mixing_is_a_table():
    picture = drawn(
        figures.style_mixing(flat(0.1, 0.2), flat(0.3, 0.4), flat(0.5, 0.6, 0.7, 0.8).reshape(2, 2, 3, 3, 1), "")
    )
    np.testing.assert_array_equal(picture[1::4, 1::4], [[1, 0.3, 0.4], [0.1, 0.5, 0.6], [0.2, 0.7, 0.8]])


def test_multi_resolution_halves_sizes():
    inputs, outputs = flat(0.1, 0.2, 0.3, 0.4, size=4), flat(0.5, 0.6, 0.7, 0.8, size=4)
    inputs[1, 0, 0] = 0.6  # averaged with three neighbours of 0.2
    picture = drawn(figures.multi_resolution(inputs, outputs, 2))
    assert picture.shape == (5, 9 + 1 + 5)  # two of 4 pixels, a gap, two of 2 pixels
    assert (picture[0, 0], picture[0, 5]) == (0.1, 0.5)
    np.testing.assert_allclose(picture[[0, 1, 3]][:, [10, 13]], [[0.3, 0.6], [0.2, 0.6], [0.3, 0.7]])
    for count, levels in ((2, 2), (7, 3)):
        with pytest.raises(InputError, match="levels need"):
            figures.multi_resolution(flat(*[0.0] * count, size=6), flat(*[0.0] * count, size=6), levels)


# === Of draws and numbers ===


def not_blank(figure):
    """As a PNG, read again: more than a white page."""
    with Image.open(io.BytesIO(figures.to_png(figure))) as picture:
        return np.ptp(np.asarray(picture.convert("L"))) > 100


@pytest.mark.parametrize(
    ("dim", "pairs"),
    [
        (1, [("a", "a")]),
        (2, [("a", "b")]),
        (3, [("a", "b"), ("a", "c"), ("b", "c")]),
        (5, [("a", "b"), ("a", "c"), ("b", "c"), ("a", "d"), ("b", "d"), ("c", "d")]),
    ],
)
@pytest.mark.parametrize("compared", [False, True])
def test_marginals_are_pairs_of_the_first_coordinates(dim, pairs, compared):
    samples, exact = np.random.default_rng(0).normal(size=(2, 40, dim))
    figure = figures.marginals(samples, "abcde"[:dim], reference=exact if compared else None)
    drawn = [axes for axes in figure.axes if axes.lines]
    assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in drawn] == pairs
    for axes, (x, y) in zip(drawn, pairs, strict=True):
        found = dict(zip([line.get_label() for line in axes.lines], axes.lines, strict=True))
        assert list(found) == ["reference", "draws from q"][not compared :]  # draws on top
        for name, points in {"draws from q": samples, "reference": exact}.items():
            if name in found:
                expected = points[:, ["abcde".index(x), "abcde".index(y)]].T
                np.testing.assert_array_equal(found[name].get_data(), expected)
    legend = {text.get_text() for text in figure.axes[0].get_legend().get_texts()}
    assert legend == {"draws from q", "reference"} - ({"reference"} if not compared else set())
    assert not_blank(figure)


def test_over_density_puts_draws_on_the_density_they_are_to_follow():
    """A density high where the first coordinate is, and the second is not."""
    samples = np.array([[3.0, -1.0], [-1.0, 2.0], [0.0, 0.0]])
    figure = figures.over_density(samples, lambda z: z[..., 0] - z[..., 1], ["first", "second"])
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("first", "second")
    assert axes.images[0].get_extent() == [-1.5, 3.5, -1.5, 2.5]
    assert axes.images[0].origin == "lower"
    shades = drawn(figure)  # rows from the lowest on
    assert shades[0, -1] == shades.max() == 1
    assert shades[-1, 0] == shades.min() < 0.01
    np.testing.assert_array_equal(axes.lines[0].get_data(), samples.T)
    assert not_blank(figure)


def test_curves_are_named_lines_on_a_logarithmic_axis_that_goes_on_below_0():
    lines = {"one": ([1, 2, 3], [1.0, 0.1, 0.01]), "two": ([1, 3], [2.0, -0.01])}
    figure = figures.curves({name: tuple(map(np.array, line)) for name, line in lines.items()}, "steps", "nats")
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()) == ("steps", "nats", "symlog")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one", "two"]
    for line, (at, values) in zip(axes.lines, lines.values(), strict=True):
        np.testing.assert_array_equal(line.get_data(), [at, values])
    assert len({line.get_color() for line in axes.lines}) == 2
    assert axes.get_ylim()[0] < -0.01
    assert not_blank(figure)
