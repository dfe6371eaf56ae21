"""The training frame: a `PhasedModel` is a list of phases plus the one `train_step` that plays them."""

import abc
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfaae import execution, naming, replicas
from tfaae.errors import InputError, not_negative
from tfaae.models.passes import Pass, Passes
from tfaae.seeds import Seeds

register = keras.saving.register_keras_serializable(package="tfaae")
Terms = dict[str, tf.Tensor]
Order = Literal["sequential", "simultaneous"]


class Phase(NamedTuple):
    """One move of the game: a loss, and the parts that may move against it."""

    name: str
    loss: Callable[[Any, bool], Terms]  # (batch, training) -> {term: scalar}; their sum is minimised
    # names of the model's parts, moved by an optimizer named like the phase; or {optimizer: parts}, where phases share
    trains: tuple[str, ...] | Mapping[str, tuple[str, ...]]
    given: Pass | None = None  # a pass that the loss begins with and shares with other phases

    @property
    def moves(self) -> Mapping[str, tuple[str, ...]]:
        """{optimizer: parts}."""
        return self.trains if isinstance(self.trains, Mapping) else {self.name: self.trains}

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(part for parts in self.moves.values() for part in parts)


class PhasedModel(keras.Model, abc.ABC):
    """Abstract. A final model writes a constructor that makes its parts, `phases`, and the losses they name.

    Every constructor argument is kept as an attribute of the same name: that is the whole of its config. Models are
    born built, so `compile` can make every optimizer slot at once, and a `.keras` file holds all of them with the
    seeds.

    Args:
        seed: fixes the initial weights and every draw; None takes a random one.
    """

    reports: tuple[str, ...]  # every number that the phases track, in the order of the progress bar
    equilibrium: Mapping[str, float] = MappingProxyType({})  # where an adversary's terms settle when it can only guess
    advice: Mapping[str, str] = MappingProxyType({})  # term -> what to do where it is not finite
    order: Order = "sequential"  # each phase sees the last one's move; "simultaneous": all gradients from one state

    def __init__(self, *, seed: int | None = None, name: str | None = None):
        super().__init__(name=name)
        not_negative(type(self).__name__, seed=seed or 0)
        self.seed = seed
        self.seeds = Seeds(seed)
        self.steps = self.add_weight(name="steps", dtype="int64", initializer="zeros", trainable=False)
        self.trackers = {term: keras.metrics.Mean(name=term) for term in self.reports}
        self.phase_of: dict[
            str, str
        ] = {}  # term -> phase; a loss names its terms when it is called, so this fills then
        self.optimizers: dict[str, keras.optimizers.Optimizer] = {}
        self.built = True

    @abc.abstractmethod
    def phases(self) -> tuple[Phase, ...]:
        """The moves of one training step, in order: the model's table of contents. Listed twice, moved twice."""

    @abc.abstractmethod
    def batch(self, data) -> Any:
        """What the losses see, a tuple of tensors with examples along the first axis, from what `fit` hands on."""

    # === The training step ===

    def train_step(self, data):
        batch = self.batch(data)
        # without the dependency, a step that finds the end of the data still moves the seeds: no exact resume
        with tf.control_dependencies([tensor for tensor in tf.nest.flatten(batch) if tensor is not None]):
            moves, passes = [], Passes(self._values)
            for phase in self.phases():
                moves.append(self._gradients(phase, batch, passes))
                if self.order == "sequential":
                    self._move(*moves.pop())
                    passes.moved(phase.parts)
            for move in moves:
                self._move(*move)
            self.steps.assign_add(1)
            self.after_step(batch)
        return self.report()

    def _gradients(self, phase: Phase, batch, passes: Passes) -> tuple[Phase, list, list]:
        values = self._values(phase.parts)
        given = passes.of(phase.given, batch, training=True) if phase.given else None
        with tf.GradientTape() as tape:
            tape.watch([values, given.output] if given else values)
            terms = self.loss_terms(phase, _with(phase, batch, given), training=True)
            total = tf.add_n(list(terms.values()))
            if replicas.count() > 1:  # whose gradients the optimizer adds up
                total *= replicas.share(batch[0])
        if given is None or phase.given is None or not set(phase.parts) & set(phase.given.parts):
            return phase, self.weights_of(phase), tape.gradient(total, values)
        direct, of_output = tape.gradient(total, [values, given.output])
        return phase, self.weights_of(phase), given.back(direct, of_output, values)

    def _values(self, parts: Iterable[str]) -> list:
        """What of the parts moves: tensors, where a StatelessScope stands in for the weights."""
        return [weight.value for part in parts for weight in self.weights_of_part(part)]

    def _move(self, phase: Phase, weights: list, gradients: list) -> None:
        """An optimizer that phases share steps over all of its weights in each, with gradients of 0 where it has none.

        So their moments fade, as in the frameworks where a gradient is a buffer that is set to zero.
        """
        found = {id(weight): gradient for weight, gradient in zip(weights, gradients, strict=True)}
        for name in phase.moves:
            moved = [weight for part in self.parts_of(name) for weight in self.weights_of_part(part)]
            still = {id(weight): tf.zeros(weight.shape, weight.dtype) for weight in moved if id(weight) not in found}
            self.optimizers[name].apply([(found | still)[id(weight)] for weight in moved], moved)

    def after_step(self, batch) -> None:
        """What follows the phases' moves, running averages say."""

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Nothing: a model is born built. (Keras's own reads a batch, and fails on that of one of several workers.)"""

    def evaluate(self, *args, **kwargs):
        with self.seeds.kept():
            return super().evaluate(*args, **kwargs)

    def test_step(self, data):
        batch, passes = self.batch(data), Passes(self._values)
        for phase in self.distinct_phases():
            given = passes.of(phase.given, batch, training=False) if phase.given else None
            self.loss_terms(phase, _with(phase, batch, given), training=False)
        return self.report()

    def distinct_phases(self) -> list[Phase]:
        """The phases, each once."""
        return list({phase.name: phase for phase in self.phases()}.values())

    def weights_of(self, phase: Phase) -> list:
        return [weight for part in phase.parts for weight in self.weights_of_part(part)]

    def weights_of_part(self, part: str) -> list:
        """What of a part moves; all of it, unless it grows."""
        return getattr(self, part).trainable_variables

    def parts_of(self, optimizer: str) -> list[str]:
        """What the optimizer moves in one phase or another."""
        return list(dict.fromkeys(part for phase in self.phases() for part in phase.moves.get(optimizer, ())))

    def optimizer_names(self) -> list[str]:
        """Of every phase's optimizers, one for each move of a training step."""
        return [name for phase in self.phases() for name in phase.moves]

    def track(self, terms: Terms, batch) -> None:
        """Adds to the running means; numbers that nobody minimises, an accuracy say, are tracked by the loss itself."""
        count = tf.shape(batch[0])[0]
        for term, value in terms.items():
            if replicas.count() > 1:  # one of them may be left without a row, and a mean over none is NaN
                value = tf.where(count > 0, value, 0.0)
            self.trackers[term].update_state(value, sample_weight=count)

    def report(self) -> Terms:
        return {term: replicas.reported(tracker.result()) for term, tracker in self.trackers.items()}

    @property
    def metrics(self):
        return list(self.trackers.values())

    def loss_terms(self, phase: Phase, batch, training: bool) -> Terms:
        terms = phase.loss(batch, training)
        self.phase_of |= dict.fromkeys(terms, phase.name)
        self.track(terms, batch)
        return terms

    # === Compile, config and state ===

    def compile(
        self,
        optimizers: dict[str, Any],
        *,
        jit_compile: execution.Told = "auto",
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
    ) -> None:
        """One optimizer for each phase, or for each of the names that its phases' `trains` give.

        Args:
            optimizers: {name: whatever `keras.optimizers.get` takes}.
            jit_compile: XLA. `"auto"`: on a GPU; a CPU's own kernels take as little time or less, and nothing has to be
                compiled. Off for a model that was made in the scope of a `tf.distribute` strategy, whose collective
                operations XLA does not take.
            run_eagerly, steps_per_execution: as in `keras.Model.compile`; 1 among several replicas.
        Raises:
            InputError: a phase without optimizer, an optimizer without phase, one object for two phases, an optimizer
                that was made outside of the scope of the model's strategy, replicas with several steps an execution.
        """
        names = list(dict.fromkeys(self.optimizer_names()))
        if not isinstance(optimizers, dict) or sorted(optimizers) != sorted(names):
            got = sorted(optimizers) if isinstance(optimizers, dict) else repr(optimizers)
            raise InputError(f"{type(self).__name__} takes one optimizer for each phase, {names}; got {got}")
        strategy = self.distribute_strategy
        with strategy.scope():
            built = {name: keras.optimizers.get(optimizers[name]) for name in names}
        shared = strategy.num_replicas_in_sync > 1
        # Keras 3.15's loop over a replicated step does not run, on CPUs at least
        if shared and steps_per_execution > 1:
            raise InputError(f"steps_per_execution: expected 1 among several replicas, got {steps_per_execution}")
        for name, optimizer in built.items():
            # elsewhere made, it would count a step for every replica: schedules at a multiple of their rate
            if shared and not isinstance(optimizer.iterations.value, tf.distribute.DistributedValues):
                raise InputError(f"the optimizer of {name} must be made inside the strategy's scope, as the model was")
        if len({id(optimizer) for optimizer in built.values()}) < len(names):
            raise InputError("each phase needs an optimizer of its own: their states differ")
        self.asked_for_xla = False if run_eagerly else jit_compile
        compiled, _ = execution.xla(self.asked_for_xla, self)
        super().compile(
            optimizer=None,
            jit_compile=compiled,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
        )
        self.optimizers = built
        for name, optimizer in built.items():
            with strategy.scope():
                optimizer.build(
                    [weight for part in self.parts_of(name) for weight in getattr(self, part).trainable_variables]
                )

    def get_compile_config(self):
        if not self.compiled:
            return None
        optimizers = {name: keras.optimizers.serialize(optimizer) for name, optimizer in self.optimizers.items()}
        return {
            "optimizers": optimizers,
            "jit_compile": self.asked_for_xla,  # not what it came to: a run may go on alone, or elsewhere
            "steps_per_execution": self.steps_per_execution,
        }

    def compile_from_config(self, config):
        self.compile(**config)

    def get_config(self):
        return naming.arguments(self)

    @classmethod
    def from_config(cls, config):
        naming.check_arguments(cls.__name__, cls, config)
        return cls(**config)

    def save_own_variables(self, store):
        super().save_own_variables(store)
        # what Keras leaves out of its files
        store["seeds"] = self.seeds.state.numpy()
        store["means"] = self.means()

    def load_own_variables(self, store):
        given = {key: store[key] for key in store.keys()}  # noqa: SIM118 (HDF5)
        self.seeds.state.assign(given.pop("seeds"))
        if "means" in given:  # older files have none, or, of one replica, [terms, 2]
            self.assign_means(np.reshape(given.pop("means")[()], [-1, 2 * len(self.trackers)]))
        super().load_own_variables(given)

    def means(self) -> np.ndarray:
        """`[replicas, 2 terms]`: of each running mean the weighted sum of what it saw, and the sum of the weights."""
        return replicas.values(self.distribute_strategy, self._sums())

    def assign_means(self, means: np.ndarray) -> None:
        """As `means` gave them."""
        replicas.assign(self.distribute_strategy, self._sums(), means)

    def _sums(self) -> list[Any]:
        return [kept.value for tracker in self.trackers.values() for kept in (tracker.total, tracker.count)]


def _with(phase: Phase, batch: Any, given: Any) -> Any:
    """The batch as the phase's loss sees it."""
    return batch._replace(**{phase.given.name: given.output}) if phase.given else batch


def final_models() -> dict[str, type[PhasedModel]]:
    """Every concrete model that is imported, by name."""
    return {cls.__name__: cls for cls in naming.subclasses(PhasedModel) if not inspect.isabstract(cls)}
