"""Loads an export the way its users will, without tfaae: plain TensorFlow for the SavedModel, LiteRT for `.tflite`.

A script, run in a fresh process by `tfaae.export`: `python -I check_export.py FOLDER REFERENCE.npz` prints one JSON
object of the largest differences from the reference arrays, each relative to max(1, largest reference value).
"""

import json
import sys
from pathlib import Path

import numpy as np


def saved_model(folder: Path, reference: dict[str, np.ndarray]) -> dict[str, float]:
    import tensorflow as tf

    signatures = tf.saved_model.load(str(folder)).signatures
    images, codes = tf.constant(reference["images"]), tf.constant(reference["codes"])
    count, seed = tf.constant(len(reference["samples"])), tf.constant(reference["seed"])
    found = {
        "encode": (signatures["encode"](images=images)["codes"], reference["codes"]),
        "decode": (signatures["decode"](codes=codes)["images"], reference["decoded"]),
        "reconstruct": (signatures["reconstruct"](images=images)["images"], reference["decoded"]),
        "sample": (signatures["sample"](count=count, seed=seed)["images"], reference["samples"]),
        "serving_default": (signatures["serving_default"](images=images)["images"], reference["decoded"]),
        "encode, one image": (signatures["encode"](images=images[:1])["codes"], reference["codes"][:1]),
    }
    return {f"SavedModel {name}": difference(np.asarray(got), wanted) for name, (got, wanted) in found.items()}


def tflite(folder: Path, reference: dict[str, np.ndarray]) -> dict[str, float]:
    from ai_edge_litert.interpreter import Interpreter

    encoder = Interpreter(model_path=str(folder / "encoder.tflite")).get_signature_runner("encode")
    generator = Interpreter(model_path=str(folder / "generator.tflite")).get_signature_runner("decode")
    return {
        "encoder.tflite": difference(encoder(images=reference["images"])["codes"], reference["codes"]),
        "encoder.tflite, one image": difference(
            encoder(images=reference["images"][:1])["codes"], reference["codes"][:1]
        ),
        "generator.tflite": difference(generator(codes=reference["codes"])["images"], reference["decoded"]),
        "generator.tflite, one code": difference(
            generator(codes=reference["codes"][:1])["images"], reference["decoded"][:1]
        ),
    }


def difference(got: np.ndarray, wanted: np.ndarray) -> float:
    if got.shape != wanted.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.max(np.abs(got - wanted)) / max(1.0, np.max(np.abs(wanted))))


def main() -> None:
    folder, reference = Path(sys.argv[1]), dict(np.load(sys.argv[2]))
    differences = saved_model(folder, reference) | tflite(folder, reference)
    assert "tfaae" not in sys.modules
    print(json.dumps(differences))


if __name__ == "__main__":
    main()
