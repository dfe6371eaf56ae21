"""The checkpoint of a run: written so that one good file is always there, and resumed to the step.

The file holds all that the rest of a run follows from: weights, running averages of them, optimizers with their
schedules, seeds, the number of steps, and the running means of the epoch that it was written in. The order of the data
is a function of seed and step (`data.batches`).
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import keras
import numpy as np
import tensorflow as tf

from tfaae import durable, execution
from tfaae.agreement import Agreement
from tfaae.errors import InputError

ANSWER = b"\nstopping after this step, with a checkpoint; once more stops at once\n"
ANSWER_OF_SEVERAL = b"\nstopping all workers after the next step, with a checkpoint; once more stops this one at once\n"


class Leg(NamedTuple):
    """What one `fit` trains: the rest of an epoch, or all epochs that follow."""

    epoch: int  # its first
    step: int  # of that epoch, counted from 0: its first
    steps: int  # in each of its epochs


class Checkpoint(keras.callbacks.Callback):
    """Writes a model with all that its training goes on from to one `.keras` file: the old or the new one, never half.

    At the end of every epoch, and within one after `every` steps. It comes last in the list of callbacks, for what the
    others write of an epoch is to be there when a checkpoint counts that epoch.

    Args:
        path: of the file.
        every: steps, up to the end of an execution where that has several; None: no checkpoint within an epoch, except
            for one that a signal asks for.
        saved: is called after every write.
        agreement: of one of several workers: a signal to any of them lets all stop after the same step, and write, for
            what a step has measured is added up from all. None: this process trains alone.
    Raises:
        InputError: before training, where an epoch is no whole number of the model's `steps_per_execution`; while
            training, for weights that are not finite, or a disk that does not take the file. The last good one stays.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        every: int | None = None,
        saved: Callable[[], None] = lambda: None,
        agreement: Agreement | None = None,
    ):
        super().__init__()
        self.path, self.every, self.saved, self.agreement = Path(path), every, saved, agreement
        self._begun = 0  # steps of the epoch that were taken before this leg
        self._means: np.ndarray | None = None  # of those steps
        self._written = 0  # steps of the epoch that the last file has seen
        self._heard: int | None = None  # a signal

    def legs(
        self, model: Any, *, steps_per_epoch: int, epochs: int, start: tuple[int, int] | None = None
    ) -> Iterator[Leg]:
        """What is left to train of so many epochs: each leg is one `fit` with this callback in its list.

        Args:
            model: as it was loaded, or a new one.
            start: epochs that are done, and steps of the next; None: by the number of steps that the model has taken.
        """
        epoch, step = start or divmod(self._steps(model), steps_per_epoch)
        if step:
            self._begun, self._means = step, model.means()
            yield Leg(epoch, step, steps_per_epoch - step)
            epoch += 1
        self._begun = 0
        if epoch < epochs:
            yield Leg(epoch, 0, steps_per_epoch)

    def on_train_begin(self, logs=None):
        if self.params["steps"]:  # as far as Keras knows
            execution.check_steps(self.model, self.params["steps"])

    def on_epoch_begin(self, epoch, logs=None):
        self._written = self._begun
        if self._means is not None:
            self.model.assign_means(self._means)
            self._means = None

    def on_train_batch_end(self, batch, logs=None):
        self._ask()
        if batch + 1 == self.params["steps"]:
            return  # the end of the epoch writes it, with what is measured there
        step, stopping = self._begun + batch + 1, self._stopping()
        if stopping or (self.every is not None and step - self._written >= self.every):
            self.save()
            self._written = step
        if stopping:
            self._leave()

    def on_epoch_end(self, epoch, logs=None):
        self.save()
        if self._begun:
            self.model.stop_training = True  # the next leg has other steps to an epoch
        if self._stopping():
            self._leave()

    def save(self) -> None:
        """Writes the file, unless weights are not finite: a rectifier can hide those from the losses."""
        if not all(np.isfinite(weight).all() for weight in self.model.get_weights()):
            raise InputError(
                f"weights are not finite after step {self._steps(self.model)}: stopped; the last good checkpoint, if "
                "any, stays"
            )
        with durable.replacing(self.path) as partial:
            self.model.save(partial)
        self.saved()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Inside, SIGTERM and Ctrl-C let the step end and write a checkpoint; then they end the program as usual.

        After the last step of an epoch they wait for what is measured at its end. A second signal does not wait.

        Raises:
            KeyboardInterrupt: for Ctrl-C.
            SystemExit: for SIGTERM, with the code 143.
        """
        with self.agreement.listening() if self.agreement else nullcontext():
            if threading.current_thread() is not threading.main_thread():  # no other hears signals
                yield
                return
            numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
            before = {number: signal.signal(number, self._hear) for number in numbers}
            try:
                yield
                if self._heard is not None:
                    self._leave()
            finally:
                self._heard = None
                for number, handler in before.items():
                    signal.signal(number, handler)

    @staticmethod
    def _steps(model: Any) -> int:
        return int(tf.convert_to_tensor(model.steps))  # of several replicas' variable there is no int

    def _hear(self, number: int, frame: Any) -> None:
        again, self._heard = self._heard is not None, number
        if again:
            self._leave()
        os.write(2, ANSWER_OF_SEVERAL if self.agreement else ANSWER)  # print may be what the signal interrupted

    def _ask(self) -> None:
        """Tells the other workers of a signal; where they cannot hear, this one leaves them at once."""
        if self.agreement is None or self._heard is None or self.agreement.step is not None:
            return
        if not self.agreement.ask(self._steps(self.model) + 1):
            self._leave()

    def _stopping(self) -> bool:
        """Whether the step that was just taken is the last."""
        if self.agreement is None:
            return self._heard is not None
        return self.agreement.step is not None and self._steps(self.model) >= self.agreement.step

    def _leave(self) -> NoReturn:
        number = self._heard or signal.SIGTERM  # another worker's signal
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
