"""TFRecord files as StyleGAN's `dataset_tool.py` writes them (Karras, Laine and Aila 2019), read in any order.

A data set is a folder of `NAME-rKK.tfrecords`, one file for each resolution of 2^KK pixels; ALAE's are cut into parts,
`NAME-rKK.tfrecords.000` and so on. A record is a `tf.train.Example` of `shape`, three int64 (channels, height, width),
and `data`, as many bytes.
"""

import os
import re
import struct
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.python.lib.io.tf_record import tf_record_random_reader  # the only one from any place of a file

from tfaae.errors import InputError

HEAD = 12  # bytes before a record: its length, and the checksum of that
FILE = re.compile(r"(.+)-r(\d\d)\.tfrecords(\.\d+)?")


class Record(NamedTuple):
    """Where one lies."""

    path: Path
    number: int  # of its file's records
    start: int
    length: int


def files(folder: Path, size: int | None) -> list[Path]:
    """The files of one resolution in a folder, the largest without `size`; of a file, itself.

    Raises:
        InputError: no such files, none of that resolution, or files of two data sets.
    """
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise InputError(f"{folder} is neither a file nor a folder; expected *-rKK.tfrecords")
    found: dict[int, list[Path]] = defaultdict(list)
    names = set()
    for path in sorted(folder.iterdir()):
        if (match := FILE.fullmatch(path.name)) and path.is_file():  # a pipe would be waited for
            names.add(match[1])
            found[2 ** int(match[2])].append(path)
    if not found:
        raise InputError(f"no files *-rKK.tfrecords in {folder}; expected a data set of StyleGAN's dataset_tool.py")
    if len(names) > 1:
        raise InputError(f"{folder} holds {len(names)} data sets, {', '.join(sorted(names))}; keep each in its folder")
    chosen = size or max(found)
    if chosen not in found:
        raise InputError(f"{folder} has no images of {chosen} pixels; set data.size to one of {sorted(found)}")
    return found[chosen]


def index(path: Path) -> list[Record]:
    """Every record of a file, from their lengths alone. Raises an InputError where these do not add up to the file."""
    size = os.stat(path).st_size
    found: list[Record] = []
    end = 0
    with path.open("rb") as file:
        while end < size:
            file.seek(end)
            head = file.read(HEAD)
            length = struct.unpack("<Q", head[:8])[0] if len(head) == HEAD else size
            if not length:
                raise InputError(f"{path}: record {len(found)} is empty, or it is no TFRecord file; copy it again")
            found.append(Record(path, len(found), end + HEAD, length))
            end += HEAD + length + 4  # and a checksum of the data
            if end > size:
                raise InputError(
                    f"{path} is cut within record {found[-1].number}, at {size} bytes, or it is no TFRecord file; "
                    "copy it again"
                )
    if not found:
        raise InputError(f"{path} is empty; expected records of images")
    return found


def image(record: Record) -> np.ndarray:
    """`[h, w, c]` uint8.

    Raises:
        InputError: a record of something else, of too few bytes, or of no square of 2^k pixels.
    """
    where = f"{record.path}, record {record.number}"
    try:
        contents, _ = tf_record_random_reader(str(record.path)).read(record.start - HEAD)
    except (tf.errors.OpError, IndexError) as error:
        raise InputError(f"{where}: damaged, its checksum is another; copy the file again ({error})") from None
    try:
        features = tf.train.Example.FromString(contents).features.feature
    except Exception as error:  # protobuf's, which depends on its implementation
        raise InputError(f"{where}: damaged, or no tf.train.Example ({error})") from None
    if not {"shape", "data"} <= features.keys():
        raise InputError(f"{where}: expected the features shape and data, got {sorted(features)}")
    shape, data = tuple(features["shape"].int64_list.value), b"".join(features["data"].bytes_list.value)
    channels, height, width = shape if len(shape) == 3 else (0, 0, 0)
    if channels not in (1, 3) or height != width or height < 1 or height & (height - 1):
        raise InputError(f"{where}: expected a shape [1 or 3, size, size], the size a power of two, got {list(shape)}")
    if len(data) != channels * height * width:
        raise InputError(f"{where}: expected {channels * height * width} bytes for {list(shape)}, got {len(data)}")
    return np.frombuffer(data, np.uint8).reshape(shape).transpose(1, 2, 0)


def image_of(record: Record, shape: tuple[int, ...]) -> np.ndarray:
    """`image`, if it has the shape of the others."""
    found = image(record)
    if found.shape != shape:
        raise InputError(
            f"{record.path}, record {record.number}: {list(found.shape)}, but the first image is {list(shape)}"
        )
    return found
