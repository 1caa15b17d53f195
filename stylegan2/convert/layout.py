"""Functions that all formats share: sizes from shapes, strict renaming of tensors, and a missing mean of W."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from stylegan2 import ops
from stylegan2.networks.protocols import Generator
from stylegan2.networks.registry import GENERATORS
from stylegan2.networks.sizes import feature_maps
from stylegan2.runtime.checkpoint import Metadata
from stylegan2.runtime.errors import CheckpointError
from stylegan2.runtime.registry import Config

MAX_TENSORS, MAX_NUMBERED, LONGEST_NAME = 10_000, 256, 300  # limits of a network, far beyond all published ones
W_AVG_SAMPLES = 10_000
CHUNK = 1_000
W_AVG = "mapping.w_avg"
NOISE_NOTE = "the file contains no noise maps; they were drawn with a fixed seed"
W_AVG_NOTE = f"the file contains no mean of W; it was estimated from {W_AVG_SAMPLES} samples with a fixed seed"
NOISE_LACKING = "noise maps: not in the file; they are drawn with a fixed seed when it is read"
W_AVG_LACKING = "mean of W: not in the file; it is estimated from the mapping network when the file is read"


class Stored(NamedTuple):
    """A generator as another project's file holds it."""

    source: str
    """the format"""
    tensors: dict[str, Tensor]
    """the tensors under that project's names"""
    settings: Metadata
    """properties of the network that the tensors do not show"""


class Description(NamedTuple):
    """What the tensors of a file, also a damaged one, say about its generator; None for what is unknown."""

    widths: dict[int, int | None]
    """{resolution: channels}"""
    num_ws: int
    mapping_layers: int
    z_dim: int | None
    w_dim: int | None
    img_channels: int | None
    missing: list[str]
    extra: list[str]
    remarks: list[str]


def count(state: Mapping[str, object], prefix: str) -> int:
    """Return how many numbered modules `PREFIX.0.*`, `PREFIX.1.*`, ... there are, gaps included.

    Raises:
        CheckpointError: There are more than in any network.
    """
    start = f"{prefix}."
    modules = len({key[len(start) :].split(".")[0] for key in state if key.startswith(start)})
    if modules > MAX_NUMBERED:
        raise CheckpointError(f"it has {modules:,} modules {start}*, more than any known network")
    return modules


def count_numbered(state: Mapping[str, object], pattern: str, first: int = 0) -> int:
    """Return how many names there are with `first`, `first` + 1, ... in place of the braces, without a gap."""
    number = first
    while pattern.format(number) in state:
        number += 1
    return number - first


def check_state(state: Mapping[str, object]) -> None:
    """Raise a CheckpointError unless these are names and finite dense tensors, as a network has them."""
    if len(state) > MAX_TENSORS:
        raise CheckpointError(f"it has {len(state):,} tensors, more than any known network")
    for name, tensor in state.items():
        if not isinstance(name, str) or len(name) > LONGEST_NAME or re.search(r"\d{5}", name):
            raise CheckpointError(f"it has a tensor called {str(name)[:60]!r}, which no known network has")
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.is_complex() or tensor.is_meta:
            raise CheckpointError(f"its {name!r} is not a dense tensor of plain numbers")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(f"its {name!r} contains numbers that are not finite")


def numbers(state: Iterable[str], pattern: str) -> set[int]:
    """Return the numbers that the group in `pattern` matches at the beginnings of the names."""
    return {int(match[1]) for match in map(re.compile(pattern).match, state) if match}


def size(state: Mapping[str, Tensor], name: str, dim: int) -> int | None:
    """Return the size of one dimension of a tensor, or None if the tensor is missing or has no such dimension."""
    tensor = state.get(name)
    return None if tensor is None or dim >= tensor.ndim else tensor.shape[dim]


def gaps(
    state: Mapping[str, object], expected: Iterable[str], ignored: Iterable[str] = ()
) -> tuple[list[str], list[str]]:
    """Return (names that `state` lacks, names that it has beyond `expected` and `ignored`)."""
    expected = list(expected)
    known = {*expected, *ignored}
    return [name for name in expected if name not in state], [name for name in state if name not in known]


def channel_settings(widths: Mapping[int, int]) -> dict[str, int]:
    """Return the `channel_base` and `channel_max` that give these widths (see `feature_maps`).

    Where every width is the maximum, the base is the smallest one that fits.

    Args:
        widths: {resolution: channels}.

    Raises:
        CheckpointError: No pair gives these widths.
    """
    channel_max = max(widths.values())
    channel_base = max(resolution * width for resolution, width in widths.items())
    for resolution, width in widths.items():
        if feature_maps(resolution, channel_base, channel_max) != width:
            table = ", ".join(f"{r}: {w}" for r, w in sorted(widths.items()))
            raise CheckpointError(
                f"the generator's widths ({table}) are not min(base / resolution, max) for any base and max, "
                "so this package has no StyleGAN2 of this size"
            )
    return {"channel_base": channel_base, "channel_max": channel_max}


def matrix(state: Mapping[str, Tensor], name: str) -> tuple[int, int]:
    """Return the shape of a weight matrix. CheckpointError: the tensor is no matrix."""
    shape = state[name].shape
    if len(shape) != 2:
        raise CheckpointError(f"{name!r} has the shape {list(shape)}, but must be a matrix")
    return shape[0], shape[1]


def check_names(state: Mapping[str, Tensor], expected: Iterable[str], ignored: Iterable[str] = ()) -> None:
    """Raise a CheckpointError that names what `state` lacks, and what it has beyond `expected` and `ignored`."""
    missing, extra = gaps(state, expected, ignored)
    problems = {"missing": missing, "not known": extra}
    text = "; ".join(f"{len(names)} tensors are {kind}: {_some(names)}" for kind, names in problems.items() if names)
    if text:
        raise CheckpointError(f"the file is not the generator that it seems to be: {text}")


def _some(names: list[str], limit: int = 5) -> str:
    return ", ".join(repr(name) for name in names[:limit]) + (", ..." if len(names) > limit else "")


def check_filters(state: Mapping[str, Tensor], names: Iterable[str], gain: float) -> None:
    """Raise a CheckpointError unless each resampling filter is StyleGAN2's [1, 3, 3, 1] and sums to `gain`."""
    expected = ops.fir_kernel(1, gain, torch.empty(0))[0, 0]  # [4, 4]
    for name in names:
        kernel = state[name].float()
        if kernel.shape != expected.shape or not torch.allclose(kernel, expected, atol=1e-5):
            raise CheckpointError(f"{name!r} is not [1, 3, 3, 1], the only filter that this package supports")


def build(
    config: Config, names: Mapping[str, str], state: Mapping[str, Tensor], network: str = "stylegan2"
) -> Generator:
    """Build a generator and fill it with the tensors of a file; shapes may differ in dimensions of size 1 only.

    Args:
        config: The settings of the generator.
        names: {our name: the file's name} of every tensor.
        state: The tensors of the file.
        network: The generator's name in the registry.

    Raises:
        CheckpointError: The settings are out of range, or a tensor has another shape.
    """
    checked = GENERATORS.checked({"name": network, **config})
    with torch.device("meta"):
        _check_shapes(GENERATORS.build(**checked), names, state)
    with torch.random.fork_rng(devices=[]):  # reading a file must not change the caller's random state
        generator = GENERATORS.build(**checked)
    tensors = {}
    for ours, own in generator.state_dict().items():
        if ours == W_AVG and ours not in names:
            tensors[ours] = torch.zeros(own.shape)
            continue
        tensors[ours] = state[names[ours]].detach().to(torch.float32, copy=True).reshape(own.shape).contiguous()
    generator.load_state_dict(tensors, assign=True)
    if W_AVG not in names:
        generator.w_avg.copy_(estimate_w_avg(generator))
    return generator


def _check_shapes(network: Generator, names: Mapping[str, str], state: Mapping[str, Tensor]) -> None:
    """Raise a CheckpointError unless the tensors fit a network on the meta device, before a real one takes memory."""
    for ours, own in network.state_dict().items():
        if ours == W_AVG and ours not in names:
            continue
        theirs = state[names[ours]]
        if [d for d in theirs.shape if d != 1] != [d for d in own.shape if d != 1]:
            raise CheckpointError(f"{names[ours]!r} has the shape {list(theirs.shape)[:16]}, not {list(own.shape)}")


@torch.no_grad()
def estimate_w_avg(generator: Generator) -> Tensor:
    """Estimate E[f(z)], [w_dim], over all classes from samples of a fixed seed, so that every call returns the same."""
    source = torch.Generator().manual_seed(0)
    total = torch.zeros_like(generator.w_avg)
    labels = torch.arange(CHUNK) % generator.num_classes if generator.num_classes else None
    for _ in range(W_AVG_SAMPLES // CHUNK):
        z = torch.randn(CHUNK, generator.z_dim, generator=source)
        total += generator.mapping(z, labels=labels)[:, 0].mean(0)  # [w_dim]
    return total / (W_AVG_SAMPLES // CHUNK)


def seeded_noise(layers: int) -> list[Tensor]:
    """Draw noise maps [r, r] for the layers of a synthesis network, with sides 4, 8, 8, 16, 16, ..."""
    source = torch.Generator().manual_seed(0)
    sizes = [4 * 2 ** ((layer + 1) // 2) for layer in range(layers)]
    return [torch.randn(size, size, generator=source) for size in sizes]
