"""`.keras` files, looked through before Keras loads them: taken as plain data, and as no more than they hold.

Keras refuses Python's code in files by itself (`safe_mode`). What else a foreign file could ask of it is refused here:
other classes, files beside the weights to unpack, a model larger than memory.
"""

import json
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
from keras.src.backend.common import global_state

from tfaae.errors import InputError

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
KEYS = {"module", "class_name", "config", "registered_name", "compile_config"}  # of a model's description
OPTIMIZERS = {"keras.optimizers", "keras.optimizers.schedules"}  # the modules whose classes a model is compiled with
LARGEST_CONFIG, MOST_ITEMS = 1_000_000, 100  # bytes; items of a list: units of 100 layers
PENDING = "uninitialized_variables"  # where Keras notes what a stateless scope left without values


def check(path: Path, models: Mapping[str, Any]) -> None:
    """Raises an InputError unless the file describes one of the models, in plain data, with weights that it holds.

    What zip and JSON raise at a damaged file goes through.
    """
    if not path.is_file():  # a pipe would be waited for
        raise InputError(f"no file {path}; expected a .keras file")
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        _check_archive(path, entries)
        described = json.loads(archive.read(CONFIG))
    known = {f"tfaae>{name}": cls for name, cls in models.items()}
    name = described.get("registered_name") if isinstance(described, dict) else None
    if not isinstance(name, str) or name not in known:
        told = name or (described.get("class_name") if isinstance(described, dict) else type(described).__name__)
        raise InputError(f"{path} holds {told!r}, which is no model of tfaae")
    _check_plain(path, described, KEYS)
    (weights,) = [entry for entry in entries if entry.filename == WEIGHTS]
    numbers = count_numbers(known[name], described["config"])
    if 4 * numbers > weights.file_size:
        raise InputError(
            f"{path} describes a model of {numbers} numbers, but its weights are {weights.file_size} bytes"
        )


def _check_archive(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    names = sorted(entry.filename for entry in entries)
    if names != sorted([CONFIG, METADATA, WEIGHTS]):
        raise InputError(f"{path} holds {names}; a .keras file of tfaae has {CONFIG}, {METADATA} and {WEIGHTS}")
    if any(entry.compress_type or entry.file_size != entry.compress_size for entry in entries):
        raise InputError(f"{path} has compressed entries, which Keras does not write")
    if sum(entry.file_size for entry in entries) > os.stat(path).st_size:
        raise InputError(f"{path}: its entries claim more bytes than the file has")
    if max(entry.file_size for entry in entries if entry.filename != WEIGHTS) > LARGEST_CONFIG:
        raise InputError(f"{path} has a {CONFIG} or {METADATA} of more than {LARGEST_CONFIG} bytes")


def _check_plain(path: Path, described: dict[str, Any], keys: set[str]) -> None:
    """A class may be the model's, or an optimizer's or schedule's of Keras's or this package's."""
    if not described.keys() <= keys:
        raise InputError(f"{path} describes {sorted(described.keys() - keys)}, which no model of tfaae has")
    pending: list[Any] = [described["config"], described.get("compile_config")]
    while pending:
        part = pending.pop()
        if isinstance(part, list) and len(part) > MOST_ITEMS:
            raise InputError(f"{path} has a list of {len(part)} items; expected up to {MOST_ITEMS}")
        if isinstance(part, dict) and "class_name" in part:
            registered = str(part.get("registered_name")).startswith("tfaae>")
            if not registered and part.get("module") not in OPTIMIZERS:
                what = f"{part.get('module')}.{part['class_name']}"
                raise InputError(f"{path} asks for {what}, which is no optimizer; it is not loaded")
        pending += part.values() if isinstance(part, dict) else part if isinstance(part, list) else []


def count_numbers(model: Any, arguments: Mapping[str, Any]) -> int:
    """How many numbers a model's weights have, without making them; running averages are left out."""
    plain = {key: 0.0 if key.startswith("ema") else value for key, value in arguments.items()}
    before = list(global_state.get_global_attribute(PENDING) or [])
    try:
        with keras.StatelessScope(initialize_variables=False):  # variables get shapes there, and values later
            return sum(math.prod(weight.shape) for weight in model.from_config(plain).weights)
    finally:
        global_state.set_global_attribute(PENDING, before)
