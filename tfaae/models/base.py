"""A `LatentModel`: phases over batches of images, and the verbs that everything else knows a model by."""

import abc
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfaae import inputs
from tfaae.errors import InputError
from tfaae.models.phased import Phase, PhasedModel, Terms, register
from tfaae.networks import Shape
from tfaae.posteriors import Posterior
from tfaae.priors import Prior
from tfaae.seeds import fixed

MOST_NUMBERS = 2**31  # of images that are drawn at once

__all__ = ["Batch", "LatentModel", "Phase", "Terms", "register"]


class Batch(NamedTuple):
    """What a phase sees."""

    images: tf.Tensor  # [n, h, w, c] float32 in [0, 1]
    labels: tf.Tensor  # [n] int32, -1 = unknown
    labelled_images: tf.Tensor  # [m, h, w, c], a stream of its own where the data has one, else `images`
    labelled_labels: tf.Tensor  # [m] int32
    codes: tf.Tensor | None = None  # [n, d] of the images, where phases share a pass through the encoder


class LatentModel(PhasedModel, abc.ABC):
    """Abstract. A `PhasedModel` with an encoder, a decoder and a prior, whose verbs are the same for every family.

    Args:
        image_shape: (height, width, channels).
        latent_dim: d, length of a code.
        ema: decay of running averages of encoder and decoder, which every verb then uses, in [0, 1); 0: none. It grows
            to this from 1/10 as (1 + t) / (10 + t) in steps t.
        seed: of `PhasedModel`.
    """

    conditional: ClassVar[bool] = False  # whether decoding takes a label beside the code
    export_limit: ClassVar[float] = 1e-5  # how far an export may be off, relative to max(1, largest value): rounding
    serving_default: ClassVar[str] = "reconstruct"  # the verb that a server answers with unless it is asked for another
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
        super().__init__(seed=seed, name=name)
        self.image_shape = check_image_shape(image_shape)
        if latent_dim < 1:
            raise InputError(f"latent_dim must be at least 1, got {latent_dim}")
        if not 0 <= ema < 1:
            raise InputError(f"ema must be at least 0 and below 1, got {ema}")
        self.latent_dim, self.ema = latent_dim, ema
        self.averages: Averages | None = None

    # === Verbs: all that callbacks, metrics, figures and exports know of a model ===

    @property
    def code_dim(self) -> int:
        """Length of what `encode` gives and `decode` takes."""
        return self.latent_dim

    def encode(self, images) -> tf.Tensor:
        """`[n, h, w, c]` images -> `[n, code_dim]` codes, the posterior's mode: no draw."""
        with self.averaged():
            return self.encoder.mode(self.checked(images))

    @property
    def stochastic(self) -> bool:
        """Whether `encode_sample` draws: whether the posterior is more than a function of the image."""
        return self.encoder.stochastic

    def encode_sample(self, images, *, seed: int | tf.Tensor | None = None) -> tf.Tensor:
        """`[n, h, w, c]` images -> `[n, code_dim]` codes, one draw from the posterior.

        `seed`: an integer or `[2]` int32; None moves the model's own.
        """
        with self.averaged(), self.seeds.given(None if seed is None else self._draw_seed(seed)):
            return self.encoder(self.checked(images), training=False)

    def decode(self, codes) -> tf.Tensor:
        """`[n, code_dim]` codes -> `[n, h, w, c]` images in [0, 1]."""
        with self.averaged():
            return tf.sigmoid(self.decoder(inputs.floats("codes", codes, self.decoder.input_shape), training=False))

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
        return self.decode(self.sample_codes(self._count(count, labels), labels, seed=self._draw_seed(seed)))

    def sample_codes(self, count: int | tf.Tensor, labels=None, *, seed: tf.Tensor) -> tf.Tensor:
        """`[count, d]` draws of what the codes are to follow, the prior, for a `[2]` int32 seed."""
        return self.prior.sample(count, labels, seed=seed)

    def manifolds(self) -> dict[str, np.ndarray]:
        """Codes worth decoding into a picture each, `{title: [rows, columns, d]}`."""
        return self.prior.manifolds()

    def call(self, images, training=False):
        """Reconstruction."""
        return self.reconstruct(images)

    def checked(self, images) -> tf.Tensor:
        """`[n, h, w, c]` images as the encoder takes them. Raises an InputError at another shape or type."""
        size = tuple(getattr(images, "shape", ()))[1:]
        return inputs.floats("images in [0, 1]", images, [None, *(size if self.takes(size) else self.image_shape)])

    def _count(self, count, labels):
        if labels is None and count is None:
            raise InputError("sample takes a count, or labels [count]")
        if labels is None:
            return inputs.count(count, MOST_NUMBERS // math.prod(self.image_shape))
        labels = inputs.labels(labels, self.classes if self.conditional else self.prior.segments)
        if count is not None and count != len(labels):
            raise InputError(f"sample takes one label a draw, got {count} draws and {len(labels)} labels")
        return tf.shape(labels)[0] if tf.is_symbolic_tensor(labels) else len(labels)

    def _draw_seed(self, seed):
        if seed is None:
            return self.seeds.stateless()
        seed = inputs.seed(seed)
        return fixed(seed) if isinstance(seed, int) else seed

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

    # === What training sees ===

    def after_step(self, batch):
        if self.averages is not None:
            t = tf.cast(self.steps, tf.float32)
            self.averages.move(1 - tf.minimum(self.ema, (1 + t) / (10 + t)))

    def test_step(self, data):
        with self.averaged():
            return super().test_step(data)

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
        if not self.takes(tuple(images.shape[1:])) or not images.dtype.is_floating:
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

    def takes(self, shape: tuple[int | None, ...]) -> bool:
        """Whether training images may have this shape."""
        return shape == self.image_shape


class Averages(keras.layers.Layer):
    """Exponential running averages of weights, themselves weights: saved and exported as such."""

    def __init__(self, sources: list[keras.Variable]):
        super().__init__(name="averages")
        self.sources = lambda: sources  # hidden from Keras, which would take them for weights of this layer
        for source in sources:
            self.add_weight(shape=source.shape, dtype=self.stored_as(source), trainable=False).assign(source.value)
        self.built = True

    def stored_as(self, source: keras.Variable) -> str:
        """The type of a copy; in use it is cast to its source's."""
        return source.dtype

    def pairs(self) -> list[tuple[keras.Variable, keras.Variable]]:
        """(source, average), weight by weight."""
        return list(zip(self.sources(), self.weights, strict=True))

    def move(self, share: tf.Tensor) -> None:
        """One step towards the sources: average += share (source - average)."""
        for source, copy in self.pairs():
            copy.assign_add(tf.cast(share, copy.dtype) * (source.value - copy.value))


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
