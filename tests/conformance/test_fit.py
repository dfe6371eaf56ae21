"""Every model trains under `fit`, reports what it says it reports, and answers its verbs."""

import numpy as np
import pytest

from tests.cases import every_case
from tfaae.errors import InputError
from tfaae.models import ALAE, StyleALAE


@every_case
def test_trains_and_reports_its_terms(case):
    model = case.compiled()
    given = case.images(), case.labels()
    held_out = tuple(array[:7] for array in given)
    told = {"batch_size": 8, "epochs": 30, "verbose": 0, "validation_data": held_out, "validation_freq": 30}
    history = model.fit(*given, **told).history
    assert {name for name in history if not name.startswith("val_")} == set(model.reports)
    assert all(np.isfinite(values).all() for values in history.values())
    assert int(model.steps) == 3 * 30
    assert set(model.phase_of) <= set(model.reports)
    assert set(model.phase_of.values()) == {phase.name for phase in model.phases()}
    if not issubclass(case.model, ALAE | StyleALAE):  # these minimise reciprocity of codes, not an error of pixels
        assert history["reconstruction"][-1] < history["reconstruction"][0]


@every_case
def test_verbs(case):
    model = case.build()
    images, labels = case.images(5), case.labels(5)
    codes = model.encode(images)
    told = (labels,) if model.conditional else ()
    assert codes.shape == model.encode_sample(images).shape == (5, model.code_dim)
    for pictures in (model.reconstruct(images, *told), model.decode(codes, *told), model.sample(5)):
        assert pictures.shape == images.shape
        assert 0 <= np.min(pictures) <= np.max(pictures) <= 1
    np.testing.assert_array_equal(model((images, *told) if told else images), model.decode(codes, *told))
    np.testing.assert_array_equal(model.sample(5, seed=1), model.sample(5, seed=1))
    assert not np.array_equal(model.sample(5, seed=1), model.sample(5, seed=2))


@every_case
def test_samples_of_labels(case):
    model = case.build()
    if not (model.conditional or model.prior.segments):
        with pytest.raises(InputError, match="no labelled segments"):
            model.sample(labels=[0])
        return
    zeros = model.sample(labels=[0, 0, 0], seed=1)
    assert zeros.shape == (3, *case.image_shape)
    np.testing.assert_array_equal(zeros, model.sample(3, labels=[0, 0, 0], seed=1))
    assert not np.array_equal(zeros, model.sample(labels=[1, 1, 1], seed=1))
    with pytest.raises(InputError, match="one label a draw"):
        model.sample(2, labels=[0])
    with pytest.raises(InputError, match="expected labels 0 to"):
        model.sample(labels=[99])


@every_case
def test_mode_and_noise_stand_still_at_inference(case):
    model = case.build()
    images = case.images(5)
    before = np.asarray(model.seeds.state)
    np.testing.assert_array_equal(model.encode(images), model.encode(images))
    labels = case.labels(5)
    np.testing.assert_array_equal(model.reconstruct(images, labels), model.reconstruct(images, labels))
    np.testing.assert_array_equal(before, model.seeds.state)
