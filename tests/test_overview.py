"""The README's picture: what it shows is what the model does."""

import numpy as np

from tfaae import AAE, figures, overview


def test_shows_what_the_model_does():
    model = AAE((8, 8, 1), 2, prior="SwissRoll", units=[8], discriminator_units=[8], seed=0)
    images = np.random.default_rng(0).uniform(size=(30, 8, 8, 1)).astype(np.float32)
    labels = np.arange(30, dtype=np.int32) % 10
    figure = overview.of_model(model, images, labels)
    inputs, outputs, codes, walk = figure.axes[1:]
    np.testing.assert_allclose(shown(inputs)[-8:, -8:], images[7, ..., 0])
    np.testing.assert_allclose(shown(outputs)[-8:, -8:], model.reconstruct(images[7:8])[0, ..., 0], atol=1e-5)
    draws, points = (np.asarray(layer.get_offsets()) for layer in codes.collections)
    np.testing.assert_allclose(points, model.encode(images), atol=1e-5)
    colours = codes.collections[1].get_facecolors()
    assert (colours[3] == colours[13]).all()
    assert (colours[3] != colours[4]).any()
    assert len(draws) == 2500
    (path,) = model.manifolds().values()
    np.testing.assert_allclose(shown(walk)[-8:, -8:], model.decode(path[-1, -1:])[0, ..., 0], atol=1e-5)
    assert figures.to_png(figure).startswith(b"\x89PNG")


def shown(axes) -> np.ndarray:
    return np.asarray(axes.images[0].get_array())
