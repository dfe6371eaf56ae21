"""Configs: YAML text -> checked, frozen values. Nothing here needs TensorFlow.

`model` is a constructor call and `optim` a Keras optimizer for each phase; both are checked where those classes are
known, in `building.build`.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pydantic
import yaml

from tfaae.errors import InputError, did_you_mean, mismatch

_FLOAT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$")
MOST_CHARACTERS, MOST_VALUES, DEEPEST = 100_000, 10_000, 50  # of a config's YAML; those that exist have 2,000 and 100
LARGEST = 8192  # pixels, of an image's side
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


class DistortionConfig(Section):
    """The largest of the random maps that training images go through, of either sign."""

    pixels: Annotated[float, pydantic.Field(ge=0, le=LARGEST)] = 0.0  # moved, along both axes
    degrees: Annotated[float, pydantic.Field(ge=0, le=180)] = 0.0  # turned
    scale: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.0  # 0.1: from 1 / 1.1 to 1.1 times as large
    shear: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.0  # 0.2: slanted by up to a fifth of the height


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
    distortion: DistortionConfig | None = None  # while training, each image by a map of its own, anew in every epoch
    download: bool = False  # let tensorflow-datasets use the network
    path: str | None = None  # the .npz file, or the folder of images or TFRecords
    stream: bool = False  # training images stay on disk and are read batch by batch: folder and tfrecords
    size: Annotated[int, pydantic.Field(ge=1, le=LARGEST)] | None = (
        None  # height and width to resize to; None keeps the source's
    )
    channels: Annotated[int, pydantic.AfterValidator(lambda c: _one_or_three(c))] | None = None  # 1 grey, 3 RGB


class GrowingConfig(Section):
    """Of a model that grows: one resolution after another, 4 x 4 first, each fading in over half of its epochs."""

    epochs_per_lod: Count
    batches: Annotated[list[Count], pydantic.Field(min_length=1)]  # of each resolution; the last one holds for the rest
    learning_rates: Annotated[list[Annotated[float, pydantic.Field(gt=0)]], pydantic.Field(min_length=1)]  # the same


class TrainConfig(Section):
    """How long and how."""

    epochs: Count = 30
    xla: Annotated[bool | Literal["auto"], pydantic.BeforeValidator(lambda told: _switch(told))] = (
        "auto"  # auto: see execution.py
    )
    # steps between two looks at the losses, a divisor of an epoch's: what pays where a step takes a millisecond
    steps_per_execution: Count = 1
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
        with path.open(encoding="utf-8") as file:
            text = file.read(MOST_CHARACTERS + 1)
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


def differences(first: Config, second: Config) -> list[str]:
    """The settings that two configs do not share, `model.units` say, sorted."""
    one, other = (_flat(config.model_dump(mode="json")) for config in (first, second))
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def _flat(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`."""
    found: dict[str, Any] = {}
    for key, value in section.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def expanded(path: str) -> Path:
    """A path of a config, `~` written out. Raises an InputError where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: {error}") from None


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


def _switch(told: Any) -> Any:
    if not isinstance(told, bool) and told != "auto":
        raise ValueError("expected true, false or auto")
    return told


def _one_or_three(channels: int) -> int:
    if channels not in (1, 3):
        raise ValueError("should be 1 (grey) or 3 (RGB)")
    return channels


def _yaml(text: str, source: str) -> Any:
    if len(text) > MOST_CHARACTERS:
        raise InputError(f"{source}: {len(text)} characters, more than any config's; expected up to {MOST_CHARACTERS}")
    try:
        loader = _Loader(text)  # a SafeLoader: plain data alone, no Python objects
        node = loader.get_single_node()
        if node is None:
            return None
        _measured(node, {})
        return _unshared(loader.construct_document(node))
    except Exception as error:  # at `!!int x` or 2001-99-99 PyYAML raises whatever Python did
        raise InputError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None


def _measured(node: yaml.Node, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """How many values a node stands for, and how deep, with aliases written out: a few lines can stand for billions."""
    if id(node) not in known:
        known[id(node)] = None  # while its parts are measured
        pairs = node.value if isinstance(node.value, list) else []
        parts = [part for pair in pairs for part in (pair if isinstance(pair, tuple) else (pair,))]
        inner = [_measured(part, known) for part in parts]
        known[id(node)] = 1 + sum(count for count, _ in inner), 1 + max((depth for _, depth in inner), default=0)
    found = known[id(node)]
    if found is None:
        raise ValueError("an alias of what it lies in")
    if found[0] > MOST_VALUES or found[1] > DEEPEST:
        raise ValueError(f"more than {MOST_VALUES} values, or nested deeper than {DEEPEST}")
    return found


def _unshared(value: Any) -> Any:
    """A copy whose parts are all its own: what aliases share, `--set` would change in all places."""
    if isinstance(value, dict):
        return {key: _unshared(part) for key, part in value.items()}
    return [_unshared(part) for part in value] if isinstance(value, list) else value


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
        (section,) = [kind for kind in (annotation, *get_args(annotation)) if _is_section(kind)]
    return section


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)
