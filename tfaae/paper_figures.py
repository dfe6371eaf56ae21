"""The figures of the papers, and the README's, drawn anew from the finished runs of the experiments."""

import csv
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from tfaae import data as sources
from tfaae import figures, likelihood, metrics, moves, overview, records, reference, reproduce, train
from tfaae.data import Data
from tfaae.experiments import find

NEAREST = "nearest"  # these are not among the pictures of a model
MARGINALS = "marginals"
OVER_DENSITY = "draws_over_density"
DIVERGENCE = "divergence"  # of every part of the experiment
OVERVIEW = "overview"  # the README's
LINES = {
    "mean_field": "Gaussian, mean-field",
    "full_rank": "Gaussian, full-rank",
    "avb": "AVB",
    "avb_ac": "AVB, adaptive contrast",
}


class PaperFigure(NamedTuple):
    """What a figure is drawn from."""

    experiment: str
    part: str
    picture: str  # of those that `figures.of_model` draws, or one of those above


def write(runs: str | Path) -> tuple[list[Path], list[str]]:
    """Draws every figure whose run is finished, from the first such seed, to `docs/figures`.

    Args:
        runs: folder of the runs that `tfaae reproduce` keeps.
    Returns:
        The files written, and the experiments that have to run before the rest can be drawn.
    """
    folder = records.folder().parent / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    written, missing = [], {}
    wanted: dict[tuple[str, str], dict[str, str]] = {}  # of a part: names of figures and their pictures
    for name, (experiment, part, picture) in FIGURES.items():
        wanted.setdefault((experiment, part), {})[name] = picture
    for (experiment, part), pictures in wanted.items():
        run = reproduce.finished(runs, experiment, part)
        if run is None:
            missing[experiment] = True
            continue
        drawn = _of_run(run, set(pictures.values()) - {DIVERGENCE})
        if DIVERGENCE in pictures.values():
            drawn[DIVERGENCE] = _divergence(runs, experiment)
        for name, picture in pictures.items():
            path = folder / f"figure_{name}.png"
            path.write_bytes(figures.to_png(drawn[picture]))
            written.append(path)
    return written, list(missing)


def _divergence(runs: str | Path, experiment: str) -> Figure:
    """KL(q, p) against training steps, of every part that is finished."""
    lines = {}
    for part in find(experiment).parts:
        run = reproduce.finished(runs, experiment, part)
        if run is None:
            continue
        files, config, model = train.load(run)
        with files.history.open(encoding="utf-8") as rows:
            values = [float(row["kl_knn"]) for row in csv.DictReader(rows)]
        steps = np.arange(1, len(values) + 1) * (int(model.steps) // config.train.epochs)
        lines[LINES[part]] = (steps, np.array(values))
    return figures.curves(lines, "training steps", "KL(q, p) by nearest neighbours, nats")


def _of_run(run: Path, pictures: Collection[str]) -> dict[str, Figure]:
    _, config, model = train.load(run)
    data = sources.load(config.data, config.seed)
    drawn = {picture: draw(model, data) for picture, draw in OWN.items() if picture in pictures}
    return drawn if set(drawn) == set(pictures) else drawn | _of_model(model, data)


def _of_model(model: Any, data: Data) -> dict[str, Figure]:
    """The pictures that training shows."""
    with model.seeds.kept():
        codes = metrics.batched(model.encode_sample, data.test.images)
    seen = figures.of_model(model, data.test.images, data.test.labels, data.classes, codes=codes)
    return seen | moves.of_model(model, data.test.images, data.test.labels)


def _marginals(model: Any, data: Data) -> Figure:
    draws, exact = np.asarray(model.sample(4000, seed=0)), reference.exact_samples(4000, seed=0)
    return figures.marginals(draws, model.density.coordinates, reference=exact)


def _over_density(model: Any, data: Data) -> Figure:
    draws, target = np.asarray(model.sample(4000, seed=0)), model.density
    return figures.over_density(draws, target.log_joint, target.coordinates)


def _overview(model: Any, data: Data) -> Figure:
    return overview.of_model(model, data.test.images, data.test.labels)


def _nearest(model: Any, data: Data) -> Figure:
    samples = np.asarray(model.sample(90, seed=0))
    found = likelihood.nearest(samples[8::9], data.train.images)
    return figures.with_nearest(samples, data.train.images[found])


OWN = {MARGINALS: _marginals, OVER_DENSITY: _over_density, OVERVIEW: _overview, NEAREST: _nearest}
FIGURES = {
    "overview": PaperFigure("aae-mnist-priors", "swiss_roll", OVERVIEW),
    "2a_aae_normal": PaperFigure("aae-mnist-priors", "normal", "codes"),
    "2b_aae_mixture": PaperFigure("aae-mnist-priors", "mixture", "codes"),
    "2c_vae_normal": PaperFigure("aae-mnist-priors", "normal_vae", "codes"),
    "2d_vae_mixture": PaperFigure("aae-mnist-priors", "mixture_vae", "codes"),
    "2e_percentiles": PaperFigure("aae-mnist-priors", "normal", "manifold_percentiles"),
    "4a_mixture_all_labels": PaperFigure("aae-label-reg-all", "mixture", "codes"),
    "4a_mixture_10k_labels": PaperFigure("aae-label-reg-10k", "mixture", "codes"),
    "4b_component_0": PaperFigure("aae-label-reg-10k", "mixture", "manifold_component_0"),
    "4b_component_1": PaperFigure("aae-label-reg-10k", "mixture", "manifold_component_1"),
    "4b_component_2": PaperFigure("aae-label-reg-10k", "mixture", "manifold_component_2"),
    "4c_roll_all_labels": PaperFigure("aae-label-reg-all", "swiss_roll", "codes"),
    "4c_roll_10k_labels": PaperFigure("aae-label-reg-10k", "swiss_roll", "codes"),
    "4d_along_the_roll": PaperFigure("aae-label-reg-10k", "swiss_roll", "manifold_walk_along_the_roll"),
    "5_samples": PaperFigure("aae-parzen-mnist", "short", NEAREST),
    "7_style_by_content": PaperFigure("aae-supervised", "only", "style_by_content"),
    "9_clusters": PaperFigure("aae-cluster-16", "short", "clusters"),
    "11a_1000_labels": PaperFigure("aae-dimred-2d-1000", "short", "codes"),
    "11b_100_labels": PaperFigure("aae-dimred-2d-100", "short", "codes"),
    "11c_no_label": PaperFigure("aae-dimred-2d-unsup", "short", "codes"),
    "avb_3_divergence": PaperFigure("avb-eight-schools", "avb_ac", DIVERGENCE),
    "avb_5_eight_schools": PaperFigure("avb-eight-schools", "avb_ac", MARGINALS),
    "avb_5_full_rank": PaperFigure("avb-eight-schools", "full_rank", MARGINALS),
    "avb_6_avb": PaperFigure("avb-toy", "avb", "codes"),
    "avb_6_vae": PaperFigure("avb-toy", "vae", "codes"),
    "avb_mnist_samples": PaperFigure("avb-mnist-full", "avb_ac", "samples"),
    "avb_mnist_interpolations": PaperFigure("avb-mnist-full", "avb_ac", "interpolations"),
    "avb_plane_gaussian": PaperFigure("avb-plane", "gaussian", OVER_DENSITY),
    "avb_plane_rosenbrock": PaperFigure("avb-plane", "rosenbrock", OVER_DENSITY),
    "avb_plane_torus": PaperFigure("avb-plane", "torus", OVER_DENSITY),
    "11d_ten_dimensions": PaperFigure("aae-dimred-10d-100", "short", "codes_on_circle"),
    "alae_samples": PaperFigure("alae-mnist", "shared", "samples"),
    "alae_reconstructions": PaperFigure("alae-mnist", "shared", "reconstructions"),
    "alae_separate_samples": PaperFigure("alae-mnist", "separate", "samples"),
    "style_alae_samples": PaperFigure("style-alae-fashion", "only", "samples"),
    "style_alae_reconstructions": PaperFigure("style-alae-fashion", "only", "reconstructions"),
    "style_alae_mixed_coarse": PaperFigure("style-alae-fashion", "only", "mixed_coarse"),
    "style_alae_mixed_middle": PaperFigure("style-alae-fashion", "only", "mixed_middle"),
}
