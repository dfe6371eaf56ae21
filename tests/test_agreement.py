"""Signals to one of several workers: what it does once the others have, or have not, heard of it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import pytest
import tensorflow as tf

from tests.cases import CASES
from tfaae import callbacks, train

STEPS = 4  # of an epoch


class Others:
    """Takes the place of an Agreement: workers that hear, or do not."""

    def __init__(self, hear: bool = True, step: int | None = None):
        self.hear, self.step = hear, step
        self.asked: list[int] = []

    @contextmanager
    def listening(self) -> Iterator[None]:
        yield

    def ask(self, step: int) -> bool:
        self.asked.append(step)
        self.step = step if self.hear else None
        return self.hear


def fit(path, others: Others, signal_after: int | None, number: signal.Signals = signal.SIGTERM) -> None:
    """Two epochs; a signal comes after that many steps."""
    case = CASES["aae-deterministic"]
    model, images = case.compiled(), tf.data.Dataset.from_tensors(case.images()).repeat()
    steps = [0]

    class Signal(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            steps[0] += 1
            if steps[0] == signal_after:
                os.kill(os.getpid(), number)

    checkpoint = callbacks.Checkpoint(path, agreement=others)
    with checkpoint.interruptible():
        model.fit(images, steps_per_epoch=STEPS, epochs=2, shuffle=False, verbose=0, callbacks=[Signal(), checkpoint])


def steps(path) -> int:
    return int(train.load_model(path).steps)


SLOW = pytest.mark.slow


@pytest.mark.parametrize("after", [*(pytest.param(n, marks=SLOW) for n in (1, 2, STEPS + 1)), STEPS - 1, STEPS])
def test_all_take_the_step_after_the_signal(after, tmp_path):
    others = Others()
    with pytest.raises(SystemExit, match="143"):
        fit(tmp_path / "a.keras", others, after)
    assert others.asked == [after + 1]
    assert steps(tmp_path / "a.keras") == after + 1


@pytest.mark.parametrize("step", [*(pytest.param(n, marks=SLOW) for n in (1, STEPS - 1, STEPS + 1)), STEPS])
def test_another_workers_signal_stops_this_one(step, tmp_path):
    with pytest.raises(SystemExit, match="143"):
        fit(tmp_path / "a.keras", Others(step=step), None)
    assert steps(tmp_path / "a.keras") == step


def test_a_worker_that_others_do_not_hear_leaves_at_once(tmp_path):
    others = Others(hear=False)
    with pytest.raises(SystemExit, match="143"):
        fit(tmp_path / "a.keras", others, 2)
    assert others.asked == [3]
    assert not (tmp_path / "a.keras").exists()


def test_after_the_last_step_all_is_done(tmp_path):
    """Nobody takes a step any more: what was trained is whole, and the code tells of the signal."""
    with pytest.raises(SystemExit, match="143"):
        fit(tmp_path / "a.keras", Others(), 2 * STEPS)
    assert steps(tmp_path / "a.keras") == 2 * STEPS


def test_nobody_has_asked(tmp_path):
    fit(tmp_path / "a.keras", Others(), None)
    assert steps(tmp_path / "a.keras") == 2 * STEPS
