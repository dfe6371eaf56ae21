"""Networks: plain builders that return built functional Keras models.

Encoders and discriminators end in a linear layer, decoders in logits.
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import keras

from tfaae import conv_families, replicas
from tfaae.errors import InputError, above_zero, choose, not_negative
from tfaae.seeds import Seeds

Arch = Literal["mlp", "conv", "conv1", "conv0"]
Activation = Literal["relu", "elu", "softplus", "tanh"]
BatchNorm = Literal["none", "hidden", "all"]
Precision = Literal["float32", "bfloat16"]
Shape = tuple[int, ...]


class Noise(keras.layers.Layer):
    """Adds N(0, std^2) while training.

    (Keras's GaussianNoise owns its seed, which `.keras` files lose, and stops at std 1.)
    """

    def __init__(self, std: float, seeds: Seeds):
        super().__init__()
        not_negative("networks", noise=std)
        self.std, self.seeds = std, seeds

    def call(self, inputs, training=False):
        if not training or self.std == 0:
            return inputs
        return inputs + keras.random.normal(keras.ops.shape(inputs), stddev=self.std, seed=self.seeds)


class Dropout(keras.layers.Layer):
    """Drops a share `rate` of the inputs while training, drawn from the model's seeds (see `Noise`)."""

    def __init__(self, rate: float, seeds: Seeds):
        super().__init__()
        self.rate, self.seeds = rate, seeds

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return inputs
        return keras.random.dropout(inputs, self.rate, seed=self.seeds)


class Builder:
    """The choices that all layers of one model share.

    Args:
        seeds: the model's; initial weights, noise and dropout draw from it.
        arch: `"mlp"` (flattened images, dense layers), `"conv"` (a convolution of stride 2 for each of `units`), or the
            networks of adversarial variational Bayes, `"conv1"` and the large `"conv0"`, which take no `units`.
        initial_std: weights start from N(0, std^2); None means Glorot's uniform.
        dropout: share of hidden activations dropped in encoder and decoder while training, in [0, 1).
        spectral_norm: Keras's spectral normalisation on every layer of the discriminator (Miyato et al. 2018).
        batch_norm: of the encoder's hidden layers, or of all, its last one included (Makhzani et al. 2015, section 6).
        precision: of products of matrices; `"bfloat16"` keeps weights, statistics, codes and logits in float32.
        activation: of the hidden layers of `mlp` and `conv`.
    """

    def __init__(
        self,
        seeds: Seeds,
        arch: Arch = "mlp",
        initial_std: float | None = None,
        dropout: float = 0.0,
        spectral_norm: bool = False,
        batch_norm: BatchNorm = "none",
        precision: Precision = "float32",
        activation: Activation = "relu",
    ):
        choose("activation", activation, get_args(Activation))
        choose("arch", arch, get_args(Arch))
        choose("batch_norm", batch_norm, get_args(BatchNorm))
        choose("precision", precision, get_args(Precision))
        check_share(dropout=dropout)
        if initial_std is not None:
            above_zero("networks", initial_std=initial_std)
        self.seeds, self.arch, self.initial_std = seeds, arch, initial_std
        self.dropout, self.spectral_norm, self.batch_norm = dropout, spectral_norm, batch_norm
        self.activation = activation
        self.policy = keras.DTypePolicy("float32" if precision == "float32" else "mixed_bfloat16")

    def encoder(
        self,
        image_shape: Shape,
        outputs: int,
        units: Sequence[int],
        input_noise: float = 0.0,
        noise_dim: int = 0,
        input_dropout: float = 0.0,
    ) -> keras.Model:
        """`[n, h, w, c]` images in [0, 1] -> `[n, outputs]`.

        Args:
            input_noise: standard deviation of the noise added to the images while training.
            noise_dim: where it is not 0 the network takes `[images, noise]`, noise `[n, noise_dim]` (universal
                approximator).
            input_dropout: share of the pixels dropped while training.
        """
        hidden, inputs = self._trunk(image_shape, units, input_noise, noise_dim, input_dropout)
        codes = keras.layers.Dense(outputs, kernel_initializer=self._initializer(), name="codes")(hidden)
        if self.batch_norm == "all":
            codes = self._normalise()(codes)
        return keras.Model(inputs if noise_dim else inputs[0], codes, name="encoder_network")

    def _trunk(
        self,
        image_shape: Shape,
        units: Sequence[int],
        input_noise: float = 0.0,
        noise_dim: int = 0,
        input_dropout: float = 0.0,
    ) -> tuple:
        """The last hidden layer `[n, f]`, and the inputs: the image, and the noise where there is any."""
        check_share(input_dropout=input_dropout)
        image = keras.Input(image_shape, name="images")
        inputs = [image, keras.Input((noise_dim,), name="posterior_noise")] if noise_dim else [image]
        noise = inputs[1] if noise_dim else None
        hidden = Noise(input_noise, self.seeds)(image) if input_noise else image
        hidden = Dropout(input_dropout, self.seeds)(hidden) if input_dropout else hidden
        if self.arch == "conv1" or self.arch == "conv0":
            if units:
                raise InputError(f"arch {self.arch} has layers of its own: leave units out, got {list(units)}")
            return conv_families.trunk(self.arch, hidden, noise, self._layer), inputs
        check_units(units=units)
        normalised = self.batch_norm != "none"
        if self.arch == "conv":
            hidden = self._shrink(hidden, image_shape, units, self._plain, self.dropout, normalised)
        hidden = keras.layers.Flatten()(hidden)
        hidden = keras.layers.Concatenate()([hidden, noise]) if noise_dim else hidden
        # a convolutional trunk is linear in the noise unless a hidden layer follows the concatenation
        widths = units if self.arch == "mlp" else [units[-1]] * bool(noise_dim)
        return self._dense(hidden, widths, self._plain, self.dropout, normalised), inputs

    def decoder(self, code_dim: int, image_shape: Shape, units: Sequence[int]) -> keras.Model:
        """`[n, code_dim]` -> `[n, h, w, c]` logits. `units` run from code to image."""
        code = keras.Input((code_dim,), name="codes")
        if self.arch == "conv1" or self.arch == "conv0":
            pixels = conv_families.decoder(self.arch, code, image_shape, self._layer)
        elif self.arch == "conv":
            pixels = self._grow(code, image_shape, units)
        else:
            hidden = self._dense(code, units, self._plain, self.dropout)
            pixels = self._layer(keras.layers.Dense, math.prod(image_shape))(hidden)
        logits = keras.layers.Reshape(image_shape, name="logits", dtype="float32")(pixels)
        return keras.Model(code, logits, name="decoder")

    def discriminator(self, input_shape: Shape, units: Sequence[int]) -> keras.Model:
        """`[n, d]` codes (or `[n, h, w, c]` images with `arch="conv"`) -> `[n]` logits.

        Never batch-normalised: that is known to stop it learning.
        """
        check_units(discriminator_units=units)
        wrap = keras.layers.SpectralNormalization if self.spectral_norm else self._plain
        inputs = hidden = keras.Input(input_shape, name="inputs")
        if len(input_shape) == 3:
            if self.arch == "conv":
                hidden = self._shrink(hidden, input_shape, units, wrap, dropout=0.0)
            hidden = keras.layers.Flatten()(hidden)
        if len(input_shape) == 1 or self.arch == "mlp":
            hidden = self._dense(hidden, units, wrap, dropout=0.0)
        logit = wrap(keras.layers.Dense(1, kernel_initializer=self._initializer()))(hidden)
        network = keras.Model(inputs, keras.layers.Reshape(())(logit), name="discriminator")
        for layer in network.layers:
            if isinstance(layer, keras.layers.SpectralNormalization):  # Keras starts the power iteration unseeded
                layer.vector_u.assign(self._initializer()(layer.vector_u.shape))
        return network

    @staticmethod
    def _plain(layer: keras.layers.Layer) -> keras.layers.Layer:
        return layer

    def _initializer(self) -> keras.initializers.Initializer:
        seed = self.seeds.for_initializer()
        if self.initial_std is None:
            return keras.initializers.GlorotUniform(seed=seed)
        return keras.initializers.RandomNormal(stddev=self.initial_std, seed=seed)

    def _layer(self, kind: type[keras.layers.Layer], *args, **kwargs) -> keras.layers.Layer:
        return kind(*args, kernel_initializer=self._initializer(), dtype=self.policy, **kwargs)

    def _dense(self, hidden, units: Sequence[int], wrap, dropout: float, normalised: bool = False):
        for width in units:
            hidden = wrap(self._layer(keras.layers.Dense, width))(hidden)
            hidden = self._activate(hidden, dropout, normalised)
        return hidden

    def _shrink(self, hidden, image_shape: Shape, units: Sequence[int], wrap, dropout: float, normalised: bool = False):
        halvings(image_shape, units)
        for filters in units:
            hidden = wrap(self._layer(keras.layers.Conv2D, filters, 4, 2, "same"))(hidden)
            hidden = self._activate(hidden, dropout, normalised)
        return hidden

    def _activate(self, hidden, dropout: float, normalised: bool):
        if normalised:
            hidden = self._normalise(dtype=self.policy)(hidden)
        hidden = keras.layers.Activation(self.activation, dtype=self.policy)(hidden)
        return Dropout(dropout, self.seeds)(hidden) if dropout else hidden

    @staticmethod
    def _normalise(**kwargs) -> keras.layers.Layer:
        """Made under a strategy, its statistics are of the whole batch, not of a replica's part."""
        return keras.layers.BatchNormalization(synchronized=replicas.planned() > 1, **kwargs)

    def _grow(self, hidden, image_shape: Shape, units: Sequence[int]):
        *sizes, smallest = halvings(image_shape, units)
        hidden = self._layer(keras.layers.Dense, smallest**2 * units[0], activation=self.activation)(hidden)
        hidden = keras.layers.Reshape((smallest, smallest, units[0]))(hidden)
        for filters, size in zip([*units[1:], image_shape[-1]], reversed(sizes), strict=True):
            last = size == sizes[0]
            activation = None if last else self.activation
            hidden = self._layer(keras.layers.Conv2DTranspose, filters, 4, 2, "same", activation=activation)(hidden)
            surplus = hidden.shape[1] - size  # 1 where an odd size was halved
            if surplus:
                hidden = keras.layers.Cropping2D(((0, surplus), (0, surplus)))(hidden)
            if self.dropout and not last:
                hidden = Dropout(self.dropout, self.seeds)(hidden)
        return hidden


def default_units(arch: Arch) -> tuple[int, ...]:
    """The paper's two layers of 1,000; filters of two halvings for convolutions; none where the family is fixed."""
    return {"mlp": (1000, 1000), "conv": (64, 128)}.get(arch, ())


def check_units(**units: Sequence[int]) -> None:
    """Raises an InputError unless there is a hidden layer, and every width is above 0."""
    for name, widths in units.items():
        if not widths or min(widths) < 1:
            raise InputError(f"{name} must be one or more widths above 0, got {list(widths)}")


def check_share(**shares: float) -> None:
    """Raises an InputError unless every share is at least 0 and below 1."""
    for name, share in shares.items():
        if not 0 <= share < 1:
            raise InputError(f"networks: {name} must be at least 0 and below 1, got {share}")


def halvings(image_shape: Shape, units: Sequence[int]) -> list[int]:
    """Side of the image before each stride-2 convolution, and after the last: 28 and two units -> [28, 14, 7].

    Raises:
        InputError: where the image is smaller than 8 pixels, or would shrink below 2.
    """
    sizes = [image_shape[0]]
    for _ in units:
        sizes.append(math.ceil(sizes[-1] / 2))
    if image_shape[0] < 8 or sizes[-1] < 2:
        raise InputError(
            f"convolutions need images of at least 8 pixels that {len(units)} halvings leave at 2 or more, "
            f"not {image_shape[0]}: {' -> '.join(map(str, sizes))}; use fewer units or arch mlp"
        )
    return sizes
