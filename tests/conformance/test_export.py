"""Every model exports: SavedModel and TFLite load without this package and answer as the Keras model does."""

import pytest
import tensorflow as tf

from tests.cases import few_by_default, fit
from tfaae import export
from tfaae.errors import InputError


@few_by_default
def test_export_agrees(case, tmp_path):
    model = case.compiled()
    fit(model, case)
    version, differences = export.save(model, tmp_path / "name", case.images(), card="# Card\n")
    assert version == tmp_path / "name" / "1"
    assert max(differences.values()) <= model.export_limit
    assert {path.name for path in version.iterdir()} >= {
        "saved_model.pb",
        "variables",
        "encoder.tflite",
        "generator.tflite",
        "README.md",
    }
    assert [path.name for path in version.parent.iterdir()] == ["1"]


@pytest.fixture
def model_and_images():
    from tests.cases import CASES

    case = CASES["aae-deterministic"]
    return case.build(), case.images()


def test_versions_count_up_and_signatures_are_named(model_and_images, tmp_path):
    model, images = model_and_images
    export.save(model, tmp_path, images)
    version, _ = export.save(model, tmp_path, images)
    assert version == tmp_path / "2"
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


@pytest.mark.parametrize("folder", ["new/nested", "."])
def test_a_wrong_export_leaves_nothing_behind(model_and_images, tmp_path, monkeypatch, folder):
    model, images = model_and_images
    (tmp_path / "kept").touch()
    monkeypatch.setattr(type(model), "export_limit", -1.0)
    with pytest.raises(InputError, match="differs from the Keras model"):
        export.save(model, tmp_path / folder, images)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_difference_is_found(model_and_images, tmp_path):
    """The verification compares numbers: an export of other weights must fail it."""
    model, images = model_and_images
    version, _ = export.save(model, tmp_path, images)
    for weight in model.decoder.trainable_variables:
        weight.assign_add(tf.fill(weight.shape, 0.1))
    with pytest.raises(InputError, match=r"generator\.tflite"):
        export.verify(model, version, images)


def test_an_export_that_does_not_load_says_why(model_and_images, tmp_path):
    model, images = model_and_images
    with pytest.raises(InputError, match="does not load in a fresh process"):
        export.verify(model, tmp_path / "absent", images)


def test_a_process_that_dies_without_a_word(model_and_images, tmp_path, monkeypatch):
    model, images = model_and_images
    silent = tmp_path / "silent.py"
    silent.write_text("import os; os._exit(9)")
    monkeypatch.setattr(export.check_export, "__file__", str(silent))
    with pytest.raises(InputError, match="ended with code 9"):
        export.verify(model, tmp_path, images)


def test_card_lists_the_differences(model_and_images, tmp_path):
    model, images = model_and_images
    version, differences = export.save(model, tmp_path, images, card="# Card\n")
    text = (version / "README.md").read_text()
    assert text.startswith("# Card\n")
    assert all(name in text for name in differences)
