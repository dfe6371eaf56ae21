"""Evaluation of a trained model on test images, and what its model card says."""

import numpy as np

from tfaae import data as sources
from tfaae import metrics
from tfaae.config import Config
from tfaae.data import Data
from tfaae.models import AAE, LatentModel, TwoCodes
from tfaae.seeds import fixed


def evaluate(model: LatentModel, data: Data) -> dict[str, float]:
    """Every number of a model on the test images.

    Its phases' terms, reconstruction error, match of codes and prior; where the model knows classes or clusters,
    errors in percent. Codes are draws from the posterior, as the prior is to be matched by E_x q(z | x). Validation
    images count where clusters are named by them.
    """
    test = data.test
    reported = model.evaluate(sources.in_order(test, metrics.rows_at_once(test.images)), verbose=0, return_dict=True)
    with model.seeds.kept():
        codes = metrics.batched(model.encode_sample, test.images)
    reconstructions = metrics.batched(model.reconstruct, test.images, test.labels)

    def draws(seed: int) -> np.ndarray:
        return model.prior.sample(len(codes), seed=fixed(seed)).numpy()

    found = {f"test_{term}": float(reported[term]) for term in model.reports}
    found["reconstruction_error"] = metrics.reconstruction_error(test.images, reconstructions)
    return found | metrics.prior_match(codes, draws) | _of_labels(model, data, codes)


def _of_labels(model: LatentModel, data: Data, codes: np.ndarray) -> dict[str, float]:
    test, validation = data.test, data.validation
    if isinstance(model, AAE) and model.labels:
        densities = [model.prior.log_prob(codes, np.full(len(codes), k)) for k in range(model.classes)]
        return {"codes_in_own_region_percent": metrics.in_own_region_percent(np.stack(densities, 1), test.labels)}
    if not isinstance(model, TwoCodes) or not (test.labels >= 0).any():
        return {}
    probabilities = metrics.batched(model.classify, test.images)
    if model.classes:
        return {"error_percent": metrics.classification_error_percent(probabilities, test.labels)}
    if not len(validation):
        return {}
    named_by = metrics.batched(model.classify, validation.images)
    return metrics.cluster_errors(named_by, validation.labels, probabilities, test.labels)


def card(config: Config, measured: str, model: LatentModel, values: dict[str, float]) -> str:
    """A model card in Markdown: what it is, how it was made, what it reaches on the test images of `measured`."""
    data = config.data.model_copy(update={"path": None, "data_dir": None})  # where data lay says nothing elsewhere
    config = config.model_copy(update={"data": data})
    rows = "".join(f"| {key} | {value:.5g} |\n" for key, value in values.items())
    told = " and labels `[n]` int32" if model.conditional else ""
    drawn = "labels" if model.conditional else "count"
    named = ", `classify` (images -> probabilities)" if isinstance(model, TwoCodes) else ""
    signatures = (
        f"`encode` (images -> codes, the posterior's mode), `decode` (codes{told} -> images), `reconstruct` and "
        f"`serving_default` (images{told} -> images), `sample` ({drawn}, seed `[2]` int32 -> images){named}"
    )
    height, width, channels = model.image_shape
    what = (type(model).__doc__ or "").splitlines()[0]
    return f"""# {type(model).__name__} on {config.data.name}

{what}

- Images: `[n, {height}, {width}, {channels}]` float32 in [0, 1]; codes: `[n, {model.code_dim}]` float32.
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
