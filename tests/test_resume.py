"""A run that was stopped and resumed is the run that was not. (`test_torture.py` kills whole processes.)"""

import contextlib
import csv
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests import torture
from tests.cases import CASES, assert_same, state
from tests.conftest import TINY_LABELLED_RUN
from tfaae import callbacks, config, train
from tfaae.errors import InputError

RUN = TINY_LABELLED_RUN | {"train": {"epochs": 3, "xla": False, "figures_every": 100, "checkpoint_every": 4}}


def parsed(**changes) -> config.Config:
    return config.parse(RUN | changes)


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


def test_three_deaths(whole, tmp_path):
    """Many more: `test_torture.py`."""
    curves = torture.curves(whole)
    assert len(curves["logs/train", "epoch_reconstruction"]) == 3
    assert len(curves["logs/validation", "epoch_reconstruction"]) == 3
    with contextlib.closing(torture.Player()) as player:
        victim = torture.Victim(player, tmp_path, RUN, whole)
        half = victim.size // 2
        assert victim.resume(writes=4, bytes=half) == -signal.SIGXFSZ  # in the one at the end of the first epoch
        assert next(victim.folder.glob("partial-*/checkpoint.keras")).stat().st_size == half
        assert victim.resume(steps=6, signal="SIGINT") == 130  # 12 steps were done: in the second epoch
        assert "--resume goes on from there" in victim.log.read_text()
        assert victim.resume(epochs=1, after="Curves") == -signal.SIGKILL  # its line and its points are ahead
        assert len(history(victim.folder)) == 2
        victim.rests()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "number", "kept"),
    [
        (14 + 5, signal.SIGTERM, 14 + 5),
        (28, signal.SIGINT, 28),  # waits for what is measured at the epoch's end
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


@pytest.mark.slow
def test_several_steps_in_an_execution(tmp_path, monkeypatch):
    """Checkpoints and signals wait for its end, and what follows is the run that nothing stopped."""
    told = {"train": RUN["train"] | {"epochs": 2, "steps_per_execution": 2, "checkpoint_every": 5}}
    saved, save = [], callbacks.Checkpoint.save

    def counted(self):
        saved.append(int(self.model.steps))
        save(self)

    monkeypatch.setattr(callbacks.Checkpoint, "save", counted)
    whole = train.run(parsed(**told), tmp_path / "whole").folder
    assert saved == [6, 12, 14, 20, 26, 28]
    saved.clear()
    with monkeypatch.context() as patch:
        at_step(patch, 14 + 4, signal.SIGTERM)
        with pytest.raises(SystemExit):
            train.run(parsed(**told), tmp_path / "run")
    train.run(parsed(**told), tmp_path / "run", resume=True)
    assert saved == [6, 12, 14, 18, 24, 28]
    torture.assert_as_if_nothing_had_happened(tmp_path / "run", whole)


def test_executions_that_do_not_divide_an_epoch_are_refused(tmp_path):
    """Keras takes their rest from the next epoch, uncounted."""
    with pytest.raises(InputError, match="expected a divisor of 14, the steps of an epoch, got 4; use 2"):
        train.run(parsed(train={"epochs": 1, "steps_per_execution": 4}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    model = CASES["aae-deterministic"].compiled(steps_per_execution=6)
    images = tf.data.Dataset.from_tensors(CASES["aae-deterministic"].images()).repeat()
    with pytest.raises(InputError, match="a divisor of 10, the steps of an epoch, got 6; use 5"):
        model.fit(images, steps_per_epoch=10, shuffle=False, callbacks=[callbacks.Checkpoint(tmp_path / "any.keras")])
    assert int(model.steps) == 0


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


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 2}, "seed"),
        ({"train": RUN["train"] | {"epochs": 4, "checkpoint_every": None}}, "train.checkpoint_every, train.epochs"),
        ({"model": RUN["model"] | {"units": [32], "dropout": 0.1}}, "model.dropout, model.units"),
    ],
)
def test_a_run_of_another_config_is_not_resumed(change, told, whole):
    before = (whole / "history.csv").read_bytes()
    with pytest.raises(InputError, match=f"holds a run of another config: {told}; choose"):
        train.run(parsed(**change), whole, resume=True)
    assert (whole / "history.csv").read_bytes() == before


def test_without_resume_a_run_is_not_overwritten(whole):
    with pytest.raises(InputError, match="already holds a run"):
        train.run(parsed(), whole)


def test_resuming_an_empty_folder_starts(whole, tmp_path):
    train.run(parsed(train={"epochs": 1, "xla": False}), tmp_path, resume=True)
    assert history(tmp_path) == history(whole)[:1]


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
