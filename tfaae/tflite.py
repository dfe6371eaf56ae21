"""`.tflite` files of a SavedModel: encoder, generator and classifier, in four number formats."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfaae.check_export import PARTS, file_name
from tfaae.errors import InputError, choose
from tfaae.quiet import stderr_aside

# Inputs and outputs are float32 in all of them.
FORMATS = {
    "float32": "weights and arithmetic of the SavedModel",
    "float16": "weights stored in half the size, arithmetic in float32 where the processor has no better",
    "dynamic": "int8 weights, activations quantised batch by batch",
    "int8": "int8 weights and activations, ranges calibrated on held-out images",
}
CALIBRATION = 500  # held-out images that the ranges of int8 activations are taken from


def write(folder: Path, formats: Sequence[str], calibration: Mapping[str, Mapping[str, np.ndarray]]) -> list[Path]:
    """Writes `encoder.tflite`, `encoder_int8.tflite` ... beside the SavedModel in `folder`.

    Built-in operations alone: what they cannot do is refused, so that any LiteRT runtime takes the files.

    Args:
        formats: of `FORMATS`.
        calibration: {signature: {input: array}}; a part is written where its signature is in it.
    Raises:
        InputError: an unknown format, or a model that does not convert.
    """
    written = []
    for name in formats:
        choose("TFLite format", name, FORMATS)
        for part, signature in PARTS.items():
            if signature in calibration:
                path = folder / file_name(part, name)
                path.write_bytes(_convert(folder, signature, name, calibration[signature]))
                written.append(path)
    return written


def _convert(folder: Path, signature: str, name: str, calibration: Mapping[str, np.ndarray]) -> bytes:
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=[signature])
    if name != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if name == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if name == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: _one_by_one(signature, calibration)
    failure = None
    with stderr_aside(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the calibrator uses an interpreter that TensorFlow deprecates
        try:
            return converter.convert()
        except Exception as error:  # the converter has several of its own
            failure = error
    told = (str(failure).strip().splitlines() or [repr(failure)])[0][:300]
    raise InputError(f"signature {signature} does not convert to TFLite {name}: {told}") from failure


def _one_by_one(signature: str, inputs: Mapping[str, np.ndarray]) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    rows = len(next(iter(inputs.values())))
    for row in range(min(rows, CALIBRATION)):
        yield signature, {key: value[row : row + 1] for key, value in inputs.items()}
