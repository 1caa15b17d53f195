"""Start a training from a given generator; with layers of D frozen it is Freeze-D (Mo et al. 2020)."""

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from stylegan2.loading import load
from stylegan2.networks.growing import growth_of
from stylegan2.networks.protocols import Generator
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import UserError


def read(
    path_or_name: str | os.PathLike, freeze_d: int = 0, with_discriminator: bool = True
) -> tuple[Generator, dict[str, Tensor]]:
    """Read a generator to start a training from.

    Args:
        path_or_name: Whatever `stylegan2.load` takes.
        freeze_d: How many layers of the discriminator are to stay as they are.
        with_discriminator: Whether the discriminator is wanted too, if the file has one.

    Returns:
        The generator, and the weights to start from under G., G_ema. and perhaps D.: the `initial` of `train`.

    Raises:
        UserError: The file has no discriminator whose layers could be frozen, or a half-grown generator.
        CheckpointError: As `stylegan2.load`.
    """
    generator, _ = load(path_or_name)
    growth, full = growth_of(generator), generator.img_resolution
    if growth is not None and growth.reached != (full, 1.0):
        raise UserError(
            f"{str(path_or_name)!r} has not grown to its {full} px yet, but is at {growth.reached[0]}: train it further"
        )
    stored = _training_tensors(Path(path_or_name).expanduser())
    if freeze_d and not any(name.startswith("D.") for name in stored):
        raise UserError(f"{str(path_or_name)!r} holds no discriminator, so freeze_d has nothing to freeze")
    ema = checkpoint.module_tensors("G_ema", generator)
    kept = ("G.", "D.") if with_discriminator else ("G.",)
    trained = {name: tensor for name, tensor in stored.items() if name.startswith(kept)}
    return generator, {**checkpoint.module_tensors("G", generator), **ema, **trained}


def _training_tensors(path: Path) -> Mapping[str, Tensor]:
    """Return all tensors of a checkpoint of this package or of a folder's newest one, and none of other files."""
    if path.is_dir():
        found = checkpoint.newest(path)
        return found[1] if found else {}
    return checkpoint.read(path)[0] if path.suffix == ".safetensors" and path.is_file() else {}
