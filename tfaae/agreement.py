"""The step after which several workers stop together, once one of them has been told to.

The one that was told names the next step in the cluster's coordination service and waits until all have read it; none
of them can be past that step then, for it takes all of them. (The protocol of TensorFlow's own
`tf.distribute.experimental.PreemptionCheckpointHandler`, which writes TensorFlow's own checkpoints and no others.)
"""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import tensorflow as tf
from tensorflow.python.eager import context  # the coordination service has no public name

SECONDS = 60.0  # for all to hear: they need no step for it
NEVER = -1
_numbers = itertools.count()  # all workers make their agreements in one order


class Agreement:
    """What this worker knows of it.

    Args:
        workers: how many there are.
        place: which of them this is, from 0.
    Attributes:
        step: the one after which all stop; None: nobody has asked for it.
    """

    def __init__(self, workers: int, place: int):
        self.workers, self.place = workers, place
        self.step: int | None = None
        self._key = f"tfaae/stop/{next(_numbers)}"

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, this worker hears what another asks for."""
        thread = threading.Thread(target=self._listen, name="agreement", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._name(NEVER)  # ends the threads of all
            thread.join(1.0)

    def ask(self, step: int) -> bool:
        """Names the step, unless one is named already; False where not all of the others could hear it."""
        self._name(step)
        try:
            for place in range(self.workers):
                self._service().get_config_key_value(self._heard(place), int(1000 * SECONDS))
        except tf.errors.OpError:
            return False
        return self.step is not None

    def _listen(self) -> None:
        with suppress(tf.errors.OpError):  # a worker that is lost takes the service with it
            named = int(self._service().get_config_key_value(self._key))
            self.step = None if named == NEVER else named
            self._service().set_config_key_value(self._heard(self.place), "1")

    def _name(self, step: int) -> None:
        with suppress(tf.errors.OpError):  # named already, or nobody is there any more
            self._service().set_config_key_value(self._key, str(step))

    def _heard(self, place: int) -> str:
        return f"{self._key}/heard/{place}"

    @staticmethod
    def _service() -> context.Context:
        return context.context()
