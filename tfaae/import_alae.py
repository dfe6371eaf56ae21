"""The authors' StyleALAE checkpoints (github.com/podgorskiy/ALAE) -> `StyleALAE`, without PyTorch.

A checkpoint is `{"models": {group: {name: tensor}}, ...}`, with the layouts of `style_networks`' docstring. A name that
is missing, one too many, or another shape is an error.
"""

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfaae import export, torch_files
from tfaae.data import Data
from tfaae.errors import InputError, did_you_mean
from tfaae.image_sources import Split
from tfaae.models import StyleALAE
from tfaae.style_layers import Named
from tfaae.torch_files import Tensor
from tfaae.verification import Report

GROUPS = {"mapping": "mapping_fl", "discriminator": "mapping_tl", "decoder": "generator", "encoder": "discriminator"}
AVERAGE = "dlatent_avg"
FORMATS = ("float32", "float16")  # the others would have to be calibrated and judged on images that are not at hand
BLUR = re.compile(r"(de|en)code_block\.\d+\.blur\.weight")
BINOMIAL = np.outer([1, 2, 1], [1, 2, 1]) / 16
Group = Mapping[str, Any]


class Architecture(NamedTuple):
    """What the shapes of a checkpoint tell."""

    size: int
    channels: int
    latent_dim: int
    mapping_depth: int
    base_channels: int
    max_channels: int


def load(path: str | Path, *, raw: bool = False) -> StyleALAE:
    """The model of a checkpoint.

    Args:
        raw: the weights as they were trained, rather than their running averages.
    Raises:
        InputError: with the file's name: no checkpoint, one of something else, or tensors that do not fit, by name.
    """
    with torch_files.opened(path) as contents:
        return _model(groups_of(contents, raw=raw))


def _model(groups: Mapping[str, Group]) -> StyleALAE:
    found = architecture(groups)
    size, channels, arguments = found.size, found.channels, found._asdict()
    del arguments["size"], arguments["channels"]
    # its weights are averages already, and E's roots are taken as the authors take them
    model = StyleALAE((size, size, channels), ema_images=0.0, std_epsilon=0.0, seed=0, **arguments)
    mean = average_of(groups, model.plan.levels, found.latent_dim)
    fill({part: getattr(model, part) for part in GROUPS}, groups, found.latent_dim)
    model.mean_code.mean.assign(mean)
    return model


def save(path: str | Path, folder: str | Path, *, raw: bool = False) -> tuple[Path, Report]:
    """A checkpoint as a version of an export, with `model.keras` in it; on failure, nothing.

    Args:
        path, raw: of `load`.
        folder: of `export.save`, which compares the export with the Keras model, on images of its own here.
    Returns:
        As `export.save`.
    """
    model = load(path, raw=raw)
    images = Split(model.sample(4, seed=0).numpy(), np.full(4, -1, np.int32))
    data = Data(images, images, images, ())
    version, report = export.save(model, folder, data, card=_card(Path(path), model, raw), formats=FORMATS)
    try:
        model.save(version / "model.keras")
    except BaseException:
        shutil.rmtree(version)
        raise
    return version, report


def groups_of(contents: Any, *, raw: bool) -> dict[str, Group]:
    """{our part, or `AVERAGE`: its tensors by name} of what `torch_files.opened` gives.

    Args:
        raw: the weights as they were trained, rather than their running averages, which are taken where there are any.
    """
    models = contents.get("models") if isinstance(contents, dict) else None
    known = [*GROUPS.values(), AVERAGE, *(f"{group}_s" for group in GROUPS.values())]
    if not isinstance(models, dict) or not models.keys() & set(known):
        found = sorted(map(str, contents)) if isinstance(contents, dict) else type(contents).__name__
        raise InputError(f"no checkpoint of ALAE: expected `models` with the groups {', '.join(known)}; got {found}")
    if unknown := models.keys() - set(known):
        raise InputError(f"unknown groups in `models`: {_some(map(repr, unknown))}; known: {', '.join(known)}")
    suffix = "_s" if not raw and any(f"{group}_s" in models for group in GROUPS.values()) else ""
    taken = {part: f"{group}{suffix}" for part, group in GROUPS.items()} | {AVERAGE: AVERAGE}
    for group in taken.values():
        if not isinstance(models.get(group), dict):
            raise InputError(f"`models` has no group {group}")
    return {part: models[group] for part, group in taken.items()}


def architecture(groups: Mapping[str, Group]) -> Architecture:
    """Read off a few tensors. Those that decide its size are square: a file that claims a large model is as large."""
    levels = sum(re.fullmatch(r"to_rgb\.\d+\.to_rgb\.weight", str(name)) is not None for name in groups["decoder"])
    depth = sum(re.fullmatch(r"map_blocks\.\d+\.fc\.weight", str(name)) is not None for name in groups["mapping"])

    def shape(part: str, name: str, dimensions: int) -> tuple[int, ...]:
        tensor = groups[part].get(name)
        if not isinstance(tensor, Tensor) or len(tensor.shape) != dimensions:
            raise InputError(
                f"{GROUPS[part]}: expected a tensor {name} of {dimensions} dimensions, got {_told(tensor)}"
            )
        return tensor.shape

    if not 2 <= levels <= 9:
        raise InputError(f"{GROUPS['decoder']}: expected 2 to 9 tensors to_rgb.N.to_rgb.weight, got {levels}")
    channels = shape("decoder", "to_rgb.0.to_rgb.weight", 4)[0]
    dim, same = shape("mapping", "map_blocks.0.fc.weight", 2)
    first, also_first = shape("encoder", "encode_block.0.conv_1.weight", 4)[:2]
    inner, also_inner = shape("encoder", f"encode_block.{levels - 1}.conv_1.weight", 4)[:2]
    last = shape("encoder", f"encode_block.{levels - 1}.conv_2.weight", 4)[0]
    if (dim, first, inner) != (same, also_first, also_inner) or not 0 < inner <= last <= 2 * inner or not dim:
        raise InputError(
            f"no StyleALAE: F is [{dim}, {same}], E's first block [{first}, {also_first}], its last "
            f"[{inner}, {also_inner}] -> {last}; expected squares, and a last block that at most doubles"
        )
    return Architecture(2 ** (levels + 1), channels, dim, depth, first, last)


def check(part: str, tensors: Group, named: Named, dim: int) -> Iterator[str]:
    """What is wrong with a group of tensors for a network with these `published()` weights; `dim`: of its codes."""
    group = GROUPS[part]
    for name in named.keys() - tensors.keys():
        yield f"{group}: missing {name}"
    for name, tensor in tensors.items():
        if isinstance(name, str) and BLUR.fullmatch(name):
            if not _is_blur(tensor):
                yield f"{group}.{name}: expected the binomial kernel, got {_told(tensor)}"
        elif name not in named:
            yield f"{group}: unknown {name!r}{did_you_mean(str(name), named)}"
        else:
            yield from _wrong(f"{group}.{name}", tensor, theirs(part, name, tuple(named[name].shape), dim))


def _wrong(name: str, tensor: Any, shape: tuple[int, ...]) -> Iterator[str]:
    if not isinstance(tensor, Tensor) or tensor.storage.dtype.name != "float32" or tensor.shape != shape:
        yield f"{name}: expected float32 {list(shape)}, got {_told(tensor)}"
    elif not np.isfinite(tensor.numpy()).all():
        yield f"{name}: holds NaN or infinite numbers"


def theirs(part: str, name: str, ours: tuple[int, ...], dim: int) -> tuple[int, ...]:
    """The shape in a checkpoint of what has the shape `ours` here."""
    if _is_logit(part, name):
        return (2 * dim, dim)[: len(ours)]
    if name == "const":
        return ours[0], ours[3], *ours[1:3]
    if len(ours) == 4:
        return ours[3], ours[2], *ours[:2]
    return (1, *ours, 1, 1) if re.search(r"(noise_weight|bias)_\d$", name) else ours[::-1]


def ours(part: str, name: str, array: np.ndarray, dim: int) -> np.ndarray:
    """A tensor of a checkpoint in the layout that it has here."""
    if _is_logit(part, name):
        array = array[dim : dim + 1]  # of its 2 dim outputs, the one that is used
    if name == "const":
        return array.transpose(0, 2, 3, 1)
    if array.shape[2:] == (1, 1) and array.shape[0] == 1 and re.search(r"_\d$", name):
        return array.reshape(-1)
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def _is_logit(part: str, name: str) -> bool:
    return part == "discriminator" and name.startswith("map_blocks.2.")


def fill(networks: Mapping[str, Any], groups: Mapping[str, Group], dim: int) -> None:
    """Gives {part: network} the weights of a checkpoint, all of them or none.

    Raises:
        InputError: naming every tensor that is missing, unknown, or not as it should be.
    """
    problems = [
        problem for part, network in networks.items() for problem in check(part, groups[part], network.published(), dim)
    ]
    if problems:
        raise InputError(f"{len(problems)} tensors do not fit: {_some(problems)}")
    for part, network in networks.items():
        for name, weight in network.published().items():
            weight.assign(ours(part, name, groups[part][name].numpy(), dim))


def average_of(groups: Mapping[str, Group], levels: int, dim: int) -> np.ndarray:
    """The running average of w, `[2 levels, dim]`, one for each style."""
    tensors = groups[AVERAGE]
    problems = [f"{AVERAGE}: unknown {name!r}" for name in tensors if name != "buff"]
    problems += _wrong(f"{AVERAGE}.buff", tensors.get("buff"), (2 * levels, dim))
    if problems:
        raise InputError(_some(problems))
    return tensors["buff"].numpy()


def _is_blur(tensor: Any) -> bool:
    if not isinstance(tensor, Tensor) or tensor.shape[1:] != (1, 3, 3):
        return False
    return np.allclose(tensor.numpy(), BINOMIAL, rtol=0, atol=1e-6)


def _told(found: Any) -> str:
    return f"{found.storage.dtype} {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__


def _some(texts: Any, most: int = 5) -> str:
    texts = sorted(texts)
    return "; ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def _card(path: Path, model: StyleALAE, raw: bool) -> str:
    size, _, channels = model.image_shape
    return f"""# StyleALAE from {path.name}

Converted by `tfaae import-alae` from a PyTorch checkpoint of the authors' code: {"raw" if raw else "averaged"} weights.
Nothing here says what licence they have; ask whom they are from.

- Images: `[n, {size}, {size}, {channels}]` float32 in [0, 1]; codes w: `[n, {model.code_dim}]` float32.
- SavedModel signatures: `encode` (images -> codes), `decode` (codes -> images, without noise), `reconstruct` and
  `serving_default` (images -> images), `sample` (count, seed `[2]` int32 -> images).
- `encoder.tflite` (signature `encode`) and `generator.tflite` (signature `decode`), float32 and float16.
- `model.keras`: `tfaae.load_model` reads it.
"""
