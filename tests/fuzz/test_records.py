"""TFRecords that were cut, flipped, or hold something else, streamed and in memory: the images, or an InputError."""

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tests.conftest import TINY_RUN
from tests.fuzz.cases import REFUSED, counts, damaged, hold, outcome
from tests.test_stored_data import IMAGES, example, write
from tfaae import config, data, record_files, train
from tfaae.config import DataConfig
from tfaae.errors import InputError

INTEGERS = st.lists(st.one_of(st.integers(-1, 9), st.integers(-(2**63), 2**63 - 1)), max_size=4)
FEATURE = st.one_of(
    INTEGERS.map(lambda values: tf.train.Feature(int64_list=tf.train.Int64List(value=values))),
    st.lists(st.binary(max_size=70), max_size=3).map(
        lambda values: tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    ),
    st.lists(st.floats(width=32), max_size=3).map(
        lambda values: tf.train.Feature(float_list=tf.train.FloatList(value=values))
    ),
    st.builds(tf.train.Feature),
)
FOREIGN = st.dictionaries(st.sampled_from(["shape", "data", "label", "é"]), FEATURE, max_size=3).map(
    lambda found: tf.train.Example(features=tf.train.Features(feature=found)).SerializeToString()
)
GOOD = st.builds(
    lambda number, channels, size: example(IMAGES[number, :channels, :size, :size].copy()),
    st.integers(0, 11),
    st.just(3) | st.sampled_from([1, 3]),
    st.just(8) | st.sampled_from([1, 2, 8]),
)
RECORDS = st.lists(st.one_of(GOOD, GOOD, GOOD, FOREIGN, GOOD.flatmap(damaged), st.binary(max_size=20)), max_size=5)


def pixels(path: Path, **keys) -> list[np.ndarray] | object:
    """What is read of a data set in the end, streamed or not."""

    def read():
        found = data.load(DataConfig(name="tfrecords", path=str(path), **({"batch": 1, "test": 1} | keys)))
        return [split.in_memory().images for split in found[:3]]

    return outcome(read)


def same(path: Path, **keys) -> list[np.ndarray] | object:
    kept, streamed = pixels(path, **keys), pixels(path, stream=True, **keys)
    assert (kept is REFUSED) == (streamed is REFUSED)
    if kept is not REFUSED:
        for images, others in zip(kept, streamed, strict=True):
            np.testing.assert_array_equal(images, others)
    return kept


@counts(15, 300)
def test_records_of_anything(count, tmp_path):
    def check(records, keys):
        path = tmp_path / "faces-r03.tfrecords"
        write(path, records)
        same(path, **keys)

    keys = st.fixed_dictionaries({}, optional={"size": st.sampled_from([1, 8]), "channels": st.sampled_from([1, 3])})
    hold(count, check, records=RECORDS, keys=keys)


@counts(20, 400)
def test_damaged_files(count, tmp_path):
    """Every record has a checksum: of what was flipped, nothing is an image."""
    path = tmp_path / "faces-r03.tfrecords"
    write(path, map(example, IMAGES[:4]))
    whole = path.read_bytes()
    known = {image.tobytes() for image in np.concatenate(pixels(path))}

    def check(contents):
        path.write_bytes(contents)
        found = same(path)
        if found is not REFUSED:
            assert {image.tobytes() for image in np.concatenate(found)} <= known

    hold(count, check, contents=damaged(whole))


@counts(10, 100)
def test_folders(count, tmp_path_factory):
    good = (tmp_path_factory.mktemp("good") / "x-r03.tfrecords", list(map(example, IMAGES[:3])))
    write(*good)

    def check(names, size):
        folder = tmp_path_factory.mktemp("folder")
        for name in names:
            (folder / name).write_bytes(good[0].read_bytes())
        pixels(folder, size=size)

    name = st.one_of(
        st.from_regex(r"[ab]-r[0-9]{2}\.tfrecords(\.[0-9]{1,3})?", fullmatch=True),
        st.sampled_from(["a-r\u0660\u0663.tfrecords", "a-r3.tfrecords", "-r03.tfrecords", "a-r03.tfrecords.x", "x"]),
    )
    hold(count, check, names=st.sets(name, max_size=4), size=st.sampled_from([None, 8, 16]))


def test_pipes_folders_and_zeros(tmp_path):
    """Nothing is waited for; a gigabyte of zeros is no list of empty records."""
    os.mkfifo(tmp_path / "a-r03.tfrecords")
    (tmp_path / "b-r03.tfrecords").mkdir()
    for path in (tmp_path / "a-r03.tfrecords", tmp_path):
        assert pixels(path) is REFUSED
    with (tmp_path / "zeros").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(InputError, match="record 0 is empty, or it is no TFRecord file"):
        record_files.index(tmp_path / "zeros")


def flipped(path: Path, place: int) -> None:
    contents = bytearray(path.read_bytes())
    contents[place] ^= 1
    path.write_bytes(contents)


def test_an_image_that_is_damaged_while_it_is_streamed(tmp_path):
    """The graph tells of it in a text, which `data.input_error` takes back."""
    path = tmp_path / "faces-r03.tfrecords"
    write(path, map(example, IMAGES))
    found = data.load(DataConfig(name="tfrecords", path=str(path), stream=True, test=1, batch=2))
    flipped(path, path.stat().st_size // 2)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        list(data.batches(found.train, 2, seed=0, epochs=1))
    assert str(data.input_error(caught.value)).startswith(f"{path}, record 6: damaged, its checksum is another")
    assert data.input_error(tf.errors.InvalidArgumentError(None, None, "another")) is None


@pytest.mark.slow
def test_training_on_damaged_images(tmp_path):
    path = tmp_path / "faces-r03.tfrecords"
    write(path, map(example, IMAGES))
    flipped(path, path.stat().st_size // 2 - 50)
    streamed = {"name": "tfrecords", "path": str(path), "stream": True, "test": 1, "batch": 2}
    with pytest.raises(InputError, match="record 5: damaged, its checksum is another"):
        train.run(config.parse(TINY_RUN | {"data": streamed, "train": {"epochs": 3, "xla": False}}), tmp_path / "run")
