"""The explorer without a browser: its folder says what the model does, what it refuses, and its server."""

import base64
import hashlib
import json
import re
import shutil
import threading
import urllib.error
import urllib.request
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from tests.test_cli import assert_refused, tfaae
from tfaae import cards, explorer, signatures, train
from tfaae import config as configs
from tfaae.errors import InputError
from tfaae.image_sources import Split
from tfaae.models import GaussianInference, SupervisedAAE

CODES = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
TEST = Split(np.zeros((40, 8, 8, 1), np.float32), np.arange(40, dtype=np.int32) % 3)


@pytest.fixture(scope="module")
def page(tiny_run, tmp_path_factory) -> Path:
    """The explorer's folder of the tiny run."""
    folder = tmp_path_factory.mktemp("pages") / "page"
    write(tiny_run, folder)
    return folder


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory) -> Path:
    """What the explorer reads of an export of the tiny run: two signatures and the card."""
    folder = tmp_path_factory.mktemp("exports") / "digits"
    _, config, model = train.load(tiny_run)
    save(model, folder / "2")
    card = cards.write("digits", config, model, {"error": 1.0}, measured="digits", epochs=1, origin=None)
    (folder / "2" / "README.md").write_text(card)
    return folder


def write(given: Path, folder: Path) -> None:
    subject = explorer.find(given)
    explorer.write(subject, explorer.load_data(subject), folder)


def save(model, folder: Path) -> None:
    signatures.write(model, folder, ["encode", "decode"])


def decoder(content: bytes):
    return Interpreter(model_content=content).get_signature_runner("decode")


def subject(**model) -> explorer.Subject:
    config = configs.parse({"data": {"name": "digits"}, "model": model, "optim": {}})
    return explorer.Subject("some", config, lambda images: CODES, (8, 8, 1), b"")


# === The folder ===


def test_the_folder_holds_the_page_and_the_model(page, tiny_run, digits):
    model = train.load(tiny_run)[2]
    for file in explorer.WEB.rglob("*"):
        assert (page / str(file.relative_to(explorer.WEB)).removesuffix(".gz")).exists()
    described = json.loads((page / "model.json").read_text())
    assert described["labels"] == digits.test.labels.tolist()
    assert described["classes"] == list(digits.classes)
    assert (described["code_dim"], described["image_shape"], described["content"]) == (2, [8, 8, 1], None)
    codes = np.fromfile(page / "codes.f32", "<f4").reshape(-1, 2)
    np.testing.assert_allclose(codes, model.encode(digits.test.images), atol=1e-5)
    sheet = np.asarray(Image.open(page / "sprite.png"))
    columns = sheet.shape[1] // 8
    for point in (0, columns, len(codes) - 1):
        top, left = 8 * (point // columns), 8 * (point % columns)
        np.testing.assert_allclose(
            sheet[top : top + 8, left : left + 8] / 255, digits.test.images[point, ..., 0], atol=0.002
        )


def test_the_decoder_takes_one_code_and_gives_the_images_of_the_model(page, tiny_run):
    model = train.load(tiny_run)[2]
    decode = decoder((page / "generator.tflite").read_bytes())
    codes = np.float32([[0, 0], [3, -4]])
    assert decode.get_input_details()["codes"]["shape_signature"].tolist() == [1, 2]  # a free batch would be -1
    got = [decode(codes=code[None])["images"][0] for code in codes]
    np.testing.assert_allclose(got, model.decode(codes), atol=1e-5)


def test_an_export_gives_the_same_folder_as_its_run(page, exported, tmp_path):
    for given in (exported, exported / "2"):
        made = tmp_path / given.name
        write(given, made)
        assert json.loads((made / "model.json").read_text())["name"] == "digits, version 2"
        assert (made / "sprite.png").read_bytes() == (page / "sprite.png").read_bytes()
        for code in np.float32([[[0, 0]], [[3, -4]]]):
            first, second = (
                decoder((folder / "generator.tflite").read_bytes())(codes=code)["images"] for folder in (made, page)
            )
            np.testing.assert_allclose(first, second, atol=1e-6)


def test_a_label_is_decoded_beside_the_code(tmp_path):
    model = SupervisedAAE((8, 8, 1), 3, classes=4, units=[8], discriminator_units=[8], seed=0)
    save(model, tmp_path / "1")
    decode = decoder(explorer.one_by_one(tmp_path / "1"))
    for label in range(4):
        got = decode(codes=CODES[:1, :3], labels=np.array([label], np.int32))["images"]
        np.testing.assert_allclose(got, model.decode(CODES[:1, :3], [label]), atol=1e-5)


@pytest.mark.parametrize(
    ("model", "content"),
    [
        ({"name": "AAE", "latent_dim": 5}, None),
        ({"name": "SupervisedAAE", "latent_dim": 5}, {"kind": "label", "size": 0, "names": ["a", "b", "c"]}),
        ({"name": "SemiSupervisedAAE", "latent_dim": 2}, {"kind": "category", "size": 3, "names": ["a", "b", "c"]}),
        (
            {"name": "ClusteringAAE", "latent_dim": 2, "clusters": 3},
            {"kind": "category", "size": 3, "names": ["0", "1", "2"]},  # a cluster is no class
        ),
        ({"name": "DimensionReductionAAE", "latent_dim": 5, "clusters": 3}, None),
    ],
    ids=lambda value: value["name"] if value and "name" in value else "",
)
def test_content_and_style(model, content):
    described = explorer.describe(subject(**model), TEST, CODES, ("a", "b", "c"))
    assert described["content"] == content
    assert {len(direction["vector"]) for direction in described["directions"]} == {model["latent_dim"]}


@pytest.mark.parametrize("dim", [2, 5])
def test_directions_span_the_code_space(dim):
    origin, axes, share = explorer.span(CODES[:, :dim])
    np.testing.assert_allclose(axes @ axes.T, np.eye(dim), atol=1e-5)
    places = (CODES[:, :dim] - origin) @ axes.T
    np.testing.assert_allclose(origin + places @ axes, CODES[:, :dim], atol=1e-5)
    np.testing.assert_allclose(share, places.var(axis=0) / CODES[:, :dim].var(axis=0).sum(), rtol=1e-4)
    if dim > 2:
        assert (np.diff(share) <= 0).all()
        np.testing.assert_allclose(places.mean(axis=0), 0, atol=1e-5)


# === What is refused ===


@pytest.mark.parametrize(
    ("codes", "told"), [(CODES[:, :1], "length 2 or more, got length 1"), (CODES * np.inf, "not all finite")]
)
def test_codes_that_cannot_be_shown(codes, told):
    with pytest.raises(InputError, match=told):
        explorer.describe(subject(name="AAE", latent_dim=codes.shape[1]), TEST, codes, ())


def test_a_model_of_a_density_is_not_explored(tiny_run, monkeypatch):
    files, config, _ = train.load(tiny_run)
    monkeypatch.setattr(train, "load", lambda folder: (files, config, GaussianInference("torus")))
    assert_refused(tfaae("explore", tiny_run, "--no-open"), "a GaussianInference has no decoder to explore")


def test_refused(tiny_run, exported, page, tmp_path):
    new = ("--no-open", "--out", tmp_path / "new")
    assert_refused(tfaae("explore", tiny_run, "--out", page), f"{page} is not an empty folder; choose another --out")
    assert_refused(tfaae("explore", tiny_run, *new, "--set", "seed=1"), "takes other keys of `data` alone")
    assert_refused(
        tfaae("explore", tiny_run, *new, "--set", "data.size=10"),
        "the model takes images [8, 8, 1], digits has [10, 10, 1]; set data.size",
    )
    shutil.copytree(exported / "2", tmp_path / "export" / "1")
    (tmp_path / "export" / "1" / "README.md").write_text("a card without a config")
    assert_refused(tfaae("explore", tmp_path / "export", *new), "quotes no config, so the data are unknown")
    assert not (tmp_path / "new").exists()


# === The page and its server ===


def test_the_command_serves_until_ctrl_c(tiny_run, tmp_path, monkeypatch):
    opened: list[str] = []
    seen: list[str] = []

    def serve(server):
        seen.append(f"http://127.0.0.1:{server.server_port}/")
        raise KeyboardInterrupt

    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", serve)
    monkeypatch.setattr("webbrowser.open", opened.append)
    result = tfaae("explore", tiny_run)
    assert result.exit_code == 0, result.output
    assert opened == seen
    assert seen[0] in result.stdout
    result = tfaae("explore", tiny_run, "--no-open", "--out", tmp_path / "kept")
    assert (result.exit_code, len(opened), len(seen)) == (0, 1, 2)
    assert f"written to {tmp_path / 'kept'}" in result.stdout
    assert (tmp_path / "kept" / "index.html").is_file()


def test_files_have_the_types_that_browsers_insist_on(page):
    with explorer.server(page) as server:
        assert server.server_address[0] == "127.0.0.1"
        threading.Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_port}"
        try:
            for file, kind in {
                "": "text/html",
                "explorer.js": "text/javascript",
                "explorer.css": "text/css",
                "litert/wasm/litert_wasm_compat_internal.wasm": "application/wasm",
                "model.json": "application/json",
            }.items():
                with urllib.request.urlopen(f"{address}/{file}") as answer:
                    assert answer.headers.get_content_type() == kind
            with pytest.raises(urllib.error.HTTPError, match="404") as refused:
                urllib.request.urlopen(f"{address}/../secret")
            refused.value.close()
        finally:
            server.shutdown()


def test_the_policy_of_the_page_lets_its_own_files_in_alone():
    html = (explorer.WEB / "index.html").read_text()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', html)
    (import_map,) = re.findall(r'<script type="importmap">(.*?)</script>', html)
    digest = base64.b64encode(hashlib.sha256(import_map.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy
    assert "default-src 'self'" in policy
    assert "http" not in policy
    for path in json.loads(import_map)["imports"].values():
        assert (explorer.WEB / path).is_file()


def test_the_runtime_is_the_one_that_was_pinned(page):
    folder = page / "litert"
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    pinned = {name: digest for digest, name in (line.split() for line in lines)}
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix in (".js", ".wasm")}
    assert files == set(pinned)
    for name, digest in pinned.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
