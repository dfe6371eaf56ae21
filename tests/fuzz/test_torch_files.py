"""PyTorch's files of any contents, damage and opcodes: what was written, or an InputError; no global is called."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.fuzz.cases import REFUSED, counts, damaged, hold, outcome
from tests.test_torch_files import TRAP, hostile, read, same
from tests.torch_writer import Call, Global, Opcodes, Persistent, Writer, pickled, write_stream, write_zip
from tfaae import import_alae, torch_files

WRITERS = st.sampled_from([write_stream, write_zip])
ARRAY = st.builds(
    lambda seed, shape, dtype: np.asarray(100 * np.random.default_rng(seed).random(shape), dtype),
    st.integers(0, 99),
    st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple),
    st.sampled_from(["float32", "float16", "float64", "int64"]),
)
SCALAR = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**100), 2**100), st.floats(allow_nan=False), st.text(max_size=5)
)
CONTENTS = st.recursive(
    st.one_of(SCALAR, ARRAY),
    lambda inner: st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
GLOBAL = st.builds(
    Global,
    st.sampled_from(["os", "builtins", "torch", "torch._utils", "collections", "trap", "numpy", ""]),
    st.sampled_from(
        ["system", "eval", "FloatStorage", "_rebuild_tensor_v2", "_rebuild_parameter", "OrderedDict", "Trap"]
    ),
)
CLAIM = st.one_of(st.integers(-1, 4), st.sampled_from([2**31, 2**62, 2**63, 2**64]), SCALAR)
ANYTHING = st.recursive(
    st.one_of(SCALAR, GLOBAL, st.builds(Opcodes, st.binary(min_size=1, max_size=4))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(SCALAR, inner, max_size=3),
        st.builds(Call, inner, st.lists(inner, max_size=4).map(tuple)),
        st.builds(Persistent, inner),
        st.builds(
            lambda storage, *claims: Call(Global("torch._utils", "_rebuild_tensor_v2"), (storage, *claims)),
            st.builds(Persistent, st.tuples(st.just("storage"), GLOBAL, st.just("0"), st.just("cpu"), CLAIM)),
            CLAIM,
            st.lists(CLAIM, max_size=3).map(tuple),
            st.lists(CLAIM, max_size=3).map(tuple),
        ),
    ),
    max_leaves=10,
)


def equal(found: Any, wanted: Any) -> None:
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key in wanted:
            equal(found[key], wanted[key])
    elif isinstance(wanted, np.ndarray):
        same(found, wanted)
    else:
        assert found == wanted


@counts(15, 200)
def test_what_is_written_is_read(count, tmp_path):
    def check(write, contents):
        equal(read(write(tmp_path / "file.pth", contents)), contents)

    hold(count, check, write=WRITERS, contents=CONTENTS)


@pytest.fixture
def bait(tmp_path, monkeypatch) -> Path:
    """A file that is made where a module is imported, or the opcodes of `hostile` are believed."""
    (tmp_path / "trap.py").write_text(TRAP.format(bait=str(tmp_path / "bait")))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "bait"
    assert not (tmp_path / "bait").exists()
    assert "trap" not in sys.modules


@counts(40, 400)
def test_damaged_files(count, bait, tmp_path):
    """Of a zip, which has checksums, a tensor that is read is the one that was written."""

    def check(write, contents, draw):
        path = write(tmp_path / "file.pth", contents)
        path.write_bytes(draw.draw(damaged(path.read_bytes())))
        outcome(read, path)

    hold(count, check, write=WRITERS, contents=CONTENTS, draw=st.data())


@counts(40, 400)
def test_pickles_of_anything(count, bait, tmp_path):
    def check(write, contents, more):
        code = [Opcodes(payload[2:-1]) for payload in hostile(bait).values()]
        path = write(tmp_path / "file.pth", [contents, code[more % len(code)]][: 1 + more % 2])
        found = outcome(read, path)
        assert found is REFUSED or isinstance(found, list)

    hold(count, check, write=WRITERS, contents=ANYTHING, more=st.integers(0, 100))


@counts(20, 200)
def test_opcodes_of_anything(count, bait, tmp_path):
    def check(write, opcodes):
        outcome(read, write(tmp_path / "file.pth", Opcodes(opcodes)))

    hold(count, check, write=WRITERS, opcodes=st.binary(max_size=40))


@counts(20, 200)
def test_checkpoints_of_something_else(count, tmp_path):
    """What `import_alae` looks at before it builds a model."""
    names = [
        "to_rgb.0.to_rgb.weight",
        "to_rgb.1.to_rgb.weight",
        "map_blocks.0.fc.weight",
        "encode_block.0.conv_1.weight",
        "encode_block.1.conv_1.weight",
        "encode_block.1.conv_2.weight",
        "x",
    ]
    group = st.dictionaries(st.sampled_from(names), st.one_of(ARRAY, SCALAR), max_size=7)
    groups = [*import_alae.GROUPS.values(), import_alae.AVERAGE, "generator_s", "x"]
    models = st.one_of(
        st.dictionaries(st.sampled_from(groups), st.one_of(group, group, SCALAR, ARRAY), max_size=6),
        st.fixed_dictionaries(dict.fromkeys([*import_alae.GROUPS.values(), import_alae.AVERAGE], group)),
    )

    def look(path, raw):
        with torch_files.opened(path) as contents:
            import_alae.architecture(import_alae.groups_of(contents, raw=raw))

    def check(contents, raw):
        outcome(look, write_zip(tmp_path / "file.pth", contents), raw)

    contents = st.one_of(st.fixed_dictionaries({"models": models}), CONTENTS, models)
    hold(count, check, contents=contents, raw=st.booleans())


def test_deep_keys(tmp_path):
    """Python hashes nested tuples without a limit of depth: a key of many of them would end the process."""
    deep = Opcodes(b"](" + b")" + b"\x85" * 200_000 + b"e")
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {}, deep]
    (tmp_path / "file.pth").write_bytes(b"".join(map(pickled, head)))
    assert outcome(read, tmp_path / "file.pth") is REFUSED


@pytest.mark.parametrize("write", [write_stream, write_zip])
def test_tensors_of_nothing(write, tmp_path):
    empty = np.zeros((0, 3), np.float32)
    writer = Writer(view=(None,) if write is write_stream else ())
    same(read(write(tmp_path / "file.pth", {"t": writer.tensor(empty)}, writer))["t"], empty)
