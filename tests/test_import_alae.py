"""Checkpoints of the authors become our model: every number, or an error that names the tensor and writes nothing."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from tests.alae_checkpoints import Groups, draw, shapes
from tests.conftest import SHARED
from tests.torch_writer import Global, write_stream, write_zip
from tfaae import cli, export, import_alae, train
from tfaae.errors import InputError
from tfaae.models import StyleALAE

FIXTURES = SHARED / "fixtures" / "alae"
TOLERANCES = {"ema_w": 1e-6, "ema_E": 5e-6, "ema_D": 5e-6, "ema_G": 5e-5, "recon": 5e-5}


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    if not FIXTURES.is_dir():
        pytest.skip(f"{FIXTURES} is absent: nothing to compare with")
    with np.load(FIXTURES / "fake_alae_expected.npz", allow_pickle=False) as file:
        return dict(file)


def answers(model, draws: np.ndarray, images: np.ndarray) -> dict[str, np.ndarray]:
    """What the fixture has for draws z `[n, d]` and images `[n, c, h, w]` in [-1, 1]."""
    codes = model.mapping(draws)
    own = model.encoder(images.transpose(0, 2, 3, 1))
    made, again = (np.transpose(model.decoder(model.styles(w)), (0, 3, 1, 2)) for w in (codes, own))
    return {"ema_w": codes, "ema_G": made, "ema_E": own, "ema_D": model.discriminator(own), "recon": again}


def write(path: Path, models: dict, container=write_zip) -> Path:
    return container(path, {"models": models, "auxiliary": {"tracker": Global("tracker", "RunningMeanTorch")}})


@pytest.mark.parametrize("container", ["zip", "stream"])
def test_outputs_are_the_authors(container, expected, tmp_path):
    path = FIXTURES / "fake_alae_zip.pth"
    if container == "stream":
        groups: Groups = {}
        for key, array in expected.items():
            group, _, name = key.partition("/")
            if group not in ("check", "meta_json"):
                groups.setdefault(group, {})[name] = array
        path = write(tmp_path / "file.pth", groups, write_stream)
    model = import_alae.load(path)
    assert (model.image_shape, model.latent_dim, model.mapping_depth) == ((32, 32, 3), 16, 8)
    assert (model.base_channels, model.max_channels) == (8, 16)
    for name, found in answers(model, expected["check/z"], expected["check/image"]).items():
        np.testing.assert_allclose(found, expected[f"check/{name}"], rtol=0, atol=TOLERANCES[name], err_msg=name)
    np.testing.assert_array_equal(model.mean_code.mean, expected["dlatent_avg/buff"])
    shown = model.reconstruct((expected["check/image"].transpose(0, 2, 3, 1) + 1) / 2)  # the verbs: in [0, 1]
    wanted = np.clip((expected["check/recon"].transpose(0, 2, 3, 1) + 1) / 2, 0, 1)
    np.testing.assert_allclose(shown, wanted, atol=TOLERANCES["recon"])


@pytest.mark.parametrize("name", ["ffhq", "celeba", "celeba-hq256", "bedroom", "mnist"])
def test_drawn_checkpoints_have_the_published_tensors(name):
    """What the tests below write is what the authors' code writes."""
    path = FIXTURES / f"shapes_{name}.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    told = json.loads(path.read_text())
    cfg, groups = told["cfg"], told["groups"]
    widths = (cfg["startf"], cfg["maxf"], cfg["latent_size"], cfg["mapping_layers"], cfg["channels"])
    found = shapes(2 ** (cfg["layer_count"] + 1), *widths)
    assert found == {group: {key: tuple(shape) for key, shape in tensors.items()} for group, tensors in groups.items()}


CONFIGS = [
    {"size": 16, "base": 3, "most": 5, "dim": 6, "depth": 4, "channels": 1},
    {"size": 8, "base": 4, "most": 4, "dim": 2, "depth": 1, "channels": 3},  # the first width is the widest
    {"size": 8, "base": 2, "most": 64, "dim": 5, "depth": 1, "channels": 3},  # nothing reaches the widest
    {"size": 128, "base": 2, "most": 3, "dim": 4, "depth": 2, "channels": 3},  # with fused convolutions
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: str(config["size"]))
def test_every_tensor_lands_where_it_belongs(config, tmp_path):
    """Told by the architecture that the shapes give, and by layouts undone index by index."""
    groups = draw(**config)
    model = import_alae.load(write(tmp_path / "file.pth", groups))
    assert model.image_shape == (config["size"], config["size"], config["channels"])
    assert (model.latent_dim, model.mapping_depth) == (config["dim"], config["depth"])
    for part, group in import_alae.GROUPS.items():
        published = getattr(model, part).published()
        tensors = {name: array for name, array in groups[f"{group}_s"].items() if "blur" not in name}
        assert published.keys() == tensors.keys()
        for name, array in tensors.items():
            found = np.asarray(published[name])
            if part == "discriminator" and name.startswith("map_blocks.2"):
                array = array[config["dim"] :][:1]
            if name == "const":
                np.testing.assert_array_equal(np.moveaxis(found, 3, 1), array)
            elif array.ndim == 4 and found.ndim == 4:
                for place in np.ndindex(array.shape):
                    assert found[place[2], place[3], place[1], place[0]] == array[place]
            else:
                np.testing.assert_array_equal(found, array.T if array.ndim < 3 else array.ravel())
    np.testing.assert_array_equal(model.mean_code.mean, groups["dlatent_avg"]["buff"])


def test_raw_weights_and_those_without_averages(tmp_path):
    groups = draw()
    raw = import_alae.load(write(tmp_path / "file.pth", groups), raw=True)
    kept = {name: group for name, group in groups.items() if not name.endswith("_s")}
    alone = import_alae.load(write(tmp_path / "alone.pth", kept))
    wanted = groups["generator"]["const"].transpose(0, 2, 3, 1)
    for model in (raw, alone):
        np.testing.assert_array_equal(model.decoder.const, wanted)
    assert np.any(groups["generator_s"]["const"] != groups["generator"]["const"])


def test_the_model_is_kept_in_a_file(tmp_path):
    """It has no optimizers: nothing was trained here."""
    model = import_alae.load(write(tmp_path / "file.pth", draw()))
    model.save(tmp_path / "model.keras")
    kept = train.load_model(tmp_path / "model.keras")
    images = model.sample(2, seed=3)
    np.testing.assert_array_equal(kept.sample(2, seed=3), images)
    np.testing.assert_array_equal(kept.encode(images), model.encode(images))
    np.testing.assert_array_equal(kept.mean_code.mean, model.mean_code.mean)


# === What does not fit ===

ZEROS = np.zeros(3, np.float32)


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def without(groups: Groups, group: str, name: str) -> None:
    del groups[group][name]


def put(groups: dict, group: str, name: str, value) -> None:
    groups[group] = groups.get(group, {}) | {name: value}


MISFITS = [
    [
        (without, "generator_s", "decode_block.1.bias_2", "generator: missing decode_block.1.bias_2"),
        (without, "mapping_tl_s", "map_blocks.2.bias", "mapping_tl: missing map_blocks.2.bias"),
        (put, "generator_s", "decode_block.9.blur.weight", ZEROS, "9.blur.weight: expected the binomial kernel, got"),
        (put, "discriminator_s", "encode_block.0.style_1", ZEROS, "unknown 'encode_block.0.style_1'; did you mean"),
        (put, "generator_s", "to_rgb.0.to_rgb.bias", ZEROS * np.nan, "to_rgb.0.to_rgb.bias: holds NaN"),
    ],
    [
        (
            put,
            "generator_s",
            "decode_block.1.conv_2.weight",
            ones(2, 4, 3, 3),
            "[2, 2, 3, 3], got float32 [2, 4, 3, 3]",
        ),
        (
            put,
            "mapping_tl_s",
            "map_blocks.2.weight",
            ones(1, 4),
            "2.weight: expected float32 [8, 4], got float32 [1, 4]",
        ),
        (put, "mapping_fl_s", "map_blocks.0.fc.bias", np.zeros(4), "fc.bias: expected float32 [4], got float64 [4]"),
        (put, "generator_s", "to_rgb.0.to_rgb.bias", 3, "to_rgb.0.to_rgb.bias: expected float32 [3], got int"),
        (put, "generator_s", "decode_block.0.blur.weight", ones(4, 1, 3, 3), "0.blur.weight: expected the binomial"),
    ],
    [(without, "dlatent_avg", "buff", "dlatent_avg.buff: expected float32 [4, 4], got NoneType")],
    [(put, "dlatent_avg", "more", ZEROS, "dlatent_avg: unknown 'more'")],
    [(put, "fader", "x", ZEROS, "unknown groups in `models`: 'fader'")],
    [(without, "mapping_fl_s", "map_blocks.0.fc.weight", "mapping_fl: expected a tensor map_blocks.0.fc.weight")],
    [(put, "mapping_fl_s", "map_blocks.0.fc.weight", ones(4, 9), "F is [4, 9]")],
    [(put, "discriminator_s", "encode_block.1.conv_2.weight", ones(99, 4, 3, 3), "its last [4, 4] -> 99")],
    [(put, "generator_s", "to_rgb.0.to_rgb.weight", ones(2, 4, 1, 1), "(8, 8, 2)")],
    [(put, "generator_s", f"to_rgb.{i}.to_rgb.weight", ZEROS, "expected 2 to 9 tensors") for i in range(10)],
]


@pytest.mark.parametrize("changes", MISFITS)
def test_what_does_not_fit_is_named(changes, tmp_path):
    groups = draw()
    for change, *where, _ in changes:
        change(groups, *where)
    path = write(tmp_path / "file.pth", groups)
    with pytest.raises(InputError) as caught:
        import_alae.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    for *_, told in changes:
        assert told in str(caught.value)


@pytest.mark.parametrize(
    ("contents", "told"),
    [
        ({"state_dict": {"weight": ZEROS}}, "got ['state_dict']"),
        ({"models": {"generator_ema": {"x": ZEROS}}}, "no checkpoint of ALAE"),
        ({"models": {"generator": {"x": ZEROS}}}, "`models` has no group mapping_fl"),
        ({"models": [1]}, "no checkpoint of ALAE"),
        ([1], "got list"),
        ({1: 2, "a": 3}, "got ['1', 'a']"),
    ],
)
def test_foreign_checkpoints(contents, told, tmp_path):
    path = write_zip(tmp_path / "file.pth", contents)
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        import_alae.load(path)
    assert told in str(caught.value)


# === The command ===


def command(*arguments: object):
    return CliRunner().invoke(cli.main, ["import-alae", *map(str, arguments)])


@pytest.mark.parametrize("content", ["misfit", "cut", "none"])
def test_a_failure_writes_nothing(content, tmp_path):
    path = tmp_path / "file.pth"
    if content == "misfit":
        groups = draw()
        without(groups, "generator_s", "decode_block.1.bias_2")
        write(path, groups)
    elif content == "cut":
        path.write_bytes(write(path, draw()).read_bytes()[:5000])
    ran = command(path, "--to", tmp_path / "made" / "alae")
    assert ran.exit_code == 2
    assert f"error: {'no file ' if content == 'none' else ''}{path}" in ran.stderr
    assert not (tmp_path / "made").exists()


@pytest.mark.slow
@pytest.mark.parametrize("size", [8, 128])
def test_export(size, tmp_path):
    """`export.save` compares SavedModel and TFLite with the model, in a process that does not import this package."""
    path = write(tmp_path / "file.pth", draw(size=size))
    ran = command(path, "--to", tmp_path / "alae")
    assert ran.exit_code == 0, ran.output
    version = tmp_path / "alae" / "1"
    assert "verified in a fresh process" in ran.stdout
    names = {"saved_model.pb", "encoder.tflite", "generator.tflite", "README.md", "model.keras"}
    assert names <= {path.name for path in version.iterdir()}
    model = train.load_model(version / "model.keras")
    images = model.sample(2, seed=3)
    served = tf.saved_model.load(str(version)).signatures["encode"](images=images)["codes"]
    np.testing.assert_allclose(served, model.encode(images), atol=1e-5)
    assert "averaged weights" in (version / "README.md").read_text()


def test_a_model_that_cannot_be_kept_leaves_nothing(tmp_path, monkeypatch):
    def export_alone(model, folder, data, **kwargs):
        (folder / "1").mkdir(parents=True)
        return folder / "1", {}

    def fail(self, path):
        Path(path).write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(export, "save", export_alone)
    monkeypatch.setattr(StyleALAE, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        import_alae.save(write(tmp_path / "file.pth", draw()), tmp_path / "alae")
    assert not (tmp_path / "alae" / "1").exists()
