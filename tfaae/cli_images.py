"""Commands that draw what is in the code space of a run."""

import tempfile
import webbrowser
from pathlib import Path
from typing import Any

import click

from tfaae.cli_group import RUN, SET_DATA, check_data_alone, command, load_run, progress, start
from tfaae.errors import InputError, choose

SEED = click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Which test images, or draws."
)
FITTED_ON = 20_000  # training images, at most, for a direction


def count_of(what: str, default: int) -> Any:
    return click.option("--count", type=click.IntRange(1), default=default, show_default=True, help=what)


def out_of(name: str) -> Any:
    return click.option("--out", type=click.Path(path_type=Path), help=f"A .png file.  [default: RUN/{name}.png]")


@command
@RUN
@click.option("--label", required=True, help="Class, by its name, that images are moved towards and away from.")
@click.option(
    "--reach", type=float, default=3.0, show_default=True, help="Farthest step, in deviations of the codes along it."
)
@click.option("--steps", type=click.IntRange(2), default=7, show_default=True, help="Pictures of each image.")
@count_of("Test images.", 6)
@SEED
@out_of("edited")
@SET_DATA
def edit(
    run: Path,
    label: str,
    reach: float,
    steps: int,
    count: int,
    seed: int,
    out: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Move test images along the direction of the codes that tells a class from the others.

    \b
    Example: tfaae edit runs/digits --label 5 --out edited.png
    """
    model, data = _model_and_data(run, overrides, out)
    import numpy as np

    from tfaae import editing, figures, metrics

    wanted = data.classes.index(choose("label", label, data.classes))
    known = data.train.take(np.flatnonzero(data.train.labels >= 0)[:FITTED_ON])
    codes = metrics.batched(model.encode, known.images)
    direction = editing.fit_direction(codes, known.labels == wanted)
    steps_in_deviations = np.linspace(-reach, reach, steps)
    amounts = steps_in_deviations * np.std(codes @ direction.vector)
    images, labels = _some(data.test, count, seed)
    edited = editing.edit(model, images, direction, amounts, labels)
    names = ["image", *(f"{step:.2g}" for step in steps_in_deviations)]
    title = f"towards label {label} (right) and away from it, in deviations of the codes"
    _draw(figures.named_columns(np.concatenate([images[:, None], edited], axis=1), names, title), out, run, "edited")
    click.echo(
        f"label {label}: {direction.accuracy_percent:.1f} % of held-out codes told apart, "
        f"{direction.majority_percent:.1f} % by the more common answer alone"
    )


@command
@RUN
@click.option("--steps", type=click.IntRange(2), default=9, show_default=True, help="Pictures of each line.")
@count_of("Lines.", 6)
@SEED
@out_of("interpolations")
@SET_DATA
def interpolate(run: Path, steps: int, count: int, seed: int, out: Path | None, overrides: tuple[str, ...]) -> None:
    """Decode the straight lines of codes between pairs of test images.

    \b
    Example: tfaae interpolate runs/digits --steps 11
    """
    model, data = _model_and_data(run, overrides, out)
    from tfaae import moves

    images, labels = _some(data.test, 2 * count, seed)
    _draw(moves.interpolations(model, images, labels, steps), out, run, "interpolations")


@command
@RUN
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="First style taken over.")
@click.option("--end", type=click.IntRange(1), default=4, show_default=True, help="First style that no longer is.")
@count_of("Test images on each side.", 5)
@SEED
@out_of("mixed")
@SET_DATA
def mix(run: Path, first: int, end: int, count: int, seed: int, out: Path | None, overrides: tuple[str, ...]) -> None:
    """Give test images some styles of other test images, for a model that has styles.

    Of StyleALAE's, 0 to 3 are coarse, 4 to 7 middle, the others fine.

    \b
    Example: tfaae mix runs/faces --first 4 --end 8
    """
    model, data = _model_and_data(run, overrides, out)
    from tfaae import moves

    images = _some(data.test, 2 * count, seed).images
    _draw(moves.mixing(model, images, first=first, end=end), out, run, "mixed")


@command
@RUN
@click.option("--steps", type=click.IntRange(2), default=9, show_default=True, help="Pictures of each draw.")
@count_of("Draws.", 6)
@SEED
@out_of("truncated")
def truncate(run: Path, steps: int, count: int, seed: int, out: Path | None) -> None:
    """Decode draws on their way from the opposite of their code through the mean code to themselves.

    \b
    Example: tfaae truncate runs/digits
    """
    _check(out)
    start()
    from tfaae import moves, train

    _draw(moves.truncations(_with_images(train.load(run)[2]), count, steps, seed), out, run, "truncated")


@command
@RUN
@click.option("--levels", type=click.IntRange(1, 6), default=3, show_default=True, help="Sizes, each half the last.")
@SEED
@out_of("reconstructions")
@SET_DATA
def reconstruct(run: Path, levels: int, seed: int, out: Path | None, overrides: tuple[str, ...]) -> None:
    """Draw test images beside their reconstructions: one pair at full size, two at half of it, and so on.

    \b
    Example: tfaae reconstruct runs/digits --levels 4
    """
    model, data = _model_and_data(run, overrides, out)
    import numpy as np

    from tfaae import figures

    images, labels = _some(data.test, 2**levels - 1, seed)
    outputs = np.asarray(model.reconstruct(images, labels))
    _draw(figures.multi_resolution(images, outputs, levels), out, run, "reconstructions")


@command
@click.argument("model", metavar="RUN|EXPORT", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Keep the page in this folder; must be new or empty.")
@click.option("--no-open", is_flag=True, help="Only print the address.")
@SET_DATA
def explore(model: Path, out: Path | None, no_open: bool, overrides: tuple[str, ...]) -> None:
    """Look around in the code space of RUN, or of an EXPORT: a page that decodes where the pointer is.

    It is served on this machine alone until Ctrl-C.

    \b
    Example: tfaae explore runs/digits
    """
    check_data_alone(overrides)
    with tempfile.TemporaryDirectory(prefix="tfaae-explore-") as work:
        folder = out or Path(work)
        start()
        from tfaae import explorer

        explorer.check_free(folder)
        subject = explorer.find(model, overrides)
        data = explorer.load_data(subject)
        progress(f"encoding test images of {subject.config.data.name} ...")
        explorer.write(subject, data, folder)
        with explorer.server(folder) as server:
            address = f"http://127.0.0.1:{server.server_port}/"
            try:
                click.echo(f"written to {out}; served at {address} until Ctrl-C" if out else f"{address} until Ctrl-C")
                if not no_open:
                    webbrowser.open(address)
                server.serve_forever()
            except KeyboardInterrupt:
                click.echo("\nstopped", err=True)


def _check(out: Path | None) -> None:
    if out is not None and out.suffix != ".png":
        raise InputError(f"--out takes a .png file, got {out}")


def _model_and_data(run: Path, overrides: tuple[str, ...], out: Path | None) -> tuple[Any, Any]:
    _check(out)
    start()
    from tfaae import train

    _, _, config, model = load_run(run, overrides)
    return _with_images(model), train.load_data(config, model)


def _with_images(model: Any) -> Any:
    if not hasattr(model, "image_shape"):
        raise InputError(f"a {type(model).__name__} has no images; `tfaae sample` draws what it has")
    return model


def _some(split: Any, count: int, seed: int) -> Any:
    """So many images of a split, with their labels, drawn by seed."""
    import numpy as np

    if count > len(split):
        raise InputError(f"expected {count} test images or more, there are {len(split)}; ask for fewer")
    return split.take(np.random.default_rng(seed).permutation(len(split))[:count])


def _draw(figure: Any, out: Path | None, run: Path, name: str) -> None:
    from tfaae import figures

    out = out or run / f"{name}.png"
    out.write_bytes(figures.to_png(figure))
    click.echo(f"written to {out}")
