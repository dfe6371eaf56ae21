"""Exports that people deploy: half-size weights, model cards, checksums, the gallery, and verbs without the model."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfaae as package
from tests.cases import CASES
from tests.conftest import TINY_RUN
from tests.test_cli import assert_refused, tfaae
from tfaae import (
    check_export,
    checkout,
    checksums,
    export,
    exported,
    fresh_process,
    gallery,
    records,
    signatures,
    train,
)
from tfaae import config as configs
from tfaae.errors import InputError
from tfaae.models.base import LatentModel
from tfaae.records import Metric, Record, Reference
from tfaae.verification import ROUNDED, Report, check

REPOSITORY = Path(__file__).parent.parent / "saved_models"
KINDS = {"aae-deterministic", "supervised-averaged"}  # without running averages, and with them
METRIC = "sliced_wasserstein_to_prior_mixture"


class Shipped(NamedTuple):
    version: Path
    model: LatentModel  # that was exported
    output: str  # of the command


@pytest.fixture(scope="module")
def shipped(tiny_run, tmp_path_factory) -> Shipped:
    """The tiny run as an experiment's, exported in float16. Tests only read it."""
    folder = tmp_path_factory.mktemp("shipped")
    run = folder / "aae-mnist-priors" / "mixture-1"
    shutil.copytree(tiny_run, run)
    record = Record(
        experiment="aae-mnist-priors",
        command="tfaae reproduce aae-mnist-priors --seeds 0,1 --set model.units=[32]",
        commit="abc1234",
        machine="1 cores",
        versions={"tensorflow": "2.21.0"},
        seconds=60.0,
        seeds=[0, 1],
        selected_on="validation",
        config={"mixture": configs.parse(TINY_RUN).model_dump(mode="json", exclude={"seed"})},
        metrics={METRIC: Metric.of([0.5, 0.25])},
        paper={METRIC: Reference(mean=0.125, source="Someone, table 9")},
        public={},
        notes="Small.",
    )
    (run.parent / "record.json").write_text(record.model_dump_json())
    np.savez(folder / "other.npz", images=np.random.default_rng(0).uniform(size=(40, 8, 8)).astype(np.float32))
    other = ["data.name=npz", f"data.path={folder / 'other.npz'}", "data.batch=5", "data.validation=0"]
    asked = ["--to", folder / "saved_models" / "mine", "--version", 7, "--tflite", "float16", "--weights", "float16"]
    result = tfaae("export", run, *asked, *(word for one in other for word in ("--set", one)))
    assert result.exit_code == 0, result.stderr
    return Shipped(folder / "saved_models" / "mine" / "7", train.load(run)[2], result.stdout)


@pytest.fixture
def copy(shipped, tmp_path, monkeypatch) -> Path:
    """A gallery of one model, `mine`, that a test may break; nothing is loaded to check it."""
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(checkout, "__file__", str(tmp_path / "tfaae" / "checkout.py"))
    monkeypatch.setattr(fresh_process, "check", lambda version: {"outside": []})
    shutil.copytree(shipped.version.parent, tmp_path / "saved_models" / "mine")
    return tmp_path / "saved_models" / "mine" / "7"


# === What is written ===


def test_an_export_holds_what_its_users_need(shipped):
    names = {path.relative_to(shipped.version).as_posix() for path in shipped.version.rglob("*") if path.is_file()}
    assert names == {
        "README.md",
        "SHA256SUMS",
        "assets.extra/tf_serving_warmup_requests",
        "encoder_float16.tflite",
        "fingerprint.pb",
        "generator_float16.tflite",
        "reference.npz",
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    }
    assert "limit 1e-05" in shipped.output


def test_the_card_tells_all_of_it(shipped):
    """What it is, what it was trained on and measured on, numbers beside the paper's, the checksum of every file."""
    card = (shipped.version / "README.md").read_text()
    for told in (
        "\n# AAE on digits\n",
        "name: digits",
        "## Test images of npz",
        "| `encode` | `images [n, 8, 8, 1] float32` | `codes` |",
        "    tfaae reproduce aae-mnist-priors --seeds 0,1 --set model.units=[32]\n",
        "Seed 1; 2 of 2 epochs, ",
        "commit abc1234",
        f"| `{METRIC}` | 0.25 | ",
        " | 0.12 | - |\n",
        f"- `{METRIC}`: 0.125, Someone, table 9.",
        "## Weights in float16",
        f"| {ROUNDED} | ",
        "## Use and limits",
    ):
        assert told in card, told
    stored = records.read("aae-mnist-priors").metrics[METRIC]
    assert f"| 0.25 | {records.value(stored)} | " in card
    assert "The record is of another config: `data.batch`" not in card
    assert "`model.prior` {'name': 'GaussianMixture'" in card
    assert str(shipped.version.parent.parent) not in card
    for path in checksums.files(shipped.version):
        if path.name != "README.md":
            assert hashlib.sha256(path.read_bytes()).hexdigest() in card


def test_other_programs_read_the_checksums(shipped):
    assert checksums.problems(shipped.version) == []
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=shipped.version, check=True)


def test_kernels_take_two_bytes_a_weight_and_lie_there_once(shipped):
    reader = tf.train.load_checkpoint(str(shipped.version / "variables" / "variables"))
    types = reader.get_variable_to_dtype_map()
    shapes = {name: shape for name, shape in reader.get_variable_to_shape_map().items() if types[name] != tf.string}
    kept = [layer.weights for layer in shipped.model.exported()]
    assert sorted(map(tuple, shapes.values())) == sorted(tuple(one.shape) for weights in kept for one in weights)
    for name, shape in shapes.items():
        assert types[name] == (tf.float16 if len(shape) > 1 else tf.float32)


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=name, marks=[pytest.mark.slow] * (name not in KINDS)) for name, case in CASES.items()],
)
def test_weights_in_half_the_size(case):
    """Of every model: they answer as the same weights do that were rounded in place, and nearly as the model does."""
    model = case.build()
    halved, images = export.in_float16(model), case.images(5)
    for own, given in zip(halved.weights[: len(model.weights)], model.weights, strict=True):
        np.testing.assert_array_equal(own, given)  # what is trained is not touched
    rounded = model.averages.weights if model.averages else [one for part in model.exported() for one in part.weights]
    codes = np.asarray(model.encode(images))
    np.testing.assert_allclose(halved.encode(images), codes, atol=0.02 * max(1, np.abs(codes).max()))
    for weight in rounded:
        if len(weight.shape) > 1 and weight.dtype == "float32":
            weight.assign(tf.cast(tf.cast(weight.value, tf.float16), tf.float32))
    np.testing.assert_allclose(halved.encode(images), model.encode(images), atol=1e-6)
    for name, given in signatures.requests(model, images, case.labels(5) % 3).items():
        (wanted,), (got,) = (signatures.signatures(one)[name].function(**given).values() for one in (model, halved))
        np.testing.assert_allclose(got, wanted, atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_model_is_exported_with_half_the_weights(name, tmp_path):
    case = CASES[name]
    version, report = export.save(case.build(), tmp_path / "m", case.data(), weights="float16", formats=("float16",))
    assert max(report.differences.values()) <= report.limit
    assert set(report.errors_of) == {ROUNDED, "float16"}
    assert gallery.problems(version) == []


def test_weights_beyond_float16_fail_the_export_and_leave_what_was_there(tmp_path):
    case = CASES["aae-deterministic"]
    model = case.build()
    model.decoder.weights[0].assign(np.full(model.decoder.weights[0].shape, 1e5))
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "saved_model.pb").write_text("mine")
    with pytest.raises(InputError, match="are not all finite"):
        export.save(model, tmp_path, case.data(), weights="float16", formats=())
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["3", "3/saved_model.pb"]


@pytest.mark.parametrize(("error", "kept"), [(10.4, True), (10.6, False)])
def test_rounding_may_lose_as_little_as_a_smaller_format(error, kept):
    report = Report({}, [], {"reconstruction_error": 10.0}, {ROUNDED: {"reconstruction_error": error}}, 2000, 1e-5)
    if kept:
        check(report)
    else:
        with pytest.raises(InputError, match=r"weights in float16 raises the reconstruction error by 6.0%.*--weights"):
            check(report)


def test_a_file_is_no_folder_for_an_export(tiny_run, tmp_path):
    (tmp_path / "taken").touch()
    assert_refused(tfaae("export", tiny_run, "--to", tmp_path / "taken"), "taken is a file; choose a folder")


# === The verbs of an export ===


def test_an_export_has_the_verbs_of_its_model(shipped):
    loaded, model = package.load(shipped.version.parent), export.in_float16(shipped.model)
    images = np.random.default_rng(1).uniform(size=(5, 8, 8, 1)).astype(np.float32)
    assert (loaded.image_shape, loaded.code_dim, loaded.conditional) == ((8, 8, 1), 2, False)
    codes = loaded.encode(images)
    for got, wanted in (
        (codes, model.encode(images)),
        (loaded.decode(codes), model.decode(codes)),
        (loaded.reconstruct(images), model.reconstruct(images)),
        (loaded.sample(6, seed=3), model.sample(6, seed=3)),
        (loaded.sample(6, seed=[3, 1]), model.sample(6, seed=[3, 1])),
    ):
        assert isinstance(got, np.ndarray)
        np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert not np.array_equal(loaded.sample(6), loaded.sample(6))


def test_an_export_says_what_it_cannot_do(shipped):
    loaded = exported.load(shipped.version)
    images = np.zeros((2, 8, 8, 1), np.float32)
    for ask, told in (
        (lambda: loaded.classify(images), "has no classify; it has decode, encode, reconstruct, sample"),
        (lambda: loaded.encode(images[0]), r"images: expected float32 \[n, 8, 8, 1\] with n above 0, got"),
        (lambda: loaded.encode(images + 2), r"expected pixels in \[0, 1\]"),
        (lambda: loaded.decode(images[:, 0, :2, 0], labels=[1, 2]), "unknown input 'labels'"),
        (lambda: loaded.sample(), "count missing"),
    ):
        with pytest.raises(InputError, match=told):
            ask()


@pytest.mark.parametrize(("name", "verb"), [("supervised-averaged", "sample"), ("clustering", "classify")])
def test_labels_and_classes(name, verb, tmp_path):
    case = CASES[name]
    model, images = case.build(), case.images(4)
    signatures.write(model, tmp_path / "7", [verb, "decode"])
    (tmp_path / "7" / export.LABELS).write_text("a\nb\nc\n")
    loaded = exported.load(tmp_path)
    assert loaded.classes == ("a", "b", "c")
    if verb == "sample":
        assert loaded.conditional
        np.testing.assert_allclose(loaded.sample(4, seed=2), model.sample(labels=[0, 1, 2, 0], seed=2), atol=1e-5)
        with pytest.raises(InputError, match="labels missing"):
            loaded.decode(np.zeros((1, 3)))
    else:
        np.testing.assert_allclose(loaded.classify(images), model.classify(images), atol=1e-5)


def test_a_damaged_export_does_not_load(copy):
    (copy / "saved_model.pb").write_bytes(b"\x00" * 100)
    with pytest.raises(InputError, match=r"mine/7 does not load: .*; `tfaae verify` compares its files"):
        package.load("mine")


# === The commands ===


def test_models_are_listed(copy):
    result = tfaae("models")
    assert result.exit_code == 0, result.stderr
    first, last = result.stdout.splitlines()
    for told in ("mine  AAE  digits  ", " MB  ", f"{METRIC} 0.25", "unsupervised MNIST, codes against 2-D priors"):
        assert told in first
    assert last.endswith(f"in {copy.parent.parent}")
    shutil.rmtree(copy)
    assert_refused(tfaae("models"), "saved_models holds no models; `tfaae export RUN --to saved_models/NAME`")


@pytest.mark.parametrize("name", ["mine", "saved_models/mine", "saved_models/mine/7"])
def test_samples_of_an_export(name, copy, tmp_path, monkeypatch, shipped):
    monkeypatch.chdir(tmp_path)
    result = tfaae("sample", name, "--count", 9, "--seed", 4, "--out", "drawn.npy")
    assert result.exit_code == 0, result.stderr
    np.testing.assert_allclose(np.load("drawn.npy"), shipped.model.sample(9, seed=4), atol=0.01)
    if name == "mine":
        assert tfaae("sample", name, "--count", 9, "--out", "drawn.png").exit_code == 0
        with Image.open("drawn.png") as picture:
            assert min(picture.size) > 24
        assert_refused(tfaae("sample", name), "say where to with --out; an export is left as it is")
    assert checksums.problems(copy) == []


def test_verified_in_a_fresh_process(shipped):
    result = tfaae("verify", shipped.version.parent)
    assert (result.exit_code, result.stdout) == (0, "good   mine, version 7\n"), result.stderr


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda one: (one / "saved_model.pb").write_bytes(b"\0"), "mine, version 7: saved_model.pb was changed"),
        (lambda one: (one / "README.md").write_text("better"), "README.md was changed"),
        (lambda one: (one / "variables" / "variables.index").unlink(), "variables/variables.index is missing"),
        (lambda one: (one / "assets.extra" / "more").touch(), "assets.extra/more is not in SHA256SUMS"),
        (lambda one: (one / "SHA256SUMS").unlink(), "SHA256SUMS is missing: without it"),
        (lambda one: (one / "SHA256SUMS").write_text("hello"), "expected lines as sha256sum writes them, got 'hello'"),
    ],
    ids=["changed", "card", "missing", "extra", "no-list", "no-list-in-it"],
)
def test_a_tampered_file_is_named(change, told, copy):
    assert tfaae("verify").stdout == "good   mine, version 7\n"
    change(copy)
    assert_refused(tfaae("verify"), told)
    assert_refused(tfaae("verify", "mine"), told)


def test_answers_that_are_off_are_told(copy, monkeypatch):
    monkeypatch.setattr(fresh_process, "check", lambda version: {"outside": ["session encode is off by 1.0e+00"]})
    assert_refused(tfaae("verify", "mine"), "mine, version 7: session encode is off by 1.0e+00")
    (copy / check_export.REFERENCE).unlink()
    checksums.write(copy)
    assert_refused(tfaae("verify", "mine"), "reference.npz is missing")


@pytest.mark.parametrize(
    ("value", "wrong"), [(0.5e-5, False), (2e-5, True), (float("inf"), True), (float("nan"), True)]
)
def test_limits_of_a_reference(value, wrong):
    found = {"differences": {"SavedModel encode": value}, "files": [{"file": "encoder_int8.tflite", "difference": 0.1}]}
    limits = {"limit": np.array(1e-5), "limit encoder_int8.tflite": np.array(0.2)}
    told = check_export.outside(found, limits)
    assert len(told) == wrong
    assert all(one.startswith("SavedModel encode is off by") for one in told)
    assert check_export.outside(found, {}) == []  # an export in the making is judged by `verification`


def test_names_that_are_not_there(copy, tmp_path):
    assert_refused(tfaae("verify", "mien"), "unknown model 'mien'; did you mean 'mine'? (choices: mine)")
    assert_refused(tfaae("verify", tmp_path), f"{tmp_path} holds no export (no saved_model.pb)")
    assert_refused(tfaae("verify", "saved_models/other"), "saved_models/other holds no export")
    assert_refused(tfaae("sample", "mien", "--out", "a.png"), "mien holds no run")


def test_an_installed_package_says_where_the_gallery_is(tmp_path, monkeypatch):
    monkeypatch.setattr(checkout, "__file__", str(tmp_path / "tfaae" / "checkout.py"))
    told = "the trained models, saved_models/NAME, live in the repository, and this is an installed package"
    for command in (["models"], ["verify"], ["verify", "aae_swiss_roll"]):
        assert_refused(tfaae(*command), told)
    with pytest.raises(InputError, match=told):
        package.load("aae_swiss_roll")
    assert not gallery.is_export(Path("aae_swiss_roll"))


def test_a_card_without_a_head(tmp_path):
    (tmp_path / "README.md").write_text("# A card\n")
    with pytest.raises(InputError, match=r"README\.md has no head in YAML"):
        gallery.read_head(tmp_path / "README.md")


# === The repository's own ===


@pytest.mark.parametrize("name", gallery.names())
def test_the_gallery_is_as_it_was_made(name):
    version = gallery.find(REPOSITORY / name)
    assert checksums.problems(version) == []
    reader = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    types = set(reader.get_variable_to_dtype_map().values())
    assert tf.float16 in types
    assert {path.stem.partition("_")[2] for path in version.glob("*.tflite")} == {"float16"}


def test_the_gallery_stays_small():
    assert sum(path.stat().st_size for path in REPOSITORY.rglob("*") if path.is_file()) <= 30e6


@pytest.mark.slow
@pytest.mark.parametrize("name", gallery.names())
def test_the_gallery_answers_as_it_did(name):
    found = fresh_process.check(gallery.find(REPOSITORY / name))
    assert found["outside"] == [], json.dumps(found)
