"""Figures: arrays -> matplotlib figures. `of_model` makes the set that is looked at, from a model's verbs alone."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

COLOURS = ListedColormap(
    ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"]
)


def of_model(
    model: Any, images: np.ndarray, labels: np.ndarray, classes: Sequence[str], *, codes: np.ndarray
) -> dict[str, Figure]:
    """What shows how a model does: reconstructions, samples, the codes over prior draws, the prior's manifolds decoded.

    Args:
        model: anything with the verbs `call`, `decode`, `sample`, and a `prior`.
        images, labels: `[n, h, w, c]` and `[n]`, held out from training.
        codes: `[n, d]`, draws from the posterior at those images.
    """
    shown = images[:40]
    found = {
        "reconstructions": reconstructions(shown, np.asarray(model(shown))),
        "samples": samples(np.asarray(model.sample(100, seed=0))),
        "codes": scatter(codes, labels, classes, draws=_draws(model.prior, max(len(codes), 2500))),
    }
    for title, plane in model.prior.manifolds().items():
        decoded = np.asarray(model.decode(plane.reshape(-1, plane.shape[-1]).astype(np.float32)))
        found["manifold_" + title.replace(" ", "_")] = image_grid(
            _rows(decoded, plane.shape[1]), f"decoded prior: {title}"
        )
    return found


def image_grid(images: np.ndarray, title: str = "") -> Figure:
    """`[rows, columns, h, w, c]` images in [0, 1] as one picture with hairlines between."""
    rows, columns, height, width, channels = images.shape
    framed = np.ones((rows, columns, height + 1, width + 1, channels), images.dtype)
    framed[:, :, :-1, :-1] = images
    sheet = framed.transpose(0, 2, 1, 3, 4).reshape(rows * (height + 1), columns * (width + 1), channels)[:-1, :-1]
    inches = 8 / max(sheet.shape[:2])
    figure = Figure(figsize=(sheet.shape[1] * inches, sheet.shape[0] * inches + 0.3), layout="constrained")
    axes = figure.subplots()
    axes.imshow(sheet.squeeze(-1) if channels == 1 else sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
    return figure


def samples(images: np.ndarray, columns: int = 10) -> Figure:
    """`[n, h, w, c]` images in rows of ten."""
    return image_grid(_rows(images, columns), "decoded draws from the prior")


def reconstructions(inputs: np.ndarray, outputs: np.ndarray, columns: int = 10) -> Figure:
    """Inputs in the odd rows, what became of them in the row below."""
    pairs = np.stack([_rows(inputs, columns), _rows(outputs, columns)], axis=1)  # [rows, 2, columns, h, w, c]
    return image_grid(pairs.reshape(-1, *pairs.shape[2:]), "inputs (odd rows) and reconstructions")


def scatter(codes: np.ndarray, labels: np.ndarray, classes: Sequence[str], *, draws: np.ndarray) -> Figure:
    """Codes `[n, d]` coloured by label over prior draws `[m, d]` in grey; on the draws' two principal axes if d > 2."""
    names = ("first code axis", "second code axis")
    if codes.shape[1] > 2:
        centre = draws.mean(axis=0)
        axes_of_draws = np.linalg.svd(draws - centre, full_matrices=False)[2][:2]
        codes, draws = (codes - centre) @ axes_of_draws.T, (draws - centre) @ axes_of_draws.T
        names = ("first principal axis of the prior", "second principal axis of the prior")
    if codes.shape[1] == 1:
        codes, draws = (np.column_stack([points, np.zeros(len(points))]) for points in (codes, draws))
    figure = Figure(figsize=(8, 7.4), layout="constrained")
    axes = figure.subplots()
    size = np.clip(4000 / len(codes), 4, 20)  # points^2
    axes.scatter(draws[:, 0], draws[:, 1], s=size, c="#d0d0d0", linewidths=0, label="prior draws")
    for label in np.unique(labels):
        points = codes[labels == label]
        colour = COLOURS(label % COLOURS.N) if label >= 0 else "black"
        axes.scatter(points[:, 0], points[:, 1], s=size, color=colour, linewidths=0, label=class_name(label, classes))
    axes.set(xlabel=names[0], ylabel=names[1], title="codes of held-out images over prior draws", aspect="equal")
    if len(np.unique(labels)) <= 20:
        axes.legend(markerscale=2, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def class_name(label: int, classes: Sequence[str]) -> str:
    """The label's name; "unknown" for -1."""
    return classes[label] if 0 <= label < len(classes) else "unknown"


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG file's bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def sprite(images: np.ndarray) -> np.ndarray:
    """`[n, h, w, c]` -> one square sheet of ceil(sqrt(n))^2 places, filled row by row, for the Embedding Projector."""
    side = int(np.ceil(np.sqrt(len(images))))
    filled = np.zeros((side * side, *images.shape[1:]), images.dtype)
    filled[: len(images)] = images
    _, height, width, channels = filled.shape
    sheet = filled.reshape(side, side, height, width, channels).transpose(0, 2, 1, 3, 4)
    return sheet.reshape(side * height, side * width, channels)


def _rows(images: np.ndarray, columns: int) -> np.ndarray:
    """`[n, h, w, c]` -> `[rows, columns, h, w, c]`, the last row filled up with white."""
    missing = -len(images) % columns
    filled = np.concatenate([images, np.ones((missing, *images.shape[1:]), images.dtype)])
    return filled.reshape(-1, columns, *images.shape[1:])


def _draws(prior: Any, count: int) -> np.ndarray:
    return np.asarray(prior.sample(count, seed=np.array([0, 0], np.int32)))
