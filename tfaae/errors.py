"""The one error that a user can act on, and the hints that it carries."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """What was expected, what came, and what to do: the command line prints it as one line and exits with code 2."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the closest of the choices, or nothing where none is close."""
    close = difflib.get_close_matches(str(word), list(choices), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def choose(what: str, word: str, choices: Iterable[str]) -> str:
    """The word itself where it is one of the choices.

    Raises:
        InputError: naming the closest choice and all of them.
    """
    choices = sorted(choices)
    if word not in choices:
        raise InputError(f"unknown {what} {word!r}{did_you_mean(word, choices)} (choices: {', '.join(choices)})")
    return word
