"""Configs: every key is checked, every problem named, and a YAML file runs nothing."""

import subprocess
import sys
from typing import Annotated, Any, Literal

import pydantic
import pytest

from tfaae import config, naming, optimizers
from tfaae.errors import InputError, did_you_mean

GOOD = "data: {name: digits}\nmodel: {name: AAE, latent_dim: 2}\noptim: {reconstruction: {name: adam}}\n"


@pytest.fixture
def load(tmp_path):
    """A config from YAML text and overrides."""

    def from_text(text: str, *overrides: str) -> config.Config:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return config.load(path, overrides)

    return from_text


# === What loads ===


@pytest.mark.parametrize("path", sorted(config.folder().glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_config_loads_and_survives_to_yaml(path, load):
    loaded = config.load(path)
    assert load(loaded.to_yaml()) == loaded
    assert path.read_text(encoding="utf-8").startswith("# ")  # what `tfaae configs` shows


@pytest.mark.parametrize("value", ["1e5", "-1E-3", "no", "null", "é: #", "", 1e-5, 1e30, 3, True, None, [1, [2.5]]])
def test_every_value_survives_to_yaml(value, load):
    loaded = config.parse({"data": {"name": "x"}, "model": {"key": value}, "optim": {"phase": {"key": value}}})
    again = load(loaded.to_yaml())
    assert again == loaded
    assert type(again.model["key"]) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 1e5),
        ("-.5e+3", -500.0),
        ("1.0e-3", 0.001),
        ("'1e-3'", "1e-3"),
        ("1e", "1e"),
        ("0x1e3", 0x1E3),
        ("12", 12),
        ("a1e3", "a1e3"),
    ],
)
def test_numbers_are_read_as_people_write_them(text, value, load):
    read = load(GOOD, f"model.key={text}").model["key"]
    assert read == value
    assert type(read) is type(value)


def test_a_config_is_frozen():
    loaded = config.parse({"data": {"name": "digits"}, "model": {}, "optim": {}})
    with pytest.raises(pydantic.ValidationError):
        loaded.seed = 1


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("seed=3", ["seed"], 3),
        ("data.batch=7", ["data", "batch"], 7),
        ("train.epochs=2", ["train", "epochs"], 2),  # a section that the file leaves out
        ("model.latent_dim=5", ["model", "latent_dim"], 5),
        ("model.new_key=[1, 2]", ["model", "new_key"], [1, 2]),
        ("model.prior.noise=0.5", ["model", "prior", "noise"], 0.5),
        ("optim.reconstruction.learning_rate=1e-4", ["optim", "reconstruction", "learning_rate"], 1e-4),
        ("optim.new={name: sgd}", ["optim", "new", "name"], "sgd"),
        ("data.path=a=b", ["data", "path"], "a=b"),
        ("data.name=", ["data", "name"], InputError),
    ],
)
def test_set_reaches_any_key(override, path, value, load):
    if value is InputError:
        with pytest.raises(InputError, match="expected a text, got None"):
            load(GOOD, override)
        return
    found: Any = load(GOOD, override).model_dump()
    for key in path:
        found = found[key]
    assert found == value


def test_the_last_set_wins(load):
    assert load(GOOD, "seed=1", "seed=2").seed == 2


# === What is refused ===


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ["expected a mapping with the keys seed, data, model, optim, train"]),
        ("[1]", ["expected a mapping"]),
        ("data: {name: digits}", ["model: missing", "optim: missing"]),
        ("data: {}\nmodel: {}\noptim: {}", ["data.name: missing"]),
        ("data: 5\nmodel: x\noptim: [1]", ["data: expected a mapping, got 5", "model: expected", "optim: expected"]),
        (GOOD + "tran: {}", ["tran: unknown key; did you mean 'train'?", "known: seed, data"]),
        (
            GOOD + "train: {growing: {epochs: 1, batches: [1], learning_rates: [1.0]}}",
            ["train.growing.epochs: unknown key", "known: epochs_per_lod, batches, learning_rates"],
        ),
        (GOOD + "train: {epoch: 3}", ["train.epoch: unknown key; did you mean 'epochs'?"]),
        (GOOD + "train: {epochs: 0}", ["train.epochs: should be greater than or equal to 1, got 0"]),
        (GOOD + "train: {epochs: 2.5}", ["train.epochs: expected an integer, got 2.5"]),
        (GOOD + "train: {xla: 1}", ["train.xla: expected true, false or auto, got 1"]),
        (GOOD + "seed: '1'", ["seed: expected an integer, got '1'"]),
        (GOOD + "seed: -1", ["seed: should be greater than or equal to 0"]),
        (GOOD + "seed: 2147483648", ["seed: should be less than 2147483648"]),
        (GOOD + "1: 2", ["1: keys should be strings"]),
        (GOOD.replace("{name: adam}", "adam"), ["optim.reconstruction: expected a mapping, got 'adam'"]),
        (
            "data: {chanels: 1, channels: 2, batch: x}\nmodel: {}\noptim: {}\nseeds: 1",
            ["data.name: missing", "did you mean 'channels'", "1 (grey) or 3 (RGB), got 2", "data.batch", "seeds"],
        ),
        ("a: [", ["not valid YAML", "line 1"]),
        ("? [a]\n: b", ["not valid YAML"]),
        ("\0", ["not valid YAML"]),
    ],
)
def test_every_problem_of_a_file_is_told(text, told, load, tmp_path):
    with pytest.raises(InputError) as caught:
        load(text)
    for part in [str(tmp_path / "config.yaml"), *told]:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("seed", "--set takes key.sub=value, got 'seed'"),
        ("=3", "--set takes key.sub=value"),
        ("data..batch=1", "--set takes key.sub=value"),
        ("data.name.x=1", "name is a value, not a section"),
        ("model.key=[", "--set model.key=[: not valid YAML"),
        ("trains.epochs=3", "trains: unknown key; did you mean 'train'?"),
        ("train.epoch=3", "train.epoch: unknown key; did you mean 'epochs'?"),
        ("train.epochs=many", "train.epochs: expected an integer, got 'many'"),
    ],
)
def test_a_bad_set_is_refused(override, told, load):
    with pytest.raises(InputError) as caught:
        load(GOOD, override)
    assert told in str(caught.value)


@pytest.mark.parametrize("call", ["apply:os.system", "apply:subprocess.check_output", "new:os.system"])
def test_yaml_runs_nothing(call, load, tmp_path):
    bait = tmp_path / "bait"
    value = f"!!python/object/{call} ['touch {bait}']"
    for text, overrides in ((GOOD + f"seed: {value}", []), (GOOD, [f"seed={value}"])):
        with pytest.raises(InputError, match="not valid YAML"):
            load(text, *overrides)
    assert not bait.exists()


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="no UTF-8 text"):
        config.load(path)


def test_find_takes_names_and_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = config.folder() / "aae_digits.yaml"
    assert config.find("aae_digits") == shipped
    (tmp_path / "aae_digits").mkdir()  # a run that is named like its config
    assert config.find("aae_digits") == shipped
    assert config.find(str(shipped)) == shipped
    with pytest.raises(InputError, match="did you mean 'aae_digits'"):
        config.find("aae_digit")


def test_neither_configs_nor_commands_import_tensorflow():
    script = (
        "import sys, tfaae, tfaae.config, tfaae.cli; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# === Constructor arguments ===

Share = Annotated[float, pydantic.Field(ge=0, lt=1)]


class Base:
    def __init__(self, count: int = 1, *, seed: int | None = None):
        pass


class Example(Base):
    """One argument of each kind that models and priors have."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        units: tuple[int, ...] = (),
        arch: Literal["mlp", "conv"] = "mlp",
        rate: float = 0.0,
        share: Share = 0.0,
        flag: bool = False,
        anything: Any = None,
        bare=None,
        other: Base | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)


@pytest.mark.parametrize(
    "given",
    [
        {"shape": [8, 8, 1]},
        {"shape": (8, 8, 1), "units": [], "rate": 1, "seed": None, "count": 3},
        {"shape": [8, 8, 1], "arch": "conv", "flag": True, "share": 0, "anything": object(), "bare": "x"},
        {"shape": [8, 8, 1], "other": Base(), "rate": -1.5},
    ],
)
def test_arguments_that_fit(given):
    naming.check_arguments("thing", Example, given)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"shape": "8x8"}, "shape: expected a list, got '8x8'"),
        ({"shape": [8, 8]}, "shape.2: field required"),
        ({"units": [8, "x"]}, "units.1: expected an integer, got 'x'"),
        ({"units": 8}, "units: expected a list, got 8"),
        ({"arch": "cnv"}, "arch: should be 'mlp' or 'conv', got 'cnv'"),
        ({"rate": "1e-3"}, "rate: expected a number, got '1e-3'"),
        ({"rate": float("nan")}, "rate: expected a finite number, got nan"),
        ({"rate": True}, "rate: expected a number, got True"),
        ({"share": 1.0}, "share: should be less than 1, got 1.0"),
        ({"flag": 1}, "flag: expected true or false, got 1"),
        ({"seed": 1.5}, "seed: expected an integer, got 1.5"),
        ({"count": "x"}, "count: expected an integer, got 'x'"),
        ({"unit": [8]}, "unknown argument 'unit'; did you mean 'units'?"),
    ],
)
def test_arguments_that_do_not_fit(given, told):
    with pytest.raises(InputError) as caught:
        naming.check_arguments("thing", Example, {"shape": [8, 8, 1]} | given)
    assert str(caught.value).startswith("thing: ")
    assert told in str(caught.value)


def test_all_problems_of_a_call_at_once():
    with pytest.raises(InputError) as caught:
        naming.check_arguments("thing", Example, {"ratte": 1, "rate": "x", "flag": "y"})
    for told in ("'ratte'", "did you mean 'rate'", "missing argument 'shape'", "rate: expected", "flag: expected"):
        assert told in str(caught.value)


@pytest.mark.parametrize(
    ("word", "hint"), [("aae", "; did you mean 'AAE'?"), ("AE", "; did you mean 'AAE'?"), ("xyz", "")]
)
def test_did_you_mean_ignores_case(word, hint):
    assert did_you_mean(word, ["AAE", "Normal"]) == hint


# === Optimizers ===


@pytest.mark.parametrize(
    ("schedule", "at", "rates"),
    [
        ({"name": "CosineDecay", "initial_learning_rate": 0.1, "decay_epochs": 2}, [0, 10, 20], [0.1, 0.05, 0.0]),
        ({"name": "CosineDecay", "initial_learning_rate": 0.1}, [0, 20, 40], [0.1, 0.05, 0.0]),  # the whole run: 4
        (
            {"name": "PiecewiseConstantDecay", "boundary_epochs": [1, 2], "values": [0.3, 0.2, 0.1]},
            [10, 11, 21],
            [0.3, 0.2, 0.1],
        ),
        (
            {
                "name": "CosineDecay",
                "initial_learning_rate": 0.0,
                "decay_epochs": 1,
                "warmup_target": 0.1,
                "warmup_epochs": 1,
            },
            [0, 5, 10, 20],
            [0.0, 0.05, 0.1, 0.0],
        ),
    ],
)
def test_schedules_are_told_in_epochs(schedule, at, rates):
    built = optimizers.build("optim.phase", {"name": "sgd", "learning_rate": schedule}, steps_per_epoch=10, epochs=4)
    assert [float(built._learning_rate(step)) for step in at] == pytest.approx(rates, abs=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "rmsprop", "adamax", "nadam", "lion", "muon"])
def test_optimizers_by_name(name):
    built = optimizers.build("optim.phase", {"name": name, "learning_rate": 0.25}, steps_per_epoch=10, epochs=4)
    assert type(built).__name__.lower().removeprefix("fused") == name
    assert float(built.learning_rate) == 0.25


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"name": "adamm"}, ["did you mean 'adam'?"]),
        ({"name": "Adam"}, ["did you mean 'adam'?"]),
        ({}, ["expected a name"]),
        ({"beta1": 0.5}, ["unknown argument 'beta1'; did you mean 'beta_1'?"]),
        ({"beta_1": "high"}, ["beta_1: expected a number, got 'high'"]),
        ({"weight_decay": "x"}, ["weight_decay: expected a number"]),
        ({"clipnorm": 1.0, "clipvalue": 1.0}, ["Only one of"]),
        ({"name": "sgd", "momentum": 2.0}, ["momentum"]),
        *(({"learning_rate": rate}, ["a number above 0 or a schedule"]) for rate in (0, -1, "x", None, True, [1])),
        ({"learning_rate": float("nan")}, ["a number above 0 or a schedule"]),
        ({"learning_rate": {"name": "CosineDecy"}}, ["did you mean 'CosineDecay'?"]),
        (
            {"learning_rate": {"name": "CosineDecay", "decay_epoch": 3}},
            ["missing argument 'initial_learning_rate'", "did you mean 'decay_epochs'"],
        ),
        (
            {"learning_rate": {"name": "CosineDecay", "initial_learning_rate": 0.1, "decay_epochs": "x"}},
            ["decay_epochs: expected a number, got 'x'"],
        ),
        (
            {"learning_rate": {"name": "CosineDecay", "initial_learning_rate": 0.1, "decay_epochs": 0}},
            ["`decay_epochs` must be > 0"],
        ),
    ],
)
def test_wrong_optimizers(given, told):
    spec = given if not given else {"name": "adam"} | given
    with pytest.raises(InputError) as caught:
        optimizers.build("optim.phase", spec, steps_per_epoch=10, epochs=4)
    for part in ["optim.phase", *told]:
        assert part in str(caught.value)
