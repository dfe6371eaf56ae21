"""The model frame: a `LatentModel` is a list of phases plus the one `train_step` that plays them in order."""

import abc
import inspect
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfaae import naming
from tfaae.errors import InputError, not_negative
from tfaae.networks import Shape
from tfaae.posteriors import Posterior
from tfaae.priors import Prior
from tfaae.seeds import Seeds, fixed

register = keras.saving.register_keras_serializable(package="tfaae")
Terms = dict[str, tf.Tensor]


class Batch(NamedTuple):
    """What a phase sees."""

    images: tf.Tensor  # [n, h, w, c] float32 in [0, 1]
    labels: tf.Tensor  # [n] int32, -1 = unknown
    labelled_images: tf.Tensor  # [m, h, w, c], a stream of its own where the data has one, else `images`
    labelled_labels: tf.Tensor  # [m] int32


class Phase(NamedTuple):
    """One move of the game: a loss, and the parts that may move against it with an optimizer named like the phase."""

    name: str
    loss: Callable[[Batch, bool], Terms]  # (batch, training) -> {term: scalar}; their sum is minimised
    trains: tuple[str, ...]  # names of the model's parts


class LatentModel(keras.Model, abc.ABC):
    """Abstract. A final model writes a constructor that makes its parts, `phases`, and the losses they name.

    Every constructor argument is kept as an attribute of the same name: that is the whole of its config. Models are
    born built, so `compile` can make every optimizer slot at once, and a `.keras` file holds all of them with the
    seeds.

    Args:
        image_shape: (height, width, channels).
        latent_dim: d, length of a code.
        ema: decay of running averages of encoder and decoder, which every verb then uses, in [0, 1); 0: none. It grows
            to this from 1/10 as (1 + t) / (10 + t) in steps t.
        seed: fixes the initial weights and every draw; None takes a random one.
    """

    reports: tuple[str, ...]  # every number that the phases track, in the order of the progress bar
    equilibrium: Mapping[str, float] = MappingProxyType({})  # where an adversary's terms settle when it can only guess
    conditional: ClassVar[bool] = False  # whether decoding takes a label beside the code
    classes: int = 0  # labels that training uses, 0 to classes - 1; 0: none
    decoder: keras.Model
    encoder: Posterior
    prior: Prior

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        *,
        ema: float = 0.0,
        seed: int | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.image_shape = check_image_shape(image_shape)
        if latent_dim < 1:
            raise InputError(f"latent_dim must be at least 1, got {latent_dim}")
        not_negative(type(self).__name__, seed=seed or 0)
        if not 0 <= ema < 1:
            raise InputError(f"ema must be at least 0 and below 1, got {ema}")
        self.latent_dim, self.ema, self.seed = latent_dim, ema, seed
        self.averages: Averages | None = None
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
        """The moves of one training step, in order: the model's table of contents."""

    # === Verbs: all that callbacks, metrics, figures and exports know of a model ===

    @property
    def code_dim(self) -> int:
        """Length of what `encode` gives and `decode` takes."""
        return self.latent_dim

    def encode(self, images) -> tf.Tensor:
        """`[n, h, w, c]` images -> `[n, code_dim]` codes, the posterior's mode: no draw."""
        with self.averaged():
            return self.encoder.mode(tf.convert_to_tensor(images))

    def encode_sample(self, images) -> tf.Tensor:
        """`[n, h, w, c]` images -> `[n, code_dim]` codes, one draw from the posterior."""
        with self.averaged():
            return self.encoder(tf.convert_to_tensor(images), training=False)

    def decode(self, codes) -> tf.Tensor:
        """`[n, code_dim]` codes -> `[n, h, w, c]` images in [0, 1]."""
        with self.averaged():
            return tf.sigmoid(self.decoder(tf.convert_to_tensor(codes), training=False))

    def reconstruct(self, images, labels=None) -> tf.Tensor:
        """`[n, h, w, c]` images -> what is left of them, decode(encode(images)).

        `labels`: `[n]`, for models that are `conditional`.
        """
        return self.decode(self.encode(images))

    def sample(self, count=None, *, labels=None, seed: int | tf.Tensor | None = None) -> tf.Tensor:
        """`[count, h, w, c]` images decoded from draws of the prior.

        Args:
            count: how many; with labels it may be left out.
            labels: `[count]` integers: each draw comes from that segment of the prior.
            seed: an integer or `[2]` int32; None moves the model's own.
        """
        return self.decode(self.prior.sample(self._count(count, labels), labels, seed=self._draw_seed(seed)))

    def call(self, images, training=False):
        """Reconstruction."""
        return self.reconstruct(images)

    def _count(self, count, labels):
        if labels is None and count is None:
            raise InputError("sample takes a count, or labels [count]")
        if labels is None:
            return count
        if count is not None and count != len(labels):
            raise InputError(f"sample takes one label a draw, got {count} draws and {len(labels)} labels")
        top = self.classes if self.conditional else self.prior.segments
        if tf.is_symbolic_tensor(labels):
            return tf.shape(labels)[0]
        if top and (np.min(labels) < 0 or np.max(labels) >= top):
            raise InputError(f"expected labels 0 to {top - 1}, got {np.min(labels)} to {np.max(labels)}")
        return len(labels)

    def _draw_seed(self, seed):
        if seed is None:
            return self.seeds.stateless()
        return fixed(operator.index(seed)) if np.ndim(seed) == 0 else seed

    # === Running averages ===

    def average(self, *parts: str) -> None:
        """Called last in a constructor that takes `ema`: these parts are averaged."""
        if self.ema:
            self.averages = Averages([weight for part in parts for weight in getattr(self, part).weights])

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the averaged parts answer with their averages."""
        if self.averages is None:
            yield
            return
        with keras.StatelessScope(state_mapping=self.averages.pairs()) as scope:
            yield
        for variable in (self.seeds.state, *(v for tracker in self.trackers.values() for v in tracker.variables)):
            value = scope.get_current_value(variable)  # what the scope kept from being assigned
            if value is not None:
                variable.assign(value)

    def exported(self) -> list[keras.layers.Layer]:
        """The layers whose weights answer the verbs."""
        return [self.encoder, self.decoder] if self.averages is None else [self.averages]

    # === The training step ===

    def train_step(self, data):
        batch = self.batch(data)
        # without the dependency, a step that finds the end of the data still moves the seeds: no exact resume
        with tf.control_dependencies(list(batch)):
            for phase in self.phases():
                weights = self.weights_of(phase)
                values = [weight.value for weight in weights]  # tensors, where a StatelessScope stands in for them
                with tf.GradientTape() as tape:
                    tape.watch(values)
                    terms = self.loss_terms(phase, batch, training=True)
                    total = tf.add_n(list(terms.values()))
                self.optimizers[phase.name].apply(tape.gradient(total, values), weights)
            self.steps.assign_add(1)
            if self.averages is not None:
                self.averages.move(self.ema, self.steps)
        return self.report()

    def fit(self, x=None, y=None, *args, **kwargs):
        """`keras.Model.fit`; `y` are labels, -1 = unknown, which a `conditional` model does not take."""
        if isinstance(x, np.ndarray | tf.Tensor) and (y is not None or self.conditional):
            labels = np.full(len(x), -1) if y is None else np.asarray(y)
            if len(labels) != len(x):
                raise InputError(f"expected one label an image, got {len(x)} images and {len(labels)} labels")
            self.check_labels(labels)
        return super().fit(x, y, *args, **kwargs)

    def check_labels(self, labels: np.ndarray) -> None:
        """Raises an InputError unless `[n]` integer labels are -1 (0 where the model is `conditional`) to classes - 1.

        Where training uses none, any integers do.
        """
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise InputError(f"expected labels [n], integers, got {labels.dtype} {list(labels.shape)}")
        least = 0 if self.conditional else -1
        if self.classes and len(labels) and (labels.min() < least or labels.max() >= self.classes):
            told = "; it needs the label of every image" if self.conditional else ""
            raise InputError(
                f"{type(self).__name__} was made for labels 0 to {self.classes - 1} (-1: unknown), "
                f"got {labels.min()} to {labels.max()}{told}"
            )

    def evaluate(self, *args, **kwargs):
        with self.seeds.kept():
            return super().evaluate(*args, **kwargs)

    def test_step(self, data):
        batch = self.batch(data)
        with self.averaged():
            for phase in self.phases():
                self.loss_terms(phase, batch, training=False)
        return self.report()

    def batch(self, data) -> Batch:
        """What fit and evaluate hand on: images, (images, labels), or ((images, more), (labels, their labels)).

        Checks what the graph knows: rank, sizes, type.
        """
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        if isinstance(images, tuple | list):
            return Batch(*self._checked(images[0], labels[0]), *self._checked(images[1], labels[1]))
        both = self._checked(images, labels)
        return Batch(*both, *both)

    def _checked(self, images, labels) -> tuple[tf.Tensor, tf.Tensor]:
        images = tf.convert_to_tensor(images)
        if tuple(images.shape[1:]) != self.image_shape or not images.dtype.is_floating:
            raise InputError(
                f"{type(self).__name__} expects float images [n, {str(self.image_shape)[1:-1]}] in [0, 1], got "
                f"{images.dtype.name} {list(images.shape)}; convert them, or build the model with their image_shape"
            )
        if labels is None:
            labels = tf.fill([tf.shape(images)[0]], -1)
        labels = tf.convert_to_tensor(labels)
        if labels.shape.rank != 1:
            raise InputError(f"expected labels [n], one integer an image (-1: unknown), got {list(labels.shape)}")
        return tf.cast(images, tf.float32), tf.cast(labels, tf.int32)

    def weights_of(self, phase: Phase) -> list:
        return [weight for part in phase.trains for weight in getattr(self, part).trainable_variables]

    def track(self, terms: Terms, batch: Batch) -> None:
        """Adds to the running means; numbers that nobody minimises, an accuracy say, are tracked by the loss itself."""
        for term, value in terms.items():
            self.trackers[term].update_state(value, sample_weight=tf.shape(batch.images)[0])

    def report(self) -> Terms:
        return {term: tracker.result() for term, tracker in self.trackers.items()}

    @property
    def metrics(self):
        return list(self.trackers.values())

    def loss_terms(self, phase: Phase, batch: Batch, training: bool) -> Terms:
        terms = phase.loss(batch, training)
        self.phase_of |= dict.fromkeys(terms, phase.name)
        self.track(terms, batch)
        return terms

    # === Compile, config and state ===

    def compile(
        self,
        optimizers: dict[str, Any],
        *,
        jit_compile: bool = True,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
    ) -> None:
        """One optimizer for each phase.

        Args:
            optimizers: {phase name: whatever `keras.optimizers.get` takes}.
            jit_compile: XLA. On: faster on a CPU too, where Keras's "auto" leaves it off.
            run_eagerly, steps_per_execution: as in `keras.Model.compile`.
        Raises:
            InputError: a phase without optimizer, an optimizer without phase, one object for two phases.
        """
        names = [phase.name for phase in self.phases()]
        if not isinstance(optimizers, dict) or sorted(optimizers) != sorted(names):
            got = sorted(optimizers) if isinstance(optimizers, dict) else repr(optimizers)
            raise InputError(f"{type(self).__name__} takes one optimizer for each phase, {names}; got {got}")
        built = {name: keras.optimizers.get(optimizers[name]) for name in names}
        if len({id(optimizer) for optimizer in built.values()}) < len(names):
            raise InputError("each phase needs an optimizer of its own: their states differ")
        super().compile(
            optimizer=None,
            jit_compile=jit_compile and not run_eagerly,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
        )
        self.optimizers = built
        for phase in self.phases():
            self.optimizers[phase.name].build(self.weights_of(phase))

    def get_compile_config(self):
        optimizers = {name: keras.optimizers.serialize(optimizer) for name, optimizer in self.optimizers.items()}
        return {
            "optimizers": optimizers,
            "jit_compile": self.jit_compile,
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
        store["seeds"] = self.seeds.state.numpy()  # Keras leaves a SeedGenerator's state out of its files

    def load_own_variables(self, store):
        self.seeds.state.assign(store["seeds"])
        super().load_own_variables({key: store[key] for key in store.keys() if key != "seeds"})  # noqa: SIM118 (HDF5)


class Averages(keras.layers.Layer):
    """Exponential running averages of weights, themselves weights: saved and exported as such."""

    def __init__(self, sources: list[keras.Variable]):
        super().__init__(name="averages")
        self.sources = lambda: sources  # hidden from Keras, which would take them for weights of this layer
        for source in sources:
            self.add_weight(shape=source.shape, trainable=False).assign(source.value)
        self.built = True

    def pairs(self) -> list[tuple[keras.Variable, keras.Variable]]:
        """(source, average), weight by weight."""
        return list(zip(self.sources(), self.weights, strict=True))

    def move(self, decay: float, steps: tf.Tensor) -> None:
        """One step towards the sources: average += (1 - decay) (source - average)."""
        t = tf.cast(steps, tf.float32)
        share = 1 - tf.minimum(decay, (1 + t) / (10 + t))
        for source, copy in self.pairs():
            copy.assign_add(share * (source.value - copy.value))


def check_image_shape(shape: Any) -> Shape:
    """(height, width, channels) as a tuple of integers.

    Raises:
        InputError: unless square, with 1 or 3 channels.
    """
    shape = tuple(int(size) for size in shape)
    if len(shape) != 3 or shape[0] != shape[1] or shape[2] not in (1, 3) or shape[0] < 1:
        raise InputError(f"image_shape must be (size, size, 1 or 3), got {shape}")
    return shape


def check_prior(prior: Prior, latent_dim: int) -> Prior:
    """The prior, if its codes have length `latent_dim`."""
    if prior.dim != latent_dim:
        raise InputError(
            f"prior {type(prior).__name__} has codes of length {prior.dim}, latent_dim is {latent_dim}; make them equal"
        )
    return prior


def final_models() -> dict[str, type[LatentModel]]:
    """Every concrete model that is imported, by name."""
    return {cls.__name__: cls for cls in naming.subclasses(LatentModel) if not inspect.isabstract(cls)}
