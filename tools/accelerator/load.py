"""Makes run folders of what `run.py` left, for `tfaae reproduce` to measure.

    python -m tools.accelerator.load OUT --runs runs/reproduce

Each run gets its weights, its config with the epochs that were trained, its history, and a note of where and how it was
trained. Optimizers stay at their start: such a run is finished, it cannot go on.
"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np

from tfaae import building, records, train
from tfaae import data as sources
from tfaae.models import LatentModel
from tfaae.reproduce import Note
from tools.accelerator import vectorised
from tools.accelerator.save import Member

HOW = (
    "{device}: the package's train_step as XLA programs of up to {together} runs side by side under JAX {jax} "
    "(tools/accelerator), starts and draws from that machine's generators, weights brought back as float16"
)


def load(out: Path, runs: Path) -> None:
    found = json.loads((out / "run.json").read_text(encoding="utf-8"))
    with np.load(out / "weights.npz") as file:
        weights = {int(at): file[at].astype(np.float32) for at in file.files}
    names = found["members"]
    for place, name in enumerate(names):
        member = Member.of(name, [*found["overrides"], f"train.epochs={found['epochs']}"])
        model = building.build(member.config, sources.load(member.config.data, member.config.seed))
        _assign(model, {at: stacked[place] for at, stacked in weights.items()})
        model.steps.assign(found["epochs"] * found["steps"])
        files = train.Run(runs / name)
        files.create(member.config)
        model.save(files.checkpoint)
        _history(files, found, place)
        how, seconds = HOW.format(together=len(names), **found), found["seconds"] / len(names)
        Note(machine=how, commit=records.commit(), seconds=seconds).keep(files.folder)
        print(f"{files.folder}: {found['epochs']} epochs")


def _assign(model: LatentModel, values: dict[int, np.ndarray]) -> None:
    variables = vectorised.variables(model)
    for at, value in values.items():
        variables[at].assign(value)
    if model.averages is not None:  # what was brought back; the weights themselves were not
        for source, copy in model.averages.pairs():
            source.assign(copy.value)


def _history(files: train.Run, found: dict, place: int) -> None:
    with files.history.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["epoch", *found["names"]])
        for epoch, row in enumerate(found["metrics"]):
            lines.writerow([epoch, *(values[place] for values in row)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/reproduce"))
    given = parser.parse_args()
    load(given.out, given.runs)


if __name__ == "__main__":
    main()
