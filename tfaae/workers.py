"""Several workers on this machine: one process each, told apart by TF_CONFIG as on several machines."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from tfaae.errors import InputError

GRACE = 300.0  # seconds for workers to end by themselves once one has
POLL = 0.2
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)  # codes of a worker that a signal had asked to stop


def run(count: int, arguments: Sequence[str]) -> int:
    """Runs `tfaae ARGUMENTS` as so many workers, to their end; what the chief, worker 0, prints is printed.

    Where a worker fails, the others end too, and one line on standard error says which and why.

    Returns:
        0, the exit code of the worker that failed first, or 130 after a Ctrl-C.
    """
    gpus = shared_gpus(count, visible_gpus())
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    with ExitStack() as stack:
        told = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(count)]
        workers = [
            stack.enter_context(_start(place, addresses, arguments, gpus[place], told[place])) for place in range(count)
        ]
        forward = signal.signal(signal.SIGTERM, lambda number, frame: _signal(workers, number))
        try:
            failed = _wait(workers)
        except KeyboardInterrupt:
            return 130
        finally:
            signal.signal(signal.SIGTERM, forward)
            _signal(workers, signal.SIGKILL)
        if failed is None:
            return 0
        code = workers[failed].returncode
        if code in STOPPED:
            return code
        if failed:  # the chief has said so itself
            print(f"error: worker {failed} {_ended(code, told[failed])}", file=sys.stderr)
        elif code < 0:
            print(f"error: worker 0, the chief, {_ended(code, told[0])}; --resume goes on", file=sys.stderr)
        return code if code > 0 else 128 - code


def _start(
    place: int, addresses: list[str], arguments: Sequence[str], gpus: str | None, told: IO[bytes]
) -> subprocess.Popen:
    task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": place}}
    environment = os.environ | {"TF_CONFIG": json.dumps(task)}
    if gpus is not None:
        environment |= {"CUDA_VISIBLE_DEVICES": gpus}
    quiet: dict[str, Any] = {} if place == 0 else {"stdout": subprocess.DEVNULL, "stderr": told}
    return subprocess.Popen([sys.executable, "-m", "tfaae", *arguments], env=environment, **quiet)


def _wait(workers: list[subprocess.Popen]) -> int | None:
    """Which worker failed first, if one did, once all have ended; those that do not by themselves are ended.

    A Ctrl-C, of which the workers hear too, is raised once they have ended.
    """
    failed, since, interrupted = None, 0.0, False
    while True:
        codes = [worker.poll() for worker in workers]
        found = [place for place, code in enumerate(codes) if code]
        if found and failed is None:
            failed, since = found[-1], time.monotonic()  # of two at once: the chief is the one that has spoken already
        if None not in codes:
            break
        if failed is not None and time.monotonic() - since > GRACE:
            _signal(workers, signal.SIGKILL)
        try:
            time.sleep(POLL)
        except KeyboardInterrupt:
            interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    return failed


def _signal(workers: list[subprocess.Popen], number: int) -> None:
    for worker in workers:
        if worker.poll() is None:
            worker.send_signal(number)


def _ended(code: int, told: IO[bytes]) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    told.seek(0)
    lines = told.read().decode(errors="replace").strip().splitlines()
    return f"ended with code {code}: {lines[-1] if lines else 'it said nothing'}"


def visible_gpus() -> list[str]:
    """Names of this machine's GPUs, as CUDA_VISIBLE_DEVICES takes them."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is not None:
        return [name for name in told.split(",") if name and name != "-1"]
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(place) for place in range(len(list(folder.iterdir())))] if folder.is_dir() else []


def shared_gpus(workers: int, gpus: list[str]) -> list[str | None]:
    """Each worker's CUDA_VISIBLE_DEVICES; None where there is no GPU.

    Raises:
        InputError: unless all get as many.
    """
    if not gpus:
        return [None] * workers
    if len(gpus) % workers:
        raise InputError(
            f"--workers {workers}: {len(gpus)} GPUs do not divide among them; --devices shares them better"
        )
    return [",".join(gpus[place::workers]) for place in range(workers)]


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens at."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
