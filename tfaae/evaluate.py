"""Evaluation of a trained model on test images, and what its model card says."""

import numpy as np

from tfaae import data as sources
from tfaae import metrics
from tfaae.config import Config
from tfaae.data import Split
from tfaae.models import LatentModel
from tfaae.seeds import fixed


def evaluate(model: LatentModel, test: Split) -> dict[str, float]:
    """Every number of a model on `test`: its phases' terms, reconstruction error, match of codes and prior.

    Codes are draws from the posterior, as the prior is to be matched by E_x q(z | x).
    """
    reported = model.evaluate(sources.in_order(test, metrics.rows_at_once(test.images)), verbose=0, return_dict=True)
    with model.seeds.kept():
        codes = metrics.batched(model.encode_sample, test.images)
    reconstructions = metrics.batched(model, test.images)

    def draws(seed: int) -> np.ndarray:
        return model.prior.sample(len(codes), seed=fixed(seed)).numpy()

    found = {f"test_{term}": float(reported[term]) for term in model.reports}
    found["reconstruction_error"] = metrics.reconstruction_error(test.images, reconstructions)
    return found | metrics.prior_match(codes, draws)


def card(config: Config, measured: str, model: LatentModel, values: dict[str, float]) -> str:
    """A model card in Markdown: what it is, how it was made, what it reaches on the test images of `measured`."""
    data = config.data.model_copy(update={"path": None, "data_dir": None})  # where data lay says nothing elsewhere
    config = config.model_copy(update={"data": data})
    rows = "".join(f"| {key} | {value:.5g} |\n" for key, value in values.items())
    signatures = (
        "`encode` (images -> codes, the posterior's mode), `decode` (codes -> images), `reconstruct` and "
        "`serving_default` (images -> images), `sample` (count, seed `[2]` int32 -> images)"
    )
    height, width, channels = model.image_shape
    what = (type(model).__doc__ or "").splitlines()[0]
    return f"""# {type(model).__name__} on {config.data.name}

{what}

- Images: `[n, {height}, {width}, {channels}]` float32 in [0, 1]; codes: `[n, {model.latent_dim}]` float32.
- SavedModel signatures: {signatures}.
- `encoder.tflite` (signature `encode`) and `generator.tflite` (signature `decode`), float32.

## Trained by

Steps: {int(model.steps)}. Config:

```yaml
{config.to_yaml()}```

## Test images of {measured}

| metric | value |
|---|---|
{rows}"""
