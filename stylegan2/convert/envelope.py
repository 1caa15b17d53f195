"""Find the tensors of a network in a file, also within keys, prefixes, nested dicts or NumPy arrays.

The same network is stored as {"g_ema": tensors}, as {"state_dict": {"generator_ema.NAME": tensor}}, with `module.` of
several GPUs or `_orig_mod.` of a compiled module before its names or within them, or bare. Which tensors belong
together is told by a name that every network of a layout has.
"""

import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from stylegan2.convert.safe import read_torch
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import CheckpointError

DEPTH = 4  # of dicts in dicts
AVERAGED = ("ema", "avg", "average", "shadow")
WRAPPERS = re.compile(r"(?<![^.])(?:module|_orig_mod|_fsdp_wrapped_module)\.")
"""the parts of names that PyTorch's wrappers of modules add"""
COUNTERS = ("n_averaged", "num_updates", "initted", "step")
"""tensors beside a network in which programs count, such as `torch.optim.swa_utils.AveragedModel`"""
MEANS = ("latent_avg", "mean_latent", "w_avg", "latent_mean", "avg_latent")


class Wrapped(NamedTuple):
    """The tensors of one network and the place where they were found."""

    place: str
    """the keys that lead to them and their prefix, such as "state_dict.generator_ema." """
    tensors: dict[str, Tensor]
    """the tensors by name, without the prefix"""

    @property
    def averaged(self) -> bool:
        """Whether the name of the place says that it is a moving average."""
        return any(word in self.place.lower() for word in AVERAGED)


def unwrap(content: object, anchor: str) -> list[Wrapped]:
    """Find the networks in a file; moving averages come first.

    Args:
        content: The content of the file, as `torch.load` returns it.
        anchor: The name of a tensor that each network of the layout has, and that no other ends with.
    """
    networks = [
        Wrapped(place + prefix, own) for place, tensors in _dicts(content) for prefix, own in _split(tensors, anchor)
    ]
    return sorted(networks, key=lambda wrapped: not wrapped.averaged)


def stored_w_avg(content: object) -> Tensor | None:
    """Return the mean of W under the names that projects give it, or None if there is none."""
    for _, values in _dicts(content, tensors_only=False):
        for name in MEANS:
            mean = as_tensor(values.get(name))
            if mean is not None and mean.numel() and mean.is_floating_point():
                return mean
    return None


def without_wrappers(content: dict) -> dict[str, Any]:
    """Return the entries whose keys are text, without the parts of names that PyTorch's wrappers add.

    An entry whose own name is the same stays: {"module.a": 1, "a": 2} becomes {"a": 2}.
    """
    named = {key: value for key, value in content.items() if isinstance(key, str)}
    plain = [(WRAPPERS.sub("", key), key, value) for key, value in named.items()]
    return {short: value for short, key, value in plain if short == key or short not in named}


def as_tensor(value: object) -> Tensor | None:
    """Return a tensor as it is and a numeric NumPy array as a tensor; None for anything else."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        return torch.from_numpy(np.ascontiguousarray(value))
    return None


def _dicts(
    content: object, place: str = "", depth: int = DEPTH, tensors_only: bool = True
) -> Iterator[tuple[str, dict]]:
    if not isinstance(content, dict) or depth == 0:
        return
    named = without_wrappers(content)
    tensors = {key: as_tensor(value) for key, value in named.items()}
    yield place, {key: tensor for key, tensor in tensors.items() if tensor is not None} if tensors_only else named
    for key, value in named.items():
        if isinstance(value, dict):
            yield from _dicts(value, f"{place}{key}.", depth - 1, tensors_only)


def _split(tensors: dict[str, Tensor], anchor: str) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield (prefix, tensors without it) for each prefix under which the anchor is found."""
    for key in tensors:
        prefix = key.removesuffix(anchor)
        if key.endswith(anchor) and (not prefix or prefix.endswith(".")):
            own = {name: x for name, x in tensors.items() if name.startswith(prefix) and not _is_counter(name, x)}
            yield prefix, {name.removeprefix(prefix): tensor for name, tensor in own.items()}


def _is_counter(name: str, tensor: Tensor) -> bool:
    return tensor.numel() == 1 and name in COUNTERS


def load_network_tensors(path: str | os.PathLike, *anchors: str) -> dict[str, Tensor]:
    """Read the tensors of a network, on the CPU, without executing anything in the file.

    Args:
        path: A file of `torch.save` or in the safetensors format, in which the network may have any prefix, such as
            `module.`, and lie in any dict, such as {"state_dict": tensors}.
        anchors: Names of tensors that identify the network; the first that is networks decides.

    Returns:
        {name without the prefix: tensor}.

    Raises:
        CheckpointError: The file is damaged, or has no such tensor.
    """
    content = checkpoint.read_safetensors(path)[0] if checkpoint.is_safetensors(path) else read_torch(path)
    networks = next(filter(None, (unwrap(content, anchor) for anchor in anchors)), None)
    if networks is None:
        raise CheckpointError(f"{path} does not contain this network: it has no tensor called {' or '.join(anchors)}")
    return networks[0].tensors
