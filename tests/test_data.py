"""Data: every source gives float32 images in [0, 1] and int32 labels; what is damaged or does not fit is named."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfaae import data, image_sources
from tfaae.config import DataConfig
from tfaae.data import Split
from tfaae.errors import InputError

COLOUR = (200, 100, 50)
GREY_OF_COLOUR = 124  # ITU-R 601, as Pillow and TensorFlow have it
UINT8 = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def load(name: str, **keys) -> data.Data:
    return data.load(DataConfig(name=name, **({"batch": 1} | keys)))


def numbered(count: int, size: int = 4) -> Split:
    """Images that tell their number: image i is i / count everywhere, its label is i."""
    numbers = np.arange(count, dtype=np.int32)
    images = np.broadcast_to((numbers / count)[:, None, None, None], (count, size, size, 1))
    return Split(images.astype(np.float32), numbers)


def whole(found: data.Data) -> Split:
    """All images that a source without a test set gave."""
    return Split(*(np.concatenate(parts) for parts in zip(found.train, found.validation, found.test, strict=True)))


@pytest.fixture
def npz(tmp_path):
    """The path of a `.npz` file of the given arrays."""

    def write(**arrays) -> str:
        np.savez(tmp_path / "data.npz", **arrays)
        return str(tmp_path / "data.npz")

    return write


# === Sources: digits, npz ===


def test_digits(digits):
    assert [len(split) for split in digits[:3]] == [1797 - 98 - 299, 98, 299]
    assert digits.image_shape == (8, 8, 1)
    assert digits.classes == tuple("0123456789")
    for images, labels in digits[:3]:
        assert images.dtype == np.float32
        assert labels.dtype == np.int32
        assert images.min() == 0
        assert images.max() == 1
        assert set(labels) == set(range(10))


@pytest.mark.parametrize(
    "images",
    [UINT8, UINT8[..., None], (UINT8 / 255).astype(np.float32), UINT8 / 255],
    ids=["uint8", "channel", "float32", "float64"],
)
@pytest.mark.parametrize(("images_name", "labels_name"), [("x_train", "y_train"), ("images", "labels")])
def test_npz_without_test_set(images, images_name, labels_name, npz):
    found = load("npz", path=npz(**{images_name: images, labels_name: LABELS}), test=2)
    assert (len(found.train), len(found.test)) == (4, 2)
    assert found.classes == ("0", "1", "2")
    everything = whole(found)
    order = everything.images[:, 0, 0, 0].argsort()
    np.testing.assert_allclose(everything.images[order, ..., 0], UINT8 / 255, atol=1e-7)
    np.testing.assert_array_equal(everything.labels[order], LABELS)
    assert everything.images.dtype == np.float32
    assert everything.labels.dtype == np.int32


def test_npz_with_test_set(npz):
    path = npz(x_train=UINT8[:4], y_train=[[0], [1], [0], [1]], x_test=UINT8[4:], y_test=[[2], [0]])
    found = load("npz", path=path)
    np.testing.assert_allclose(found.train.images[..., 0], UINT8[:4] / 255)
    np.testing.assert_array_equal(found.train.labels, [0, 1, 0, 1])
    np.testing.assert_array_equal(found.test.labels, [2, 0])
    assert found.classes == ("0", "1", "2")  # one of them in the test set alone


def test_npz_without_labels(npz):
    found = load("npz", path=npz(images=UINT8))
    assert found.classes == ()
    assert set(whole(found).labels) == {-1}


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"x": UINT8}, "expected an array x_train or images, found ['x']"),
        ({"images": np.array([UINT8, "x"], dtype=object)}, "plain arrays: Object arrays cannot be loaded"),
        ({"images": UINT8.astype(np.int64)}, "expected uint8 or float images, got int64"),
        ({"images": np.float32(5)}, "expected images [n, height, width]"),
        ({"images": UINT8.reshape(6, 16)}, "expected images [n, height, width]"),
        ({"images": UINT8[:0]}, "n above 0"),
        ({"images": UINT8.reshape(6, 4, 2, 2)}, "1 or 3"),
        ({"images": UINT8[:, :3]}, "images are 3 x 4, models take squares; set data.size"),
        ({"images": UINT8.astype(np.float32)}, "expected pixels in [0, 1], got 0 to 95; divide by 255"),
        ({"images": UINT8.astype(np.float32) - 1}, "got -1 to 94"),
        ({"images": np.where(UINT8 == 20, np.nan, 0.5)}, "1 images hold NaN or infinite pixels, the first is image 1"),
        ({"images": np.where(UINT8 == 40, np.inf, 0.5)}, "the first is image 2"),
        ({"images": UINT8, "labels": LABELS[:5]}, "one label for each of 6 images, got [5]"),
        ({"images": UINT8, "labels": np.eye(6)[:, :3].astype(int)}, "one label for each of 6 images, got [18]"),
        ({"images": UINT8, "labels": LABELS - 2}, "expected labels -1 (unknown) to 0, got -2 to 0"),
        ({"images": UINT8, "labels": LABELS + 2**40}, "expected labels -1 (unknown) to classes - 1, got 1099511627778"),
        ({"images": UINT8, "labels": LABELS / 2}, "expected integer labels, got float64"),
        ({"images": UINT8, "labels": list("abcabc")}, "expected integer labels, got <U1"),
    ],
)
def test_wrong_arrays(arrays, told, npz):
    with pytest.raises(InputError) as caught:
        load("npz", path=npz(**arrays))
    assert told in str(caught.value)
    assert "255" not in str(caught.value) or "255" in told


class Trap:
    """Opens the bait for writing when it is unpickled."""

    def __init__(self, bait: Path):
        self.bait = bait

    def __reduce__(self):
        return open, (str(self.bait), "w")


def test_npz_unpickles_nothing(npz, tmp_path):
    path = npz(images=UINT8, extra=np.array([Trap(tmp_path / "bait")], dtype=object))
    with pytest.raises(InputError, match="of plain arrays: Object arrays cannot be loaded"):
        load("npz", path=path)
    assert not (tmp_path / "bait").exists()


def test_check_knows_the_number_of_classes():
    split = image_sources.from_arrays(UINT8, LABELS)
    data.check(split, 3)
    with pytest.raises(InputError, match=r"labels -1 \(unknown\) to 1, got 0 to 2"):
        data.check(split, 2)


@pytest.mark.parametrize("content", ["text", "npy", "half", "pickle", "empty", "folder"])
def test_files_that_are_no_npz(content, npz, tmp_path):
    good, path = npz(images=UINT8), tmp_path / "bad.npz"
    if content == "npy":
        np.save(tmp_path / "bad.npy", UINT8)
        (tmp_path / "bad.npy").rename(path)
    elif content == "half":
        path.write_bytes(Path(good).read_bytes()[:300])
    elif content == "folder":
        path.mkdir()
    else:
        path.write_bytes({"text": b"no arrays", "pickle": b"\x80\x04K\x01.", "empty": b""}[content])
    with pytest.raises(InputError, match=r"bad\.npz is not a \.npz file"):
        load("npz", path=str(path))


@pytest.mark.parametrize("name", ["npz", "folder"])
@pytest.mark.parametrize(("keys", "told"), [({}, "needs data.path"), ({"path": "/no/where"}, "does not exist")])
def test_a_path_is_needed(name, keys, told):
    with pytest.raises(InputError, match=told):
        load(name, **keys)


def test_a_path_may_start_at_home(npz, tmp_path, monkeypatch):
    npz(images=UINT8)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load("npz", path="~/data.npz").train) == 5


# === Sources: a folder of images ===


def plain(mode: str, size: tuple[int, int] = (6, 6)) -> Image.Image:
    """One colour everywhere; half opaque where the mode knows that."""
    image = Image.new("RGB", size, COLOUR)
    if mode == "P":
        return image.quantize(colors=4)
    if mode in ("LA", "RGBA"):
        image.putalpha(128)
    return image.convert(mode)


def grey16(mode: str, value: int) -> Image.Image:
    return Image.frombytes(mode, (6, 6), np.full((6, 6), value, ">u2" if mode.endswith("B") else "<u2").tobytes())


def palette(**info) -> Image.Image:
    image = plain("P")
    image.info |= info
    return image


KINDS = {
    "grey.png": (plain("L"), [GREY_OF_COLOUR]),
    "grey_alpha.png": (plain("LA"), [GREY_OF_COLOUR]),
    "white_bits.png": (Image.new("1", (6, 6), 1), [255]),
    "grey_16_bits.png": (grey16("I;16", 100 * 257), [100]),
    "grey_16_bits_white.png": (grey16("I;16", 65535), [255]),
    "grey_16_bits_dark.png": (grey16("I;16", 300), [1]),
    "grey_16_bits_big_endian.tif": (grey16("I;16B", 100 * 257), [100]),
    "grey_32_bits.tif": (Image.fromarray(np.full((6, 6), 100 * 257, np.int32)), [100]),
    "rgb.png": (plain("RGB"), COLOUR),
    "rgb.bmp": (plain("RGB"), COLOUR),
    "UPPER.PNG": (plain("RGB"), COLOUR),
    "rgb.webp": (plain("RGB"), COLOUR),
    "rgb.jpg": (plain("RGB"), COLOUR),
    "cmyk.jpeg": (plain("CMYK"), COLOUR),
    "alpha.png": (plain("RGBA"), COLOUR),
    "palette.png": (plain("P"), COLOUR),
    "palette.gif": (plain("P"), COLOUR),
    "palette_one_transparent.png": (palette(transparency=3), COLOUR),
    "palette_alphas.png": (palette(transparency=bytes([128] * 200)), COLOUR),
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_images(name, tmp_path):
    image, expected = KINDS[name]
    for copy in "ab":
        image.save(tmp_path / f"{copy}{name}")
    found = load("folder", path=str(tmp_path))
    assert found.image_shape == (6, 6, len(expected))
    np.testing.assert_allclose(
        whole(found).images * 255,
        np.broadcast_to(expected, (2, 6, 6, len(expected))),
        atol=3,  # JPEG
    )


@pytest.mark.parametrize(
    ("mode", "channels", "expected"), [("RGB", 1, [GREY_OF_COLOUR]), ("L", 3, [GREY_OF_COLOUR] * 3)]
)
def test_channels_of_a_folder(mode, channels, expected, tmp_path):
    for name in "ab":
        plain(mode).save(tmp_path / f"{name}.png")
    found = load("folder", path=str(tmp_path), channels=channels)
    np.testing.assert_allclose(found.train.images[0, 0, 0] * 255, expected, atol=1.5)


def test_a_16_bit_ramp_keeps_its_steps(tmp_path):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    for name in "ab":
        Image.fromarray(ramp).save(tmp_path / f"{name}.png")
    np.testing.assert_allclose(load("folder", path=str(tmp_path)).train.images[0, ..., 0], ramp / 65535, atol=0.5 / 255)


def test_labels_are_the_first_sub_folders(tmp_path):
    files = {"zebra/1.png": 1, "ant/1.png": 0, "ant/young/2.png": 0, "zebra/ant/2.png": 1, "3.png": -1}
    for shade, name in enumerate(files):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), 10 * shade).save(tmp_path / name)
    (tmp_path / "ant" / "notes.txt").write_text("no image")
    found = load("folder", path=str(tmp_path))
    assert found.classes == ("ant", "zebra")
    everything = whole(found)
    shades = np.round(everything.images[:, 0, 0, 0] * 25.5).astype(int)
    assert dict(zip(shades.tolist(), everything.labels.tolist(), strict=True)) == dict(enumerate(files.values()))


@pytest.mark.parametrize("kind", ["L", "I;16"])
def test_exif_orientation_is_followed(kind, tmp_path):
    pixels = np.zeros((8, 8), np.uint8 if kind == "L" else np.uint16)
    pixels[:4] = np.iinfo(pixels.dtype).max  # the upper half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    for name in "ab":
        Image.fromarray(pixels).save(tmp_path / f"{name}.png", exif=exif)
    shown = load("folder", path=str(tmp_path)).train.images[0, ..., 0]
    np.testing.assert_array_equal(shown, np.broadcast_to([0, 0, 0, 0, 1, 1, 1, 1], (8, 8)))


def test_mixed_sizes_need_a_size(tmp_path):
    for number, size in enumerate([(8, 8), (12, 20), (30, 5)]):
        plain("RGB", size).save(tmp_path / f"{number}.png")
    with pytest.raises(InputError, match=r"\(5, 5, 3\) \(.*2\.png\), \(8, 8, 3\) .*, .*1\.png\); set data\.size"):
        load("folder", path=str(tmp_path))
    found = load("folder", path=str(tmp_path), size=6)
    np.testing.assert_allclose(whole(found).images * 255, np.broadcast_to(COLOUR, (3, 6, 6, 3)), atol=1)


def test_mixed_channels_need_channels(tmp_path):
    for mode in ("L", "RGB"):
        plain(mode).save(tmp_path / f"{mode}.png")
    with pytest.raises(InputError, match=r"set data.size and data.channels"):
        load("folder", path=str(tmp_path))
    assert load("folder", path=str(tmp_path), channels=1).image_shape == (6, 6, 1)


def test_a_folder_crops_to_the_middle_square(tmp_path):
    pixels = np.full((8, 16), 255, np.uint8)
    pixels[:, 4:12] = 0
    for name in "ab":
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    found = load("folder", path=str(tmp_path))
    assert found.image_shape == (8, 8, 1)
    assert found.train.images.max() == 0


def damaged(path, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)  # noise does not compress
    if kind == "float":
        Image.fromarray(np.zeros((8, 8), np.float32)).save(path)
        return
    Image.fromarray(noise).save(path)
    whole_file = path.read_bytes()
    path.write_bytes({"half": whole_file[: len(whole_file) // 2], "empty": b"", "text": b"no image"}[kind])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *itertools.product(["bad.png", "bad.jpg", "bad.gif", "bad.webp"], ["half", "empty", "text"]),
        ("bad.tif", "float"),
    ],
)
def test_damaged_images_are_named(name, kind, tmp_path):
    plain("RGB").save(tmp_path / "good.png")
    damaged(tmp_path / name, kind)
    with pytest.raises(InputError) as caught:
        load("folder", path=str(tmp_path))
    assert f"1 of 2 images cannot be read: {tmp_path / name} (" in str(caught.value)
    assert "good.png" not in str(caught.value)


def test_many_damaged_images_are_counted(tmp_path):
    for number in range(8):
        (tmp_path / f"{number}.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"8 of 8 images cannot be read: .*4\.png \(.*\) and 3 more; mend or remove"):
        load("folder", path=str(tmp_path))


@pytest.mark.parametrize("name", [None, "notes.txt", ".png"])
def test_a_folder_without_images(name, tmp_path):
    if name:
        (tmp_path / name).write_text("no image")
    with pytest.raises(InputError, match=f"no images under {tmp_path}; expected files that end in .png"):
        load("folder", path=str(tmp_path))


# === Sources: tensorflow-datasets ===


def test_mnist(tfds_folder):
    found = load("mnist", data_dir=str(tfds_folder))
    assert [len(split) for split in found[:3]] == [60000, 0, 10000]
    assert found.image_shape == (28, 28, 1)
    assert found.classes == tuple("0123456789")
    assert found.train.labels[:10].tolist() == [4, 1, 0, 7, 8, 1, 2, 7, 1, 6]  # the order in which TFDS reads them
    assert np.bincount(found.train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(found.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert found.train.images.dtype == np.float32
    assert found.train.images.mean() == pytest.approx(0.1307, abs=1e-4)  # the known mean of MNIST's training set
    assert (found.train.images.min(), found.train.images.max()) == (0, 1)


def cats(count: int) -> list[dict]:
    """Images of many sizes, each of one colour that tells its number; labels alternate."""
    return [
        {"image": np.full((9 + i, 20 - i, 3), 10 * i, np.uint8), "image/filename": "", "label": i % 2}
        for i in range(count)
    ]


def test_tfds_images_of_many_sizes(prepare):
    folder = prepare("cats_vs_dogs", train=cats(8))
    with pytest.raises(InputError, match=r"images of cats_vs_dogs differ in size; set data\.size"):
        load("cats_vs_dogs", data_dir=folder)
    found = load("cats_vs_dogs", data_dir=folder, size=6, channels=1)
    assert found.image_shape == (6, 6, 1)
    assert found.classes == ("cat", "dog")
    assert (len(found.train), len(found.test)) == (7, 1)
    everything = whole(found)
    numbers = np.round(everything.images[:, 0, 0, 0] * 25.5).astype(int)
    assert sorted(numbers) == list(range(8))
    np.testing.assert_array_equal(everything.labels, numbers % 2)


def test_tfds_without_labels(prepare):
    examples = [{"image": np.full((28, 28, 1), i % 2, np.uint8) * 255} for i in range(4)]
    found = load("binarized_mnist", data_dir=prepare("binarized_mnist", train=examples[:3], test=examples[3:]))
    assert found.classes == ()
    assert (len(found.train), len(found.test)) == (3, 1)
    assert set(found.train.labels) == {-1}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mnits", "unknown data set 'mnits'; did you mean 'mnist'?"),
        ("digit", "unknown data set 'digit'; did you mean 'digits'?"),
        ("Mnist", "unknown data set 'Mnist'; did you mean 'mnist'?"),
        ("zzzzzz", "unknown data set 'zzzzzz' (choices: digits, npz, folder"),
        ("emnist/lettrs", "data set emnist/lettrs: "),
        ("mnist:9.9.9", "cannot be loaded at version 9.9.9"),
        ("imdb_reviews", "data set imdb_reviews has no feature `image`, only"),
        ("emnist/letters", "data set emnist/letters is not prepared in "),
    ],
)
def test_tfds_names(name, told, tmp_path):
    with pytest.raises(InputError) as caught:
        load(name, data_dir=str(tmp_path))
    assert told in str(caught.value)


def test_a_set_that_is_not_there(tmp_path):
    with pytest.raises(InputError) as caught:
        load("svhn_cropped", data_dir=str(tmp_path))
    for part in (f"not prepared in {tmp_path}", "data.data_dir", "TFDS_DATA_DIR", "data.download=true"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ImportError("No module named 'cv2'"), "(ImportError: No module named 'cv2'); install that package, or"),
        (ConnectionError("first\nsecond"), "(ConnectionError: first); check the network, or prepare it elsewhere"),
        (AssertionError(), "(AssertionError: ); check the network"),
    ],
)
def test_downloads_fail_with_their_reason(error, told, tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    def fails(self):
        raise error

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fails)
    with pytest.raises(InputError) as caught:
        load("svhn_cropped", data_dir=str(tmp_path), download=True)
    assert told in str(caught.value)


def test_a_download_without_a_network(tmp_path, monkeypatch):
    """Refused connections and failing look-ups alike: nobody listens at port 9 of this machine."""
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")
    for _ in range(2):  # what the first try leaves behind does not pass for a data set
        with pytest.raises(InputError) as caught:
            load("svhn_cropped", data_dir=str(tmp_path), download=True)
        for part in ("svhn_cropped could not be downloaded", str(tmp_path), "Error", "check the network"):
            assert part in str(caught.value)
        assert "\n" not in str(caught.value)


# === Size and channels ===


@pytest.mark.parametrize(("size", "side"), [(6, 8), (8, 8), (4, 8), (12, 8)])
def test_size_keeps_an_even_grey(size, side, npz):
    found = load("npz", path=npz(images=np.full((3, side, side), 51, np.uint8)), size=size)
    assert found.image_shape == (size, size, 1)
    np.testing.assert_allclose(found.train.images, 0.2, atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 16), (16, 8)])
def test_size_crops_to_the_middle_square(shape, npz):
    image = np.ones(shape, np.float32)
    middle = tuple(slice((side - 8) // 2, (side + 8) // 2) for side in shape)
    image[middle] = 0.25
    found = load("npz", path=npz(images=np.stack([image] * 3)), size=4)
    np.testing.assert_allclose(found.train.images, 0.25, atol=1e-6)


def test_pixels_stay_in_range_when_resized(npz):
    checks = np.indices((9, 9)).sum(0) % 2 * np.ones((3, 1, 1), np.float32)
    images = load("npz", path=npz(images=checks), size=7).train.images
    assert images.min() >= 0
    assert images.max() <= 1


@pytest.mark.parametrize(
    ("pixel", "channels", "expected"),
    [
        ([0.5], 1, [0.5]),
        ([0.5], 3, [0.5, 0.5, 0.5]),
        ([1.0, 0.0, 0.0], 1, [0.2989]),
        ([0.0, 1.0, 0.0], 1, [0.587]),
        ([1.0, 1.0, 1.0], 1, [0.9999]),
        ([0.1, 0.2, 0.3], 3, [0.1, 0.2, 0.3]),
        ([0.1, 0.2, 0.3], None, [0.1, 0.2, 0.3]),
    ],
)
def test_channels(pixel, channels, expected, npz):
    images = np.broadcast_to(pixel, (3, 4, 4, len(pixel)))
    found = load("npz", path=npz(images=images), channels=channels)
    assert found.image_shape == (4, 4, len(expected))
    np.testing.assert_allclose(found.train.images[0, 0, 0], expected, atol=1e-4)


# === Splits ===


def test_splits_are_disjoint_complete_and_always_the_same(npz):
    images = numbered(50).images
    first = load("npz", path=npz(images=images, labels=np.arange(50)), test=10, validation=7)
    again = load("npz", path=npz(images=images, labels=np.arange(50)), test=10, validation=7)
    assert [len(split) for split in first[:3]] == [33, 7, 10]
    assert sorted(whole(first).labels) == list(range(50))
    for split, same in zip(first[:3], again[:3], strict=True):
        np.testing.assert_array_equal(split.labels, same.labels)
        np.testing.assert_allclose(split.images[:, 0, 0, 0] * 50, split.labels, atol=1e-4)  # labels stay with images


def test_the_test_set_does_not_depend_on_the_validation_set(npz):
    path = npz(images=numbered(50).images, labels=np.arange(50))
    tests = [load("npz", path=path, test=10, validation=count).test.labels.tolist() for count in (0, 7)]
    assert tests[0] == tests[1]


@pytest.mark.parametrize(("count", "held_out"), [(2, 1), (6, 1), (12, 2), (13, 2)])
def test_a_sixth_is_held_out_and_never_nothing(count, held_out, npz):
    assert len(load("npz", path=npz(images=numbered(count).images)).test) == held_out


def test_a_source_with_a_test_set_keeps_it(npz):
    images = numbered(20).images
    found = load("npz", path=npz(x_train=images[:15], x_test=images[15:]), validation=5)
    assert [len(split) for split in found[:3]] == [10, 5, 5]
    with pytest.raises(InputError, match="npz has a test set of its own"):
        load("npz", path=npz(x_train=images[:15], x_test=images[15:]), test=9)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"test": 20}, "cannot hold out 20 of 20 images"),
        ({"test": 500}, "cannot hold out 500 of 20 images"),
        ({"test": 5, "validation": 15}, "cannot hold out 15 of 15 images; use a smaller data.validation"),
        ({"test": 5, "validation": 5, "batch": 11}, "10 training images do not fill one batch of 11"),
    ],
)
def test_splits_that_leave_too_little(keys, told, npz):
    with pytest.raises(InputError, match=told):
        load("npz", path=npz(images=numbered(20).images), **keys)


# === Batches ===


def epochs(count: int, seed: int, batch: int = 10, images: int = 47) -> np.ndarray:
    """Labels of a stream, `[epochs, batches, batch]`."""
    stream = data.batches(numbered(images), batch, seed=seed, epochs=count)
    return np.array([labels for _, labels in stream.as_numpy_iterator()]).reshape(count, images // batch, batch)


def test_batches_are_decided_by_seed_and_epoch():
    first = epochs(3, seed=5)
    np.testing.assert_array_equal(first, epochs(3, seed=5))
    np.testing.assert_array_equal(first[2], epochs(5, seed=5)[2])  # how long a run is meant to be changes nothing
    assert not np.array_equal(first, epochs(3, seed=6))
    assert not np.array_equal(first[0], first[1])


def test_an_epoch_visits_an_image_at_most_once():
    for epoch in epochs(4, seed=0):
        assert len(set(epoch.ravel())) == 40
    assert set(epochs(4, seed=0).ravel()) == set(range(47))  # what one epoch leaves out, another has


@pytest.mark.parametrize("batch", [1, 10, 47])
def test_labels_stay_with_images(batch):
    for images, labels in data.batches(numbered(47), batch, seed=0, epochs=2).as_numpy_iterator():
        np.testing.assert_allclose(images[:, 0, 0, 0] * 47, labels, atol=1e-4)


def test_batches_have_a_static_shape():
    images, labels = data.batches(numbered(20), 8, seed=0, epochs=1).element_spec
    assert images.shape.as_list() == [8, 4, 4, 1]
    assert labels.shape.as_list() == [8]
    assert (images.dtype, labels.dtype) == ("float32", "int32")


def test_in_order_gives_every_image_once():
    parts = [labels for _, labels in data.in_order(numbered(47), 10).as_numpy_iterator()]
    assert [len(part) for part in parts] == [10, 10, 10, 10, 7]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(47))


def test_a_damaged_prepared_set_is_named(tfds_folder, tmp_path):
    copied = tmp_path / "mnist" / "3.0.1"
    shutil.copytree(tfds_folder / "mnist" / "3.0.1", copied, copy_function=shutil.copyfile)
    records = copied / "mnist-train.tfrecord-00000-of-00001"
    records.chmod(0o600)
    records.write_bytes(records.read_bytes()[:100_000])
    with pytest.raises(InputError, match=r"split train in .*3\.0\.1 is damaged"):
        load("mnist", data_dir=str(tmp_path))


# === Four points ===


def test_four_points():
    found = load("four_points")
    assert found.image_shape == (2, 2, 1)
    assert found.classes == ("1", "2", "3", "4")
    assert len(found.test) == 2000
    np.testing.assert_array_equal(found.test.images[:4].reshape(4, 4), np.eye(4))  # one pixel lit, another each time
    np.testing.assert_array_equal(found.test.labels[:4], np.arange(4))
    assert len(found.train) == 1000 * 512
    np.testing.assert_array_equal(np.bincount(found.train.labels), 4 * [128_000])
    np.testing.assert_array_equal(found.train.images.reshape(-1, 4).argmax(axis=1), found.train.labels)
    np.testing.assert_array_equal(found.train.images.sum(axis=(1, 2, 3)), 1)


# === Binary pixels ===

GREYS = np.tile(np.float32([0, 0.1, 0.5, 1]), (60, 4, 1))[..., None]  # [60, 4, 4, 1]


def drawn(seed: int = 0, **keys) -> np.ndarray:
    """`[batches, 20, 4, 4, 1]` training images of a stream of `GREYS` in batches of 20."""
    split = Split(GREYS, np.arange(60, dtype=np.int32))
    stream = data.batches(split, 20, seed=seed, binarise=True, **{"epochs": 1} | keys)
    return np.array([images for images, _ in stream.as_numpy_iterator()])


def test_training_pixels_are_drawn_with_their_own_value():
    found = drawn(epochs=20)  # 60 steps of 20 images with 4 pixels of each grey
    assert set(np.unique(found)) == {0, 1}
    means = found.mean(axis=(0, 1, 2, 4))
    np.testing.assert_array_equal(means[[0, 3]], [0, 1])  # never, and always
    np.testing.assert_allclose(means[1:3], [0.1, 0.5], atol=0.03)  # 4 standard errors of the second
    ones = found[..., 2, 0].reshape(len(found) * 20, 4)
    assert np.all(np.abs(np.corrcoef(ones.T) - np.eye(4)) < 0.15), "pixels are drawn by themselves"


def test_training_pixels_are_drawn_anew_in_every_epoch():
    split = Split(GREYS[:20], np.arange(20, dtype=np.int32))
    stream = data.batches(split, 20, seed=0, epochs=3, binarise=True).as_numpy_iterator()
    by_place, by_image = zip(*((images, images[np.argsort(labels)]) for images, labels in stream), strict=True)
    for epochs in (by_place, by_image):
        for one, other in itertools.combinations(np.array(epochs), 2):
            assert (one != other)[:, :, 2].mean() == pytest.approx(0.5, abs=0.2)


def test_seed_and_epoch_alone_decide_the_pixels():
    whole = drawn(seed=3, epochs=4)
    np.testing.assert_array_equal(whole, drawn(seed=3, epochs=4))
    np.testing.assert_array_equal(whole[:3], drawn(seed=3, epochs=1))
    np.testing.assert_array_equal(whole[6:], drawn(seed=3, epochs=4, first_epoch=2))  # resumed after two epochs
    assert not np.array_equal(whole, drawn(seed=4, epochs=4))


@pytest.mark.parametrize("labelled_batch", [None, 3])
def test_a_stream_may_begin_within_an_epoch(labelled_batch):
    split = Split(GREYS[:20], np.arange(20, dtype=np.int32) % 3 - 1)
    told = {"seed": 1, "epochs": 3, "labelled_batch": labelled_batch, "binarise": True, "flip": True}
    whole = list(data.batches(split, 4, **told).as_numpy_iterator())
    rest = list(data.batches(split, 4, first_epoch=1, first_step=2, **told).as_numpy_iterator())
    assert len(rest) == 2 * 5 - 2
    for one, other in zip(rest, whole[5 + 2 :], strict=True):
        for array, expected in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
            np.testing.assert_array_equal(array, expected)


def test_labelled_images_have_pixels_of_their_own():
    split = Split(np.full((10, 4, 4, 1), 0.5, np.float32), np.arange(10, dtype=np.int32))
    stream = data.batches(split, 10, seed=0, epochs=1, labelled_batch=10, binarise=True)
    (images, labelled), _ = next(stream.as_numpy_iterator())
    assert set(np.unique(labelled)) == {0, 1}
    assert (images != labelled).mean() == pytest.approx(0.5, abs=0.2)


def test_held_out_pixels_are_drawn_once_and_always_alike(npz):
    path = npz(x_train=GREYS, x_test=GREYS)
    first, second = (
        data.load(DataConfig(name="npz", path=path, batch=1, validation=20, binarise=True), seed=seed)
        for seed in (0, 1)
    )
    plain = load("npz", path=path, validation=20)
    for one, other in ((first.test, second.test), (first.validation, second.validation)):
        np.testing.assert_array_equal(one.images, other.images)
        assert set(np.unique(one.images)) == {0, 1}
    np.testing.assert_array_equal(first.train.images, plain.train.images)  # grey: drawn batch by batch
    assert set(np.unique(plain.test.images)) == set(np.unique(GREYS))
    means = first.test.images.mean(axis=(0, 1, 3))
    np.testing.assert_array_equal(means[[0, 3]], [0, 1])
    np.testing.assert_allclose(means[1:3], [0.1, 0.5], atol=0.13)  # 4 standard errors of the second


def test_images_are_mirrored_at_random():
    images = np.random.default_rng(0).uniform(size=(40, 4, 4, 1)).astype(np.float32)
    split = Split(images, np.arange(40, dtype=np.int32))
    counts = []
    for _ in range(2):
        mirrored = 0
        for batch, labels in data.batches(split, 20, seed=3, epochs=10, flip=True):
            for image, label in zip(batch.numpy(), labels.numpy(), strict=True):
                same = np.array_equal(image, images[label])
                assert same or np.array_equal(image, images[label][:, ::-1])
                mirrored += not same
        counts.append(mirrored)
    assert counts[0] == counts[1]  # the seed decides
    assert 160 <= counts[0] <= 240
