"""Who trains together: GPUs of this machine, or workers on several, each with its rows of every batch."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfaae.agreement import Agreement
from tfaae.data import Part
from tfaae.errors import InputError

LOST = (  # what a collective operation ends with where a worker is gone
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)

EXAMPLE = '{"cluster": {"worker": ["host:port", "host:port"]}, "task": {"type": "worker", "index": 0}}'


class Team:
    """The replicas that share every batch of a run, and this process's place among them.

    Args:
        strategy: of `tf.distribute`, made before anything else of TensorFlow; None: one device, alone.
    """

    def __init__(self, strategy: tf.distribute.Strategy | None = None):
        self.strategy = strategy
        self.workers, self.place = 1, 0
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            resolver = strategy.cluster_resolver
            jobs = resolver.cluster_spec().as_dict()
            chiefs, others = (len(jobs.get(job, [])) for job in ("chief", "worker"))
            if resolver.task_type is not None:
                self.workers = chiefs + others
                self.place = resolver.task_id + (chiefs if resolver.task_type == "worker" else 0)
        self.several_workers, self.chief = self.workers > 1, self.place == 0
        self._aside: tempfile.TemporaryDirectory | None = None

    @property
    def replicas(self) -> int:
        return self.strategy.num_replicas_in_sync if self.strategy else 1

    def scope(self) -> AbstractContextManager:
        """A model that is made inside is the team's."""
        return self.strategy.scope() if self.strategy else nullcontext()

    def folder(self, folder: str | Path) -> Path:
        """Where this process writes: the chief into the run's folder, the others beside, until they end."""
        if self.chief:
            return Path(folder)
        self._aside = self._aside or tempfile.TemporaryDirectory(prefix="tfaae-worker-")
        return Path(self._aside.name) / "run"

    def check(self, **batches: int | None) -> None:
        """Raises an InputError unless every batch has as many rows for each replica."""
        for name, batch in batches.items():
            if batch and batch % self.replicas:
                raise InputError(
                    f"data.{name}: {batch} images do not divide among {self.replicas} replicas; "
                    f"use a multiple of {self.replicas}, {-(-batch // self.replicas) * self.replicas} say"
                )

    def dataset(self, batches: Callable[[Part], tf.data.Dataset]) -> Any:
        """What `fit` takes: each worker reads its own part of the batches that `batches` makes."""
        if self.strategy is None:
            return batches(Part())

        def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
            here = context.num_replicas_in_sync // context.num_input_pipelines
            return batches(Part(context.input_pipeline_id * here, here, context.num_replicas_in_sync))

        return self.strategy.distribute_datasets_from_function(of_worker)

    def agreement(self) -> Agreement | None:
        """Of this worker with the others, on the step after which they stop; None where there are no others."""
        return Agreement(self.workers, self.place) if self.several_workers else None

    def agree(self, what: str, number: int) -> None:
        """Raises an InputError unless all workers come with the same number."""
        if not self.several_workers:
            return
        assert self.strategy is not None
        mine = tf.constant([number, number**2], tf.float64)

        @tf.function
        def summed() -> Any:
            assert self.strategy is not None
            context = tf.distribute.get_replica_context
            return self.strategy.run(lambda: context().all_reduce(tf.distribute.ReduceOp.SUM, mine))

        total, squares = self.strategy.experimental_local_results(summed())[0].numpy()
        if self.replicas * squares != total**2:  # equal where all numbers are
            raise InputError(
                f"the workers do not agree on {what}, this one has {number}: they need one folder --out that "
                "all of them see, and the same config"
            )

    @contextmanager
    def together(self) -> Iterator[None]:
        """Inside, a worker that is lost is one line of error on every other."""
        try:
            yield
        except LOST as error:
            if not self.several_workers:
                raise
            text = " ".join(str(error).split())
            reason = (text.partition("Collective ops is aborted by: ")[2] or text)[:150]
            raise ConnectionError(
                f"a worker was lost: stopped; start all workers again with --resume to go on after the last checkpoint "
                f"({type(error).__name__}: {reason})"
            ) from error

    def told(self, batch: int) -> str:
        """One line on how a batch is shared; empty where it is not."""
        if self.replicas == 1:
            return ""
        kind = "several workers" if self.several_workers else "one machine"
        return f"{self.replicas} replicas ({kind}), {batch // self.replicas} of {batch} images each, without XLA"


def team(devices: int = 1, environment: Mapping[str, str] = os.environ) -> Team:
    """The team that the environment's TF_CONFIG names, or that of so many devices of this machine.

    Called before anything else of TensorFlow.

    Args:
        devices: GPUs; on a machine without any, as many logical CPUs, which are for trying things out.
    Raises:
        InputError: more devices than there are, a TF_CONFIG that is no cluster of workers, a worker that does not come.
    """
    workers, place = cluster(environment)
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and devices > len(gpus):
        raise InputError(f"--devices {devices}: this machine has {len(gpus)} GPUs")
    if workers > 1:
        if devices > 1:
            raise InputError("--devices is for one machine: workers of a TF_CONFIG use all GPUs that they see")
        print(f"worker {place}: waiting until all {workers} are there", flush=True)
        return Team(tf.distribute.MultiWorkerMirroredStrategy())
    if devices == 1:
        return Team()
    cpu = tf.config.list_physical_devices("CPU")[0]
    if not gpus and len(tf.config.get_logical_device_configuration(cpu) or ()) < devices:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    kind = "GPU" if gpus else "CPU"
    return Team(tf.distribute.MirroredStrategy([f"{kind}:{place}" for place in range(devices)]))


def cluster(environment: Mapping[str, str]) -> tuple[int, int]:
    """How many workers a TF_CONFIG names, and which of them this process is; (1, 0) without one.

    Raises:
        InputError: a TF_CONFIG that is no JSON of `cluster` and `task`, or that names other jobs.
    """
    text = environment.get("TF_CONFIG", "")
    if not text:
        return 1, 0
    try:
        given = json.loads(text)
        jobs, task = given["cluster"], given["task"]
        counts = {job: len(jobs.get(job, [])) for job in ("chief", "worker")}
        place = int(task["index"]) + (counts["chief"] if task["type"] == "worker" else 0)
        known = task["type"] in counts and 0 <= int(task["index"]) < counts[task["type"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"TF_CONFIG: expected {EXAMPLE}, got {text[:200]!r}") from error
    others = sorted(set(jobs) - set(counts))
    if others or not known:
        wrong = f"jobs {others}" if others else f"task {task}"
        raise InputError(f"TF_CONFIG: {wrong}; training is for the jobs chief and worker, and a task among them")
    return sum(counts.values()), place
