"""Commands about exports: what the gallery holds, and whether exports are as they were made."""

import click

from tfaae import gallery
from tfaae.cli_group import command
from tfaae.errors import InputError


@command
def models() -> None:
    """List the trained models that come with the repository: name, family, data, size, one number, what it is.

    \b
    Example: tfaae models
    """
    entries = gallery.entries()
    if not entries:
        raise InputError(f"{gallery.folder()} holds no models; `tfaae export RUN --to saved_models/NAME` adds one")
    rows = [(one.name, one.family, one.data, f"{one.bytes / 1e6:.1f} MB", one.metric, one.what) for one in entries]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    click.echo(f"{len(entries)} models, {sum(one.bytes for one in entries) / 1e6:.1f} MB, in {gallery.folder()}")


@command
@click.argument("names", metavar="[NAME|EXPORT]...", nargs=-1)
def verify(names: tuple[str, ...]) -> None:
    """Check exports, all of the gallery without a NAME: their files' checksums, and their answers in a fresh process.

    \b
    Example: tfaae verify saved_models/digits
    """
    wrong = []
    for name in names or gallery.names():
        version = gallery.find(name)
        label = f"{version.absolute().parent.name}, version {version.name}"
        problems = gallery.problems(version)
        wrong += [f"{label}: {problem}" for problem in problems]
        click.echo(f"{'wrong' if problems else 'good '}  {label}")
    if wrong:
        raise InputError("; ".join(wrong))
