"""Describe a generator's file, also a damaged one: its format, the sizes of its network, and what it lacks."""

from collections.abc import Mapping

from torch import Tensor

from stylegan2.convert import FORMATS
from stylegan2.convert.layout import Outline, Stored, gaps
from stylegan2.networks.registry import GENERATORS
from stylegan2.networks.sizes import feature_maps, resolutions
from stylegan2.runtime.checkpoint import Metadata
from stylegan2.runtime.registry import built_as
from stylegan2.runtime.tensors import outline_of

SHOWN = 5  # names that a line lists at most
TITLES = {
    "rosinality": "StyleGAN2 generator (rosinality)",
    "nvidia": "NVIDIA pickle",
    "lucidrains": "StyleGAN2 generator (lucidrains)",
}


def describe(stored: Stored) -> list[str]:
    """Return lines such as "generator: 1024 px, ..." about the generator in another project's file."""
    outline = FORMATS[stored.source].outline(stored)
    return [f"format: {TITLES[stored.source]}", *lines_of(outline), *outline.remarks, amount(stored.tensors)]


def lines_of(outline: Outline) -> list[str]:
    """Return lines with the sizes of a generator and with the tensors that are missing or left over."""
    z_dim, w_dim, channels = (
        "?" if size is None else size for size in (outline.z_dim, outline.w_dim, outline.img_channels)
    )
    widths = (f"{resolution}: {'?' if width is None else width}" for resolution, width in outline.widths.items())
    return [
        f"generator: {max(outline.widths, default='?')} px, {channels} channels, num_ws {outline.num_ws}, "
        f"mapping of {outline.mapping_layers} layers, z {z_dim}, w {w_dim}",
        f"generator: widths {', '.join(widths)}",
        *lines_of_gaps("generator", outline.missing, outline.extra),
    ]


def lines_of_gaps(part: str, missing: list[str], extra: list[str]) -> list[str]:
    return [
        f"{part}: {len(names)} tensors {kind}: {listed(names)}"
        for kind, names in (("missing", missing), ("unexpected", extra))
        if names
    ] or [f"{part}: no tensor is missing or unexpected"]


def describe_ours(metadata: Metadata, tensors: Mapping[str, Tensor], prefix: str) -> list[str]:
    """Return lines about a generator in a checkpoint of this package, whose tensors are called PREFIX.*"""
    generator = outline_of(GENERATORS, metadata["generator"])
    config = built_as(generator)
    state = {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
    widths: dict[int, int | None] = {
        resolution: feature_maps(resolution, config["channel_base"], config["channel_max"])
        for resolution in resolutions(generator.img_resolution)
    }
    outline = Outline(
        widths,
        generator.num_ws,
        config.get("mapping_layers", 0),
        generator.z_dim,
        generator.w_dim,
        generator.img_channels,
        *gaps(state, generator.state_dict()),
        [],
    )
    return lines_of(outline)


def settings(values: object) -> str:
    """Return the settings of a part on one line; in a damaged file they may be anything."""
    if not isinstance(values, Mapping):
        return repr(values)[:200]
    return ", ".join(f"{key} {value}" for key, value in values.items())


def listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def amount(state: Mapping[str, Tensor]) -> str:
    return f"tensors: {len(state)}, {sum(value.numel() for value in state.values()) / 1e6:.1f} million numbers"
