"""From seconds a step to the numbers of the record, and to a table."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tfaae import config, growing, records
from tfaae.records import Metric, Record
from tools.bench import setting

PEERS = Path(__file__).parent / ".venv" / "bin" / "python"
CEILINGS = {
    "fp32": ("products-fp32", "products-fp32-xla", "torch-products-fp32"),
    "bf16": ("products-bf16", "torch-products-bf16"),
}
RATIOS = {  # ours / theirs
    "torch_default_fp32": ("tfaae-fp32", "torch-adam"),
    "torch_fused_fp32": ("tfaae-fp32", "torch-fused"),
    "torch_fused_bf16": ("tfaae-bf16", "torch-fused-bf16"),
    "pythae": ("tfaae-bf16", "pythae"),
    "pythae_fp32": ("tfaae-fp32", "pythae"),
    "keras_plain_fp32": ("tfaae-fp32", "keras-plain"),
    "with_xla_fp32": ("tfaae-fp32", "tfaae-fp32-xla"),
}
TRAINING = dict.fromkeys(name for pair in RATIOS.values() for name in pair)


class Answers(NamedTuple):
    """What a contender took."""

    group: str
    batch: int
    first: float  # seconds to build the model and take a first step
    seconds: list[float]  # of a step, turn by turn


Found = list[dict[str, Answers]]


def metrics(found: Found, memory: float) -> dict[str, Metric]:
    """The record's. Ratios are of two contenders in the same turn."""
    numbers: dict[str, list[float]] = {"peak_memory_mib": [memory]}
    for group in found:
        one = next(iter(group.values()))
        numbers |= dict(KINDS[one.group](group, one.batch))
    return {name: Metric.of(values) for name, values in numbers.items()}


def _each(values: Callable[..., float], *answers: Answers) -> list[float]:
    return [values(*turn) for turn in zip(*(one.seconds for one in answers), strict=True)]


def _training(group: dict[str, Answers], batch: int) -> Iterator[tuple[str, list[float]]]:
    for name, (ours, theirs) in RATIOS.items():
        yield f"ratio_{name}_b{batch}", _each(lambda mine, other: other / mine, group[ours], group[theirs])
    for precision, names in CEILINGS.items():
        best = _each(min, *(group[name] for name in names))
        seconds = group[f"tfaae-{precision}"].seconds
        yield f"share_of_matmul_ceiling_{precision}_b{batch}", [a / b for a, b in zip(best, seconds, strict=True)]
        work = sum(2e-9 * rows * inner * columns for _, rows, inner, columns in setting.products(batch))
        yield f"matmul_ceiling_gflops_{precision}_b{batch}", [work / one for one in best]
    for name in TRAINING:
        label = name.replace("-", "_")
        yield f"images_per_second_{label}_b{batch}", _each(lambda took: batch / took, group[name])
        yield f"seconds_to_first_step_{label}_b{batch}", [group[name].first]


def _frame(group: dict[str, Answers], batch: int) -> Iterator[tuple[str, list[float]]]:
    both = group["tfaae-observed"], group["tfaae-bare"]
    yield "frame_overhead_percent", _each(lambda whole, bare: 100 * (whole / bare - 1), *both)


def _style(group: dict[str, Answers], batch: int) -> Iterator[tuple[str, list[float]]]:
    both = group["tfaae-style"], group["torch-style"]
    yield "ratio_stylealae_torch_64px", _each(lambda mine, other: other / mine, *both)
    yield "images_per_second_stylealae_64px", _each(lambda took: batch / took, both[0])


def _grown(group: dict[str, Answers], batch: int) -> Iterator[tuple[str, list[float]]]:
    """Images a second at each resolution, and what all epochs of the config would take at that."""
    rates = [_each(lambda took: batch / took, group[f"tfaae-grown-{size}"]) for size in setting.GROWN_SIZES]
    for size, each in zip(setting.GROWN_SIZES, rates, strict=True):
        yield f"images_per_second_{setting.GROWN}_{size}px", each
    train = config.load(config.find(setting.GROWN)).train
    told = train.growing
    assert told is not None
    epochs = [0] * len(setting.GROWN_SIZES)
    for stage in growing.stages(len(epochs), train.epochs, told.epochs_per_lod, told.batches, told.learning_rates):
        epochs[stage.lod] += stage.end - stage.first
    seconds = [
        sum(setting.GROWN_IMAGES * count / rate for count, rate in zip(epochs, turn, strict=True))
        for turn in zip(*rates, strict=True)
    ]
    yield f"estimated_days_{setting.GROWN}", [one / 86_400 for one in seconds]


def _data(group: dict[str, Answers], batch: int) -> Iterator[tuple[str, list[float]]]:
    yield f"images_per_second_data_alone_b{batch}", _each(lambda took: batch / took, group["pipeline"])


def _latency(group: dict[str, Answers], batch: int) -> Iterator[tuple[str, list[float]]]:
    for name in ("encode", "decode"):
        yield f"{name}_milliseconds_b{batch}", _each(lambda took: 1000 * took, group[name])


KINDS: dict[str, Callable[[dict[str, Answers], int], Iterator[tuple[str, list[float]]]]] = {
    "training": _training,
    "frame": _frame,
    "style": _style,
    "grown": _grown,
    "data": _data,
    "latency": _latency,
}


def table(found: Found, memory: float) -> str:
    """Every number: median, smallest and largest over turns."""
    rows = [f"{'':<58} {'median':>10} {'least':>10} {'most':>10}"]
    for name, metric in metrics(found, memory).items():
        spread = " ".join(f"{value:>10.4g}" for value in (median(metric.runs), min(metric.runs), max(metric.runs)))
        rows.append(f"{name:<58} {spread}")
    return "\n".join(rows)


def versions() -> dict[str, str]:
    """Ours and the peers'."""
    code = "from importlib.metadata import version; print(version('torch'), version('pythae'))"
    ran = subprocess.run([PEERS, "-c", code], capture_output=True, text=True, check=True)
    return records.versions() | dict(zip(("torch", "pythae"), ran.stdout.split(), strict=True))


def write(found: Found, memory: float, seconds: float, folder: Path | None, *, command: str) -> Path:
    """The record, into docs/results unless a folder is given."""
    record = Record(
        experiment="bench-cpu",
        command=command,
        commit=records.commit(),
        machine=records.machine(),
        versions=versions(),
        seconds=round(seconds, 1),
        seeds=[0],
        selected_on="nothing: no result of training is looked at",
        config={"units": setting.UNITS, "code": setting.CODE, "batches": setting.BATCHES, "style": setting.STYLE},
        metrics=metrics(found, memory),
        paper={},
        public={},
        notes="Runs are turns of a few seconds, one contender after the other; a ratio above 1 is ours being faster. "
        "pythae makes two updates a step where the others make three; ours is in bfloat16 there unless it says fp32. "
        "docs/speed.md says what each number means.",
    )
    if folder is None:
        return records.write(record)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "bench-cpu.json"
    path.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return path
