"""Records: every number that the documents publish comes from a committed JSON file, one an experiment."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from tfaae import checkout
from tfaae.config import Section
from tfaae.errors import InputError


class Metric(Section, allow_inf_nan=False):
    """One number over runs; units are in its name."""

    mean: float
    std: float | None  # deviation over runs, n - 1 in the denominator; None for one run
    runs: list[float]

    @classmethod
    def of(cls, runs: Iterable[float]) -> "Metric":
        runs = [float(run) for run in runs]
        return cls(mean=float(np.mean(runs)), std=float(np.std(runs, ddof=1)) if len(runs) > 1 else None, runs=runs)


class Reference(Section):
    """A number that someone else published."""

    mean: float
    std: float | None = None
    source: str


class Record(Section):
    """What an experiment found, and everything that it takes to find it again."""

    experiment: str
    command: str
    commit: str
    machine: str
    versions: dict[str, str]
    seconds: float  # training and measuring, all runs
    seeds: list[int]
    selected_on: str  # the images that hyper-parameters were chosen on
    config: dict[str, Any]  # {part: resolved config}
    metrics: dict[str, Metric]
    paper: dict[str, Reference]
    public: dict[str, Reference]  # the best public implementation
    notes: str


def folder() -> Path:
    """docs/results of the checkout.

    Raises an InputError where the package is not in one.
    """
    return checkout.root("records") / "docs" / "results"


def write(record: Record) -> Path:
    """Writes docs/results/<experiment>.json."""
    path = folder() / f"{record.experiment}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return path


def read(experiment: str) -> Record:
    """The stored record of an experiment.

    Raises an InputError where there is none, or where the file is not a record.
    """
    path = folder() / f"{experiment}.json"
    if not path.is_file():
        raise InputError(f"no record of {experiment} yet; `tfaae reproduce {experiment}` makes one")
    return read_file(path)


def read_file(path: Path) -> Record:
    """The record in a file. Raises an InputError where the file is something else."""
    try:
        return Record.model_validate_json(path.read_text(encoding="utf-8"))
    except pydantic.ValidationError as error:
        raise InputError(f"{path} is not a record: {error.errors()[0]['loc']} {error.errors()[0]['msg']}") from None


def value(number: Metric | Reference | None) -> str:
    """mean ± deviation, with the same decimals; a dash where there is nothing."""
    if number is None:
        return "-"
    size = abs(number.mean)
    decimals = 1 if size >= 100 else 2 if size >= 0.1 else 4
    return f"{number.mean:.{decimals}f}" + (f" ± {number.std:.{decimals}f}" if number.std is not None else "")


def turns(metric: Metric) -> str:
    """As `value`, with the median: of turns on a machine that does other things, too, it says more."""
    middle = f", median {value(Metric.of([np.median(metric.runs)]))}" if len(metric.runs) > 1 else ""
    return value(metric) + middle


def counted(number: int, what: str) -> str:
    """1 run, 2 runs."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def show(record: Record) -> str:
    """A record as text for a terminal."""
    width = max(map(len, record.metrics))
    told = turns if record.experiment.startswith("bench-") else value
    lines = [f"{'':<{width}}  {'paper':>14}  {'best public':>14}  ours, {counted(len(record.seeds), 'run')}"]
    for name, metric in record.metrics.items():
        paper, public = value(record.paper.get(name)), value(record.public.get(name))
        each = ", ".join(f"{run:.4g}" for run in metric.runs)
        lines.append(f"{name:<{width}}  {paper:>14}  {public:>14}  {told(metric)}  [{each}]")
    seeds = ", ".join(map(str, record.seeds))
    facts = f"seeds {seeds}; {record.seconds / 60:.0f} min on {record.machine}; commit {record.commit}"
    return "\n".join([*lines, record.command, facts, f"selected on {record.selected_on}", record.notes])


def machine() -> str:
    """Cores and what they are, memory and GPUs; no name of the host."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    told = Path("/proc/cpuinfo")
    processor = _processor(told.read_text(encoding="utf-8") if told.is_file() else "")
    cores = counted(len(os.sched_getaffinity(0)), "core") + processor
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, text=True, check=False) if shutil.which(query[0]) else None
    gpus = found.stdout.splitlines() if found and found.returncode == 0 else []
    return ", ".join([cores, f"{memory:.0f} GiB", *(gpus or ["no GPU"])])


def _processor(cpuinfo: str) -> str:
    """Its name and what it has for products in bfloat16, in parentheses."""
    names = re.findall(r"^model name\s*: (.+)$", cpuinfo, flags=re.MULTILINE)[:1]
    units = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 bfloat16"}
    found = [*names, *(unit for flag, unit in units.items() if flag in cpuinfo.split())]
    return f" ({', '.join(found)})" if found else ""


def versions() -> dict[str, str]:
    """What decides numbers."""
    names = ("tensorflow", "keras", "tensorflow-probability", "numpy", "tfaae")
    return {name: version(name) for name in names} | {"python": platform.python_version()}


def commit() -> str:
    """The checkout's commit, `-dirty` where files of the package or its configs differ from it."""
    root = folder().parent.parent

    def git(*arguments: str) -> str:
        ran = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
        return ran.stdout.strip() if ran.returncode == 0 else ""

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "tfaae", "configs")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("-dirty" if changed else "")
