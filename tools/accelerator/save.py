"""Compiles the training of several runs, side by side, to one XLA program for a machine that has no TensorFlow.

    python -m tools.accelerator.save FOLDER aae-semi-100/best-0 aae-semi-100/best-1 aae-semi-1000/best-0

A run is named as `tfaae reproduce` names its folder, `<experiment>/<part>-<seed>`. Runs of one program have one model
and one number of training images; which images have labels, the seed and the order of the images are each run's own.
The program is the package's own `train_step`, vectorised over the runs, an epoch a call.
"""

import argparse
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from tfaae import building, experiments
from tfaae import config as configs
from tfaae import data as sources
from tfaae.config import Config
from tfaae.models import LatentModel
from tools.accelerator import vectorised

LARGE = 16_384  # values a run; smaller arrays travel, larger kernels are drawn anew on the other machine


@dataclasses.dataclass
class Member:
    """One of the runs that train side by side."""

    name: str
    config: Config

    @classmethod
    def of(cls, name: str, overrides: list[str]) -> "Member":
        experiment, run = name.split("/")
        part, seed = run.rsplit("-", 1)
        found = experiments.find(experiment).parts[part]
        return cls(name, configs.load(configs.find(found.config), [*found.overrides, *overrides, f"seed={seed}"]))


class Ensemble:
    """The stacked variables of all runs, and the epoch that moves them."""

    def __init__(self, members: list[Member]):
        self.members = members
        first = members[0].config
        splits = [sources.load(member.config.data, member.config.seed) for member in members]
        for member in members:
            if member.config.model != first.model or member.config.optim != first.optim:
                raise SystemExit(f"{member.name}: runs of one program have one model and one set of optimizers")
        self.batch, self.labelled_batch = first.data.batch, first.data.labelled_batch
        self.models = [building.build(member.config, data) for member, data in zip(members, splits, strict=True)]
        self.model: LatentModel = self.models[0]
        self.count = len(splits[0].train)
        self.steps = self.count // self.batch
        self.images = tf.constant(_bytes(splits[0].train.images))
        self.labels = tf.constant(np.stack([data.train.labels for data in splits]))
        if self.labelled_batch:
            self.known, self.cycle = (tf.constant(found) for found in self._labelled())
        self.variables = vectorised.variables(self.model)
        each = [vectorised.variables(model) for model in self.models]
        self.stacked = [tf.Variable(np.stack([np.asarray(v) for v in same])) for same in zip(*each, strict=True)]
        self.epochs = tf.Variable(np.float32(first.train.epochs))
        vectorised.make_functional(self.model)

    def _labelled(self) -> tuple[np.ndarray, np.ndarray]:
        """`[runs, steps * labelled_batch]` rows of labelled images in cycles, and the number of each row's cycle."""
        rows, cycles = [], []
        for labels in self.labels.numpy():
            known = np.flatnonzero(labels >= 0)
            at = np.arange(self.steps * self.labelled_batch)
            rows.append(known[at % len(known)])
            cycles.append(at // len(known))
        return np.stack(rows).astype(np.int32), np.stack(cycles).astype(np.float32)

    def epoch(self, index: tf.Tensor) -> dict[str, tf.Tensor]:
        """One pass over the training images by every run; returns what `fit` reports, `[runs]` each."""
        self._stretch_schedules()
        trackers = {id(variable) for tracker in self.model.metrics for variable in tracker.variables}
        for variable, value in zip(self.variables, self.stacked, strict=True):
            if id(variable) in trackers:
                value.assign(tf.zeros_like(value))
        order = tf.argsort(self._uniform(index, 0, self.count), axis=1)
        labelled = order
        if self.labelled_batch:
            at = tf.argsort(self.cycle + self._uniform(index, 1, self.known.shape[1]), axis=1)
            labelled = tf.gather(self.known, at, batch_dims=1)
        for step in tf.range(self.steps):
            batches = [tf.slice(order, [0, step * self.batch], [len(self.members), self.batch])]
            if self.labelled_batch:
                more = [len(self.members), self.labelled_batch]
                batches.append(tf.slice(labelled, [0, step * self.labelled_batch], more))
            moved = tf.vectorized_map(
                self._step, ([v.value() for v in self.stacked], self.labels, batches), fallback_to_while_loop=False
            )
            for variable, value in zip(self.stacked, moved, strict=True):
                variable.assign(value)
        values = {id(variable): value for variable, value in zip(self.variables, self.stacked, strict=True)}
        found = {tracker.name: (values[id(tracker.total)], values[id(tracker.count)]) for tracker in self.model.metrics}
        return {name: total / tf.maximum(count, 1) for name, (total, count) in found.items()}

    def _uniform(self, index: tf.Tensor, stream: int, length: int) -> tf.Tensor:
        seed = tf.stack([tf.constant(self.members[0].config.seed * 2 + stream), index])
        return tf.random.stateless_uniform([len(self.members), length], seed)

    def _step(self, given: tuple) -> list[tf.Tensor]:
        """A run's `train_step` as a function of its variables' values."""
        values, labels, batches = given
        pairs = [(tf.cast(tf.gather(self.images, rows), tf.float32) / 255, tf.gather(labels, rows)) for rows in batches]
        data = pairs[0] if len(pairs) == 1 else tuple(zip(*pairs, strict=True))
        with keras.StatelessScope(state_mapping=list(zip(self.variables, values, strict=True))):
            self.model.train_step(data)
            return [
                tf.cast(variable.value, value.dtype) for variable, value in zip(self.variables, values, strict=True)
            ]

    def _stretch_schedules(self) -> None:
        """Cosines take the number of epochs from a variable: it is set where the program runs."""
        for optimizer in self.model.optimizers.values():
            schedule = optimizer._learning_rate
            if isinstance(schedule, keras.optimizers.schedules.CosineDecay):
                schedule.decay_steps = self.epochs * self.steps


def _bytes(images: np.ndarray) -> np.ndarray:
    """Images as uint8: they travel four times smaller."""
    found = np.rint(images * 255).astype(np.uint8)
    if not np.allclose(found / 255, images, atol=1e-6):
        raise SystemExit("images are not of 8 bits")
    return found


def without_copies(program: bytes) -> bytes:
    """Copies become reshapes to the same shape: JAX's plugins know no copy."""
    module = hlo_pb2.HloModuleProto.FromString(program)
    for computation in module.computations:
        for instruction in computation.instructions:
            if instruction.opcode == "copy":
                instruction.opcode = "reshape"
    return module.SerializeToString()


def start(ensemble: Ensemble, tensor: tf.Tensor, folder: Path) -> dict[str, Any]:
    """How the other machine makes the first value of what the program captured."""
    if tensor.dtype != tf.resource:
        return _file(tensor.numpy(), folder)
    if tensor is ensemble.epochs.handle:
        return _file(ensemble.epochs.numpy(), folder) | {"epochs": True}
    at = next(i for i, variable in enumerate(ensemble.stacked) if variable.handle is tensor)
    value = ensemble.stacked[at].numpy()
    shape, variable = list(value.shape), ensemble.variables[at]
    model = ensemble.model
    if model.averages is not None:
        for source, copy in model.averages.pairs():
            if copy is variable and value[0].size > LARGE:
                source_at = next(i for i, v in enumerate(ensemble.variables) if v is source)
                return {"like": source_at}
    if not value.any():
        return {"zeros": shape, "dtype": value.dtype.str}
    if value[0].size > LARGE:
        std = model.initial_std or np.sqrt(2 / sum(shape[1:]))  # Glorot's uniform has this deviation
        kind = "normal" if model.initial_std else "uniform"
        if abs(value.std() / std - 1) > 0.02:
            raise SystemExit(f"{variable.path} does not start as networks.Builder starts a kernel")
        return {kind: float(std), "shape": shape, "seeds": [[m.config.seed, at] for m in ensemble.members]}
    return _file(value, folder)


def _file(array: np.ndarray, folder: Path) -> dict[str, Any]:
    """Arrays are kept by content: programs in one folder share the images."""
    name = hashlib.sha256(array.tobytes() + str((array.shape, array.dtype)).encode()).hexdigest()[:16] + ".npz"
    if not (folder.parent / name).is_file():
        np.savez_compressed(folder.parent / name, array)
    return {"file": name}


def save(names: list[str], folder: Path, overrides: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ensemble = Ensemble([Member.of(name, overrides) for name in names])
    index = tf.constant(0, tf.int32)
    function = tf.function(ensemble.epoch, jit_compile=True)
    concrete = function.get_concrete_function(index)
    compiler = function.experimental_get_compiler_ir(index)
    header = compiler(stage="hlo").split("\n", 1)[0]
    (folder / "program.hlo").write_bytes(without_copies(compiler(stage="hlo_serialized")))
    captured = list(concrete.captured_inputs)
    stacked = {id(variable.handle): at for at, variable in enumerate(ensemble.stacked)}
    wanted = [weight for layer in ensemble.model.exported() for weight in layer.weights]
    program = {
        "members": names,
        "overrides": overrides,
        "steps": ensemble.steps,
        "names": sorted(concrete.structured_outputs),
        "replaces": vectorised.replaced(header),
        "start": [start(ensemble, tensor, folder) for tensor in captured],
        "stacked": [stacked.get(id(tensor)) for tensor in captured],
        "keep": [at for at, variable in enumerate(ensemble.variables) if any(variable is w for w in wanted)],
    }
    (folder / "program.json").write_text(json.dumps(program, indent=1), encoding="utf-8")
    size = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
    print(f"{folder}: {len(names)} runs, {ensemble.steps} steps an epoch, {size:.1f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the configs")
    given = parser.parse_args()
    save(given.runs, given.folder, given.set)


if __name__ == "__main__":
    main()
