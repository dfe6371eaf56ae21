"""The command line on any arguments and any run folder: a result, or one line and exit code 2."""

import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import strategies as st

from tests.conftest import TINY_RUN
from tests.fuzz.cases import counts, damaged, hold
from tests.fuzz.test_config import TEXT
from tfaae.cli import main

MODELS = ["AAE", "VAE", "AVB", "IWAE", "SupervisedAAE", "SemiSupervisedAAE", "ClusteringAAE", "ALAE", "StyleALAE", "x"]
NUMBER = st.one_of(st.integers(-2, 4), st.sampled_from([10**5, 2**31, 10**30, 0.5, -1.0, 1e300]))
VALUE = st.one_of(
    NUMBER.map(str),
    st.lists(NUMBER, max_size=3).map(str),
    st.sampled_from(
        [*MODELS, "Normal", "SwissRoll", "conv", "adam", "true", "null", "[]", "{}", ".nan", ".inf", "", "*a"]
    ),
    st.sampled_from(["{name: Normal, std: -1}", "{name: OneHot, dim: 100000000}", "{name: CosineDecay}", "[[1]]"]),
    TEXT,
)
KEYS = [
    *("seed", "model", "optim", "train", "data", "train.epochs", "train.xla", "train.growing", "train.fid"),
    *("data.name", "data.batch", "data.size", "data.channels", "data.test", "data.validation", "data.labelled"),
    *("data.labelled_batch", "data.path", "data.data_dir", "data.stream", "data.binarise", "data.flip"),
    *("data.distortion", "data.distortion.pixels", "data.distortion.degrees", "data.distortion.x"),
    *("model.name", "model.latent_dim", "model.units", "model.discriminator_units", "model.prior", "model.posterior"),
    *("model.arch", "model.ema", "model.labels", "model.classes", "model.image_shape", "model.dropout", "model.x"),
    *("model.noise_dim", "model.input_noise", "model.game", "model.likelihood", "model.precision", "model.initial_std"),
    *("optim.reconstruction", "optim.reconstruction.learning_rate", "optim.reconstruction.name", "optim.x"),
    *("optim.generator.beta_1", "optim.generator.clipnorm", "optim.generator.learning_rate.name"),
]


def told(*arguments: str) -> str:
    """What the command line says, after a look at how it ends."""
    ran = CliRunner().invoke(main, arguments)
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    assert ran.exit_code in (0, 2), ran.output
    if ran.exit_code == 2:
        *usage, last = ran.stderr.splitlines()
        assert last.lower().startswith("error: ")
        assert not usage or usage[0].startswith("Usage: ")
        assert "Traceback" not in ran.stderr
    return ran.output


@counts(3, 250)
def test_what_is_built(count, tmp_path):
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(TINY_RUN))

    def check(pairs):
        overrides = [word for key, value in pairs for word in ("--set", f"{key}={value}")]
        told("train", str(tmp_path / "a.yaml"), "--out", str(tmp_path / "run"), "--dry-run", *overrides)

    hold(count, check, pairs=st.lists(st.tuples(st.sampled_from(KEYS), VALUE), min_size=1, max_size=2))


WORD = st.one_of(
    st.sampled_from(["train", "configs", "sample", "edit", "--set", "--out", "--seed", "--count", "-h", "--"]),
    st.sampled_from(["aae_digits", "data.x=1", "9" * 30, "-1", "nan", "", "/", "x" * 300, "~nobody/x", "*"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),  # a system hands over no \0
)


@counts(20, 300)
def test_words(count, tmp_path, monkeypatch):
    """In an empty folder, so that there is nothing to train or to measure."""
    monkeypatch.chdir(tmp_path)
    commands = ["configs", "evaluate", "sample", "edit", "interpolate", "mix", "truncate", "reconstruct", "quality"]
    words = st.tuples(st.sampled_from(commands), st.lists(WORD, max_size=4))
    hold(count, lambda words: told(words[0], *words[1]), words=words)


@counts(4, 60)
def test_run_folders(count, tiny_run, tmp_path_factory):
    """With any of its files damaged, gone, or a folder."""

    def check(name, how, draw):
        run = tmp_path_factory.mktemp("runs") / "run"
        shutil.copytree(tiny_run, run, ignore=shutil.ignore_patterns("logs", "figures"))
        file = run / name
        contents = file.read_bytes()
        file.unlink()
        match how:
            case "damaged":
                file.write_bytes(draw.draw(damaged(contents)))
            case "text":
                file.write_text(draw.draw(TEXT), encoding="utf-8", errors="ignore")
            case "folder":
                file.mkdir()
        told("sample", str(run), "--count", "2", "--out", str(run / "samples.npy"))

    names = st.sampled_from(["config.yaml", "checkpoint.keras", "history.csv"])
    hows = st.sampled_from(["damaged", "damaged", "text", "folder", "gone"])
    hold(count, check, name=names, how=hows, draw=st.data())


@pytest.mark.parametrize("card", [b"\xff\xfe", b"```yaml\n!!int x\n```", b"```yaml\n```", b""])
def test_cards_of_exports(card, tmp_path):
    """A folder that looks like an export, beside one whose name is a digit of another kind."""
    for name in ("1", "\N{SUPERSCRIPT TWO}"):
        (tmp_path / "export" / name).mkdir(parents=True)
        (tmp_path / "export" / name / "saved_model.pb").write_bytes(b"")
        (tmp_path / "export" / name / "README.md").write_bytes(card)
    assert told("explore", str(tmp_path / "export"), "--no-open")


def test_no_file_is_left(tmp_path):
    assert told("train", "aae_digits", "--out", str(tmp_path / "run"), "--set", "model.units=[100000, 100000]")
    assert not list(Path(tmp_path).iterdir())
