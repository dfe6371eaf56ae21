"""Folders of images of any format, mode, size and damage, streamed and in memory: pixels in [0, 1], or a refusal."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image, ImageFile

from tests.fuzz.cases import REFUSED, counts, damaged, hold, outcome
from tfaae import data, image_sources, memory
from tfaae.config import DataConfig

WRITABLE = {
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "JPEG": ["L", "RGB", "CMYK", "YCbCr"],
    "BMP": ["1", "L", "P", "RGB", "RGBA"],
    "GIF": ["1", "L", "P", "RGB"],
    "TIFF": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "F"],
    "WEBP": ["L", "RGB", "RGBA"],
    "EPS": ["L", "RGB"],
    "PPM": ["1", "L", "RGB"],
    "ICO": ["RGBA"],
}
MODES = [(form, mode) for form, modes in WRITABLE.items() for mode in modes]


@st.composite
def picture(draw) -> bytes:
    """An image file of a few pixels: of any mode that its format has, animated, turned, transparent."""
    form, mode = draw(st.sampled_from(MODES))
    width, height = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    kind = {"I": np.int32, "I;16": np.uint16, "F": np.float32}.get(mode, np.uint8)
    random = np.random.default_rng(draw(st.integers(0, 99)))
    if kind is np.uint8:
        image = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).convert(
            "RGB" if mode == "LAB" else mode
        )
        image = Image.frombytes("LAB", image.size, image.tobytes()) if mode == "LAB" else image
    else:
        image = Image.fromarray(
            (random.random((height, width)) * draw(st.sampled_from([1, 2**16, 2**20]))).astype(kind)
        )
    options: dict = {}
    if form in ("GIF", "TIFF", "WEBP", "PNG") and draw(st.booleans()):
        options |= {"save_all": True, "append_images": [image.copy(), image.resize((3, 5))][: draw(st.integers(1, 2))]}
    if form in ("GIF", "PNG") and mode in ("P", "L", "RGB") and draw(st.booleans()):
        options["transparency"] = (0, 0, 0) if mode == "RGB" and form == "PNG" else 0
    if form in ("PNG", "JPEG", "TIFF", "WEBP") and draw(st.booleans()):
        exif = Image.Exif()
        exif[0x112] = draw(st.integers(0, 9))  # orientation
        options["exif"] = exif
    file = io.BytesIO()
    try:
        image.save(file, form, **options)
    except Exception:  # what this format cannot hold
        image.save(file, form)
    return file.getvalue()


CONTENTS = st.one_of(
    picture(), picture().flatmap(damaged), picture().flatmap(damaged), st.binary(max_size=40), st.just(b"")
)
FOLDER = st.dictionaries(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["", "a/", "b/", "a/c/", "éé/"]),  # no name is a file's, too
        st.sampled_from(["x", "y", " ", "-", "é"]),
        st.sampled_from([*image_sources.SUFFIXES, ".PNG", ".txt", ""]),
    ),
    CONTENTS,
    min_size=1,
    max_size=4,
)
KEYS = st.fixed_dictionaries(
    {"size": st.sampled_from([None, 1, 4, 9]), "channels": st.sampled_from([None, 1, 3])},
    optional={"test": st.integers(1, 2), "validation": st.integers(0, 2), "labelled": st.integers(1, 4)},
)


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, contents in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)
    return folder


def pixels(path: Path, **keys) -> list[np.ndarray] | object:
    """What is read of a folder in the end, streamed or not."""

    def read():
        found = data.load(DataConfig(name="folder", path=str(path), batch=1, **keys))
        return [split.in_memory().images for split in found[:3]]

    return outcome(read)


@counts(25, 500)
def test_folders(count, tmp_path_factory):
    def check(files, keys):
        folder = fill(tmp_path_factory.mktemp("folder"), files)
        kept = pixels(folder, **keys)
        streamed = pixels(folder, stream=True, **({"test": 1} | keys))
        if kept is REFUSED:
            return
        for images in kept:
            assert images.dtype == np.float32
            assert images.size == 0 or 0 <= images.min() <= images.max() <= 1
        if "test" in keys:
            for images, others in zip(kept, streamed, strict=True):
                np.testing.assert_array_equal(images, others)

    hold(count, check, files=FOLDER, keys=KEYS)


@counts(20, 400)
def test_one_image(count, tmp_path):
    """Alone, so that no other file hides what becomes of it; its head tells the shape that its pixels have."""

    def check(contents, size, channels):
        path = tmp_path / "x.png"
        path.write_bytes(contents)
        config = DataConfig(name="folder", size=size, channels=channels)
        image, shape = image_sources.read_image(path, config), image_sources._stored_shape(path, config)
        if isinstance(image, str):
            assert image.strip()
            return
        assert image.dtype == np.uint8
        assert image.shape == shape

    sizes, channels = st.sampled_from([None, 1, 5, 16]), st.sampled_from([None, 1, 3])
    hold(count, check, contents=st.one_of(picture(), picture().flatmap(damaged)), size=sizes, channels=channels)


# === What no folder should hold ===


def chunk(kind: bytes, contents: bytes) -> bytes:
    return struct.pack(">I", len(contents)) + kind + contents + struct.pack(">I", zlib.crc32(kind + contents))


def bombs() -> dict[str, bytes]:
    """A few bytes that claim 100 megapixels."""
    side, rows = 10_000, zlib.compress(bytes(10**5))
    jpeg = io.BytesIO()
    Image.new("RGB", (8, 8)).save(jpeg, "JPEG")
    frame = jpeg.getvalue().index(b"\xff\xc0")
    tags = [(256, 4, side), (257, 4, side), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (278, 4, side)]
    entries = b"".join(
        struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in [*tags, (279, 4, side**2 % 2**32)]
    )
    return {
        "png": b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b""),
        "gif": b"GIF89a"
        + struct.pack("<HHBBB", side, side, 0x80, 0, 0)
        + bytes(6)
        + b"\x2c"
        + bytes(8)
        + b"\x00\x02\x00;",
        "bmp": b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, *[0] * 6),
        "jpg": jpeg.getvalue()[: frame + 5] + struct.pack(">HH", side, side) + jpeg.getvalue()[frame + 9 :],
        "tif": b"II*\x00" + struct.pack("<IH", 8, len(entries) // 12) + entries + bytes(4),
    }


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", bombs())
def test_bombs_are_refused_by_their_head(kind, stream, tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("was decoded"))
    (tmp_path / f"bomb.{kind}").write_bytes(bombs()[kind])
    with pytest.raises(data.InputError, match="10000 x 10000 pixels; expected 1 to 67108864 in all"):
        data.load(DataConfig(name="folder", path=str(tmp_path), batch=1, test=1, stream=stream))


def test_postscript_is_no_image(tmp_path, monkeypatch):
    """Pillow would have Ghostscript run it."""
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript ran"))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", "EPS")
    assert pixels(tmp_path, test=1) is REFUSED


@pytest.mark.parametrize("stream", [False, True])
def test_pipes_and_loops(stream, tmp_path):
    """A pipe is not waited for, a link to its own folder is not followed, one to itself is no image."""
    for number in range(3):
        Image.new("L", (4, 4)).save(tmp_path / f"{number}.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert [len(images) for images in pixels(tmp_path, stream=stream, test=1)] == [2, 0, 1]


def test_more_than_memory(tmp_path, monkeypatch):
    """What would not fit is refused before anything is decoded."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("was decoded"))
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    monkeypatch.setattr(memory.os, "sysconf", lambda _: 1000)  # a megabyte
    with pytest.raises(data.InputError, match=r"1 images \[600, 600, 1\] would take 0.0 GiB, this machine has 0.0"):
        data.load(DataConfig(name="folder", path=str(tmp_path), batch=1, size=600))
