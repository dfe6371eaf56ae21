"""docs/adding-a-model.md: what it tells to write works, and has every property that a model of the package has."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.cases import Case
from tests.conformance import test_config, test_fit, test_phases, test_save, test_seeds
from tfaae import export, metrics, train

PAGE = (Path(__file__).parent.parent / "docs" / "adding-a-model.md").read_text(encoding="utf-8")
FILE, ROW, SCRIPT = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
(CONFIG,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def wae(tmp_path_factory):
    """The page's file as a module."""
    path = tmp_path_factory.mktemp("models") / "wae.py"
    path.write_text(FILE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("wae", path)
    module = sys.modules["wae"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["wae"]


@pytest.fixture(scope="module")
def case(wae) -> Case:
    """The page's row."""
    names = {"WAE": wae.WAE}
    exec(ROW, names)
    return names["ROW"]["wae"]


@pytest.mark.parametrize(
    "check",
    [
        test_config.test_round_trip_through_json,
        test_config.test_every_argument_is_kept,
        test_config.test_strict,
        test_fit.test_verbs,
    ],
)
def test_is_a_model_like_the_others(check, case):
    check(case)


@pytest.mark.parametrize(
    "check", [test_phases.test_gradients_reach_all_that_a_phase_trains, test_phases.test_a_phase_moves_its_parts_alone]
)
def test_its_phase_moves_what_it_declares(check, case):
    (phase,) = case.build().phases()
    check(case, phase.name)


@pytest.mark.slow
@pytest.mark.parametrize("check", [test_fit.test_trains_and_reports_its_terms, test_seeds.test_one_seed_gives_one_run])
def test_trains_like_the_others(check, case):
    check(case)


@pytest.mark.slow
def test_is_saved_like_the_others(case, tmp_path):
    test_save.test_a_loaded_model_continues_bit_for_bit(case, tmp_path)


@pytest.mark.slow
def test_is_exported_like_the_others(case, tmp_path):
    version, report = export.save(case.compiled(), tmp_path, case.data(), formats=("float32",))
    assert max(report.differences.values()) < case.model.export_limit
    assert (version / "generator.tflite").is_file()


def test_the_discrepancy_is_the_sum_over_pairs_of_algorithm_2(wae):
    random = np.random.default_rng(0)
    draws, codes = random.normal(size=(2, 7, 3)).astype(np.float32)
    scale = 2 * np.var(draws, axis=0).sum()

    def k(a, b):
        return scale / (scale + np.sum((a - b) ** 2))

    pairs = [(i, j) for i in range(7) for j in range(7)]
    alike = sum(k(draws[i], draws[j]) + k(codes[i], codes[j]) for i, j in pairs if i != j) / (7 * 6)
    across = sum(k(draws[i], codes[j]) for i, j in pairs) / 7**2
    np.testing.assert_allclose(wae.mmd(draws, codes), alike - 2 * across, rtol=1e-5)


def test_the_penalty_brings_codes_to_the_prior(wae, digits):
    """One network, with the paper's weight and without: all else is the same."""
    apart = {}
    for weight in (0.0, 10.0):
        model = wae.WAE(digits.image_shape, 2, units=[64], weight=weight, seed=0)
        model.compile({"transport": "adam"}, jit_compile=False)
        model.fit(digits.train.images, batch_size=100, epochs=10, verbose=0)
        draws = np.random.default_rng(0).normal(size=(len(digits.test), 2))
        apart[weight] = metrics.sliced_wasserstein(model.encode(digits.test.images).numpy(), draws)
    assert apart[10.0] < apart[0.0] / 5


@pytest.mark.slow
def test_its_config_and_script_run(wae, tmp_path, monkeypatch, capsys):
    """On the embedded digits, for MNIST may be absent; one epoch without XLA."""
    told = yaml.safe_load(CONFIG)
    assert CONFIG.startswith("# WAE")
    told["data"] = {"name": "digits", "batch": 200}
    told["model"]["units"] = [16]
    told["train"] = {"epochs": 1, "xla": False}
    (tmp_path / "wae_mnist.yaml").write_text(yaml.safe_dump(told))
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(SCRIPT, names)
    assert isinstance(names["model"], wae.WAE)
    assert names["pictures"].shape == (16, 8, 8, 1)
    assert (tmp_path / "runs" / "wae" / "history.csv").is_file()
    assert train.load("runs/wae")[1].model["weight"] == 10.0
