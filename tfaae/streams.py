"""What estimates of log p(x) share: a look at the model, batches of one shape, and a file of the finished ones."""

import contextlib
import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfaae import durable
from tfaae.errors import InputError

Results = Mapping[str, Any]  # arrays or tensors by name, images on the last axis

_LOOK = 8  # images


def checked(what: str, model: Any, images: np.ndarray) -> np.ndarray:
    """The images as float32, after a look at what the model makes of the first few.

    Args:
        what: is asking, for the messages.
        model: `log_joint(images [n, h, w, c], codes [..., n, d]) -> [..., n]`, log p(x, z) in nats, and
            `proposal(images) -> Distribution` over codes, batch shape `[n]`, event shape `[d]`.
        images: `[n, h, w, c]`.
    Raises:
        InputError: where the images are none or not finite, or the model gives other shapes or is not finite.
    """
    images = np.asarray(images, np.float32)
    if images.ndim != 4 or not len(images):
        raise InputError(f"{what}: expected images [n, h, w, c], at least one, got {images.shape}")
    if not np.isfinite(images).all():
        raise InputError(f"{what}: images must be finite; give images without nan or inf")
    lacking = [verb for verb in ("log_joint", "proposal") if not callable(getattr(model, verb, None))]
    if lacking:
        raise InputError(
            f"{what}: expected a model with log_joint and proposal (VAE, IWAE, AVB and AdaptiveAVB have them), got a "
            f"{type(model).__name__} without {' and '.join(lacking)}"
        )
    first = images[:_LOOK]
    proposal = model.proposal(first)
    if not isinstance(proposal, tfd.Distribution):
        raise InputError(f"{what}: expected proposal(images) to be a tfp distribution, got {type(proposal).__name__}")
    if tuple(proposal.batch_shape) != (len(first),) or len(proposal.event_shape) != 1:
        raise InputError(
            f"{what}: expected a proposal of batch shape [{len(first)}] and event shape [d] for {len(first)} images, "
            f"got {proposal.batch_shape} and {proposal.event_shape}"
        )
    found = np.asarray(model.log_joint(first, proposal.sample(2, seed=[0, 0])))
    if found.shape != (2, len(first)):
        raise InputError(
            f"{what}: expected log_joint {(2, len(first))} for codes [2, {len(first)}, d], got {found.shape}; "
            "sum over pixels and over codes, not over images"
        )
    if not np.isfinite(found).all():
        raise InputError(f"{what}: log_joint is not finite at codes from the proposal; look at the model's weights")
    return images


def usable(what: str, log_weights: np.ndarray, first: int) -> None:
    """Raises an InputError where a log weight is nan or +inf; `[..., n]`, of the images from number `first` on.

    (A code of density zero has -inf, rightly.)
    """
    wrong = np.isnan(log_weights) | np.isposinf(log_weights)
    if wrong.any():
        image = int(np.nonzero(wrong)[-1][0])
        raise InputError(
            f"{what}: a log weight of image {first + image} is {log_weights[wrong].flat[0]}: stopped; "
            "look at the model's log_joint and proposal there"
        )


def seed_of(seed: int, first: int) -> tf.Tensor:
    """`[2]` int32: a seed of its own for the batch whose first image is number `first`."""
    return tf.random.fold_in(tf.constant([seed, 0], tf.int32), first)


def over_batches(
    function: Callable[..., Results],
    arrays: Sequence[np.ndarray],
    batch: int,
    *,
    file: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    verbose: int = 0,
) -> dict[str, np.ndarray]:
    """`function(start, *rows)` for every `batch` rows of the arrays, joined on the last axis of its results.

    Args:
        function: gets `batch` rows always, so that it is compiled once: a short last batch repeats its last row, and
            what comes of the copies is dropped.
        arrays: `[n, ...]`.
        file: `.npz`, written after every batch; where it exists, the batches in it are not computed again.
        settings: JSON values that the results depend on: a file with others is refused.
        verbose: 1 shows Keras's progress bar.
    Raises:
        InputError: where the file has other settings, is not one of these, or there is no folder for it.
    """
    count = len(arrays[0])
    batch = min(batch, count)
    kept = {} if file is None else _read(Path(file), settings or {})
    done = next(iter(kept.values())).shape[-1] if kept else 0
    bar = keras.utils.Progbar(count, unit_name="image", verbose=verbose)
    for start in range(done, count, batch):
        rows = min(batch, count - start)
        found = function(start, *(_padded(array[start : start + rows], batch) for array in arrays))
        new = {name: np.asarray(values)[..., :rows] for name, values in found.items()}
        kept = _joined(file, kept, new) if kept else new
        if file is not None:
            _write(Path(file), kept, settings or {})
        bar.update(start + rows)
    return kept


def _joined(file: str | Path | None, kept: Results, new: Results) -> dict[str, np.ndarray]:
    if kept.keys() != new.keys() or any(kept[name].shape[:-1] != new[name].shape[:-1] for name in new):
        raise InputError(f"{file} holds {_told(kept)}, but what follows is {_told(new)}; give another file")
    return {name: np.concatenate((kept[name], new[name]), -1) for name in new}


def _told(arrays: Results) -> dict[str, list[int]]:
    return {name: list(array.shape) for name, array in arrays.items()}


def fingerprint(model: Any, images: np.ndarray) -> dict[str, float]:
    """What tells other images, and another model: log p(x, z) and the proposal at z = 0, nats, first few images."""
    first = images[:_LOOK]
    with model.seeds.given(tf.constant([0, 0])) if hasattr(model, "seeds") else contextlib.nullcontext():
        proposal = model.proposal(first)  # whose moments may be of draws
    codes = tf.zeros((1, len(first), proposal.event_shape[0]), proposal.dtype)
    return {
        "images": zlib.crc32(images.tobytes()),
        "log_joint_at_0": float(np.sum(model.log_joint(first, codes))),
        "proposal_at_0": float(np.sum(proposal.log_prob(codes))),
    }


def _padded(rows: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate((rows, np.repeat(rows[-1:], count - len(rows), axis=0)))


def _write(file: Path, arrays: Results, settings: Mapping[str, Any]) -> None:
    with durable.replacing(file) as partial, partial.open("wb") as stream:
        np.savez(stream, settings=np.array(json.dumps(settings)), **arrays)


def _read(file: Path, settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if not file.parent.is_dir():
        raise InputError(f"{file}: no folder {file.parent}; make it first")
    if not file.exists():
        return {}
    try:
        if not file.is_file():
            raise ValueError("no file")
        with file.open("rb") as stream, np.load(stream) as stored:
            arrays = {name: stored[name] for name in stored.files}
        before = dict(json.loads(str(arrays.pop("settings"))))
        if len({array.shape[-1] for array in arrays.values()}) != 1:
            raise ValueError(f"arrays {_told(arrays)}")
    except Exception as error:  # numpy, zip, zlib and JSON each raise their own at a damaged file
        raise InputError(f"{file} does not hold finished batches ({error}); give another file") from None
    for name in sorted({*before, *settings}):
        if not _same(before.get(name), settings.get(name)):
            raise InputError(
                f"{file} was begun with {name} {before.get(name)}, not {settings.get(name)}; "
                "give the same settings, or another file"
            )
    return arrays


def _same(before: Any, now: Any) -> bool:
    """Rounding differs between devices: fractions are equal to four digits."""
    fractions = isinstance(before, float) and isinstance(now, float)
    return math.isclose(before, now, rel_tol=1e-4) if fractions else before == now
