"""The latent explorer: a folder of static files that shows a code space in a browser, and a server for it.

The page decodes by the signature `decode` of the export, as a `.tflite` file, on LiteRT for the web
(`tfaae/web/litert`). Dense layers alone would need no runtime: a few lines of JavaScript multiply matrices within a
millisecond. But an exported decoder is a graph, not a list of layers, many are convolutional, and a decoder written
twice would have to be kept equal; so there is one way for all of them. The runtime lies in the package, at a pinned
version and in its build for any browser: 3 MB of a wheel, so that the page works where no registry can be reached, and
asks nothing of any machine but the one it is served from.
"""

import gzip
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from tfaae import config as configs
from tfaae import data as sources
from tfaae import export, figures, gallery, metrics, signatures, tflite, train
from tfaae.config import Config
from tfaae.data import Data, Split
from tfaae.errors import InputError, choose
from tfaae.exported import ExportedModel
from tfaae.models import LatentModel, final_models

WEB = Path(__file__).parent / "web"
SHOWN = 2500  # test images, at most
DIRECTIONS = 20  # to choose from, at most, of codes of more than two numbers


class Subject(NamedTuple):
    """What is explored, whether it came as a run or as an export."""

    name: str
    config: Config
    encode: Callable[[np.ndarray], Any]  # [n, h, w, c] images -> [n, code_dim] codes
    image_shape: tuple[int, ...]
    generator: bytes  # a `.tflite` file with the signature `decode`


# === What is explored ===


def find(path: Path, overrides: Iterable[str] = ()) -> Subject:
    """The model of a run, or of an export: `NAME/<version>`, or the newest version of `NAME`.

    `overrides`: of its config, `data.path=faces` say.

    Raises:
        InputError: neither is there, the run has no checkpoint, or the model has no decoder.
    """
    return _of_export(gallery.find(path), overrides) if gallery.is_export(path) else _of_run(path, overrides)


def _of_run(folder: Path, overrides: Iterable[str]) -> Subject:
    files, _, model = train.load(folder)
    if not isinstance(model, LatentModel):
        raise InputError(f"a {type(model).__name__} has no decoder to explore; `tfaae sample` draws")
    model = export.in_float32(model)
    config = configs.load(files.config, overrides)
    return Subject(folder.absolute().name, config, model.encode, model.image_shape, _exported_decoder(model))


def _of_export(folder: Path, overrides: Iterable[str]) -> Subject:
    config = _config_of_card(folder / "README.md", overrides)
    model = ExportedModel(folder)
    return Subject(
        f"{folder.absolute().parent.name}, version {folder.name}",
        config,
        model.encode,
        model.image_shape,
        one_by_one(folder),
    )


def _config_of_card(card: Path, overrides: Iterable[str]) -> Config:
    """The config that a model card quotes."""
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    found = re.search(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    if not found:
        raise InputError(f"{card} quotes no config, so the data are unknown; explore the run, or export it again")
    return configs.read(found[1], str(card), overrides)


def _exported_decoder(model: LatentModel) -> bytes:
    """`one_by_one` of what an export of the model would hold."""
    with tempfile.TemporaryDirectory() as work:
        signatures.write(model, Path(work), ["decode"])
        return one_by_one(Path(work))


def one_by_one(folder: Path) -> bytes:
    """The signature `decode` of the SavedModel in a folder as a `.tflite` file that takes one code at a time.

    LiteRT for the web refuses a free batch, and gives noise where a shape is computed from it.
    """
    loaded = tf.saved_model.load(str(folder))
    decode = loaded.signatures["decode"]
    inputs = decode.structured_input_signature[1]
    specs = {name: tf.TensorSpec([1, *spec.shape[1:]], spec.dtype, name) for name, spec in inputs.items()}
    module = tf.Module()
    module.loaded = loaded  # its weights are saved with what is tracked
    single = tf.function(lambda **given: decode(**given)).get_concrete_function(**specs)
    with tempfile.TemporaryDirectory() as work:
        tf.saved_model.save(module, work, signatures={"decode": single})
        (written,) = tflite.write(Path(work), ["float32"], {"decode": {}})
        return written.read_bytes()


# === The folder ===


def check_free(folder: Path) -> None:
    """Raises an InputError unless the folder is new or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not an empty folder; choose another --out, or remove it")


def load_data(subject: Subject) -> Data:
    """The data of a subject's config, if its images fit the model."""
    data = sources.load(subject.config.data, subject.config.seed)
    if data.image_shape != subject.image_shape:
        raise InputError(
            f"the model takes images {list(subject.image_shape)}, {subject.config.data.name} has "
            f"{list(data.image_shape)}; set data.size and data.channels"
        )
    return data


def write(subject: Subject, data: Data, folder: str | Path) -> None:
    """Writes page, decoder, and the codes, labels and thumbnails of up to 2,500 test images; any web server will do.

    Raises:
        InputError: the folder is in use, or codes are no plane or not finite.
    """
    folder = Path(folder)
    check_free(folder)
    test = data.test.take(slice(SHOWN))
    codes = np.asarray(metrics.batched(subject.encode, test.images), np.float32)
    described = describe(subject, test, codes, data.classes)
    sheet = np.round(255 * figures.sprite(test.images)).astype(np.uint8)
    _copy_page(folder)
    (folder / "generator.tflite").write_bytes(subject.generator)
    codes.astype("<f4").tofile(folder / "codes.f32")
    Image.fromarray(sheet.squeeze(-1) if sheet.shape[2] == 1 else sheet).save(folder / "sprite.png")
    (folder / "model.json").write_text(json.dumps(described), encoding="utf-8")


def _copy_page(folder: Path) -> None:
    """The page's own files; what is packed in the package is unpacked."""
    shutil.copytree(WEB, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.gz"))
    for packed in WEB.rglob("*.gz"):
        (folder / packed.relative_to(WEB).with_suffix("")).write_bytes(gzip.decompress(packed.read_bytes()))


def describe(subject: Subject, test: Split, codes: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """What the page reads beside codes and pictures.

    A code is its `content`, the first so many of its numbers, a category as one-hot, and then the style, which
    `directions` (orthogonal, of length 1) through `origin` span. A content of the kind `label` is no part of the code:
    the decoder reads it beside it.
    """
    if not np.isfinite(codes).all():
        raise InputError("the model's codes are not all finite: train it anew before exploring it")
    model = subject.config.model
    categories = codes.shape[1] - int(model.get("latent_dim", codes.shape[1]))  # type: ignore[arg-type]
    style = codes[:, categories:]
    if style.shape[1] < 2:
        raise InputError("the explorer moves in a plane: expected codes of length 2 or more, got length 1")
    names = [str(name) for name in range(categories)] if "clusters" in model else list(classes)
    kind = "label" if final_models()[choose("model", str(model["name"]), final_models())].conditional else "category"
    origin, directions, share = span(style)
    return {
        "name": subject.name,
        "model": model["name"],
        "data": subject.config.data.name,
        "image_shape": list(subject.image_shape),
        "code_dim": codes.shape[1],
        "labels": test.labels.tolist(),
        "classes": list(classes),
        "content": {"kind": kind, "size": categories, "names": names} if categories or kind == "label" else None,
        "origin": origin.tolist(),
        "directions": [
            {"name": f"axis {at + 1}", "vector": vector.tolist(), "share": float(share[at])}
            for at, vector in enumerate(directions)
        ],
    }


def span(style: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where planes cross `[d]`, directions `[k, d]`, and the share of the variance of `[n, d]` styles along each `[k]`.

    A plane keeps its own axes; of more dimensions, the principal axes of the styles.
    """
    dim = style.shape[1]
    origin = np.zeros(dim) if dim == 2 else style.mean(axis=0)
    axes = np.eye(dim) if dim == 2 else np.linalg.svd(style - origin, full_matrices=False)[2]
    spread = ((style - style.mean(axis=0)) @ axes.T).var(axis=0)
    share = spread / max(spread.sum(), np.finfo(np.float32).tiny)
    return origin, axes[:DIRECTIONS], share[:DIRECTIONS]


# === The server ===


class Handler(SimpleHTTPRequestHandler):
    """Files with the types that browsers insist on, looked for anew at every visit; no log."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".js": "text/javascript", ".wasm": "application/wasm"}

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def server(folder: Path) -> ThreadingHTTPServer:
    """Of a folder, on a free port of this machine alone; `serve_forever` starts it."""
    return ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
