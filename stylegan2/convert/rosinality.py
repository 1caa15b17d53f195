"""Generators of rosinality/stylegan2-pytorch, the layout in which most pSp-family models are published (.pt)."""

import os
import re
from collections.abc import Mapping
from typing import Any, TypeGuard

import torch
from torch import Tensor

from stylegan2 import ops
from stylegan2.convert import layout
from stylegan2.convert.safe import read_torch
from stylegan2.networks.stylegan2 import Generator
from stylegan2.runtime.errors import CheckpointError, UserError

LAYER = {
    "weight": "conv.weight",
    "affine.weight": "conv.modulation.weight",
    "affine.bias": "conv.modulation.bias",
    "noise_strength": "noise.weight",
    "bias": "activate.bias",
}
TO_RGB = {
    "weight": "conv.weight",
    "affine.weight": "conv.modulation.weight",
    "affine.bias": "conv.modulation.bias",
    "bias": "bias",
}
FILTERS = (".blur.kernel", ".upsample.kernel")
W_AVG = "latent_avg"
RGB_BIAS = re.compile(r"to_rgb(1|s\.\d+)\.bias")


def read(path: str | os.PathLike) -> tuple[Generator, dict[str, Any]]:
    """(generator, metadata) of a converted file {g_ema, latent_avg} or of a training's {g, d, g_ema, args, ...}."""
    content = read_torch(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{str(path)!r} holds a {type(content).__name__}, not a checkpoint")
    if "state_dict" in content:
        raise CheckpointError(f"{str(path)!r} holds an encoder too (pSp's layout); a generator alone was expected")
    state, latent_avg = content.get("g_ema"), content.get(W_AVG)
    if not _is_state(state):
        found = ", ".join(repr(str(key)[:40]) for key in list(content)[:5])
        raise CheckpointError(f"{str(path)!r} holds no generator 'g_ema', only {found or 'nothing'}")
    if latent_avg is not None and not isinstance(latent_avg, Tensor):
        raise CheckpointError(f"{str(path)!r} holds a 'latent_avg' that is no tensor")
    try:
        generator = from_rosinality(state, latent_avg)
    except UserError as error:
        raise CheckpointError(f"{str(path)!r}: {error}") from error
    notes = [layout.W_AVG_NOTE] if latent_avg is None else []
    notes += [] if "noises.noise_0" in state else [layout.NOISE_NOTE]
    config = {"name": "stylegan2", **generator.config}
    return generator, {"kind": "stylegan2", "generator": config, "source": "rosinality", "notes": notes}


def from_rosinality(state: Mapping[str, Tensor], latent_avg: Tensor | None = None) -> Generator:
    """A Generator from a `g_ema` state dict; every size is read from the tensors.

    Args:
        state: names and tensors, without a prefix. Very old files have no `noises.*`: then drawn with a fixed seed.
        latent_avg: [w_dim] or [1, w_dim], the mean of W; estimated with a fixed seed where it is None.

    Raises:
        CheckpointError: names the tensors that are missing, not known or of another shape.
    """
    state = dict(state)
    blocks = _count(state, "convs.{}.conv.weight", first=0) // 2
    mapping_layers = max(1, _count(state, "style.{}.weight", first=1))
    names = tensor_names(blocks, mapping_layers)
    if latent_avg is not None:
        state[W_AVG] = latent_avg
        names[layout.W_AVG] = W_AVG
    if not any(name.startswith("noises.") for name in state):
        state |= {f"noises.noise_{k}": noise for k, noise in enumerate(layout.seeded_noise(2 * blocks + 1))}
    filters = [name for name in state if name.endswith(FILTERS)]
    layout.check_names(state, names.values(), filters)
    layout.check_filters(state, filters, gain=4.0)
    return layout.build(_config(state, blocks, mapping_layers), names, state)


def to_rosinality(generator: Generator) -> dict[str, Tensor]:
    """The `g_ema` of a generator of the skip architecture: the inverse of `from_rosinality`, with the filters."""
    own = generator.state_dict()
    blocks = len(generator.synthesis.to_rgbs) - 1
    state = {}
    for ours, theirs in tensor_names(blocks, len(generator.mapping.layers)).items():
        state[theirs] = own[ours].detach().clone().reshape(_shape(theirs, own[ours]))
    kernel = ops.fir_kernel(1, 4.0, torch.empty(0))[0, 0]  # [4, 4]
    for j in range(blocks):
        state[f"convs.{2 * j}.conv.blur.kernel"] = kernel.clone()
        state[f"to_rgbs.{j}.upsample.kernel"] = kernel.clone()
    return state


def _shape(theirs: str, tensor: Tensor) -> tuple[int, ...]:
    """Their shape of a tensor of ours: the same numbers with further dimensions of size 1."""
    if theirs.endswith("conv.weight"):
        return 1, *tensor.shape  # [1, O, I, k, k]
    if theirs.endswith("noise.weight"):
        return (1,)
    if RGB_BIAS.fullmatch(theirs):
        return 1, -1, 1, 1
    return (1, 1, *tensor.shape) if theirs.startswith("noises.") else tuple(tensor.shape)


def tensor_names(blocks: int, mapping_layers: int) -> dict[str, str]:
    """{our name: rosinality's name} for a generator of resolution 4 * 2^blocks, without the mean of W."""
    names = {"synthesis.const": "input.input"}
    for i in range(mapping_layers):
        for part in ("weight", "bias"):
            names[f"mapping.layers.{i}.{part}"] = f"style.{i + 1}.{part}"
    for k in range(2 * blocks + 1):
        theirs = f"convs.{k - 1}" if k else "conv1"
        names |= {f"synthesis.layers.{k}.{ours}": f"{theirs}.{part}" for ours, part in LAYER.items()}
        names[f"synthesis.layers.{k}.noise_const"] = f"noises.noise_{k}"
    for j in range(blocks + 1):
        theirs = f"to_rgbs.{j - 1}" if j else "to_rgb1"
        names |= {f"synthesis.to_rgbs.{j}.{ours}": f"{theirs}.{part}" for ours, part in TO_RGB.items()}
    return names


def _config(state: Mapping[str, Tensor], blocks: int, mapping_layers: int) -> dict[str, Any]:
    w_dim, z_dim = layout.matrix(state, "style.1.weight")
    widths = {4: state["conv1.activate.bias"].numel()}
    widths |= {8 * 2**j: state[f"convs.{2 * j}.activate.bias"].numel() for j in range(blocks)}
    return {
        "img_resolution": max(widths),
        "img_channels": state["to_rgb1.bias"].numel(),
        "z_dim": z_dim,
        "w_dim": w_dim,
        "mapping_layers": mapping_layers,
        **layout.channel_settings(widths),
    }


def _count(state: Mapping[str, Tensor], pattern: str, first: int) -> int:
    """How many of the numbered names there are, without a gap."""
    number = first
    while pattern.format(number) in state:
        number += 1
    return number - first


def _is_state(state: Any) -> TypeGuard[dict[str, Tensor]]:
    return isinstance(state, dict) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items())
