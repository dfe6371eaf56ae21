"""Networks of adversarial variational Bayes beside the others (Mescheder et al. 2017, as in the authors' code)."""

import math
from collections.abc import Sequence

import keras
from keras import layers

from tfaae.errors import InputError
from tfaae.networks import Builder, Shape, check_units


class ContrastBuilder(Builder):
    """A `Builder` of basis encoders, noise networks, and discriminators of pairs (x, z)."""

    def basis_encoder(self, image_shape: Shape, latent_dim: int, bases: int, units: Sequence[int]) -> keras.Model:
        """`[n, h, w, c]` images in [0, 1] -> `[n, 1 + bases, latent_dim]`: an offset, then `bases` raw amplitudes."""
        hidden, inputs = self._trunk(image_shape, units)
        offset = layers.Dense(latent_dim, kernel_initializer=self._near_zero(), name="offset")(hidden)
        amplitudes = layers.Dense(bases * latent_dim, kernel_initializer=self._initializer(), name="amplitudes")(hidden)
        both = layers.Concatenate()([offset, amplitudes])
        return keras.Model(inputs[0], layers.Reshape((1 + bases, latent_dim))(both), name="encoder_network")

    def correlated_encoder(self, image_shape: Shape, latent_dim: int, bases: int, units: Sequence[int]) -> keras.Model:
        """`[n, h, w, c]` images -> offset and raw widths `[n, d]`, lines `[n, d, d]`, raw curves `[n, bases, d]`.

        Offsets start as wide as a VAE's means, the others near 0.
        """
        hidden, inputs = self._trunk(image_shape, units)
        outputs = [layers.Dense(latent_dim, kernel_initializer=self._initializer(), name="offset")(hidden)]
        for name, shape in (
            ("width", (latent_dim,)),
            ("lines", (latent_dim, latent_dim)),
            ("curves", (bases, latent_dim)),
        ):
            start = self._near_zero(1e-2)
            outputs.append(
                layers.Reshape(shape)(layers.Dense(math.prod(shape), kernel_initializer=start, name=name)(hidden))
            )
        return keras.Model(inputs[0], outputs, name="encoder_network")

    def basis(self, bases: int, noise_dim: int, latent_dim: int) -> keras.Model:
        """`[n, bases, noise_dim]` noise -> `[n, bases, latent_dim]`: a network of its own for each basis vector."""
        noise = hidden = keras.Input((bases, noise_dim), name="posterior_noise")
        for width in (128, 128, 128):
            hidden = self._grouped(hidden, width, "elu")
        return keras.Model(noise, self._grouped(hidden, latent_dim, None), name="basis")

    def _grouped(self, hidden, width: int, activation: str | None):
        _, groups, inputs = hidden.shape
        limit = math.sqrt(6 / (inputs + width))  # Glorot's; Keras would count the groups into the fan
        start = keras.initializers.RandomUniform(-limit, limit, seed=self.seeds.for_initializer())
        return layers.EinsumDense(
            "nge,geo->ngo", (groups, width), activation=activation, bias_axes="go", kernel_initializer=start
        )(hidden)

    def pair_discriminator(
        self, image_shape: Shape, code_dim: int, units: Sequence[int], head: int = 512
    ) -> keras.Model:
        """`[images, codes]` -> `[n]` logits: <theta(x), s(z)> + a(x) + b(z), four dense towers (the paper's adversary).

        Args:
            units: hidden widths of each tower, leaky rectifiers.
            head: length of theta and s.
        """
        check_units(discriminator_units=units)
        image, code = keras.Input(image_shape, name="images"), keras.Input((code_dim,), name="codes")
        flat = layers.Flatten()(image)
        theta = self._layer(layers.Dense, head, activation="elu")(self._tower(flat, units))
        inner = layers.Dot(-1)([theta, self._layer(layers.Dense, head)(self._tower(code, units))])
        sides = [
            layers.Dense(1, kernel_initializer=self._near_zero(), dtype="float32")(self._tower(side, units))
            for side in (flat, code)
        ]
        logits = layers.Add(dtype="float32")([inner, *sides])
        return keras.Model([image, code], layers.Reshape((), dtype="float32")(logits), name="discriminator")

    def residual_discriminator(self, inputs: dict[str, Shape], units: Sequence[int]) -> keras.Model:
        """Named inputs, flattened side by side -> `[n]` logits: residual blocks that start as the identity."""
        given = [keras.Input(shape, name=name) for name, shape in inputs.items()]
        flat = [layers.Flatten()(each) for each in given]
        hidden = layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
        check_units(discriminator_units=units)
        if len(set(units)) > 1:
            raise InputError(f"discriminator_units of a residual adversary: expected equal widths, got {list(units)}")
        hidden = layers.LeakyReLU(0.2)(self._layer(layers.Dense, units[0])(hidden))
        for width in units[1:]:
            inside = layers.LeakyReLU(0.2)(self._layer(layers.Dense, width)(hidden))
            added = layers.Add()([hidden, layers.Dense(width, kernel_initializer=self._near_zero(1e-3))(inside)])
            hidden = layers.LeakyReLU(0.2)(added)
        logit = layers.Dense(1, kernel_initializer=self._near_zero(1e-3), dtype="float32")(hidden)
        return keras.Model(
            given if len(given) > 1 else given[0],
            layers.Reshape((), dtype="float32")(logit),
            name="discriminator",
        )

    def noise_network(self, noise_dim: int, units: Sequence[int], outputs: int) -> keras.Model:
        """`[n, noise_dim]` -> `[n, outputs]`: an implicit distribution without an image."""
        check_units(units=units)
        noise = hidden = keras.Input((noise_dim,), name="posterior_noise")
        for width in units:
            hidden = self._layer(layers.Dense, width, activation="elu")(hidden)
        last = layers.Dense(outputs, kernel_initializer=self._initializer())(hidden)
        return keras.Model(noise, last, name="noise_network")

    def _near_zero(self, std: float = 1e-5) -> keras.initializers.Initializer:
        return keras.initializers.TruncatedNormal(stddev=std, seed=self.seeds.for_initializer())

    def _tower(self, hidden, units: Sequence[int]):
        for width in units:
            hidden = layers.LeakyReLU(0.2)(self._layer(layers.Dense, width)(hidden))
        return hidden
