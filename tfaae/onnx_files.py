"""`.onnx` files of a SavedModel, for the users of other frameworks; an extra: `pip install 'tfaae[onnx]'`."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tfaae.check_export import PARTS
from tfaae.errors import InputError

OPSET = 18


def check_installed() -> None:
    """Raises an InputError where tf2onnx or ONNX Runtime is missing."""
    missing = [name for name in ("tf2onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"ONNX needs {' and '.join(missing)}: pip install 'tfaae[onnx]'")


def write(folder: Path, signatures: Iterable[str]) -> None:
    """Writes `encoder.onnx`, `generator.onnx` and, where `classify` is among the signatures, `classifier.onnx`.

    In processes of their own: tf2onnx changes settings of TensorFlow.

    Raises:
        InputError: a signature that tf2onnx cannot convert.
    """
    for part, signature in PARTS.items():
        if signature not in signatures:
            continue
        command = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", str(folder), "--tag", "serve"]
        command += ["--signature_def", signature, "--opset", str(OPSET), "--output", str(folder / f"{part}.onnx")]
        alone = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
        ran = subprocess.run(command, capture_output=True, text=True, check=False, env=alone)
        if ran.returncode:
            told = (ran.stderr.strip().splitlines() or [f"it ended with code {ran.returncode}"])[-1]
            raise InputError(f"signature {signature} does not convert to ONNX: {told}")
