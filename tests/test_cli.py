"""The command line: what it prints, what it refuses in one line, and what it leaves on disk."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import click
import keras
import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image

from tests.conftest import TINY_RUN
from tfaae import config as configs
from tfaae import data, train
from tfaae.cli import main
from tfaae.errors import InputError
from tfaae.models import AAE, GaussianInference

COMMANDS = sorted(main.commands)


def tfaae(*arguments: object) -> Result:
    """The command in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def process(*arguments: object, **options) -> subprocess.Popen:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "tfaae", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def assert_refused(result: Result, *told: str) -> None:
    """Exit code 2, one line on stderr that tells all that is asked for, no traceback."""
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    for part in told:
        assert part in result.stderr


@pytest.fixture
def config(tmp_path) -> Path:
    """The YAML file of the tiny run."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY_RUN))
    return path


@pytest.fixture
def run(tiny_run, tmp_path) -> Path:
    """A trained run that a test may change."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


# === Help ===


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command):
    result = tfaae(command, "--help")
    assert result.exit_code == 0
    assert f"Example: tfaae {command}" in result.stdout
    assert all(parameter.help for parameter in main.commands[command].params if isinstance(parameter, click.Option))


def test_help_of_the_group_names_every_command():
    result = tfaae("--help")
    assert result.exit_code == 0
    assert "tfaae train" in result.stdout
    assert all(f"  {command} " in result.stdout for command in COMMANDS)


def test_help_and_configs_do_not_import_tensorflow():
    script = """
import sys
from tfaae.cli import main
for arguments in [["--help"], ["--version"], ["configs"], *([name, "--help"] for name in main.commands)]:
    main(arguments, standalone_mode=False)
sys.exit(" ".join({"tensorflow", "keras", "tensorflow_probability"} & sys.modules.keys()) or 0)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


# === Errors ===


def test_an_unexpected_error_is_one_line_too(config, tmp_path, monkeypatch):
    """A mistake of this package's own: exit code 1, and where to look."""

    def broken(*arguments):
        raise KeyError("lost")

    monkeypatch.setattr(train, "build", broken)
    result = tfaae("train", config, "--out", tmp_path / "new")
    assert result.exit_code == 1
    assert result.stderr == "error: unexpected KeyError (`tfaae --debug` shows where): 'lost'\n"
    assert isinstance(tfaae("--debug", "train", config, "--out", tmp_path / "new").exception, KeyError)


@pytest.mark.parametrize("word", ["a\rb", "a\nb"])
def test_a_word_that_click_refuses_is_one_line(word):
    result = tfaae("configs", "one", word)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert "a b" in result.stderr.splitlines()[-1]


def test_relative_paths_hold_in_another_folder(tmp_path, monkeypatch):
    np.savez(tmp_path / "mine.npz", images=np.random.default_rng(0).uniform(size=(40, 8, 8)).astype(np.float32))
    data_keys = {"name": "npz", "path": "mine.npz", "batch": 10}
    (tmp_path / "mine.yaml").write_text(
        yaml.safe_dump(TINY_RUN | {"data": data_keys, "train": {"epochs": 1, "xla": False}})
    )
    monkeypatch.chdir(tmp_path)
    assert tfaae("train", "mine.yaml", "--out", "run").exit_code == 0
    monkeypatch.chdir(tmp_path.parent)
    result = tfaae("evaluate", tmp_path / "run")
    assert result.exit_code == 0, result.stderr


def test_a_model_of_a_density_is_not_exported(run, tmp_path, monkeypatch):
    files, resolved, _ = train.load(run)
    monkeypatch.setattr(train, "load", lambda folder: (files, resolved, GaussianInference("torus")))
    assert_refused(
        tfaae("export", run, "--to", tmp_path / "new"), "a GaussianInference has neither encoder nor decoder"
    )
    assert not (tmp_path / "new").exists()


def test_an_error_of_a_real_process_is_one_line():
    ran = process("configs", "aae_digit")
    stdout, stderr = ran.communicate(timeout=60)
    assert (ran.returncode, stdout) == (2, "")
    assert stderr == "error: no config aae_digit; did you mean 'aae_digits'? (`tfaae configs` lists them)\n"


def test_debug_shows_the_traceback():
    ran = process("--debug", "configs", "aae_digit")
    _, stderr = ran.communicate(timeout=60)
    assert ran.returncode == 1
    assert "Traceback" in stderr
    assert "InputError: no config aae_digit" in stderr
    assert isinstance(tfaae("--debug", "configs", "aae_digit").exception, InputError)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("train.epoch=3", ["train.epoch: unknown key; did you mean 'epochs'?"]),
        ("train.epochs=0", ["train.epochs: should be greater than or equal to 1"]),
        ("model.name=aae", ["unknown model 'aae'; did you mean 'AAE'?"]),
        ("model={latent_dim: 2}", ["model: missing name"]),
        ("model={name: AAE}", ["model AAE: missing argument 'latent_dim'"]),
        ("model.latent_dims=3", ["model AAE: unknown argument 'latent_dims'; did you mean 'latent_dim'?"]),
        ("model.latent_dim=abc", ["model AAE: latent_dim: expected an integer, got 'abc'"]),
        ("model.latent_dim=0", ["latent_dim"]),
        ("model.units=[32, x]", ["model AAE: units.1: expected an integer, got 'x'"]),
        ("model.units=[]", ["units"]),
        ("model.units=[0]", ["units"]),
        ("model.discriminator_units=[0]", ["discriminator_units"]),
        ("model.arch=cnv", ["model AAE: arch: should be 'mlp', 'conv', 'conv1' or 'conv0', got 'cnv'"]),
        ("model.likelihood=l2", ["likelihood: should be 'bernoulli' or 'squared', got 'l2'"]),
        ("model.posterior=gauss", ["posterior: should be 'deterministic', 'gaussian' or 'implicit', got 'gauss'"]),
        ("model.spectral_norm=1", ["spectral_norm: expected true or false, got 1"]),
        ("model.dropout=1.0", ["dropout", "got 1.0"]),
        ("model.dropout=-0.1", ["dropout", "got -0.1"]),
        ("model.input_noise=-1.0", ["noise", "got -1.0"]),
        ("model.discriminator_noise=-1.0", ["noise", "got -1.0"]),
        ("model.initial_std=0.0", ["initial_std", "got 0.0"]),
        ("model.image_shape=[8, 8]", ["image_shape"]),
        ("model.prior=Norml", ["unknown prior 'Norml'; did you mean 'Normal'?", "SwissRoll", "Uniform"]),
        ("model.prior=5", ["prior: expected a name, a mapping or a Prior, got 5"]),
        ("model.prior={noise: 1}", ["prior: expected a name or a mapping with a `name`"]),
        ("model.prior={name: SwissRoll, nois: 1}", ["unknown argument 'nois'; did you mean 'noise'?"]),
        ("model.prior={name: SwissRoll, noise: abc}", ["prior SwissRoll: noise: expected a number, got 'abc'"]),
        ("model.prior={name: SwissRoll, noise: -1}", ["prior SwissRoll: noise must be at least 0, got -1"]),
        ("model.prior={name: Normal, dim: 3}", ["codes of length 3, latent_dim is 2"]),
        ("optim.generatr={name: adam}", ["unknown phase in optim of AAE", "did you mean 'generator'?"]),
        ("optim={reconstruction: {name: adam}}", ["one optimizer for each phase", "'generator'"]),
        ("optim.generator.name=adamm", ["optim.generator", "did you mean 'adam'?"]),
        ("optim.generator.beta1=0.5", ["optim.generator adam: unknown argument 'beta1'; did you mean 'beta_1'?"]),
        ("optim.generator.beta_1=x", ["optim.generator.beta_1: expected a number, got 'x'"]),
        ("optim.generator.learning_rate=-1", ["optim.generator.learning_rate: expected a number above 0"]),
        ("optim.generator.learning_rate=fast", ["optim.generator.learning_rate: expected a number above 0"]),
        ("data.name=digit", ["unknown data set 'digit'; did you mean 'digits'?"]),
        ("data.batch=5000", ["do not fill one batch of 5000"]),
        ("data.validation=5000", ["cannot hold out 5000"]),
        ("data.channels=2", ["data.channels: should be 1 (grey) or 3 (RGB), got 2"]),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_made(override, told, config, tmp_path):
    out = tmp_path / "out"
    assert_refused(tfaae("train", config, "--out", out, "--set", override), *told)
    assert not out.exists()


def test_all_wrong_arguments_of_a_model_are_told_at_once(config, tmp_path):
    wrong = ["--set", "model.latent_dim=abc", "--set", "model.unit=[3]", "--set", "model.dropout=high"]
    assert_refused(tfaae("train", config, "--out", tmp_path / "out", *wrong), "latent_dim", "'units'", "dropout")


@pytest.mark.parametrize(
    ("name", "told"), [("aae_digit", "did you mean 'aae_digits'?"), ("nothing/like/it", "`tfaae configs` lists them")]
)
def test_an_unknown_config(name, told, tmp_path):
    assert_refused(tfaae("train", name, "--out", tmp_path / "out"), told)


@pytest.mark.parametrize("holds", ["run", "file", "other files"])
def test_a_folder_that_is_taken_is_refused_before_data_are_read(holds, config, tmp_path, monkeypatch):
    out = tmp_path / "out"
    if holds == "file":
        out.write_text("")
    else:
        out.mkdir()
        (out / {"run": "config.yaml", "other files": "notes.txt"}[holds]).write_text("")
    monkeypatch.setattr(data, "load", None)
    told = "already holds a run" if holds == "run" else "is not an empty folder"
    assert_refused(tfaae("train", config, "--out", out), f"{out} {told}; choose another --out")


@pytest.mark.parametrize(
    "command", [["evaluate"], ["sample"], ["export", "--to", "exported"], ["explore", "--no-open"]], ids=lambda c: c[0]
)
def test_commands_that_need_a_run(command, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, *rest = command
    assert_refused(tfaae(name, "nowhere", *rest), "nowhere holds no run (no config.yaml)", "tfaae train CONFIG")
    (run / "checkpoint.keras").write_bytes((run / "checkpoint.keras").read_bytes()[:2000])
    assert_refused(tfaae(name, run, *rest), "checkpoint.keras is damaged or not a .keras file")
    (run / "checkpoint.keras").unlink()
    assert_refused(tfaae(name, run, *rest), "holds no checkpoint: training stopped before its first one")
    assert not Path("exported").exists()


@pytest.mark.parametrize("command", [["evaluate"], ["export", "--to", "exported"]], ids=lambda c: c[0])
@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("data.size=16", "the model takes images [8, 8, 1], digits has [16, 16, 1]; set data.size and data.channels"),
        ("data.channels=3", "the model takes images [8, 8, 1], digits has [8, 8, 3]"),
        ("data.name=digit", "did you mean 'digits'?"),
        ("data.sizes=8", "data.sizes: unknown key; did you mean 'size'?"),
        ("model.latent_dim=3", "a trained run takes other keys of `data` alone"),
    ],
)
def test_data_that_do_not_fit_a_run(command, override, told, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, *rest = command
    assert_refused(tfaae(name, run, *rest, "--set", override), told)
    assert not Path("exported").exists()


def test_evaluate_on_other_data(run, tmp_path):
    images = np.random.default_rng(0).random((40, 9, 12), np.float32)
    np.savez(tmp_path / "other.npz", x_train=images, x_test=images)
    other = ["--set", "data.name=npz", "--set", f"data.path={tmp_path / 'other.npz'}", "--set", "data.batch=1"]
    assert_refused(tfaae("evaluate", run, *other, "--set", "data.validation=0"), "images are 9 x 12", "set data.size")
    result = tfaae("evaluate", run, *other, "--set", "data.validation=0", "--set", "data.size=8")
    assert result.exit_code == 0, result.output


# === Checkpoints that are not this package's ===


def rewrite(checkpoint: Path, edit) -> None:
    """Changes the description of a model in a `.keras` file, and nothing else."""
    with zipfile.ZipFile(checkpoint) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    described = json.loads(files["config.json"])
    edit(described)
    files["config.json"] = json.dumps(described).encode()
    with zipfile.ZipFile(checkpoint, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def system(bait: Path) -> dict:
    return {"module": "os", "class_name": "system", "config": f"touch {bait}", "registered_name": "system"}


def trap(bait: Path) -> dict:
    """A Lambda layer that touches the bait when it is called."""
    layer = keras.layers.Lambda(lambda x, bait=str(bait): [open(bait, "w").close(), x][1], output_shape=(1,))
    return keras.saving.serialize_keras_object(layer)


ATTACKS = {
    "optimizer is a function": lambda d, bait: d["compile_config"]["optimizers"].update(generator=system(bait)),
    "optimizer is a Lambda": lambda d, bait: d["compile_config"]["optimizers"].update(generator=trap(bait)),
    "learning rate is a function": lambda d, bait: d["compile_config"]["optimizers"]["generator"]["config"].update(
        learning_rate=system(bait)
    ),
    "learning rate is a Lambda": lambda d, bait: d["compile_config"]["optimizers"]["generator"]["config"].update(
        learning_rate=trap(bait)
    ),
    "prior is a function": lambda d, bait: d["config"].update(prior=system(bait)),
    "prior is a Lambda": lambda d, bait: d["config"].update(prior=trap(bait)),
    "foreign class": lambda d, bait: d.update(registered_name="other>AAE"),
    "no class": lambda d, bait: d.clear(),
    "wrong type": lambda d, bait: d["config"].update(latent_dim="2"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_manipulated_checkpoint_runs_nothing(attack, run, tmp_path):
    bait = tmp_path / "bait"
    rewrite(run / "checkpoint.keras", lambda described: ATTACKS[attack](described, bait))
    assert_refused(tfaae("sample", run))
    assert not bait.exists()


def test_a_foreign_model_with_a_lambda_runs_nothing(run, tmp_path):
    bait = tmp_path / "bait"
    layer = keras.layers.Lambda(lambda x, bait=str(bait): [open(bait, "w").close(), x][1], output_shape=(1,))
    inputs = keras.Input((1,))
    foreign = keras.Model(inputs, layer(inputs))
    bait.unlink(missing_ok=True)  # building it has sprung the trap
    foreign.save(run / "checkpoint.keras")
    assert_refused(tfaae("sample", run), "'Functional', which is no model of tfaae")
    assert not bait.exists()


# === What the commands do ===


def test_dry_run_prints_the_resolved_config_and_makes_nothing(config, tmp_path):
    result = tfaae(
        "train", config, "--out", tmp_path / "out", "--dry-run", "--set", "model.dropout=0.5", "--set", "seed=9"
    )
    assert result.exit_code == 0
    resolved = yaml.safe_load(result.stdout)
    assert (resolved["seed"], resolved["model"]["dropout"], resolved["train"]["xla"]) == (9, 0.5, "auto")
    assert not (tmp_path / "out").exists()
    config.write_text(result.stdout)
    assert tfaae("train", config, "--out", tmp_path / "out", "--dry-run").stdout == result.stdout


def test_configs_lists_and_prints():
    listed = tfaae("configs")
    assert listed.exit_code == 0
    for line in listed.stdout.splitlines():
        name, first = line.split(maxsplit=1)
        assert tfaae("configs", name).stdout.startswith(f"# {first}\n")


def test_train_tells_where_everything_is(config, tmp_path):
    out = tmp_path / "deep" / "out"
    result = tfaae(
        "train", config, "--out", out, "--set", "train={epochs: 1, xla: false}", "--set", "data.validation=0"
    )
    assert result.exit_code == 0, result.output
    chosen = "XLA off (as told by train.xla), precision float32, FusedAdam, encoder's pass shared, 1 step per execution"
    assert chosen in result.stdout.splitlines()
    for name in ("checkpoint.keras", "figures", "history.csv"):
        assert f"{out / name}\n" in result.stdout
        assert (out / name).exists()
    assert f"tensorboard --logdir {out}" in result.stdout
    assert int(train.load(out)[2].steps) == 14  # one epoch: 1,498 images in batches of 100


def test_evaluate_prints_and_writes_the_same_numbers(run):
    result = tfaae("evaluate", run)
    assert result.exit_code == 0, result.output
    values = json.loads((run / "metrics.json").read_text())
    printed = dict(line.split() for line in result.stdout.splitlines()[:-1])
    assert printed == {name: f"{value:.5g}" for name, value in values.items()}
    assert {"test_reconstruction", "reconstruction_error", "sliced_wasserstein_to_prior"} <= values.keys()
    assert f"written to {run / 'metrics.json'}" in result.stdout


@pytest.mark.slow
def test_likelihood_prints_and_writes_the_same_numbers(tmp_path):
    vae = TINY_RUN | {
        "model": {"name": "VAE", "latent_dim": 2, "units": [8]},
        "data": TINY_RUN["data"] | {"binarise": True},
        "optim": {"elbo": {"name": "adam", "learning_rate": 0.01}},
        "train": {"epochs": 1, "xla": False},
    }
    train.run(configs.parse(vae), tmp_path / "vae")
    arguments = ["likelihood", tmp_path / "vae", "--images", 6, "--steps", 30, "--chains", 3, "--draws", 50]
    result = tfaae(*arguments, "--gap", 4)
    assert result.exit_code == 0, result.output
    values = json.loads((tmp_path / "vae" / "likelihood.json").read_text())
    printed = dict(line.split() for line in result.stdout.splitlines()[-8:-1])
    assert printed == {name: f"{value:.5g}" for name, value in values.items()}
    assert values["ais"] == pytest.approx(values["importance_bound_50"], abs=2.0)
    assert values["ais"] < 0 <= values["acceptance"] <= 1 <= values["effective_samples"] <= 3
    assert np.load(tmp_path / "vae" / "annealing.npy").shape == (6,)
    again = tfaae(*arguments)  # the chains are kept
    assert json.loads((tmp_path / "vae" / "likelihood.json").read_text())["ais"] == values["ais"], again.output
    assert_refused(tfaae(*arguments[:-3], 2), "begun with chains 3, not 2")


def test_likelihood_of_a_model_without_density_is_refused(run):
    assert_refused(tfaae("likelihood", run), "AAE has no density to estimate", "Parzen window")


def test_sample_is_decided_by_its_seed(run, tmp_path):
    def draw(seed: int) -> np.ndarray:
        assert tfaae("sample", run, "--count", 5, "--seed", seed, "--out", tmp_path / "drawn.npy").exit_code == 0
        return np.load(tmp_path / "drawn.npy")

    first = draw(1)
    assert first.shape == (5, 8, 8, 1)
    np.testing.assert_array_equal(first, draw(1))
    assert not np.array_equal(first, draw(2))


def test_sample_writes_a_picture_into_the_run(run):
    result = tfaae("sample", run)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"100 images in {run / 'samples.png'}\n"
    with Image.open(run / "samples.png") as picture:
        assert picture.format == "PNG"


@pytest.mark.parametrize("name", ["samples.jpg", "samples", "samples.npz"])
def test_sample_refuses_other_files(name, run, tmp_path):
    assert_refused(tfaae("sample", run, "--out", tmp_path / name), "--out takes a .png or a .npy file")
    assert not (tmp_path / name).exists()


def test_sample_into_a_folder_that_is_not_there(run, tmp_path):
    assert_refused(tfaae("sample", run, "--out", tmp_path / "no" / "where.png"), "No such file or directory")


@pytest.mark.parametrize("option", [("--count", 0), ("--count", "x"), ("--seed", -1), ("--seed", 2**31)])
def test_sample_refuses_numbers_out_of_range(option, run):
    result = tfaae("sample", run, *option)
    assert result.exit_code == 2
    assert f"Invalid value for '{option[0]}'" in result.stderr


def test_commands_are_quiet(run):
    ran = process("evaluate", run)
    stdout, stderr = ran.communicate(timeout=120)
    assert (ran.returncode, stderr) == (0, "measuring on 299 test images of digits ...\n")
    assert stdout.startswith("test_reconstruction")


# === Training that stops early ===

LATER = {"name": "PiecewiseConstantDecay", "boundary_epochs": [1], "values": [1e-3, 1e30]}


@pytest.mark.parametrize(("rate", "epochs"), [("1e30", 0), (json.dumps(LATER), 1)], ids=["at once", "second epoch"])
def test_a_loss_that_is_not_finite_stops(rate, epochs, config, tmp_path):
    out = tmp_path / "out"
    overrides = ["--set", f"optim.reconstruction.learning_rate={rate}", "--set", "train={epochs: 3, xla: false}"]
    result = tfaae("train", config, "--out", out, *overrides)
    assert_refused(result, " is nan at step ", ", in phase ", "Try a smaller learning rate for ")
    assert result.stderr.split(" is nan")[0].removeprefix("error: ") in AAE.reports
    assert (out / "checkpoint.keras").exists() == bool(epochs)
    assert not list(out.glob("partial*"))
    if epochs:
        model = train.load(out)[2]
        assert int(model.steps) == 14
        assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_ctrl_c_before_the_first_step(config, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "batches", interrupted)
    result = tfaae("train", config, "--out", tmp_path / "out")
    assert result.exit_code == 130
    assert result.stderr == "\nstopped; no checkpoint yet\n"
    monkeypatch.setattr(data, "load", interrupted)
    result = tfaae("train", config, "--out", tmp_path / "none")
    assert result.exit_code == 130
    assert "no checkpoint yet" in result.stderr
    assert not (tmp_path / "none").exists()
