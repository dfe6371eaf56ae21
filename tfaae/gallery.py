"""Exports by path or by name: the gallery is the trained models in `saved_models/` of the repository. No TensorFlow."""

from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tfaae import check_export, checkout, checksums, fresh_process
from tfaae.errors import InputError, choose

CARD = "README.md"  # of an export: the model card


class Entry(NamedTuple):
    """What a model card says in its head, and how much there is to load."""

    name: str
    family: str
    data: str
    what: str
    metric: str  # the first of those in the card, with its value
    bytes: int  # of the newest version


def folder() -> Path:
    """`saved_models/` of the checkout. Raises an InputError where the package is not in one."""
    return checkout.root("the trained models, saved_models/NAME,") / "saved_models"


def names() -> list[str]:
    """Of the gallery's models."""
    return sorted(path.name for path in folder().glob("*") if newest(path))


def newest(path: Path) -> Path | None:
    """The export in a folder `NAME/<version>`, or the newest version in a folder `NAME`; None: there is none."""
    if (path / "saved_model.pb").is_file():
        return path
    versions = [one for one in path.glob("*") if one.name.isdecimal() and (one / "saved_model.pb").is_file()]
    return max(versions, key=lambda one: int(one.name), default=None)


def find(name: str | Path) -> Path:
    """The folder of the version that a path, or a name of the gallery, means.

    Raises:
        InputError: neither is an export.
    """
    path = Path(name)
    found = newest(path)
    if found is None and (path.exists() or path.name != str(name)):
        raise InputError(f"{name} holds no export (no saved_model.pb); `tfaae export RUN --to {name}` makes one")
    return found or newest(folder() / choose("model", str(name), names())) or path


def is_export(name: Path) -> bool:
    """Whether `find` has one, a folder that is there going before a name of the gallery."""
    if newest(name) or name.exists() or name.name != str(name):
        return newest(name) is not None
    try:
        return str(name) in names()
    except InputError:  # no checkout, no gallery
        return False


def entries() -> list[Entry]:
    """Every model of the gallery."""
    return [_entry(name) for name in names()]


def _entry(name: str) -> Entry:
    version = find(folder() / name)
    head = read_head(version / CARD)
    (result,) = head["model-index"][0]["results"]
    first = result["metrics"][0]
    size = sum(path.stat().st_size for path in version.rglob("*") if path.is_file())
    return Entry(
        name,
        head["tags"][0],
        result["dataset"]["name"],
        result["task"]["name"],
        f"{first['type']} {first['value']:.4g}",
        size,
    )


def head_of(name: str, family: str, data: str, what: str, metrics: dict[str, float]) -> str:
    """The head of a model card, in the form of Hugging Face's: YAML between two lines of dashes."""
    result = {
        "task": {"type": "unconditional-image-generation", "name": what},
        "dataset": {"type": data, "name": data},
        "metrics": [{"type": key, "value": float(f"{value:.6g}")} for key, value in metrics.items()],
    }
    head = {
        "library_name": "keras",
        "tags": [family, "autoencoder", "tensorflow", "tf-serving", "tflite"],
        "datasets": [data],
        "model-index": [{"name": name, "results": [result]}],
    }
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1000)}---\n\n"


def read_head(card: Path) -> dict[str, Any]:
    """What `head_of` wrote. Raises an InputError where a card has no such head."""
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    if not text.startswith("---\n"):
        raise InputError(f"{card} has no head in YAML; export the run again")
    return yaml.safe_load(text.removeprefix("---\n").partition("\n---\n")[0])


def problems(version: Path) -> list[str]:
    """What is wrong with an export: files that are not those that were written, then answers that are off."""
    changed = checksums.problems(version)
    if changed or not (version / check_export.REFERENCE).is_file():
        return changed or [f"{check_export.REFERENCE} is missing"]
    return fresh_process.check(version)["outside"]
