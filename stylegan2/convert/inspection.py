"""Describe a generator's file, also a damaged one: its format, the sizes of its network, and what it lacks."""

from collections.abc import Mapping

from torch import Tensor

from stylegan2.convert import FORMATS
from stylegan2.convert.layout import Description, Stored, gaps
from stylegan2.networks.registry import GENERATORS
from stylegan2.networks.sizes import feature_maps, resolutions
from stylegan2.runtime.checkpoint import Metadata
from stylegan2.runtime.registry import built_as
from stylegan2.runtime.tensors import build_on_meta

SHOWN = 5  # names that a line lists at most
TITLES = {
    "rosinality": "StyleGAN2 generator (rosinality)",
    "nvidia": "NVIDIA pickle",
    "lucidrains": "StyleGAN2 generator (lucidrains)",
}


def lines_of_file(stored: Stored) -> list[str]:
    """Return lines such as "generator: 1024 px, ..." about the generator in another project's file."""
    description = FORMATS[stored.source].describe(stored)
    return [
        f"format: {TITLES[stored.source]}",
        *lines_of_generator(description),
        *description.remarks,
        line_of_tensors(stored.tensors),
    ]


def lines_of_generator(description: Description) -> list[str]:
    """Return lines with the sizes of a generator and with the tensors that are missing or left over."""
    z_dim, w_dim, channels = (
        "?" if size is None else size for size in (description.z_dim, description.w_dim, description.img_channels)
    )
    widths = (f"{resolution}: {'?' if width is None else width}" for resolution, width in description.widths.items())
    return [
        f"generator: {max(description.widths, default='?')} px, {channels} channels, num_ws {description.num_ws}, "
        f"mapping of {description.mapping_layers} layers, z {z_dim}, w {w_dim}",
        f"generator: widths {', '.join(widths)}",
        *lines_of_gaps("generator", description.missing, description.extra),
    ]


def lines_of_gaps(part: str, missing: list[str], extra: list[str]) -> list[str]:
    """Return lines with the names of tensors that a part lacks and of those that do not belong to it."""
    return [
        f"{part}: {len(names)} tensors {kind}: {listed(names)}"
        for kind, names in (("missing", missing), ("unexpected", extra))
        if names
    ] or [f"{part}: no tensor is missing or unexpected"]


def lines_of_checkpoint(metadata: Metadata, tensors: Mapping[str, Tensor], prefix: str) -> list[str]:
    """Return lines about a generator in a checkpoint of this package, whose tensors are called PREFIX.*"""
    generator = build_on_meta(GENERATORS, metadata["generator"])
    config = built_as(generator)
    state = {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
    widths: dict[int, int | None] = {
        resolution: feature_maps(resolution, config["channel_base"], config["channel_max"])
        for resolution in resolutions(generator.img_resolution)
    }
    description = Description(
        widths,
        generator.num_ws,
        config.get("mapping_layers", 0),
        generator.z_dim,
        generator.w_dim,
        generator.img_channels,
        *gaps(state, generator.state_dict()),
        [],
    )
    return lines_of_generator(description)


def line_of_settings(values: object) -> str:
    """Return the settings of a part on one line; in a damaged file they may be anything."""
    if not isinstance(values, Mapping):
        return repr(values)[:200]
    return ", ".join(f"{key} {value}" for key, value in values.items())


def listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def line_of_tensors(state: Mapping[str, Tensor]) -> str:
    return f"tensors: {len(state)}, {sum(value.numel() for value in state.values()) / 1e6:.1f} million numbers"
