"""What an export answers to: named signatures, with named inputs and outputs and a free batch size.

A signature is there where the model has its verb: `encode_sample` of models whose posterior is `stochastic`, `classify`
of those that sort images, `style_mix` of `StyleMixing` ones.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import tensorflow as tf


@runtime_checkable
class StyleMixing(Protocol):
    """A model whose decoder reads the code anew for each of its styles, so that two codes can share a picture."""

    def style_mix(self, codes: tf.Tensor, sources: tf.Tensor, *, first: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
        """Images of codes `[n, d]` whose styles from `first` to before `end` are those of sources `[n, d]`."""


class Signature(NamedTuple):
    """A verb as a server knows it."""

    function: Callable[..., dict[str, tf.Tensor]]  # named inputs -> {output: tensor}
    inputs: tuple[tf.TensorSpec, ...]
    output: str


def signatures(model: Any) -> dict[str, Signature]:
    """{name: signature} of a `LatentModel`; `serving_default` is what the model is for."""
    images = tf.TensorSpec([None, *model.image_shape], tf.float32, "images")
    codes = tf.TensorSpec([None, model.code_dim], tf.float32, "codes")
    labels = tf.TensorSpec([None], tf.int32, "labels")
    count, seed = tf.TensorSpec([], tf.int32, "count"), tf.TensorSpec([2], tf.int32, "seed")
    found = {"encode": Signature(lambda images: {"codes": model.encode(images)}, (images,), "codes")}
    if model.stochastic:
        found["encode_sample"] = Signature(
            lambda images, seed: {"codes": model.encode_sample(images, seed=seed)}, (images, seed), "codes"
        )
    if model.conditional:
        found["decode"] = Signature(
            lambda codes, labels: {"images": model.decode(codes, labels)}, (codes, labels), "images"
        )
        found["reconstruct"] = Signature(
            lambda images, labels: {"images": model.reconstruct(images, labels)}, (images, labels), "images"
        )
        found["sample"] = Signature(
            lambda labels, seed: {"images": model.sample(labels=labels, seed=seed)}, (labels, seed), "images"
        )
    else:
        found["decode"] = Signature(lambda codes: {"images": model.decode(codes)}, (codes,), "images")
        found["reconstruct"] = Signature(lambda images: {"images": model.reconstruct(images)}, (images,), "images")
        found["sample"] = Signature(
            lambda count, seed: {"images": model.sample(count, seed=seed)}, (count, seed), "images"
        )
    if hasattr(model, "classify"):
        found["classify"] = Signature(
            lambda images: {"probabilities": model.classify(images)}, (images,), "probabilities"
        )
    if isinstance(model, StyleMixing):
        sources = tf.TensorSpec(codes.shape, tf.float32, "sources")
        first, end = tf.TensorSpec([], tf.int32, "first"), tf.TensorSpec([], tf.int32, "end")
        found["style_mix"] = Signature(
            lambda codes, sources, first, end: {"images": model.style_mix(codes, sources, first=first, end=end)},
            (codes, sources, first, end),
            "images",
        )
    return found | {"serving_default": found[model.serving_default]}


def requests(model: Any, images: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """{signature: {input: array}}: a request that each signature answers.

    Made of `[n, h, w, c]` images and, where decoding takes them, their `[n]` labels.
    """
    codes = np.asarray(model.encode(images))
    given = {
        "images": images,
        "codes": codes,
        "sources": codes[::-1],
        "labels": labels,
        "count": np.array(min(len(images), 16), np.int32),
        "first": np.array(0, np.int32),
        "end": np.array(2, np.int32),
        "seed": np.array([7, 1], np.int32),
    }
    return {name: {spec.name: given[spec.name] for spec in found.inputs} for name, found in signatures(model).items()}


def write(model: Any, folder: Path, names: Iterable[str] | None = None) -> None:
    """Writes signatures of a model, all of them without `names`, as a SavedModel that holds the weights they use.

    `keras.export.ExportArchive` would write every weight twice (docs/notes.md).
    """
    found = signatures(model)
    chosen = {name: found[name] for name in (found if names is None else names)}
    traced = {
        signature: tf.function(signature.function, autograph=False).get_concrete_function(*signature.inputs)
        for signature in dict.fromkeys(chosen.values())  # serving_default is another one, too
    }
    module = tf.Module()
    module.weights = list({id(one): one for function in traced.values() for one in function.variables}.values())
    tf.saved_model.save(module, str(folder), signatures={name: traced[one] for name, one in chosen.items()})
