"""Build a network that a file describes, after checking that the file holds its tensors."""

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor

from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.module import Module
from stylegan2.runtime.registry import Registry
from stylegan2.runtime.tensors import check_module, load_module

Part = TypeVar("Part", bound=Module)


def build_stored(registry: Registry[Part], description: object, tensors: Mapping[str, Tensor], prefix: str) -> Part:
    """Build the network that a file describes, with its tensors in float32.

    A description of a few bytes may ask for any amount of memory, so the network is first built without memory, on
    PyTorch's meta device, and its shapes are compared with the tensors.

    Args:
        registry: The registry of networks of this kind.
        description: {"name": ..., **settings}, as JSON holds it.
        tensors: The tensors of the file; those called PREFIX.* are exactly the network's.
        prefix: The prefix, without the dot.

    Raises:
        CheckpointError: The description is not valid, the tensors do not fit it, or one is not finite.
    """
    check_module(outline_of(registry, description), tensors, prefix)
    start = prefix + "."
    own = {name: _real(name, tensor) for name, tensor in tensors.items() if name.startswith(start)}
    with torch.random.fork_rng(devices=[]):  # reading a file must not change the caller's random state
        part = registry.build(**registry.checked(description))
    load_module(part, own, prefix)
    return part


def outline_of(registry: Registry[Part], description: object) -> Part:
    """Build the network that a file describes on the meta device, where it takes no memory.

    Raises:
        CheckpointError: The description is not valid.
    """
    if not isinstance(description, Mapping):
        raise CheckpointError(f"its metadata do not contain the name of its {registry.kind}")
    try:
        with torch.device("meta"):
            return registry.build(**registry.checked(description))
    except UserError as error:
        raise CheckpointError(f"this version of the package cannot build its {registry.kind}: {error}") from error


def _real(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    if not tensor.isfinite().all():
        raise CheckpointError(f"its {name} contains numbers that are not finite")
    return tensor.float()
