"""A run that was killed and resumed is the run that was not."""

import csv

import numpy as np
import pytest

from tests.cases import assert_same, state
from tests.conftest import TINY_RUN
from tfaae import callbacks, config, train
from tfaae.errors import InputError

SGD = {"name": "sgd", "learning_rate": 0.01, "momentum": 0.5}
LABELLED = {
    "data": TINY_RUN["data"] | {"labelled": 50, "labelled_batch": 20},
    "model": {
        "name": "SemiSupervisedAAE",
        "latent_dim": 3,
        "units": [16],
        "discriminator_units": [16],
        "input_noise": 0.3,
        "ema": 0.9,
        "true_labels": True,
        "discriminator_noise": 0.3,
        "discriminator_noise_epochs": 2,
    },
    "optim": dict.fromkeys(["reconstruction", "discriminator", "generator", "classification"], SGD),
}
RUNS = {"aae": {"model": TINY_RUN["model"] | {"posterior": "gaussian"}}, "semi-supervised": LABELLED}


def parsed(name: str, **changes) -> config.Config:
    quick = {"epochs": 3, "xla": False, "figures_every": 100}
    return config.parse(TINY_RUN | RUNS[name] | {"train": quick} | changes)


def history(folder) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module", autouse=True)
def no_pictures():
    """They take most of a short run's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks.Pictures, "draw", lambda self, epoch: None)
        yield


class KilledError(Exception):
    pass


def killed(name: str, folder, at: type, monkeypatch) -> None:
    """The run, ended in its second epoch where the callback `at` would hear of the epoch's end."""

    def die(self, epoch, logs=None, heard=at.on_epoch_end):
        if epoch == 1:
            raise KilledError
        heard(self, epoch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(at, "on_epoch_end", die)
        with pytest.raises(KilledError):
            train.run(parsed(name), folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict:
    """Folders of runs that nothing stopped. Tests only read them."""
    folders = {name: tmp_path_factory.mktemp("whole") / name for name in RUNS}
    for name, folder in folders.items():
        train.run(parsed(name), folder)
    return folders


@pytest.mark.parametrize(
    ("name", "at", "done"),
    [
        ("aae", callbacks.Checkpoint, 1),
        ("semi-supervised", callbacks.Checkpoint, 1),
        pytest.param("semi-supervised", callbacks.Pictures, 2, marks=pytest.mark.slow),
        ("aae", callbacks.LearningRates, 1),
    ],
)
def test_a_resumed_run_is_the_run_that_was_not_stopped(name, at, done, whole, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    killed(name, folder, at, monkeypatch)
    assert int(train.load(folder)[2].steps) == done * 14
    train.run(parsed(name), folder, resume=True)
    assert_same(state(train.load(folder)[2]), state(train.load(whole[name])[2]))
    assert [line["epoch"] for line in history(folder)] == ["0", "1", "2"]
    assert history(folder) == history(whole[name])


def test_a_history_ahead_of_the_checkpoint_is_cut(whole, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    killed("aae", folder, callbacks.Checkpoint, monkeypatch)
    (folder / "history.csv").write_bytes((whole["aae"] / "history.csv").read_bytes())
    train.run(parsed("aae"), folder, resume=True)
    assert history(folder) == history(whole["aae"])


@pytest.mark.parametrize("name", RUNS)
def test_every_epoch_trains(name, whole):
    """Else equal ends would say nothing."""
    lines = history(whole[name])
    assert len({line["reconstruction"] for line in lines}) == len(lines) == 3
    assert np.isfinite([float(value) for line in lines for value in line.values()]).all()


def test_resuming_a_finished_run_trains_nothing(tmp_path, monkeypatch):
    folder, short = tmp_path / "run", {"train": {"epochs": 1, "xla": False, "figures_every": 100}}
    train.run(parsed("aae", **short), folder)
    before = (folder / "checkpoint.keras").read_bytes(), history(folder)
    steps = []
    monkeypatch.setattr(callbacks.StopOnNonFinite, "on_train_batch_end", lambda self, batch, logs: steps.append(batch))
    train.run(parsed("aae", **short), folder, resume=True)
    assert not steps
    assert before == ((folder / "checkpoint.keras").read_bytes(), history(folder))


@pytest.mark.parametrize("change", [{"seed": 2}, {"train": {"epochs": 4, "xla": False}}])
def test_a_run_of_another_config_is_not_resumed(change, whole):
    before = (whole["aae"] / "history.csv").read_bytes()
    with pytest.raises(InputError, match="holds a run of another config"):
        train.run(parsed("aae", **change), whole["aae"], resume=True)
    assert (whole["aae"] / "history.csv").read_bytes() == before


def test_without_resume_a_run_is_not_overwritten(whole):
    with pytest.raises(InputError, match="already holds a run"):
        train.run(parsed("aae"), whole["aae"])


def test_resuming_an_empty_folder_starts(whole, tmp_path):
    train.run(parsed("aae", train={"epochs": 1, "xla": False}), tmp_path, resume=True)
    assert history(tmp_path) == history(whole["aae"])[:1]
