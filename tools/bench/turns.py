"""The measured process's side of a turn. The standard library alone: the peers' environment imports it too."""

import json
import os
import sys
import time


class Turns:
    """Counts a process's steps and answers `run.py`, in lines of JSON, how long they took.

    The first answer comes after the first step, and is the time since this object was made: what there is to build,
    trace and compile. After it the process waits, in `step`, for the number of steps of its next turn; at the end of
    the input it exits.
    """

    def __init__(self):
        self.answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what libraries print is no answer
        self.left = 1
        self.begin()

    def begin(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def step(self) -> None:
        """To be called after each step."""
        self.left -= 1
        if self.left:
            return
        took = {"seconds": time.perf_counter() - self.wall, "cpu_seconds": time.process_time() - self.cpu}
        print(json.dumps(took), file=self.answers, flush=True)
        told = sys.stdin.readline()
        if not told:
            os._exit(0)  # at once: libraries take their time, and nothing is to be kept
        self.left = int(told)
        self.begin()
