"""A run that was stopped and resumed is the run that was not. (`test_torture.py` kills whole processes.)"""

import csv
import os
import re
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests import torture
from tests.cases import assert_same, state
from tests.conftest import TINY_RUN
from tfaae import callbacks, config, durable, event_files, train
from tfaae.errors import InputError

SGD = {"name": "sgd", "learning_rate": 0.01, "momentum": 0.5}
RUN = TINY_RUN | {
    "data": TINY_RUN["data"] | {"labelled": 50, "labelled_batch": 20},
    "model": {
        "name": "SemiSupervisedAAE",
        "latent_dim": 3,
        "units": [16],
        "discriminator_units": [16],
        "input_noise": 0.3,
        "ema": 0.9,
        "true_labels": True,
        "discriminator_noise": 0.3,
        "discriminator_noise_epochs": 2,
    },
    "optim": dict.fromkeys(["reconstruction", "discriminator", "generator", "classification"], SGD),
}


def parsed(**changes) -> config.Config:
    return config.parse(RUN | {"train": {"epochs": 3, "xla": False, "figures_every": 100}} | changes)


def history(folder) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module", autouse=True)
def no_pictures():
    """They take most of a short run's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks.Pictures, "draw", lambda self, epoch: None)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of a run that nothing stopped. Tests only read it."""
    return train.run(parsed(), tmp_path_factory.mktemp("runs") / "whole").folder


def at_step(patch: pytest.MonkeyPatch, step: int, number: signal.Signals) -> None:
    """Sends this process a signal within that step."""

    def hit(self, batch, logs=None):
        if int(self.model.steps) == step:
            os.kill(os.getpid(), number)

    patch.setattr(callbacks.StopOnNonFinite, "on_train_batch_end", hit)


@pytest.fixture(autouse=True)
def ctrl_c():
    """Raises KeyboardInterrupt: a child of a background job would ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("step", "number", "kept"),
    [
        (14 + 5, signal.SIGINT, 14 + 5),
        pytest.param(14 + 5, signal.SIGTERM, 14 + 5, marks=pytest.mark.slow),
        pytest.param(28, signal.SIGINT, 28, marks=pytest.mark.slow),  # waits for what is measured at the epoch's end
    ],
)
def test_a_signal_stops_at_the_step_and_the_run_goes_on_from_there(step, number, kept, whole, tmp_path, monkeypatch):
    folder, handlers = tmp_path / "run", [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        at_step(patch, step, number)
        with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit) as stop:
            train.run(parsed(), folder)
    assert number == signal.SIGINT or stop.value.code == 143
    assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    assert int(train.load(folder)[2].steps) == kept
    assert len(history(folder)) == kept // 14
    train.run(parsed(), folder, resume=True)
    assert_same(state(train.load(folder)[2]), state(train.load(whole)[2]))
    torture.assert_as_if_nothing_had_happened(folder, whole)


def test_every_epoch_trains(whole):
    """Else equal ends would say nothing."""
    lines = history(whole)
    assert len({line["reconstruction"] for line in lines}) == len(lines) == 3
    assert np.isfinite([float(value) for line in lines for value in line.values()]).all()


def test_resuming_a_finished_run_trains_nothing(tmp_path, monkeypatch):
    folder, short = tmp_path / "run", {"train": {"epochs": 1, "xla": False, "figures_every": 100}}
    train.run(parsed(**short), folder)
    before = (folder / "checkpoint.keras").read_bytes(), history(folder)
    steps = []
    monkeypatch.setattr(callbacks.StopOnNonFinite, "on_train_batch_end", lambda self, batch, logs: steps.append(batch))
    train.run(parsed(**short), folder, resume=True)
    assert not steps
    assert before == ((folder / "checkpoint.keras").read_bytes(), history(folder))


@pytest.mark.parametrize("change", [{"seed": 2}, {"train": {"epochs": 4, "xla": False}}])
def test_a_run_of_another_config_is_not_resumed(change, whole):
    before = (whole / "history.csv").read_bytes()
    with pytest.raises(InputError, match="holds a run of another config"):
        train.run(parsed(**change), whole, resume=True)
    assert (whole / "history.csv").read_bytes() == before


def test_without_resume_a_run_is_not_overwritten(whole):
    with pytest.raises(InputError, match="already holds a run"):
        train.run(parsed(), whole)


def test_resuming_an_empty_folder_starts(whole, tmp_path):
    train.run(parsed(train={"epochs": 1, "xla": False}), tmp_path, resume=True)
    assert history(tmp_path) == history(whole)[:1]


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


# === In a script ===


def test_the_script_of_the_documents_goes_on(tmp_path, monkeypatch):
    text = (Path(__file__).parent.parent / "docs" / "resuming.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)

    def play(folder: str) -> list[np.ndarray]:
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        names: dict = {}
        exec(compile(script, "resuming.md", "exec"), names)
        return state(names["model"])

    def hit(self, batch, logs=None, real=callbacks.Checkpoint.on_train_batch_end):
        if int(self.model.steps) == 14 + 7:
            os.kill(os.getpid(), signal.SIGTERM)
        real(self, batch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Checkpoint, "on_train_batch_end", hit)
        with pytest.raises(SystemExit):
            play("stopped")
    stopped = train.load_model(tmp_path / "stopped" / "mine.keras")
    assert int(stopped.steps) == 14 + 7
    assert_same(play("stopped"), play("whole"))


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
    torn = sorted((tmp_path / "train").iterdir())[0]
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
