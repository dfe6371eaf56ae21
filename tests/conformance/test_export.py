"""Every model exports: SavedModel and TFLite load without this package and answer as the Keras model does."""

import importlib.util

import numpy as np
import pytest
import tensorflow as tf

from tests.cases import CASES, fit
from tfaae import check_export, export, onnx_files, signatures, tflite, verification
from tfaae.errors import InputError

QUICKLY = {"supervised-averaged", "clustering"}  # one with labels, one with classes
LIMIT = 1e-5
QUICK = {"formats": ("float32",)}  # a conversion takes a second


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICKLY)) for name in CASES]
)
def test_export_agrees(name, tmp_path):
    case = CASES[name]
    model = case.compiled()
    fit(model, case)
    version, report = export.save(model, tmp_path / "name", case.data(), card="# Card\n", **QUICK)
    assert version == tmp_path / "name" / "1"
    assert max(report.differences.values()) <= model.export_limit
    assert {key.split()[1].strip(",") for key in report.differences} == set(signatures.signatures(model))
    assert {path.name for path in version.iterdir()} >= {
        "saved_model.pb",
        "variables",
        "assets.extra",
        "encoder.tflite",
        "generator.tflite",
        "README.md",
    }
    assert (version / "labels.txt").is_file() == bool(model.classes)
    assert [path.name for path in version.parent.iterdir()] == ["1"]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_model_converts_to_every_format(case, tmp_path):
    """Images are noise and weights untrained: what is asked for is that each file loads and gives finite values."""
    version, report = export.save(case.build(), tmp_path, case.data(), keep_inexact=True)
    parts = ["classifier", "encoder", "generator"] if hasattr(case.model, "classify") else ["encoder", "generator"]
    names = {check_export.file_name(part, name) for part in parts for name in tflite.FORMATS}
    assert {file.file for file in report.files} == names == {path.name for path in version.glob("*.tflite")}
    assert set(report.errors_of) == set(tflite.FORMATS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["aae-conv-rgb-spectral", "supervised-averaged", "semi-supervised-options", "avb-adaptive", "reduction-labels"],
)
def test_onnx_answers_as_the_model_does(name, tmp_path):
    """In ONNX Runtime, for many rows and for one."""
    case = CASES[name]
    version, report = export.save(case.build(), tmp_path, case.data(), formats=(), onnx=True)
    parts = ["classifier", "encoder", "generator"] if hasattr(case.model, "classify") else ["encoder", "generator"]
    files = [f"{part}.onnx" for part in parts]
    assert sorted(path.name for path in version.glob("*.onnx")) == files
    assert {key for key in report.differences if "onnx" in key} == {*files, *(f"{file}, one" for file in files)}


def test_onnx_is_an_extra(model_and_data, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="ONNX needs tf2onnx and onnxruntime: pip install"):
        export.save(model_and_data[0], tmp_path / "new", model_and_data[1], onnx=True)
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_model_that_does_not_convert_to_onnx_says_so(tmp_path):
    with pytest.raises(
        InputError, match="signature encode does not convert to ONNX: OSError: SavedModel file does not"
    ):
        onnx_files.write(tmp_path, ["encode"])


@pytest.fixture
def model_and_data():
    case = CASES["aae-deterministic"]
    return case.build(), case.data()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(model, version's folder, report) of version 4, of a model that computes in bfloat16. Tests only read it."""
    case = CASES["aae-deterministic"]
    model, folder = case.build(precision="bfloat16"), tmp_path_factory.mktemp("exported")
    return model, *export.save(model, folder, case.data(), card="# Card\n", version=4, formats=("float32", "int8"))


def test_versions_count_up_and_signatures_are_named(exported):
    model, before, _ = exported
    version, _ = export.save(model, before.parent, CASES["aae-deterministic"].data(), formats=())
    assert (before.name, version) == ("4", before.parent / "5")
    signatures = tf.saved_model.load(str(version)).signatures
    described = {
        name: (sorted(s.structured_input_signature[1]), sorted(s.structured_outputs)) for name, s in signatures.items()
    }
    assert described == {
        "serving_default": (["images"], ["images"]),
        "encode": (["images"], ["codes"]),
        "decode": (["codes"], ["images"]),
        "reconstruct": (["images"], ["images"]),
        "sample": (["count", "seed"], ["images"]),
    }


@pytest.mark.parametrize(
    ("name", "also", "default"),
    [
        ("aae-gaussian-mixture", {"encode_sample"}, "images"),
        ("avb-adaptive", {"encode_sample"}, "images"),
        ("supervised-averaged", set(), "images"),
        ("semi-supervised-paper", {"classify"}, "probabilities"),
        ("clustering", {"classify"}, "probabilities"),
        ("reduction-labels", {"classify"}, "codes"),
    ],
)
def test_a_signature_for_each_verb(name, also, default):
    found = signatures.signatures(CASES[name].build())
    assert set(found) == {"encode", "decode", "reconstruct", "sample", "serving_default"} | also
    assert found["serving_default"].output == default


class Mixing(CASES["aae-deterministic"].model):
    """An AAE that mixes as `StyleMixing` asks for: one style, which is all of one code or of the other."""

    def style_mix(self, codes, sources, *, first, end):
        return self.decode(tf.where((first == 0) & (end > 0), sources, codes))


def test_a_model_that_mixes_styles_has_a_signature_for_it():
    case = CASES["aae-deterministic"]._replace(model=Mixing)
    model, images = case.build(), case.images(4)
    signature = signatures.signatures(model)["style_mix"]
    assert [spec.name for spec in signature.inputs] == ["codes", "sources", "first", "end"]
    codes, sources = model.encode(images), model.encode(images[::-1])
    for first, wanted in ((0, sources), (1, codes)):
        mixed = signature.function(codes=codes, sources=sources, first=tf.constant(first), end=tf.constant(2))
        np.testing.assert_array_equal(mixed["images"], model.decode(wanted))


@pytest.mark.parametrize("name", ["aae-gaussian-mixture", "avb-adaptive"])
def test_a_seed_names_a_draw_of_the_posterior(name):
    """Equal seeds, equal codes, and the model's own seeds do not move: with running averages and without."""
    case = CASES[name]
    model, images = case.build(), case.images(4)
    before = np.array(model.seeds.state)
    first, again, other = (np.asarray(model.encode_sample(images, seed=seed)) for seed in (5, [5, 0], 6))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    np.testing.assert_array_equal(model.seeds.state, before)
    assert not np.allclose(model.encode_sample(images), model.encode_sample(images))


def test_bfloat16_is_exported_in_float32(exported):
    model, version, report = exported
    twin, images = export.in_float32(model), CASES["aae-deterministic"].images()
    assert (model.precision, twin.precision) == ("bfloat16", "float32")
    for own, given in zip(twin.weights, model.weights, strict=True):
        np.testing.assert_array_equal(own, given)
    np.testing.assert_allclose(twin.encode(images), model.encode(images), atol=0.05)
    assert not np.allclose(twin.encode(images), model.encode(images), atol=1e-5)
    assert export.in_float32(twin) is twin
    assert max(report.differences.values()) <= LIMIT
    assert (version / "encoder.tflite").is_file()


# === What a failure leaves behind ===


@pytest.mark.parametrize("folder", ["new/nested", "."])
def test_a_wrong_export_leaves_nothing_behind(model_and_data, tmp_path, monkeypatch, folder):
    def wrong(*_, **__):
        raise InputError("the export differs from the Keras model")

    (tmp_path / "kept").touch()
    monkeypatch.setattr(verification, "verify", wrong)
    with pytest.raises(InputError, match="differs from the Keras model"):
        export.save(model_and_data[0], tmp_path / folder, model_and_data[1], formats=())
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_version_that_exists_is_kept(model_and_data, tmp_path):
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "saved_model.pb").write_text("mine")
    with pytest.raises(InputError, match="3 exists; leave the version out"):
        export.save(model_and_data[0], tmp_path, model_and_data[1], version=3)
    assert (tmp_path / "3" / "saved_model.pb").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["3"]


def test_outputs_that_are_not_finite_fail_the_export(model_and_data, tmp_path):
    model, data = model_and_data
    model.decoder.weights[-1].assign(np.full(model.decoder.weights[-1].shape, np.nan))
    with pytest.raises(InputError, match="images of decode are not all finite"):
        export.save(model, tmp_path / "new", data, formats=())
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "changed", "told"),
    [
        ("reconstruction_error", 10.6, "TFLite int8 raises the reconstruction error by 6.0%, from 10 to 10.6"),
        ("reconstruction_error", float("nan"), "TFLite int8 raises the reconstruction error"),
        ("error_percent", 2.31, "TFLite int8 raises the classification error by 0.31 points, to 2.31 %"),
        ("error_percent", 2.29, None),
        ("reconstruction_error", 10.4, None),
        ("reconstruction_error", 9.0, None),
    ],
)
def test_limits_of_the_smaller_formats(name, changed, told):
    errors = {"reconstruction_error": 10.0, "error_percent": 2.0}
    file = verification.File("encoder_int8.tflite", "encoder", "int8", 1000, 0.1, 0.5)
    report = verification.Report(
        {"SavedModel encode": 0.0}, [file], errors, {"int8": errors | {name: changed}}, 2000, LIMIT
    )
    verification.check(report, keep_inexact=True)
    if told is None:
        verification.check(report)
        assert "Outside" not in report.markdown()
    else:
        with pytest.raises(InputError, match=told.replace("%", ".")):
            verification.check(report)
        assert f"Outside the limits, kept on request: {told}" in report.markdown()


@pytest.mark.parametrize("value", [2e-5, float("nan"), float("inf")])
def test_float32_is_to_be_exact(value):
    file = verification.File("encoder.tflite", "encoder", "float32", 1000, 0.1, value)
    report = verification.Report({"SavedModel encode": 0.0}, [file], {"reconstruction_error": 1.0}, {}, 2000, LIMIT)
    with pytest.raises(InputError, match=r"differs from the Keras model by more than 1e-05: \{'encoder\.tflite'"):
        verification.check(report, keep_inexact=True)
    with pytest.raises(InputError, match="SavedModel encode"):
        verification.check(report._replace(differences={"SavedModel encode": value}, files=[]))


def test_values_that_are_not_finite_are_never_kept():
    file = verification.File("encoder_int8.tflite", "encoder", "int8", 1000, 0.1, float("inf"))
    report = verification.Report({}, [file], {"reconstruction_error": 1.0}, {}, 2000, LIMIT)
    with pytest.raises(InputError, match=r"encoder_int8\.tflite of the export gives values that are not finite"):
        verification.check(report, keep_inexact=True)


def test_a_model_that_does_not_convert_says_so(model_and_data, tmp_path):
    module = tf.Module()
    module.inverse = tf.function(lambda images: {"codes": tf.linalg.inv(images)})
    signature = module.inverse.get_concrete_function(tf.TensorSpec([None, 2, 2], name="images"))
    tf.saved_model.save(module, str(tmp_path / "module"), {"encode": signature})
    with pytest.raises(InputError, match=r"encode does not convert to TFLite float16: .*MatrixInverse"):
        tflite.write(tmp_path / "module", ["float16"], {"encode": {}})
    with pytest.raises(InputError, match="unknown TFLite format 'int9'; did you mean 'int8'"):
        export.save(model_and_data[0], tmp_path / "new", model_and_data[1], formats=("int9",))


# === The verification itself ===


def test_a_difference_is_found(exported):
    """The verification compares numbers: an export of other weights must fail it."""
    case = CASES["aae-deterministic"]
    other = case.build(seed=4)
    with pytest.raises(InputError, match=r"SavedModel decode.*session decode.*generator\.tflite"):
        verification.verify(other, exported[1], verification.reference(other, case.data().test))


@pytest.mark.slow
def test_an_export_that_does_not_load_says_why(model_and_data, tmp_path):
    model, data = model_and_data
    with pytest.raises(InputError, match="does not load in a fresh process"):
        verification.verify(model, tmp_path / "absent", verification.reference(model, data.test))


def test_a_process_that_dies_without_a_word(model_and_data, tmp_path, monkeypatch):
    model, data = model_and_data
    silent = tmp_path / "silent.py"
    silent.write_text("import os; os._exit(9)")
    monkeypatch.setattr(check_export, "__file__", str(silent))
    with pytest.raises(InputError, match="ended with code 9"):
        verification.verify(model, tmp_path, verification.reference(model, data.test))


def test_card_lists_what_was_compared(exported):
    _, version, report = exported
    text = (version / "README.md").read_text()
    assert text.startswith("# Card\n")
    assert all(f"| {name} |" in text for name in report.differences)
    assert all(f"| `{file.file}` | {file.bytes / 1000:.1f} |" in text for file in report.files)
    error = report.errors_of["int8"]["reconstruction_error"]
    assert f"| int8 | {error:.4g} |" in text
    assert error != report.errors["reconstruction_error"]
