"""Where the repository is: records and trained models lie in it, not in the installed package."""

from pathlib import Path

from tfaae.errors import InputError


def root(what: str) -> Path:
    """The checkout that this package runs from. `what` is looked for there.

    Raises:
        InputError: the package is installed.
    """
    folder = Path(__file__).parent.parent
    if not (folder / "pyproject.toml").is_file():
        raise InputError(f"{what} live in the repository, and this is an installed package: work in a checkout")
    return folder
