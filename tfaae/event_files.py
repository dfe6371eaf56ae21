"""TensorBoard's event files, cut to the steps that count.

A run that goes on writes steps again that a killed process had written. TensorBoard's own means, a `SessionLog.START`
in the new file, hides the old ones from some of its readers only, so they are taken out.
"""

from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from tfaae import durable

FRAME = 16  # bytes around a record: its length, and two checksums


def cut(folder: Path, end: int) -> None:
    """Leaves, in all event files below a folder, the events of steps below `end`; files without any go.

    So does a record that a killed process left half.
    """
    for path in sorted(folder.rglob("events.out.tfevents.*")):
        kept = [record for record in _records(path) if tf.compat.v1.Event.FromString(record).step < end]
        if len(kept) < 2:  # the file's version alone
            path.unlink()
        elif sum(len(record) + FRAME for record in kept) < path.stat().st_size:
            with durable.replacing(path) as partial, tf.io.TFRecordWriter(str(partial)) as writer:
                for record in kept:
                    writer.write(record)


def _records(path: Path) -> Iterator[bytes]:
    """Whole records, up to the end of the file or to one that is not."""
    try:
        yield from tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    except tf.errors.DataLossError:
        return
