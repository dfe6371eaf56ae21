"""The command line. TensorFlow is imported inside the commands, so that `--help` answers at once."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from tfaae import cli_exports, cli_images, cli_reproduce  # noqa: F401 - their commands join the group
from tfaae.cli_group import RUN, SET, SET_DATA, command, load_run, main, progress, start, stopping
from tfaae.errors import InputError

__all__ = ["main"]


@command
@click.argument("config")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run; must be new or empty.")
@SET
@click.option("--resume", is_flag=True, help="Go on with the run in --out after its last checkpoint.")
@click.option("--dry-run", is_flag=True, help="Check everything and print the resolved config; train nothing.")
@click.option(
    "--devices",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="GPUs of this machine that share each batch.",
)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes here that share it.")
def train(
    config: str, out: Path, overrides: tuple[str, ...], resume: bool, dry_run: bool, devices: int, workers: int
) -> None:
    """Train the model of CONFIG, a YAML file or a name from `tfaae configs`.

    \b
    Example: tfaae train aae_digits --out runs/digits --set seed=1
    """
    from tfaae import config as configs

    resolved = configs.load(configs.find(config), overrides)
    if workers > 1 and not dry_run:
        if devices > 1 or os.environ.get("TF_CONFIG"):
            raise InputError("--workers starts them all itself: leave --devices out, and TF_CONFIG unset")
        from tfaae.workers import run

        sets = [word for override in overrides for word in ("--set", override)]
        sys.exit(run(workers, ["train", config, "--out", str(out), *sets, *["--resume"] * resume]))
    start()
    from tfaae import building, data, distribution, train

    team = distribution.team(devices)
    if dry_run:
        building.build(resolved, data.load(resolved.data, resolved.seed))
        click.echo(resolved.to_yaml(), nl=False)
        return
    with stopping(lambda: _kept(train.Run(out))):
        files = train.run(resolved, out, resume=resume, team=team)
    click.echo(f"checkpoint   {files.checkpoint}")
    click.echo(f"figures      {files.figures}")
    click.echo(f"history      {files.history}")
    click.echo(f"TensorBoard  tensorboard --logdir {files.folder}")


def _kept(files: Any) -> str:
    if not files.checkpoint.exists():
        return "no checkpoint yet"
    return f"{files.checkpoint} keeps what was trained, and the same command with --resume goes on from there"


@command
@RUN
@SET_DATA
def evaluate(run: Path, overrides: tuple[str, ...]) -> None:
    """Measure RUN on its test images: print a table, write metrics.json.

    \b
    Example: tfaae evaluate runs/digits
    """
    start()
    from tfaae import evaluate, metrics, train

    files, _, config, model = load_run(run, overrides)
    data = train.load_data(config, model)
    progress(f"measuring on {len(data.test)} test images of {config.data.name} ...")
    values = evaluate.evaluate(model, data)
    files.metrics.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    for line in metrics.table(values):
        click.echo(line)
    click.echo(f"written to {files.metrics}")


@command
@RUN
@click.option("--images", type=click.IntRange(2), default=500, show_default=True, help="The first of the test images.")
@click.option("--steps", type=click.IntRange(1), default=1000, show_default=True, help="Of the annealing.")
@click.option("--chains", type=click.IntRange(1), default=5, show_default=True, help="To an image.")
@click.option("--draws", type=click.IntRange(1), default=5000, show_default=True, help="Of the importance bound.")
@click.option("--gap", type=click.IntRange(2), help="Bound the error, too, on so many images that the model draws.")
@click.option(
    "--start",
    "begin",
    type=click.Choice(["proposal", "prior"]),
    default="proposal",
    show_default=True,
    help="Where chains start; an AVB without contrast has the prior for its proposal.",
)
@click.option(
    "--schedule",
    type=click.Choice(["linear", "sigmoid"]),
    default="linear",
    show_default=True,
    help="Of the temperatures; sigmoid is better from the prior.",
)
@SET_DATA
def likelihood(
    run: Path,
    images: int,
    steps: int,
    chains: int,
    draws: int,
    gap: int | None,
    begin: str,
    schedule: str,
    overrides: tuple[str, ...],
) -> None:
    """Estimate log p(x) of RUN's test images by annealing, beside a bound; write likelihood.json.

    For a VAE, an IWAE or an AVB. An interrupted call goes on where it stopped. An adversarial autoencoder has no
    density: `tfaae reproduce aae-parzen-mnist` is the Parzen window.

    \b
    Example: tfaae likelihood runs/vae --images 100 --steps 500
    """
    start()
    from tfaae import evaluate, metrics, train

    files, _, config, model = load_run(run, overrides)
    test = train.load_data(config, model).test.images[:images]
    kept = files.folder / "annealing.npz"
    chosen: dict[str, Any] = {"steps": steps, "chains": chains, "start": begin, "schedule": schedule}
    values = evaluate.log_likelihood(model, test, kept, draws=draws, gap=gap, **chosen)
    (files.folder / "likelihood.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    for line in metrics.table(values):
        click.echo(line)
    click.echo(f"written to {files.folder / 'likelihood.json'}")


@command
@RUN
@click.option(
    "--measure",
    "measures",
    type=click.Choice(["fid", "ppl", "lpips", "codes"]),
    multiple=True,
    help="Only this one; repeatable.  [default: all]",
)
@click.option(
    "--network",
    type=click.Choice(["classifier", "inception_v3", "vgg16"]),
    default="classifier",
    show_default=True,
    help="Whose features stand for what an eye sees; numbers of different networks do not compare.",
)
@click.option("--weights", type=click.Path(path_type=Path), help="Local weights of inception_v3 or vgg16.")
@click.option("--linear", type=click.Path(path_type=Path), help="Local .npz of the weights that LPIPS gives vgg16.")
@click.option("--download", is_flag=True, help="Let Keras fetch the weights of inception_v3 or vgg16.")
@click.option(
    "--networks", type=click.Path(path_type=Path), help="Where classifiers are kept.  [default: RUN/../networks]"
)
@click.option(
    "--count", type=click.IntRange(2), default=10_000, show_default=True, help="Samples, and pairs of codes, to draw."
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of those draws.")
@SET_DATA
def quality(
    run: Path,
    measures: tuple[str, ...],
    network: str,
    weights: Path | None,
    linear: Path | None,
    download: bool,
    networks: Path | None,
    count: int,
    seed: int,
    overrides: tuple[str, ...],
) -> None:
    """Measure RUN by features of a network and by its codes: FID, path length, LPIPS, 1-NN and SVM; write quality.json.

    \b
    Example: tfaae quality runs/digits --measure fid --count 50000
    """
    start()
    from tfaae import features, metrics, quality, train

    files, _, config, model = load_run(run, overrides)
    data = train.load_data(config, model)
    chosen = measures or tuple(quality.MEASURES)
    seen = None
    if quality.needs_network(chosen):
        progress(f"the feature network {network} ...")
        folder = networks or files.networks
        seen = features.get(
            network, images=data.train, folder=folder, weights=weights, linear=linear, download=download
        )
    progress(f"measuring {', '.join(chosen)} on {config.data.name} ...")
    values = quality.measure(model, data, chosen, seen, count=count, seed=seed)
    files.quality.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    for line in metrics.table(values):
        click.echo(line)
    click.echo(f"written to {files.quality}")


@command
@click.argument("model", metavar="RUN|EXPORT", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(1), default=100, show_default=True, help="Images to draw.")
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="One seed, one set of images."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="A .png grid, or a .npy array.  [default: RUN/samples.png]"
)
def sample(model: Path, count: int, seed: int, out: Path | None) -> None:
    """Decode draws from the prior of RUN, or of an EXPORT, which may be a name that `tfaae models` lists.

    \b
    Example: tfaae sample runs/digits --count 64 --out samples.png
    """
    from tfaae import gallery

    exports = gallery.is_export(model)
    if exports and out is None:
        raise InputError("say where to with --out; an export is left as it is")
    out = out or model / "samples.png"
    if out.suffix not in (".png", ".npy"):
        raise InputError(f"--out takes a .png or a .npy file, got {out}")
    start()
    import numpy as np

    from tfaae import exported, figures, train

    loaded: Any = exported.load(model) if exports else train.load(model)[2]
    drawn = np.asarray(loaded.sample(count, seed=seed))
    if out.suffix == ".npy":
        np.save(out, drawn)
    elif drawn.ndim == 2:  # of a model of a density
        out.write_bytes(figures.to_png(figures.marginals(drawn, loaded.density.coordinates)))
    else:
        out.write_bytes(figures.to_png(figures.samples(drawn)))
    click.echo(f"{count} {'draws' if drawn.ndim == 2 else 'images'} in {out}")


@command
@click.argument("name", required=False)
def configs(name: str | None) -> None:
    """List the configs that come with the package, or print the one called NAME.

    \b
    Example: tfaae configs aae_mnist
    """
    from tfaae import config as configs

    if name:
        click.echo(configs.find(name).read_text(encoding="utf-8"), nl=False)
        return
    paths = sorted(configs.folder().glob("*.yaml"))
    width = max(len(path.stem) for path in paths)
    for path in paths:
        first = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        click.echo(f"{path.stem:<{width}}  {first}")
