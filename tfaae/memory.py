"""What a machine has memory for: asked before anything is made, for a system that runs out ends the process."""

import os

from tfaae.errors import InputError


def check(what: str, needed: int, remedy: str) -> None:
    """Raises an InputError where so many bytes are more than this machine has; `remedy` says what to do."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        told = f"{needed / 2**30:.1f} GiB, this machine has {there / 2**30:.1f}"
        raise InputError(f"{what} would take {told}; {remedy}")
