"""The one error that a user can act on, and the hints that it carries."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

_EXPECTED = {  # pydantic's error types, in the words of a config
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}


_LONGEST = 2000  # characters of a message


class InputError(ValueError):
    """What was expected, what came, and what to do: the command line prints it as one line and exits with code 2.

    Of a long message, which quotes something large, the middle is left out.
    """

    def __init__(self, told: str):
        half = _LONGEST // 2
        super().__init__(told if len(told) <= _LONGEST else f"{told[:half]} ... {told[-half:]}")


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the closest of the choices, or nothing where none is close."""
    by_lower_case = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(str(word).lower(), by_lower_case, n=1)
    return f"; did you mean {by_lower_case[close[0]]!r}?" if close else ""


def choose(what: str, word: str, choices: Iterable[str]) -> str:
    """The word itself where it is one of the choices.

    Raises:
        InputError: naming the closest choice and all of them.
    """
    choices = sorted(choices)
    if word not in choices:
        raise InputError(f"unknown {what} {word!r}{did_you_mean(word, choices)} (choices: {', '.join(choices)})")
    return word


def mismatch(problem: Mapping[str, Any]) -> str:
    """One of pydantic's errors in words: what was expected, and what came."""
    if problem["type"] in _EXPECTED:
        told = f"expected {_EXPECTED[problem['type']]}"
    else:
        told = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{told[0].lower()}{told[1:]}, got {_quoted(problem['input'])}"


def _quoted(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return f"a huge {type(value).__name__}"


def above_zero(what: str, **values: float) -> None:
    """Raises an InputError unless every value is above 0."""
    for name, value in values.items():
        if not value > 0:
            raise InputError(f"{what}: {name} must be above 0, got {value}")


def not_negative(what: str, **values: float) -> None:
    """Raises an InputError unless every value is at least 0."""
    for name, value in values.items():
        if not value >= 0:
            raise InputError(f"{what}: {name} must be at least 0, got {value}")
