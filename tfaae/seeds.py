"""Randomness: every model owns one `Seeds`, and everything random in it draws from that."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf

from tfaae import replicas


class Seeds(keras.random.SeedGenerator):
    """A `keras.random.SeedGenerator` that also seeds tfp's draws and the initial weights.

    One object a model: two generators with one integer seed would draw the same numbers. `keras.random` functions take
    it as their `seed`; its state is saved with the model, so a model that was loaded draws what the saved one would
    have drawn.

    Under a `tf.distribute` strategy all replicas have one state, and each draws its own numbers from it, unless what is
    drawn belongs to the whole batch (`shared`).

    Args:
        seed: any integer of at least 0; None takes a random one.
    """

    def __init__(self, seed: int | None = None):
        super().__init__(seed=seed)
        self._initial = np.random.default_rng(seed)
        self._given: tf.Tensor | None = None
        self._shared = False

    def next(self, ordered: bool = True):
        seed = self._one_for_all(ordered)
        return seed if self._shared else replicas.own(seed)

    def _one_for_all(self, ordered):
        if self._given is None:
            return super().next(ordered)
        given = self._given
        self._given = given + tf.constant([0, 1], given.dtype)
        return given

    def stateless(self) -> tf.Tensor:
        """`[2]` int32, a new one at each call: what `tf.random.stateless_*` and tfp take as a seed."""
        return tf.cast(self.next(), tf.int32)

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Draws inside are the same on every replica."""
        self._shared = True
        try:
            yield
        finally:
            self._shared = False

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Draws inside leave no trace: looking at a model, or evaluating it, does not change how it trains on."""
        before = keras.ops.convert_to_numpy(self.state).copy()
        try:
            yield
        finally:
            self.state.assign(before)

    @contextmanager
    def given(self, seed: tf.Tensor | None) -> Iterator[None]:
        """Draws inside follow from a `[2]` int32 seed alone and leave no trace; None: they move the state as ever."""
        self._given = None if seed is None else tf.cast(seed, self.state.dtype)
        try:
            yield
        finally:
            self._given = None

    def for_initializer(self) -> int:
        """A new integer for a Keras initializer. It does not move the state: weights are made once, at construction."""
        return int(self._initial.integers(2**31))


def fixed(seed: int) -> tf.Tensor:
    """`[2]` int32 for a draw that an integer names once and for all (a picture, a request, a test)."""
    return tf.constant([seed, 0], tf.int32)
