"""`python -m tfaae`."""

from tfaae.cli import main

main(prog_name="tfaae")
