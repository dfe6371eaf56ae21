"""That the bounds of a case are bounds."""

import time

import numpy as np
import pytest

from tests.fuzz import cases


def wait() -> None:
    try:
        time.sleep(5)
    except Exception:  # as what reads damaged files has it
        return


@pytest.mark.parametrize(
    ("bound", "value", "case", "told"),
    [
        ("LONGEST_CASE", 0.1, wait, "took more than 0.1 s"),
        ("LARGEST_CASE", 2**20, lambda: np.ones(2**28, np.uint8), "took .* bytes of memory"),
    ],
)
def test_cases_are_bounded(bound, value, case, told, monkeypatch):
    monkeypatch.setattr(cases, bound, value)
    with pytest.raises(AssertionError, match=told), cases.bounded():
        case()
