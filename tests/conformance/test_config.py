"""A model's config is its constructor call: plain data that makes the same model again."""

import json

import pytest

from tests.cases import every_case
from tfaae.errors import InputError


@every_case
def test_round_trip_through_json(case):
    config = json.loads(json.dumps(case.build().get_config()))
    assert case.model.from_config(config).get_config() == config


@every_case
def test_every_argument_is_kept(case):
    config = case.build().get_config()
    assert set(case.arguments) | {"image_shape", "latent_dim", "seed"} <= set(config)
    assert config["seed"] == 3


@every_case
def test_strict(case):
    config = case.build().get_config()
    with pytest.raises(InputError, match="did you mean 'latent_dim'"):
        case.model.from_config(config | {"latent_dims": 2})
    del config["latent_dim"]
    with pytest.raises(InputError, match="missing argument 'latent_dim'"):
        case.model.from_config(config)
