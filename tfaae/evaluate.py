"""Evaluation of a trained model on test images."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfaae import annealing, bounds, metrics, reference
from tfaae import data as sources
from tfaae.chains import Schedule, Start
from tfaae.data import Data
from tfaae.errors import InputError
from tfaae.models import AAE, AdaptiveAVB, ExplicitModel, LatentModel, TwoCodes, VariationalInference
from tfaae.seeds import fixed

BOUNDED, IMPORTANCE_SAMPLES = 1000, 500  # images, and draws for each, of the importance bound
TRUSTED = 5.0  # nats of KL that a discriminator learns reliably (measured on Gaussians in 8 dimensions)


def evaluate(model: Any, data: Data) -> dict[str, float]:
    """Every number of a model on the test images; of a model without images, those of `of_target`.

    Its phases' terms, reconstruction error, match of codes and prior; where the model knows classes or clusters,
    errors in percent. Codes are draws from the posterior, as the prior is to be matched by E_x q(z | x). Validation
    images count where clusters are named by them.
    """
    if isinstance(model, VariationalInference):
        return of_target(model)
    _settle(model)
    test = data.test
    reported = model.evaluate(sources.in_order(test, metrics.rows_at_once(test.images)), verbose=0, return_dict=True)
    with model.seeds.kept():
        codes = metrics.batched(model.encode_sample, test.images)
    reconstructions = metrics.batched(model.reconstruct, test.images, test.labels)

    def draws(seed: int) -> np.ndarray:
        return model.sample_codes(len(codes), seed=fixed(seed)).numpy()

    found = {f"test_{term}": float(reported[term]) for term in model.reports}
    found["reconstruction_error"] = metrics.reconstruction_error(test.images, reconstructions)
    found |= _of_likelihood(model, test.images[:BOUNDED], found)
    return found | metrics.prior_match(codes, draws) | _of_labels(model, data, codes)


def _of_likelihood(model: LatentModel, images: np.ndarray, found: dict[str, float]) -> dict[str, float]:
    """A lower bound on log p(x) without an adversary, beside T's estimate where there is one."""
    if not isinstance(model, ExplicitModel):
        return {}
    _warn_of_contrast(found, "importance_bound is one, and tfaae.annealing gives log p(x) itself")
    bound = bounds.importance_bound(model, images, IMPORTANCE_SAMPLES, jit_compile=is_dense(model))
    return {"importance_bound": float(np.mean(bound))}


def _warn_of_contrast(found: dict[str, float], instead: str) -> None:
    contrast = found.get("test_contrast", 0.0)
    if contrast > TRUSTED:
        warnings.warn(
            f"T puts the divergence of posterior and contrast at {contrast:.1f} nats; a discriminator that is trained "
            f"on draws is reliable up to {TRUSTED:g}, and too low or far too high beyond: do not read elbo_t_estimate "
            f"as a bound. {instead}",
            stacklevel=4,
        )


def is_dense(model: ExplicitModel) -> bool:
    """Whether XLA is to decode many codes: its convolutions are slow on a CPU."""
    return model.arch == "mlp"


def _settle(model: Any) -> None:
    if isinstance(model, AdaptiveAVB):
        model.settle()


def log_likelihood(
    model: Any,
    images: np.ndarray,
    file: Path,
    *,
    steps: int = 1000,
    chains: int = 5,
    draws: int = 5000,
    gap: int | None = None,
    start: Start = "proposal",
    schedule: Schedule = "linear",
) -> dict[str, float]:
    """log p(x) in nats by annealing and the importance bound, each with its standard error over images.

    `elbo_below` and `elbo_above` enclose the ELBO; where T alone knows the posterior's density they are not there.
    `effective_samples` is the mean over images, 1 to `chains`; `acceptance` that of the last transitions.

    Args:
        images: `[n, h, w, c]`.
        file: `.npz` for finished batches of images, and, with the suffix `.npy`, for log p(x) `[n]`.
        steps, chains, start, schedule: of `annealing.annealed_importance`.
        draws: of `bounds.importance_bound`.
        gap: draw so many images from the model, and bound log p(x) of them from both sides: `gap` is the difference.
    Raises:
        InputError: a model without `log_joint`, or as `annealed_importance`.
    """
    if not isinstance(model, ExplicitModel):
        raise InputError(
            f"{type(model).__name__} has no density to estimate; VAE, IWAE, AVB and AdaptiveAVB have. For any model "
            "there is the Parzen window, tfaae.likelihood.parzen_report"
        )
    _settle(model)
    chosen: dict[str, Any] = {"steps": steps, "chains": chains, "start": start, "schedule": schedule}
    chosen["jit_compile"] = is_dense(model)
    annealed = annealing.annealed_importance(model, images, file=file, **chosen)
    np.save(file.with_suffix(".npy"), annealed.log_likelihood)
    found: dict[str, float] = {}
    bound = bounds.importance_bound(model, images, draws, jit_compile=is_dense(model), verbose=1)
    for name, values in {"ais": annealed.log_likelihood, f"importance_bound_{draws}": bound}.items():
        found[name], found[f"{name}_se"] = bounds.summary(values)
    if hasattr(model.encoder, "density_between"):
        below, above = bounds.elbo_between(model, images)
        found |= {"elbo_below": float(np.mean(below)), "elbo_above": float(np.mean(above))}
    found["effective_samples"] = float(np.mean(annealed.effective_samples))
    found["acceptance"] = float(np.mean(annealed.acceptance))
    if gap:
        found["gap"] = annealing.bidirectional(model, gap, **chosen).gap
    return found


def of_target(model: VariationalInference) -> dict[str, float]:
    """The numbers of a model of a density, nats: its terms over 400 x 512 draws, and how far q is from a known target.

    `elbo` and `kl`, log evidence - ELBO, are exact up to the draws for a q with a density, and end in `_t_estimate`
    where T estimates them. For named targets also `kl_knn`, from samples alone; for Eight Schools `kl_marginal` as well
    (`tfaae.reference` says how they are biased), and `positive_tau_fraction`, 0.5 where both modes are found.
    """
    ticks = tf.data.Dataset.from_tensors(tf.zeros([512])).repeat(400)
    reported = model.evaluate(ticks, verbose=0, return_dict=True)
    found = {f"test_{term}": float(reported[term]) for term in model.reports}
    suffix = "_t_estimate" if "negative_elbo_t_estimate" in model.reports else ""
    elbo = -float(reported[f"negative_elbo{suffix}"])
    found[f"elbo{suffix}"] = elbo
    if model.density.log_evidence is not None:
        found[f"kl{suffix}"] = model.density.log_evidence - elbo
    _warn_of_contrast(found, "Named densities have kl_knn, and tfaae.reference.nuts draws from any to compare with")
    if reference.sampler(model.density) is None:
        return found
    samples = model.sample(20_000, seed=0).numpy()
    found["kl_knn"] = reference.divergence(samples[:10_000], model.density)
    if model.density.name == "eight_schools":
        found["kl_marginal"] = reference.marginal_kl(samples)
        found["positive_tau_fraction"] = float((samples[:, 1] > 0).mean())
    return found


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
