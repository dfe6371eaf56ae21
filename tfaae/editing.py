"""Moving in the code space and decoding what is there: arrays of images, which `tfaae.figures` draws.

The verbs asked of a model, and those that only some have, are told in `tfaae.verbs`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tfaae import codes, verbs
from tfaae.errors import InputError

HELD_OUT = 0.2  # share of the codes that a direction is judged by
SVM_C, SVM_ITERATIONS = 1.0, 10_000  # of the attribute directions of Pidhorskyi et al. 2020, ALAE


class Direction(NamedTuple):
    """A linear attribute of codes: `codes @ vector + bias` is the signed distance from where the attribute changes."""

    vector: np.ndarray  # [d], length 1
    bias: float
    accuracy_percent: float  # of held-out codes, told apart by the sign of that distance
    majority_percent: float  # of held-out codes told apart by the more common label, for comparison


def fit_direction(points: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> Direction:
    """The normal of the plane that a linear support vector machine puts between codes with an attribute and without.

    Args:
        points: `[n, d]` codes.
        labels: `[n]` booleans.
        seed: of the draw of the fifth that is held out.
    Raises:
        InputError: for labels that are not `[n]` booleans, or fewer than 5 codes on one side.
    """
    from sklearn.model_selection import train_test_split
    from sklearn.svm import LinearSVC

    labels = np.asarray(labels)
    if labels.shape != (len(points),) or labels.dtype != bool:
        raise InputError(f"expected a boolean for each of {len(points)} codes, got {labels.dtype} {list(labels.shape)}")
    fewer = min(labels.sum(), (~labels).sum())
    if fewer < 5:
        raise InputError(f"a direction needs 5 codes or more with the attribute, and without it; got {fewer} on a side")
    x, held_x, y, held_y = train_test_split(points, labels, test_size=HELD_OUT, random_state=seed, stratify=labels)
    machine = codes.fitted(LinearSVC(C=SVM_C, dual=False, max_iter=SVM_ITERATIONS), x, y)
    normal, length = machine.coef_[0], np.linalg.norm(machine.coef_[0])
    if not length > 0:
        raise InputError("the codes do not tell the attribute at all: the plane between them has no direction")
    return Direction(
        (normal / length).astype(np.float32),
        float(machine.intercept_[0] / length),
        float(100 * np.mean(machine.predict(held_x) == held_y)),
        float(100 * max(held_y.mean(), 1 - held_y.mean())),
    )


def edit(
    model: Any,
    images: np.ndarray,
    direction: Direction,
    amounts: Sequence[float] | np.ndarray,
    labels: np.ndarray | None = None,
) -> np.ndarray:
    """`[n, amounts, h, w, c]`: each image decoded from its code moved along a direction, by amounts in units of codes.

    Args:
        images: `[n, h, w, c]`.
        labels: `[n]`, for a model whose decoder reads them: they stay.
    """
    start = np.asarray(model.encode(images))
    if start.shape[1:] != direction.vector.shape:
        raise InputError(f"the direction is of codes {direction.vector.shape}, the model's are {start.shape[1:]}")
    moved = start[:, None] + np.reshape(amounts, (-1, 1)).astype(np.float32) * direction.vector
    return _decoded(model, moved, labels)


def interpolate(
    model: Any, first: np.ndarray, second: np.ndarray, steps: int, labels: np.ndarray | None = None
) -> np.ndarray:
    """`[n, steps, h, w, c]`: the straight line of codes from the first images `[n, h, w, c]` to the second, decoded.

    `labels` `[n]`, for a model whose decoder reads them, stay along a line.
    """
    if first.shape != second.shape or steps < 2:
        raise InputError(
            f"expected images of one shape and 2 steps or more, got {first.shape}, {second.shape}, {steps}"
        )
    start, end = (np.asarray(model.encode(images))[:, None] for images in (first, second))
    return _decoded(model, verbs.lerp(start, end, np.linspace(0, 1, steps, dtype=np.float32)[:, None]), labels)


def truncate(
    model: Any, points: np.ndarray, amounts: Sequence[float] | np.ndarray, labels: np.ndarray | None = None
) -> np.ndarray:
    """`[n, amounts, h, w, c]`: codes `[n, d]` decoded from where they come to on their way to the mean code.

    An amount psi makes mean + psi (code - mean) of a code (Karras et al. 2019, StyleGAN, appendix B): 1 is the code
    itself, 0 the mean, less than 0 its opposite. StyleALAE moves its 8 coarsest styles alone.

    Args:
        labels: `[n]`, for a model whose decoder reads them.
    """
    _check_labels(model, labels)
    points = np.asarray(points, np.float32)
    moved = (verbs.truncated(model, points, float(psi)) for psi in amounts)
    return np.stack([verbs.decode(model, codes_there, labels) for codes_there in moved], axis=1)


def mix_styles(model: Any, points: np.ndarray, sources: np.ndarray, *, first: int, end: int) -> np.ndarray:
    """`[n, m, h, w, c]`: n codes `[n, d]`, each with the styles from `first` to before `end` of m sources `[m, d]`.

    Raises:
        InputError: where a model has no `style_mix`, or not those styles.
    """
    if not hasattr(model, "style_mix"):
        raise InputError(f"{type(model).__name__} has no styles to mix; StyleALAE has")
    if not 0 <= first < end <= model.slots:
        raise InputError(f"expected styles within 0 to {model.slots}, got {first} to {end}")
    kept, taken = np.repeat(points, len(sources), axis=0), np.tile(sources, (len(points), 1))
    mixed = np.asarray(model.style_mix(kept, taken, first=first, end=end))
    return mixed.reshape(len(points), len(sources), *mixed.shape[1:])


def _check_labels(model: Any, labels: np.ndarray | None) -> None:
    if model.conditional and labels is None:
        raise InputError(f"a {type(model).__name__} decodes a style and a label: give labels [n]")


def _decoded(model: Any, points: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Codes `[n, m, d]`, with labels `[n]`, -> `[n, m, h, w, c]`."""
    _check_labels(model, labels)
    rows, columns = points.shape[:2]
    told = None if labels is None else np.repeat(labels, columns)
    images = verbs.decode(model, points.reshape(rows * columns, -1), told)
    return images.reshape(rows, columns, *images.shape[1:])
