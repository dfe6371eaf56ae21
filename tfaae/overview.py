"""What an adversarial autoencoder is, as one picture made of what a trained one does."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from tfaae import figures

WIDTH, HEIGHT = 11.0, 6.8  # inches; places below are in inches too, from the lower left corner
MAP = (3.55, 1.95, 3.9, 3.9)  # left, bottom, width and height
MIDDLE, AXIS = WIDTH / 2, 3.9  # of the page, and of the row from image to image
ROWS, COLUMNS = 3, 24  # of the decoded path
GREY, INK = "#d0d0d0", "#333333"


def overview(
    images: np.ndarray,
    outputs: np.ndarray,
    codes: np.ndarray,
    labels: np.ndarray,
    *,
    draws: np.ndarray,
    walk: np.ndarray,
) -> Figure:
    """Images -> encoder -> codes over the prior's draws, beside the discriminator -> decoder -> images.

    Args:
        images, outputs: `[8, h, w, c]`, some images and their reconstructions.
        codes: `[n, 2]`, with labels `[n]` that colour them.
        draws: `[m, 2]` of the prior, in grey.
        walk: `[rows, columns, h, w, c]`, the prior decoded from one end to the other, row by row.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT))
    page = _axes(figure, (0, 0, WIDTH, HEIGHT))
    page.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
    for left, name, shown in ((0.1, "images x", images), (9.46, "reconstructions", outputs)):
        _pictures(figure, (left, AXIS - 1.44, 1.44, 2.88), shown.reshape(4, 2, *shown.shape[1:]))
        _text(page, left + 0.72, AXIS + 1.6, name)
    _codes(_axes(figure, MAP), codes, labels, draws)
    _text(page, MIDDLE, MAP[1] - 0.05, "codes z of test images, coloured by label, over draws from the prior p(z)")
    _box(page, (2.5, AXIS), (0.44, 0.95, 0.45), "encoder\nq(z|x)")
    _box(page, (8.5, AXIS), (0.44, 0.45, 0.95), "decoder\np(x|z)")
    _box(page, (MIDDLE, 6.45), (1.6, 0.25, 0.25), "discriminator: code or draw?")
    for start, end in ((1.58, 2.02), (2.98, 3.5), (7.5, 8.02), (8.98, 9.42)):
        _arrow(page, (start, AXIS), (end, AXIS))
    _arrow(page, (MIDDLE, 5.85), (MIDDLE, 6.18))
    _arrow(page, (MIDDLE - 1.62, 6.45), (2.5, AXIS + 0.75), "angle,angleA=180,angleB=90")
    _text(page, 3.15, 6.58, "teaches", 8)
    _pictures(figure, (0.1, 0.05, WIDTH - 0.2, 1.4), walk)
    _text(page, MIDDLE, 1.55, "the prior decoded from its centre outwards, row by row")
    return figure


def of_model(model: Any, images: np.ndarray, labels: np.ndarray) -> Figure:
    """`overview` of a model whose prior is a path through the plane, a swiss roll, with `[n, h, w, c]` test images.

    Codes of 2,500 of them are shown, and the first eight are reconstructed.
    """
    (path,) = model.manifolds().values()  # [rows, columns, 2]
    path = path.reshape(-1, 2)
    walk = np.asarray(model.decode(path[np.linspace(0, len(path) - 1, ROWS * COLUMNS).round().astype(int)]))
    with model.seeds.kept():
        codes = np.asarray(model.encode_sample(images[:2500]))
    return overview(
        images[:8],
        np.asarray(model.reconstruct(images[:8])),
        codes,
        labels[:2500],
        draws=np.asarray(model.sample_codes(2500, seed=np.array([0, 0], np.int32))),
        walk=walk.reshape(ROWS, COLUMNS, *walk.shape[1:]),
    )


def _axes(figure: Figure, place: tuple[float, float, float, float]) -> Axes:
    left, bottom, width, height = place
    axes = figure.add_axes((left / WIDTH, bottom / HEIGHT, width / WIDTH, height / HEIGHT))
    axes.set_axis_off()
    return axes


def _pictures(figure: Figure, place: tuple[float, float, float, float], images: np.ndarray) -> None:
    sheet = figures.contact_sheet(images)
    axes = _axes(figure, place)
    axes.imshow(sheet.squeeze(-1) if sheet.shape[-1] == 1 else sheet, cmap="gray", vmin=0, vmax=1)


def _codes(axes: Axes, codes: np.ndarray, labels: np.ndarray, draws: np.ndarray) -> None:
    axes.scatter(draws[:, 0], draws[:, 1], s=6, c=GREY, linewidths=0)
    axes.scatter(codes[:, 0], codes[:, 1], s=4, c=figures.COLOURS(labels % figures.COLOURS.N), linewidths=0)
    axes.set_aspect("equal")


def _box(page: Axes, centre: tuple[float, float], halves: tuple[float, float, float], name: str) -> None:
    """A network: half its width, and half its height at the left and at the right."""
    (x, y), (half, left, right) = centre, halves
    corners = [(x - half, y - left), (x - half, y + left), (x + half, y + right), (x + half, y - right)]
    page.add_patch(Polygon(corners, facecolor="#e4eef7", edgecolor=INK, linewidth=1))
    _text(page, x, y, name)


def _arrow(page: Axes, start: tuple[float, float], end: tuple[float, float], way: str = "arc3") -> None:
    style = {"arrowstyle": "-|>", "color": INK, "connectionstyle": way, "shrinkA": 0, "shrinkB": 0}
    page.annotate("", xy=end, xytext=start, arrowprops=style)


def _text(page: Axes, x: float, y: float, text: str, size: float = 10) -> None:
    page.text(x, y, text, ha="center", va="center", fontsize=size, color=INK)
