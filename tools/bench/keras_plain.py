"""The same algorithm as Keras's guides have their readers write it: three tapes, three encoder passes, Keras's Adam."""

import keras
import numpy as np
import tensorflow as tf

from tools.bench import setting
from tools.bench.turns import Turns


def dense(inputs: int, *widths: int) -> keras.Sequential:
    *hidden, last = widths
    layers = [keras.layers.Dense(width, activation="relu") for width in hidden]
    return keras.Sequential([keras.Input((inputs,)), *layers, keras.layers.Dense(last)])


class Plain(keras.Model):
    def __init__(self):
        super().__init__()
        self.encoder = dense(setting.PIXELS, *setting.UNITS, setting.CODE)
        self.decoder = dense(setting.CODE, *setting.UNITS, setting.PIXELS)
        self.discriminator = dense(setting.CODE, *setting.UNITS, 1)
        self.movers = [keras.optimizers.Adam(setting.RATE) for _ in range(3)]
        self.built = True  # as its parts are

    def train_step(self, images):
        encoder, decoder, discriminator = self.encoder, self.decoder, self.discriminator
        with tf.GradientTape() as tape:
            pixels = tf.sigmoid(decoder(encoder(images, training=True), training=True))
            reconstruction = 0.5 * tf.reduce_mean(tf.reduce_sum(tf.math.squared_difference(images, pixels), axis=1))
        self.move(0, tape, reconstruction, encoder.trainable_variables + decoder.trainable_variables)
        with tf.GradientTape() as tape:
            codes = encoder(images, training=True)
            real, fake = tf.split(discriminator(tf.concat([tf.random.normal(tf.shape(codes)), codes], axis=0)), 2)
            adversary = tf.reduce_mean(tf.nn.softplus(-real)) + tf.reduce_mean(tf.nn.softplus(fake))
        self.move(1, tape, adversary, discriminator.trainable_variables)
        with tf.GradientTape() as tape:
            generator = tf.reduce_mean(tf.nn.softplus(-discriminator(encoder(images, training=True))))
        self.move(2, tape, generator, encoder.trainable_variables)
        return {"reconstruction": reconstruction, "discriminator": adversary, "generator": generator}

    def move(self, place: int, tape: tf.GradientTape, loss: tf.Tensor, weights: list) -> None:
        self.movers[place].apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))


def fit(turns: Turns, images: np.ndarray, batch: int) -> None:
    model = Plain()
    model.compile()
    for mover, parts in zip(
        model.movers,
        ([model.encoder, model.decoder], [model.discriminator], [model.encoder]),
        strict=True,
    ):
        mover.build([weight for part in parts for weight in part.trainable_variables])
    flat = images.reshape(len(images), setting.PIXELS)
    rows = tf.data.Dataset.from_tensor_slices(flat).shuffle(10_000).batch(batch, drop_remainder=True).repeat()
    turn = keras.callbacks.LambdaCallback(on_train_batch_end=lambda step, logs: turns.step())
    model.fit(rows.prefetch(tf.data.AUTOTUNE), steps_per_epoch=10**6, verbose=0, callbacks=[turn])
