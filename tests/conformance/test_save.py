"""A `.keras` file holds everything: a loaded model goes on exactly as the saved one would have."""

import keras
import numpy as np
import pytest

from tests.cases import assert_same, every_case, fit, state


@every_case
def test_a_loaded_model_continues_bit_for_bit(case, tmp_path):
    model = case.compiled()
    fit(model, case)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(state(model), state(loaded))
    fit(model, case)
    fit(loaded, case)
    assert_same(state(model), state(loaded))
    assert int(loaded.steps) == 6


@pytest.mark.slow  # what a loaded model goes on as is tested above, and what a run goes on as in test_resume.py
@every_case
def test_stopping_changes_nothing(case, tmp_path):
    whole, half = case.compiled(), case.compiled()
    for model in (whole, half):
        fit(model, case)
    half.save(tmp_path / "half.keras")
    fit(whole, case)
    resumed = keras.saving.load_model(tmp_path / "half.keras")
    fit(resumed, case)
    assert_same(state(whole), state(resumed))


@every_case
def test_a_loaded_model_answers_the_same(case, tmp_path):
    model = case.compiled()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    given = case.images(), case.labels()
    np.testing.assert_array_equal(model.reconstruct(*given), loaded.reconstruct(*given))
    np.testing.assert_array_equal(model.sample(3), loaded.sample(3))
