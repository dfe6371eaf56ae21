"""Is an export as good as its model? Compared in a fresh process, on real test images."""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfaae import check_export, fresh_process, metrics, signatures
from tfaae.errors import InputError
from tfaae.image_sources import Split

RECONSTRUCTION_LIMIT = 1.05  # of a smaller format's reconstruction error, times the model's
CLASSIFICATION_LIMIT = 0.3  # points of classification error that a smaller format may lose
ANSWERS = ("images", "probabilities")  # what `check_export` keeps of each format
Arrays = dict[str, np.ndarray]
COMPARED, RECONSTRUCTED, CLASSIFIED = 256, 2000, 10_000  # test images
KEPT = 4  # rows of the requests that stay in an export
ROUNDED = "SavedModel, weights in float16"


class File(NamedTuple):
    """One `.tflite` file."""

    file: str
    part: str
    format: str
    bytes: int
    milliseconds: float  # a call with one row on one thread
    difference: float  # largest, of the outputs, relative to max(1, largest value)


class Report(NamedTuple):
    """What was compared. Errors: {"reconstruction_error", and "error_percent" where the model has classes}."""

    differences: dict[str, float]  # of each signature of the SavedModel, as for `File`
    files: list[File]
    errors: dict[str, float]  # the Keras model's
    errors_of: dict[str, dict[str, float]]  # {TFLite format, or `ROUNDED`: errors}
    images: int  # on which errors were measured
    limit: float  # of the differences
    rounding: dict[str, float] = {}  # noqa: RUF012 (read only); what float16 weights change, signature by signature

    def markdown(self) -> str:
        """Sections of a model card."""
        rows = "".join(f"| {name} | {value:.1e} |\n" for name, value in self.differences.items())
        rounded = " (its weights rounded to float16)" if self.rounding else ""
        text = f"""
## Verified

Largest difference from the Keras model{rounded} on test images, relative to max(1, largest
value), as Python loads the SavedModel and in a session, which is how TensorFlow Serving runs it; at most
{self.limit:g} was allowed:

| what | difference |
|---|---|
{rows}"""
        text += self._rounding() if self.rounding else ""
        text += self._tflite() if self.files else ""
        return text + self._errors() if self.errors_of else text

    def _rounding(self) -> str:
        rows = "".join(f"| {name} | {value:.1e} |\n" for name, value in self.rounding.items())
        return f"""
## Weights in float16

The SavedModel keeps its kernels as float16, half the size, and computes in float32. Largest difference of that model
from the one that was trained, on the same requests; the limits are those of the errors below.

| signature | difference |
|---|---|
{rows}"""

    def _tflite(self) -> str:
        files = "".join(
            f"| `{file.file}` | {file.bytes / 1000:.1f} | {file.milliseconds:.3f} | {file.difference:.1e} |\n"
            for file in self.files
        )
        return f"""
## TFLite

Run on LiteRT. Latency: median of {check_export.TIMED} calls with one row on one thread, where the export was made.

| file | kB | ms | difference |
|---|---|---|---|
{files}"""

    def _errors(self) -> str:
        names = list(self.errors)
        rows = "".join(
            f"| {name} | {' | '.join(f'{errors[key]:.4g}' for key in names)} |\n"
            for name, errors in {"Keras": self.errors, **self.errors_of}.items()
        )
        classified = f"; classification on {self.images}" if "error_percent" in names else ""
        outside = "".join(f"\nOutside the limits, kept on request: {told}.\n" for told in outside_limits(self))
        return f"""
## What smaller formats lose

Errors on {min(self.images, RECONSTRUCTED)} test images, encoder and generator of one format together{classified}.
Allowed: {RECONSTRUCTION_LIMIT - 1:.0%} of the reconstruction error, {CLASSIFICATION_LIMIT} points of classification.

| format | {" | ".join(name.replace("_", " ") for name in names)} |
|---|{"---|" * len(names)}
{rows}{outside}"""


def verify(model: Any, folder: Path, asked: Arrays, *, stored: Any | None = None, keep_inexact: bool = False) -> Report:
    """Compares an export with its Keras model on what `reference` gives of it.

    Args:
        stored: the model as the SavedModel keeps it, `asked` being its reference, where that is not `model` itself.
    Raises:
        InputError: the export does not load; an output of it is not finite; the SavedModel, a float32 or an ONNX file
            differs by more than the model's `export_limit`; the reconstruction error of another format, or of rounded
            weights, is more than 5 % above the model's, or the classification error more than 0.3 points (unless
            `keep_inexact`).
    """
    with tempfile.TemporaryDirectory() as work:
        given, answers = Path(work) / "reference.npz", Path(work) / "answers.npz"
        np.savez(given, **asked)  # type: ignore[arg-type]
        found = fresh_process.check(folder, given, answers)
        with np.load(answers) as arrays:
            made = dict(arrays)
    formats = dict.fromkeys(key.partition("/")[0] for key in made)
    errors_of = {name: _errors(model, asked, {key: made.get(f"{name}/{key}") for key in ANSWERS}) for name in formats}
    rounding = {}
    if stored is not None and stored is not model:
        errors_of = {ROUNDED: _errors(model, asked, _of_model(stored, asked))} | errors_of
        rounding = _rounding(model, asked)
    report = Report(
        found["differences"],
        [File(**row) for row in found["files"]],
        _errors(model, asked, _of_model(model, asked)),
        errors_of,
        len(asked["images"]),
        model.export_limit,
        rounding,
    )
    check(report, keep_inexact=keep_inexact)
    return report


def check(report: Report, *, keep_inexact: bool = False) -> None:
    """Raises an InputError where a report is outside the limits; see `verify`."""
    exact = report.differences | {file.file: file.difference for file in report.files if file.format == "float32"}
    wrong = {name: value for name, value in exact.items() if not value <= report.limit}
    if wrong:
        raise InputError(f"the export differs from the Keras model by more than {report.limit:g}: {wrong}")
    broken = [file.file for file in report.files if not np.isfinite(file.difference)]
    if broken:
        raise InputError(f"{', '.join(broken)} of the export gives values that are not finite")
    outside = outside_limits(report)
    if outside and not keep_inexact:
        raise InputError(
            f"{'; '.join(outside)}; leave those formats out (--tflite, --weights), or keep them (--keep-inexact)"
        )


def outside_limits(report: Report) -> list[str]:
    """What the smaller formats lose beyond the limits, in words."""
    told = []
    for key, errors in report.errors_of.items():
        name = key if key == ROUNDED else f"TFLite {key}"
        before, after = report.errors["reconstruction_error"], errors["reconstruction_error"]
        if not after <= RECONSTRUCTION_LIMIT * before:
            told.append(
                f"{name} raises the reconstruction error by {after / before - 1:.1%}, from {before:.4g} to "
                f"{after:.4g} (limit {RECONSTRUCTION_LIMIT - 1:.0%})"
            )
        lost = errors.get("error_percent", 0.0) - report.errors.get("error_percent", 0.0)
        if not lost <= CLASSIFICATION_LIMIT:
            told.append(
                f"{name} raises the classification error by {lost:.2f} points, to {errors['error_percent']:.2f} "
                f"% (limit {CLASSIFICATION_LIMIT})"
            )
    return told


def reference(model: Any, test: Split) -> Arrays:
    """What an export is asked, and what it is to answer: arrays as `check_export` reads them, of test images.

    Raises an InputError where an answer of the model is not finite.
    """
    many = test.take(slice(CLASSIFIED if model.classes and hasattr(model, "classify") else RECONSTRUCTED))
    labels = many.labels if model.classes else np.zeros(len(many), np.int32)
    arrays = {"images": many.images, "labels": labels, "reconstructed": np.array(RECONSTRUCTED)}
    return arrays | _calls(model, test.take(slice(COMPARED)))


def keep_reference(folder: Path, model: Any, test: Split, report: Report) -> None:
    """Writes a few requests into an export, with the answers and by how much these may be missed.

    A `.tflite` file may be four times as far off as it was, fewer rows having a smaller largest value.
    """
    limits = {f"limit {file.file}": max(report.limit, 4 * file.difference) for file in report.files}
    arrays = {"limit": report.limit} | limits | _calls(model, test.take(slice(KEPT)))
    np.savez_compressed(folder / check_export.REFERENCE, **arrays)  # type: ignore[arg-type]


def _calls(model: Any, test: Split) -> Arrays:
    """A request to each signature, "signature/in/name", and its answer, "signature/out/name"."""
    arrays: Arrays = {}
    found = signatures.signatures(model)
    for name, inputs in signatures.requests(model, test.images, test.labels).items():
        arrays |= {f"{name}/in/{key}": value for key, value in inputs.items()}
        arrays |= {f"{name}/out/{key}": value for key, value in _answers(found[name], inputs).items()}
    wrong = [key for key, value in arrays.items() if not np.isfinite(value).all()]
    if wrong:
        name, _, output = wrong[0].split("/")
        raise InputError(f"the model's {output} of {name} are not all finite: train it anew before exporting it")
    return arrays


def _answers(signature: signatures.Signature, inputs: Arrays) -> Arrays:
    with tf.device("CPU"):  # a GPU's rounded products differ by more than the limit
        answers = signature.function(**{key: tf.constant(value) for key, value in inputs.items()})
    return {key: np.asarray(value) for key, value in answers.items()}


def _rounding(model: Any, asked: Arrays) -> dict[str, float]:
    """How far answers of a model with rounded weights are from the model's own, by signature."""
    found = {}
    for name, signature in signatures.signatures(model).items():
        inputs = {key.split("/")[2]: value for key, value in asked.items() if key.startswith(f"{name}/in/")}
        own = _answers(signature, inputs)
        found[name] = check_export.compare({key: asked[f"{name}/out/{key}"] for key in own}, own)
    return found


def _of_model(model: Any, asked: Arrays) -> dict[str, np.ndarray | None]:
    some = asked["images"][:RECONSTRUCTED], asked["labels"][:RECONSTRUCTED]
    probabilities = metrics.batched(model.classify, asked["images"]) if hasattr(model, "classify") else None
    return {"images": metrics.batched(model.reconstruct, *some), "probabilities": probabilities}


def _errors(model: Any, asked: Arrays, made: dict[str, np.ndarray | None]) -> dict[str, float]:
    images, probabilities = made["images"], made["probabilities"]
    assert images is not None
    found = {"reconstruction_error": metrics.reconstruction_error(asked["images"][:RECONSTRUCTED], images)}
    if model.classes and probabilities is not None and (asked["labels"] >= 0).any():
        found["error_percent"] = metrics.classification_error_percent(probabilities, asked["labels"])
    return found
