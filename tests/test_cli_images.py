"""Commands that draw what is in the code space, and the one that measures with networks."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.test_cli import assert_refused, tfaae
from tfaae import train
from tfaae.models import AAE

DRAWN = {"edit": "edited", "interpolate": "interpolations", "truncate": "truncated", "reconstruct": "reconstructions"}
NEEDED = {"edit": ["--label", "5"]}


@pytest.fixture
def run(tiny_run, tmp_path) -> Path:
    """A trained run that a test may change."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def draw(command, run, *options):
    result = tfaae(command, run, *NEEDED.get(command, []), *options)
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("command", DRAWN)
def test_a_picture_by_seed(command, run, tmp_path):
    result = draw(command, run)
    file = run / f"{DRAWN[command]}.png"
    assert str(file) in result.stdout
    draw(command, run, "--out", tmp_path / "again.png")
    draw(command, run, "--out", tmp_path / "other.png", "--seed", 1)
    first, again, other = (
        np.asarray(Image.open(path)) for path in (file, tmp_path / "again.png", tmp_path / "other.png")
    )
    np.testing.assert_array_equal(first, again)
    assert first.ndim == 3
    assert first.shape == other.shape
    assert (first != other).any()


def test_edit_tells_how_well_the_direction_tells(run):
    result = draw("edit", run)
    assert "label 5: 9" in result.stdout  # nine of ten digits are no five
    assert "% by the more common answer alone" in result.stdout


@pytest.mark.parametrize("command", [*DRAWN, "mix"])
def test_where_to_is_a_png(command, run):
    assert_refused(
        tfaae(command, run, *NEEDED.get(command, []), "--out", "x.jpg"), "--out takes a .png file, got x.jpg"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["edit", "--label", "five"], ["unknown label 'five'", "choices: 0, 1, 2"]),
        (["edit", "--label", "5", "--count", "300"], ["expected 300 test images or more, there are 299"]),
        (["interpolate", "--count", "150"], ["there are 299"]),
        (["mix"], ["AAE has no styles to mix; StyleALAE has"]),
        (["reconstruct", "--levels", "5"], ["5 levels need 31 images of a size that 16 divides, got 31 of 8 pixels"]),
    ],
)
def test_refused(arguments, told, run):
    command, *options = arguments
    assert_refused(tfaae(command, run, *options), *told)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--network", "vgg16"], "error: VGG16 needs its ImageNet weights: give the local path"),
        ([], "error: the classifier takes images of 10 pixels and more, got 8 x 8"),
    ],
)
def test_networks_that_there_are_not(options, told, run):
    result = tfaae("quality", run, *options)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith(told)
    assert not (run / "quality.json").exists()


class Styled(AAE):
    """An AAE that takes the coordinates of a code for its styles."""

    slots = 2

    def style_mix(self, codes, sources, *, first, end):
        assert (first, end) == (1, 2)
        return self.decode(np.concatenate([codes[:, :1], sources[:, 1:]], axis=1))


def test_mix_of_a_model_with_styles(run, monkeypatch):
    load = train.load

    def styled(folder):
        files, config, model = load(folder)
        model.__class__ = Styled
        return files, config, model

    monkeypatch.setattr(train, "load", styled)
    draw("mix", run, "--first", 1, "--end", 2)
    assert (run / "mixed.png").is_file()
    assert_refused(tfaae("mix", run), "expected styles within 0 to 2, got 0 to 4")


def test_quality_by_codes_alone_needs_no_network(run):
    result = tfaae("quality", run, "--measure", "codes")
    assert result.exit_code == 0, result.output
    found = json.loads((run / "quality.json").read_text())
    assert list(found) == ["short_one_nn_percent", "short_svm_percent"]
    assert f"{found['short_one_nn_percent']:.5g}" in result.stdout
    assert not (run.parent / "networks").exists()


@pytest.mark.filterwarnings("ignore:a Fréchet distance of:UserWarning")
def test_quality_keeps_its_classifier_beside_the_runs(tmp_path):
    images = np.random.default_rng(0).random((60, 12, 12), np.float32)
    labels = np.arange(60) % 2
    np.savez(tmp_path / "mine.npz", x_train=images, y_train=labels, x_test=images[:20], y_test=labels[:20])
    config = tmp_path / "mine.yaml"
    rates = "{name: adam, learning_rate: 1e-3}"
    config.write_text(
        f"data: {{name: npz, path: {tmp_path / 'mine.npz'}, batch: 20}}\n"
        "model: {name: AAE, latent_dim: 2, units: [8], discriminator_units: [8]}\n"
        f"optim: {{reconstruction: {rates}, discriminator: {rates}, generator: {rates}}}\n"
        "train: {epochs: 1, xla: false}\n"
    )
    assert tfaae("train", config, "--out", tmp_path / "runs" / "mine").exit_code == 0
    result = tfaae("quality", tmp_path / "runs" / "mine", "--measure", "fid", "--measure", "lpips", "--count", 40)
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "runs" / "networks").glob("classifier-*.weights.h5"))) == 1
    found = json.loads((tmp_path / "runs" / "mine" / "quality.json").read_text())
    assert list(found) == [
        "fid_generation_classifier",
        "fid_reconstruction_classifier",
        "lpips_unweighted_classifier_reconstruction",
    ]
