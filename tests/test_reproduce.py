"""Records, the table of experiments, and running one from end to end on the embedded digits."""

import os
import re
import shutil
import signal
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from tests.conftest import TINY_RUN
from tfaae import building, callbacks, config, data, experiments, paper_figures, records, reproduce, results, train
from tfaae.cli import main
from tfaae.errors import InputError
from tfaae.experiments import BENCHES, EXPERIMENTS, Experiment, Goal, Part
from tfaae.image_sources import Split
from tfaae.paper_figures import FIGURES, PaperFigure
from tfaae.records import Metric, Record, Reference

PARTS = [(name, label) for name, experiment in EXPERIMENTS.items() for label in experiment.parts]
STORED = sorted(path.stem for path in records.folder().glob("*.json"))


def tiny_experiment(folder: Path) -> Experiment:
    """An experiment of seconds, its config in the folder."""
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY_RUN))
    part = Part(str(folder / "tiny.yaml"), {"error": "reconstruction_error", "distance": "mmd_to_prior"})
    reference = {"error": Reference(mean=3.0, std=0.5, source="a paper, table 1")}
    goals = (Goal("error", True, 1e9), Goal("distance", True, -1e9))
    return Experiment("a tiny thing", {"only": part}, goals, reference, seeds=(0, 1))


def redirect(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """The tiny experiment is known; records and documents go to the folder."""
    patch.setitem(EXPERIMENTS, "tiny", tiny_experiment(folder))
    patch.setattr(records, "folder", lambda: folder / "docs" / "results")
    patch.setattr(records, "commit", lambda: "abc")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A folder for the tiny experiment, with nothing trained."""
    redirect(monkeypatch, tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    """A folder where the tiny experiment was reproduced. Tests only read it."""
    folder = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        redirect(patch, folder)
        reproduce.reproduce("tiny", runs=folder / "runs")
    return folder


@pytest.fixture
def trained(tiny, trained_once):
    """As `tiny`, with its finished runs and record."""
    shutil.copytree(trained_once, tiny, dirs_exist_ok=True)
    return tiny


def test_deviation_is_over_runs():
    assert Metric.of([1.0, 3.0]) == Metric(mean=2.0, std=2**0.5, runs=[1.0, 3.0])
    with pytest.raises(ValueError, match="finite"):
        Metric.of([float("nan")])
    assert Metric.of([1.5]) == Metric(mean=1.5, std=None, runs=[1.5])


@pytest.mark.parametrize(("name", "label"), PARTS)
def test_every_part_has_its_config(name, label):
    part = EXPERIMENTS[name].parts[label]
    resolved = config.load(config.find(part.config), part.overrides)
    held_out = re.match(r"validation, ([\d,]+) of", EXPERIMENTS[name].selected_on)
    expected = int(held_out[1].replace(",", "")) if held_out else 0
    assert resolved.data.validation == expected, "hyper-parameters are chosen on held-out training images"
    assert part.measure in reproduce.MEASURES


CHANGED = [
    (name, label)
    for name, label in PARTS
    if re.search("model|optim", " ".join(EXPERIMENTS[name].parts[label].overrides))
]


@pytest.mark.parametrize(("name", "label"), CHANGED)
def test_a_part_that_changes_a_model_has_the_optimizers_for_it(name, label, monkeypatch):
    part = EXPERIMENTS[name].parts[label]
    resolved = config.load(config.find(part.config), (*part.overrides, "data.batch=20"))
    monkeypatch.setattr(building, "_check_size", lambda *_: None)  # builds the model a second time
    image = np.zeros((120, 28, 28, 1), np.float32)
    split = Split(image, np.arange(120) % 10)
    building.build(resolved, data.Data(split, split, split, tuple("0123456789")))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_goals_and_references_are_of_metrics_that_are_measured(name):
    experiment = EXPERIMENTS[name]
    metrics = [metric for part in experiment.parts.values() for metric in part.metrics] + list(experiment.gains)
    assert {part for pair in experiment.gains.values() for part in pair} <= experiment.parts.keys()
    assert len(set(metrics)) == len(metrics)
    assert {goal.metric for goal in experiment.goals} | set(experiment.paper) | set(experiment.public) <= set(metrics)


@pytest.mark.parametrize("name", [name for name in STORED if name not in BENCHES])
def test_stored_records_are_of_the_table(name):
    record = records.read(name)
    assert record.experiment == name
    metrics = {metric for part in EXPERIMENTS[name].parts.values() for metric in part.metrics}
    metrics |= {f"{gain}{suffix}" for gain in EXPERIMENTS[name].gains for suffix in ("", "_se")}
    assert set(record.metrics) <= metrics
    assert all(len(metric.runs) == len(record.seeds) for metric in record.metrics.values())
    assert all(metric == Metric.of(metric.runs) for metric in record.metrics.values())
    assert re.fullmatch("[0-9a-f]{7,}(, [0-9a-f]{7,})*", record.commit), "made from commits, not from a changed tree"
    assert "--set" not in record.command


def test_the_document_is_written_from_the_records():
    document = records.folder().parent / "results.md"
    assert document.read_text(encoding="utf-8") == results.render(), "run tfaae reproduce --render"


def test_reproduce_from_end_to_end(trained, monkeypatch):
    record = records.read("tiny")
    assert record.seeds == [0, 1]
    assert len(set(record.metrics["error"].runs)) == 2, "another seed is another run"
    assert record.seconds > 0
    assert record.command == "tfaae reproduce tiny"

    monkeypatch.setattr(train, "run", lambda *_, **__: pytest.fail("what is finished is not trained again"))
    again, path = reproduce.reproduce("tiny", runs=trained / "runs")
    assert path == trained / "docs" / "results" / "tiny.json"
    assert again == record

    shown = CliRunner().invoke(main, ["reproduce", "tiny", "--show"]).output
    assert "3.00 ± 0.50" in shown
    assert "tfaae reproduce tiny" in shown
    document = results.render()
    row = next(line for line in document.splitlines() if "`error`" in line)
    assert "3.00 ± 0.50" in row
    assert row.endswith("≤ 1e+09, reached |")
    assert "**not reached**" in next(line for line in document.splitlines() if "`distance`" in line)


def test_an_interrupted_experiment_goes_on(tiny, trained_once, monkeypatch):
    real = train.run
    shutil.copytree(trained_once / "runs/tiny/only-0", tiny / "runs/tiny/only-0")

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        reproduce.reproduce("tiny", runs=tiny / "runs")
    assert not list(tiny.glob("docs/**/*.json"))
    finished = []
    monkeypatch.setattr(train, "run", lambda c, f, **k: finished.append(c.seed) or real(c, f, **k))
    reproduce.reproduce("tiny", runs=tiny / "runs")
    assert finished == [1]


@pytest.mark.slow
def test_a_changed_experiment_is_no_record(tiny):
    record, path = reproduce.reproduce("tiny", runs=tiny / "runs", seeds=[3], overrides=["train.epochs=1"])
    assert path == tiny / "runs" / "tiny" / "record.json"
    assert Record.model_validate_json(path.read_text()) == record
    assert record.command == "tfaae reproduce tiny --seeds 3 --set train.epochs=1"
    assert not (tiny / "docs").exists()


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_of_parts_that_exist(name):
    assert FIGURES[name].part in EXPERIMENTS[FIGURES[name].experiment].parts


def test_figures_are_drawn_from_finished_runs(trained, monkeypatch):
    pictures = {
        "1_codes": PaperFigure("tiny", "only", "codes"),
        "2_samples": PaperFigure("tiny", "only", paper_figures.NEAREST),
        "3_later": PaperFigure("aae-semi-100", "best", "clusters"),
    }
    monkeypatch.setattr(paper_figures, "FIGURES", pictures)
    drawn = CliRunner().invoke(main, ["reproduce", "--figures", "--runs", str(trained / "runs")])
    assert drawn.exit_code == 0, drawn.output
    assert "has no finished run of aae-semi-100; `tfaae reproduce aae-semi-100` makes it" in drawn.stderr
    found = sorted((trained / "docs" / "figures").iterdir())
    assert [path.name for path in found] == ["figure_1_codes.png", "figure_2_samples.png"]
    assert all(np.ptp(matplotlib.image.imread(path)) > 0.5 for path in found)


def test_absent_data_is_named(tiny):
    with pytest.raises(InputError, match=r"tiny needs mnist.*data_dir"):
        reproduce.reproduce("tiny", runs=tiny, overrides=["data.name=mnist", f"data.data_dir={tiny}"])


def test_numbers_of_a_changed_run_are_never_those_of_the_experiment(trained):
    before = records.read("tiny")
    with pytest.raises(InputError, match="tiny/only-0 holds a run of another config; choose another --runs"):
        reproduce.reproduce("tiny", runs=trained / "runs", overrides=["model.dropout=0.5"])
    assert records.read("tiny") == before


def test_a_number_of_an_older_preset_is_marked(trained):
    row = "| a tiny thing (`tiny`) | `error` |"
    assert results.changes(records.read("tiny")) == {}
    assert "of an older preset" not in next(line for line in results.render().splitlines() if line.startswith(row))

    changed = {**TINY_RUN, "data": {**TINY_RUN["data"], "batch": 50}, "train": {**TINY_RUN["train"], "xla": True}}
    (trained / "tiny.yaml").write_text(yaml.safe_dump(changed))
    assert results.changes(records.read("tiny")) == {"only": ["data.batch"]}, "XLA changes speed alone"
    document = results.render()
    assert "(2 runs, of an older preset)" in next(line for line in document.splitlines() if line.startswith(row))
    assert "Changed in the preset `only` since: data.batch." in document


def test_a_record_with_a_setting_that_is_gone_is_of_an_older_preset(trained):
    record = records.read("tiny")
    record.config["only"]["train"]["no_longer"] = 1
    assert results.changes(record) == {"only": ["train.no_longer"]}


def test_fewer_seeds_replace_no_fuller_record(trained):
    full = records.read("tiny")
    _, beside = reproduce.reproduce("tiny", runs=trained / "runs", seeds=[1])
    assert beside == trained / "runs" / "tiny" / "record.json"
    assert records.read("tiny") == full
    stored = trained / "docs" / "results" / "tiny.json"
    assert reproduce.reproduce("tiny", runs=trained / "runs", seeds=[1, 0])[1] == stored


def test_a_part_that_cannot_run_is_told_before_any_is_trained(tiny, monkeypatch):
    parts = EXPERIMENTS["tiny"].parts | {"later": Part("no_such_config", {"other": "reconstruction_error"})}
    monkeypatch.setitem(EXPERIMENTS, "tiny", EXPERIMENTS["tiny"]._replace(parts=parts))
    with pytest.raises(InputError, match="no config no_such_config"):
        reproduce.reproduce("tiny", runs=tiny / "runs")
    assert not (tiny / "runs").exists()


@pytest.mark.slow
def test_ctrl_c_within_an_epoch_can_be_resumed(tiny, monkeypatch):
    class Stops(callbacks.TimeLeft):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.steps) == 14 + 5:  # within the second epoch
                os.kill(os.getpid(), signal.SIGINT)

    arguments = ["reproduce", "tiny", "--runs", str(tiny / "runs")]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child of a background job would ignore it
    try:
        with monkeypatch.context() as patch:
            patch.setattr(callbacks, "TimeLeft", Stops)
            stopped = CliRunner().invoke(main, arguments)
        assert stopped.exit_code == 130
        assert stopped.stderr == "\nstopped; the same command goes on\n"
        assert int(train.load(tiny / "runs" / "tiny" / "only-0")[2].steps) == 14 + 5
        again = CliRunner().invoke(main, arguments)
    finally:
        signal.signal(signal.SIGINT, before)
    assert again.exit_code == 0, again.output
    assert int(train.load(tiny / "runs" / "tiny" / "only-0")[2].steps) == 2 * 14


def test_parts_that_take_days_run_and_show_only_where_they_are_asked_for(trained, monkeypatch):
    part = EXPERIMENTS["tiny"].parts["only"]
    long = part._replace(metrics={"error_long": "reconstruction_error"}, takes_days=True)
    monkeypatch.setitem(EXPERIMENTS, "tiny", EXPERIMENTS["tiny"]._replace(parts={"only": part, "long": long}))
    record, _ = reproduce.reproduce("tiny", runs=trained / "runs")
    assert set(record.metrics) == {"error", "distance"}
    assert "error_long" not in results.render()
    for seed in (0, 1):
        shutil.copytree(trained / f"runs/tiny/only-{seed}", trained / f"runs/tiny/long-{seed}")
    record, _ = reproduce.reproduce("tiny", runs=trained / "runs", parts=["only", "long"])
    assert set(record.metrics) == {"error", "distance", "error_long"}
    assert "`error_long`" in results.render()


@pytest.fixture
def gained(tmp_path):
    """log p(x) `[50]` of parts and seeds, as annealing leaves it, by (part, seed)."""
    random, found = np.random.default_rng(0), {}
    for seed in (4, 7):
        images = random.normal(-90, 25, 50)  # images differ by far more than models
        found |= {("ahead", seed): images + seed + random.normal(0, 0.5, 50), ("behind", seed): images}
    for (part, seed), values in found.items():
        (tmp_path / f"{part}-{seed}").mkdir()
        np.save(tmp_path / f"{part}-{seed}" / "annealing.npy", values)
    return tmp_path, found


@pytest.mark.parametrize(("pair", "sign"), [(("ahead", "behind"), 1), (("behind", "ahead"), -1)])
def test_a_gain_is_the_first_parts_over_the_second_image_by_image(gained, pair, sign):
    folder, values = gained
    experiment = Experiment("gains", {}, gains={"gain": pair})
    found = reproduce._gains(experiment, folder, ["behind", "ahead"], [7, 4])
    differences = [values["ahead", seed] - values["behind", seed] for seed in (7, 4)]
    assert found == {
        "gain": pytest.approx([sign * np.mean(each) for each in differences]),
        "gain_se": pytest.approx([np.std(each, ddof=1) / np.sqrt(50) for each in differences]),
    }
    assert sign * np.array(found["gain"]) == pytest.approx([7, 4], abs=0.3)
    assert max(found["gain_se"]) < 0.1


def test_there_is_no_gain_over_a_part_that_was_left_out(gained):
    experiment = Experiment("gains", {}, gains={"gain": ("ahead", "behind")})
    assert reproduce._gains(experiment, gained[0], ["ahead"], [4, 7]) == {}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["aae-semi-10"], "did you mean 'aae-semi-100'"),
        ([], "takes the NAME"),
        (["tiny", "--show"], "no record of tiny yet; `tfaae reproduce tiny` makes one"),
        (["tiny", "--seeds", "a,b"], "--seeds takes integers"),
        (["tiny", "--part", "other"], "has no part other (parts: only)"),
    ],
)
def test_errors_are_one_line(tiny, arguments, says):
    ran = CliRunner().invoke(main, ["reproduce", *arguments])
    assert ran.exit_code == 2
    assert says in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_list_names_every_experiment():
    lines = CliRunner().invoke(main, ["reproduce", "--list"]).output.splitlines()
    assert [line.split()[0] for line in lines] == list(EXPERIMENTS)


def test_only_the_asked_experiment_is_known():
    with pytest.raises(InputError, match="choices: aae-cluster-16"):
        experiments.find("nothing")


def test_a_record_tells_where_its_runs_were_trained(trained):
    reproduce.Note(machine="a faster one", commit="def", seconds=7.0).keep(trained / "runs/tiny/only-0")
    (trained / "runs/tiny/only-1/trained.json").unlink()
    record, _ = reproduce.reproduce("tiny", runs=trained / "runs")
    assert (record.machine, record.commit, record.seconds) == ("a faster one", "def", 7.0)


def test_seconds_are_noted_while_a_run_trains(tmp_path):
    """With each checkpoint: a process that is killed comes to no end."""
    reproduce.Note(machine="here", commit="abc", seconds=100.0).keep(tmp_path)
    with reproduce._noted(tmp_path) as note:
        note()
        assert reproduce.Note.of(tmp_path).seconds > 100
        assert reproduce.Note.of(tmp_path).commit == "abc"


def test_seconds_of_an_interrupted_run_add_up(trained):
    folder = trained / "runs/tiny/only-0"
    before = reproduce.Note(machine="here", commit="abc", seconds=100.0)
    before.keep(folder)
    (folder / "measured-evaluate.json").unlink()
    record, _ = reproduce.reproduce("tiny", runs=trained / "runs", seeds=[0])
    assert record.seconds > 100
    assert record.machine == "here"
