"""Loads an export the way its users will, without tfaae: plain TensorFlow for the SavedModel, LiteRT for `.tflite`.

A script, run in a fresh process by `tfaae.export`: `python -I check_export.py FOLDER REFERENCE.npz` prints one JSON
object of the largest differences from the reference arrays, each relative to max(1, largest reference value).
"""

import json
import sys
from pathlib import Path

import numpy as np

TFLITE = {"encoder": "encode", "generator": "decode"}  # file: the signature that it holds
Arrays = dict[str, np.ndarray]


def saved_model(folder: Path, calls: dict[str, tuple[Arrays, Arrays]]) -> dict[str, float]:
    import tensorflow as tf

    signatures = tf.saved_model.load(str(folder)).signatures

    def ask(name, asked):
        return signatures[name](**{key: tf.constant(value) for key, value in asked.items()})

    found = {f"SavedModel {name}": compare(ask(name, asked), wanted) for name, (asked, wanted) in calls.items()}
    asked, wanted = first(*calls["encode"])
    return found | {"SavedModel encode, one image": compare(ask("encode", asked), wanted)}


def tflite(folder: Path, calls: dict[str, tuple[Arrays, Arrays]]) -> dict[str, float]:
    from ai_edge_litert.interpreter import Interpreter

    found = {}
    for file, name in TFLITE.items():
        ask = Interpreter(model_path=str(folder / f"{file}.tflite")).get_signature_runner(name)
        for what, (asked, wanted) in (("", calls[name]), (", one", first(*calls[name]))):
            found[f"{file}.tflite{what}"] = compare(ask(**asked), wanted)
    return found


def first(asked: Arrays, wanted: Arrays) -> tuple[Arrays, Arrays]:
    """The same call for one image."""
    return {key: value[:1] for key, value in asked.items()}, {key: value[:1] for key, value in wanted.items()}


def compare(got: dict, wanted: Arrays) -> float:
    return max(difference(np.asarray(got[key]), value) for key, value in wanted.items())


def difference(got: np.ndarray, wanted: np.ndarray) -> float:
    if got.shape != wanted.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.max(np.abs(got - wanted)) / max(1.0, np.max(np.abs(wanted))))


def read(path: str) -> dict[str, tuple[Arrays, Arrays]]:
    """{signature: (inputs, outputs)} from arrays called "signature/in/name" and "signature/out/name"."""
    calls: dict[str, tuple[Arrays, Arrays]] = {}
    for key, value in np.load(path).items():
        signature, way, name = key.split("/")
        calls.setdefault(signature, ({}, {}))[way == "out"][name] = value
    return calls


def main() -> None:
    folder, calls = Path(sys.argv[1]), read(sys.argv[2])
    differences = saved_model(folder, calls) | tflite(folder, calls)
    assert "tfaae" not in sys.modules
    print(json.dumps(differences))


if __name__ == "__main__":
    main()
