"""Where images come from: named sources -> float32 images in [0, 1] and int32 labels, not yet split."""

import logging
import math
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from tfaae import memory, record_files
from tfaae.config import DataConfig, expanded
from tfaae.errors import InputError, did_you_mean
from tfaae.stored_images import StoredImages

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")  # by content: Pillow would hand EPS to Ghostscript
READ = 1000  # images of tensorflow-datasets at a time
MOST_PIXELS = 2**26  # of an image file; a few kilobytes can claim billions
MOST_CLASSES = 100_000  # a label above is no class number
DOWNLOAD_RETRIES = 4  # seconds; the ten of tensorflow-datasets are three and a half minutes of silence when offline

# of damaged EXIF data, which does no harm, and of large images, which are refused here
warnings.filterwarnings("ignore", module=r"PIL\.")


class Split(NamedTuple):
    """Images of one kind."""

    images: Any  # [n, h, w, c] float32 in [0, 1]: an array, or `StoredImages`
    labels: np.ndarray  # [n] int32, -1 = unknown

    @property
    def stored(self) -> bool:
        """Whether the images stay on disk."""
        return isinstance(self.images, StoredImages)

    def take(self, rows: np.ndarray | slice) -> "Split":
        images = self.images.take(rows) if self.stored else self.images[rows]
        return Split(images, self.labels[rows])

    def in_memory(self) -> "Split":
        """The same, with the images read."""
        return Split(self.images[:], self.labels) if self.stored else self

    def __len__(self) -> int:  # of images, not of fields
        return len(self.images)


class Source(NamedTuple):
    """What a source delivers before splitting. `test` is None where it has no test set of its own."""

    train: Split
    test: Split | None
    classes: tuple[str, ...]


def _digits(config: DataConfig) -> Source:
    """scikit-learn's 1,797 handwritten digits, 8 x 8, embedded in that package."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[..., None]
    return Source(Split(images, digits.target.astype(np.int32)), None, tuple(map(str, range(10))))


def _four_points(config: DataConfig) -> Source:
    """Four images of 2 x 2 pixels with one of them lit: what figure 6 of Mescheder et al. 2017 is drawn from."""
    points = np.eye(4, dtype=np.float32).reshape(4, 2, 2, 1)
    order = np.arange(512_000) % 4  # an epoch is 1,000 batches of the paper's 512
    labels = order.astype(np.int32)
    train = Split(points[order], labels)
    return Source(train, train.take(slice(2000)), ("1", "2", "3", "4"))


def _none(config: DataConfig) -> Source:
    """No images: what a model of a target, which draws its own codes, counts its steps by; 1,000 to an epoch."""
    check_memory(1000 * config.batch, (1, 1, 1))
    empty = np.zeros((1000 * config.batch, 1, 1, 1), np.float32)
    split = Split(empty, np.full(len(empty), -1, np.int32))
    return Source(split, split.take(slice(1)), ())


def _npz(config: DataConfig) -> Source:
    """A `.npz` file with x_train, y_train, x_test, y_test as Keras keeps them, or images and, perhaps, labels."""
    path = _existing(config, "a .npz file")
    if not path.is_file():
        raise InputError(f"{path} is not a .npz file of plain arrays: it is no file")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        memory.check(f"the arrays of {path}", size, "use fewer")
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = dict(file)
    except InputError:
        raise
    except Exception as error:  # numpy, zip and zlib each raise their own at a damaged file
        raise InputError(f"{path} is not a .npz file of plain arrays: {error}") from None
    name = "x_train" if "x_train" in arrays else "images"
    if name not in arrays:
        raise InputError(f"{path}: expected an array x_train or images, found {sorted(arrays)}")
    train = from_arrays(arrays[name], arrays.get("y_train", arrays.get("labels")))
    test = from_arrays(arrays["x_test"], arrays.get("y_test")) if "x_test" in arrays else None
    top = max(split.labels.max(initial=-1) for split in (train, test) if split is not None)
    return Source(train, test, tuple(map(str, range(top + 1))))


def from_arrays(images: np.ndarray, labels: np.ndarray | None = None) -> Split:
    """A split from uint8 images or floats in [0, 1], `[n, h, w]` or `[n, h, w, c]`; without labels, all are unknown."""
    images = np.asarray(images)
    if images.dtype == np.uint8:
        images = images.astype(np.float32) / 255
    elif not np.issubdtype(images.dtype, np.floating):
        raise InputError(f"expected uint8 or float images, got {images.dtype}")
    if images.ndim not in (3, 4):
        raise InputError(f"expected images [n, height, width] or [n, height, width, 1 or 3], got {list(images.shape)}")
    images = images[..., None] if images.ndim == 3 else images
    labels = np.full(len(images), -1) if labels is None else np.asarray(labels).reshape(-1)
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"expected integer labels, got {labels.dtype}")
    wrong = labels[(labels < -MOST_CLASSES) | (labels >= MOST_CLASSES)]  # in their own type: int32 would wrap around
    if len(wrong):
        raise InputError(f"expected labels -1 (unknown) to classes - 1, got {wrong.max()}")
    with np.errstate(over="ignore"):  # to infinity, which is refused
        return Split(images.astype(np.float32, copy=False), labels.astype(np.int32))


def _folder(config: DataConfig) -> Source:
    """A folder of images, grey or RGB. Its sub-folders are labels, in the order of their names, to any depth."""
    root = _existing(config, "a folder of images")
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise InputError(f"no images under {root}; expected files that end in {', '.join(SUFFIXES)}")
    names = [path.relative_to(root).parts[0] if path.parent != root else "" for path in files]
    classes = sorted(set(names) - {""})
    shapes = _of_all(files, partial(_stored_shape, config=config))
    if not config.stream:
        check_memory(len(files), max(shapes, key=math.prod))
    read = [] if config.stream else _of_all(files, partial(read_image, config=config))
    if len(set(shapes)) > 1:
        firsts = [f"{shape} ({files[shapes.index(shape)]})" for shape in sorted(set(shapes))]
        raise InputError(f"images differ in size or channels: {_some(firsts)}; set data.size and data.channels")
    labels = np.array([classes.index(name) if name else -1 for name in names], np.int32)
    if not config.stream:
        return Source(from_arrays(np.stack(read), labels), None, tuple(classes))
    stored = StoredImages(lambda number: _whole_image(files[number], config), np.arange(len(files)), shapes[0])
    return Source(Split(stored, labels), None, tuple(classes))


def _of_all(files: list[Path], look: Callable[[Path], Any]) -> list[Any]:
    """What `look` sees in each file. Raises an InputError that names those where it gives a reason instead, a text."""
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(look, files))
    broken = [f"{path} ({reason})" for path, reason in zip(files, found, strict=True) if isinstance(reason, str)]
    if broken:
        raise InputError(f"{len(broken)} of {len(files)} images cannot be read: {_some(broken)}; mend or remove them")
    return found


def check_memory(count: int, shape: tuple[int, ...]) -> None:
    """Raises an InputError where so many float32 images of a shape are more than this machine has memory for."""
    remedy = "use fewer or a smaller data.size, or leave them on disk with data.stream (folder, tfrecords)"
    memory.check(f"{count} images {list(shape)}", 4 * count * math.prod(shape), remedy)


def _whole_image(path: Path, config: DataConfig) -> np.ndarray:
    image = read_image(path, config)
    if isinstance(image, str):
        raise InputError(f"{path} cannot be read: {image}; mend or remove it")
    return image


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image file, its head read alone. Raises a ValueError where it is nothing to decode."""
    if not path.is_file():  # a pipe would be waited for
        raise ValueError("no such file")
    with Image.open(path, formats=FORMATS) as file:
        if not 0 < math.prod(file.size) <= MOST_PIXELS:
            raise ValueError(f"{file.size[0]} x {file.size[1]} pixels; expected 1 to {MOST_PIXELS} in all")
        if file.mode == "F":
            raise ValueError("floating-point pixels have no known range; convert the image to 8 or 16 bits")
        yield file


def _stored_shape(path: Path, config: DataConfig) -> tuple[int, int, int] | str:
    """The shape that `read_image` would give, from the file's head alone; the reason as a text where that fails."""
    try:
        with _opened(path) as file:
            return _shape(file, config)
    except Exception as error:
        return str(error) or type(error).__name__


def _shape(file: Image.Image, config: DataConfig) -> tuple[int, int, int]:
    grey = file.mode in ("1", "L", "LA") or file.mode.startswith("I")
    size = config.size or min(file.size)
    return size, size, config.channels or (1 if grey else 3)


def read_image(path: Path, config: DataConfig) -> np.ndarray | str:
    """`[h, w, c]` uint8, cropped to a square and resized as the config says; the reason as a text where that fails."""
    try:
        with _opened(path) as file:
            size, _, channels = _shape(file, config)
            image = _eight_bits(ImageOps.exif_transpose(file)).convert("L" if channels == 1 else "RGB")
        sampled = Image.Resampling.LANCZOS if size < min(image.size) else Image.Resampling.BICUBIC
        image = ImageOps.fit(image, (size, size), sampled)
    except Exception as error:  # Pillow raises anything from SyntaxError to struct.error at a damaged file
        return str(error) or type(error).__name__
    return np.asarray(image, np.uint8).reshape(size, size, channels)


def _tfrecords(config: DataConfig) -> Source:
    """StyleGAN's TFRecords of one resolution, without labels: a folder of `*-rKK.tfrecords`, or one such file."""
    path = _existing(config, "a folder of *-rKK.tfrecords")
    records = [record for file in record_files.files(path, config.size) for record in record_files.index(file)]
    shape = record_files.image(records[0]).shape
    size, channels = config.size or shape[0], config.channels or shape[-1]
    if (size, size, channels) != shape:
        raise InputError(
            f"{records[0].path} has images {list(shape)}, but data.size and data.channels ask for "
            f"{[size, size, channels]}; leave them out"
        )
    stored = StoredImages(lambda row: record_files.image_of(records[row], shape), np.arange(len(records)), shape)
    if not config.stream:
        check_memory(len(records), shape)
    split = Split(stored, np.full(len(records), -1, np.int32))
    return Source(split if config.stream else split.in_memory(), None, ())


def _eight_bits(image: Image.Image) -> Image.Image:
    """What Pillow converts to grey or RGB as it should: left alone, it clips 16 bits to white."""
    if image.mode.startswith("I"):
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError("pixels exceed 16 bits; convert the image to 8 or 16 bits")
        return Image.fromarray(((pixels + 128) // 257).astype(np.uint8))
    return image.convert("RGBA") if "transparency" in image.info else image  # Pillow warns at a transparent palette


def tensorflow_datasets(config: DataConfig) -> Source:
    """Any image data set of tensorflow-datasets that has the features `image` and, perhaps, `label`."""
    os.environ.setdefault("NO_GCE_CHECK", "true")  # a look-up of a cloud's metadata server, which hangs offline
    import tensorflow_datasets as tfds

    known = tfds.list_builders(with_community_datasets=False)
    if re.split("[/:]", config.name)[0] not in known:  # emnist/letters, mnist:3.0.1
        raise InputError(
            f"unknown data set {config.name!r}{did_you_mean(config.name, [*SOURCES, *known])} "
            f"(choices: {', '.join(SOURCES)}, or a name of tensorflow-datasets: mnist, fashion_mnist, cifar10, ...)"
        )
    try:
        builder = tfds.builder(config.name, data_dir=config.data_dir)
    except Exception as error:  # a wrong config is a ValueError, a wrong version an AssertionError
        raise InputError(f"data set {config.name}: {error}") from error
    features = builder.info.features
    if "image" not in features:
        raise InputError(f"data set {config.name} has no feature `image`, only {', '.join(features)}")
    if not builder.is_prepared():
        _download(builder, config)
    splits = builder.info.splits
    if "train" not in splits:
        raise InputError(f"data set {config.name} has no split `train`, only {', '.join(splits)}")
    classes = tuple(features["label"].names) if _labelled(builder) else ()
    test = _tfds_split(builder, "test", config) if "test" in splits else None
    return Source(_tfds_split(builder, "train", config), test, classes)


def _download(builder, config: DataConfig) -> None:
    if not config.download:
        raise InputError(
            f"data set {config.name} is not prepared in {builder.data_dir_root}; set data.data_dir or TFDS_DATA_DIR "
            "to the folder that holds it, or let it be downloaded with data.download=true"
        )
    from tensorflow_datasets.core.download import downloader

    downloader.MAX_RETRIES = DOWNLOAD_RETRIES
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it tells of every retry
    try:
        builder.download_and_prepare()
    except Exception as error:  # whatever the set's own downloader raises when it is offline
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        remedy = "install that package" if isinstance(error, ImportError) else "check the network"
        raise InputError(
            f"data set {config.name} could not be downloaded to {builder.data_dir_root} ({reason}); "
            f"{remedy}, or prepare it elsewhere and set data.data_dir"
        ) from error


def _labelled(builder) -> bool:
    features = builder.info.features
    return "label" in features and hasattr(features["label"], "names")  # a ClassLabel, not a number to predict


def _tfds_split(builder, name: str, config: DataConfig) -> Split:
    """Decoded, cropped and resized in the graph: until then, images of one set may differ in size."""

    def decode(example):
        image = fitted(tf.image.convert_image_dtype(example["image"], tf.float32), config)
        return image, tf.cast(example["label"] if _labelled(builder) else -1, tf.int32)

    examples = builder.as_dataset(split=name).map(decode, num_parallel_calls=2, deterministic=True)
    if None in examples.element_spec[0].shape:
        raise InputError(f"images of {builder.name} differ in size; set data.size")
    count, shape = builder.info.splits[name].num_examples, tuple(examples.element_spec[0].shape)
    check_memory(count, shape)
    images, labels, seen = np.empty((count, *shape), np.float32), np.empty(count, np.int32), 0
    try:
        # not in one batch, which would hold them twice
        for some, known in examples.take(count).batch(READ).as_numpy_iterator():
            rows = slice(seen, seen + len(some))
            images[rows], labels[rows] = some, known
            seen = rows.stop
    except tf.errors.OpError as error:
        raise InputError(
            f"split {name} in {builder.data_dir} is damaged: {str(error.message).splitlines()[0]}"
        ) from error
    return Split(images[:seen], labels[:seen])  # files may hold fewer than their description says


SOURCES: dict[str, Callable[[DataConfig], Source]] = {
    "digits": _digits,
    "npz": _npz,
    "folder": _folder,
    "tfrecords": _tfrecords,
    "four_points": _four_points,
    "none": _none,
}


def _existing(config: DataConfig, what: str) -> Path:
    if config.path is None:
        raise InputError(f"data.name {config.name} needs data.path: {what}")
    path = expanded(config.path)
    if not path.exists():
        raise InputError(f"data.path {path} does not exist; expected {what}")
    return path


def fitted(images: tf.Tensor, config: DataConfig) -> tf.Tensor:
    """`[..., h, w, c]` float32 images, cropped to a square and resized, with the channels that the config asks for."""
    if config.channels == 3 and images.shape[-1] == 1:
        images = tf.image.grayscale_to_rgb(tf.convert_to_tensor(images))
    if config.channels == 1 and images.shape[-1] == 3:
        images = tf.image.rgb_to_grayscale(images)
    if config.size and tuple(images.shape[-3:-1]) != (config.size, config.size):
        side = tf.reduce_min(tf.shape(images)[-3:-1])
        square = tf.image.resize_with_crop_or_pad(images, side, side)
        images = tf.clip_by_value(tf.image.resize(square, [config.size, config.size], antialias=True), 0, 1)
    return images


def _some(texts: list[str], most: int = 5) -> str:
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
