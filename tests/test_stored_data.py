"""Data sets on disk, StyleGAN's TFRecords and folders that are read batch by batch."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.conftest import TINY_RUN
from tfaae import config, data, image_sources, train
from tfaae.config import DataConfig
from tfaae.errors import InputError
from tfaae.models import StyleALAE
from tfaae.stored_images import StoredImages

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 3, 8, 8), np.uint8)  # CHW


def load(name: str, path, **keys) -> data.Data:
    return data.load(DataConfig(name=name, path=str(path), **({"batch": 2, "test": 2} | keys)))


def example(image: np.ndarray, **changes) -> bytes:
    """A record as `dataset_tool.py` writes it."""
    features = {
        "shape": tf.train.Feature(int64_list=tf.train.Int64List(value=changes.get("shape", image.shape))),
        "data": tf.train.Feature(bytes_list=tf.train.BytesList(value=[changes.get("data", image.tobytes())])),
    }
    kept = {key: features[key] for key in changes.get("features", features)}
    return tf.train.Example(features=tf.train.Features(feature=kept)).SerializeToString()


def write(path, records) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


@pytest.fixture
def records(tmp_path):
    """A folder of 12 images of 8 pixels, and of their halves."""
    write(tmp_path / "faces-r03.tfrecords", map(example, IMAGES))
    write(tmp_path / "faces-r02.tfrecords", [example(image[:, ::2, ::2]) for image in IMAGES])
    return tmp_path


@pytest.fixture
def pictures(tmp_path):
    """The same images as files."""
    for number, image in enumerate(IMAGES):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / f"{number:02}.png")
    return tmp_path


def everything(found: data.Data) -> np.ndarray:
    images = np.concatenate([split.in_memory().images for split in found[:3]])
    return np.sort(images.reshape(len(images), -1), axis=0)


def whole(images: np.ndarray = IMAGES) -> np.ndarray:
    return np.sort((images.transpose(0, 2, 3, 1) / np.float32(255)).reshape(len(images), -1), axis=0)


# === TFRecords ===


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("size", "step"), [(None, 1), (8, 1), (4, 2)])
def test_records_of_a_resolution(size, step, stream, records):
    found = load("tfrecords", records, size=size, stream=stream, validation=3)
    assert [len(split) for split in found[:3]] == [7, 3, 2]
    assert found.image_shape == (8 // step, 8 // step, 3)
    assert found.train.stored == stream
    assert set(found.train.labels) == {-1}
    np.testing.assert_array_equal(everything(found), whole(IMAGES[:, :, ::step, ::step]))


def test_one_file_and_parts(records):
    found = load("tfrecords", records / "faces-r02.tfrecords")
    assert found.image_shape == (4, 4, 3)
    (records / "faces-r03.tfrecords").unlink()
    for part in range(3):
        write(records / f"faces-r03.tfrecords.{part:03}", map(example, IMAGES[part::3]))
    np.testing.assert_array_equal(everything(load("tfrecords", records)), whole())


def test_grey_records(tmp_path):
    write(tmp_path / "digits-r03.tfrecords", map(example, IMAGES[:, :1]))
    assert load("tfrecords", tmp_path).image_shape == (8, 8, 1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"shape": (3, 8, 4)}, "the size a power of two, got [3, 8, 4]"),
        ({"shape": (3, 6, 6)}, "the size a power of two, got [3, 6, 6]"),
        ({"shape": (2, 8, 8)}, "expected a shape [1 or 3, size, size]"),
        ({"shape": (192,)}, "got [192]"),
        ({"shape": (3, -8, -8)}, "got [3, -8, -8]"),
        ({"data": b"too short"}, "expected 192 bytes for [3, 8, 8], got 9"),
        ({"features": ("data",)}, "expected the features shape and data, got ['data']"),
        ({"shape": (1, 8, 8), "data": bytes(64)}, "[8, 8, 1], but the first image is [8, 8, 3]"),
    ],
)
def test_wrong_records(changes, told, tmp_path):
    path = tmp_path / "faces-r03.tfrecords"
    write(path, [*map(example, IMAGES[:3]), example(IMAGES[3], **changes), example(IMAGES[4])])
    with pytest.raises(InputError) as caught:
        load("tfrecords", tmp_path)
    assert f"{path}, record 3: " in str(caught.value)
    assert told in str(caught.value)


def test_records_of_something_else(tmp_path):
    write(tmp_path / "faces-r03.tfrecords", [b"\xff no example"])
    with pytest.raises(InputError, match=r"faces-r03\.tfrecords, record 0: damaged, or no tf\.train\.Example"):
        load("tfrecords", tmp_path)


@pytest.mark.parametrize("stream", [False, True])
def test_records_cut_anywhere(stream, tmp_path):
    path = tmp_path / "faces-r03.tfrecords"
    write(path, map(example, IMAGES[:3]))
    contents = path.read_bytes()
    for length in range(1, len(contents), 11):
        if length % (len(contents) // 3):  # between two records there is nothing to see
            path.write_bytes(contents[:length])
            with pytest.raises(InputError, match=f"{path} is cut within record {3 * length // len(contents)}, at"):
                load("tfrecords", tmp_path, stream=stream)


@pytest.mark.parametrize(
    ("files", "keys", "told"),
    [
        ([], {}, "no files *-rKK.tfrecords in"),
        (["faces.tfrecords"], {}, "no files *-rKK.tfrecords in"),
        (["a-r03.tfrecords", "b-r03.tfrecords"], {}, "holds 2 data sets, a, b; keep each in its folder"),
        (
            ["a-r03.tfrecords", "a-r02.tfrecords"],
            {"size": 16},
            "no images of 16 pixels; set data.size to one of [4, 8]",
        ),
        (["a-r03.tfrecords"], {}, "a-r03.tfrecords is empty"),
    ],
)
def test_folders_without_records(files, keys, told, tmp_path):
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(InputError) as caught:
        load("tfrecords", tmp_path, **keys)
    assert told in str(caught.value)


def test_records_are_taken_as_they_are(records):
    with pytest.raises(InputError, match=r"images \[8, 8, 3\], but .* ask for \[8, 8, 1\]; leave them out"):
        load("tfrecords", records, channels=1)


# === Streams ===


@pytest.fixture
def reads(monkeypatch):
    """How many images were read from disk."""
    counted = []
    read = StoredImages.__getitem__

    def count(self, rows):
        found = read(self, rows)
        counted.append(len(found))
        return found

    monkeypatch.setattr(StoredImages, "__getitem__", count)
    return counted


@pytest.mark.parametrize("keys", [{}, {"flip": True, "binarise": True}])
@pytest.mark.parametrize("source", ["folder", "tfrecords"])
def test_a_stream_is_what_memory_would_give(source, keys, request, reads):
    path = request.getfixturevalue("pictures" if source == "folder" else "records")
    stored, kept = (load(source, path, stream=stream, validation=1) for stream in (True, False))
    if source == "folder":
        assert reads == [1, 2]  # what is held out
    else:
        assert reads == [1, 2, 12]
    batches = [
        list(data.batches(found.train, 4, seed=3, epochs=2, **keys).as_numpy_iterator()) for found in (stored, kept)
    ]
    assert len(batches[0]) == 4
    for (images, labels), (others, their_labels) in zip(*batches, strict=True):
        np.testing.assert_array_equal(images, others)
        np.testing.assert_array_equal(labels, their_labels)
    for one, other in zip(stored[1:3], kept[1:3], strict=True):
        np.testing.assert_array_equal(one.images, other.images)


def test_a_stream_has_a_static_shape(records):
    found = load("tfrecords", records, stream=True)
    images, _ = data.batches(found.train, 5, seed=0, epochs=1).element_spec
    assert images.shape.as_list() == [5, 8, 8, 3]


def test_a_folder_is_looked_through_by_its_heads(pictures, monkeypatch):
    monkeypatch.setattr(image_sources, "read_image", lambda path, config: np.full((8, 8, 3), 7, np.uint8))
    found = load("folder", pictures, stream=True)
    np.testing.assert_array_equal(found.test.images, np.float32(7) / 255)


@pytest.mark.parametrize(
    ("keys", "shape"),
    [({"size": 4}, (4, 4, 3)), ({"channels": 1}, (8, 8, 1)), ({"size": 16, "channels": 1}, (16, 16, 1))],
)
def test_stored_files_are_fitted(keys, shape, pictures):
    stored, kept = (load("folder", pictures, stream=stream, **keys) for stream in (True, False))
    assert stored.image_shape == shape
    np.testing.assert_array_equal(stored.train.in_memory().images, kept.train.images)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("mode", "size", "shape"), [("RGB", (9, 9), r"\(9, 9, 3\)"), ("L", (8, 8), r"\(8, 8, 1\)")])
def test_files_that_differ_are_named(mode, size, shape, stream, pictures):
    Image.new(mode, size).save(pictures / "odd.png")
    with pytest.raises(InputError, match=rf"{shape} \({pictures}/odd\.png\).*set data\.size and data\.channels"):
        load("folder", pictures, stream=stream)


def test_a_damaged_head_is_named(pictures):
    (pictures / "05.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"1 of 12 images cannot be read: .*05\.png"):
        load("folder", pictures, stream=True)


def test_what_is_damaged_behind_its_head_is_named_while_training(pictures):
    found = load("folder", pictures, stream=True)
    for path in pictures.glob("*.png"):
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\.png cannot be read: .*; mend or remove it"):
        list(data.batches(found.train, 5, seed=0, epochs=1))


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"name": "digits", "test": 5}, "got data.name digits"),
        ({"name": "folder", "test": None}, "data.test None"),
    ],
)
def test_what_cannot_be_streamed(keys, told, pictures):
    with pytest.raises(InputError, match=r"data\.stream is for the sources folder and tfrecords") as caught:
        data.load(DataConfig(**{"path": str(pictures), "stream": True} | keys))
    assert told in str(caught.value)


def run(found: dict, settings: dict, folder) -> train.Run:
    quick = {"epochs": 1, "xla": False, "figures_every": 9} | settings.get("train", {})
    data_keys = {"name": "tfrecords", "test": 2, "batch": 5, "flip": True} | found
    return train.run(config.parse(TINY_RUN | settings | {"data": data_keys, "train": quick}), folder)


@pytest.mark.slow
def test_a_run_on_a_stream_is_the_run_in_memory(records, tmp_path):
    histories = []
    for stream in (True, False):
        files = run({"path": str(records), "stream": stream}, {}, tmp_path / f"run_{stream}")
        histories.append(files.history.read_text())
    assert histories[0] == histories[1]


ADAM = {"name": "equalised_adam", "learning_rate": 1e-3}
GROWING = {
    "model": {"name": "StyleALAE", "latent_dim": 2, "base_channels": 2, "max_channels": 2, "mapping_depth": 1},
    "optim": {"discriminator": ADAM, "generator": ADAM},
    "train": {"epochs": 4, "growing": {"epochs_per_lod": 2, "batches": [5], "learning_rates": [1e-3]}},
}


def test_a_growing_model_gets_a_stream_at_its_resolution(records, tmp_path, monkeypatch):
    seen: dict = {True: [], False: []}
    monkeypatch.setattr(StyleALAE, "fit", lambda self, training, **_: seen[stream].extend(training.as_numpy_iterator()))
    for stream in seen:
        run({"path": str(records), "stream": stream}, GROWING, tmp_path / f"run_{stream}")
    assert [images.shape[1] for images, _ in seen[True]] == 4 * [4] + 4 * [8]
    for (images, labels), (others, their_labels) in zip(*seen.values(), strict=True):
        np.testing.assert_allclose(images, others, atol=1e-6)
        np.testing.assert_array_equal(labels, their_labels)


# === Mirrored images ===


def mirrored_batches(**keys) -> np.ndarray:
    """Whether each image was mirrored, `[steps, batch]`, in the order of the images."""
    half = np.zeros((40, 2, 2, 1), np.float32)
    half[:, :, 0] = 1
    stream = data.batches(
        data.Split(half, np.arange(40, dtype=np.int32)), 40, flip=True, **{"seed": 0, "epochs": 3} | keys
    )
    return np.array([images[np.argsort(labels), 0, 1, 0] for images, labels in stream.as_numpy_iterator()])


def test_batches_are_mirrored_anew_in_every_epoch():
    found = mirrored_batches()
    assert 0.3 < found.mean() < 0.7
    assert len(np.unique(found, axis=0)) == 3
    np.testing.assert_array_equal(found[1:], mirrored_batches(first_epoch=1))  # resumed
    assert not np.array_equal(found, mirrored_batches(seed=1))
