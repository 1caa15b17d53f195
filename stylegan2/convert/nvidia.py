"""Generators of NVIDIA's stylegan2-ada-pytorch, and of stylegan3 with --cfg=stylegan2 (.pkl)."""

import os
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from stylegan2.convert import layout
from stylegan2.convert.safe import StoredModule, read_persistence_pickle
from stylegan2.networks.stylegan2 import Generator
from stylegan2.runtime.errors import CheckpointError, UserError

LAYER = ("weight", "bias", "affine.weight", "affine.bias", "noise_strength", "noise_const")
TO_RGB = ("weight", "bias", "affine.weight", "affine.bias")
CONST = "synthesis.b4.const"
DEEPEST = 8  # modules within modules; a generator has 4 levels
LR_MULTIPLIER = 0.01


def read(path: str | os.PathLike) -> tuple[Generator, dict[str, Any]]:
    """(generator, metadata) from the `G_ema` of a network pickle, whose embedded source code is not executed."""
    content = read_persistence_pickle(path)
    stored = content.get("G_ema") if isinstance(content, dict) else None
    if not isinstance(stored, StoredModule):
        raise CheckpointError(f"{str(path)!r} is a pickle without a generator 'G_ema' of NVIDIA's PyTorch projects")
    try:
        tensors, settings = flatten(stored)
        _check_kind(tensors, settings)
        clamp = settings.get("synthesis.b4.conv1.conv_clamp", _synthesis_arguments(stored).get("conv_clamp"))
        generator = from_nvidia(tensors, clamp, settings.get("mapping.fc0.bias_gain", LR_MULTIPLIER))
    except UserError as error:
        raise CheckpointError(f"{str(path)!r}: {error}") from error
    notes = [] if layout.W_AVG in tensors else [layout.W_AVG_NOTE]
    config = {"name": "stylegan2", **generator.config}
    return generator, {"kind": "stylegan2", "generator": config, "source": "nvidia", "notes": notes}


def flatten(stored: StoredModule) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """({"a.b.name": tensor}, {"a.b.name": number, text or None}): parameters and buffers, and plain attributes."""
    tensors: dict[str, Tensor] = {}
    settings: dict[str, Any] = {}

    def visit(module: Any, prefix: str, depth: int) -> None:
        if not isinstance(module, StoredModule) or depth > DEEPEST:
            raise CheckpointError(f"{prefix or 'G_ema'!r} is no module as NVIDIA's projects store it")
        for kind in ("_parameters", "_buffers"):
            for name, value in _dict(module, kind).items():
                if isinstance(value, Tensor):
                    tensors[f"{prefix}{name}"] = value
        for name, value in module.state.items():
            if value is None or isinstance(value, bool | int | float | str):
                settings[f"{prefix}{name}"] = value
        for name, child in _dict(module, "_modules").items():
            visit(child, f"{prefix}{name}.", depth + 1)

    visit(stored, "", 0)
    return tensors, settings


def from_nvidia(
    state: Mapping[str, Tensor], conv_clamp: float | None = None, mapping_lr_multiplier: float = LR_MULTIPLIER
) -> Generator:
    """A Generator from the state dict of an NVIDIA generator; sizes and architecture are read from the tensors.

    Args:
        state: names and tensors. Where there is no mean of W it is estimated with a fixed seed, and a network without
            noise (`use_noise=False`) gets noise of strength 0.
        conv_clamp: the bound on each layer's output, which the tensors do not tell.
        mapping_lr_multiplier: of the mapping network, which the tensors do not tell either.

    Raises:
        CheckpointError: names the tensors that are missing, not known or of another shape.
    """
    state = dict(state)
    if CONST not in state:
        raise CheckpointError(f"it is no StyleGAN2 generator: there is no {CONST!r}")
    blocks = _blocks(state)
    mapping_layers = max(1, _count(state, "mapping.fc{}.weight"))
    architecture = _architecture(state)
    names = tensor_names(blocks, mapping_layers, architecture)
    if layout.W_AVG in state:
        names[layout.W_AVG] = layout.W_AVG
    if not any(".noise_" in name for name in state):
        state |= _no_noise(blocks)
    filters = [name for name in state if name.endswith("resample_filter")]
    layout.check_names(state, names.values(), filters)
    layout.check_filters(state, filters, gain=1.0)
    config = _config(state, blocks, mapping_layers) | {
        "architecture": architecture,
        "conv_clamp": _positive("conv_clamp", conv_clamp, optional=True),
        "mapping_lr_multiplier": _positive("mapping_lr_multiplier", mapping_lr_multiplier),
    }
    return layout.build(config, names, state)


def tensor_names(blocks: int, mapping_layers: int, architecture: str) -> dict[str, str]:
    """{our name: NVIDIA's name} for a generator of resolution 4 * 2^blocks, without the mean of W."""
    names = {"synthesis.const": CONST}
    for i in range(mapping_layers):
        for part in ("weight", "bias"):
            names[f"mapping.layers.{i}.{part}"] = f"mapping.fc{i}.{part}"
    for k in range(2 * blocks + 1):
        names |= {f"synthesis.layers.{k}.{part}": f"{_layer(k)}.{part}" for part in LAYER}
    outputs = range(blocks + 1) if architecture == "skip" else [blocks]
    for j, block in enumerate(outputs):
        theirs = f"synthesis.b{4 * 2**block}.torgb"
        names |= {f"synthesis.to_rgbs.{j}.{part}": f"{theirs}.{part}" for part in TO_RGB}
    if architecture == "residual":
        names |= {f"synthesis.skips.{j}.weight": f"synthesis.b{8 * 2**j}.skip.weight" for j in range(blocks)}
    return names


def _layer(k: int) -> str:
    """Layer 0 is b4.conv1; each block after it has an upsampling conv0 and a plain conv1."""
    return f"synthesis.b{4 * 2 ** ((k + 1) // 2)}.conv{0 if k % 2 else 1}"


def _no_noise(blocks: int) -> dict[str, Tensor]:
    maps = enumerate(layout.seeded_noise(2 * blocks + 1))
    return {
        f"{_layer(k)}.{part}": tensor
        for k, noise in maps
        for part, tensor in (("noise_const", noise), ("noise_strength", noise.new_zeros([])))
    }


def _blocks(state: Mapping[str, Tensor]) -> int:
    """How often the resolution doubles from 4."""
    blocks = 0
    while f"synthesis.b{8 * 2**blocks}.conv0.weight" in state:
        blocks += 1
    return blocks


def _architecture(state: Mapping[str, Tensor]) -> str:
    """The architecture shows in the names: 1x1 skips beside the blocks, and a ToRGB in the first block or not."""
    if "synthesis.b8.skip.weight" in state:
        return "residual"
    return "skip" if "synthesis.b4.torgb.weight" in state else "plain"


def _config(state: Mapping[str, Tensor], blocks: int, mapping_layers: int) -> dict[str, Any]:
    resolutions = [4 * 2**block for block in range(blocks + 1)]
    widths = {r: state[f"synthesis.b{r}.conv1.bias"].numel() for r in resolutions}
    w_dim, z_dim = layout.matrix(state, "mapping.fc0.weight")
    return {
        "img_resolution": resolutions[-1],
        "img_channels": state[f"synthesis.b{resolutions[-1]}.torgb.bias"].numel(),
        "z_dim": z_dim,
        "w_dim": w_dim,
        "mapping_layers": mapping_layers,
        **layout.channel_settings(widths),
    }


def _check_kind(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> None:
    """Raises CheckpointError for networks that share the container and not the architecture."""
    if settings.get("c_dim") or any(name.startswith("mapping.embed.") for name in tensors):
        raise CheckpointError("it is a class-conditional generator (c_dim > 0); only unconditional ones are supported")
    if any(name.startswith("synthesis.input.") for name in tensors):
        raise CheckpointError("it is a StyleGAN3 generator (stylegan3-t or -r); only StyleGAN2 ones are supported")
    for name, value in settings.items():
        if re.fullmatch(r"(mapping\.fc\d+|synthesis\.b\d+\.conv[01])\.activation", name) and value != "lrelu":
            raise CheckpointError(f"its layers end in {value!r}; only 'lrelu' is supported")


def _synthesis_arguments(stored: StoredModule) -> dict[str, Any]:
    """stylegan2-ada nests them in `synthesis_kwargs`, stylegan3 does not."""
    arguments = _dict(stored, "_init_kwargs")
    nested = arguments.get("synthesis_kwargs")
    return nested if isinstance(nested, dict) else arguments


def _dict(module: StoredModule, name: str) -> dict[str, Any]:
    value = module.state.get(name)
    return value if isinstance(value, dict) else {}


def _positive(name: str, value: Any, optional: bool = False) -> float | None:
    if value is None and optional:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise CheckpointError(f"its {name} is {value!r}, which is no positive number")
    return value


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    number = 0
    while pattern.format(number) in state:
        number += 1
    return number
