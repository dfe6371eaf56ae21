"""The experiments: what each trains, measures and is compared with. Plain data; `reproduce` runs it."""

from tfaae.errors import choose
from tfaae.experiments import aae, alae, variational
from tfaae.experiments.parts import Experiment, Goal, Part

__all__ = ["EXPERIMENTS", "Experiment", "Goal", "Part", "find"]

EXPERIMENTS = aae.EXPERIMENTS | variational.EXPERIMENTS | alae.EXPERIMENTS


def find(name: str) -> Experiment:
    """Raises an InputError for an unknown name, with the closest."""
    return EXPERIMENTS[choose("experiment", name, EXPERIMENTS)]
