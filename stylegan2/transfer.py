"""Start a training from a given generator, optionally with frozen layers of D: Freeze-D (Mo et al. 2020).

The new networks may have another resolution, other channels or other classes. Weights that fit are loaded. The
names of loaded, unused and new weights are printed.
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from stylegan2 import convert
from stylegan2.latents.truncation import learn_truncation
from stylegan2.loading import PRETRAINED, load
from stylegan2.networks.growing import growth_of
from stylegan2.networks.protocols import Generator
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.remote import local_model
from stylegan2.runtime.tensors import module_tensors


def read(path_or_name: str | os.PathLike, freeze_d: int = 0, psi: float = 1.0) -> tuple[Generator, dict[str, Tensor]]:
    """Read a generator to start a training from.

    Args:
        path_or_name: A file, folder or name as for `stylegan2.load`.
        freeze_d: Number of layers of the discriminator that will be frozen.
        psi: A truncation that its mapping network learns first (see `learn_truncation`).

    Returns:
        The generator, and its weights under G., G_ema. and perhaps D. For networks of equal sizes the weights are
        the `initial` of `train`; for others `start` fits them.

    Raises:
        UserError: The file has no discriminator whose layers could be frozen, or its generator is half-grown.
        CheckpointError: As `stylegan2.load`.
    """
    generator, _ = load(path_or_name)
    growth, full = growth_of(generator), generator.img_resolution
    if growth is not None and growth.reached != (full, 1.0):
        raise UserError(
            f"{str(path_or_name)!r} has grown to {growth.reached[0]} of its {full} px only: train it further"
        )
    stored = _training_tensors(local_model(path_or_name).expanduser())
    if freeze_d and not any(name.startswith("D.") for name in stored):
        raise UserError(f"{str(path_or_name)!r} contains no discriminator, so freeze_d has nothing to freeze")
    trained = {name: tensor for name, tensor in stored.items() if name.startswith(("G.", "D."))}
    if psi != 1:
        error = learn_truncation(generator, psi)
        print(f"the mapping network learned a truncation of psi {psi:g}, up to an error of {error:.1%}")
        trained = {name: tensor for name, tensor in trained.items() if not name.startswith("G.mapping.")}
    ema = module_tensors("G_ema", generator)
    return generator, {**module_tensors("G", generator), **ema, **trained}


@dataclass
class Fit:
    """The weights that a network took over from a file."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    """all tensors of the network, including new ones"""
    loaded: list[str] = field(default_factory=list)
    partly_loaded: list[str] = field(default_factory=list)
    """names of tensors that were loaded for the shared classes"""
    new: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)


def fit(network: nn.Module, stored: Mapping[str, Tensor]) -> Fit:
    """Take over the weights that a network of other sizes has in common with this one.

    The blocks of a generator are numbered from 4 pixels up, those of a discriminator from the image down, so that the
    latter are renumbered where the resolutions differ. A conditional mapping network that starts from an unconditional
    one computes the same at first, and vice versa.

    Args:
        network: The network with new weights, which are kept if no stored weights fit.
        stored: The tensors of the other network, without a prefix.
    """
    own, result = network.state_dict(), Fit()
    stored = _renumbered(stored, own) if any(name.startswith("from_rgbs.") for name in own) else dict(stored)
    for name, new in own.items():
        old = stored.pop(name, None)
        adapted = None if old is None or old.shape == new.shape else _adapted(name, old, new)
        if name.endswith("_extra_state"):  # the state of growing: the new network is fully grown to its own resolution
            result.tensors[name] = new
            result.loaded.append(name)
        elif old is not None and old.shape == new.shape:
            result.tensors[name] = old
            result.loaded.append(name)
        elif adapted is not None:
            result.tensors[name] = adapted
            result.partly_loaded.append(name)
        else:
            result.tensors[name] = new
            result.new.append(name)
            result.unused += [name] if old is not None else []
    result.unused += list(stored)
    return result


def start(
    networks: Mapping[str, nn.Module], stored: Mapping[str, Tensor], source: str, freeze_d: int = 0
) -> dict[str, Tensor]:
    """Load the weights that fit, and print which were loaded, which were not used and which are new.

    Args:
        networks: G, D and G_ema by these names, which are not changed.
        stored: The weights, as `read` returns them.
        source: The name of the file, for the output.
        freeze_d: Number of layers of the discriminator that will be frozen.

    Returns:
        The `initial` of `train`: all tensors of all networks.

    Raises:
        UserError: Layers that would be frozen are new.
    """
    fits = {}
    for name, network in networks.items():
        own = {key.removeprefix(f"{name}."): t for key, t in stored.items() if key.startswith(f"{name}.")}
        fits[name] = fit(network, own)
    shown = {name: fitted for name, fitted in fits.items() if name != "G_ema"}  # which is as G
    if freeze_d and any(name.startswith(("from_rgbs.0.", "blocks.0.")) for name in fits["D"].new):
        raise UserError(
            "freeze_d would freeze layers that are new, because the resolution differs from that of the file"
        )
    print(f"loaded from {source}: " + ", ".join(_share(name, fitted) for name, fitted in shown.items()))
    for title, names in (
        ("loaded for the shared classes", {name: fitted.partly_loaded for name, fitted in shown.items()}),
        ("not used", {name: fitted.unused for name, fitted in shown.items() if fitted.loaded}),
        ("new", {name: fitted.new for name, fitted in shown.items() if fitted.loaded}),
    ):
        if any(names.values()):
            print(f"{title}: " + ", ".join(f"{name}.{part}" for name, own in names.items() for part in _parts(own)))
    for name, fitted in shown.items():
        if not fitted.loaded:
            reason = "the one in the file is of another kind" if fitted.unused else "the file contains none"
            print(f"new: all of {name}, because {reason}")
    return {f"{name}.{key}": tensor for name, fitted in fits.items() for key, tensor in fitted.tensors.items()}


def _share(name: str, fitted: Fit) -> str:
    return f"{len(fitted.loaded) + len(fitted.partly_loaded)} of {len(fitted.tensors)} tensors of {name}"


def _parts(names: Sequence[str]) -> list[str]:
    """Shorten names of tensors to their block or layer, each once and in order."""
    return list(dict.fromkeys(match[1] if (match := re.match(r"(.*?\.\d+)\.", n)) else n for n in names))


def _renumbered(stored: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renumber the blocks of a discriminator to match one that has more or fewer blocks next to the image."""
    result = dict(stored)
    for part in ("from_rgbs", "blocks"):
        counts = [len({n.split(".")[1] for n in names if n.startswith(f"{part}.")}) for names in (stored, own)]
        if counts[0] > 1 and counts[1] > 1 and counts[0] != counts[1]:
            moved = {name: result.pop(name) for name in list(result) if name.startswith(f"{part}.")}
            for name, tensor in moved.items():
                _, number, rest = name.split(".", 2)
                result[f"{part}.{int(number) + counts[1] - counts[0]}.{rest}"] = tensor
    return result


def _adapted(name: str, old: Tensor, new: Tensor) -> Tensor | None:
    """Adapt a weight to another number of classes; return None if it differs in another way."""
    if name.endswith("embedding.linear.weight") and len(old) == len(new):
        result, common = new.clone(), min(old.shape[1], new.shape[1])
        result[:, :common] = old[:, :common]  # [F, classes]; the first classes are the same
        return result
    if name == "mapping.layers.0.weight" and len(old) == len(new):
        # z comes first, then the embedding of the label. He's constant divides by the root of the number of inputs.
        common = min(old.shape[1], new.shape[1])
        result = torch.zeros_like(new)
        result[:, :common] = old[:, :common] * math.sqrt(new.shape[1] / old.shape[1])  # [w_dim, z_dim (+ w_dim)]
        return result
    return None


def _training_tensors(path: Path) -> Mapping[str, Tensor]:
    """Return the tensors of all networks of a training in a file, or in the newest checkpoint of a folder."""
    if path.is_dir():
        newest = checkpoint.newest(path)
        return newest[1] if newest else {}
    if not path.is_file():
        path = PRETRAINED.locate_model(str(path), "generator")
    return checkpoint.read(path)[0] if convert.recognise(path) == convert.OURS else convert.read_training(path)
