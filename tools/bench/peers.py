"""PyTorch by hand, and pythae as its users run it: `python -m tools.bench.peers NAME --batch N --images FILE`."""

import argparse
import contextlib
import tempfile
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tools.bench import setting
from tools.bench.turns import Turns


def dense(*widths: int) -> nn.Sequential:
    """Layers with rectifiers between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def batches(images: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    """Full batches in a new order each epoch, indexed in memory."""
    while True:
        order = torch.randperm(len(images))
        for rows in order[: len(order) // size * size].split(size):
            yield images[rows]


def by_hand(turns: Turns, images: torch.Tensor, batch: int, fused: bool, bfloat16: bool) -> None:
    """The three phases. The encoder stands still between the last two, which share its pass."""
    encoder = dense(setting.PIXELS, *setting.UNITS, setting.CODE)
    decoder = dense(setting.CODE, *setting.UNITS, setting.PIXELS)
    discriminator = dense(setting.CODE, *setting.UNITS, 1)
    moved = [[*encoder.parameters(), *decoder.parameters()], discriminator.parameters(), encoder.parameters()]
    reconstruction, adversary, generator = (torch.optim.Adam(part, lr=setting.RATE, fused=fused) for part in moved)
    precision = torch.autocast("cpu", torch.bfloat16) if bfloat16 else contextlib.nullcontext()
    for pixels in batches(images.flatten(1), batch):
        with precision:
            logits = decoder(encoder(pixels)).float()
        step(reconstruction, 0.5 * (pixels - logits.sigmoid()).square().sum(1).mean())
        with precision:
            codes = encoder(pixels).float()
            seen = torch.cat([torch.randn_like(codes), codes.detach()])
            real, fake = discriminator(seen).float().chunk(2)
        step(adversary, functional.softplus(-real).mean() + functional.softplus(fake).mean())
        discriminator.requires_grad_(False)
        with precision:
            fake = discriminator(codes).float()
        step(generator, functional.softplus(-fake).mean())
        discriminator.requires_grad_(True)
        turns.step()


def step(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def pythae(turns: Turns, images: torch.Tensor, batch: int) -> None:
    """Its model, its trainer, its data loader; the networks of the others."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import Adversarial_AE, Adversarial_AE_Config
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseDiscriminator, BaseEncoder
    from pythae.trainers import AdversarialTrainer, AdversarialTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    side = images.shape[1:]

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Sequential(dense(setting.PIXELS, *setting.UNITS), nn.ReLU())
            self.mean, self.log_variance = (nn.Linear(setting.UNITS[-1], setting.CODE) for _ in range(2))

        def forward(self, x):
            hidden = self.hidden(x.flatten(1))
            return ModelOutput(embedding=self.mean(hidden), log_covariance=self.log_variance(hidden))

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.layers = dense(setting.CODE, *setting.UNITS, setting.PIXELS)

        def forward(self, z):
            return ModelOutput(reconstruction=self.layers(z).sigmoid().reshape(-1, *side))

    class Discriminator(BaseDiscriminator):
        def __init__(self):
            super().__init__()
            self.layers = dense(setting.CODE, *setting.UNITS, 1)

        def forward(self, z):
            return ModelOutput(embedding=self.layers(z).sigmoid())

    class Turn(TrainingCallback):
        def on_train_step_end(self, training_config, **kwargs):
            turns.step()

    config = Adversarial_AE_Config(input_dim=tuple(side), latent_dim=setting.CODE, deterministic_posterior=True)
    model = Adversarial_AE(config, encoder=Encoder(), decoder=Decoder(), discriminator=Discriminator())
    with tempfile.TemporaryDirectory() as folder:
        training = AdversarialTrainerConfig(
            output_dir=folder,
            num_epochs=1000,
            per_device_train_batch_size=batch,
            autoencoder_learning_rate=setting.RATE,
            discriminator_learning_rate=setting.RATE,
        )
        data = BaseDataset(images, torch.zeros(len(images)))
        AdversarialTrainer(model, train_dataset=data, training_config=training, callbacks=[Turn()]).train()


def products(turns: Turns, batch: int, precision: torch.dtype) -> None:
    """The products of `setting.products`, into memory that is there already."""
    pairs = []
    for kind, rows, inner, columns in setting.products(batch):
        left = torch.randn(*((inner, rows) if kind == "weights" else (rows, inner)), dtype=precision)
        right = torch.randn(*((columns, inner) if kind == "inputs" else (inner, columns)), dtype=precision)
        left, right = left.t() if kind == "weights" else left, right.t() if kind == "inputs" else right
        pairs.append((left, right, torch.empty(rows, columns, dtype=precision)))
    while True:
        for left, right, out in pairs:
            torch.mm(left, right, out=out)
        turns.step()


def style(turns: Turns) -> None:
    from tools.bench import style_torch

    style_torch.train(turns)


CONTENDERS = {
    "torch-adam": lambda turns, images, batch: by_hand(turns, images, batch, fused=False, bfloat16=False),
    "torch-fused": lambda turns, images, batch: by_hand(turns, images, batch, fused=True, bfloat16=False),
    "torch-fused-bf16": lambda turns, images, batch: by_hand(turns, images, batch, fused=True, bfloat16=True),
    "pythae": pythae,
    "torch-products-fp32": lambda turns, images, batch: products(turns, batch, torch.float32),
    "torch-products-bf16": lambda turns, images, batch: products(turns, batch, torch.bfloat16),
    "torch-style": lambda turns, images, batch: style(turns),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--images", required=True)
    told = parser.parse_args()
    images = torch.from_numpy(np.load(told.images))
    torch.manual_seed(0)
    CONTENDERS[told.name](Turns(), images, told.batch)


if __name__ == "__main__":
    main()
