"""The matmul ceiling: the products of `setting.products` alone, in TensorFlow."""

import tensorflow as tf

from tools.bench import setting
from tools.bench.turns import Turns


def play(turns: Turns, batch: int, precision: tf.DType, xla: bool) -> None:
    """One function of independent products, whose results are all asked for: none is left out."""
    told = [
        (kind == "weights", kind == "inputs", rows, inner, columns)
        for kind, rows, inner, columns in setting.products(batch)
    ]
    pairs = [
        (
            tf.cast(tf.random.normal([inner, rows] if first else [rows, inner]), precision),
            tf.cast(tf.random.normal([columns, inner] if second else [inner, columns]), precision),
        )
        for first, second, rows, inner, columns in told
    ]

    @tf.function(jit_compile=xla)
    def step(pairs):
        return [
            tf.matmul(left, right, transpose_a=first, transpose_b=second)
            for (left, right), (first, second, *_) in zip(pairs, told, strict=True)
        ]

    while True:
        step(pairs)
        turns.step()
