"""What lets `train_step` run for several models at once: optimizers without side effects, one draw for all runs."""

import re

import keras
import tensorflow as tf
from tensorflow.python.ops.parallel_for import pfor  # no public way to add a converter

from tfaae import optimizers
from tfaae.models import LatentModel


def variables(model: LatentModel) -> list[keras.Variable]:
    """Everything that a training step may change, in one order."""
    optimizers = [variable for optimizer in model.optimizers.values() for variable in optimizer.variables]
    trackers = [variable for tracker in model.metrics for variable in tracker.variables]
    found = {id(variable): variable for variable in [*model.variables, *optimizers, *trackers, model.seeds.state]}
    return list(found.values())


def make_functional(model: LatentModel) -> None:
    """Keras's TensorFlow optimizers update `tf.Variable`s; here they go through Keras variables, as JAX's do."""
    for optimizer in model.optimizers.values():
        optimizer._var_key = id
        optimizer._trainable_variables_indices = {id(v): at for at, v in enumerate(optimizer._trainable_variables)}
        optimizer.assign = lambda variable, value: variable.assign(value)
        optimizer.assign_add = lambda variable, value: variable.assign_add(value)
        optimizer.assign_sub = lambda variable, value: variable.assign_sub(value)
        optimizer._backend_update_step = _update_step(optimizer)


def _update_step(optimizer):
    plain = optimizers.PLAIN.get(type(optimizer), type(optimizer))

    def update(gradients, weights, learning_rate):
        for gradient, weight in zip(gradients, weights, strict=True):
            plain.update_step(optimizer, gradient, weight, learning_rate)

    return update


def replaced(header: str) -> dict[str, int]:
    """From the first line of an HLO text: output -> captured input whose value it is after the call."""
    pairs = re.findall(r"\{(\d*)\}: \((\d+), \{\}", header)
    return {out or "0": int(parameter) - 1 for out, parameter in pairs}  # parameter 0 is the epoch's index


# vectorized_map would draw run by run: a stateless draw of one run is that of its seed. One draw for all, from the
# first run's seed, is many times faster, and the runs are as independent.


def _key_and_counter(pfor_input):
    runs = pfor_input.pfor.loop_len_vector
    found = tf.raw_ops.StatelessRandomGetKeyCounter(seed=pfor_input.stacked_input(0)[0])
    return [pfor.wrap(tf.tile(value[None], tf.concat([runs, [1]], axis=0)), True) for value in found]


def _draw(op):
    def convert(pfor_input):
        runs = pfor_input.pfor.loop_len_vector
        shape, algorithm = pfor_input.unstacked_input(0), pfor_input.unstacked_input(3)
        shape = tf.concat([tf.cast(runs, shape.dtype), shape], axis=0)
        key, counter = pfor_input.stacked_input(1)[0], pfor_input.stacked_input(2)[0]
        drawn = op(shape=shape, key=key, counter=counter, alg=algorithm, dtype=pfor_input.get_attr("dtype"))
        return pfor.wrap(drawn, True)

    return convert


def _categories(pfor_input):
    logits, count, seed = (pfor_input.input(at) for at in range(3))
    runs = pfor_input.pfor.loop_len_vector[0]
    rows = tf.shape(logits.t)[-2]
    flat = tf.reshape(logits.t, [-1, logits.t.shape[-1]]) if logits.is_stacked else tf.tile(logits.t, [runs, 1])
    first = seed.t[0] if seed.is_stacked else seed.t
    drawn = tf.random.stateless_categorical(flat, count.t, first, pfor_input.get_attr("output_dtype"))
    return pfor.wrap(tf.reshape(drawn, [runs, rows, count.t]), True)


pfor.RegisterPFor("StatelessRandomGetKeyCounter")(_key_and_counter)
for _name in ("StatelessRandomNormalV2", "StatelessRandomUniformV2", "StatelessRandomUniformFullIntV2"):
    pfor.RegisterPFor(_name)(_draw(getattr(tf.raw_ops, _name)))
pfor._pfor_converter_registry.pop("StatelessMultinomial")  # registered as a loop
pfor.RegisterPFor("StatelessMultinomial")(_categories)
