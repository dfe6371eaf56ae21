"""Writes PyTorch's two containers by hand: what no PyTorch would write, too."""

import struct
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "float64": "DoubleStorage", "int64": "LongStorage"}


class Global(NamedTuple):
    """A global of a pickle."""

    module: str
    name: str


class Call(NamedTuple):
    """A global called with arguments."""

    called: Any
    arguments: tuple


class Persistent(NamedTuple):
    """An object that the pickle only refers to."""

    identity: Any


class Opcodes(NamedTuple):
    """Opcodes as they are."""

    code: bytes


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def code(value: Any) -> bytes:
    """The opcodes that leave a value on the stack; arrays are tensors by now."""
    match value:
        case Opcodes(found):
            return found
        case None | True | False:
            return {None: b"N", True: b"\x88", False: b"\x89"}[value]
        case int():
            return b"\x8a\x10" + value.to_bytes(16, "little", signed=True)
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return text(value)
        case Global(module, name):
            return f"c{module}\n{name}\n".encode()
        case Call(called, arguments):
            return code(called) + code(arguments) + b"R"
        case Persistent(identity):
            return code(identity) + b"Q"
        case dict():
            return b"}(" + b"".join(code(key) + code(item) for key, item in value.items()) + b"u"
        case list():
            return b"](" + b"".join(map(code, value)) + b"e"
        case tuple():
            return b"(" + b"".join(map(code, value)) + b"t"
    raise TypeError(type(value))


def pickled(value: Any) -> bytes:
    return b"\x80\x02" + code(value) + b"."


class Writer:
    """Replaces arrays by tensors, and collects their storages."""

    def __init__(self, view: tuple = ()):
        self.view, self.storages = view, {}

    def tensors(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.tensors(item) for key, item in value.items()}
        return self.tensor(value) if isinstance(value, np.ndarray) else value

    def tensor(self, array: np.ndarray, **claims: Any) -> Call:
        """A tensor of its own storage; `claims` say otherwise: shape, strides, offset, count."""
        key = str(len(self.storages))
        self.storages[key] = np.ascontiguousarray(array)
        storage = ("storage", Global("torch", STORAGES[array.dtype.name]), key, "cuda:0")
        storage += (claims.get("count", array.size), *self.view)
        steps = tuple(step // array.itemsize for step in self.storages[key].strides)
        arguments = (Persistent(storage), claims.get("offset", 0), claims.get("shape", array.shape))
        hooks = Call(Global("collections", "OrderedDict"), ())
        return Call(
            Global("torch._utils", "_rebuild_tensor_v2"), (*arguments, claims.get("strides", steps), False, hooks)
        )


def write_stream(path: Path, contents: Any, writer: Writer | None = None, *, little_endian: bool = True) -> Path:
    """The container before torch 1.6."""
    writer = writer or Writer(view=(None,))
    system = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {"short": 2}}
    parts = [pickled(0x1950A86A20F9469CFC6C), pickled(1001), pickled(system), pickled(writer.tensors(contents))]
    parts.append(pickled(list(writer.storages)))
    for array in writer.storages.values():
        parts += [struct.pack("<q", array.size), array.tobytes()]
    path.write_bytes(b"".join(parts))
    return path


def write_zip(
    path: Path, contents: Any, writer: Writer | None = None, *, order: bytes = b"little", compression: int = 0
) -> Path:
    """The container since torch 1.6."""
    writer = writer or Writer()
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled(writer.tensors(contents)))
        archive.writestr("archive/byteorder", order)
        for key, array in writer.storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
    return path
