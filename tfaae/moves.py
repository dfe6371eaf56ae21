"""Pictures of moves in the code space: lines between codes, draws on their way to the mean code, mixed styles."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfaae import editing, figures, verbs

RANGES = {"coarse": (0, 4), "middle": (4, 8), "fine": (8, 18)}  # of styles (Karras et al. 2019, figure 3)


def of_model(model: Any, images: np.ndarray, labels: np.ndarray) -> dict[str, Figure]:
    """Every picture that a model's verbs allow, of its first images `[n, h, w, c]` with labels `[n]`."""
    found = {"interpolations": interpolations(model, images[:12], labels[:12])}
    if hasattr(model, "truncated"):
        found["truncated"] = truncations(model, count=6)
    if hasattr(model, "style_mix"):
        for name, (first, end) in RANGES.items():
            if first < model.slots:
                found[f"mixed_{name}"] = mixing(model, images[:10], first=first, end=min(end, model.slots))
    return found


def interpolations(model: Any, images: np.ndarray, labels: np.ndarray, steps: int = 9) -> Figure:
    """A row for every two images: the straight line between their codes, decoded."""
    first, second = images[::2][: len(images) // 2], images[1::2]
    between = editing.interpolate(model, first, second, steps, labels[::2][: len(first)])
    rows = np.concatenate([first[:, None], between, second[:, None]], axis=1)
    names = ["image", *(f"{t:.2f}" for t in np.linspace(0, 1, steps)), "image"]
    return figures.named_columns(rows, names, "straight lines between codes, decoded")


def truncations(model: Any, count: int, steps: int = 9, seed: int = 0) -> Figure:
    """A row for every draw: from the opposite of its code through the mean code to the code itself."""
    amounts, draws = np.linspace(-1, 1, steps), verbs.sample_codes(model, count, (seed, 0))
    images = editing.truncate(model, draws, amounts, verbs.any_labels(model, count))
    return figures.named_columns(images, [f"{amount:.2f}" for amount in amounts], "draws, truncated by psi")


def mixing(model: Any, images: np.ndarray, *, first: int, end: int) -> Figure:
    """A table: every other image, decoded, with styles `first` to before `end` of each of the images between."""
    codes = np.asarray(model.encode(images))
    kept, sources = codes[::2], codes[1::2]
    mixed = editing.mix_styles(model, kept, sources, first=first, end=end)
    title = f"images of the first column with styles {first} to {end - 1} of the first row"
    return figures.style_mixing(verbs.decode(model, kept), verbs.decode(model, sources), mixed, title)
