"""The experiments: what each trains, measures and is compared with. Plain data; `reproduce` runs it."""

from tfaae.errors import InputError, choose
from tfaae.experiments import aae, alae, variational
from tfaae.experiments.benches import BENCHES
from tfaae.experiments.parts import Experiment, Goal, Part

__all__ = ["BENCHES", "EXPERIMENTS", "Experiment", "Goal", "Part", "find"]

EXPERIMENTS = aae.EXPERIMENTS | variational.EXPERIMENTS | alae.EXPERIMENTS


def find(name: str) -> Experiment:
    """Raises an InputError for an unknown name, with the closest, and for what is not trained but benched."""
    if name in BENCHES:
        raise InputError(f"{name} is measured by tools/bench, see its README; `--show` prints its record")
    return EXPERIMENTS[choose("experiment", name, EXPERIMENTS)]
