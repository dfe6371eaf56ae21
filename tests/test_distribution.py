"""Who trains together, which rows each reads, and runs of two workers."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import yaml

from tests.cases import assert_same, state
from tests.conftest import TINY_RUN
from tfaae import callbacks, config, data, distribution, train, workers
from tfaae.config import DistortionConfig
from tfaae.data import Part, Split
from tfaae.distribution import Team
from tfaae.errors import InputError

SPLIT = Split(
    np.random.default_rng(0).uniform(size=(40, 3, 3, 1)).astype(np.float32),
    np.where(np.arange(40) % 4, np.arange(40) % 3, -1).astype(np.int32),
)
TWO = {"worker": ["one:1", "two:1"]}


@pytest.fixture(scope="module")
def pair() -> Team:
    return distribution.team(2, {})


# === Which rows each reads ===


@pytest.mark.parametrize(
    "options",
    [{}, {"flip": True, "binarise": True}, {"labelled_batch": 6}, {"distortion": DistortionConfig(pixels=1.0)}],
)
def test_parts_are_the_batch(options):
    def rows(part: Part) -> list:
        dataset = data.batches(SPLIT, 12, seed=3, epochs=2, first_epoch=1, part=part, **options)
        return [[np.asarray(tensor) for tensor in tf.nest.flatten(batch)] for batch in dataset]

    whole, parts = rows(Part()), [rows(Part(place, 1, 3)) for place in range(3)]
    assert len(whole) == 3
    for batch, *shared in zip(whole, *parts, strict=True):
        for tensor, *pieces in zip(batch, *shared, strict=True):
            np.testing.assert_array_equal(np.concatenate(pieces), tensor)


def test_a_worker_of_two_replicas_reads_a_batch_for_each():
    of_worker = data.batches(SPLIT, 12, seed=3, epochs=1, part=Part(2, 2, 4))
    of_replicas = [data.batches(SPLIT, 12, seed=3, epochs=1, part=Part(place, 1, 4)) for place in (2, 3)]
    expected = [images.numpy() for pair in zip(*of_replicas, strict=True) for images, _ in pair]
    np.testing.assert_array_equal([images.numpy() for images, _ in of_worker], expected)


@pytest.mark.parametrize(("batch", "replicas"), [(4, 3), (7, 2), (40, 3), (1000, 4), (1, 2)])
def test_every_held_out_image_is_seen_once(batch, replicas):
    parts = [list(data.in_parts(SPLIT, batch, Part(place, 1, replicas))) for place in range(replicas)]
    steps = data.steps_in_parts(len(SPLIT), batch, replicas)
    sizes = [len(labels) for part in parts for _, labels in part]
    assert [len(part) for part in parts] == [steps] * replicas
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1
    seen = np.concatenate([images for step in zip(*parts, strict=True) for images, _ in step])
    np.testing.assert_array_equal(seen, SPLIT.images)


def test_a_team_of_two_devices(pair):
    assert (pair.replicas, pair.chief, pair.several_workers) == (2, True, False)
    assert pair.told(100) == "2 replicas (one machine), 50 of 100 images each, without XLA"
    shared = pair.dataset(lambda part: data.batches(SPLIT, 12, seed=3, epochs=1, part=part))
    whole = next(iter(data.batches(SPLIT, 12, seed=3, epochs=1)))
    found = [pair.strategy.experimental_local_results(tensor) for tensor in next(iter(shared))]
    for pieces, tensor in zip(found, whole, strict=True):
        np.testing.assert_array_equal(np.concatenate(pieces), tensor)


def test_one_device_is_no_team(tmp_path):
    alone = distribution.team(1, {})
    assert (alone.strategy, alone.replicas, alone.told(100)) == (None, 1, "")
    assert alone.folder(tmp_path) == tmp_path


# === What cannot be ===


def test_batches_divide_among_replicas(pair):
    pair.check(batch=100, labelled_batch=None)
    with pytest.raises(InputError, match=r"data.batch: 101 images do not divide among 2 replicas; .* 102 say"):
        pair.check(batch=101)
    with pytest.raises(InputError, match=r"data\.labelled_batch: 1 images do not divide"):
        pair.check(batch=100, labelled_batch=1)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("{", "expected {"),
        ("[]", "expected {"),
        ({"cluster": TWO}, "expected {"),
        ({"cluster": TWO, "task": {"type": "worker", "index": 2}}, "task {'type': 'worker', 'index': 2}"),
        ({"cluster": TWO, "task": {"type": "chief", "index": 0}}, "task {'type': 'chief', 'index': 0}"),
        ({"cluster": TWO | {"ps": ["x:1"]}, "task": {"type": "worker", "index": 0}}, r"jobs \['ps'\]"),
    ],
)
def test_a_tf_config_that_is_no_cluster_of_workers(given, says):
    text = given if isinstance(given, str) else json.dumps(given)
    with pytest.raises(InputError, match=f"TF_CONFIG: .*{says}"):
        distribution.cluster({"TF_CONFIG": text})


def test_a_tf_config_says_how_many_and_who():
    task = {"type": "worker", "index": 1}
    assert distribution.cluster({}) == (1, 0)
    assert distribution.cluster({"TF_CONFIG": json.dumps({"cluster": TWO, "task": task})}) == (2, 1)
    led = {"cluster": TWO | {"chief": ["x:1"]}, "task": task}
    assert distribution.cluster({"TF_CONFIG": json.dumps(led)}) == (3, 2)


def test_lost_workers_are_one_line():
    class Workers(Team):
        several_workers = True

        def __init__(self):
            pass

    with pytest.raises(ConnectionError, match=r"a worker was lost: stopped; .* --resume"), Workers().together():
        raise tf.errors.UnavailableError(None, None, "Graph execution error:\n\nSocket closed")
    with pytest.raises(tf.errors.UnavailableError), Team().together():
        raise tf.errors.UnavailableError(None, None, "of no worker")


def test_gpus_of_local_workers():
    assert workers.shared_gpus(2, []) == [None, None]
    assert workers.shared_gpus(2, ["0", "1", "2", "3"]) == ["0,2", "1,3"]
    with pytest.raises(InputError, match="3 GPUs do not divide among them"):
        workers.shared_gpus(2, ["0", "1", "2"])


def test_local_workers_run_to_their_end(capfd):
    assert workers.run(2, ["--version"]) == 0
    assert "version" in capfd.readouterr().out


def test_local_workers_that_fail_say_so(capfd, tmp_path):
    assert workers.run(2, ["train", "missing", "--out", str(tmp_path / "run")]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert any(line.startswith("error: no config missing") for line in lines)  # the chief's own
    assert len(lines) <= 2


def test_ports_are_free_and_different():
    assert len(set(workers.free_ports(4))) == 4


# === Runs ===

EPOCHS = 3


def started(folder: Path, *options: str) -> subprocess.Popen:
    """`tfaae train` of a small AAE into the folder, in processes of its own."""
    written = folder.parent / "config.yaml"
    written.write_text(yaml.dump(TINY_RUN | {"train": {"epochs": EPOCHS, "xla": False, "figures_every": EPOCHS}}))
    command = [sys.executable, "-m", "tfaae", "train", str(written), "--out", str(folder), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen) -> str:
    told, wrong = process.communicate(timeout=1800)
    assert process.returncode == 0, wrong
    return told


def history(folder: Path) -> list[dict[str, str]]:
    if not (folder / "history.csv").is_file():
        return []
    with (folder / "history.csv").open() as lines:
        return list(csv.DictReader(lines))


def process_of(launcher: subprocess.Popen, worker: int) -> int:
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    for child in children:
        if f'"index": {worker}' in Path(f"/proc/{child}/environ").read_text():
            return int(child)
    raise AssertionError(f"worker {worker} is not among {children}")


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory) -> tuple[Path, str]:
    """The folder of a run of two processes that nothing stopped, and what it printed. Tests only read it."""
    folder = tmp_path_factory.mktemp("workers") / "run"
    return folder, finished(started(folder, "--workers", "2"))


@pytest.mark.slow
def test_two_workers_train_and_the_chief_writes(two_workers):
    folder, told = two_workers
    assert "2 replicas (several workers), 50 of 100 images each, without XLA" in told
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint.keras",
        "config.yaml",
        "figures",
        "history.csv",
        "logs",
    ]
    assert len(list((folder / "logs" / "train").iterdir())) == 1
    assert [line["epoch"] for line in history(folder)] == [str(epoch) for epoch in range(EPOCHS)]


@pytest.mark.slow
def test_two_workers_are_two_devices_of_one_machine(two_workers, tmp_path):
    folder = tmp_path / "run"
    finished(started(folder, "--devices", "2"))
    for one, other in zip(history(two_workers[0]), history(folder), strict=True):
        for term, value in one.items():
            assert float(other[term]) == pytest.approx(float(value), rel=1e-3, abs=1e-3), term


@pytest.mark.slow
@pytest.mark.parametrize("first", ["two", "one"])
def test_a_run_goes_on_with_another_number_of_replicas(first, pair, tmp_path, monkeypatch):
    """From within an epoch: its running means, too."""
    parsed = config.parse(TINY_RUN | {"train": {"epochs": 2, "xla": False}})
    teams = [pair, None] if first == "two" else [None, pair]

    def hit(self, batch, logs=None):
        if int(tf.convert_to_tensor(self.model.steps)) == 14 + 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.StopOnNonFinite, "on_train_batch_end", hit)
        with pytest.raises(SystemExit):
            train.run(parsed, tmp_path / "run", team=teams[0])
    train.run(parsed, tmp_path / "run", team=teams[1], resume=True)
    train.run(parsed, tmp_path / "whole", team=teams[0])
    assert int(tf.convert_to_tensor(train.load(tmp_path / "run")[2].steps)) == 28
    found, expected = history(tmp_path / "run"), history(tmp_path / "whole")
    assert found[0] == expected[0]
    assert [line["epoch"] for line in found] == ["0", "1"]
    assert float(found[1]["reconstruction"]) == pytest.approx(float(expected[1]["reconstruction"]), rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_worker_stops_the_run_which_resumes_exactly(lost, two_workers, tmp_path):
    folder = tmp_path / "run"
    process = started(folder, "--workers", "2")
    while not history(folder):
        assert process.poll() is None
        time.sleep(0.1)
    os.kill(process_of(process, lost), signal.SIGKILL)
    _, wrong = process.communicate(timeout=600)
    assert process.returncode
    lines = wrong.strip().splitlines()
    assert all(line.startswith("error: ") for line in lines)
    assert any(f"worker {lost}" in line and "was ended by SIGKILL" in line for line in lines)
    assert any("--resume" in line for line in lines)
    finished(started(folder, "--workers", "2", "--resume"))
    assert_same(*(state(train.load(path)[2]) for path in (folder, two_workers[0])))
    assert history(folder) == history(two_workers[0])


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["chief", "other", "both"])
def test_a_signal_to_one_of_several_workers_stops_all_after_the_same_step(asked, two_workers, tmp_path):
    folder = tmp_path / "run"
    process = started(folder, "--workers", "2")
    while not history(folder):
        assert process.poll() is None
        time.sleep(0.1)
    told = {"chief": process_of(process, 0), "other": process_of(process, 1), "both": process.pid}[asked]
    os.kill(told, signal.SIGTERM)
    _, wrong = process.communicate(timeout=600)
    assert process.returncode == 143, wrong
    assert "error" not in wrong
    steps = int(tf.convert_to_tensor(train.load(folder)[2].steps))
    assert 14 <= steps < 14 * EPOCHS
    finished(started(folder, "--workers", "2", "--resume"))
    assert_same(*(state(train.load(path)[2]) for path in (folder, two_workers[0])))
    assert history(folder) == history(two_workers[0])
