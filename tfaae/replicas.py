"""What a training step asks of the other replicas of a `tf.distribute` strategy; alone, it answers for itself.

Each replica sees its rows of a batch. Whatever is a mean over the batch has to be one over all replicas' rows.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf


def count() -> int:
    """How many replicas share a batch; 1 outside of a strategy's step."""
    context = tf.distribute.get_replica_context()
    return context.num_replicas_in_sync if context else 1


def planned() -> int:
    """How many replicas will train what is made now, inside a strategy's scope."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def own(seed: tf.Tensor) -> tf.Tensor:
    """`[2]` integers -> the seed that is this replica's alone; unchanged where there is one."""
    if count() == 1:
        return seed
    return tf.random.experimental.stateless_fold_in(seed, tf.distribute.get_replica_context().replica_id_in_sync_group)


def total(value: tf.Tensor) -> tf.Tensor:
    """Summed over the replicas."""
    if count() == 1:
        return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def rows(batch: tf.Tensor) -> tf.Tensor:
    """int32 scalar, rows of the whole batch, of which `[n, ...]` is this replica's part."""
    alike = batch.shape[0] is not None  # only batches that are always full have a size that a graph knows
    return tf.shape(batch)[0] * count() if alike else total(tf.shape(batch)[0])


def share(batch: tf.Tensor) -> tf.Tensor:
    """float32 scalar, the part of the whole batch's rows that `[n, ...]` is: what this replica's mean counts for."""
    return tf.cast(tf.shape(batch)[0], tf.float32) / tf.cast(rows(batch), tf.float32)


def fair(count_here: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """Something that is counted in this replica's rows, as it would be if all replicas' rows had equally much of it."""
    return count_here if count() == 1 else total(count_here) * share(batch)


def mean_of_means(value: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """A mean over this replica's rows of a batch, its `[n, ...]`, as the mean over all."""
    return value if count() == 1 else total(value * share(batch))


def mean(values: tf.Tensor) -> tf.Tensor:
    """`[n, ...]` -> `[...]`, the mean over the whole batch's rows. No gradient is meant to pass."""
    if count() == 1:
        return tf.reduce_mean(values, axis=0)
    return total(tf.reduce_sum(values, axis=0)) / tf.cast(rows(values), values.dtype)


def reported(value: tf.Tensor) -> tf.Tensor:
    """A step's scalar as Keras's `fit` takes it: with several workers it averages over a first axis."""
    return value[None] if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy) else value


def moments(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`[n, ...]` -> mean and variance `[...]` over the whole batch's rows. No gradient is meant to pass."""
    if count() == 1:
        return tf.nn.moments(values, axes=[0])
    centre = mean(values)
    return centre, mean(tf.square(values - centre))


# === Outside of a step ===


def values(strategy: tf.distribute.Strategy, variables: Sequence[tf.Variable]) -> np.ndarray:
    """`[replicas, variables]`, what each replica has in float32 scalars of its own. All workers have to ask."""

    def own(here: tf.Tensor) -> tf.Tensor:
        row = tf.stack([tf.convert_to_tensor(variable) for variable in variables])
        return total(tf.one_hot(here, count())[:, None] * row)

    return _on_each(strategy, own).numpy()


def assign(strategy: tf.distribute.Strategy, variables: Sequence[tf.Variable], given: np.ndarray) -> None:
    """As `values` gave them; of another number of replicas, the first takes the sums."""
    replicas = strategy.num_replicas_in_sync
    if len(given) != replicas:
        given = np.concatenate([given.sum(axis=0, keepdims=True), np.zeros([replicas - 1, len(variables)])])
    rows = tf.constant(given, tf.float32)

    def own(here: tf.Tensor) -> tf.Tensor:
        for variable, value in zip(variables, tf.unstack(rows[here]), strict=True):
            variable.assign(value)
        return here

    _on_each(strategy, own)


def _on_each(strategy: tf.distribute.Strategy, function: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Runs a function of the replica's number on every replica; what it gives on the first one here."""

    def everywhere() -> tf.Tensor:
        return strategy.run(lambda: function(tf.distribute.get_replica_context().replica_id_in_sync_group))

    ran = everywhere() if strategy.num_replicas_in_sync == 1 else tf.function(everywhere)()  # they meet in a graph
    return strategy.experimental_local_results(ran)[0]
