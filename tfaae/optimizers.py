"""Optimizers from plain data: `{"name": "adam", "learning_rate": 0.001}`; schedules are told in epochs."""

import math
from typing import Any

import keras
import tensorflow as tf

from tfaae import naming
from tfaae.errors import InputError

EPOCHS = {
    "decay_epochs": "decay_steps",
    "first_decay_epochs": "first_decay_steps",
    "warmup_epochs": "warmup_steps",
    "boundary_epochs": "boundaries",
}


@keras.saving.register_keras_serializable(package="tfaae")
class EqualisedAdam(keras.optimizers.Optimizer):
    """Adam without momentum whose step for a variable is scaled by the variable's `step_factor`, if it has one.

    v <- beta_2 v + (1 - beta_2) g^2; w <- w - learning_rate factor sqrt(1 - beta_2^t) g / (sqrt(v) + epsilon), as ALAE
    is trained (Pidhorskyi et al. 2020); the factors are the equalised learning rate of Karras et al. 2018, section 4.1.

    Args:
        learning_rate, beta_2, epsilon: as above.
        kwargs: of `keras.optimizers.Optimizer`.
    """

    def __init__(self, learning_rate: Any = 0.002, beta_2: float = 0.99, epsilon: float = 1e-8, **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta_2, self.epsilon = beta_2, epsilon

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.velocities = self.add_optimizer_variables(variables, "velocity")
        self.factors = [getattr(variable, "step_factor", 1.0) for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        place = self._get_variable_index(variable)
        velocity, factor = self.velocities[place], self.factors[place]
        values = (gradient, learning_rate, self.iterations + 1)
        gradient, rate, t = (keras.ops.cast(value, variable.dtype) for value in values)
        self.assign_add(velocity, (1 - self.beta_2) * (keras.ops.square(gradient) - velocity))
        size = rate * factor * keras.ops.sqrt(1 - self.beta_2**t)
        self.assign_sub(variable, size * gradient / (keras.ops.sqrt(velocity) + self.epsilon))

    def get_config(self):
        return super().get_config() | {"beta_2": self.beta_2, "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="tfaae")
class FusedAdam(keras.optimizers.Adam):
    """Keras's Adam in one pass over each variable: the runtime's own kernel, where Keras takes about ten operations.

    Arguments, slots and results are Keras's (Kingma and Ba 2015, algorithm 1), so that checkpoints go both ways.
    """

    def update_step(self, gradient, variable, learning_rate):
        if self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        place, dtype = self._get_variable_index(variable), variable.dtype
        t = tf.cast(self.iterations + 1, dtype)
        beta_1, beta_2 = tf.constant(self.beta_1, dtype), tf.constant(self.beta_2, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=_handle(self._momentums[place]),
            v=_handle(self._velocities[place]),
            beta1_power=beta_1**t,
            beta2_power=beta_2**t,
            lr=tf.cast(learning_rate, dtype),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.constant(self.epsilon, dtype),
            grad=tf.cast(tf.convert_to_tensor(gradient), dtype),
        )


@keras.saving.register_keras_serializable(package="tfaae")
class FusedSGD(keras.optimizers.SGD):
    """Keras's SGD, with momentum or without, in one pass over each variable (see `FusedAdam`)."""

    def update_step(self, gradient, variable, learning_rate):
        dtype = variable.dtype
        rate, gradient = tf.cast(learning_rate, dtype), tf.cast(tf.convert_to_tensor(gradient), dtype)
        if self.momentum:
            tf.raw_ops.ResourceApplyKerasMomentum(
                var=_handle(variable),
                accum=_handle(self.momentums[self._get_variable_index(variable)]),
                lr=rate,
                grad=gradient,
                momentum=tf.constant(self.momentum, dtype),
                use_nesterov=self.nesterov,
            )
        else:
            tf.raw_ops.ResourceApplyGradientDescent(var=_handle(variable), alpha=rate, delta=gradient)


# what computes the same with operations that know no handle, as `tools/accelerator` needs it
PLAIN: dict[type, type] = {FusedAdam: keras.optimizers.Adam, FusedSGD: keras.optimizers.SGD}


def _handle(variable: Any) -> tf.Tensor:
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle


def build(what: str, spec: dict[str, Any], *, steps_per_epoch: int, epochs: int) -> keras.optimizers.Optimizer:
    """A Keras optimizer; for `adam` and `sgd` the fused ones. `what` names it in errors.

    Durations of a schedule are given in epochs, `{"name": "CosineDecay", "initial_learning_rate": 0.001,
    "decay_epochs": 30}`: Keras's own argument names with `_epochs` for `_steps`, and `boundary_epochs` for
    `boundaries`. Without `decay_epochs`, a decay takes the whole run, `epochs`.
    """
    spec = dict(spec)
    rate = spec.get("learning_rate", 0.001)
    if isinstance(rate, dict):
        spec["learning_rate"] = _schedule(f"{what}.learning_rate", rate, steps_per_epoch, epochs)
    elif isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise InputError(f"{what}.learning_rate: expected a number above 0 or a schedule, got {rate!r}")
    found = _classes(keras.optimizers, keras.optimizers.Optimizer)
    own = {"equalised_adam": EqualisedAdam, "adam": FusedAdam, "sgd": FusedSGD}
    return _make(what, spec, {name.lower(): cls for name, cls in found.items()} | own)


def _schedule(what: str, spec: dict[str, Any], steps_per_epoch: int, epochs: int) -> Any:
    found = _classes(keras.optimizers.schedules, keras.optimizers.schedules.LearningRateSchedule)
    if "decay_steps" in naming.parameters(found.get(spec.get("name", ""), object)):
        spec = {"decay_epochs": epochs} | spec
    steps = {
        EPOCHS.get(key, key): _in_steps(value, steps_per_epoch) if key in EPOCHS else value
        for key, value in spec.items()
    }
    try:
        return _make(what, steps, found)
    except InputError as error:
        message = str(error)
        for told, name in EPOCHS.items():  # the names that a config uses
            message = message.replace(name, told)
        raise InputError(message) from error


def _in_steps(epochs: Any, steps_per_epoch: int) -> Any:
    if isinstance(epochs, list):
        return [_in_steps(epoch, steps_per_epoch) for epoch in epochs]
    return epochs * steps_per_epoch if isinstance(epochs, int | float) else epochs


def _make(what: str, spec: dict[str, Any], classes: dict[str, Any]) -> Any:
    """`naming.make` for Keras's classes, which annotate nothing: their arguments are numbers, or lists, never texts."""
    for key, value in spec.items():
        if key != "name" and isinstance(value, str | dict):
            raise InputError(f"{what}.{key}: expected a number, got {value!r}")
    try:
        return naming.make(what, spec, classes)
    except InputError:
        raise
    except (TypeError, ValueError) as error:  # what Keras checks by itself
        raise InputError(f"{what}: {error}") from error


def _classes(module: Any, base: type) -> dict[str, Any]:
    members = vars(module).items()
    return {name: cls for name, cls in members if isinstance(cls, type) and issubclass(cls, base) and cls is not base}
