"""PyTorch's checkpoint files, read without PyTorch: a file is taken as data, and nothing that it names is run.

Both containers that `torch.save` has written: the zip of torch 1.6 and later, and the stream before it. Each holds a
pickle, whose opcodes are played here one by one: every global stays the name that it is, and the only calls that mean
anything are `_rebuild_tensor_v2`, `_rebuild_parameter` and `OrderedDict`.
"""

import math
import os
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from io import BytesIO
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from tfaae.errors import InputError

MOST_OPCODES = 1_000_000  # a checkpoint takes about seventy for a tensor
MOST_OPEN = 1000  # marks that are open at once: how deep a pickle nests
MOST_DIMENSIONS, LONGEST_SIDE = 8, 2**31
ZIP_MAGIC, STREAM_MAGIC, STREAM_VERSION = b"PK\x03\x04", 0x1950A86A20F9469CFC6C, 1001
DTYPES = {
    "torch DoubleStorage": np.dtype("<f8"),
    "torch FloatStorage": np.dtype("<f4"),
    "torch HalfStorage": np.dtype("<f2"),
    "torch BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch LongStorage": np.dtype("<i8"),
    "torch IntStorage": np.dtype("<i4"),
    "torch ShortStorage": np.dtype("<i2"),
    "torch CharStorage": np.dtype("i1"),
    "torch ByteStorage": np.dtype("u1"),
    "torch BoolStorage": np.dtype("?"),
}


class Name(NamedTuple):
    """A global that a pickle names, `"module name"`, or an instance of it: never imported, never called."""

    text: str


class Storage:
    """A run of numbers, which tensors share; read from the file when the first of them is."""

    def __init__(self, dtype: np.dtype, count: int, read: Callable[[], bytes]):
        self.dtype, self.count, self.read = dtype, count, read

    @cached_property
    def values(self) -> np.ndarray:
        return np.frombuffer(self.read(), self.dtype, self.count)


class Tensor(NamedTuple):
    """A view of a storage. Offset and strides count numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def numpy(self) -> np.ndarray:
        """The numbers, not to be written to. Only inside `opened`."""
        if 0 in self.shape:
            return np.empty(self.shape, self.storage.dtype)
        steps = [step * self.storage.dtype.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(self.storage.values[self.offset :], self.shape, steps, writeable=False)


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """What `torch.save` was given: dicts, lists, tuples, numbers and texts, with a `Tensor` for each tensor.

    Objects of any other kind are a `Name`, without their contents. Storages are read one by one, when a tensor asks.
    Every InputError inside of it is told with the file's name.

    Raises:
        InputError: no such file, an empty or foreign one, one that was cut or damaged, or one whose claims exceed it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no file {path}; expected a checkpoint that torch.save wrote")
    with path.open("rb") as file:
        try:
            yield _contents(file)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None


def _contents(file: BinaryIO) -> Any:
    head = file.read(16)
    file.seek(0)
    if not head:
        raise InputError("is empty; expected a checkpoint that torch.save wrote")
    with _as_input_errors():
        return _from_zip(file) if head.startswith(ZIP_MAGIC) else _from_stream(file, head)


@contextmanager
def _as_input_errors() -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # zipfile, pickletools, struct and the system each raise their own at a damaged file
        raise InputError(f"cut or damaged, copy it again ({type(error).__name__}: {error})") from None


# === Containers ===


def _from_zip(file: BinaryIO) -> Any:
    archive = zipfile.ZipFile(file)
    entries = {entry.filename: entry for entry in archive.infolist()}
    if any(entry.compress_type or entry.compress_size != entry.file_size for entry in entries.values()):
        raise InputError("compressed entries, which torch.save does not write; expected a checkpoint of PyTorch")
    if sum(entry.file_size for entry in archive.infolist()) > os.fstat(file.fileno()).st_size:
        raise InputError("its entries claim more bytes than the file has")
    pickles = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise InputError(
            f"a zip file with {len(pickles)} entries data.pkl; expected a checkpoint of PyTorch, which has one"
        )
    root = pickles[0].removesuffix("data.pkl")
    order = archive.read(f"{root}byteorder") if f"{root}byteorder" in entries else b"little"
    if order != b"little":
        raise InputError(
            f"numbers in {order[:16]!r} byte order; expected little-endian: save it anew on such a machine"
        )

    def storage(dtype: np.dtype, key: str, count: int) -> Storage:
        entry = entries.get(f"{root}data/{key}")
        if entry is None or entry.file_size != count * dtype.itemsize:
            found = "is missing" if entry is None else f"has {entry.file_size} bytes"
            raise InputError(f"storage {key!r} {found}, expected {count} numbers of {dtype.itemsize} bytes")

        def read() -> bytes:
            with _as_input_errors():
                return archive.read(entry)

        return Storage(dtype, count, read)

    return _Pickle(storage).play(BytesIO(archive.read(pickles[0])))


def _from_stream(file: BinaryIO, head: bytes) -> Any:
    """Five pickles (magic number, version, system, contents, keys), then each key's numbers: a count, and bytes."""
    places: dict[str, tuple[int, int]] = {}  # key -> where its numbers begin, and how many
    awaited: dict[str, tuple[int, int]] = {}  # key -> how many, and bytes of each

    def storage(dtype: np.dtype, key: str, count: int) -> Storage:
        awaited[key] = count, dtype.itemsize

        def read() -> bytes:
            with _as_input_errors():
                file.seek(places[key][0])
                return file.read(count * dtype.itemsize)

        return Storage(dtype, count, read)

    with mmap(file.fileno(), 0, access=ACCESS_READ) as stream:  # a read beyond its end allocates nothing
        try:
            magic = _Pickle().play(stream)
        except Exception:
            magic = None
        if magic != STREAM_MAGIC:
            page = "; a web page, so the download was refused" if head.lstrip().startswith(b"<") else ""
            raise InputError(f"no checkpoint of PyTorch: it begins with {head!r}{page}")
        version, system = _Pickle().play(stream), _Pickle().play(stream)
        if version != STREAM_VERSION or not isinstance(system, dict) or system.get("little_endian") is not True:
            raise InputError(f"expected version {STREAM_VERSION} of PyTorch's stream, from a little-endian machine")
        contents, keys = _Pickle(storage).play(stream), _Pickle().play(stream)
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise InputError("keys of storages that are no texts")  # hashing a deep tuple would end the process
        for key in keys:
            count, size = awaited[key]
            (found,) = struct.unpack("<q", stream.read(8))
            places[key] = stream.tell(), found
            if found != count:
                raise InputError(f"storage {key!r} has {found} numbers, expected {count}")
            if stream.tell() + count * size > len(stream):
                raise InputError(f"cut within storage {key!r}, at {len(stream)} bytes; copy it again")
            stream.seek(count * size + stream.tell())
    if awaited.keys() != places.keys():
        raise InputError(f"{len(awaited.keys() - places.keys())} storages are missing")
    return contents


# === The pickle ===


def _no_storage(dtype: np.dtype, key: str, count: int) -> Storage:
    raise InputError("a storage where none belongs")


class _Pickle:
    """A machine for the opcodes of protocol 2, as far as `torch.save` writes them."""

    def __init__(self, storage: Callable[[np.dtype, str, int], Storage] = _no_storage):
        self.storage = storage
        self.storages: dict[str, Storage] = {}
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def play(self, stream: Any) -> Any:
        """The one object of the pickle that begins here in the stream, which is left behind it."""
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > MOST_OPCODES or len(self.marks) > MOST_OPEN:
                raise InputError("a pickle larger, or nested deeper, than any checkpoint's")
            self._step(opcode.name, argument)
        (result,) = self.stack
        return result

    def _step(self, opcode: str, argument: Any) -> None:
        push, pop = self.stack.append, self.stack.pop
        match opcode:
            case "PROTO" | "STOP":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                push({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE" | "SHORT_BINSTRING":
                push(argument)
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                push({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[opcode]())
            case "MARK":
                self.marks.append(len(self.stack))
            case "TUPLE":
                push(tuple(self._marked()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                items = [pop() for _ in range(int(opcode[-1]))]
                push(tuple(reversed(items)))
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "BINGET" | "LONG_BINGET":
                push(self.memo[argument])
            case "APPEND":
                self._extend([pop()])
            case "APPENDS":
                self._extend(self._marked())
            case "SETITEM":
                value, key = pop(), pop()
                self._update([key, value])
            case "SETITEMS":
                self._update(self._marked())
            case "GLOBAL":
                push(Name(argument))
            case "REDUCE" | "NEWOBJ":
                arguments, called = pop(), pop()
                push(self._called(called, arguments))
            case "BUILD":
                pop()  # the state of an object: none that is kept has one
            case "BINPERSID":
                push(self._storage(pop()))
            case _:
                raise InputError(f"a pickle with opcode {opcode}, which no checkpoint has")

    def _marked(self) -> list:
        """What lies above the last mark, which goes."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _extend(self, items: list) -> None:
        if not isinstance(self.stack[-1], Name):
            self.stack[-1].extend(items)

    def _update(self, items: list) -> None:
        keys, values = items[::2], items[1::2]
        if not all(isinstance(key, str | int | float | None) for key in keys):
            raise InputError("a dict whose keys are neither texts nor numbers")
        if not isinstance(self.stack[-1], Name):
            self.stack[-1].update(zip(keys, values, strict=True))

    def _called(self, called: Any, arguments: Any) -> Any:
        if not isinstance(called, Name) or not isinstance(arguments, tuple):
            raise InputError("a call of something that is no global")
        match called.text, arguments:
            case "collections OrderedDict", ():
                return {}
            case "torch._utils _rebuild_tensor_v2", (Storage() as storage, offset, shape, strides, *_):
                return _tensor(storage, offset, shape, strides)
            case "torch._utils _rebuild_parameter", (Tensor() as tensor, *_):
                return tensor
            case "torch._utils _rebuild_tensor_v2" | "torch._utils _rebuild_parameter", _:
                raise InputError("a tensor that is not described as torch.save does")
        return called

    def _storage(self, identity: Any) -> Storage:
        """From ("storage", class, key, device, count); in the stream, None follows, where no view is described."""
        match identity:
            case ("storage", Name(kind), str(key), str(), int(count)) | (
                "storage",
                Name(kind),
                str(key),
                str(),
                int(count),
                None,
            ) if count >= 0:
                if kind not in DTYPES:
                    raise InputError(f"numbers of type {kind!r}; known: {', '.join(DTYPES)}")
                if key not in self.storages:
                    self.storages[key] = self.storage(DTYPES[kind], key, count)
                found = self.storages[key]
                if (found.dtype, found.count) == (DTYPES[kind], count):
                    return found
        raise InputError("a storage that is not described as torch.save does")


def _tensor(storage: Storage, offset: Any, shape: Any, strides: Any) -> Tensor:
    """A tensor that lies within its storage, no number of it twice."""
    for numbers in (shape, strides, (offset,)):
        if not isinstance(numbers, tuple) or not all(isinstance(n, int) and 0 <= n < 2**63 for n in numbers):
            raise InputError("a tensor whose shape, strides or offset are no integers from 0")
    if len(shape) != len(strides) or len(shape) > MOST_DIMENSIONS or max(shape, default=0) >= LONGEST_SIDE:
        raise InputError(f"a tensor of {len(shape)} dimensions and {len(strides)} strides, or longer than 2^31")
    strides = tuple(step if side > 1 else 0 for side, step in zip(shape, strides, strict=True))
    last = offset + sum((side - 1) * step for side, step in zip(shape, strides, strict=True))
    if 0 not in shape and (last >= storage.count or math.prod(shape) > storage.count):
        raise InputError(
            f"a tensor {list(shape)} with strides {list(strides)} from {offset} reaches beyond its storage of "
            f"{storage.count} numbers"
        )
    return Tensor(storage, offset, shape, strides)
