"""Loads an export the way its users will, without tfaae: plain TensorFlow, LiteRT and, where asked, ONNX Runtime.

A script: `python -I check_export.py FOLDER` asks an export what its `reference.npz` holds, and prints one JSON object,
`{"differences": {what: number}, "files": [one row a .tflite file], "outside": [what misses its limit, in words]}`; its
exit code is 1 where something does. Differences from the reference arrays are the largest, relative to max(1, largest
reference value). TensorFlow alone is enough: what LiteRT or ONNX Runtime would read is left out where they are missing.

A reference holds "signature/in/name" and "signature/out/name" for each call, "limit" and "limit <file>". An export in
the making is asked another one, by `FOLDER REFERENCE.npz ANSWERS.npz`: no limits, but test images and labels, and
ANSWERS.npz is written, what the `.tflite` files make of those.
"""

import importlib.util
import json
import sys
import time
from pathlib import Path

import numpy as np

PARTS = {"encoder": "encode", "generator": "decode", "classifier": "classify"}  # file: the signature that it holds
REFERENCE = "reference.npz"  # of an export: requests, answers and limits
TIMED = 100  # calls that a latency is the median of
Arrays = dict[str, np.ndarray]
Calls = dict[str, tuple[Arrays, Arrays]]  # {signature: (inputs, outputs)}


def file_name(part: str, number_format: str) -> str:
    """encoder, int8 -> encoder_int8.tflite; float32 goes without saying."""
    return f"{part}.tflite" if number_format == "float32" else f"{part}_{number_format}.tflite"


def format_of(path: Path) -> tuple[str, str]:
    """The part and the number format of a file."""
    part, _, number_format = path.stem.partition("_")
    return part, number_format or "float32"


def files(folder: Path, part: str = "") -> list[Path]:
    """The `.tflite` files of a part (by default of all), the largest format first."""
    return sorted(folder.glob(f"{part}*.tflite"), key=lambda path: (format_of(path)[0], -path.stat().st_size))


# === SavedModel: as Python loads it, and in a session, which is how TensorFlow Serving runs it ===


def saved_model(folder: Path, calls: Calls) -> dict[str, float]:
    import tensorflow as tf

    signatures = tf.saved_model.load(str(folder)).signatures

    def ask(name, asked):
        return signatures[name](**{key: tf.constant(value) for key, value in asked.items()})

    found = {f"SavedModel {name}": compare(ask(name, asked), wanted) for name, (asked, wanted) in calls.items()}
    asked, wanted = first(*calls["encode"])
    return found | {"SavedModel encode, one image": compare(ask("encode", asked), wanted)}


def session(folder: Path, calls: Calls) -> dict[str, float]:
    import tensorflow as tf

    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    found = {}
    with tf.Graph().as_default(), tf.compat.v1.Session() as running:
        signatures = tf.compat.v1.saved_model.load(running, ["serve"], str(folder)).signature_def
        for name, (asked, wanted) in calls.items():
            signature = signatures[name]
            feed = {signature.inputs[key].name: value for key, value in asked.items()}
            outputs = {key: signature.outputs[key].name for key in wanted}
            found[f"session {name}"] = compare(running.run(outputs, feed), wanted)
    return found


# === LiteRT ===


def tflite(folder: Path, calls: Calls) -> list[dict]:
    """One row for each `.tflite` file: part, format, size, latency and difference."""
    rows = []
    for path in files(folder) if importlib.util.find_spec("ai_edge_litert") else ():
        part, number_format = format_of(path)
        asked, wanted = calls[PARTS[part]]
        ask = runner(path)
        one = compare(ask(**first(asked, wanted)[0]), first(asked, wanted)[1])
        rows.append(
            {
                "file": path.name,
                "part": part,
                "format": number_format,
                "bytes": path.stat().st_size,
                "milliseconds": latency(path, asked),
                "difference": max(one, compare(ask(**asked), wanted)),
            }
        )
    return rows


def onnx(folder: Path, calls: Calls) -> dict[str, float]:
    found = {}
    for path in sorted(folder.glob("*.onnx")) if importlib.util.find_spec("onnxruntime") else ():
        import onnxruntime

        running = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for what, (asked, wanted) in (("", calls[PARTS[path.stem]]), (", one", first(*calls[PARTS[path.stem]]))):
            answer = dict(zip(wanted, running.run(list(wanted), asked), strict=True))
            found[f"{path.name}{what}"] = compare(answer, wanted)
    return found


def runner(path: Path):
    """`{input: array}` -> `{output: array}` of a file's one signature, on one thread."""
    return interpreter(path).get_signature_runner(PARTS[format_of(path)[0]])


def interpreter(path: Path):
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_path=str(path), num_threads=1)


def latency(path: Path, asked: Arrays) -> float:
    """Median time of a call with one row, milliseconds."""
    loaded = interpreter(path)
    loaded.allocate_tensors()
    for key, details in loaded.get_signature_runner(PARTS[format_of(path)[0]]).get_input_details().items():
        loaded.set_tensor(details["index"], asked[key][:1])
    times = []
    for _ in range(TIMED + 10):  # the first are for caches
        start = time.perf_counter()
        loaded.invoke()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times[10:]))


def answers(folder: Path, images: np.ndarray, labels: np.ndarray, reconstructed: int) -> Arrays:
    """What each format makes of test images: "format/images" and, where there is a classifier, "format/probabilities".

    An encoder and a generator of one format are taken together. The first `reconstructed` images are reconstructed,
    all are classified.
    """
    found = {}
    for path in files(folder, "encoder"):
        _, number_format = format_of(path)
        decode = runner(folder / file_name("generator", number_format))
        given = batched(runner(path), {"images": images[:reconstructed]})
        if "labels" in decode.get_input_details():
            given["labels"] = labels[:reconstructed]
        found[f"{number_format}/images"] = batched(decode, given)["images"]
        classifier = folder / file_name("classifier", number_format)
        if classifier.is_file():
            found[f"{number_format}/probabilities"] = batched(runner(classifier), {"images": images})["probabilities"]
    return found


def batched(ask, given: Arrays, size: int = 100) -> Arrays:
    rows = len(next(iter(given.values())))
    parts = [ask(**{key: value[at : at + size] for key, value in given.items()}) for at in range(0, rows, size)]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


# === Differences ===


def first(asked: Arrays, wanted: Arrays) -> tuple[Arrays, Arrays]:
    """The same call for one image."""
    return {key: value[:1] for key, value in asked.items()}, {key: value[:1] for key, value in wanted.items()}


def compare(got: dict, wanted: Arrays) -> float:
    return max(difference(np.asarray(got[key]), value) for key, value in wanted.items())


def difference(got: np.ndarray, wanted: np.ndarray) -> float:
    if got.shape != wanted.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.max(np.abs(got - wanted)) / max(1.0, np.max(np.abs(wanted))))


def read(path: Path) -> tuple[Calls, Arrays]:
    """The calls, and the test images."""
    calls: Calls = {}
    others = {}
    for key, value in np.load(path).items():
        if "/" not in key:
            others[key] = value
            continue
        signature, way, name = key.split("/")
        calls.setdefault(signature, ({}, {}))[way == "out"][name] = value
    return calls, others


def outside(found: dict, limits: Arrays) -> list[str]:
    """What is farther off than the reference allows; nothing where it names no limits."""
    differences = found["differences"] | {row["file"]: row["difference"] for row in found["files"]}
    told = []
    for what, value in differences.items() if "limit" in limits else ():
        limit = float(limits.get(f"limit {what}", limits["limit"]))
        if not value <= limit:
            told.append(f"{what} is off by {value:.1e}, limit {limit:.1e}")
    return told


def main() -> None:
    folder, *given = map(Path, sys.argv[1:])
    calls, measured = read(given[0] if given else folder / REFERENCE)
    found = {
        "differences": saved_model(folder, calls) | session(folder, calls) | onnx(folder, calls),
        "files": tflite(folder, calls),
    }
    if given:
        made = answers(folder, measured["images"], measured["labels"], int(measured["reconstructed"]))
        np.savez(given[1], **made)  # type: ignore[arg-type]
    found["outside"] = outside(found, measured)
    assert "tfaae" not in sys.modules
    print(json.dumps(found))
    sys.exit(bool(found["outside"]))


if __name__ == "__main__":
    main()
