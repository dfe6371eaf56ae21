"""Silence: TensorFlow's start-up messages are not for the users of a command."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


def import_tensorflow() -> None:
    """Imports TensorFlow, tfp and absl without their banners.

    The level keeps TensorFlow's C++ log to fatal errors; what its libraries print while they are loaded does not know
    that level yet and goes straight to file descriptor 2, so that is set aside meanwhile.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    with stderr_aside():
        import absl.logging
        import tensorflow as tf
        import tensorflow_probability  # noqa: F401
    absl.logging.set_verbosity(absl.logging.ERROR)
    tf.get_logger().setLevel("ERROR")


@contextmanager
def stderr_aside() -> Iterator[None]:
    """Nothing inside prints to file descriptor 2, C++ libraries included; where it fails, all that it had to say."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except BaseException:
            aside.seek(0)
            os.write(kept, aside.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
