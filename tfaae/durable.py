"""Files that are there whole or as they were before, wherever a process or the machine stops."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfaae.errors import InputError

PARTIAL = "partial-"
FULL = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields where to write instead, in a folder beside; what is there at the end takes the place of `path`.

    It is on the disk before it does. An exception inside leaves the old file, and nothing beside it.

    Raises:
        InputError: the disk does not take it.
    """
    path = Path(path)
    try:
        with _beside(path) as partial:
            yield partial
            sync(partial)
            os.replace(partial, path)
            sync(path.parent)
    except OSError as error:
        kept = "the file that was there stays" if path.exists() else "no such file was there before"
        raise InputError(f"{path} was not written, {error.strerror or error}: {kept}; make room, then go on") from error


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=path.parent))
    try:
        yield folder / path.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def roomy(folder: str | Path, *errors: type[Exception]) -> Iterator[None]:
    """Inside, a disk that is full is an InputError, whoever wrote into the folder; a library's `errors` tell it too."""
    kinds: tuple[type[Exception], ...] = (OSError, *errors)
    try:
        yield
    except kinds as error:
        reason = next((text for text in FULL if text in str(error)), None)
        if reason is None:
            raise
        raise InputError(
            f"{folder}: {reason}; the last checkpoint, if there is one, stays; make room, then go on"
        ) from error


def write(path: str | Path, contents: str | bytes) -> None:
    """As `replacing`, with contents that are at hand."""
    with replacing(path) as partial:
        partial.write_bytes(contents if isinstance(contents, bytes) else contents.encode())


def clean(folder: Path) -> None:
    """Removes what killed writes have left in a folder and below it."""
    for left in list(folder.rglob(f"{PARTIAL}*/")):
        shutil.rmtree(left)


def sync(path: Path) -> None:
    """Waits until a file, or the list of a folder's files, is on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def sync_all(folder: Path) -> None:
    """As `sync`, of a folder and everything below it."""
    for path in (folder, *folder.rglob("*")):
        sync(path)
