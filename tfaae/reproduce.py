"""Running an experiment: trains what is not trained yet, measures it on the test images, keeps the record."""

import csv
import json
import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tfaae import (
    bounds,
    durable,
    evaluate,
    features,
    grid,
    growing,
    likelihood,
    quality,
    records,
    train,
)
from tfaae import config as configs
from tfaae import data as sources
from tfaae.config import Config, Section
from tfaae.data import Data
from tfaae.errors import InputError
from tfaae.experiments import Experiment, Part, find
from tfaae.models import LatentModel
from tfaae.records import Metric, Record

ANNEALED, SIMULATED = 500, 100  # test images, and images that the model draws
LOG_LIKELIHOOD = "annealing.npy"  # of a run's folder: what `annealed` found for each image
PARZEN_SAMPLES = {"10k": 10_000, "1m": 1_000_000}


def reproduce(
    name: str,
    *,
    runs: str | Path = "runs/reproduce",
    seeds: Sequence[int] = (),
    parts: Sequence[str] = (),
    overrides: Sequence[str] = (),
) -> tuple[Record, Path]:
    """Trains and measures an experiment; what an earlier call finished is not trained again.

    Args:
        name: of the experiment.
        runs: folder of the runs, each at `<experiment>/<part>-<seed>`.
        seeds: instead of the experiment's own.
        parts: some of the experiment's parts; the record then holds their metrics alone. Without: all but those that
            take days.
        overrides: of the configs. The record of a changed experiment is kept beside its runs, not in docs/results;
            nor does one of fewer seeds or parts take the place of a fuller one there.
    Returns:
        The record and where it was written.
    Raises:
        InputError: before anything is trained: an unknown experiment or part, data that is not there, a folder with
        a run of another config. Later: a number that is not finite.
    """
    experiment = find(name)
    seeds = tuple(seeds) or experiment.seeds
    unknown = set(parts) - set(experiment.parts)
    if unknown:
        raise InputError(f"{name} has no part {', '.join(sorted(unknown))} (parts: {', '.join(experiment.parts)})")
    chosen = {
        label: part for label, part in experiment.parts.items() if (label in parts if parts else not part.takes_days)
    }
    folder = Path(runs) / name
    found: dict[str, list[float]] = {}
    resolved: dict[str, Any] = {}
    planned = [
        (label, part, configs.load(configs.find(part.config), [*part.overrides, *overrides, f"seed={seed}"]))
        for label, part in chosen.items()
        for seed in seeds
    ]
    _check(name, {folder / f"{label}-{config.seed}": config for label, _, config in planned})
    for label, part, config in planned:
        resolved.setdefault(label, config.model_dump(mode="json", exclude={"seed"}))
        values = _run(part, config, folder / f"{label}-{config.seed}")
        for metric, key in part.metrics.items():
            if not math.isfinite(values[key]):
                raise InputError(f"{name}: {key} of {label}-{config.seed} is {values[key]}; there is no record of that")
            found.setdefault(metric, []).append(values[key])
    found |= _gains(experiment, folder, chosen, seeds)
    command = _command(name, experiment, seeds, parts, overrides)
    notes = [Note.of(folder / f"{label}-{config.seed}") for label, _, config in planned]
    record = _record(name, experiment, command, resolved, found, seeds, [note for note in notes if note])
    if not overrides and _replaces(record):
        return record, records.write(record)
    path = folder / "record.json"
    path.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return record, path


def _gains(
    experiment: Experiment, folder: Path, parts: Collection[str], seeds: Sequence[int]
) -> dict[str, list[float]]:
    """What one part's log-likelihood gains over another's on the same images, seed by seed, with its standard error."""
    found: dict[str, list[float]] = {}
    for metric, pair in experiment.gains.items():
        for seed in seeds if set(pair) <= set(parts) else ():
            first, second = (np.load(folder / f"{part}-{seed}" / LOG_LIKELIHOOD) for part in pair)
            mean, error = bounds.paired(first, second)
            found.setdefault(metric, []).append(mean)
            found.setdefault(f"{metric}_se", []).append(error)
    return found


def finished(runs: str | Path, name: str, part: str) -> Path | None:
    """The folder of the first of a part's runs, in the order of its seeds, that is trained and measured."""
    experiment = find(name)
    kept = f"measured-{experiment.parts[part].measure}.json"
    folders = (Path(runs) / name / f"{part}-{seed}" for seed in experiment.seeds)
    return next((folder for folder in folders if (folder / kept).is_file()), None)


def _check(name: str, runs: dict[Path, Config]) -> None:
    """Raises an InputError where a folder holds a run of another config, or where data is not there."""
    for folder, config in runs.items():
        files = train.Run(folder)
        if files.config.is_file() and wherever(configs.load(files.config)) != wherever(config):
            raise InputError(f"{folder} holds a run of another config; choose another --runs, or remove it")
    for data, seed in {config.data: config.seed for config in runs.values()}.items():
        try:
            sources.load(data, seed)
        except InputError as error:
            raise InputError(f"{name} needs {data.name}: {error}") from error


def wherever(config: Config) -> Config:
    """The config without what only says where data lies."""
    path = config.data.path and str(configs.expanded(config.data.path).absolute())
    data = config.data.model_copy(update={"data_dir": None, "download": False, "path": path})
    return config.model_copy(update={"data": data})


def _replaces(record: Record) -> bool:
    """Whether a record has every seed and metric of the one that is stored."""
    if not (records.folder() / f"{record.experiment}.json").is_file():
        return True
    stored = records.read(record.experiment)
    return set(stored.seeds) <= set(record.seeds) and stored.metrics.keys() <= record.metrics.keys()


def _run(part: Part, config: Config, folder: Path) -> dict[str, float]:
    """One run's numbers, from its folder where it is finished."""
    kept = folder / f"measured-{part.measure}.json"
    if kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))
    data = sources.load(config.data, config.seed)
    with _noted(folder) as note:
        train.run(config, folder, resume=True, saved=note)  # trains nothing where the run is finished
        values = MEASURES[part.measure](train.load(folder)[2], data, folder)
    durable.write(kept, json.dumps(values, indent=2) + "\n")
    return values


class Note(Section):
    """What a record tells of how a run was trained."""

    machine: str
    commit: str
    seconds: float = 0.0  # training and measuring

    @classmethod
    def here(cls) -> "Note":
        return cls(machine=records.machine(), commit=records.commit())

    @classmethod
    def of(cls, folder: Path) -> "Note | None":
        path = folder / "trained.json"
        return cls.model_validate_json(path.read_text(encoding="utf-8")) if path.is_file() else None

    def keep(self, folder: Path) -> None:
        durable.write(folder / "trained.json", self.model_dump_json(indent=2) + "\n")


@contextmanager
def _noted(folder: Path) -> Iterator[Callable[[], None]]:
    """Notes where a run began, and adds the seconds inside: at the end, and whenever what it yields is called.

    So an interruption loses none, and a process that is killed only those since its last checkpoint.
    """
    note = Note.of(folder) or Note.here()
    started = time.monotonic()

    def keep() -> None:
        if folder.is_dir():
            note.model_copy(update={"seconds": note.seconds + time.monotonic() - started}).keep(folder)

    try:
        yield keep
    finally:
        keep()


def _command(name: str, experiment: Experiment, seeds: Sequence[int], parts: Sequence[str], overrides) -> str:
    words = ["tfaae", "reproduce", name]
    if tuple(seeds) != experiment.seeds:
        words += ["--seeds", ",".join(map(str, seeds))]
    words += [word for part in parts for word in ("--part", part)]
    words += [word for override in overrides for word in ("--set", override)]
    return " ".join(words)


def _record(
    name: str,
    experiment: Experiment,
    command: str,
    resolved: dict[str, Any],
    found: dict[str, list[float]],
    seeds: Sequence[int],
    notes: Sequence[Note],
) -> Record:
    return Record(
        experiment=name,
        command=command,
        commit=", ".join(dict.fromkeys(note.commit for note in notes)),
        machine="; ".join(dict.fromkeys(note.machine for note in notes)),
        versions=records.versions(),
        seconds=round(sum(note.seconds for note in notes), 1),
        seeds=list(seeds),
        selected_on=experiment.selected_on,
        config=resolved,
        metrics={metric: Metric.of(values) for metric, values in found.items()},
        paper=dict(experiment.paper),
        public=dict(experiment.public),
        notes=experiment.notes,
    )


# === What is measured ===


def parzen(model: LatentModel, data: Data, folder: Path) -> dict[str, float]:
    """Parzen log-likelihood of the test images in nats, with its standard error over them (table 1)."""
    found: dict[str, float] = {}
    for size, count in PARZEN_SAMPLES.items():
        report = likelihood.parzen_report(model, data.validation.images, data.test.images, count)
        found |= {f"parzen_nats_{size}": report["nats"], f"parzen_nats_{size}_se": report["nats_se"]}
        found[f"parzen_sigma_{size}"] = report["sigma"]
    return found


def agreement(model: LatentModel, data: Data, folder: Path) -> dict[str, float]:
    """How often a classifier that was trained apart reads, in 10,000 samples, the label that was asked for."""
    classifier = features.classifying(data.train)
    labels = np.arange(10_000, dtype=np.int32) % model.classes
    samples = np.asarray(model.sample(labels=labels, seed=0))
    read, right = (np.argmax(classifier.predict(images, verbose=0), axis=-1) for images in (samples, data.test.images))
    return evaluate.evaluate(model, data) | {
        "classifier_agreement_percent": float(100 * np.mean(read == labels)),
        "classifier_test_error_percent": float(100 * np.mean(right != data.test.labels)),
    }


def by_grid(model: Any, data: Data, folder: Path) -> dict[str, float]:
    """The numbers of a model with a 2-D code on a few points, without bounds and adversaries (`tfaae.grid`)."""
    images = np.unique(data.test.images, axis=0)
    found = grid.decomposition(model, images)
    found["reconstruction_error"] = found["reconstruction"] / math.prod(images.shape[1:])
    return found | {"log_likelihood": float(np.mean(grid.log_likelihood(model, images)))}


def annealed(model: Any, data: Data, folder: Path) -> dict[str, float]:
    """log p(x) of the first 500 test images by annealing, 5 chains of 1,000 steps as in the paper, beside bounds.

    `gap`, of 100 images that the model draws: how far too low annealing is at most.
    The images' own values are kept in the run's folder, where `gains` finds them.
    """
    images = data.test.images[:ANNEALED]
    found = evaluate.log_likelihood(model, images, folder / "annealing.npz", gap=SIMULATED)
    return found | evaluate.evaluate(model, data)


def bound(model: Any, data: Data, folder: Path) -> dict[str, float]:
    """The importance bound of 5,000 draws on the first 500 test images, beside what `evaluate` finds."""
    found = bounds.importance_bound(model, data.test.images[:ANNEALED], 5000, jit_compile=evaluate.is_dense(model))
    mean, error = bounds.summary(found)
    return {"importance_bound_5000": mean, "importance_bound_5000_se": error} | evaluate.evaluate(model, data)


def latent(model: Any, data: Data, folder: Path) -> dict[str, float]:
    """What the codes of an adversarial latent autoencoder know of labels, and how its images look to a classifier.

    Codes are those of the encoder as it was trained, running averages left out, as the authors' table has it.
    """
    found = quality.by_length({"short": model.encoder, "long": model.encoder.features}, data)
    network = features.get("classifier", images=data.train, folder=train.Run(folder).networks)
    return found | quality.measure(model, data, ["fid"], network) | evaluate.evaluate(model, data)


def grown(model: Any, data: Data, folder: Path) -> dict[str, float]:
    """Distances of samples at the end of each resolution, by the history, and of what came out at last."""
    files, config, _ = train.load(folder)
    told = config.train.growing
    assert told is not None
    with files.history.open(encoding="utf-8") as rows:
        distances = [float(row["fid_generation_classifier"]) for row in csv.DictReader(rows)]
    levels = model.growth.levels
    plan = growing.stages(levels, config.train.epochs, told.epochs_per_lod, told.batches, told.learning_rates)
    found = {f"fid_generation_classifier_lod_{stage.lod}": distances[stage.end - 1] for stage in plan}
    last = distances[plan[-1].first :]
    found["rises_in_last_stage"] = float(sum(later > earlier for earlier, later in pairwise(last)))
    network = features.get("classifier", images=data.train, folder=files.networks)
    return found | quality.measure(model, data, ["fid", "ppl"], network) | evaluate.evaluate(model, data)


MEASURES: dict[str, Callable[[Any, Data, Path], dict[str, float]]] = {
    "evaluate": lambda model, data, folder: evaluate.evaluate(model, data),
    "parzen": parzen,
    "agreement": agreement,
    "grid": by_grid,
    "bound": bound,
    "annealed": annealed,
    "latent": latent,
    "grown": grown,
}
