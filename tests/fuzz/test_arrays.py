"""`.npz` data sets, and the `.npy` files, numbers and pictures of a request: arrays that fit, or an InputError."""

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.fuzz.cases import REFUSED, counts, damaged, hold, outcome
from tests.test_data import Trap
from tfaae import data, request_files, streams
from tfaae.client import Rest, Signature, Tensor, checked
from tfaae.config import DataConfig

DTYPE = st.one_of(
    arrays.scalar_dtypes(),
    arrays.unicode_string_dtypes(max_len=4),
    st.sampled_from([np.uint8, np.dtype([("a", "i4"), ("b", "?")])]),
)
SHAPE = st.one_of(
    arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4),
    st.sampled_from([(3, 2, 2), (4, 2, 2, 1), (2, 3, 3, 3), (3, 0, 0), (3, 2, 2, 0)]),
)
ARRAY = st.tuples(DTYPE, SHAPE).flatmap(lambda drawn: arrays.arrays(*drawn))
PIXELS = st.one_of(
    arrays.arrays(np.uint8, st.sampled_from([(3, 2, 2), (4, 2, 2, 1), (5, 3, 3, 3), (4, 2, 3)])),
    arrays.arrays(st.sampled_from([np.float32, np.float64, ">f4", np.float16]), (3, 2, 2)),
    arrays.arrays(np.float32, (4, 2, 2, 1), elements=st.floats(0, 1, width=32)),
)
LABELS = st.one_of(
    arrays.arrays(st.sampled_from([np.uint8, np.int64, ">i4", np.uint64]), st.integers(3, 5)),
    arrays.arrays(np.int64, (4,), elements=st.integers(-1, 3)),
    st.just(np.array([-(2**32)] * 4)),
)
NAME = st.sampled_from(["x_train", "y_train", "x_test", "y_test", "images", "labels", "x", "../x", "a/b"])
FILE = st.one_of(
    st.dictionaries(NAME, st.one_of(ARRAY, PIXELS, LABELS), max_size=5),
    st.fixed_dictionaries({"images": PIXELS}, optional={"labels": LABELS}),
    st.fixed_dictionaries({"x_train": PIXELS, "x_test": PIXELS}, optional={"y_train": LABELS, "y_test": LABELS}),
)
KEYS = st.fixed_dictionaries(
    {},
    optional={
        "size": st.integers(1, 5),
        "channels": st.sampled_from([1, 3]),
        "test": st.integers(1, 3),
        "validation": st.integers(0, 3),
        "labelled": st.integers(1, 4),
        "labelled_batch": st.just(1),
        "binarise": st.booleans(),
        "stream": st.booleans(),
    },
)


def npz(found: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in found.items():
            archive.writestr(f"{name}.npy", npy(array))
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array))
    return file.getvalue()


def well_formed(found: data.Data) -> None:
    for split in found[:3]:
        assert split.images.dtype == np.float32
        assert split.images.shape[1:] == found.image_shape
        assert np.isfinite(split.images).all()
        assert split.images.size == 0 or 0 <= split.images.min() <= split.images.max() <= 1
        assert split.labels.dtype == np.int32
        assert split.labels.shape == (len(split),)
        assert ((split.labels >= -1) & (split.labels < max(1, len(found.classes)))).all()


def loads(path: Path, **keys) -> None:
    found = outcome(lambda: data.load(DataConfig(name="npz", path=str(path), **({"batch": 1} | keys))))
    if found is not REFUSED:
        well_formed(found)


@counts(15, 500)
def test_data_sets(count, tmp_path):
    def check(found, keys):
        (tmp_path / "data.npz").write_bytes(npz(found))
        loads(tmp_path / "data.npz", **keys)

    hold(count, check, found=FILE, keys=KEYS)


@counts(15, 300)
def test_damaged_files(count, tmp_path):
    def check(contents):
        (tmp_path / "data.npz").write_bytes(contents)
        loads(tmp_path / "data.npz")

    hold(count, check, contents=st.one_of(FILE.map(npz).flatmap(damaged), PIXELS.map(npy), st.binary(max_size=64)))


def test_labels_of_a_byte(tmp_path):
    """As in Keras's own `mnist.npz`."""
    (tmp_path / "data.npz").write_bytes(
        npz({"x_train": np.zeros((4, 2, 2), np.uint8), "y_train": np.uint8([0, 1, 2, 1])})
    )
    assert data.load(DataConfig(name="npz", path=str(tmp_path / "data.npz"), batch=1)).classes == ("0", "1", "2")


def test_objects_run_nothing(tmp_path):
    """Neither of a data set, nor of a request, nor of finished batches."""
    trap = np.array([Trap(tmp_path / "bait")], dtype=object)
    (tmp_path / "a.npz").write_bytes(npz({"images": trap, "settings": trap}))
    (tmp_path / "a.npy").write_bytes(npy(trap))
    assert outcome(data.load, DataConfig(name="npz", path=str(tmp_path / "a.npz"))) is REFUSED
    assert outcome(request_files.read, [f"codes={tmp_path / 'a.npy'}"], SIGNATURES, "s") is REFUSED
    assert outcome(streams._read, tmp_path / "a.npz", {}) is REFUSED
    assert not (tmp_path / "bait").exists()


def test_claims_beyond_memory(tmp_path):
    """By the directory of a zip, and by the head of an array."""
    head = (
        npy(np.zeros((1, 2, 2), np.uint8))
        .replace(b"(1, 2, 2)", b"(9999999, 999, 999)")
        .replace(b" " * 10 + b"\n", b"\n")
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", head)
    loads(tmp_path / "a.npz")
    contents = bytearray(npz({"images": np.zeros((4, 2, 2), np.uint8)}))
    at = contents.index(b"PK\x01\x02")
    contents[at + 24 : at + 28] = (2**32 - 2).to_bytes(4, "little")
    (tmp_path / "a.npz").write_bytes(contents)
    assert outcome(data.load, DataConfig(name="npz", path=str(tmp_path / "a.npz"))) is REFUSED


def test_pipes_are_not_waited_for(tmp_path):
    for name in ("a.npz", "a.npy", "a.png"):
        os.mkfifo(tmp_path / name)
    assert outcome(data.load, DataConfig(name="npz", path=str(tmp_path / "a.npz"))) is REFUSED
    assert outcome(request_files.read, [f"codes={tmp_path / 'a.npy'}"], SIGNATURES, "s") is REFUSED
    assert outcome(request_files.read, [f"images={tmp_path / 'a.png'}"], SIGNATURES, "s") is REFUSED


# === Requests ===

SIGNATURES = {
    "s": Signature(
        {
            "images": Tensor(np.dtype("float32"), (None, 4, 4, 1)),
            "codes": Tensor(np.dtype("float32"), (None, 2)),
            "count": Tensor(np.dtype("int32"), ()),
            "seed": Tensor(np.dtype("int32"), (2,)),
            "maps": Tensor(np.dtype("float32"), (None, None, 4, 5)),
        },
        {},
    )
}
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.integers(-(2**80), 2**80)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=2), inner, max_size=2)),
    max_leaves=8,
).map(json.dumps)


@counts(20, 400)
def test_requests(count, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def check(name, text, contents):
        for suffix in (".npy", ".png"):
            Path(f"x{suffix}").write_bytes(contents)
        given = outcome(request_files.read, [f"{name}={text}"], SIGNATURES, "s")
        if given is REFUSED:
            return
        assert given[name].dtype.kind in "biuf"
        one = Signature({name: SIGNATURES["s"].inputs[name]}, {})
        fitting = outcome(checked, one, given)
        if fitting is not REFUSED:
            assert fitting[name].dtype == one.inputs[name].dtype

    hold(
        count,
        check,
        name=st.sampled_from(["images", "codes", "count", "seed", "maps", "imagse", ""]),
        text=st.one_of(JSON, st.sampled_from(["x.npy", "x.png", "gone.npy", "/", "\0.npy", "[" * 9999, "9" * 9999])),
        contents=st.one_of(ARRAY.map(npy), ARRAY.map(npy).flatmap(damaged), FILE.map(npz), st.binary(max_size=40)),
    )


# === Answers of a server ===

KEY = st.sampled_from(["metadata", "signature_def", "outputs", "inputs", "codes", "tensorShape", "dim", "dtype", "s"])
ANSWER = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(["DT_FLOAT", "DT_INVALID", "x"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEY, inner, max_size=3)),
    max_leaves=12,
)
DESCRIBED = st.fixed_dictionaries({"metadata": st.fixed_dictionaries({"signature_def": ANSWER})})


@counts(15, 200)
def test_answers_of_a_server(count, monkeypatch):
    """By REST, where they are JSON of any kind."""
    server = Rest("http://there:8501", "digits")
    asked = Signature({}, {"codes": Tensor(np.dtype("float32"), (None, 2))})

    def check(answer):
        monkeypatch.setattr(Rest, "_call", lambda *_: answer)
        known = outcome(server.signatures)
        assert known is REFUSED or all(isinstance(found, Signature) for found in known.values())
        given = outcome(server.predict, "s", asked, {})
        assert given is REFUSED or all(array.dtype == np.float32 for array in given.values())

    hold(count, check, answer=st.one_of(ANSWER, DESCRIBED, st.fixed_dictionaries({"outputs": ANSWER})))


# === Finished batches ===


@counts(20, 200)
def test_finished_batches(count, tmp_path):
    def check(found, settings, contents):
        file = tmp_path / "finished.npz"
        file.write_bytes(npz(found | settings) if contents is None else contents)

        def double(start, rows):
            return {"x": 2 * rows}

        values = outcome(streams.over_batches, double, [np.arange(5.0)], 2, file=file, settings={"k": 1})
        if values is not REFUSED:
            assert values["x"].shape[-1] == 5

    hold(
        count,
        check,
        found=st.dictionaries(st.sampled_from(["x", "y"]), ARRAY, max_size=2),
        settings=st.fixed_dictionaries({}, optional={"settings": JSON.map(np.array) | st.just(np.array('{"k": 1}'))}),
        contents=st.one_of(st.none(), st.none(), st.binary(max_size=20)),
    )


@pytest.mark.parametrize("value", [np.float32(3), np.zeros(3, np.float32), np.zeros((2, 2, 2)), np.zeros((0, 2))])
def test_answers_of_any_shape(value, capsys):
    for line in request_files.write({"codes": value}, {}, None):
        print(line)
