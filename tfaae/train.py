"""Training runs: config -> data -> model -> fit -> a folder with everything that is looked at."""

import contextlib
import os
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfaae import callbacks as board
from tfaae import config as configs
from tfaae import data as sources
from tfaae import (
    durable,
    event_files,
    execution,
    features,
    frechet,
    growing,
    keras_files,
    metrics,
)
from tfaae.building import build
from tfaae.checkpoints import Leg
from tfaae.config import Config
from tfaae.data import Data, Part, Split
from tfaae.distribution import Team
from tfaae.errors import InputError
from tfaae.growing import Stage
from tfaae.models import AVB, AdaptiveAVB, LatentModel, PhasedModel, StyleALAE, final_models


class Run:
    """Where a run keeps its files."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.config = self.folder / "config.yaml"
        self.checkpoint = self.folder / "checkpoint.keras"
        self.logs = self.folder / "logs"
        self.figures = self.folder / "figures"
        self.history = self.folder / "history.csv"
        self.metrics = self.folder / "metrics.json"
        self.quality = self.folder / "quality.json"
        self.networks = self.folder.absolute().parent / "networks"  # feature networks, of all runs beside this one

    def check_free(self) -> None:
        """Raises an InputError where the folder already holds something."""
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            what = "already holds a run" if self.config.exists() else "is not an empty folder"
            raise InputError(f"{self.folder} {what}; choose another --out, or remove it")

    def create(self, config: Config) -> None:
        """Makes the folder, if it is free, and writes the config."""
        self.check_free()
        self.folder.mkdir(parents=True, exist_ok=True)
        durable.write(self.config, _absolute(config).to_yaml())

    @property
    def finished_epochs(self) -> int:
        """Rows of the history."""
        return max(0, len(self.history.read_bytes().splitlines()) - 1) if self.history.is_file() else 0

    def cut(self, epochs: int) -> None:
        """Takes out of history and curves what is of later epochs than these."""
        event_files.cut(self.logs, epochs)
        if self.history.is_file():
            lines = self.history.read_bytes().splitlines(keepends=True)  # bytes: the line ends stay as they are
            if epochs:
                durable.write(self.history, b"".join(lines[: epochs + 1]))
            else:
                self.history.unlink()


def _absolute(config: Config) -> Config:
    """The config with paths that hold in any working directory."""
    paths = {key: getattr(config.data, key) for key in ("path", "data_dir")}
    found = {key: str(configs.expanded(path).absolute()) for key, path in paths.items() if path}
    return config.model_copy(update={"data": config.data.model_copy(update=found)})


def run(
    config: Config,
    folder: str | Path,
    *,
    resume: bool = False,
    saved: Callable[[], None] = lambda: None,
    team: Team | None = None,
) -> Run:
    """Trains and leaves `config.yaml`, `checkpoint.keras`, `logs/`, `figures/` and `history.csv` in the folder.

    SIGTERM and Ctrl-C end it as `Checkpoint.interruptible` says.

    Args:
        resume: goes on after the last step in the checkpoint of the run that is in the folder, if there is one, to the
            same weights, history and curves as if nothing had stopped it.
        saved: is called after every checkpoint.
        team: the replicas that share every batch, of `distribution.team`; None: one device. Its chief alone writes.
    Raises:
        InputError: anything wrong with the config, the data or the folder, before training starts; a loss that is not
            finite, or a disk that is full.
        ConnectionError: a worker of the team was lost.
    """
    team = team or Team()
    with team.together(), durable.roomy(folder, tf.errors.OpError):
        return _run(config, folder, resume, saved, team)


def _run(config: Config, folder: str | Path, resume: bool, saved: Callable[[], None], team: Team) -> Run:
    files = Run(folder)
    if resume and team.chief:
        durable.clean(files.folder)
    going_on = resume and files.config.is_file()
    if going_on:
        _check_same(config, files)
    elif team.chief:
        files.check_free()
    data = sources.load(config.data, config.seed)
    with team.scope():
        # not built first: a second model's operations have other names, by which TensorFlow orders sums
        model = load_model(files.checkpoint) if going_on and files.checkpoint.is_file() else build(config, data)
    plan = _plan(config, model, data)
    _share(config, plan, team)
    execution.check_steps(model, *(len(data.train) // stage.batch for stage in plan))
    print(execution.describe(model), flush=True)
    files = Run(team.folder(folder))
    start = _position(model, plan, len(data.train))
    team.agree("the steps that are done", int(tf.convert_to_tensor(model.steps)))
    if going_on and team.chief:
        files.cut(start[0])
    else:
        files.create(config)
    checkpoint = board.Checkpoint(
        files.checkpoint, every=config.train.checkpoint_every, saved=saved, agreement=team.agreement()
    )
    time_left = board.TimeLeft(config.train.epochs)
    with checkpoint.interruptible():
        for stage in plan:
            if start[0] < stage.end:
                _fit(model, config, data, files, checkpoint, time_left, stage, start, team)
                start = (stage.end, 0)
    return files


def _share(config: Config, plan: list[Stage], team: Team) -> None:
    """Says how the team shares a batch, if it can."""
    for stage in plan:
        team.check(batch=stage.batch, labelled_batch=config.data.labelled_batch)
    if team.replicas > 1:
        print(team.told(plan[-1].batch), flush=True)


def _plan(config: Config, model: PhasedModel, data: Data) -> list[Stage]:
    """What is trained when: one stage, or two for each resolution of a model that grows."""
    told = config.train.growing
    if told is None:
        return [Stage(0, False, 0, config.train.epochs, config.data.batch)]
    if not isinstance(model, StyleALAE):
        raise InputError(f"train.growing: {type(model).__name__} does not grow; leave it out, or use StyleALAE")
    if max(told.batches) > len(data.train):
        raise InputError(f"train.growing.batches: {len(data.train)} training images do not fill {max(told.batches)}")
    levels = model.growth.levels
    return growing.stages(levels, config.train.epochs, told.epochs_per_lod, told.batches, told.learning_rates)


def _fit(
    model: Any,
    config: Config,
    data: Data,
    files: Run,
    checkpoint: board.Checkpoint,
    time_left: board.TimeLeft,
    stage: Stage,
    start: tuple[int, int],
    team: Team,
) -> None:
    """Trains what is left of a stage, from an epoch and a step of it on."""
    split, steps = data.train, len(data.train) // stage.batch
    grows = config.train.growing is not None
    if grows and start == (stage.first, 0):
        _enter(model, stage, steps * stage.batch)
    if grows and not split.stored:
        split = Split(growing.all_shrunk(split.images, model.growth.size), split.labels)
    for leg in checkpoint.legs(model, steps_per_epoch=steps, epochs=stage.end, start=start):
        callbacks = [board.StopOnNonFinite(), checkpoint]
        if team.chief:
            callbacks = _callbacks(config, data, files, checkpoint, time_left)
        try:
            model.fit(
                team.dataset(partial(_batches, config, split, stage, leg, size=model.growth.size if grows else None)),
                epochs=stage.end,
                initial_epoch=leg.epoch,
                steps_per_epoch=leg.steps,
                shuffle=False,
                **_validation(data.validation, team),
                verbose=1 if sys.stdout.isatty() and "NO_COLOR" not in os.environ else 2,
                callbacks=callbacks,
            )
        except BaseException as error:
            _close(callbacks)
            if isinstance(error, tf.errors.OpError) and (told := sources.input_error(error)):
                raise told from None  # an image that was read while training
            raise


def _batches(config: Config, split: Split, stage: Stage, leg: Leg, part: Part, *, size: int | None) -> tf.data.Dataset:
    """A replica's part of the batches of a leg; images that are read from disk, shrunk to `size` where it is given."""
    training = sources.batches(
        split,
        stage.batch,
        seed=config.seed,
        epochs=stage.end,
        first_epoch=leg.epoch,
        first_step=leg.step,
        labelled_batch=config.data.labelled_batch,
        binarise=config.data.binarise,
        flip=config.data.flip,
        distortion=config.data.distortion,
        part=part,
    )
    if size and split.stored:
        return training.map(lambda images, labels: (growing.shrunk(images, size), labels))
    return training


def _enter(model: StyleALAE, stage: Stage, images: int) -> None:
    """Makes a growing model ready for a stage, of so many images an epoch."""
    print(f"{4 * 2**stage.lod} x {4 * 2**stage.lod} pixels, {'fading in' if stage.fading else 'stable'}", flush=True)
    if stage.fading or stage.lod == 0 or model.growth.lod != stage.lod:
        model.start(stage.lod, stage.fade * images)
        for optimizer in model.optimizers.values():
            optimizer.learning_rate = stage.learning_rate
    else:
        model.settle()


def _check_same(config: Config, files: Run) -> None:
    others = configs.differences(configs.load(files.config), _absolute(config))
    if others:
        raise InputError(
            f"{files.folder} holds a run of another config: {', '.join(others)}; choose another --out, or remove it"
        )


def _position(model: PhasedModel, plan: list[Stage], images: int) -> tuple[int, int]:
    """Whole epochs that the model has seen, and steps of the next."""
    done, rest = 0, int(tf.convert_to_tensor(model.steps))
    for stage in plan:
        steps = images // stage.batch
        whole = min(rest // steps, stage.end - stage.first)
        done, rest = done + whole, rest - whole * steps
        if done < stage.end:
            break
    return done, rest


def _validation(split: Split, team: Team) -> dict[str, Any]:
    """Arguments of `fit`."""
    if not len(split):
        return {}
    rows = metrics.rows_at_once(split.images)
    if team.replicas == 1:
        return {"validation_data": sources.in_order(split, rows)}
    return {
        "validation_data": team.dataset(lambda part: sources.in_parts(split, rows, part)),
        "validation_steps": sources.steps_in_parts(len(split), rows, team.replicas),
    }


def _close(callbacks: list[keras.callbacks.Callback]) -> None:
    """Keras ends its callbacks only where training comes to its end: their files are closed here."""
    for callback in callbacks:
        with contextlib.suppress(AttributeError):  # stopped before it had opened any
            callback.on_train_end()


def _callbacks(
    config: Config, data: Data, files: Run, checkpoint: board.Checkpoint, time_left: board.TimeLeft
) -> list[keras.callbacks.Callback]:
    kept: dict[str, Any] = {
        "folder": files.figures,
        "logs": files.logs / "pictures",
        "every": config.train.figures_every,
    }
    kind = final_models()[str(config.model["name"])]
    of_images = issubclass(kind, LatentModel)
    pictures = board.Pictures(*data.test, data.classes, **kept) if of_images else board.Marginals(**kept)
    measured: list[keras.callbacks.Callback] = []
    if not of_images:  # a config names its target, and every named one has exact draws
        measured.append(board.Divergence())
    if issubclass(kind, AVB | AdaptiveAVB):
        measured.append(board.ImportanceBound((data.validation if len(data.validation) else data.train).images))
    if config.train.fid:
        network = features.get("classifier", images=data.train, folder=files.networks)
        measured.append(board.SampleDistance(data.train.take(slice(frechet.ENOUGH)).images, network))
    return [
        board.StopOnNonFinite(),
        keras.callbacks.ProgbarLogger(),  # before the learning rates, which would crowd its line
        board.LearningRates(),
        *measured,
        keras.callbacks.CSVLogger(str(files.history), append=files.history.is_file()),
        board.Curves(str(files.logs), write_graph=False),
        board.Equilibrium(files.logs / "equilibrium"),
        pictures,
        time_left,
        # last: what is ahead of the checkpoint is cut when a run resumes, what is missing would stay missing
        board.OnDisk(files.folder),
        checkpoint,
    ]


def load(folder: str | Path) -> tuple[Run, Config, Any]:
    """The files, the config and the model of a run, as its last checkpoint left it.

    Raises:
        InputError: no run there, no checkpoint yet, or a file that is not one of this package's models.
    """
    files = Run(folder)
    if not files.config.is_file():
        raise InputError(
            f"{files.folder} holds no run (no {files.config.name}); `tfaae train CONFIG --out {files.folder}` makes one"
        )
    if not files.checkpoint.is_file():
        raise InputError(f"{files.folder} holds no checkpoint: training stopped before its first one")
    return files, configs.load(files.config), load_model(files.checkpoint)


def load_model(path: str | Path) -> Any:
    """A model from a `.keras` file.

    The file runs no code: only this package's registered models are made, from plain data.
    """
    try:
        keras_files.check(Path(path), final_models())
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # weights or optimizer states that Keras would leave out
            return keras.saving.load_model(path, safe_mode=True)
    except InputError:
        raise
    except Exception as error:  # zip, JSON, HDF5 and Keras each raise their own at a damaged file
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        raise InputError(f"{path} is damaged or not a .keras file: {reason}") from error


def load_data(config: Config, model: PhasedModel) -> Data:
    """The data of a config, if its images fit the model."""
    data = sources.load(config.data, config.seed)
    if isinstance(model, LatentModel) and data.image_shape != model.image_shape:
        raise InputError(
            f"the model takes images {list(model.image_shape)}, {config.data.name} has {list(data.image_shape)}; "
            "set data.size and data.channels"
        )
    return data
