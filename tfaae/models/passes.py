"""Forward passes that the phases of a training step share."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import tensorflow as tf

Gradients = list[tf.Tensor | None]


class Pass(NamedTuple):
    """What the losses of several phases begin with. It is run once for as long as its parts stand still.

    Nothing may be drawn in it, and no statistics kept: then it is the pass that each phase would run by itself.
    """

    name: str  # the field of the batch through which losses see it
    run: Callable[[Any, bool], tf.Tensor]  # (batch, training) -> tensor
    parts: tuple[str, ...]  # names of the model's parts that it runs through


class Recorded(NamedTuple):
    """A pass that was run, and the way back through it."""

    output: tf.Tensor
    tape: tf.GradientTape

    def back(self, direct: Gradients, of_output: tf.Tensor | None, values: list) -> Gradients:
        """Gradients of a loss for `values`: what reaches them past the pass, and what reaches them through it."""
        if of_output is None:
            return direct
        through = self.tape.gradient(self.output, values, output_gradients=of_output)
        return [
            one if two is None else two if one is None else one + two for one, two in zip(direct, through, strict=True)
        ]


class Passes:
    """Those of one step that hold: no part of theirs has moved since.

    Args:
        values: names of parts -> what of them gradients are for.
    """

    def __init__(self, values: Callable[[Iterable[str]], list]):
        self.values = values
        self.found: dict[Pass, Recorded] = {}

    def of(self, given: Pass, batch: Any, training: bool) -> Recorded:
        """The pass, run where it has to be."""
        if given not in self.found:
            with tf.GradientTape(persistent=True) as tape:  # in a simultaneous step several phases go back through it
                tape.watch(self.values(given.parts))
                output = given.run(batch, training)
            self.found[given] = Recorded(output, tape)
        return self.found[given]

    def moved(self, parts: Iterable[str]) -> None:
        """Forgets what ran through these parts."""
        self.found = {given: one for given, one in self.found.items() if not set(given.parts) & set(parts)}
