"""The verbs of a model as metrics and pictures in the code space use them: arrays in, arrays out.

Every image model of the package has `encode`, `decode`, `reconstruct`, `sample`, `sample_codes` and `conditional`. Some
say more of themselves:

- `truncated(codes, psi)`: codes, or what `decode` takes for codes, drawn towards their mean (ALAE, StyleALAE).
- `style_mix(codes, sources, *, first, end)` -> images of codes `[n, d]` whose styles from `first` to before `end` are
  those of sources `[n, d]`; `slots`, how many styles there are (StyleALAE).
- `encoder.features(images)` -> `[n, units]`: the encoder's last hidden layer (ALAE).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf


def sample_codes(model: Any, count: int, seed: Sequence[int]) -> np.ndarray:
    """`[count, d]` codes as `sample` decodes them; `seed` is a pair of integers."""
    return np.asarray(model.sample_codes(count, seed=np.array(seed, np.int32)))


def any_labels(model: Any, count: int) -> np.ndarray | None:
    """`[count]` labels, each class in turn, for a model whose decoder reads one; None for others."""
    return np.arange(count, dtype=np.int32) % model.classes if model.conditional else None


def decode(model: Any, codes: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
    """`[n, d]` codes -> `[n, h, w, c]` images; `labels` `[n]` count where the decoder reads one."""
    return np.asarray(model.decode(codes, labels) if model.conditional else model.decode(codes))


def truncated(model: Any, codes: np.ndarray, psi: float) -> np.ndarray:
    """Codes `[n, d]` drawn towards their mean, mean + psi (code - mean), as the model does it.

    Where it does not say how, the mean is that of 10,000 draws of codes.
    """
    if hasattr(model, "truncated"):
        return np.asarray(model.truncated(tf.convert_to_tensor(codes), psi))
    return lerp(sample_codes(model, 10_000, (0, 0)).mean(axis=0), codes, psi)


def hidden(model: Any) -> Callable[[np.ndarray], Any] | None:
    """Images -> the encoder's last hidden layer, running averages of weights included; None where it does not tell."""
    if not hasattr(model.encoder, "features"):
        return None

    def features(images: np.ndarray) -> Any:
        with model.averaged():
            return model.encoder.features(images)

    return features


def lerp(first: np.ndarray, second: np.ndarray, t: np.ndarray | float) -> np.ndarray:
    """From `first` at t = 0 to `second` at t = 1, in a straight line."""
    return first + t * (second - first)
