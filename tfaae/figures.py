"""Figures: arrays -> matplotlib figures. `of_model` makes the set that is looked at, from a model's verbs alone."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from tfaae.errors import InputError

COLOURS = ListedColormap(
    ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"]
)


def of_model(
    model: Any, images: np.ndarray, labels: np.ndarray, classes: Sequence[str], *, codes: np.ndarray
) -> dict[str, Figure]:
    """What shows how a model does: reconstructions, samples, the codes over prior draws, the prior's manifolds decoded.

    Args:
        model: anything with the verbs `reconstruct`, `decode`, `sample`, `sample_codes` and `manifolds`; of some,
            `styles_by_content` or `heads` and `classify`.
        images, labels: `[n, h, w, c]` and `[n]`, held out from training.
        codes: `[n, d]`, draws from the posterior at those images.
    """
    shown = images[:40]
    found = {
        "reconstructions": reconstructions(shown, np.asarray(model.reconstruct(shown, labels[:40]))),
        "samples": samples(np.asarray(model.sample(100, seed=0))),
    }
    heads = np.asarray(model.heads()) if hasattr(model, "heads") else None
    draws = np.asarray(model.sample_codes(max(len(codes), 2500), seed=np.array([0, 0], np.int32)))
    plane = codes.shape[1] == 2  # the axes that are seen of longer codes hold nothing of the heads
    found["codes"] = scatter(codes, labels, classes, draws=draws, heads=heads if plane else None)
    if heads is not None and model.latent_dim == codes.shape[1] > 2:  # a style is a step away from a head
        points, on_circle = circle_projection(np.concatenate([codes, draws]), heads)
        names = ("first axis of the circle's plane", "second axis of the circle's plane")
        found["codes_on_circle"] = scatter(
            points[: len(codes)], labels, classes, draws=points[len(codes) :], heads=on_circle, names=names
        )
    if heads is not None:
        found["clusters"] = cluster_heads(np.asarray(model.decode(heads)), np.asarray(model.classify(images)), images)
    if model.conditional:  # a code alone is no picture
        found["style_by_content"] = style_by_content(model.styles_by_content(10), _names(classes, model.classes))
        return found
    for title, plane in model.manifolds().items():
        decoded = np.asarray(model.decode(plane.reshape(-1, plane.shape[-1]).astype(np.float32)))
        found["manifold_" + title.replace(" ", "_")] = image_grid(
            _rows(decoded, plane.shape[1]), f"decoded prior: {title}"
        )
    return found


def image_grid(images: np.ndarray, title: str = "") -> Figure:
    """`[rows, columns, h, w, c]` images in [0, 1] as one picture with hairlines between."""
    return _picture(contact_sheet(images), title)


def samples(images: np.ndarray, columns: int = 10, title: str = "decoded draws from the prior") -> Figure:
    """`[n, h, w, c]` images in rows of ten."""
    return image_grid(_rows(images, columns), title)


def reconstructions(inputs: np.ndarray, outputs: np.ndarray, columns: int = 10) -> Figure:
    """Inputs in the odd rows, what became of them in the row below."""
    pairs = np.stack([_rows(inputs, columns), _rows(outputs, columns)], axis=1)  # [rows, 2, columns, h, w, c]
    return image_grid(pairs.reshape(-1, *pairs.shape[2:]), "inputs (odd rows) and reconstructions")


def style_by_content(images: np.ndarray, classes: Sequence[str]) -> Figure:
    """`[styles, classes, h, w, c]`: a row one style, a column one class, named above (Makhzani et al. 2015, figure 7).

    Raises:
        InputError: unless there is one name a column.
    """
    return named_columns(images, classes, "one style a row, one class a column")


def named_columns(images: np.ndarray, names: Sequence[str], title: str) -> Figure:
    """`[rows, columns, h, w, c]` images with a name above each column.

    Raises:
        InputError: unless there is one name a column.
    """
    if images.shape[1] != len(names):
        raise InputError(f"expected a name for each of {images.shape[1]} columns, got {len(names)}")
    figure = image_grid(images, title)
    axes, width = figure.axes[0], images.shape[3]
    upright = max(map(len, names)) * len(names) > 80  # letters that fit side by side
    axes.set_axis_on()
    axes.xaxis.tick_top()
    axes.set_xticks(np.arange(len(names)) * (width + 1) + (width - 1) / 2, names, rotation=90 if upright else 0)
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def style_mixing(images: np.ndarray, sources: np.ndarray, mixed: np.ndarray, title: str) -> Figure:
    """Mixed images `[n, m, h, w, c]` as a table, images `[n, ...]` left of it, the sources of styles `[m, ...]` above.

    (Karras et al. 2019, StyleGAN, figure 3.)
    """
    above = np.ones((1, 1 + len(sources), *sources.shape[1:]), sources.dtype)
    above[0, 1:] = sources
    return image_grid(np.concatenate([above, np.concatenate([images[:, None], mixed], axis=1)]), title)


def multi_resolution(inputs: np.ndarray, outputs: np.ndarray, levels: int) -> Figure:
    """Pairs of image and reconstruction `[n, h, w, c]`: one, then two beside it of half the size, four of a quarter.

    (Pidhorskyi et al. 2020, ALAE, has its reconstructions of faces in such a figure.)

    Args:
        levels: how many sizes; n must be 2^levels - 1 or more.
    Raises:
        InputError: for too few pairs, or a size that cannot be halved as often.
    """
    needed, size = 2**levels - 1, inputs.shape[1]
    if len(inputs) < needed or size % 2 ** (levels - 1):
        raise InputError(
            f"{levels} levels need {needed} images of a size that {2 ** (levels - 1)} divides, got {len(inputs)} of "
            f"{size} pixels"
        )
    pairs = np.stack([inputs, outputs], axis=1)  # [n, 2, h, w, c]
    sheets = [contact_sheet(_halved(pairs[2**level - 1 : 2 ** (level + 1) - 1], level)) for level in range(levels)]
    height = max(map(len, sheets))  # hairlines add up
    padded = [np.pad(sheet, ((0, height - len(sheet)), (0, 0), (0, 0)), constant_values=1) for sheet in sheets]
    return _picture(_beside(padded, 1 + size // 5), "images and their reconstructions")


def _halved(images: np.ndarray, times: int) -> np.ndarray:
    """`[..., h, w, c]` averaged over squares of 2^times pixels a side."""
    *rows, height, width, channels = images.shape
    side = 2**times
    return images.reshape(*rows, height // side, side, width // side, side, channels).mean(axis=(-4, -2))


def cluster_heads(
    heads: np.ndarray, probabilities: np.ndarray, images: np.ndarray, *, columns: int = 12, seed: int = 0
) -> Figure:
    """A row a cluster: its decoded head, then images assigned to it (figure 9); in two panels from 25 clusters.

    Args:
        heads: `[k, h, w, c]`, one cluster each, decoded with style 0.
        probabilities: `[n, k]` q(y | x); an image belongs to the largest.
        images: `[n, h, w, c]`, not reconstructions.
        columns: images at most in a row, drawn at random among the cluster's; places that stay empty are white.
        seed: of that draw.
    """
    random, assigned = np.random.default_rng(seed), np.argmax(probabilities, axis=1)
    panels = 1 if len(heads) < 25 else 2
    length = -(-len(heads) // panels)  # rows of a panel; the last one may end in white
    rows = np.ones((panels * length, 1 + columns, *images.shape[1:]), images.dtype)
    rows[: len(heads), 0] = heads
    for cluster in range(len(heads)):
        members = random.permutation(np.flatnonzero(assigned == cluster))[:columns]
        rows[cluster, 1 : 1 + len(members)] = images[members]
    sheets = [_set_apart(part[:, :1], part[:, 1:]) for part in rows.reshape(panels, length, *rows.shape[1:])]
    figure = _picture(_beside(sheets, images.shape[2]), "cluster heads, and images assigned to each")
    for cluster in range(len(heads)):
        place, row = divmod(cluster, length)
        x, y = place * (sheets[0].shape[1] + images.shape[2]), (row + 0.5) * (images.shape[1] + 1)
        figure.axes[0].text(x - 2.5, y - 1, str(cluster), ha="right", va="center", fontsize=7)
    return figure


def with_nearest(samples: np.ndarray, neighbours: np.ndarray) -> Figure:
    """Rows of samples, each ending in the training image nearest to its last sample, set apart (figure 5).

    Args:
        samples: `[rows * columns, h, w, c]`, row by row.
        neighbours: `[rows, h, w, c]`: for samples `columns - 1`, `2 * columns - 1`, and so on.
    Raises:
        InputError: where the samples do not fill the rows.
    """
    if len(samples) % len(neighbours):
        raise InputError(f"expected as many samples in each of {len(neighbours)} rows, got {len(samples)} in all")
    rows = samples.reshape(len(neighbours), -1, *samples.shape[1:])
    title = "samples; last column: the training image nearest to the sample before it"
    return _picture(_set_apart(rows, neighbours[:, None]), title)


def circle_projection(codes: np.ndarray, heads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes `[n, d]` and heads `[k, d]` in the plane, `[n, 2]` and `[k, 2]`, by one linear map for both (figure 11d).

    The map is the least-squares one that sends head k to the k-th of evenly spaced points of a circle, whose radius is
    the heads' mean length: exactly, where heads are independent. For heads 10 I it is C / 10, C the points `[d, 2]`.
    """
    angles = 2 * np.pi * np.arange(len(heads)) / len(heads)
    circle = np.mean(np.linalg.norm(heads, axis=1)) * np.column_stack([np.cos(angles), np.sin(angles)])
    plane = np.linalg.lstsq(heads, circle, rcond=None)[0]
    return codes @ plane, heads @ plane


def scatter(
    codes: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    draws: np.ndarray,
    heads: np.ndarray | None = None,
    names: tuple[str, str] = ("first code axis", "second code axis"),
) -> Figure:
    """Codes `[n, d]` coloured by label over prior draws `[m, d]` in grey; on the draws' two principal axes if d > 2.

    `heads` `[k, d]`, where given, are numbered points above both; `names` are those of the axes of codes in the plane.
    """
    heads = np.zeros((0, codes.shape[1])) if heads is None else heads
    if codes.shape[1] > 2:
        centre = draws.mean(axis=0)
        axes_of_draws = np.linalg.svd(draws - centre, full_matrices=False)[2][:2]
        codes, draws, heads = ((points - centre) @ axes_of_draws.T for points in (codes, draws, heads))
        names = ("first principal axis of the prior", "second principal axis of the prior")
    if codes.shape[1] == 1:
        codes, draws, heads = (np.column_stack([points, np.zeros(len(points))]) for points in (codes, draws, heads))
    figure = Figure(figsize=(8, 7.4), layout="constrained")
    axes = figure.subplots()
    size = np.clip(4000 / len(codes), 4, 20)  # points^2
    axes.scatter(draws[:, 0], draws[:, 1], s=size, c="#d0d0d0", linewidths=0, label="prior draws")
    for label in np.unique(labels):
        points = codes[labels == label]
        colour = COLOURS(label % COLOURS.N) if label >= 0 else "black"
        axes.scatter(points[:, 0], points[:, 1], s=size, color=colour, linewidths=0, label=class_name(label, classes))
    for number, (x, y) in enumerate(heads):
        axes.plot(x, y, "o", markersize=13, color="white", markeredgecolor="black", zorder=3)
        axes.annotate(str(number), (x, y), ha="center", va="center", fontsize=8, zorder=4)
    axes.set(xlabel=names[0], ylabel=names[1], title="codes of held-out images over prior draws", aspect="equal")
    if len(np.unique(labels)) <= 20:
        axes.legend(markerscale=2, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def marginals(
    samples: np.ndarray, names: Sequence[str], *, reference: np.ndarray | None = None, most: int = 4
) -> Figure:
    """Draws `[n, d]` pair by pair of the first coordinates, over reference draws in grey (Mescheder et al., figure 5).

    Args:
        names: of the d coordinates.
        reference: `[m, d]` draws from the true posterior.
        most: coordinates shown.
    """
    shown = min(most, samples.shape[1])
    pairs = [(column, row) for row in range(shown) for column in range(row)] or [(0, 0)]
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.2 * rows), layout="constrained")
    for axes, (x, y) in zip(np.ravel(figure.subplots(rows, columns, squeeze=False)), pairs, strict=False):
        if reference is not None:
            axes.plot(reference[:, x], reference[:, y], ".", color="#bbbbbb", markersize=2, label="reference")
        axes.plot(samples[:, x], samples[:, y], ".", color=COLOURS(0), markersize=1.5, alpha=0.5, label="draws from q")
        axes.set_xlabel(names[x])
        axes.set_ylabel(names[y])
    figure.axes[0].legend(loc="upper right", markerscale=4)
    return figure


def over_density(samples: np.ndarray, log_density: Callable[[Any], Any], names: Sequence[str]) -> Figure:
    """Draws `[n, 2]` over the density, in grey, that they are to follow: `log_density` takes `[..., 2]`."""
    low, high = samples.min(axis=0) - 0.5, samples.max(axis=0) + 0.5
    x, y = (np.linspace(low[i], high[i], 200, dtype=np.float32) for i in (0, 1))
    values = np.asarray(log_density(np.stack(np.meshgrid(x, y), axis=-1)))
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    extent = (low[0], high[0], low[1], high[1])
    axes.imshow(np.exp(values - values.max()), origin="lower", extent=extent, cmap="Greys", aspect="auto")
    axes.plot(samples[:, 0], samples[:, 1], ".", color=COLOURS(0), markersize=1.5, alpha=0.5)
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    axes.set_title("draws from q over the target", fontsize=10)
    return figure


def curves(lines: dict[str, tuple[np.ndarray, np.ndarray]], x: str, y: str) -> Figure:
    """Lines by name, each `[n]` against `[n]`, y logarithmic above 0.1 and linear below: estimates may be under 0."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for number, (name, (at, values)) in enumerate(lines.items()):
        axes.plot(at, values, color=COLOURS(number), label=name)
    axes.set(xlabel=x, ylabel=y)
    axes.set_yscale("symlog", linthresh=0.1)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _names(classes: Sequence[str], count: int) -> list[str]:
    return [classes[label] if label < len(classes) else str(label) for label in range(count)]


def class_name(label: int, classes: Sequence[str]) -> str:
    """The label's name; "unknown" for -1."""
    return classes[label] if 0 <= label < len(classes) else "unknown"


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG file's bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")  # the layout alone may cut a legend
    return buffer.getvalue()


def sprite(images: np.ndarray) -> np.ndarray:
    """`[n, h, w, c]` -> one square sheet of ceil(sqrt(n))^2 places, filled row by row, for the Embedding Projector."""
    side = int(np.ceil(np.sqrt(len(images))))
    filled = np.zeros((side * side, *images.shape[1:]), images.dtype)
    filled[: len(images)] = images
    _, height, width, channels = filled.shape
    sheet = filled.reshape(side, side, height, width, channels).transpose(0, 2, 1, 3, 4)
    return sheet.reshape(side * height, side * width, channels)


def contact_sheet(images: np.ndarray) -> np.ndarray:
    """`[rows, columns, h, w, c]` -> one picture `[rows (h + 1) - 1, columns (w + 1) - 1, c]` with white hairlines."""
    rows, columns, height, width, channels = images.shape
    framed = np.ones((rows, columns, height + 1, width + 1, channels), images.dtype)
    framed[:, :, :-1, :-1] = images
    return framed.transpose(0, 2, 1, 3, 4).reshape(rows * (height + 1), columns * (width + 1), channels)[:-1, :-1]


def _beside(sheets: Sequence[np.ndarray], gap: int) -> np.ndarray:
    """Sheets `[h, w, c]` of one height from left to right, so many white pixels apart."""
    white = np.ones((len(sheets[0]), gap, sheets[0].shape[2]), sheets[0].dtype)
    return np.concatenate([part for sheet in sheets for part in (white, sheet)][1:], axis=1)


def _set_apart(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two sheets of `[rows, columns, h, w, c]` images with a fifth of an image between."""
    return _beside([contact_sheet(left), contact_sheet(right)], 1 + left.shape[3] // 5)


def _picture(sheet: np.ndarray, title: str) -> Figure:
    """A sheet `[h, w, c]` as a figure of 8 inches on its longer side."""
    inches = 8 / max(sheet.shape[:2])
    figure = Figure(figsize=(sheet.shape[1] * inches, sheet.shape[0] * inches + 0.3), layout="constrained")
    axes = figure.subplots()
    axes.imshow(
        sheet.squeeze(-1) if sheet.shape[2] == 1 else sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest"
    )
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
    return figure


def _rows(images: np.ndarray, columns: int) -> np.ndarray:
    """`[n, h, w, c]` -> `[rows, columns, h, w, c]`, the last row filled up with white."""
    missing = -len(images) % columns
    filled = np.concatenate([images, np.ones((missing, *images.shape[1:]), images.dtype)])
    return filled.reshape(-1, columns, *images.shape[1:])
