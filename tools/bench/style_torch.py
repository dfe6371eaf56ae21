"""StyleALAE's layers and its three updates in plain PyTorch, at the last resolution, as `setting.STYLE` has it.

Written from the paper (Pidhorskyi, Adjeroh and Doretto 2020, arXiv 2004.04467) and from a description of the authors'
layers: below 128 pixels no convolution resamples by itself.
"""

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from tools.bench import setting
from tools.bench.turns import Turns

KERNEL = torch.tensor([1.0, 2.0, 1.0])


def leaky(x: torch.Tensor) -> torch.Tensor:
    return functional.leaky_relu(x, 0.2)


def blur(x: torch.Tensor) -> torch.Tensor:
    kernel = (torch.outer(KERNEL, KERNEL) / 16).expand(x.shape[1], 1, 3, 3)
    return functional.conv2d(x, kernel, padding=1, groups=x.shape[1])


def dense(inputs: int, outputs: int) -> nn.Linear:
    return normal(nn.Linear(inputs, outputs))


def convolution(inputs: int, outputs: int, size: int = 3, bias: bool = False) -> nn.Conv2d:
    return normal(nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=bias))


def normal(layer):
    nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def statistics(x: torch.Tensor) -> torch.Tensor:
    """`[n, c, h, w]` -> `[n, 2 c]`, mean and deviation of each map."""
    return torch.cat([x.mean((2, 3)), (x.var((2, 3), unbiased=False) + 1e-8).sqrt()], 1)


class Synthesis(nn.Module):
    """G: `[n, d]` codes -> `[n, 3, r, r]` images."""

    def __init__(self, widths: list[int], dim: int):
        super().__init__()
        self.const = nn.Parameter(torch.ones(1, widths[0], 4, 4))
        self.first = nn.ModuleList(convolution(*pair) for pair in pairwise(widths))
        self.second = nn.ModuleList(convolution(width, width) for width in widths)
        halves = [width for width in widths for _ in (1, 2)]
        self.styles = nn.ModuleList(dense(dim, 2 * width) for width in halves)
        self.noises = nn.ParameterList(torch.zeros(1, width, 1, 1) for width in halves)
        self.biases = nn.ParameterList(torch.zeros(1, width, 1, 1) for width in halves)
        self.to_rgb = convolution(widths[-1], 3, 1, bias=True)

    def forward(self, styles: list[torch.Tensor]) -> torch.Tensor:
        x = self.const
        for block, second in enumerate(self.second):
            if block:
                x = blur(self.first[block - 1](functional.interpolate(x, scale_factor=2)))
            x = self.half(x, 2 * block, styles)
            x = self.half(second(x), 2 * block + 1, styles)
        return self.to_rgb(x)

    def half(self, x: torch.Tensor, place: int, styles: list[torch.Tensor]) -> torch.Tensor:
        x = x + self.noises[place] * torch.randn(x.shape[0], 1, *x.shape[2:])
        x = functional.instance_norm(leaky(x + self.biases[place]), eps=1e-8)
        scale, shift = self.styles[place](styles[place])[:, :, None, None].chunk(2, 1)
        return x * (scale + 1) + shift


class Encoder(nn.Module):
    """E: `[n, 3, r, r]` images -> `[n, d]` codes."""

    def __init__(self, widths: list[int], dim: int):
        super().__init__()
        pairs = list(pairwise(widths))
        self.from_rgb = convolution(3, widths[0], 1, bias=True)
        self.first = nn.ModuleList(convolution(inputs, inputs, bias=True) for inputs, _ in pairs)
        self.second = nn.ModuleList(convolution(inputs, outputs) for inputs, outputs in pairs)
        self.biases = nn.ParameterList(torch.zeros(1, outputs, 1, 1) for _, outputs in pairs)
        self.styles = nn.ModuleList(dense(2 * width, dim) for pair in pairs for width in pair)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x, codes = leaky(leaky(self.from_rgb(images))), torch.zeros(())
        for block, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            x = leaky(first(x))
            codes = codes + self.styles[2 * block](statistics(x))
            x = functional.avg_pool2d(second(blur(functional.instance_norm(x, eps=1e-5))), 2)
            x = leaky(x + self.biases[block])
            codes = codes + self.styles[2 * block + 1](statistics(x))
            # of 2 x 2 maps too, which functional.instance_norm takes as they are
            x = functional.instance_norm(x, eps=1e-5)
        return codes


class Mapping(nn.Module):
    """F: `[n, d]` draws -> `[n, d]` codes."""

    def __init__(self, dim: int, depth: int):
        super().__init__()
        self.layers = nn.ModuleList(dense(dim, dim) for _ in range(depth))

    def forward(self, draws: torch.Tensor) -> torch.Tensor:
        codes = draws * (draws.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.layers:
            codes = leaky(layer(codes))
        return codes


def train(turns: Turns) -> None:
    """The three updates on random images, with Adam without momentum, whose step does not depend on the factors."""
    told, dim = setting.STYLE, setting.STYLE["latent_dim"]
    levels = int(math.log2(told["size"])) - 1
    widths = [min(told["max_channels"], told["base_channels"] * 2**j) for j in range(levels + 1)]
    mapping, synthesis = Mapping(dim, told["mapping_depth"]), Synthesis(widths[levels - 1 :: -1], dim)
    encoder, head = Encoder(widths, dim), nn.Sequential(dense(dim, dim), dense(dim, dim), dense(dim, 1))
    readers, makers = [*encoder.parameters(), *head.parameters()], [*mapping.parameters(), *synthesis.parameters()]
    reading, making = (
        torch.optim.Adam(part, lr=0.0015, betas=(0.0, 0.99), eps=1e-8, fused=True) for part in (readers, makers)
    )
    averages = [weight.detach().clone() for weight in (*readers, *makers)]
    real = torch.rand(told["batch"], 3, told["size"], told["size"]) * 2 - 1

    def codes() -> torch.Tensor:
        return mapping(torch.randn(told["batch"], dim))

    def images(mixed: bool, w: torch.Tensor) -> torch.Tensor:
        other = codes() if mixed else w
        place = int(torch.randint(1, 2 * levels + 1, ()))
        return synthesis([w if at < place else other for at in range(2 * levels)])

    while True:
        with torch.no_grad():
            fake = images(True, codes())
        pixels = real.clone().requires_grad_(True)
        logits = head(encoder(pixels))
        (slope,) = torch.autograd.grad(logits.sum(), pixels, create_graph=True)
        loss = functional.softplus(-logits).mean() + functional.softplus(head(encoder(fake))).mean()
        move(loss + 5 * slope.square().sum((1, 2, 3)).mean(), reading)
        for weight in readers:
            weight.requires_grad_(False)
        move(functional.softplus(-head(encoder(images(True, codes())))).mean(), making)
        for weight in readers:
            weight.requires_grad_(True)
        w = codes()
        move((encoder(images(False, w)) - w.detach()).square().mean(), reading, making)
        torch._foreach_lerp_(averages, [weight.detach() for weight in (*readers, *makers)], 0.001)
        turns.step()


def move(loss: torch.Tensor, *optimizers: torch.optim.Optimizer) -> None:
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
