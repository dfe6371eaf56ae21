"""The command about experiments and their records."""

from pathlib import Path

import click

from tfaae.cli_group import SET, command, start, stopping
from tfaae.errors import InputError


@command
@click.argument("name", required=False)
@click.option("--list", "list_", is_flag=True, help="Name the experiments, and say which have a record.")
@click.option("--show", is_flag=True, help="Print the stored record of NAME; train nothing.")
@click.option("--render", is_flag=True, help="Write docs/results.md from the records.")
@click.option("--figures", is_flag=True, help="Draw the paper's figures from the finished runs to docs/figures.")
@click.option("--seeds", metavar="0,1,2", help="Other seeds than the experiment's.")
@click.option("--part", "parts", multiple=True, help="Only this part of the experiment; repeatable.")
@click.option(
    "--runs", type=click.Path(path_type=Path), default="runs/reproduce", show_default=True, help="Where runs are kept."
)
@SET
def reproduce(
    name: str | None,
    list_: bool,
    show: bool,
    render: bool,
    figures: bool,
    seeds: str | None,
    parts: tuple[str, ...],
    runs: Path,
    overrides: tuple[str, ...],
) -> None:
    """Train and measure the experiment NAME anew, and keep its record in docs/results.

    An interrupted experiment goes on where it stopped.

    \b
    Example: tfaae reproduce aae-semi-100
    """
    from tfaae import experiments, records, results

    if list_:
        width = max(map(len, experiments.EXPERIMENTS))
        for key, experiment in experiments.EXPERIMENTS.items():
            kept = "recorded" if (records.folder() / f"{key}.json").is_file() else "no record"
            click.echo(f"{key:<{width}}  {kept:<9}  {experiment.title}")
        return
    if render:
        click.echo(f"written to {results.write()}")
        return
    if figures:
        start()
        _draw_figures(runs)
        return
    if name is None:
        raise InputError("reproduce takes the NAME of an experiment, --list, --render or --figures")
    if not show or name not in experiments.BENCHES:
        experiments.find(name)
    if show:
        click.echo(records.show(records.read(name)))
        return
    start()
    from tfaae.reproduce import reproduce

    with stopping(lambda: "the same command goes on"):
        record, path = reproduce(name, runs=runs, seeds=_integers(seeds), parts=parts, overrides=overrides)
    click.echo(records.show(record))
    click.echo(f"written to {path}")


def _draw_figures(runs: Path) -> None:
    from tfaae import paper_figures

    written, missing = paper_figures.write(runs)
    for path in written:
        click.echo(f"written to {path}")
    for name in missing:
        click.echo(f"not drawn: {runs} has no finished run of {name}; `tfaae reproduce {name}` makes it", err=True)


def _integers(text: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(",")) if text else ()
    except ValueError:
        raise InputError(f"--seeds takes integers with commas between, 0,1,2 say; got {text!r}") from None
