"""Every model trains under `fit`, reports what it says it reports, and answers its verbs."""

import numpy as np

from tests.cases import every_case, fit


@every_case
def test_reports_its_terms_and_counts_its_steps(case):
    model = case.compiled()
    images = case.images()
    history = model.fit(images, batch_size=8, epochs=2, verbose=0, validation_data=(images[:7],)).history
    assert {name for name in history if not name.startswith("val_")} == set(model.reports)
    assert all(np.isfinite(values).all() for values in history.values())
    assert int(model.steps) == 6
    assert set(model.phase_of) <= set(model.reports)
    assert set(model.phase_of.values()) == {phase.name for phase in model.phases()}


@every_case
def test_reconstruction_improves(case):
    model = case.compiled()
    images = case.images()
    history = fit(model, images, epochs=30).history["reconstruction"]
    assert history[-1] < history[0]


@every_case
def test_verbs(case):
    model = case.build()
    images = case.images(5)
    codes = model.encode(images)
    assert codes.shape == model.encode_sample(images).shape == (5, case.latent_dim)
    for pictures in (model(images), model.decode(codes), model.sample(5)):
        assert pictures.shape == images.shape
        assert 0 <= np.min(pictures) <= np.max(pictures) <= 1
    np.testing.assert_array_equal(model(images), model.decode(codes))
    np.testing.assert_array_equal(model.sample(5, seed=1), model.sample(5, seed=1))
    assert not np.array_equal(model.sample(5, seed=1), model.sample(5, seed=2))


@every_case
def test_mode_and_noise_stand_still_at_inference(case):
    model = case.build()
    images = case.images(5)
    before = np.asarray(model.seeds.state)
    np.testing.assert_array_equal(model.encode(images), model.encode(images))
    np.testing.assert_array_equal(model(images), model(images))
    np.testing.assert_array_equal(before, model.seeds.state)
