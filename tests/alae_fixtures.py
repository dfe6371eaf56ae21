"""The reference outputs of ALAE, in our layouts; float64 as long as a test needs it."""

import json
import zlib

import keras
import numpy as np
import pytest

from tests.conftest import SHARED

FIXTURES = SHARED / "fixtures" / "alae"


def load(name: str) -> tuple[dict[str, np.ndarray], dict]:
    """The arrays and the description of one file; the test is skipped where it is absent."""
    path = FIXTURES / name
    if not path.is_file():
        pytest.skip(f"{path} is absent: nothing to compare with")
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    return arrays, json.loads(str(arrays.pop("meta_json")))


@pytest.fixture
def float64():
    """Networks and models that are made inside compute in float64."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])


def nhwc(array: np.ndarray) -> np.ndarray:
    """Images, and maps, with channels last, in float64."""
    return array.astype(np.float64).transpose(0, 2, 3, 1)


def ours(array: np.ndarray, shape) -> np.ndarray:
    """One of the authors' tensors in the layout of ours that has the shape."""
    array = np.asarray(array, np.float64)
    if array.ndim == 4 and len(shape) == 4:
        array = array.transpose(0, 2, 3, 1) if tuple(shape[:3]) == (1, 4, 4) else array.transpose(2, 3, 1, 0)
    elif array.ndim == 2:
        array = array.T
    elif len(shape) == 1:
        array = array.reshape(-1)
    return array


def fill(network, group: str, arrays: dict[str, np.ndarray], logit: int | None = None) -> None:
    """Gives a network's weights the authors' values `group.name`. `logit`: the row of D's last layer that counts."""
    for name, variable in network.published().items():
        variable.assign(picked(arrays[f"{group}.{name}"], variable, logit))


def picked(array: np.ndarray, variable, logit: int | None) -> np.ndarray:
    """`ours`, of D's last layer the one row that counts."""
    found = ours(array, variable.shape)
    if logit is not None and found.shape != tuple(variable.shape):
        found = found[..., logit : logit + 1]
    assert found.shape == tuple(variable.shape)
    return found


def recipe(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """The weights of `alae_mlp_ref.npz`, which its README tells how to draw."""
    found = {}
    for key, shape in shapes.items():
        scale = 0.1 if key.endswith("bias") else np.sqrt(2 / np.prod(shape[1:]))
        draw = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
        found[key] = (draw * scale).astype(np.float32).astype(np.float64)
    return found
