"""Measures everything that docs/speed.md speaks of, in turns, and writes the record `bench-cpu`.

.venv/bin/python -m tools.bench.run            # about 25 minutes on two free cores; docs/results/bench-cpu.json
.venv/bin/python -m tools.bench.run --quick --out FOLDER   # one short turn each: whether it runs, not how fast
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tools.bench import report, setting
from tools.bench.report import Answers

ROOT = Path(__file__).parent.parent.parent
PEERS = ROOT / "tools" / "bench" / ".venv" / "bin" / "python"


class Group(NamedTuple):
    """Contenders that take turns with each other."""

    name: str
    batch: int
    contenders: tuple[str, ...]


TRAINING = ("tfaae-fp32", "tfaae-fp32-xla", "tfaae-bf16", "torch-adam", "torch-fused", "torch-fused-bf16")
CEILING = ("products-fp32", "products-fp32-xla", "products-bf16", "torch-products-fp32", "torch-products-bf16")
GROUPS = (
    Group("training", 100, (*TRAINING, "pythae", "keras-plain", *CEILING)),
    Group("training", 1000, (*TRAINING, "pythae", "keras-plain", *CEILING)),
    Group("frame", 100, ("tfaae-bare", "tfaae-observed")),
    Group("style", 16, ("tfaae-style", "torch-style")),
    Group("grown", 16, tuple(f"tfaae-grown-{size}" for size in setting.GROWN_SIZES)),
    Group("data", 100, ("pipeline",)),
    Group("latency", 1, ("encode", "decode")),
    Group("latency", 256, ("encode", "decode")),
)


class Contender:
    """A process that waits for its turn."""

    def __init__(self, name: str, batch: int, images: Path):
        peer = name.startswith(("torch", "pythae"))
        python, module = (str(PEERS), "peers") if peer else (sys.executable, "ours")
        command = [python, "-m", f"tools.bench.{module}", name, "--batch", str(batch), "--images", str(images)]
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `leave`)
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        self.name = name
        self.first = self.answer()

    def answer(self) -> float:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise SystemExit(f"{self.name} died:\n{self.errors.read().decode()[-2000:]}")
        return json.loads(line)["seconds"]

    def turn(self, steps: int) -> float:
        """Seconds for so many steps."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return self.answer()

    def leave(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)
        self.errors.close()


def measure(group: Group, images: Path, repeats: int, seconds: float) -> dict[str, Answers]:
    """Seconds a step, turn by turn; and to the first step.

    Args:
        seconds: about as long as a turn takes.
    """
    contenders = []
    for name in group.contenders:  # one after the other: what a first step takes is measured alone
        contenders.append(Contender(name, group.batch, images))
    steps, found = {}, {one.name: Answers(group.name, group.batch, one.first, []) for one in contenders}
    for one in contenders:
        one.turn(1)  # what the second step still sets up
        steps[one.name] = max(1, math.ceil(seconds / max(one.turn(2) / 2, 1e-6)) if seconds else 1)
    for turn in range(repeats):
        for one in contenders if turn % 2 else reversed(contenders):
            found[one.name].seconds.append(one.turn(steps[one.name]) / steps[one.name])
    for one in contenders:
        one.leave()
    return found


def peak_memory(quick: bool, folder: Path) -> float:
    """MiB that a `tfaae train` holds at most."""
    told = ["aae_digits"] if quick else ["aae_mnist", "--set", "train.figures_every=2"]
    command = [sys.executable, "-m", "tfaae", "train", *told, "--set", f"train.epochs={1 if quick else 2}"]
    with (folder / "train.log").open("wb") as log:
        process = subprocess.Popen([*command, "--out", str(folder / "run")], cwd=ROOT, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed:\n{(folder / 'train.log').read_text()[-2000:]}")
    return usage.ru_maxrss / 1024


def write_images(path: Path, quick: bool) -> None:
    """The training images of MNIST, or, where it is only asked whether all runs, noise in their place."""
    if quick:
        np.save(path, np.random.default_rng(0).random((2000, 28, 28, 1), dtype=np.float32))
        return
    from tfaae import data
    from tfaae.config import DataConfig

    np.save(path, data.load(DataConfig(name="mnist")).train.images)


def play(quick: bool, only: str | None, say: Callable[[str], None]) -> tuple[list[dict[str, Answers]], float]:
    """Everything that is measured, group by group, and the peak of memory in MiB."""
    groups, found = [group for group in GROUPS if only in (None, group.name)], []
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.npy"
        write_images(images, quick)
        for group in groups:
            say(f"{group.name}, batch {group.batch}: {', '.join(group.contenders)}")
            found.append(measure(group, images, 1 if quick else 7, 0.0 if quick else 3.0))
        say("peak memory")
        return found, peak_memory(quick, Path(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one turn of one step each")
    parser.add_argument("--group", choices=sorted({group.name for group in GROUPS}), help="this one alone")
    parser.add_argument("--out", type=Path, help="folder for bench-cpu.json; default: docs/results")
    told = parser.parse_args()
    if (told.quick or told.group) and told.out is None:
        parser.error("--quick and --group measure too little for the record: choose another --out")
    if not PEERS.is_file():
        parser.error("no environment for the peers yet; tools/bench/README.md says how to make it")
    started = time.monotonic()
    found, memory = play(told.quick, told.group, lambda line: print(line, flush=True))
    print(report.table(found, memory))
    command = " ".join(["python -m tools.bench.run", *(["--quick"] if told.quick else [])])
    print(report.write(found, memory, time.monotonic() - started, told.out, command=command))


if __name__ == "__main__":
    main()
