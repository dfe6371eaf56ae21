"""What a caller hands to a verb, as tensors: of the shape and type that the verb takes, or an InputError."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfaae.errors import InputError


def floats(what: str, value: Any, *shapes: Sequence[int | None]) -> tf.Tensor:
    """Float32 numbers of one of the shapes; None is any size. Their values are not looked at.

    Raises:
        InputError: integers too, for pixels of 0 to 255 would be taken for pixels in [0, 1].
    """
    told = f"expected {what}, floats {' or '.join(_told(shape) for shape in shapes)}"
    try:
        tensor = tf.convert_to_tensor(value)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{told}, got what is no array of numbers: {type(value).__name__} ({reason})") from None
    if not tensor.dtype.is_floating or not any(tensor.shape.is_compatible_with(shape) for shape in shapes):
        raise InputError(f"{told}, got {tensor.dtype.name} {_told(tensor.shape)}")
    return tf.cast(tensor, tf.float32)


def labels(value: Any, classes: int) -> tf.Tensor:
    """`[n]` int32 labels, 0 to `classes` - 1; 0 classes: any integers from 0."""
    if tf.is_symbolic_tensor(value):
        return tf.cast(value, tf.int32)
    try:
        found = np.asarray(value)
    except ValueError:
        raise InputError("expected labels [n], got lists of different lengths") from None
    if found.ndim != 1 or not np.issubdtype(found.dtype, np.integer):
        raise InputError(f"expected labels [n], integers, got {found.dtype} {list(found.shape)}")
    top = classes or 2**31
    if len(found) and (found.min() < 0 or found.max() >= top):
        raise InputError(f"expected labels 0 to {top - 1}, got {found.min()} to {found.max()}")
    return tf.constant(found.astype(np.int32))


def count(value: Any, most: int) -> Any:
    """An integer from 1 to `most`, how many to draw; what a graph counts goes through."""
    if tf.is_symbolic_tensor(value):
        return value
    return _integer("a count", value, 1, most)


def seed(value: Any) -> Any:
    """An integer of 32 bits, or `[2]` of them."""
    if tf.is_symbolic_tensor(value):
        return value
    if isinstance(value, str | bytes) or np.ndim(value) == 0:
        return integer_seed(value)
    if np.shape(value) != (2,):
        raise InputError(f"expected a seed, an integer or [2] integers, got {list(np.shape(value))}")
    return tf.constant([integer_seed(part) for part in np.asarray(value).tolist()], tf.int32)


def integer_seed(value: Any) -> int:
    """An integer of 32 bits."""
    return _integer("a seed", value, -(2**31), 2**31 - 1)


def _integer(what: str, value: Any, least: int, most: int) -> int:
    try:
        found = operator.index(value)
    except TypeError:
        raise InputError(f"expected {what}, an integer, got {value!r}") from None
    if not least <= found <= most:
        raise InputError(f"expected {what} of {least} to {most}, got {found}")
    return found


def _told(shape: Any) -> str:
    sizes = list(shape) if getattr(shape, "rank", 0) is not None else ["..."]
    return f"[{', '.join('n' if size is None else str(size) for size in sizes)}]"
