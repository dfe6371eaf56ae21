"""Every config that comes with the package builds its model, takes a step, and says what it is for."""

import re

import numpy as np
import pytest

from tfaae import building, config, data, train
from tfaae.experiments import EXPERIMENTS
from tfaae.image_sources import Split

CONFIGS = sorted(config.folder().glob("*.yaml"))
STEPPED = [path for path in CONFIGS if not path.stem.startswith("style_alae")]  # those: test_alae.py, at reduced width
TWINS = {  # of a config that steps by default: the same kind of model, most of them larger
    "aae_mnist_clustering_16",
    "aae_mnist_clustering_30",
    "aae_mnist_clustering_30_short",
    "aae_mnist_label_regularised_mixture",
    "aae_mnist_mixture",
    "aae_mnist_parzen",
    "aae_mnist_reduction_10d",
    "aae_mnist_reduction_10d_short",
    "aae_mnist_reduction_2d",
    "aae_mnist_reduction_2d_unsupervised",
    "aae_mnist_semi_supervised_paper",
    "aae_svhn_semi_supervised",
    "alae_mnist",
    "alae_mnist_short",
    "avb_mnist_dcgan",
    "avb_mnist_dense",
    "avb_mnist_dense_full",
    "avb_mnist_small",
    "iwae_mnist",
    "vae_mnist_dcgan",
    "vae_mnist_dense",
    "vae_mnist_mixture",
}


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """Images of MNIST's shape, where the data itself is not the subject."""
    path = tmp_path_factory.mktemp("data") / "stand_in.npz"
    random = np.random.default_rng(0)
    np.savez(path, x_train=random.uniform(size=(130, 28, 28)).astype(np.float32), y_train=np.arange(130) % 10)
    return path


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] * (path.stem in TWINS), id=path.stem) for path in STEPPED],
)
def test_builds_and_takes_a_step(path, stand_in):
    raw = config.load(path)
    overrides = ["train.xla=false", "data.validation=0"]
    if "mnist" in path.stem or "svhn" in path.stem:
        overrides += ["data.name=npz", f"data.path={stand_in}", "data.batch=20"]
    if raw.data.labelled:
        overrides += ["data.labelled=50"]
    resolved = config.load(path, overrides)
    source = data.load(resolved.data)
    model = building.build(resolved, source)
    before = model.get_weights()
    first = source.train.take(slice(20))
    reported = model.train_on_batch(first.images, first.labels, return_dict=True)
    assert set(reported) == set(model.reports)
    assert all(np.isfinite(value) for value in reported.values())
    assert any(not np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_is_small_and_says_what_it_is_for(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert len(lines) <= 25
    if "mnist" in path.stem:
        assert re.search(r"figure|table|section", lines[0])


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_noise_is_gone_before_the_end(path):
    resolved = config.load(path)
    assert resolved.model.get("discriminator_noise_epochs", 0) < resolved.train.epochs


def of_parts(experiment: str, first: str, second: str) -> tuple[config.Config, config.Config]:
    parts = EXPERIMENTS[experiment].parts
    return tuple(config.load(config.find(parts[name].config), parts[name].overrides) for name in (first, second))


GAINS = [(name, *pair) for name, experiment in EXPERIMENTS.items() for pair in experiment.gains.values()]
COMPARED = {f"{name}: {first}, {second}": of_parts(name, first, second) for name, first, second in GAINS} | {
    size: tuple(config.load(config.find(f"{model}_mnist_{size}")) for model in ("avb", "vae"))
    for size in ("small", "dcgan")
}
POINTS = {"points": tuple(config.load(config.find(f"{model}_four_points")) for model in ("avb", "vae"))}
SHARED = ("image_shape", "latent_dim", "arch", "units", "activation", "prior", "likelihood", "precision", "initial_std")


@pytest.mark.parametrize("pair", (COMPARED | POINTS).values(), ids=COMPARED | POINTS)
def test_models_that_are_compared_have_one_data_and_the_same_decoder(pair):
    """What is not told is a default, and those are the same too."""
    assert pair[0].data == pair[1].data
    images = np.zeros((pair[0].data.batch, *((2, 2, 1) if "points" in pair[0].data.name else (28, 28, 1))), np.float32)
    split = Split(images, np.zeros(len(images), np.int32))
    built = [building.build(each, data.Data(split, split, split, ("0",))) for each in pair]
    arguments = [model.get_config() for model in built]
    assert [each["latent_dim"] for each in arguments] == [pair[0].model["latent_dim"]] * 2
    for name in SHARED:
        assert arguments[0][name] == arguments[1][name], name
    assert [weight.shape for weight in built[0].decoder.weights] == [
        weight.shape for weight in built[1].decoder.weights
    ]


@pytest.mark.parametrize("pair", COMPARED.values(), ids=COMPARED)
def test_models_that_are_compared_are_trained_alike(pair):
    """Epochs, and the optimizer of encoder and decoder with its schedule."""
    assert pair[0].train.epochs == pair[1].train.epochs
    assert pair[0].optim["elbo"] == pair[1].optim["elbo"]


@pytest.mark.slow
def test_real_mnist_one_epoch(tfds_folder, tmp_path):
    overrides = [
        f"data.data_dir={tfds_folder}",
        "train.epochs=1",
        "model.units=[100]",
        "model.discriminator_units=[100]",
    ]
    files = train.run(config.load(config.find("aae_mnist"), overrides), tmp_path / "run")
    assert files.checkpoint.is_file()
    _, _, model = train.load(files.folder)
    assert int(model.steps) == 500
