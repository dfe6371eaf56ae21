"""What tests share: quiet imports, the real digits, and one small trained run."""

from pathlib import Path

import pytest

from tfaae.quiet import import_tensorflow

import_tensorflow()

import tensorflow as tf  # noqa: E402

# two devices for strategies to share a batch; set before any tensor is made, and idle everywhere else
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

SHARED = Path(__file__).parent.parent.parent / "shared"
TFDS = SHARED / "data" / "tensorflow_datasets"

TINY_RUN = {
    "seed": 1,
    "data": {"name": "digits", "batch": 100, "validation": 98},
    "model": {"name": "AAE", "latent_dim": 2, "units": [32], "discriminator_units": [32]},
    "optim": {
        "reconstruction": {"name": "adam", "learning_rate": 1e-3},
        "discriminator": {"name": "adam", "learning_rate": 1e-3},
        "generator": {"name": "adam", "learning_rate": 1e-3},
    },
    "train": {"epochs": 2},
}
SGD = {"name": "sgd", "learning_rate": 0.01, "momentum": 0.5}
TINY_LABELLED_RUN = TINY_RUN | {
    "data": TINY_RUN["data"] | {"labelled": 50, "labelled_batch": 20},
    "model": {
        "name": "SemiSupervisedAAE",
        "latent_dim": 3,
        "units": [16],
        "discriminator_units": [16],
        "input_noise": 0.3,
        "ema": 0.9,
        "true_labels": True,
        "discriminator_noise": 0.3,
        "discriminator_noise_epochs": 2,
    },
    "optim": dict.fromkeys(["reconstruction", "discriminator", "generator", "classification"], SGD),
}


@pytest.fixture(scope="session")
def digits():
    """scikit-learn's digits, split."""
    from tfaae import data
    from tfaae.config import DataConfig

    return data.load(DataConfig(name="digits", validation=98))


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Path:
    """The folder of a small AAE trained for two epochs. Tests only read it."""
    from tfaae import config, train

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train.run(config.parse(TINY_RUN), folder)
    return folder


@pytest.fixture
def tfds_folder() -> Path:
    """MNIST and Fashion-MNIST as tensorflow-datasets prepares them."""
    if not TFDS.is_dir():
        pytest.skip(f"{TFDS} is absent: real MNIST is not at hand")
    return TFDS


@pytest.fixture
def prepare(tmp_path):
    """Prepares a tiny data set under the name, and with the features, of a registered one."""
    import tensorflow_datasets as tfds

    def write(name: str, **splits) -> str:
        info = tfds.builder(name, data_dir=tmp_path).info
        examples = {split: list(enumerate(rows)) for split, rows in splits.items()}
        tfds.dataset_builders.AdhocBuilder(
            name=name, version=info.version, features=info.features, split_datasets=examples, data_dir=tmp_path
        ).download_and_prepare()
        return str(tmp_path)

    return write
