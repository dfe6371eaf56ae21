"""Commands about exports: making them, asking a server that has one, what the gallery holds, whether they are whole."""

from pathlib import Path
from typing import Any

import click

from tfaae import gallery
from tfaae.cli_group import RUN, SET_DATA, command, load_run, progress, start
from tfaae.errors import InputError


@command
@RUN
@click.option(
    "--to", "folder", type=click.Path(path_type=Path), required=True, help="The model's folder; a new version in it."
)
@click.option("--version", type=click.IntRange(1), help="Of the export; must be new.  [default: the next free number]")
@click.option(
    "--tflite",
    "formats",
    multiple=True,
    type=click.Choice(["float32", "float16", "dynamic", "int8"]),
    default=["float32", "float16", "dynamic", "int8"],
    show_default=True,
    help="Number format of the .tflite files; repeatable.",
)
@click.option(
    "--weights",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="How the SavedModel keeps its weights; float16 halves it.",
)
@click.option("--onnx", is_flag=True, help="Write .onnx files too; needs `pip install 'tfaae[onnx]'`.")
@click.option("--keep-inexact", is_flag=True, help="Keep .tflite files that lose more than the limits allow.")
@SET_DATA
def export(
    run: Path,
    folder: Path,
    version: int | None,
    formats: tuple[str, ...],
    weights: str,
    onnx: bool,
    keep_inexact: bool,
    overrides: tuple[str, ...],
) -> None:
    """Write RUN as a SavedModel for TensorFlow Serving and as .tflite files, verified against the Keras model.

    \b
    Example: tfaae export runs/digits --to saved_models/digits
    """
    start()
    from tfaae import cards, evaluate, export, train

    export.check_free(folder, version)
    files, trained, config, model = load_run(run, overrides)
    if not isinstance(model, train.LatentModel):
        raise InputError(f"a {type(model).__name__} has neither encoder nor decoder to export; `tfaae sample` draws")
    model = export.in_float32(model)
    data = train.load_data(config, model)
    progress(f"measuring on {len(data.test)} test images of {config.data.name} ...")
    values = evaluate.evaluate(model, data)
    card = cards.write(
        folder.absolute().name,
        trained,
        model,
        values,
        measured=config.data.name,
        epochs=files.finished_epochs,
        origin=cards.origin_of(files.folder, trained),
    )
    progress("writing, then loading it again in a fresh process ...")
    made, report = export.save(
        model,
        folder,
        data,
        card=card,
        version=version,
        formats=formats,
        weights=weights,
        onnx=onnx,
        keep_inexact=keep_inexact,
    )
    _written(made, report, model.export_limit)


def _written(made: Path, report: Any, limit: float) -> None:
    from tfaae import verification

    click.echo(f"SavedModel  {made}")
    for file in report.files:
        click.echo(f"TFLite      {made / file.file}  {file.bytes / 1000:.0f} kB, {file.milliseconds:.3f} ms an image")
    for path in sorted(made.glob("*.onnx")):
        click.echo(f"ONNX        {path}")
    for told in verification.outside_limits(report):
        click.echo(f"kept        {told}")
    worst = max(report.differences, key=lambda name: report.differences[name])
    click.echo(
        f"verified in a fresh process: largest difference {report.differences[worst]:.1e} ({worst}), limit {limit:g}"
    )


@command
@click.argument("weights", type=click.Path(path_type=Path))
@click.option(
    "--to", "folder", type=click.Path(path_type=Path), required=True, help="The model's folder; a new version in it."
)
@click.option("--raw", is_flag=True, help="Take the weights as trained, not their running averages.")
def import_alae(weights: Path, folder: Path, raw: bool) -> None:
    """Convert WEIGHTS, a .pth checkpoint of the authors of StyleALAE, and export it; PyTorch is not needed.

    \b
    Example: tfaae import-alae model_final.pth --to saved_models/style_alae_celeba
    """
    start()
    from tfaae import import_alae, models

    progress("converting, writing, then loading it again in a fresh process ...")
    version, report = import_alae.save(weights, folder, raw=raw)
    click.echo(f"Keras model      {version / 'model.keras'}")
    _written(version, report, models.StyleALAE.export_limit)


@command
@click.argument("model")
@click.argument("inputs", metavar="INPUT=VALUE...", nargs=-1)
@click.option(
    "--server", default="grpc://localhost:8500", show_default=True, help="grpc://HOST:PORT or http://HOST:PORT."
)
@click.option("--signature", default="serving_default", show_default=True, help="What to ask for: encode, sample, ...")
@click.option("--version", type=click.IntRange(1), help="Of the model.  [default: the newest]")
@click.option("--out", type=click.Path(path_type=Path), help="A .png of images, or a .npy array.")
def request(
    model: str, inputs: tuple[str, ...], server: str, signature: str, version: int | None, out: Path | None
) -> None:
    """Ask a TensorFlow Serving server that has loaded the export MODEL.

    A VALUE is a number, a list, an .npy array or a picture. Codes and probabilities are printed, a line an example.

    \b
    Example: tfaae request digits --signature sample count=16 seed=[0,1] --out samples.png
    """
    if out and out.suffix not in (".png", ".npy"):
        raise InputError(f"--out takes a .png or a .npy file, got {out}")
    start()
    from tfaae import client, request_files

    connection = client.connect(server, model, version)
    given = request_files.read(inputs, connection.signatures(), signature)
    answer = client.ask(connection, signature, given)
    for line in request_files.write(answer, given, out):
        click.echo(line)


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
