"""psp.load: a checkpoint, an experiment folder, a shipped model or a published pSp file -> (model, metadata)."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from psp.encoders import ENCODERS
from psp.model import PSp
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime import checkpoint, weights
from stylegan2.runtime.errors import CheckpointError, UserError


def load(source: str | Path) -> tuple[PSp, dict[str, Any]]:
    """Opens a pSp model.

    Args:
        source: our checkpoint (`.safetensors`), an experiment's folder (its newest intact checkpoint), the name of a
            model that comes with the package, or a published pSp file (`.pt`).

    Returns:
        (model on the CPU in evaluation mode, metadata as it was saved).

    Raises:
        UserError: there is no such file, folder or model.
        CheckpointError: the file is damaged, holds another kind of model, or has tensors missing or left over.
    """
    path = Path(source)
    if path.is_file() and path.suffix != ".safetensors":
        from psp.convert import from_official

        model, metadata = from_official(path)
        return model, describe(model) | metadata
    path, tensors, metadata = _read(path, str(source))
    if metadata.get("kind") != "psp":
        raise CheckpointError(f"{path} holds a {metadata.get('kind', 'foreign')} checkpoint, not a pSp model.")
    try:
        return from_tensors(tensors, metadata), metadata
    except CheckpointError as error:
        raise CheckpointError(f"{str(path)!r} cannot be opened: {error}") from error


def from_tensors(tensors: dict[str, Tensor], metadata: dict[str, Any]) -> PSp:
    """The model that `metadata` describes with `tensors` (`encoder.*`, `generator.*`, `latent_avg`), strictly.

    Tensors of other names (an optimizer's) are left alone. CheckpointError names what is missing or left over.
    """
    if "latent_avg" not in tensors:
        raise CheckpointError("latent_avg is missing")
    with torch.random.fork_rng(devices=[]):  # the weights are loaded, not drawn: leave the caller's randomness alone
        encoder = _build(ENCODERS, metadata, "encoder")
        generator = _build(GENERATORS, metadata, "generator")
    checkpoint.load_module(encoder, tensors, "encoder")
    checkpoint.load_module(generator, tensors, "generator")
    return PSp(encoder, generator, tensors["latent_avg"]).eval()


def describe(model: PSp) -> dict[str, Any]:
    """What `from_tensors` needs beside the tensors: kind, encoder {name, **config} and generator {name, **config}."""
    parts = {"encoder": model.encoder, "generator": model.generator}
    return {"kind": "psp"} | {key: {"name": part.registered_name, **part.config} for key, part in parts.items()}


def _read(path: Path, name: str) -> tuple[Path, dict[str, Tensor], dict[str, Any]]:
    """The file behind the source, its tensors and its metadata."""
    if path.is_dir():
        found = checkpoint.newest(path)
        if found is None:
            raise UserError(f"The folder {path} holds no intact checkpoint.")
        return found
    if not path.is_file():
        shipped = [key for key, entry in weights.PRETRAINED.items() if entry.found.startswith("shipped:")]
        if name not in shipped:
            raise UserError(
                f"There is no file or folder {name}, and no model of that name comes with the package "
                f"({', '.join(shipped) or 'it ships none'})."
            )
        path = weights.locate(name)
    return path, *checkpoint.read(path)


def _build(registry: dict[str, Any], metadata: dict[str, Any], part: str) -> nn.Module:
    """The registered encoder or generator that the metadata describes."""
    settings = dict(metadata.get(part) or {})
    name = settings.pop("name", None)
    if name not in registry:
        raise CheckpointError(f"its {part} is called {name!r}; there are {', '.join(sorted(registry))}")
    try:
        return registry[name](**settings)
    except TypeError as error:
        raise CheckpointError(f"its {part} was described by another version ({error})") from error
