"""Networks of StyleALAE (Pidhorskyi, Adjeroh and Doretto 2020, arXiv 2004.04467): F, G, E and D.

Images are [-1, 1] here; `lod` 0 to L - 1 counts resolutions, 4 x 4, 8 x 8, ... 4 * 2^lod; a transition to `lod` is told
by `blend` in [0, 1], the weight of the new resolution against the one below it. None: the new one alone.

Every network answers `published()`: {name of the tensor in the authors' checkpoints: variable}. Attributes follow those
names, and so do layouts, theirs -> ours (`alae_networks` has those of the MLP model):

| network: their group | their name | attribute | layout |
|---|---|---|---|
| `Mapping` F: `mapping_fl` | `map_blocks.{k}.fc.weight`, `bias` | `dense[k].kernel`, `bias` | (O, I) -> [I, O] |
| `Head` D: `mapping_tl` | `map_blocks.{k}.weight`, `bias` | `dense[k].kernel`, `bias` | (O, I) -> [I, O] |
| its last layer | `map_blocks.2.weight`, `bias` | `dense[2].kernel`, `bias` | row W of (2W, W) -> [W, 1] |
| `Synthesis` G: `generator` | `const` | `const` | (1, C, 4, 4) -> [1, 4, 4, C] |
| | `decode_block.{i}.conv_1.weight`, i > 0 | `blocks[i].conv_1.kernel` | (O, I, 3, 3) -> [3, 3, I, O] |
| the same, from 128 pixels up | | | (I, O, 3, 3) -> [3, 3, O, I] |
| | `decode_block.{i}.conv_2.weight` | `blocks[i].conv_2.kernel` | (O, I, 3, 3) -> [3, 3, I, O] |
| | `decode_block.{i}.noise_weight_{h}`, `bias_{h}` | `blocks[i].noise_weight_{h}`, `bias_{h}` | (1, C, 1, 1) -> [C] |
| | `decode_block.{i}.style_{h}.weight`, `bias` | `blocks[i].style_{h}.kernel`, `bias` | (O, I) -> [I, O] |
| | `to_rgb.{i}.to_rgb.weight`, `bias` | `to_rgb[i].kernel`, `bias` | (O, I, 1, 1) -> [1, 1, I, O] |
| `StyleEncoder` E: `discriminator` | `from_rgb.{j}.from_rgb.weight`, `bias` | `from_rgb[j].kernel`, `bias` | the same |
| | `encode_block.{j}.conv_{h}.weight` | `blocks[j].conv_{h}.kernel` | (O, I, 3, 3) -> [3, 3, I, O] |
| | `encode_block.{j}.bias_{h}` | `blocks[j].bias_{h}` | (1, C, 1, 1) -> [C] |
| | `encode_block.{j}.style_{h}.weight`, `bias` | `blocks[j].style_{h}.kernel`, `bias` | (O, I) -> [I, O] |

So kernels of convolutions are transposed (2, 3, 1, 0), those of up-convolutions too, dense ones (1, 0), `const`
(0, 2, 3, 1); biases of dense layers and 1 x 1 convolutions stay. Their `blur.weight` is a constant, and not here.
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import keras
import tensorflow as tf

from tfaae.errors import InputError, above_zero, choose
from tfaae.seeds import Seeds
from tfaae.style_layers import (
    Convolution,
    Dense,
    Named,
    Resampling,
    blur,
    double,
    halve,
    instance_norm,
    leaky,
    moments,
    numbered,
    pixel_norm,
    prefixed,
    style_statistics,
)

HeadKind = Literal["linear", "nonlinear"]
Noise = Sequence[tf.Tensor] | Literal["bump"] | None  # two maps a block; the authors' deterministic bump; none
FUSED = 128  # pixels: from here up, the authors' convolutions resample by themselves: G's kernel is another then
MAPPING_RATE = 0.1  # learning rate of F and D, relative to E's and G's


class Mapping(keras.layers.Layer):
    """F: `[n, d]` draws of the prior -> `[n, d]` codes w, by `depth` leaky layers after a normalisation of the draw."""

    def __init__(self, dim: int, depth: int, seeds: Seeds):
        super().__init__(name="mapping")
        self.dense = [Dense(dim, dim, seeds, rate=MAPPING_RATE) for _ in range(depth)]
        self.built = True

    def call(self, draws):
        codes = pixel_norm(draws)
        for layer in self.dense:
            codes = leaky(layer(codes))
        return codes

    def published(self) -> Named:
        return numbered("map_blocks.{}.fc", self.dense)


class Head(keras.layers.Layer):
    """D: `[n, d]` codes w -> `[n]` logits.

    Args:
        kind: `"linear"`: three layers with nothing between them, a linear map, as in the authors' code and results
            (they call it a mistake); `"nonlinear"`: leaky rectifiers between them, as in the paper.
    """

    def __init__(self, dim: int, seeds: Seeds, kind: HeadKind = "linear"):
        super().__init__(name="head")
        self.kind = choose("head", kind, get_args(HeadKind))
        self.dense = [Dense(dim, outputs, seeds, rate=MAPPING_RATE) for outputs in (dim, dim, 1)]
        self.built = True

    def call(self, codes):
        for layer in self.dense[:-1]:
            codes = layer(codes) if self.kind == "linear" else leaky(layer(codes))
        return self.dense[-1](codes)[:, 0]

    def published(self) -> Named:
        return numbered("map_blocks.{}", self.dense)


class Plan:
    """The channels of G and E.

    Args:
        size: of the images, a power of two from 8 to 1024.
        base_channels: at full resolution; they double with each halving.
        max_channels: up to this.
    """

    def __init__(self, size: int, base_channels: int, max_channels: int):
        above_zero("StyleALAE", base_channels=base_channels, max_channels=max_channels)
        if size not in [2**power for power in range(3, 11)]:
            raise InputError(
                f"StyleALAE needs images of 8, 16, 32, ... or 1024 pixels, got {size}; set data.size (28 pixels: 32)"
            )
        self.size, self.levels = size, int(math.log2(size)) - 1
        self.wide = [min(max_channels, base_channels * 2**j) for j in range(self.levels + 1)]

    def encoder(self, j: int) -> tuple[int, int]:
        """Channels into and out of block j of E, 0 at full resolution."""
        return self.wide[j], self.wide[j + 1]

    def decoder(self, i: int) -> int:
        """Channels of block i of G, 0 at 4 x 4."""
        return self.wide[self.levels - 1 - i]


class SynthesisBlock(keras.layers.Layer):
    """One resolution of G: twice noise, bias, rectifier and a style; between them a convolution, before them another.

    Args:
        number: i; block 0 has no first convolution.
        inputs, channels: of its images.
        size: pixels of its output.
        style_dim: length of a style.
    """

    def __init__(self, number: int, inputs: int, channels: int, size: int, style_dim: int, seeds: Seeds):
        super().__init__()
        self.number = number
        if number:
            resampling: Resampling = "transposed" if size >= FUSED else "up"
            self.conv_1 = Convolution(inputs, channels, 3, seeds, resampling=resampling, bias=False)
        self.conv_2 = Convolution(channels, channels, 3, seeds, bias=False)
        for half in (1, 2):
            for name in ("noise_weight", "bias"):
                weight = self.add_weight(name=f"{name}_{half}", shape=(channels,), initializer="zeros")
                setattr(self, f"{name}_{half}", weight)
            setattr(self, f"style_{half}", Dense(style_dim, 2 * channels, seeds, gain=1.0))
        self.built = True

    def call(self, x, styles, noise=None):
        """`[n, h, w, inputs]`, `[n, 2, style_dim]` styles -> `[n, 2 h, 2 w, channels]`, in block 0 `[n, h, w, ...]`."""
        if self.number:
            x = blur(self.conv_1(x))
        x = self._half(x, 1, styles[:, 0], noise)
        return self._half(self.conv_2(x), 2, styles[:, 1], noise)

    def _half(self, x, half: int, style, noise):
        if noise == "bump":
            x += self._bump(x)
        elif noise is not None:
            x += getattr(self, f"noise_weight_{half}") * noise[half - 1]
        x = leaky(x + getattr(self, f"bias_{half}"))
        x = instance_norm(x, *moments(x), 1e-8)
        scale, shift = tf.split(getattr(self, f"style_{half}")(style)[:, None, None], 2, axis=-1)
        return x * (scale + 1) + shift

    def _bump(self, x):
        s = math.sqrt(self.number + 1)
        return 0.8 * s / math.sqrt(2 * math.pi) * tf.exp(-tf.square(x) / (2 * s**2))

    def published(self) -> Named:
        convolutions = {"conv_1": self.conv_1} if self.number else {}
        layers = convolutions | {"conv_2": self.conv_2, "style_1": self.style_1, "style_2": self.style_2}
        return _members(self, layers, ("noise_weight_1", "bias_1", "noise_weight_2", "bias_2"))


class Synthesis(keras.layers.Layer):
    """G: `[n, 2 L, d]` styles -> `[n, r, r, c]` images in [-1, 1], not clipped.

    Args:
        plan: channels.
        channels: of the images.
        style_dim: d.
    """

    def __init__(self, plan: Plan, channels: int, style_dim: int, seeds: Seeds):
        super().__init__(name="synthesis")
        self.levels = plan.levels
        widths = [plan.decoder(i) for i in range(plan.levels)]
        self.const = self.add_weight(name="const", shape=(1, 4, 4, widths[0]), initializer="ones")
        self.blocks = [
            SynthesisBlock(i, widths[max(i - 1, 0)], width, 4 * 2**i, style_dim, seeds)
            for i, width in enumerate(widths)
        ]
        self.to_rgb = [Convolution(width, channels, 1, seeds, gain=0.03) for width in widths]
        self.built = True

    def call(self, styles, lod=None, blend=None, noise=None):
        """Args:
        lod: None: the last.
        blend: scalar.
        noise: two maps a block, as of `random_noise`; `"bump"`: what the authors' code does instead of no noise; None.
        """
        lod = self.levels - 1 if lod is None else lod
        x = tf.convert_to_tensor(self.const)
        for i, block in enumerate(self.blocks[: lod + 1]):
            below = x
            maps = noise[2 * i : 2 * i + 2] if isinstance(noise, list | tuple) else noise
            x = block(x, styles[:, 2 * i : 2 * i + 2], noise=maps)
        image = self.to_rgb[lod](x)
        if lod == 0 or blend is None:
            return image
        previous = double(self.to_rgb[lod - 1](below))
        return previous + blend * (image - previous)

    def random_noise(self, seed: tf.Tensor, count: int | tf.Tensor, lod: int | None = None) -> list[tf.Tensor]:
        """Two maps of N(0, 1) a block, `[count, r, r, 1]` for a `[2]` int32 seed; the first is one for all images.

        With a count of 1 all maps are one for all images, as the authors' code has it to measure path lengths.
        """
        lod = self.levels - 1 if lod is None else lod
        maps = []
        for place in range(2 * (lod + 1)):
            side = 4 * 2 ** (place // 2)
            shape = [count if place else 1, side, side, 1]
            own = tf.random.experimental.stateless_fold_in(seed, place)
            maps.append(tf.random.stateless_normal(shape, own, dtype=self.compute_dtype))
        return maps

    def active(self, lod: int, fading: bool = False) -> list[keras.Variable]:
        """The weights that images of `lod`, or of the transition to it, depend on."""
        images = self.to_rgb[max(lod - fading, 0) : lod + 1]
        return [self.const, *_trainable([*self.blocks[: lod + 1], *images])]

    def published(self) -> Named:
        blocks = numbered("decode_block.{}", self.blocks)
        return {"const": self.const} | blocks | numbered("to_rgb.{}.to_rgb", self.to_rgb)


class EncoderBlock(keras.layers.Layer):
    """One resolution of E, which leaves half of it: two convolutions; after each, its maps' statistics make a style.

    Args:
        inputs, outputs: channels.
        style_dim: length of a style.
        std_epsilon: of `StyleEncoder`.
    """

    def __init__(self, inputs: int, outputs: int, style_dim: int, seeds: Seeds, std_epsilon: float):
        super().__init__()
        self.std_epsilon = std_epsilon
        self.conv_1 = Convolution(inputs, inputs, 3, seeds, bias=False)
        self.conv_2 = Convolution(inputs, outputs, 3, seeds, resampling="down", bias=False)
        for half, channels in ((1, inputs), (2, outputs)):
            bias = self.add_weight(name=f"bias_{half}", shape=(channels,), initializer="zeros")
            setattr(self, f"bias_{half}", bias)
            setattr(self, f"style_{half}", Dense(2 * channels, style_dim, seeds))
        self.built = True

    def call(self, x):
        """`[n, h, w, inputs]` -> `[n, h / 2, w / 2, outputs]`, and `[n, style_dim]`, the sum of its two styles."""
        x = leaky(self.conv_1(x) + self.bias_1)
        x, first = self._read(x, self.style_1)
        x = leaky(self.conv_2(blur(x)) + self.bias_2)
        x, second = self._read(x, self.style_2)
        return x, first + second

    def _read(self, x, style: Dense):
        """`x` normalised, and what the style's layer makes of its statistics."""
        mean, variance = moments(x)
        return instance_norm(x, mean, variance, 1e-5), style(style_statistics(mean, variance, self.std_epsilon))

    def published(self) -> Named:
        layers = {name: getattr(self, name) for name in ("conv_1", "conv_2", "style_1", "style_2")}
        return _members(self, layers, ("bias_1", "bias_2"))


class StyleEncoder(keras.layers.Layer):
    """E: `[n, r, r, c]` images in [-1, 1] -> `[n, d]` codes w, the sum of the styles that all its blocks read off.

    Args:
        plan: channels.
        channels: of the images.
        style_dim: d.
        std_epsilon: of `style_layers.style_statistics`.
    """

    def __init__(self, plan: Plan, channels: int, style_dim: int, seeds: Seeds, std_epsilon: float = 1e-8):
        super().__init__(name="style_encoder")
        self.levels = plan.levels
        ends = [plan.encoder(j) for j in range(plan.levels)]
        self.blocks = [EncoderBlock(*widths, style_dim, seeds, std_epsilon) for widths in ends]
        self.from_rgb = [Convolution(channels, inputs, 1, seeds) for inputs, _ in ends]
        self.built = True

    def call(self, images, lod=None, blend=None):
        """Images of `lod`'s resolution; None: the last."""
        lod = self.levels - 1 if lod is None else lod
        entry = self.levels - 1 - lod
        x, codes = self.blocks[entry](self._features(images, entry))
        if lod and blend is not None:
            below = self._features(halve(images), entry + 1)
            x, codes = below + blend * (x - below), blend * codes
        for block in self.blocks[entry + 1 :]:
            x, styles = block(x)
            codes += styles
        return codes

    def _features(self, images, j: int):
        return leaky(leaky(self.from_rgb[j](images)))  # twice, in the authors' code

    def active(self, lod: int, fading: bool = False) -> list[keras.Variable]:
        """The weights that codes of `lod`, or of the transition to it, depend on."""
        entry = self.levels - 1 - lod
        return _trainable([*self.blocks[entry:], *self.from_rgb[entry : entry + 1 + fading]])

    def published(self) -> Named:
        return numbered("encode_block.{}", self.blocks) | numbered("from_rgb.{}.from_rgb", self.from_rgb)


def _trainable(layers: Sequence[keras.layers.Layer]) -> list[keras.Variable]:
    return [weight for layer in layers for weight in layer.trainable_variables]


def _members(block: keras.layers.Layer, layers: dict, weights: tuple[str, ...]) -> Named:
    found = {name: getattr(block, name) for name in weights}
    for name, layer in layers.items():
        found |= prefixed(name, layer.published())
    return found
