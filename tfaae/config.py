"""Configs: YAML text -> checked, frozen values. Nothing here needs TensorFlow.

`model` is a constructor call and `optim` a Keras optimizer for each phase; both are checked where those classes are
known, in `train.build`.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pydantic
import yaml

from tfaae.errors import InputError, did_you_mean, mismatch

_FLOAT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$")
Count = Annotated[int, pydantic.Field(ge=1)]


class _Loader(yaml.SafeLoader):
    """Reads 1e-3 as the number that it is; YAML 1.1, which PyYAML follows, takes it for a text."""


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that `_Loader` would read as numbers."""


for _handler in (_Loader, _Dumper):
    _handler.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


class Section(pydantic.BaseModel):
    """Frozen, strict in types, closed to unknown keys."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


class DataConfig(Section):
    """Where images come from, and how they are split."""

    # digits, npz, folder, tfrecords, four_points, none (no images: for models of a target), or any name of
    # tensorflow-datasets
    name: str
    batch: Count = 100
    labelled: Count | None = None  # training images that keep their label: a balanced draw by the run's seed
    labelled_batch: Count | None = None  # labelled images that come beside each batch, in cycles; None: only within it
    validation: Annotated[int, pydantic.Field(ge=0)] = 0  # images held out from the training set
    test: Count | None = None  # images held out where the source has no test set; None: a sixth
    data_dir: str | None = None  # prepared tensorflow-datasets; None: TFDS_DATA_DIR, then its own default
    binarise: bool = False  # pixels are probabilities: drawn anew in every epoch, once and for all in held-out images
    flip: bool = False  # while training, every other image mirrored, at random
    download: bool = False  # let tensorflow-datasets use the network
    path: str | None = None  # the .npz file, or the folder of images or TFRecords
    stream: bool = False  # training images stay on disk and are read batch by batch: folder and tfrecords
    size: Count | None = None  # height and width to resize to; None keeps the source's
    channels: Annotated[int, pydantic.AfterValidator(lambda c: _one_or_three(c))] | None = None  # 1 grey, 3 RGB


class GrowingConfig(Section):
    """Of a model that grows: one resolution after another, 4 x 4 first, each fading in over half of its epochs."""

    epochs_per_lod: Count
    batches: Annotated[list[Count], pydantic.Field(min_length=1)]  # of each resolution; the last one holds for the rest
    learning_rates: Annotated[list[Annotated[float, pydantic.Field(gt=0)]], pydantic.Field(min_length=1)]  # the same


class TrainConfig(Section):
    """How long and how."""

    epochs: Count = 30
    xla: bool = True
    figures_every: Count = 5  # epochs between two sets of pictures
    checkpoint_every: Count | None = None  # steps between two checkpoints within an epoch; None: one at its end alone
    fid: bool = False  # after every epoch, how far 10,000 samples are from training images, as a classifier sees them
    growing: GrowingConfig | None = None  # of StyleALAE; without it, the last resolution alone


class Config(Section):
    """One experiment."""

    seed: Annotated[int, pydantic.Field(ge=0, lt=2**31)] = 0
    data: DataConfig
    model: dict[str, pydantic.JsonValue]
    optim: dict[str, dict[str, pydantic.JsonValue]]
    train: TrainConfig = TrainConfig()

    def to_yaml(self) -> str:
        return yaml.dump(self.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False)


def load(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Reads a YAML file, applies `key.sub=value` overrides (values are YAML too) and checks everything at once.

    Raises:
        InputError: with the path of every wrong key, and the closest valid one.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no config file {path}; `tfaae configs` lists the ones that come with the package")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a YAML file: it holds no UTF-8 text") from None
    return read(text, str(path), overrides)


def read(text: str, source: str, overrides: Iterable[str] = ()) -> Config:
    """As `load`, from YAML text. `source` names it in errors."""
    raw = _yaml(text, source)
    if not isinstance(raw, dict):
        raise InputError(f"{source}: expected a mapping with the keys {', '.join(Config.model_fields)}")
    for override in overrides:
        _override(raw, override)
    return parse(raw, source)


def parse(raw: dict[str, Any], source: str = "config") -> Config:
    """Checked values from plain data. `source` names it in errors."""
    try:
        return Config.model_validate(raw)
    except pydantic.ValidationError as error:
        raise InputError(f"{source}: {'; '.join(_problems(error))}") from None


def folder() -> Path:
    """The configs that come with the package: inside it when installed, beside it in a checkout."""
    installed = Path(__file__).parent / "configs"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "configs"


def find(name: str) -> Path:
    """A config's path, from a path or from the name of one that comes with the package."""
    shipped = folder() / f"{name}.yaml"
    if not Path(name).is_file() and shipped.is_file():
        return shipped
    if not Path(name).is_file():
        names = [path.stem for path in folder().glob("*.yaml")]
        raise InputError(f"no config {name}{did_you_mean(Path(name).stem, names)} (`tfaae configs` lists them)")
    return Path(name)


def _one_or_three(channels: int) -> int:
    if channels not in (1, 3):
        raise ValueError("should be 1 (grey) or 3 (RGB)")
    return channels


def _yaml(text: str, source: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader: plain data alone, no Python objects
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None


def _override(raw: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not all(key.split(".")):
        raise InputError(f"--set takes key.sub=value, got {override!r}")
    *parents, last = key.split(".")
    section: Any = raw
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise InputError(
                f"--set {override}: {parent} is a value, not a section; set it to {{name: {section}, ...}} first"
            )
    section[last] = _yaml(value, f"--set {override}")


def _problems(error: pydantic.ValidationError) -> Iterator[str]:
    for problem in error.errors():
        where = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            known = _section(problem["loc"][:-1]).model_fields
            yield f"{where}: unknown key{did_you_mean(str(problem['loc'][-1]), known)} (known: {', '.join(known)})"
        elif problem["type"] == "missing":
            yield f"{where}: missing"
        else:
            yield f"{where}: {mismatch(problem)}"


def _section(location: tuple[Any, ...]) -> type[Section]:
    section: type[Section] = Config
    for key in location:
        annotation = section.model_fields[key].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, Section)):
            break
        section = annotation
    return section
