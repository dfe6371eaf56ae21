"""Networks whose features stand for what an eye sees: by name, for Fréchet and perceptual distances.

A number's name ends in its network's, and numbers of different networks do not compare. Those of keras.applications are
not the files that published scores were measured with (TensorFlow 1's Inception, LPIPS's VGG16): their values are near
those, not equal.
"""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfaae import durable
from tfaae.errors import InputError, choose
from tfaae.image_sources import Split

NAMES = ("classifier", "inception_v3", "vgg16")
VGG16_LAYERS = ("block1_conv2", "block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3")
VGG16_CHANNELS = [64, 128, 256, 512, 512]
VGG16_LINEAR = tuple(f"lin{layer}.model.1.weight" for layer in range(5))  # their names where they are published
VGG16_LARGEST = 256  # pixels; larger images are averaged down, as the protocol of path lengths has it
PIXELS_AT_ONCE = 1_000_000


class FeatureNetwork:
    """A trained network, as functions of images.

    Args:
        name: of it, which ends the names of its numbers.
        network: images as `prepare` gives them -> `[vectors, *maps]`, a list.
        prepare: `[n, h, w, c]` images in [0, 1] -> what the network takes.
        linear: `[c]` weights of the channels of each of its maps, at least 0; empty where it has none.
    """

    def __init__(
        self,
        name: str,
        network: keras.Model,
        prepare: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
        linear: tuple[np.ndarray, ...] = (),
    ):
        self.name, self.prepare, self.linear = name, prepare, linear
        self._run = tf.function(lambda pixels: network(pixels, training=False), reduce_retracing=True)

    def vectors(self, images: np.ndarray) -> np.ndarray:
        """`[n, h, w, c]` images in [0, 1] -> `[n, d]` float32: what a Fréchet distance looks at."""
        return np.concatenate([self._outputs(images[part])[0] for part in self.slices(images)])

    def maps(self, images: np.ndarray) -> list[np.ndarray]:
        """`[n, h, w, c]` images in [0, 1] -> `[n, height, width, channels]` for each layer of a perceptual distance.

        All at once: give `slices` of large sets.

        Raises:
            InputError: for a network without such layers.
        """
        maps = self._outputs(images)[1:]
        if not maps:
            raise InputError(f"{self.name} has no layers for a perceptual distance; use vgg16 or classifier")
        return maps

    def slices(self, images: np.ndarray) -> list[slice]:
        """Images that pass through the network together: a million of the pixels that it sees, from 1 to 1,000."""
        height, width = self.prepare(_tensor(images[:1])).shape[1:3]
        size = int(np.clip(PIXELS_AT_ONCE // (height * width), 1, 1000))
        return [slice(at, at + size) for at in range(0, len(images), size)]

    def _outputs(self, images: np.ndarray) -> list[np.ndarray]:
        return [output.numpy() for output in tf.nest.flatten(self._run(self.prepare(_tensor(images))))]


def get(
    name: str,
    *,
    images: Split | None = None,
    folder: str | Path | None = None,
    weights: str | Path | None = None,
    linear: str | Path | None = None,
    download: bool = False,
) -> FeatureNetwork:
    """The feature network of a name.

    Args:
        name: one of `NAMES`.
        images, folder: of `classifier`.
        weights, download: of `inception_v3` and `vgg16`.
        linear: of `vgg16`.
    """
    choose("feature network", name, NAMES)
    if name != "classifier":
        return inception_v3(weights, download) if name == "inception_v3" else vgg16(weights, linear, download)
    if images is None:
        raise InputError("the classifier learns from images with labels: give images")
    return classifier(images, folder)


# === A classifier of the data themselves ===


def classifier(images: Split, folder: str | Path | None = None) -> FeatureNetwork:
    """`classifier`: two convolutional layers and their 1,600 features (28 pixels), trained on labelled images.

    Trained where it is needed, not shipped: so every data set with labels has one, and the package holds no binaries
    that nobody can check. The same images give the same network on one machine; between machines rounding makes it
    another one, so compare numbers of one cached file.

    Args:
        images: for training; those with unknown labels (-1) are left out.
        folder: keeps the weights by a checksum of the images, 140 kB, and finds them there; None keeps nothing.
    """
    network = classifying(images, folder)
    hidden = [network.get_layer(name).output for name in ("flatten", "conv_1", "conv_2")]
    return FeatureNetwork("classifier", keras.Model(network.inputs, hidden))


def classifying(images: Split, folder: str | Path | None = None) -> keras.Model:
    """The trained classifier itself: `[n, h, w, c]` images -> `[n, k]` logits. Arguments as those of `classifier`.

    Raises:
        InputError: for images without labels, or of less than 10 pixels.
    """
    known = images.take(images.labels >= 0)
    if not len(known):
        raise InputError(f"a classifier learns from labels, none of {len(images)} images has one; use inception_v3")
    shape = known.images.shape[1:]
    if min(shape[:2]) < 10:
        raise InputError(f"the classifier takes images of 10 pixels and more, got {shape[0]} x {shape[1]}")
    keras.utils.set_random_seed(0)
    network = _classifier(shape, int(known.labels.max()) + 1)
    if folder is None:
        return _trained(network, known)
    checksum = zlib.crc32(known.labels.tobytes(), zlib.crc32(np.ascontiguousarray(known.images).tobytes()))
    file = Path(folder) / f"classifier-{checksum:08x}.weights.h5"
    if file.is_file():
        try:
            network.load_weights(file)
        except Exception as error:  # HDF5 and Keras each raise their own at a damaged file
            raise InputError(f"{file} is damaged ({error}); remove it, and it is made anew") from error
        return network
    _trained(network, known)
    file.parent.mkdir(parents=True, exist_ok=True)
    with durable.replacing(file) as partial:
        network.save_weights(partial)
    return network


def _classifier(shape: tuple[int, ...], classes: int) -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input(shape),
            layers.Conv2D(32, 3, activation="relu", name="conv_1"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu", name="conv_2"),
            layers.MaxPooling2D(),
            layers.Flatten(name="flatten"),
            layers.Dropout(0.5),
            layers.Dense(classes),
        ]
    )


def _trained(network: keras.Model, images: Split) -> keras.Model:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile("adam", loss, jit_compile=False)
    network.fit(images.images, images.labels, batch_size=128, epochs=3, verbose=0)
    return network


# === Networks of keras.applications ===


def inception_v3(weights: str | Path | None = None, download: bool = False) -> FeatureNetwork:
    """`inception_v3` (Szegedy et al. 2016) as Keras has it: 2,048 features, the mean over the last maps.

    Args:
        weights: a local copy of Keras's file without the top.
        download: where there is no local copy, let Keras fetch the file once, 88 MB, to its own cache.
    """
    network = _pretrained(keras.applications.InceptionV3, weights, download, pooling="avg")

    def prepare(images: tf.Tensor) -> tf.Tensor:
        return 2 * tf.image.resize(_rgb(images), [299, 299]) - 1

    return FeatureNetwork("inception_v3", keras.Model(network.inputs, [network.output]), prepare)


def vgg16(
    weights: str | Path | None = None, linear: str | Path | None = None, download: bool = False
) -> FeatureNetwork:
    """`vgg16` (Simonyan and Zisserman 2015) as Keras has it: 512 features, and the five layers of LPIPS.

    Args:
        weights: a local copy of Keras's file without the top.
        linear: an .npz of the channels' weights that LPIPS has learned (Zhang et al. 2018), five arrays named as in
            its own file, `lin0.model.1.weight` to `lin4.model.1.weight`; None: channels count alike, and a distance
            is called unweighted.
        download: where there is no local copy, let Keras fetch the file once, 59 MB, to its own cache.
    """
    channels = _linear(Path(linear)) if linear else ()
    network = _pretrained(keras.applications.VGG16, weights, download)
    maps = [network.get_layer(name).output for name in VGG16_LAYERS]
    vectors = keras.layers.GlobalAveragePooling2D()(maps[-1])
    return FeatureNetwork("vgg16", keras.Model(network.inputs, [vectors, *maps]), _for_vgg16, channels)


def _for_vgg16(images: tf.Tensor) -> tf.Tensor:
    size = min(images.shape[1:3])
    if size < 16:
        raise InputError(f"vgg16 halves images four times: expected 16 pixels or more, got {size}")
    if size > VGG16_LARGEST:
        images = tf.image.resize(images, [VGG16_LARGEST, VGG16_LARGEST], method="area")
    return keras.applications.vgg16.preprocess_input(255 * _rgb(images))


def _pretrained(make: Any, weights: str | Path | None, download: bool, **options: Any) -> keras.Model:
    what = make.__name__
    if weights is None and not download:
        raise InputError(
            f"{what} needs its ImageNet weights: give the local path of Keras's file without the top "
            "(https://keras.io/api/applications names them), or allow the download"
        )
    if weights is not None and not Path(weights).is_file():
        raise InputError(f"{what}: there is no file {weights}")
    try:
        return make(include_top=False, weights="imagenet" if weights is None else str(weights), **options)
    except Exception as error:  # Keras has no type of its own for a download that failed
        raise InputError(f"{what}: no weights from {weights or 'the network'} ({error})") from error


def _linear(file: Path) -> tuple[np.ndarray, ...]:
    try:
        with np.load(file) as stored:
            found = tuple(stored[name].reshape(-1) for name in VGG16_LINEAR)
    except Exception as error:  # numpy, zip and zlib each raise their own at a damaged file
        raise InputError(f"{file}: expected an .npz with arrays {', '.join(VGG16_LINEAR)} ({error})") from error
    lengths = [len(weights) for weights in found]
    if lengths != VGG16_CHANNELS or min(weights.min() for weights in found) < 0:
        raise InputError(f"{file}: expected {VGG16_CHANNELS} weights of at least 0, got {lengths}, or some below 0")
    return found


def _tensor(images: np.ndarray) -> tf.Tensor:
    return tf.convert_to_tensor(images, tf.float32)


def _rgb(images: tf.Tensor) -> tf.Tensor:
    return tf.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
