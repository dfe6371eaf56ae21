"""Files that outlast what stops a process, and signals that wait for the step."""

import os
import signal
import threading
from pathlib import Path

import pytest
import tensorflow as tf

from tests import torture
from tests.cases import CASES
from tfaae import callbacks, durable, event_files
from tfaae.errors import InputError


@pytest.fixture(autouse=True)
def ctrl_c():
    """Raises KeyboardInterrupt: a child of a background job would ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# === Signals ===


def hit_twice(checkpoint: callbacks.Checkpoint, reached: list[str]) -> None:
    with checkpoint.interruptible():
        os.kill(os.getpid(), signal.SIGINT)
        reached.append("between")
        os.kill(os.getpid(), signal.SIGTERM)
        reached.append("after")


def test_a_second_signal_does_not_wait(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    reached = []
    with pytest.raises(SystemExit) as stop:
        hit_twice(callbacks.Checkpoint(tmp_path / "any.keras"), reached)
    assert stop.value.code == 143
    assert reached == ["between"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_after_the_last_step_is_not_lost(tmp_path):
    with pytest.raises(KeyboardInterrupt), callbacks.Checkpoint(tmp_path / "any.keras").interruptible():
        os.kill(os.getpid(), signal.SIGINT)


def test_what_is_ignored_stays_ignored(tmp_path):
    """As `nohup` and background jobs have it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with callbacks.Checkpoint(tmp_path / "any.keras").interruptible():
        os.kill(os.getpid(), signal.SIGINT)


def test_other_threads_hear_no_signals(tmp_path):
    entered = []

    def enter():
        with callbacks.Checkpoint(tmp_path / "any.keras").interruptible():
            entered.append(True)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered


# === Files ===


def test_checkpoints_within_an_epoch(tmp_path):
    """Only what is due is written: every fourth step, and the end."""
    written = []

    class Counts(callbacks.Checkpoint):
        def save(self):
            written.append(self._step)

        def on_train_batch_end(self, batch, logs=None):
            self._step = batch + 1
            super().on_train_batch_end(batch, logs)

        def on_epoch_end(self, epoch, logs=None):
            self._step = "end"
            super().on_epoch_end(epoch, logs)

    for every, expected in ((4, [4, 8, "end"]), (5, [5, 10, "end"]), (12, ["end"]), (None, ["end"])):
        counts = Counts(tmp_path / "any.keras", every=every)
        counts.set_params({"steps": 12})
        counts.on_epoch_begin(0)
        for batch in range(12):
            counts.on_train_batch_end(batch)
        counts.on_epoch_end(0)
        assert written == expected
        written.clear()


def test_curves_are_cut(tmp_path):
    def values(folder) -> list[int]:
        return [step for points in torture.curves(folder).values() for step, _ in points]

    for first in (0, 3, 6):
        with tf.summary.create_file_writer(str(tmp_path / "train"), filename_suffix=f".{first}").as_default():
            for step in range(first, first + 3):
                tf.summary.scalar("loss", step, step)
    (torn,) = (tmp_path / "train").glob("*.0")  # names do not sort by age: a process counts its files, 9 to 10
    torn.write_bytes(torn.read_bytes()[:-3])
    event_files.cut(tmp_path, 5)
    assert values(tmp_path) == [0, 1, 3, 4]  # 2 was torn
    assert len(list((tmp_path / "train").iterdir())) == 2
    before = {path: path.stat().st_ino for path in (tmp_path / "train").iterdir()}
    event_files.cut(tmp_path, 5)
    assert before == {
        path: path.stat().st_ino for path in (tmp_path / "train").iterdir()
    }  # nothing to cut, not touched
    event_files.cut(tmp_path, 0)
    assert not list((tmp_path / "train").iterdir())


def test_a_checkpoint_is_on_the_disk_before_it_takes_the_place_of_the_last(tmp_path, monkeypatch):
    """And its name is before the run goes on. A power cut leaves of the rest what it likes, in any order."""
    calls, fsync, replace = [], os.fsync, os.replace

    def synced(number):
        path = Path(os.readlink(f"/proc/self/fd/{number}"))
        calls.append(("fsync", path, None if path.is_dir() else path.read_bytes()))
        fsync(number)

    def replaced(source, target):
        calls.append(("replace", Path(source), Path(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    checkpoint = callbacks.Checkpoint(tmp_path / "any.keras")
    checkpoint.set_model(CASES["aae-deterministic"].compiled())
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "curves").write_text("of an epoch")
    callbacks.OnDisk(tmp_path).on_epoch_end(0)
    checkpoint.on_epoch_end(0)
    partial, whole = calls[-2][1], checkpoint.path.read_bytes()
    assert {path for _, path, _ in calls[:-3]} == {tmp_path, tmp_path / "logs", tmp_path / "logs" / "curves"}
    assert calls[-3:] == [
        ("fsync", partial, whole),
        ("replace", partial, checkpoint.path),
        ("fsync", tmp_path, None),
    ]


def write_half(path: Path) -> None:
    with durable.replacing(path) as partial:
        partial.write_text("half")
        partial.write_text("\N{SNOWMAN}", encoding="ascii")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    durable.write(path, "first")
    with pytest.raises(UnicodeEncodeError):
        write_half(path)
    with pytest.raises(InputError, match="file was not written, No such file"), durable.replacing(path):
        pass
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / "below" / "partial-x").mkdir(parents=True)
    durable.clean(tmp_path)
    assert not list((tmp_path / "below").iterdir())
    with pytest.raises(InputError, match="no such file was there before"):
        durable.write(tmp_path / "nowhere" / "file", "text")


def test_time_left_is_that_of_the_run(monkeypatch, capsys):
    clock = iter([0.0, 5.0, 50.0, 300.0])
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: next(clock))
    left = callbacks.TimeLeft(epochs=12)
    for epoch in (2, 3, 4, 5):  # in whatever calls of fit
        left.set_params({"epochs": 3})
        left.on_train_begin()
        left.on_epoch_begin(epoch)
    assert capsys.readouterr().out.splitlines() == ["about 3 min left", "about 12 min left"]
