"""Export: a SavedModel for TensorFlow Serving and two `.tflite` files, each compared with the Keras model first."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfaae import check_export
from tfaae.errors import InputError


def save(model: Any, folder: str | Path, images: np.ndarray, *, card: str = "") -> tuple[Path, dict[str, float]]:
    """Writes `folder/<version>/`: SavedModel, `encoder.tflite`, `generator.tflite`, a model card.

    The version is the next free number. The export is made beside its place, loaded again in a fresh process without
    this package, compared, and moved into place last: a failure leaves nothing behind.

    Args:
        model: a trained `LatentModel`.
        folder: the model's, `saved_models/roll` say; TensorFlow Serving's base path.
        images: `[n, h, w, c]` real test images to compare on.
        card: model card in Markdown; the table of differences is added to it.
    Returns:
        The version's folder, and the largest difference for each thing compared.
    Raises:
        InputError: where a difference exceeds the model's `export_limit`.
    """
    folder = Path(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as work:
            staged = Path(work) / "export"
            _write(model, staged)
            differences = verify(model, staged, images)
            (staged / "README.md").write_text(card + _table(differences), encoding="utf-8")
            target = folder / str(_next_version(folder))
            os.replace(staged, target)
    except BaseException:
        for path in made:  # innermost first; only what this call made and left empty
            if not any(path.iterdir()):
                path.rmdir()
        raise
    return target, differences


def verify(model: Any, folder: Path, images: np.ndarray) -> dict[str, float]:
    """The largest differences between an export and the Keras model, measured in a fresh process.

    Raises an InputError above the model's `export_limit`.
    """
    with tempfile.TemporaryDirectory() as work:
        reference = Path(work) / "reference.npz"
        np.savez(reference, **_reference(model, images))  # type: ignore[arg-type]
        command = [sys.executable, "-I", check_export.__file__, str(folder), str(reference)]
        alone = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}  # this process may hold the GPU's memory
        ran = subprocess.run(command, capture_output=True, text=True, check=False, env=alone)
    if ran.returncode:
        told = ran.stderr.strip().splitlines() or [f"it ended with code {ran.returncode}"]
        raise InputError(f"the export does not load in a fresh process: {told[-1]}")
    differences = json.loads(ran.stdout.splitlines()[-1])
    wrong = {name: value for name, value in differences.items() if not value <= model.export_limit}
    if wrong:
        raise InputError(f"the export differs from the Keras model by more than {model.export_limit:g}: {wrong}")
    return differences


def _reference(model: Any, images: np.ndarray) -> dict[str, np.ndarray]:
    """`{"signature/in or out/name": array}`: what each signature is asked, and what the Keras model answers."""
    given = {
        "images": images,
        "count": np.int32(16),
        "seed": np.array([7, 1], np.int32),
        "labels": (np.arange(len(images)) % max(model.classes, 1)).astype(np.int32),
    }
    arrays: dict[str, np.ndarray] = {}
    with tf.device("CPU"):  # a GPU's rounded products differ by more than the limit
        given["codes"] = np.asarray(model.encode(images))
        for name, (function, specs) in signatures(model).items():
            asked = {spec.name: given[spec.name] for spec in specs}
            answers = function(**{key: tf.constant(value) for key, value in asked.items()})
            arrays |= {f"{name}/in/{key}": value for key, value in asked.items()}
            arrays |= {f"{name}/out/{key}": np.asarray(value) for key, value in answers.items()}
    return arrays


def _write(model: Any, folder: Path) -> None:
    archive = keras.export.ExportArchive()
    for layer in model.exported():
        archive.track(layer)
    for name, (function, inputs) in signatures(model).items():
        archive.add_endpoint(name, function, input_signature=inputs)
    archive.write_out(str(folder), verbose=False)
    for name, signature in check_export.TFLITE.items():
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=[signature])
        (folder / f"{name}.tflite").write_bytes(converter.convert())


def signatures(model: Any) -> dict[str, tuple[Callable, list[tf.TensorSpec]]]:
    """What the SavedModel answers to: {name: (function, named inputs)}. Batch sizes are free; outputs are named too."""
    images = tf.TensorSpec([None, *model.image_shape], tf.float32, "images")
    codes = tf.TensorSpec([None, model.code_dim], tf.float32, "codes")
    labels = tf.TensorSpec([None], tf.int32, "labels")
    count, seed = tf.TensorSpec([], tf.int32, "count"), tf.TensorSpec([2], tf.int32, "seed")
    found: dict[str, tuple[Callable, list[tf.TensorSpec]]] = {
        "encode": (lambda images: {"codes": model.encode(images)}, [images])
    }
    if model.conditional:
        found["decode"] = (lambda codes, labels: {"images": model.decode(codes, labels)}, [codes, labels])
        found["reconstruct"] = (lambda images, labels: {"images": model.reconstruct(images, labels)}, [images, labels])
        found["sample"] = (lambda labels, seed: {"images": model.sample(labels=labels, seed=seed)}, [labels, seed])
    else:
        found["decode"] = (lambda codes: {"images": model.decode(codes)}, [codes])
        found["reconstruct"] = (lambda images: {"images": model.reconstruct(images)}, [images])
        found["sample"] = (lambda count, seed: {"images": model.sample(count, seed=seed)}, [count, seed])
    if hasattr(model, "classify"):
        found["classify"] = (lambda images: {"probabilities": model.classify(images)}, [images])
    return found | {"serving_default": found["reconstruct"]}


def _next_version(folder: Path) -> int:
    return 1 + max((int(path.name) for path in folder.iterdir() if path.name.isdigit()), default=0)


def _table(differences: dict[str, float]) -> str:
    rows = "".join(f"| {name} | {value:.1e} |\n" for name, value in differences.items())
    return f"""
## Verified

Largest difference from the Keras model on test images, relative to max(1, largest value):

| what | difference |
|---|---|
{rows}"""
