"""What fuzz tests share: how many cases, and what may come of one: a result, or an InputError."""

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tfaae.errors import InputError

LONGEST_MESSAGE = 4000  # characters: a value that is quoted is not quoted whole
LONGEST_CASE = 30.0  # seconds
LARGEST_CASE = 2**30  # bytes that the process grows by
REFUSED = object()


def counts(few: int, many: int) -> Any:
    """Parametrises a test by its number of cases: few always, many in the slow suite."""
    return pytest.mark.parametrize("count", [few, pytest.param(many, marks=pytest.mark.slow)])


def hold(count: int, check: Callable[..., None], **strategies: SearchStrategy) -> None:
    """`check(**drawn)` for so many draws, the same ones in every run, each in bounded time and memory."""

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.fixed_dictionaries(strategies))
    def run(drawn):
        with bounded():
            check(**drawn)

    run()


class TooLong(BaseException):
    """What reads hostile input turns an Exception into an InputError; this it does not catch."""


@contextmanager
def bounded() -> Iterator[None]:
    """Fails where what is inside takes too long, or raises the process's peak of memory by too much."""

    def ring(number, frame):
        raise TooLong

    peak, before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_CASE)
    try:
        yield
    except TooLong as error:
        raise AssertionError(f"took more than {LONGEST_CASE} s") from error  # from: where it was
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak)
    assert grown < LARGEST_CASE, f"took {grown} bytes of memory"


def outcome(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """The result, or `REFUSED` where the answer is a readable InputError; another error is the test's."""
    try:
        return function(*arguments, **named)
    except InputError as error:
        told = str(error)
        assert told.strip()
        assert len(told) < LONGEST_MESSAGE
        assert "Traceback" not in told
        return REFUSED


@st.composite
def damaged(draw, contents: bytes) -> bytes:
    """Bytes that were cut, overwritten, swapped or extended."""
    found = bytearray(contents)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(found) - 1)))
        match draw(st.sampled_from(["cut", "flip", "write", "insert", "remove", "repeat", "extreme"])):
            case "cut":
                del found[at:]
            case "flip":
                found[at : at + 1] = bytes(byte ^ (1 << draw(st.integers(0, 7))) for byte in found[at : at + 1])
            case "write":
                new = draw(st.binary(min_size=1, max_size=8))
                found[at : at + len(new)] = new
            case "insert":
                found[at:at] = draw(st.binary(min_size=1, max_size=16))
            case "remove":
                del found[at : at + draw(st.integers(1, 16))]
            case "repeat":
                found[at:at] = found[at : at + draw(st.integers(1, 64))]
            case "extreme":  # sizes and offsets
                new = draw(st.sampled_from([b"\xff" * 4, b"\x7f" + b"\xff" * 3, b"\xff" * 3 + b"\x7f", bytes(4)]))
                found[at : at + 4] = new
    return bytes(found)


def written(path: Path, contents: bytes) -> Path:
    path.write_bytes(contents)
    return path
