"""What commands share: their group, how their errors end, and how they read a run."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click

from tfaae.errors import InputError

RUN = click.argument("run", type=click.Path(path_type=Path))
SET = click.option(
    "--set", "overrides", metavar="KEY.SUB=VALUE", multiple=True, help="Set any key of the config; repeatable."
)
SET_DATA = click.option(
    "--set", "overrides", metavar="data.KEY=VALUE", multiple=True, help="Use other data than the run's; repeatable."
)


class OneLine(click.Group):
    """Click quotes a wrong word as it is, with the line ends in it."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise click.UsageError(" ".join(error.format_message().split()), error.ctx) from error


@click.group(cls=OneLine, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="tfaae")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def main(context: click.Context, debug: bool) -> None:
    """Adversarial autoencoders on TensorFlow and Keras.

    \b
    tfaae train aae_mnist_swiss_roll --out runs/roll
    tensorboard --logdir runs/roll
    tfaae evaluate runs/roll
    tfaae sample runs/roll --out samples.png
    tfaae export runs/roll --to saved_models/roll
    """
    context.obj = debug


def command(function: Callable) -> Callable:
    """A subcommand whose errors are one line and exit code 2; `--debug` shows the traceback."""

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except click.ClickException:
            raise
        except Exception as error:
            if click.get_current_context().find_root().obj:
                raise
            expected = isinstance(error, InputError | OSError)
            message = " ".join(str(error).split())
            hint = "" if expected else f"unexpected {type(error).__name__} (`tfaae --debug` shows where): "
            click.echo(f"error: {hint}{message}", err=True)
            sys.exit(2 if expected else 1)

    return main.command()(guarded)


@contextmanager
def stopping(told: Callable[[], str]) -> Iterator[None]:
    """Ctrl-C and SIGTERM inside end the program with a line, and with their exit codes 130 and 143."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        click.echo(f"\nstopped; {told()}", err=True)
        sys.exit(stop.code if isinstance(stop, SystemExit) else 130)


def load_run(run: Path, overrides: tuple[str, ...]) -> tuple:
    """A run's files, its config, that config with other data, its model."""
    from tfaae import config as configs
    from tfaae import train

    check_data_alone(overrides)
    files, trained, model = train.load(run)
    return files, trained, configs.load(files.config, overrides), model


def check_data_alone(overrides: tuple[str, ...]) -> None:
    """Raises an InputError unless every override is of `data`."""
    for override in overrides:
        if not override.startswith("data."):
            raise InputError(f"--set {override}: a trained run takes other keys of `data` alone, data.batch=10 say")


def progress(line: str) -> None:
    click.echo(line, err=True)  # what a command found goes to stdout alone


def start() -> None:
    from tfaae.quiet import import_tensorflow

    import_tensorflow()
