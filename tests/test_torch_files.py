"""PyTorch's files: every number as torch wrote it; a hostile file runs nothing, a damaged one is named."""

import contextlib
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import SHARED
from tests.torch_writer import Call, Global, Opcodes, Persistent, Writer, pickled, text, write_stream, write_zip
from tfaae import torch_files
from tfaae.errors import InputError
from tfaae.torch_files import Name, Tensor

GOLDEN = Path(__file__).parent / "golden"
FIXTURES = SHARED / "fixtures" / "alae"
WRITERS = [write_stream, write_zip]


def read(path: Path):
    """All that a file holds, with arrays for its tensors."""

    def arrays(value):
        if isinstance(value, dict):
            return {key: arrays(item) for key, item in value.items()}
        return value.numpy() if isinstance(value, Tensor) else value

    with torch_files.opened(path) as contents:
        return arrays(contents)


def same(array: np.ndarray, wanted: np.ndarray) -> None:
    assert (array.dtype, array.shape, array.tobytes()) == (wanted.dtype, wanted.shape, wanted.tobytes())


def flat(groups: dict) -> dict[str, np.ndarray]:
    named = {}
    for group, tensors in groups.items():
        named |= {f"{group}/{name}": tensor for name, tensor in tensors.items()} if isinstance(tensors, dict) else {}
        named |= {} if isinstance(tensors, dict) else {group: tensors}
    return named


# === What torch wrote ===


@pytest.mark.parametrize("container", ["stream", "zip"])
def test_files_of_torch(container):
    """Written by torch 2.13: views with strides and offsets of one storage, ten types, a parameter, other objects."""
    contents = read(GOLDEN / f"torch_{container}.pth")
    found = flat(contents["models"])
    with np.load(GOLDEN / "torch.npz") as wanted:
        assert found.keys() == set(wanted)
        for key, array in wanted.items():
            same(found[key].astype(np.float32) if key.endswith("bf16") else found[key], array)  # NumPy has no bfloat16
    assert found["a/transposed"].base is not None
    odd = Name("__main__ Odd")
    numbers = [1, 2.5, None, True, (1, 2, 3, 4), 2**70]
    assert contents["auxiliary"] == {"odd": odd, "size": Name("torch Size"), "n": numbers}


@pytest.fixture(scope="module")
def fixture_tensors() -> dict[str, np.ndarray]:
    if not FIXTURES.is_dir():
        pytest.skip(f"{FIXTURES} is absent")
    with np.load(FIXTURES / "fake_alae_expected.npz") as file:
        return {key: array for key, array in file.items() if not key.startswith(("check/", "meta_json"))}


def test_reference_checkpoint(fixture_tensors):
    contents = read(FIXTURES / "fake_alae_zip.pth")
    found = flat(contents["models"])
    assert found.keys() == fixture_tensors.keys()
    assert len(found) == 237
    for key, wanted in fixture_tensors.items():
        same(found[key], wanted)
    assert contents["auxiliary"]["tracker"]["tracks"]["loss_d"] == Name("tracker RunningMeanTorch")


@pytest.mark.parametrize("write", WRITERS)
def test_written_by_hand(write, fixture_tensors, tmp_path):
    groups: dict = {}
    for key, array in fixture_tensors.items():
        group, name = key.split("/")
        groups.setdefault(group, {})[name] = array
    found = flat(read(write(tmp_path / "file.pth", groups)))
    assert found.keys() == fixture_tensors.keys()
    for key, wanted in fixture_tensors.items():
        same(found[key], wanted)


def test_storages_are_read_when_asked_for(tmp_path):
    """What nobody asks for takes no memory: an optimizer's state is two thirds of a checkpoint."""
    path = write_stream(tmp_path / "file.pth", {"a": np.ones(3), "b": np.zeros(2)})
    with torch_files.opened(path) as contents:
        contents["b"].numpy()
        assert "values" in vars(contents["b"].storage)
        assert "values" not in vars(contents["a"].storage)


# === Hostile files ===


def hostile(bait: Path) -> dict[str, bytes]:
    """Opcodes that would make the bait a file."""
    shell, python = f"touch {bait}", f"open({str(bait)!r}, 'w').close()"
    evaluate = Global("builtins", "eval")
    make = Call(evaluate, (python,))
    loaded = b"(" + text(python) + b"t"
    return {
        "system": pickled(Call(Global("os", "system"), (shell,))),
        "posix": pickled({"models": Call(Global("posix", "system"), (shell,))}),
        "eval": pickled(make),
        "attribute": pickled(Call(Global("builtins", "getattr"), (Global("os", "system"), "__call__"))),
        "inner": pickled([Call(Call(Global("functools", "partial"), (evaluate, python)), ())]),
        "key": pickled({make: 1}),
        "hooks": pickled(Call(Global("torch._utils", "_rebuild_tensor_v2"), (make, 0, (), ()))),
        "ordered": pickled(Call(Global("collections", "OrderedDict"), (make,))),
        "newobj": b"\x80\x02" + b"cbuiltins\neval\n" + loaded + b"\x81.",
        "obj": b"\x80\x02(cbuiltins\neval\n" + text(python) + b"o.",
        "inst": b"\x80\x02(" + text(python) + b"ibuiltins\neval\n.",
        "stack_global": b"\x80\x04" + text("builtins") + text("eval") + b"\x93" + loaded + b"R.",
        "extension": b"\x80\x02\x82\x01" + loaded + b"R.",
        "build": b"\x80\x02ctrap\nTrap\n)R" + text(str(bait)) + b"b.",
        "state": b"\x80\x02ctrap\nTrap\n)\x81}(" + text("__setstate__") + b"cbuiltins\neval\nub" + text(python) + b"b.",
        "import": pickled(Global("trap", "Trap")),
        "persistent": pickled(Persistent(make)),
        "persistent_class": pickled(Persistent(("storage", make, "0", "cpu", 1))),
        "persistent_text": b"\x80\x02Pos.system\n.",
    }


TRAP = """
from pathlib import Path
class Trap:
    def __setstate__(self, bait):
        Path(bait).touch()
Path({bait!r}).touch()
"""


@pytest.mark.parametrize("container", ["stream", "zip"])
@pytest.mark.parametrize("name", hostile(Path()))
def test_hostile_pickles_run_nothing(name, container, tmp_path, monkeypatch):
    bait = tmp_path / "bait"
    (tmp_path / "trap.py").write_text(TRAP.format(bait=str(bait)))
    monkeypatch.syspath_prepend(tmp_path)
    payload = Opcodes(hostile(bait)[name][2:-1])
    path = (write_stream if container == "stream" else write_zip)(tmp_path / "file.pth", {"models": payload})
    with contextlib.suppress(InputError):
        read(path)
    assert not bait.exists()
    assert "trap" not in sys.modules


@pytest.mark.parametrize("name", ["system", "eval", "import", "stack_global", "obj", "inst", "build"])
def test_the_bait_works(name, tmp_path, monkeypatch):
    """Python's own unpickler takes it: the test above could fail."""
    bait = tmp_path / "bait"
    (tmp_path / "trap.py").write_text(TRAP.format(bait=str(bait)))
    monkeypatch.syspath_prepend(tmp_path)
    code = hostile(bait)[name]
    pickle.loads(code)
    sys.modules.pop("trap", None)
    assert bait.exists()


# === Damaged and foreign files ===

ONES = np.ones((2, 3), np.float32)


def claiming(write, path: Path, **claims) -> Path:
    writer = Writer(view=(None,) if write is write_stream else ())
    return write(path, {"t": writer.tensor(ONES, **claims)}, writer)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"shape": (3, 3)}, "a tensor [3, 3] with strides [3, 1] from 0 reaches beyond its storage of 6 numbers"),
        ({"offset": 1}, "from 1 reaches beyond its storage"),
        ({"strides": (4, 1)}, "reaches beyond its storage"),
        ({"shape": (10**6, 10**3), "strides": (0, 0)}, "reaches beyond its storage"),  # a gigabyte out of one number
        ({"shape": (-2, 3)}, "no integers from 0"),
        ({"offset": -1}, "no integers from 0"),
        ({"offset": "0"}, "no integers from 0"),
        ({"shape": [2, 3]}, "no integers from 0"),
        ({"shape": (2, 3.0)}, "no integers from 0"),
        ({"shape": (2, 3, 1)}, "3 dimensions and 2 strides"),
        ({"shape": (0, 2**40)}, "longer than 2^31"),
        ({"count": 7}, "expected 7"),
        ({"count": 2**60}, f"expected {2**60}"),
        ({"count": -1}, "not described as torch.save does"),
    ],
)
def test_claims_beyond_the_file(write, claims, told, tmp_path):
    path = claiming(write, tmp_path / "file.pth", **claims)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize("write", WRITERS)
def test_honest_claims(write, tmp_path):
    path = claiming(write, tmp_path / "file.pth", shape=(2, 1), strides=(3, 10**12), offset=2)
    np.testing.assert_array_equal(read(path)["t"], [[1], [1]])


@pytest.mark.parametrize(
    ("contents", "told"),
    [
        (b"", ": is empty"),
        (b"<!DOCTYPE html><html>", "it begins with b'<!DOCTYPE html><'; a web page, so the download was refused"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "no checkpoint of PyTorch: it begins with b'\\x89PNG"),
        (b"\x80\x02K\x01.", "no checkpoint of PyTorch"),
        (pickled({"models": 1}), "no checkpoint of PyTorch"),
        (b"(" * 100_000, "no checkpoint of PyTorch"),
        (b"PK\x03\x04" + bytes(100), "cut or damaged"),
        (pickled(0x1950A86A20F9469CFC6C) + pickled(1000) + pickled({}), "expected version 1001"),
        (pickled(0x1950A86A20F9469CFC6C), "cut or damaged"),
    ],
    ids=["empty", "page", "picture", "pickle", "dict", "nested", "zip", "version", "cut"],
)
def test_foreign_files(contents, told, tmp_path):
    path = tmp_path / "file.pth"
    path.write_bytes(contents)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    assert told in str(caught.value)


def test_no_file(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(InputError, match=r"expected a checkpoint that torch\.save wrote"):
            read(path)


@pytest.mark.parametrize("name", ["torch_stream", "torch_zip"])
def test_cut_anywhere(name, tmp_path):
    """Of every beginning of a file, none is read as a whole one."""
    contents = (GOLDEN / f"{name}.pth").read_bytes()
    path = tmp_path / "file.pth"
    for length in range(0, len(contents), 37):
        path.write_bytes(contents[:length])
        with pytest.raises(InputError, match=r"file\.pth"):
            read(path)


def test_flipped_bit(tmp_path):
    """A zip has a checksum for each storage."""
    path = write_zip(tmp_path / "file.pth", {"t": ONES})
    contents = path.read_bytes()
    path.write_bytes(contents.replace(ONES.tobytes(), ONES.tobytes()[:-1] + b"\x3e"))
    with pytest.raises(InputError, match="cut or damaged"):
        read(path)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("opcodes", "told"),
    [
        (b"(" * 2000, "nested deeper"),
        (b"](" * 2000 + b"e" * 2000, "nested deeper"),
        (b"N" + b"N0" * 10, "opcode POP"),
        (b"N" * 1_100_000, "larger"),
        (b"\x8b\xff\xff\xff\x7f", "cut or damaged"),  # a number of two gigabytes
        (b"X\xff\xff\xff\xff", "cut or damaged"),  # a text of four
        (b"Nr\xff\xff\xff\xff" + b"h\x01", "cut or damaged"),  # a memo with one far slot
        (b"t", "cut or damaged"),
        (b"NN", "cut or damaged"),
        (b"}(N)Nu", "cut or damaged"),
        (b"})Ns", "keys are neither texts nor numbers"),
        (b")\x85" * 3 + b"Na", "cut or damaged"),
        (b"NNR", "a call of something that is no global"),
    ],
)
def test_absurd_pickles(write, opcodes, told, tmp_path):
    path = write(tmp_path / "file.pth", Opcodes(opcodes))
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert told in str(caught.value)


def test_nesting_without_marks(tmp_path):
    """Deep but small: it is read, goes again, and no recursion meets it."""
    with torch_files.opened(write_zip(tmp_path / "file.pth", Opcodes(b"N" + b"\x85" * 200_000))) as contents:
        assert isinstance(contents, tuple)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"order": b"big"}, "b'big' byte order; expected little-endian"),
        ({"compression": zipfile.ZIP_DEFLATED}, "compressed entries"),
    ],
)
def test_unusual_zips(settings, told, tmp_path):
    path = write_zip(tmp_path / "file.pth", {"t": np.zeros(10**6, np.float32)}, **settings)
    with pytest.raises(InputError, match=told):
        read(path)


def test_zip_without_or_with_two_pickles(tmp_path):
    for names in ((), ("a/data.pkl", "b/data.pkl")):
        path = tmp_path / "file.pth"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme", "hello")
            for name in names:
                archive.writestr(name, pickled({}))
        with pytest.raises(InputError, match=f"a zip file with {len(names)} entries data.pkl"):
            read(path)


def test_entries_that_share_their_bytes(tmp_path):
    """A directory of many entries over the same bytes unpacks to more than the file."""
    path = write_zip(tmp_path / "file.pth", {"t": np.zeros(10_000, np.float32)})
    contents = bytearray(path.read_bytes())
    at = contents.index(b"PK\x01\x02", contents.index(b"archive/data/0") + 14)
    end = contents.index(b"PK\x05\x06")
    entries = bytes(contents[at:end])
    last = entries[entries.rindex(b"PK\x01\x02") :]
    more = b"".join(last[:-1] + bytes([65 + number]) for number in range(3))
    tail = bytearray(contents[end:])
    count = struct.unpack_from("<H", tail, 10)[0] + 3
    struct.pack_into("<HHI", tail, 8, count, count, len(entries) + len(more))
    path.write_bytes(contents[:end] + more + tail)
    with pytest.raises(InputError, match="claim more bytes than the file has"):
        read(path)


def test_big_endian_stream(tmp_path):
    with pytest.raises(InputError, match="from a little-endian machine"):
        read(write_stream(tmp_path / "file.pth", {"t": ONES}, little_endian=False))


@pytest.mark.parametrize("write", WRITERS)
def test_paths_in_keys_go_nowhere(write, tmp_path):
    """A key is looked up, never opened as a path."""
    (tmp_path / "secret").write_bytes(bytes(4))
    identity = ("storage", Global("torch", "FloatStorage"), "../../secret", "cpu", 1)
    identity += (None,) if write is write_stream else ()
    tensor = Call(Global("torch._utils", "_rebuild_tensor_v2"), (Persistent(identity), 0, (1,), (1,), False, None))
    with pytest.raises(InputError, match="missing"):
        read(write(tmp_path / "file.pth", {"t": tensor}))


def test_unknown_types_of_numbers(tmp_path):
    identity = ("storage", Global("torch", "ComplexFloatStorage"), "0", "cpu", 1)
    with pytest.raises(InputError, match="numbers of type 'torch ComplexFloatStorage'; known: torch DoubleStorage"):
        read(write_zip(tmp_path / "file.pth", {"t": Persistent(identity)}))
