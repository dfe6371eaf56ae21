"""Runs of `python -m tfaae` that die where they are told to, and what they leave, bit for bit.

This file is a program, too: it imports the package once, and for each line that it reads it plays the command in a
process forked from itself (TensorFlow has started no threads yet), which spares every run the seconds of importing.
"""

import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import yaml

STEPS, WRITES, EPOCHS = "steps", "writes", "epochs"  # what a fate counts


class Player:
    """Plays commands, one at a time."""

    def __init__(self):
        command = [sys.executable, "-W", "ignore", "-m", "tests.torture"]
        alone = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # numpy would start threads
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=alone)

    def play(self, *arguments: object, log: Path, **fate: Any) -> int:
        """The exit code of the command, minus the signal that it died of.

        Args:
            log: takes what it prints.
            fate: of `_doom`, in the process itself; or `line` and `seconds`, of a kill from outside that long after
                the line was printed.
        """
        told = {"arguments": [str(argument) for argument in arguments], "log": str(log), "fate": fate}
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


class Victim:
    """A run in its folder, and another of the same config that nothing stops.

    Args:
        raw: the config.
        whole: the folder of the other; None: it is made.
        options: more of `tfaae train`.
    """

    def __init__(
        self,
        player: Player,
        folder: Path,
        raw: dict[str, Any],
        whole: Path | None = None,
        options: tuple[str, ...] = (),
    ):
        self.player, self.options = player, options
        self.log, self.config = folder / "log.txt", folder / "config.yaml"
        self.folder, self.whole = folder / "run", whole or folder / "whole"
        self.config.write_text(yaml.safe_dump(raw))
        if whole is None:
            assert self.play(self.whole) == 0, self.log.read_text()
        self.size = (self.whole / "checkpoint.keras").stat().st_size

    def play(self, folder: Path, **fate: Any) -> int:
        return self.player.play("train", self.config, "--out", folder, "--resume", *self.options, log=self.log, **fate)

    def resume(self, **fate: Any) -> int:
        """As `Player.play`."""
        return self.play(self.folder, **fate)

    def rests(self) -> None:
        """Nothing stops it any more, and nothing is to show that something had."""
        assert self.resume() == 0, self.log.read_text()
        assert_as_if_nothing_had_happened(self.folder, self.whole)


# === What a run leaves ===


def checkpoint(folder: Path) -> dict[str, bytes]:
    """All arrays in the checkpoint's file, by their names."""
    import h5py

    found: dict[str, bytes] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()].tobytes()

    with (
        zipfile.ZipFile(folder / "checkpoint.keras") as archive,
        h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file,
    ):
        file.visititems(keep)
    return found


def curves(folder: Path) -> dict[tuple[str, str], list[tuple[int, bytes]]]:
    """(run, tag) -> every step with its value, in the order of the files, nothing hidden."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for run in sorted({path.parent for path in folder.rglob("events.out.tfevents.*")}):
        events = EventAccumulator(str(run), size_guidance={"tensors": 0}, purge_orphaned_data=False).Reload()
        for tag in events.Tags()["tensors"]:
            values = [(event.step, event.tensor_proto.SerializeToString()) for event in events.Tensors(tag)]
            found[str(run.relative_to(folder)), tag] = values
    return found


def assert_as_if_nothing_had_happened(folder: Path, whole: Path) -> None:
    first, second = checkpoint(folder), checkpoint(whole)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    assert (folder / "history.csv").read_bytes() == (whole / "history.csv").read_bytes()
    assert curves(folder) == curves(whole)
    assert not list(folder.rglob("partial-*"))


# === The program ===


def _doom(fate: dict[str, Any]) -> None:
    """Arranges the death of this process.

    Args:
        fate: `steps` and `signal`: after so many. `writes`: in that write of a checkpoint; with `bytes`, when so many
            are on the disk (`full`: there is room for no more); without, `before` or after the file is replaced.
            `epochs`: at that end of an epoch, after the callback of that name in `after`.
    """
    import keras

    from tfaae import callbacks, checkpoints, durable

    seen = dict.fromkeys((STEPS, WRITES, EPOCHS), 0)

    def reached(what: str) -> bool:
        seen[what] += 1
        return seen[what] == fate.get(what)

    def die(number: int = signal.SIGKILL) -> None:
        os.kill(os.getpid(), number)

    def stepped(self, batch, logs=None, real=callbacks.StopOnNonFinite.on_train_batch_end):
        real(self, batch, logs)
        if reached(STEPS):
            die(signal.Signals[fate["signal"]])

    def saved(self, real=checkpoints.Checkpoint.save):
        if not reached(WRITES) or "bytes" not in fate:
            return real(self)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN if fate.get("full") else signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (fate["bytes"], resource.RLIM_INFINITY))
        try:
            real(self)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def replaced(source, target, real=os.replace):
        here = seen[WRITES] == fate.get(WRITES) and "bytes" not in fate and Path(target).suffix == ".keras"
        if here and fate.get("before"):
            die()
        real(source, target)
        if here:
            die()

    callbacks.Pictures.draw = lambda self, epoch: None  # seconds of a run that has few
    callbacks.StopOnNonFinite.on_train_batch_end = stepped
    checkpoints.Checkpoint.save = saved
    durable.os.replace = replaced
    if "after" in fate:
        after: Any = getattr(callbacks, fate["after"], None) or getattr(keras.callbacks, fate["after"])

        def ended(self, epoch, logs=None, real=after.on_epoch_end):
            real(self, epoch, logs)
            if reached(EPOCHS):
                die()

        after.on_epoch_end = ended


def _play(told: dict[str, Any]) -> None:
    """The command, in this process."""
    import runpy

    log = os.open(told["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout.reconfigure(line_buffering=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a child of a background job would ignore it
    _doom(told["fate"])
    sys.argv = ["tfaae", *told["arguments"]]
    runpy.run_module("tfaae", run_name="__main__")


def _kill(child: int, log: Path, line: str, seconds: float) -> None:
    """From outside, whatever the process is doing then."""
    begun = log.stat().st_size if log.exists() else 0
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if log.exists() and line in log.read_text()[begun:]:
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
            return
        time.sleep(0.01)


def main() -> None:
    """Reads commands and answers with their exit codes."""
    from tfaae.quiet import import_tensorflow

    import_tensorflow()
    import sklearn.datasets  # noqa: F401

    import tfaae.train  # noqa: F401

    for line in sys.stdin:
        told = json.loads(line)
        assert len(os.listdir("/proc/self/task")) == 1, "a process with threads does not fork well"
        child = os.fork()
        if child == 0:
            _play(told)
            os._exit(0)
        fate = told["fate"]
        if "line" in fate:
            _kill(child, Path(told["log"]), fate["line"], fate["seconds"])
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def fates(random_: random.Random, epochs: tuple[str, ...], size: int) -> Any:
    """An endless variety of deaths, none of which lets a run get far."""
    while True:
        yield {"steps": random_.randint(1, 9), "signal": random_.choice(["SIGKILL", "SIGTERM", "SIGINT"])}
        yield {"writes": random_.randint(1, 3), "bytes": random_.randint(0, size)}
        yield {"epochs": 1, "after": random_.choice(epochs)}
        yield {"writes": random_.randint(1, 3), "before": random_.random() < 0.5}
        yield {"line": "Epoch ", "seconds": random_.random()}


if __name__ == "__main__":
    main()
