"""Read generators of lucidrains/stylegan2-pytorch (model_N.pt), version 0.20 and later."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor

from stylegan2.convert import layout
from stylegan2.convert.envelope import without_wrappers
from stylegan2.convert.layout import Stored
from stylegan2.networks.lucidrains import uniform
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.bounded import read_json
from stylegan2.runtime.checkpoint import Metadata
from stylegan2.runtime.errors import CheckpointError, UserError

SOURCE = "lucidrains"
LR_MULTIPLIER = 0.1  # that project's default for lr_mlp
SETTINGS_FILE = ".config.json"  # that project writes it next to its models
NOISE = "noise"
BLUR = "to_rgb.upsample.1.f"
LAYER = {
    "weight": "conv{}.weight",
    "affine.weight": "to_style{}.weight",
    "affine.bias": "to_style{}.bias",
    "noise_strength": "to_noise{}.weight",
    "bias": "to_noise{}.bias",
}
TO_RGB = {
    "weight": "to_rgb.conv.weight",
    "affine.weight": "to_rgb.to_style.weight",
    "affine.bias": "to_rgb.to_style.bias",
}
LR_NOTE = (
    f"the file does not contain lr_mlp, so {LR_MULTIPLIER}, that project's default, was used; if the "
    f"model was trained with another value, put the project's {SETTINGS_FILE} next to it"
)


def is_content(content: object) -> TypeGuard[Metadata]:
    """Return whether a PyTorch file holds what that project's Trainer saves: {"GAN": tensors, "version": text}."""
    state = content.get("GAN", content) if isinstance(content, dict) else {}
    names = without_wrappers(state) if isinstance(state, dict) else {}
    return any(name.startswith(("G.blocks.", "GE.blocks.")) for name in names)


def extract(content: Metadata, folder: Path) -> Stored:
    """Take the averaged weights (SE and GE) from a file, or the trained ones (S and G) if it has no average.

    Args:
        content: The content of the file.
        folder: Where that project's settings file may be, which holds `lr_mlp`.

    Raises:
        CheckpointError: The file holds more than tensors under the names of a generator.
    """
    state = without_wrappers(content.get("GAN", content))
    averaged = "E" if any(name.startswith("GE.") for name in state) else ""
    prefixes = (f"S{averaged}.", f"G{averaged}.")
    tensors = {name: tensor for name, tensor in state.items() if name.startswith(prefixes)}
    if not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise CheckpointError("entries of its generator are not tensors")
    return Stored(SOURCE, tensors, {"averaged": averaged, "lr_mlp": _lr_mlp(folder / SETTINGS_FILE)})


def _lr_mlp(path: Path) -> float | None:
    try:
        value = read_json(path, 2**20)["lr_mlp"]
    except (OSError, UserError, KeyError, TypeError):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise CheckpointError(f"lr_mlp in {str(path)!r} is {value!r}, but must be a positive number")
    return float(value)


def plain_names(stored: Stored) -> dict[str, Tensor]:
    """Return the tensors under the names S and G, whether they are averaged or not."""
    averaged = stored.settings["averaged"]
    return {name[:1] + name[1 + len(averaged) :]: tensor for name, tensor in stored.tensors.items()}


def build(stored: Stored) -> tuple[Generator, list[str]]:
    """Return the generator, and one sentence for each thing that the file lacks and that was filled in."""
    lr_mlp = stored.settings["lr_mlp"]
    notes = [layout.W_AVG_NOTE, layout.NOISE_NOTE] + ([LR_NOTE] if lr_mlp is None else [])
    return from_lucidrains(plain_names(stored), LR_MULTIPLIER if lr_mlp is None else lr_mlp), notes


def from_lucidrains(state: Mapping[str, Tensor], mapping_lr_multiplier: float = LR_MULTIPLIER) -> Generator:
    """Build a generator from the tensors S.* and G.*, from which every size is read.

    Args:
        state: The tensors by name. The mean of W and the noise map, which they lack, are drawn with a fixed seed.
        mapping_lr_multiplier: That project's `lr_mlp`, which the tensors do not tell.

    Raises:
        CheckpointError: Tensors are missing, unknown or of another shape, or the network is not supported.
    """
    if reason := unsupported(state):
        raise CheckpointError(reason)
    blocks, depth = layout.count(state, "G.blocks"), max(1, layout.count(state, "S.net"))
    names = tensor_names(blocks, depth, "G.to_initial_block.weight" not in state)
    filters = [name for name in state if name.endswith(BLUR)]
    layout.check_names(state, (name for name in names.values() if name != NOISE), filters)
    for name in filters:
        if state[name].tolist() != [1, 2, 1]:
            raise CheckpointError(f"{name!r} is not [1, 2, 1], the only filter that this package supports")
    widths = {4 * 2**j: state[f"G.blocks.{j}.to_noise1.bias"].numel() for j in range(blocks)}
    config = {
        "img_resolution": max(widths),
        "img_channels": state["G.blocks.0.to_rgb.conv.weight"].shape[0],
        "w_dim": layout.matrix(state, "S.net.0.weight")[0],
        "mapping_layers": depth,
        "mapping_lr_multiplier": mapping_lr_multiplier,
        "rgb_blur": bool(filters),
        "learned_const": "G.initial_block" in state,
        **layout.channel_settings(widths),
    }
    return layout.build(config, names, _in_our_terms(state, max(widths)), "lucidrains")


def _in_our_terms(state: Mapping[str, Tensor], resolution: int) -> dict[str, Tensor]:
    """Rewrite the tensors for our network: style biases plus 1, noise of mean 0 and variance 1, z of mean square 1.

    Our mapping network divides by the root of its inputs and has activations of gain sqrt(2).
    """
    state = {name: tensor.float() for name, tensor in state.items()}
    for name in state:
        if name.startswith("S.net.") and name.endswith("weight"):
            inputs = 1 if name == "S.net.0.weight" else state[name].shape[-1]  # z there has length 1
            state[name] = state[name] * math.sqrt(inputs / 2)
        elif name.startswith("S.net."):
            state[name] = state[name] / math.sqrt(2)
        elif ".to_style" in name and name.endswith("bias"):
            state[name] = state[name] + 1
        elif ".to_noise" in name and name.endswith("weight"):
            bias = f"{name.removesuffix('weight')}bias"
            # The mean of their noise, 1/2, is added to the bias, and its deviation scales the strength.
            state[bias] = state[bias] + state[name].flatten() / 2
            state[name] = state[name] / math.sqrt(12)
    source = torch.Generator().manual_seed(0)
    return state | {NOISE: uniform(resolution, resolution, generator=source)}


def tensor_names(blocks: int, mapping_layers: int, learned_const: bool) -> dict[str, str]:
    """Return {our name: lucidrains' name} without the mean of W; the noise map keeps our name."""
    names = {"synthesis.noise_const": NOISE}
    names["synthesis.const"] = "G.initial_block" if learned_const else "G.to_initial_block.weight"
    for part in ("weight", "bias"):
        names[f"synthesis.conv.{part}"] = f"G.initial_conv.{part}"
        names |= {f"mapping.layers.{i}.{part}": f"S.net.{2 * i}.{part}" for i in range(mapping_layers)}
    for j in range(blocks):
        for k in (0, 1):
            ours, theirs = f"synthesis.blocks.{j}.conv{k}", f"G.blocks.{j}"
            names |= {f"{ours}.{own}": f"{theirs}.{part.format(k + 1)}" for own, part in LAYER.items()}
        names |= {f"synthesis.blocks.{j}.to_rgb.{own}": f"G.blocks.{j}.{part}" for own, part in TO_RGB.items()}
    return names


def unsupported(state: Mapping[str, Tensor]) -> str | None:
    """Return a sentence about unsupported features of the network with these tensors, or None if there are none."""
    if any(name.startswith("G.attns.") for name in state):
        return "its generator has attention layers (trained with --attn-layers), which are not supported"
    if "G.initial_conv.weight" not in state and "G.initial_conv.bias" not in state:
        return "it was written by lucidrains/stylegan2-pytorch before version 0.20, whose generator was different"
    return None


def describe(stored: Stored) -> layout.Description:
    """Describe the generator of a file, also a damaged one, without building it."""
    state, averaged = plain_names(stored), stored.settings["averaged"]
    blocks, depth = layout.count(state, "G.blocks"), layout.count(state, "S.net")
    names = tensor_names(blocks, max(1, depth), "G.to_initial_block.weight" not in state)
    filters = [name for name in state if name.endswith(BLUR)]
    gaps = layout.gaps(state, [name for name in names.values() if name != NOISE], filters)
    missing, extra = ([f"{name[0]}{averaged}{name[1:]}" for name in lacking] for lacking in gaps)
    lr_mlp = stored.settings["lr_mlp"]
    description = f"not in the file; {LR_MULTIPLIER} is used" if lr_mlp is None else f"{lr_mlp:g}, from {SETTINGS_FILE}"
    remarks = [
        f"weights: {'averaged (SE and GE)' if averaged else 'of the training (S and G)'}",
        f"lr_mlp: {description}",
    ]
    reason = unsupported(state)
    return layout.Description(
        {4 * 2**j: layout.size(state, f"G.blocks.{j}.to_noise1.bias", 0) for j in range(blocks)},
        blocks,
        depth,
        layout.size(state, "S.net.0.weight", 1),
        layout.size(state, "S.net.0.weight", 0),
        layout.size(state, "G.blocks.0.to_rgb.conv.weight", 0),
        missing,
        extra,
        [f"not read: {reason}"] if reason else [*remarks, layout.W_AVG_LACKING, layout.NOISE_LACKING],
    )
