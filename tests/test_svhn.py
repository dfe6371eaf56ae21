"""The SVHN configs from data to export, on images of that set's shape. The real set is not at hand: no number is."""

import numpy as np
import pytest

from tfaae import cards, config, data, evaluate, export, train

SMALL = ["model.units=[24]", "model.discriminator_units=[16]", "data.batch=20", "data.validation=40", "train.epochs=2"]


@pytest.fixture
def svhn(prepare) -> str:
    """A folder with 200 + 60 noisy images, each of its digit's colour."""
    random = np.random.default_rng(0)
    colours = random.integers(20, 236, (10, 3))

    def rows(count):
        for index in range(count):
            image = np.clip(colours[index % 10] + random.normal(0, 12, (32, 32, 3)), 0, 255).astype(np.uint8)
            yield {"id": str(index), "image": image, "label": index % 10}

    return prepare("svhn_cropped", train=list(rows(200)), test=list(rows(60)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "overrides", "measured"),
    [
        ("aae_svhn_supervised", [], "reconstruction_error"),
        ("aae_svhn_semi_supervised", ["data.labelled=50", "data.labelled_batch=20"], "error_percent"),
    ],
)
def test_from_data_to_export(name, overrides, measured, svhn, tmp_path):
    resolved = config.load(config.find(name), [*SMALL, f"data.data_dir={svhn}", "train.xla=false", *overrides])
    found = data.load(resolved.data, resolved.seed)
    assert found.image_shape == (32, 32, 3)
    assert found.labelled == (50 if "semi" in name else 160)
    files = train.run(resolved, tmp_path / "run")
    _, _, model = train.load(files.folder)
    assert int(model.steps) == 2 * 160 // 20
    assert np.isfinite(evaluate.evaluate(model, found)[measured])
    labels = np.arange(10) if model.conditional else None
    sampled = np.asarray(model.sample(None if model.conditional else 10, labels=labels, seed=0))
    assert sampled.shape == (10, 32, 32, 3)
    assert 0 <= sampled.min() <= sampled.max() <= 1
    assert (files.figures / ("clusters.png" if "semi" in name else "style_by_content.png")).is_file()
    card = cards.write("svhn", resolved, model, {}, measured="svhn_cropped", epochs=1, origin=None)
    version, report = export.save(model, tmp_path / "saved", found, card=card, formats=("float32",))
    assert (version / "encoder.tflite").is_file()
    assert max(report.differences.values()) < model.export_limit
