"""An export as an object with the verbs of its model, answered by the SavedModel alone."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfaae import client, gallery
from tfaae.errors import InputError
from tfaae.export import LABELS


def load(name: str | Path) -> "ExportedModel":
    """A model of the gallery (`tfaae models` lists them), or the export in a folder, of its newest version.

    Raises:
        InputError: there is none, or it does not load.
    """
    return ExportedModel(gallery.find(name))


class ExportedModel:
    """Verbs as those of `LatentModel`, arrays in and arrays out. A verb that the export lacks is an InputError.

    Args:
        folder: of one version.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        try:
            self._loaded = tf.saved_model.load(str(folder))
        except Exception as error:  # TensorFlow has several for a damaged file
            told = str(error).strip().splitlines() or [type(error).__name__]
            raise InputError(f"{folder} does not load: {told[0][:300]}; `tfaae verify` compares its files") from error
        self._functions = self._loaded.signatures
        self.signatures = {name: _described(function) for name, function in self._functions.items()}
        labels = folder / LABELS
        self.classes = tuple(labels.read_text(encoding="utf-8").splitlines()) if labels.is_file() else ()

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(height, width, channels)."""
        return self.signatures["encode"].inputs["images"].shape[1:]  # type: ignore[return-value]

    @property
    def code_dim(self) -> int:
        """Length of what `encode` gives and `decode` takes."""
        return self.signatures["decode"].inputs["codes"].shape[1]  # type: ignore[return-value]

    @property
    def conditional(self) -> bool:
        """Whether decoding takes a label beside the code."""
        return "labels" in self.signatures["decode"].inputs

    def encode(self, images) -> np.ndarray:
        """`[n, h, w, c]` images in [0, 1] -> `[n, code_dim]` codes, the posterior's mode: no draw."""
        return self._ask("encode", images=images)

    def encode_sample(self, images, *, seed: Any = None) -> np.ndarray:
        """`[n, h, w, c]` images -> `[n, code_dim]` codes, one draw each from a stochastic posterior."""
        return self._ask("encode_sample", images=images, seed=_seed(seed))

    def decode(self, codes, labels=None) -> np.ndarray:
        """`[n, code_dim]` codes -> `[n, h, w, c]` images in [0, 1]; `labels` `[n]` where the model is `conditional`."""
        return self._ask("decode", codes=codes, **self._labels(labels))

    def reconstruct(self, images, labels=None) -> np.ndarray:
        """`[n, h, w, c]` images -> decode(encode(images))."""
        return self._ask("reconstruct", images=images, **self._labels(labels))

    def sample(self, count: int | None = None, *, labels=None, seed: Any = None) -> np.ndarray:
        """`[count, h, w, c]` images decoded from draws of the prior.

        Args:
            count: how many. Without labels, a `conditional` model gives each class in turn.
            labels: `[count]`, of a `conditional` model.
            seed: an integer or `[2]` int32; None takes a random one.
        """
        if not self.conditional:
            return self._ask("sample", count=count, seed=_seed(seed), **self._labels(labels))
        if labels is None and count is not None:
            labels = np.arange(count, dtype=np.int32) % len(self.classes)
        return self._ask("sample", seed=_seed(seed), **self._labels(labels))

    def classify(self, images) -> np.ndarray:
        """`[n, h, w, c]` images -> `[n, k]` probabilities of classes or clusters."""
        return self._ask("classify", images=images)

    def style_mix(self, codes, sources, *, first: int, end: int) -> np.ndarray:
        """Images of codes `[n, d]` whose styles from `first` to before `end` are those of sources `[n, d]`."""
        return self._ask("style_mix", codes=codes, sources=sources, first=first, end=end)

    def _labels(self, labels: Any) -> dict[str, Any]:
        return {} if labels is None else {"labels": labels}

    def _ask(self, name: str, **given: Any) -> np.ndarray:
        if name not in self.signatures:
            raise InputError(f"{self.folder} has no {name}; it has {', '.join(sorted(self.signatures))}")
        inputs = client.checked(
            self.signatures[name], {key: value for key, value in given.items() if value is not None}
        )
        (answer,) = self._functions[name](**{key: tf.constant(value) for key, value in inputs.items()}).values()
        return answer.numpy()


def _seed(seed: Any) -> Any:
    if seed is None:
        return np.random.default_rng().integers(2**31, size=2, dtype=np.int32)
    return np.array([seed, 0]) if np.ndim(seed) == 0 else seed


def _described(function: Any) -> client.Signature:
    def tensors(specs: dict[str, Any]) -> dict[str, client.Tensor]:
        return {
            name: client.Tensor(np.dtype(spec.dtype.as_numpy_dtype), tuple(spec.shape)) for name, spec in specs.items()
        }

    return client.Signature(tensors(function.structured_input_signature[1]), tensors(function.structured_outputs))
