"""Checkpoints with the names and shapes of the authors' (github.com/podgorskiy/ALAE), of any size, drawn at random."""

import numpy as np

BLUR = np.float32(np.outer([1, 2, 1], [1, 2, 1]) / 16)
Groups = dict[str, dict[str, np.ndarray]]


def shapes(size: int, base: int, most: int, dim: int, depth: int, channels: int) -> dict[str, dict[str, tuple]]:
    """{group: {name: shape}}, without the running averages' groups."""
    levels = size.bit_length() - 2
    wide = [min(most, base * 2**j) for j in range(levels + 1)]
    mapping = {f"map_blocks.{k}.fc.weight": (dim, dim) for k in range(depth)}
    mapping |= {f"map_blocks.{k}.fc.bias": (dim,) for k in range(depth)}
    head = {f"map_blocks.{k}.weight": ((1 + (k == 2)) * dim, dim) for k in range(3)}
    head |= {f"map_blocks.{k}.bias": ((1 + (k == 2)) * dim,) for k in range(3)}
    decoder: dict[str, tuple] = {"const": (1, wide[levels - 1], 4, 4)}
    encoder: dict[str, tuple] = {}
    for i in range(levels):
        c, below = wide[levels - 1 - i], wide[levels - i]
        name = f"decode_block.{i}"
        decoder |= {f"{name}.{part}_{h}": (1, c, 1, 1) for part in ("noise_weight", "bias") for h in (1, 2)}
        if i:  # from 128 pixels up, inputs first
            decoder[f"{name}.conv_1.weight"] = (below, c, 3, 3) if 4 * 2**i >= 128 else (c, below, 3, 3)
        decoder |= {f"{name}.conv_2.weight": (c, c, 3, 3), f"{name}.blur.weight": (c, 1, 3, 3)}
        decoder |= {f"{name}.style_{h}.weight": (2 * c, dim) for h in (1, 2)}
        decoder |= {f"{name}.style_{h}.bias": (2 * c,) for h in (1, 2)}
        decoder |= {f"to_rgb.{i}.to_rgb.weight": (channels, c, 1, 1), f"to_rgb.{i}.to_rgb.bias": (channels,)}
    for j in range(levels):
        c, after = wide[j], wide[j + 1]
        name = f"encode_block.{j}"
        encoder |= {f"from_rgb.{j}.from_rgb.weight": (c, channels, 1, 1), f"from_rgb.{j}.from_rgb.bias": (c,)}
        encoder |= {f"{name}.bias_1": (1, c, 1, 1), f"{name}.bias_2": (1, after, 1, 1)}
        encoder |= {f"{name}.conv_1.weight": (c, c, 3, 3), f"{name}.conv_2.weight": (after, c, 3, 3)}
        encoder[f"{name}.blur.weight"] = (c, 1, 3, 3)
        encoder |= {f"{name}.style_1.weight": (dim, 2 * c), f"{name}.style_2.weight": (dim, 2 * after)}
        encoder |= {f"{name}.style_{h}.bias": (dim,) for h in (1, 2)}
    parts = {"discriminator": encoder, "generator": decoder, "mapping_tl": head, "mapping_fl": mapping}
    return parts | {"dlatent_avg": {"buff": (2 * levels, dim)}}


def draw(seed: int = 0, **keys: int) -> Groups:
    """Groups of random tensors, with other ones for the running averages."""
    random = np.random.default_rng(seed)
    described = shapes(**({"size": 8, "base": 2, "most": 4, "dim": 4, "depth": 2, "channels": 3} | keys))

    def tensors(group: dict[str, tuple]) -> dict[str, np.ndarray]:
        return {
            name: np.tile(BLUR, (shape[0], 1, 1, 1))
            if "blur" in name
            else (spread(name, shape) * random.normal(size=shape)).astype(np.float32)
            for name, shape in group.items()
        }

    found = {name: tensors(group) for name, group in described.items()}
    return found | {f"{name}_s": tensors(group) for name, group in described.items() if name != "dlatent_avg"}


def spread(name: str, shape: tuple[int, ...]) -> float:
    """Kernels that keep the size of what they are given, and small biases."""
    if not name.endswith("weight"):
        return 0.1
    return (0.3 if "to_rgb" in name else 2**0.5) / np.prod(shape[1:]) ** 0.5
