"""Codes, images, labels, counts and seeds that a program hands to verbs: what they are to give, or an InputError."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.cases import CASES
from tests.fuzz.cases import REFUSED, counts, hold, outcome

SHAPE = st.one_of(
    arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4),
    st.sampled_from(
        [(2, 8, 8, 1), (2, 8, 8, 3), (1, 4, 4, 1), (2, 8, 8), (3, 2), (1, 3), (2, 6, 4), (0, 8, 8, 1), (0, 2)]
    ),
)
DTYPE = st.sampled_from(
    [np.float32, np.float64, np.float16, np.uint8, np.int64, np.bool_, np.complex64, "U2", "O", ">f4"]
)
ARRAY = st.builds(lambda shape, dtype: np.zeros(shape, dtype), SHAPE, DTYPE)
ANYTHING = st.one_of(
    ARRAY,
    ARRAY,
    st.none(),
    st.text(max_size=3),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.recursive(st.integers(0, 3) | st.floats(), lambda inner: st.lists(inner, max_size=3), max_leaves=6),
    st.just({}),
    st.builds(lambda value: np.full((2, 8, 8, 1), value, np.float32), st.floats(width=32)),
    st.builds(lambda value: np.full((3, 2), value, np.float32), st.floats(width=32)),
)
COUNT = st.one_of(
    st.integers(-2, 4), st.sampled_from([None, 2**31, 10**30, 10**9, 1.5, "3", True]), st.just(np.int64(2))
)
SEED = st.one_of(
    st.integers(-(2**33), 2**33), st.sampled_from([None, "0", 1.5, [0, 1], [1, 2, 3], [0.5, 1], np.int32([1, 2])])
)
LABELS = st.one_of(
    st.none(),
    st.none(),
    st.lists(st.integers(-1, 3), max_size=4),
    st.sampled_from([[0.5], "0", [[0]], 1, [10**30], [[0], 1]]),
)
MODELS = [
    "aae-deterministic",
    "supervised-averaged",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("style-alae", "clustering", "alae", "iwae")),
]


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return CASES[request.param].build()


def well_formed(found, shape: tuple[int | None, ...], rows) -> None:
    """`rows`: how many, or what one comes of each of."""
    if found is not REFUSED:
        assert isinstance(found, tf.Tensor)
        assert found.dtype == tf.float32
        assert tuple(found.shape) == (len(rows) if hasattr(rows, "__len__") else rows, *shape)


@counts(5, 60)
def test_images(count, model):
    def check(images):
        code = model.encode(np.zeros((1, *model.image_shape), np.float32)).shape[1:]
        well_formed(outcome(model.encode, images), code, images)
        if hasattr(model, "classify"):
            outcome(model.classify, images)
        if not model.conditional:
            well_formed(outcome(model.reconstruct, images), model.image_shape, images)

    hold(count, check, images=ANYTHING)


@counts(5, 60)
def test_codes(count, model):
    def check(codes, labels):
        given = (codes, labels) if model.conditional else (codes,)
        well_formed(outcome(model.decode, *given), model.image_shape, codes)

    hold(count, check, codes=ANYTHING, labels=LABELS)


@counts(5, 40)
def test_draws(count, model):
    def check(number, labels, seed):
        drawn = outcome(model.sample, number, labels=labels, seed=seed)
        well_formed(drawn, model.image_shape, number if labels is None else labels)

    hold(count, check, number=COUNT, labels=LABELS, seed=SEED)
