"""Checksums of a folder's files, in the form that `sha256sum --check` reads too."""

import hashlib
import re
from pathlib import Path

from tfaae.errors import InputError

FILE = "SHA256SUMS"
LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files(folder: Path) -> list[Path]:
    """Every file in a folder and below it, in order, but for the checksums."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / FILE]


def write(folder: Path) -> None:
    """Writes `SHA256SUMS`: a line for each of `files`."""
    lines = [f"{of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files(folder)]
    (folder / FILE).write_text("".join(lines), encoding="utf-8")


def problems(folder: Path) -> list[str]:
    """What of a folder is not as its `SHA256SUMS` says: changed, missing, or not in the list.

    Raises:
        InputError: no such file, or one that is something else.
    """
    listed = _read(folder / FILE)
    there = {path.relative_to(folder).as_posix(): path for path in files(folder)}
    told = [f"{name} is missing" for name in sorted(listed.keys() - there.keys())]
    told += [f"{name} is not in {FILE}" for name in sorted(there.keys() - listed.keys())]
    both = sorted(listed.keys() & there.keys())
    return told + [f"{name} was changed" for name in both if of(there[name]) != listed[name]]


def _read(path: Path) -> dict[str, str]:
    """{file: checksum}."""
    if not path.is_file():
        raise InputError(f"{path} is missing: without it nobody can say whether the files are as they were made")
    found = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        match = LINE.fullmatch(line)
        if match is None:
            raise InputError(f"{path}: expected lines as sha256sum writes them, got {line[:80]!r}")
        found[match[2]] = match[1]
    return found
