"""What metrics and pictures in the code space ask of a model, beyond `encode`, `decode`, `reconstruct` and `sample`.

Every image model of the package answers these; a model says more of itself by methods of its own:

- `draw_codes(count, *, seed)` -> `[count, code_dim]`, where codes are not the prior's draws but made of them (ALAE:
  w = F(z)).
- `average_code` -> `[code_dim]`, where it keeps the mean of its codes (StyleALAE's w average).
- `hidden(images)` -> `[n, units]`: the encoder's last layer before the code.
- `style_mix(coarse, fine, crossover)` -> `[n, h, w, c]`: decodes codes `[n, code_dim]`, whose first `crossover` styles
  are those of `coarse` and the others those of `fine`; `styles`, how many there are.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np


def draw_codes(model: Any, count: int, seed: Sequence[int]) -> np.ndarray:
    """`[count, code_dim]` codes as `sample` decodes them; `seed` is a pair of integers."""
    draws = getattr(model, "draw_codes", None) or model.prior.sample
    return np.asarray(draws(count, seed=np.array(seed, np.int32)))


def any_labels(model: Any, count: int) -> np.ndarray | None:
    """`[count]` labels, each class in turn, for a model whose decoder reads one; None for others."""
    return np.arange(count, dtype=np.int32) % model.classes if model.conditional else None


def decode(model: Any, codes: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
    """`[n, code_dim]` codes -> `[n, h, w, c]` images; `labels` `[n]` count where the decoder reads one."""
    return np.asarray(model.decode(codes, labels) if model.conditional else model.decode(codes))


def average_code(model: Any) -> np.ndarray:
    """`[code_dim]`: the model's own average of its codes, or the mean of 10,000 draws."""
    own = getattr(model, "average_code", None)
    return draw_codes(model, 10_000, (0, 0)).mean(axis=0) if own is None else np.asarray(own)


def lerp(first: np.ndarray, second: np.ndarray, t: np.ndarray | float) -> np.ndarray:
    """From `first` at t = 0 to `second` at t = 1, in a straight line."""
    return first + t * (second - first)
