"""Model cards: what a model is, how it was made, what it reaches beside others; all of it from configs and records."""

from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from tfaae import config as configs
from tfaae import gallery, records, signatures
from tfaae.config import Config
from tfaae.experiments import EXPERIMENTS, Experiment
from tfaae.models import LatentModel
from tfaae.records import Metric, Record, value
from tfaae.reproduce import wherever


class Origin(NamedTuple):
    """Of a run that `tfaae reproduce` made."""

    experiment: Experiment
    part: str
    record: Record  # that counts the run
    stored: Record | None  # that of docs/results

    @property
    def metrics(self) -> list[str]:
        """Those of the part, in the record's words."""
        return [name for name in self.experiment.parts[self.part].metrics if name in self.record.metrics]


def write(
    name: str,
    config: Config,
    model: LatentModel,
    values: dict[str, float],
    *,
    measured: str,
    epochs: int,
    origin: Origin | None,
) -> str:
    """A model card in Markdown, up to what `export.save` adds.

    Args:
        name: of the export.
        config: that the model was trained by.
        values: what `evaluate` measured on the test images of the data set `measured`.
        epochs: that the run finished.
        origin: of the run (`origin_of`).
    """
    data = config.data.model_copy(update={"path": None, "data_dir": None})  # where data lay says nothing elsewhere
    config = config.model_copy(update={"data": data})
    family = type(model).__name__
    first = (type(model).__doc__ or "").splitlines()[0]
    what = origin.experiment.title if origin else first.rstrip(".")
    published = {metric: _own(origin, metric, config.seed) for metric in origin.metrics} if origin else {}
    head = gallery.head_of(name, family, config.data.name, what, published | values)
    parts = [f"# {family} on {config.data.name}\n\n{first}\n", _answers(model), _made(config, model, epochs, origin)]
    if origin:
        parts.append(_beside(origin, config.seed))
    parts += [_measured(measured, values), _use(config, model, values, origin)]
    return head + "\n".join(parts)


def origin_of(run: Path, config: Config) -> Origin | None:
    """Where the numbers of a run are recorded: beside it, or in docs/results; None: it is no part of an experiment."""
    experiment, (part, _, _) = run.absolute().parent.name, run.absolute().name.rpartition("-")
    if experiment not in EXPERIMENTS or part not in EXPERIMENTS[experiment].parts:
        return None
    stored = _read(records.folder() / f"{experiment}.json")
    for record in (_read(run.absolute().parent / "record.json"), stored):
        if record and config.seed in record.seeds and _is_of(record, part, config):
            return Origin(EXPERIMENTS[experiment], part, record, stored)
    return None


def _read(path: Path) -> Record | None:
    return records.read_file(path) if path.is_file() else None


def _is_of(record: Record, part: str, config: Config) -> bool:
    if part not in record.config:
        return False
    return wherever(configs.parse(record.config[part] | {"seed": config.seed})) == wherever(config)


def _own(origin: Origin, metric: str, seed: int) -> float:
    return origin.record.metrics[metric].runs[origin.record.seeds.index(seed)]


# === Sections ===


def _answers(model: LatentModel) -> str:
    height, width, channels = model.image_shape
    rows = "".join(
        f"| `{name}` | {', '.join(f'`{spec.name} {_shape(spec)}`' for spec in found.inputs)} | `{found.output}` |\n"
        for name, found in signatures.signatures(model).items()
    )
    return f"""- Images: `[n, {height}, {width}, {channels}]` float32 in [0, 1]; codes: `[n, {model.code_dim}]` float32.
- `serving_default` is `{model.serving_default}`. TFLite: `encoder` holds `encode`, `generator` `decode`, `classifier`
  `classify`.

| signature | inputs | output |
|---|---|---|
{rows}"""


def _made(config: Config, model: LatentModel, epochs: int, origin: Origin | None) -> str:
    command = origin.record.command if origin else "tfaae train CONFIG --out RUN"
    told = f"    {command}\n\nSeed {config.seed}; {epochs} of {config.train.epochs} epochs, {int(model.steps)} steps"
    if origin:
        record = origin.record
        versions = ", ".join(f"{name} {number}" for name, number in record.versions.items())
        runs = (
            f"all {len(record.metrics)} numbers of the record" if len(record.config) > 1 else "training and measuring"
        )
        told += f"; commit {record.commit}; {record.machine}; {record.seconds / 60:.0f} minutes for {runs}.\n{versions}"
    return f"""## Trained by

{told}.

```yaml
{config.to_yaml()}```
"""


def _beside(origin: Origin, seed: int) -> str:
    record, stored = origin.record, origin.stored
    rows = ""
    for metric in origin.metrics:
        ours = value(Metric.of([_own(origin, metric, seed)]))
        recorded = value(stored.metrics.get(metric) if stored else None)
        paper, public = value(record.paper.get(metric)), value(record.public.get(metric))
        rows += f"| `{metric}` | {ours} | {recorded} | {paper} | {public} |\n"
    sources = "".join(
        f"- `{metric}`: {reference.mean:g}, {reference.source}.\n"
        for published in (record.paper, record.public)
        for metric, reference in published.items()
        if metric in origin.metrics
    )
    told = "".join(f"\n{part.rstrip()}\n" for part in (sources, record.notes) if part)
    changed = ""
    if stored is None:
        changed = "docs/results has no record of it yet.\n"
    elif stored != record:
        changed = f"The record is of another config: {_changes(stored, origin)}.\n"
    return f"""## Beside the paper

`tfaae reproduce {record.experiment}` on the test images; selected on {record.selected_on}. A dash: nobody published it.
{changed}
| metric | this model | record | paper | best public |
|---|---|---|---|---|
{rows}{told}"""


def _changes(stored: Record, origin: Origin) -> str:
    """The keys in which the repository's record differs, with its values."""
    theirs, ours = (record.config.get(origin.part, {}) for record in (stored, origin.record))
    found = []
    for section in ("data", "model", "optim", "train"):
        one, other = theirs.get(section, {}), ours.get(section, {})
        for key in sorted(one.keys() | other.keys()):
            if one.get(key) != other.get(key) and not (
                one.get(key) in (None, False) and other.get(key) in (None, False)
            ):
                found.append(f"`{section}.{key}` {one.get(key, 'its default')}")
    return ", ".join(found) or "the part is not in it"


def _measured(data: str, values: dict[str, float]) -> str:
    rows = "".join(f"| {key} | {number:.5g} |\n" for key, number in values.items())
    return f"""## Test images of {data}

| metric | value |
|---|---|
{rows}"""


def _use(config: Config, model: LatentModel, values: dict[str, float], origin: Origin | None) -> str:
    height, width, channels = model.image_shape
    labels = config.data.labelled
    told = [
        f"Meant for: a look at the codes that {type(model).__name__} learns, trying out TensorFlow Serving and LiteRT, "
        "and as a yardstick for models of your own.",
        f"It has seen {config.data.name} alone, {height} x {width} pixels in {'grey' if channels == 1 else 'colour'}: "
        "what it makes of other images says nothing about them, and it does not tell that they are others.",
        "Its draws are as one-sided as the images that it was trained on.",
    ]
    if labels:
        told.append(f"{labels} training images had a label; which ones follows from the seed, and so does the error.")
    if "error_percent" in values:
        told.append(f"Of 100 test images, {values['error_percent']:.1f} are given a wrong class.")
    match, alone = (values.get(f"sliced_wasserstein_{name}") for name in ("to_prior", "prior_to_prior"))
    if match is not None and alone is not None:
        told.append(
            f"Codes and prior are {match:.3g} apart (sliced Wasserstein distance), two sets of draws of the prior "
            f"{alone:.3g}: the larger that gap, the more draws decode to no image that it has learnt."
        )
    seeds = len(origin.record.seeds) if origin else 1
    told.append(f"Numbers are of {'one seed' if seeds == 1 else f'one of {seeds} seeds'}; they say nothing of others.")
    return "## Use and limits\n\n" + "".join(f"- {line}\n" for line in told)


def _shape(spec: tf.TensorSpec) -> str:
    sizes = ", ".join("n" if size is None else str(size) for size in spec.shape)
    return f"[{sizes}] {spec.dtype.name}"
