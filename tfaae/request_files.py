"""Requests from a command line: arrays and pictures from files, answers to files."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tfaae import figures
from tfaae.client import Signature
from tfaae.config import DataConfig
from tfaae.errors import InputError, choose
from tfaae.image_sources import SUFFIXES, read_image


def read(words: Sequence[str], known: Mapping[str, Signature], signature: str) -> dict[str, np.ndarray]:
    """Values of `input=value` words: numbers and lists as JSON has them, `.npy` arrays, pictures as batches of one.

    A picture is cropped and resized to what the signature takes.

    Raises:
        InputError: another form, or a file that cannot be read.
    """
    inputs = known[choose("signature", signature, known)].inputs
    found = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise InputError(f"an input is NAME=VALUE, count=16 say, got {word!r}")
        shape = inputs[choose("input", name, inputs)].shape
        suffix = Path(text).suffix.lower()
        if suffix == ".npy":
            found[name] = _array(Path(text))
        elif suffix in SUFFIXES:
            found[name] = _picture(Path(text), shape)
        else:
            found[name] = _number(word, text)
    return found


def _array(path: Path) -> np.ndarray:
    try:
        if not path.is_file():  # a pipe would be waited for
            raise ValueError("no such file")
        found = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: a size that is claimed takes no memory
    except Exception as error:  # NumPy reads the head as Python, with Python's errors
        raise InputError(f"{path} is no .npy array of numbers: {error}") from None
    if not isinstance(found, np.ndarray):
        raise InputError(f"{path} is no .npy array of numbers but an archive of arrays")
    return _numeric(path, found)


def _numeric(what: object, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise InputError(f"{what}: expected numbers, got {array.dtype} {list(array.shape)}")
    return array


def _picture(path: Path, shape: Sequence[int | None]) -> np.ndarray:
    if len(shape) != 4:
        raise InputError(f"{path} is a picture, but the input takes {len(shape)} dimensions")
    if shape[1] is None or shape[1] != shape[2] or shape[3] not in (1, 3):
        raise InputError(f"{path} is a picture, but the input takes {list(shape)[1:]}, no square of 1 or 3 channels")
    pixels = read_image(path, DataConfig(name="folder", size=shape[1], channels=shape[3]))
    if isinstance(pixels, str):
        raise InputError(f"{path} cannot be read: {pixels}")
    return pixels[None].astype(np.float32) / 255


def _number(word: str, text: str) -> np.ndarray:
    try:
        found = np.array(json.loads(text))
    except (ValueError, RecursionError):
        raise InputError(f"{word}: expected a number, a list, or a .npy, {' or '.join(SUFFIXES)} file") from None
    return _numeric(word, found)


def write(answer: Mapping[str, np.ndarray], given: Mapping[str, np.ndarray], out: Path | None) -> Iterator[str]:
    """Lines that say where the answer is; without a file, the answer itself.

    Raises:
        InputError: images without a file, a `.png` of something else.
    """
    (name, value), *_ = answer.items()
    pictures = value.ndim == 4
    if out is None and pictures:
        raise InputError("the answer is images; say where to with --out samples.png")
    if out is None:
        rows = value.reshape(value.shape[0] if value.ndim else 1, math.prod(value.shape[1:]))
        yield from (" ".join(f"{number:.6g}" for number in row) for row in rows)
        return
    if out.suffix == ".npy":
        np.save(out, value)
    elif not pictures:
        raise InputError(f"the answer is {name} {list(value.shape)}, no images; use --out {out.with_suffix('.npy')}")
    elif "images" in given:
        out.write_bytes(figures.to_png(figures.reconstructions(given["images"], value)))
    else:
        out.write_bytes(figures.to_png(figures.samples(value, title="")))
    yield f"{name} {list(value.shape)} in {out}"
