"""`.keras` files: damaged, or asking for other classes, files or sizes. A model, or an InputError; no code runs."""

import copy
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from hypothesis import strategies as st

import tfaae
from tests.fuzz.cases import REFUSED, counts, damaged, hold, outcome
from tfaae import keras_files, train
from tfaae.errors import InputError

PARTS = (keras_files.METADATA, keras_files.CONFIG, keras_files.WEIGHTS)
Parts = dict[str, bytes]


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Parts:
    """The entries of a file of a small compiled model."""
    model = tfaae.AAE((4, 4, 1), 2, units=[3], discriminator_units=[3], seed=0)
    rate = keras.optimizers.schedules.CosineDecay(1e-3, 10)
    names = dict.fromkeys(model.optimizer_names())
    model.compile({name: keras.optimizers.Adam(rate) for name in names}, jit_compile=False)
    path = tmp_path_factory.mktemp("good") / "good.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in PARTS}


def packed(parts: Parts, compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, contents in parts.items():
            archive.writestr(name, contents)
    return file.getvalue()


def described(parts: Parts) -> dict[str, Any]:
    return json.loads(parts[keras_files.CONFIG])


def with_config(parts: Parts, config: Any) -> bytes:
    return packed(parts | {keras_files.CONFIG: json.dumps(config).encode()})


def loads(folder: Path, contents: bytes) -> Any:
    path = folder / "fuzz.keras"
    path.write_bytes(contents)
    model = outcome(train.load_model, path)
    if model is not REFUSED:
        images = np.asarray(model.decode(np.zeros((1, 2), np.float32)))
        assert images.shape == (1, 4, 4, 1)
    return model


def test_good_files_load(good, tmp_path):
    """So the files below are refused for what they are changed in."""
    assert loads(tmp_path, packed(good)) is not REFUSED


HOSTILE = ["__lambda__", "__tensor__", "__numpy__", "Lambda", "TFSMLayer", "function", "Popen", "system", "Adam", "AAE"]
MODULES = [
    "os",
    "subprocess",
    "builtins",
    "keras.layers",
    "keras.utils",
    "keras.optimizers",
    "keras",
    "tfaae.models.aae",
]
OBJECT = st.fixed_dictionaries(
    {
        "class_name": st.sampled_from(HOSTILE),
        "config": st.dictionaries(st.sampled_from(["value", "name", "dtype"]), st.text(max_size=3)),
    },
    optional={"module": st.sampled_from(MODULES), "registered_name": st.sampled_from(["tfaae>AAE", "os>system", None])},
)
VALUE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 5),
    st.sampled_from([10**5, 2**31, 2**63, 10**30, -(10**9)]),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(-1, 10**6), max_size=4),
    OBJECT,
    st.dictionaries(st.sampled_from(["name", "class_name", "x"]), st.sampled_from(["Normal", "adam", 1, None])),
)


@st.composite
def changes(draw) -> list[tuple[list[int], str, Any]]:
    """Where to go in a nested mapping, whether to set, add or remove, and what."""
    where = st.lists(st.integers(0, 30), min_size=1, max_size=6)
    return draw(
        st.lists(st.tuples(where, st.sampled_from(["set", "set", "add", "remove"]), VALUE), min_size=1, max_size=2)
    )


def changed(config: dict[str, Any], steps: list[tuple[list[int], str, Any]]) -> dict[str, Any]:
    config = copy.deepcopy(config)
    for where, how, value in steps:
        part = config
        for number in where:
            key = sorted(part)[number % len(part)] if part else ""
            if not isinstance(part.get(key), dict) or not part[key]:
                break
            part = part[key]
        match how:
            case "set":
                part[key] = value
            case "add":
                part["extra"] = value
            case "remove":
                part.pop(key, None)
    return config


@counts(4, 300)
def test_changed_configs(count, good, tmp_path):
    hold(count, lambda steps: loads(tmp_path, with_config(good, changed(described(good), steps))), steps=changes())


@counts(4, 150)
def test_damaged_archives(count, good, tmp_path):
    hold(count, lambda contents: loads(tmp_path, contents), contents=damaged(packed(good)))


@counts(4, 200)
def test_damaged_parts(count, good, tmp_path):
    """With the right checksums: HDF5, or JSON, is what is damaged."""

    def check(name, draw):
        loads(tmp_path, packed(good | {name: draw.draw(damaged(good[name]))}))

    hold(count, check, name=st.sampled_from([*PARTS, keras_files.WEIGHTS]), draw=st.data())


@counts(5, 60)
def test_entries(count, good, tmp_path):
    """Names that point elsewhere are never unpacked."""
    names = st.sampled_from(
        ["../bait", "/tmp/bait", "assets/../../bait", "assets/x", "config.json", "model.weights.npz", "é"]
    )

    def check(extra):
        assert loads(tmp_path / "in", packed(good | dict.fromkeys(extra, b"x"))) is REFUSED
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]

    (tmp_path / "in").mkdir()
    hold(count, check, extra=st.sets(names, min_size=1, max_size=3))


def files(parts: Parts, bait: Path) -> dict[str, bytes]:
    """Files that would run code, read or write another file, or fill memory, if they were believed."""
    config = described(parts)
    code = {"class_name": "__lambda__", "config": {"value": "4wEAAAA=", "defaults": None, "closure": None}}
    touch = {"module": "os", "class_name": "system", "config": f"touch {bait}", "registered_name": None}
    layer = {
        "module": "keras.layers",
        "class_name": "TFSMLayer",
        "config": {"filepath": str(bait)},
        "registered_name": None,
    }

    def optimizer(value: Any) -> dict[str, Any]:
        found = copy.deepcopy(config)
        found["compile_config"]["optimizers"]["generator"] = value
        return found

    def model(**changes: Any) -> dict[str, Any]:
        return config | {"config": config["config"] | changes}

    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file["linked"] = h5py.ExternalLink(str(bait), "/")
        file["looped"] = h5py.SoftLink("/looped")
        file.create_dataset("claims", (2**40,), "f4", chunks=True)
    found = {
        "lambda": model(prior=code),
        "call": model(prior=touch),
        "call an optimizer": optimizer(touch),
        "rate": optimizer({"module": "keras.optimizers", "class_name": "Adam", "config": {"learning_rate": layer}}),
        "layer": optimizer(layer),
        "another model": config
        | {"registered_name": "keras>Sequential", "class_name": "Sequential", "module": "keras"},
        "no name": config | {"registered_name": None},
        "built": config | {"build_config": {"input_shape": [1]}},
        "giant": model(units=[10**5, 10**5]),
        "giant averages": model(units=[10**5, 10**5], ema=0.9),
        "giant code": model(latent_dim=2**30),
        "giant picture": model(image_shape=[2**20, 2**20, 1]),
        "many layers": model(units=[1] * 100_000),
        "list": [config],
        "text": "AAE",
    }
    return {name: with_config(parts, value) for name, value in found.items()} | {
        "deep": packed(parts | {keras_files.CONFIG: b"[" * 100_000}),
        "large": packed(parts | {keras_files.CONFIG: b" " * 2_000_000 + parts[keras_files.CONFIG]}),
        "compressed": packed(parts | {keras_files.METADATA: bytes(10**6)}, zipfile.ZIP_DEFLATED),
        "links": packed(parts | {keras_files.WEIGHTS: weights.getvalue()}),
        "no weights": packed({name: parts[name] for name in PARTS[:2]}),
        "other weights": packed(parts | {keras_files.WEIGHTS: b"x" * 10**6}),
    }


@pytest.mark.parametrize(
    "name", files(dict.fromkeys(PARTS, b'{"config": {}, "compile_config": {"optimizers": {}}}'), Path())
)
def test_hostile_files(name, good, tmp_path):
    assert loads(tmp_path, files(good, tmp_path / "bait")[name]) is REFUSED
    assert [path.name for path in tmp_path.iterdir()] == ["fuzz.keras"]


def test_weights_without_an_optimizer_are_refused(good, tmp_path):
    """Keras would warn, and begin with a new one."""
    file = io.BytesIO(good[keras_files.WEIGHTS])
    with h5py.File(file, "a") as weights:
        names: list[str] = []
        weights.visit(names.append)
        states = [name for name in names if "optimizer" in name and name.endswith("vars")]
        assert len(states) == 3
        for name in list(weights[states[0]]):
            del weights[states[0]][name]
    path = tmp_path / "a.keras"
    path.write_bytes(packed(good | {keras_files.WEIGHTS: file.getvalue()}))
    with pytest.raises(InputError, match="damaged"):
        train.load_model(path)


def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.keras")
    with pytest.raises(InputError, match=r"expected a \.keras file"):
        train.load_model(tmp_path / "a.keras")
