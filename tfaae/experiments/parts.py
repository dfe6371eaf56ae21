"""What an experiment is made of."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from tfaae.records import Reference

PAPER = "Makhzani et al. 2015"
SELECTED_ON = "validation, 10,000 of the training images"


class Part(NamedTuple):
    """One config trained for every seed."""

    config: str  # of those that come with the package
    metrics: dict[str, str]  # the record's name of a number -> its name in what `measure` returns
    overrides: tuple[str, ...] = ()
    measure: Literal["evaluate", "parzen", "agreement", "grid", "bound", "annealed", "latent", "grown"] = "evaluate"
    takes_days: bool = False  # then it runs only where it is asked for by name


class Goal(NamedTuple):
    """What a metric is to reach."""

    metric: str
    most: bool  # True: at most `value`; False: at least
    value: float

    def __str__(self) -> str:
        return f"{'≤' if self.most else '≥'} {self.value:g}"

    def reached(self, found: float) -> bool:
        return found <= self.value if self.most else found >= self.value


class Experiment(NamedTuple):
    """A row, or a few, of docs/results.md."""

    title: str
    parts: dict[str, Part]
    goals: tuple[Goal, ...] = ()
    paper: Mapping[str, Reference] = MappingProxyType({})
    public: Mapping[str, Reference] = MappingProxyType({})
    seeds: tuple[int, ...] = (0, 1, 2)
    notes: str = ""
    selected_on: str = SELECTED_ON
    # metric -> two parts measured by `annealed`: the first one's log-likelihood minus the other's, image by image
    gains: Mapping[str, tuple[str, str]] = MappingProxyType({})


def paper_value(metric: str, mean: float, std: float | None, where: str, paper: str = PAPER) -> dict[str, Reference]:
    return {metric: Reference(mean=mean, std=std, source=f"{paper}, {where}")}


def public(metric: str, mean: float, source: str) -> dict[str, Reference]:
    return {metric: Reference(mean=mean, source=source)}
