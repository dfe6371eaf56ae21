"""Runs that are killed wherever it hurts, and resumed, again and again: they end as if nothing had happened."""

import collections
import random
import signal
import subprocess
import sys

import pytest
import yaml

from tests import torture
from tests.conftest import TINY_LABELLED_RUN, TINY_RUN
from tfaae import train

TRAIN = {"epochs": 4, "xla": False, "checkpoint_every": 4}
RAW = TINY_RUN | {"train": TRAIN}
ADAM = {"name": "adam", "learning_rate": {"name": "CosineDecay", "initial_learning_rate": 1e-3}}
RUNS = {
    "aae": {
        "model": TINY_RUN["model"] | {"posterior": "gaussian"},
        "optim": dict.fromkeys(["reconstruction", "discriminator", "generator"], ADAM),
    },
    "semi-supervised": {
        "data": TINY_LABELLED_RUN["data"] | {"flip": True, "distortion": {"pixels": 1.0, "degrees": 10.0}},
        "model": TINY_LABELLED_RUN["model"],
        "optim": TINY_LABELLED_RUN["optim"],
    },
    "avb": {
        "data": TINY_RUN["data"] | {"binarise": True},
        "model": {"name": "AVB", "latent_dim": 2, "units": [8], "discriminator_units": [8], "adversary_steps": 2},
        "optim": dict.fromkeys(["elbo", "discriminator"], ADAM),
    },
    "growing": {
        "data": TINY_RUN["data"] | {"flip": True, "size": 16},
        "model": {
            "name": "StyleALAE",
            "latent_dim": 3,
            "base_channels": 2,
            "max_channels": 3,
            "mapping_depth": 1,
            "ema_images": 100.0,
        },
        "optim": {key: {"name": "equalised_adam"} for key in ("discriminator", "generator")},
        "train": TRAIN
        | {
            "fid": True,
            "growing": {"epochs_per_lod": 2, "batches": [200, 100], "learning_rates": [0.002, 0.001]},
        },
    },
}


@pytest.fixture(scope="module")
def player():
    made = torture.Player()
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_many_deaths(name, player, tmp_path):
    """At least eight of every kind of run, over as many runs as that takes."""
    victim, random_ = torture.Victim(player, tmp_path, RAW | RUNS[name]), random.Random(name)
    fates = torture.fates(random_, ("LearningRates", "CSVLogger", "Curves", "Equilibrium", "OnDisk"), victim.size)
    deaths, kinds = 0, collections.Counter()
    while deaths < 8:
        victim.folder = tmp_path / f"run-{deaths}"
        for fate in fates:
            code = victim.resume(**fate)
            if code == 0:  # that fate did not come
                break
            deaths += 1
            kinds[" ".join(fate)] += 1
            asked = {"SIGTERM": {143}, "SIGINT": {130}}.get(fate.get("signal"), {-signal.SIGKILL, -signal.SIGXFSZ})
            assert code in asked, (fate, victim.log.read_text())
        torture.assert_as_if_nothing_had_happened(victim.folder, victim.whole)
    print(f"{name}: {deaths} deaths, {kinds}")


@pytest.mark.slow
def test_two_devices_go_on_in_the_middle_of_a_transition(player, tmp_path):
    raw = RAW | RUNS["growing"]
    raw["train"] = raw["train"] | {"epochs": 3, "fid": False}
    victim = torture.Victim(player, tmp_path, raw, options=("--devices", "2"))
    assert victim.resume(steps=2 * 7 + 5, signal="SIGTERM") == 143
    assert int(train.load(victim.folder)[2].steps) == 2 * 7 + 5
    victim.rests()
    assert victim.log.read_text().count("2 replicas (one machine)") == 3


@pytest.mark.slow
@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_a_full_disk(share, player, tmp_path):
    victim = torture.Victim(player, tmp_path, RAW | RUNS["aae"])
    assert victim.resume(writes=3, bytes=int(share * victim.size), full=True) == 2
    told = victim.log.read_text().splitlines()[-1]
    assert told.startswith("error: ")
    assert "checkpoint.keras was not written, File too large: the file that was there stays; make room" in told
    assert not list(victim.folder.glob("partial-*"))
    victim.rests()


FULL_FOR = """
import resource, runpy, signal, sys
import keras
from tfaae import callbacks
kind = getattr(callbacks, sys.argv[1], None) or getattr(keras.callbacks, sys.argv[1])
def ended(self, epoch, logs=None, real=kind.on_epoch_end):
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
    real(self, epoch, logs)
kind.on_epoch_end = ended
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.argv = ["tfaae", *sys.argv[2:]]
runpy.run_module("tfaae", run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize("writer", ["CSVLogger", "Curves", "Pictures"])
def test_a_disk_that_is_full_for(writer, tmp_path):
    """From that callback of the first epoch's end on: the run says so in a line, and goes on once there is room."""
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(RAW | RUNS["aae"] | {"train": TRAIN | {"epochs": 2, "figures_every": 1}}))

    def train_into(folder: str, *how: str) -> subprocess.CompletedProcess:
        options = ["train", str(config), "--out", str(tmp_path / folder), "--resume"]
        command = [sys.executable, "-W", "ignore", *how, *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    stopped = train_into("run", "-c", FULL_FOR, writer)
    assert stopped.returncode == 2, stopped.stderr
    last = stopped.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert "File too large; the last checkpoint, if there is one, stays" in last
    assert int(train.load(tmp_path / "run")[2].steps) == 12
    for folder in ("run", "whole"):
        assert train_into(folder, "-m", "tfaae").returncode == 0
    torture.assert_as_if_nothing_had_happened(tmp_path / "run", tmp_path / "whole")
    names = [sorted(path.name for path in (tmp_path / folder / "figures").iterdir()) for folder in ("run", "whole")]
    assert names[0] == names[1]
