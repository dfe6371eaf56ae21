"""Export: a SavedModel for TensorFlow Serving and `.tflite` files, each compared with the Keras model first."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from tfaae import checksums, onnx_files, signatures, tflite, verification, warm_up
from tfaae.data import Data
from tfaae.errors import InputError, choose
from tfaae.models.base import Averages
from tfaae.verification import Report

LABELS = "labels.txt"  # names of the classes, in the order of `probabilities`
WEIGHTS = ("float32", "float16")  # how a SavedModel may keep its weights; it computes in float32 either way


def save(
    model: Any,
    folder: str | Path,
    data: Data,
    *,
    card: str = "",
    version: int | None = None,
    formats: Sequence[str] = tuple(tflite.FORMATS),
    weights: str = "float32",
    onnx: bool = False,
    keep_inexact: bool = False,
) -> tuple[Path, Report]:
    """Writes `folder/<version>/`: SavedModel with warm-up requests, `.tflite` files, names of the labels, a model card.

    Beside them a few requests with their answers (`check_export.REFERENCE`) and the checksums of all files, by which
    `tfaae verify` looks at an export again, wherever it went. The export is made beside its place, loaded again in a
    fresh process without this package, compared, and moved into place last: a failure leaves nothing behind, and what
    was there before is untouched. A model that computes in bfloat16 is exported in float32 (`in_float32`).

    Args:
        model: a trained `LatentModel`.
        folder: the model's, `saved_models/roll` say; TensorFlow Serving's base path, and its name the model's.
        data: test images to compare on; held-out ones, or else training images, that int8 is calibrated on.
        card: model card in Markdown; the tables of the comparison are added to it.
        version: None: the next free number.
        formats: of the `.tflite` files, from `tflite.FORMATS`.
        weights: of `WEIGHTS`, how the SavedModel keeps them; float16 takes half the size (`in_float16`).
        onnx: write encoder, generator and classifier as `.onnx` files too; needs the extra of that name.
        keep_inexact: keep `.tflite` files whose errors are above the limits (`verification.check`); the card says so.
    Returns:
        The version's folder, and what was compared.
    Raises:
        InputError: the version exists, or the export is not as good as the model (`verification.verify`).
    """
    folder, model = Path(folder), in_float32(model)
    check_free(folder, version)
    if onnx:
        onnx_files.check_installed()
    stored = in_float16(model) if choose("kind of weights", weights, WEIGHTS) == "float16" else model
    asked = verification.reference(stored, data.test)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as work:
            staged = Path(work) / "export"
            _write(stored, staged, folder.absolute().name, data, formats)
            if onnx:
                onnx_files.write(staged, signatures.signatures(stored))
            report = verification.verify(model, staged, asked, stored=stored, keep_inexact=keep_inexact)
            verification.keep_reference(staged, stored, data.test, report)
            (staged / "README.md").write_text(card + report.markdown() + _files(staged), encoding="utf-8")
            checksums.write(staged)
            check_free(folder, version)
            target = folder / str(version or _next_version(folder))
            os.replace(staged, target)
    except BaseException:
        for path in made:  # innermost first; only what this call made and left empty
            if not any(path.iterdir()):
                path.rmdir()
        raise
    return target, report


def check_free(folder: Path, version: int | None) -> None:
    """Raises an InputError where the version exists (None is the next free one), or where the folder is a file."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; choose a folder for the export")
    if version is not None and (folder / str(version)).exists():
        raise InputError(f"{folder / str(version)} exists; leave the version out for the next free one")


def in_float32(model: Any) -> Any:
    """The model itself, or one of its weights that computes in float32 where it uses bfloat16.

    TFLite knows no bfloat16; the weights are float32 in both.
    """
    if model.get_config().get("precision", "float32") == "float32":
        return model
    return _copy(model, precision="float32")


def in_float16(model: Any) -> Any:
    """A copy whose verbs answer with its weights rounded to float16, which is how an export of it keeps them.

    Kernels alone: biases and the like take no space. Values are cast to float32 where they are used.
    """
    copy = _copy(model)
    averages = copy.averages
    stored = Float16(averages.sources() if averages else [one for layer in copy.exported() for one in layer.weights])
    if averages:
        for (_, average), (_, kept) in zip(averages.pairs(), stored.pairs(), strict=True):
            kept.assign(average.value)
    copy.averages = stored
    return copy


class Float16(Averages):
    """The weights that answer the verbs, kernels in half the size."""

    def stored_as(self, source: keras.Variable) -> str:
        return "float16" if source.dtype == "float32" and len(source.shape) > 1 else source.dtype


def _copy(model: Any, **changes: Any) -> Any:
    """A model of the same weights, with other arguments."""
    copy = type(model).from_config(model.get_config() | changes)
    for own, given in zip(copy.weights, model.weights, strict=True):
        own.assign(given)
    if model.compiled:  # so that it can be evaluated
        copy.compile_from_config(model.get_compile_config())
    return copy


def _write(model: Any, folder: Path, name: str, data: Data, formats: Sequence[str]) -> None:
    signatures.write(model, folder)
    held_out = data.validation if len(data.validation) else data.train
    images = held_out.images[: tflite.CALIBRATION]
    tflite.write(folder, formats, signatures.requests(model, images, held_out.labels[: tflite.CALIBRATION]))
    warm_up.write(folder, name, signatures.requests(model, data.test.images[:1], data.test.labels[:1]))
    if model.classes and data.classes:
        (folder / LABELS).write_text("".join(f"{label}\n" for label in data.classes), encoding="utf-8")


def _next_version(folder: Path) -> int:
    return 1 + max((int(path.name) for path in folder.iterdir() if path.name.isdigit()), default=0)


def _files(folder: Path) -> str:
    """A section of the card: what lies in a folder, but for the card itself."""
    rows = "".join(
        f"| `{path.relative_to(folder).as_posix()}` | {path.stat().st_size / 1000:.1f} | `{checksums.of(path)}` |\n"
        for path in checksums.files(folder)
    )
    return f"""
## Files

`sha256sum --check {checksums.FILE}` or `tfaae verify` compares them, and this card, with what was written.

| file | kB | SHA-256 |
|---|---|---|
{rows}"""
