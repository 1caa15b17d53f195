"""Read generators of other projects, one module per format; the contents of a file decide which format it has."""

import os
from pathlib import Path
from types import ModuleType

from torch import Tensor

from stylegan2.convert import discriminators, lucidrains, nvidia, rosinality
from stylegan2.convert.layout import Stored, check_state
from stylegan2.convert.safe import read_persistence_pickle, read_torch
from stylegan2.networks.protocols import Generator
from stylegan2.runtime import checkpoint
from stylegan2.runtime.bounded import reading
from stylegan2.runtime.checkpoint import Metadata
from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.registry import built_as
from stylegan2.runtime.tensors import module_tensors

OURS, TORCH, PICKLE, SAFETENSORS = "psp", "pytorch", "pickle", "safetensors"
FORMATS: dict[str, ModuleType] = {module.SOURCE: module for module in (rosinality, nvidia, lucidrains)}

ZIP_MAGIC = b"PK\x03\x04"  # torch.save since 1.6
LEGACY_TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before: a pickled magic number
PICKLE_MAGIC = b"\x80"  # the opcode PROTO, with which every binary pickle begins


def recognise(path: str | os.PathLike) -> str:
    """Return the container of a generator: "psp" (our own format), "pytorch", "safetensors" or "pickle" (NVIDIA).

    The first bytes of the file decide, and the header of a safetensors file.

    Raises:
        UserError: There is no such file.
        CheckpointError: The file is none of these.
    """
    try:
        with Path(path).open("rb") as file:
            start = file.read(len(LEGACY_TORCH_MAGIC))
    except OSError as error:
        raise UserError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    if start.startswith((ZIP_MAGIC, LEGACY_TORCH_MAGIC)):
        return TORCH
    # A safetensors file begins with the length of its header in 8 bytes, low byte first, and JSON follows. It is tested
    # for before a pickle, because the length may begin with the pickle's magic byte too.
    if start[5:9] == b"\0\0\0{":
        return SAFETENSORS if checkpoint.is_of_others(path) else OURS
    if start.startswith(PICKLE_MAGIC):
        return PICKLE
    raise CheckpointError(
        f"{str(path)!r} is not a generator: it is neither a .safetensors file, "
        "nor a PyTorch file (rosinality, lucidrains), nor a pickle (NVIDIA)"
    )


def open_foreign(path: str | os.PathLike) -> Stored:
    """Read the tensors and settings of another project's file without executing or building anything.

    Raises:
        CheckpointError: The file is damaged, hostile or without a generator.
    """
    kind = recognise(path)
    if kind == OURS:
        raise CheckpointError(f"{str(path)!r} is a file of this package's own format: load it with stylegan2.load")
    content = read_content(path, kind)
    with reading(path, "a generator", CheckpointError):
        stored = nvidia.extract(content) if kind == PICKLE else from_torch(content, path)
        check_state(stored.tensors)
        return stored


def read_content(path: str | os.PathLike, kind: str) -> object:
    """Read the containers, tensors and settings of another project's file without executing anything in it.

    Args:
        path: The file.
        kind: The container, as `recognise` returns it.
    """
    if kind == PICKLE:
        return read_persistence_pickle(path)
    return checkpoint.read_safetensors(path)[0] if kind == SAFETENSORS else read_torch(path)


def read_training(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read the networks of another project's training besides the averaged generator, to start a training from them.

    Args:
        path: A file that `load_foreign` reads.

    Returns:
        The trained generator under G. and the discriminator under D., by our names, as far as the file holds them. A
        discriminator of another architecture keeps its names.

    Raises:
        CheckpointError: The file is damaged or hostile.
    """
    kind = recognise(path)
    content = read_content(path, kind)
    with reading(path, "a training", CheckpointError):
        of_d = discriminators.extract(content)
        check_state(of_d)
        tensors = {f"D.{name}": tensor for name, tensor in of_d.items()}
        trained = nvidia.trained(content) if kind == PICKLE else rosinality.trained(content)
        if trained is not None:
            check_state(trained.tensors)
            tensors |= module_tensors("G", build(trained)[0])
        return tensors


def from_torch(content: object, path: str | os.PathLike) -> Stored:
    """Return the tensors and settings in the content of a PyTorch file, as `read_torch` reads it.

    Raises:
        CheckpointError: It holds no generator.
    """
    if lucidrains.is_content(content):
        return lucidrains.extract(content, Path(path).parent)
    of_nvidia = nvidia.extract_tensors(content)
    if of_nvidia is not None:
        return of_nvidia
    return rosinality.extract(content)


def build(stored: Stored) -> tuple[Generator, list[str]]:
    """Build a generator from the tensors and settings of a file.

    Returns:
        The generator in evaluation mode, and notes: one sentence for each thing that the file lacked and that was
        filled in.

    Raises:
        CheckpointError: The file is incomplete, or holds a network that this package does not have.
    """
    generator, notes = FORMATS[stored.source].build(stored)
    return generator.eval(), notes


def load_foreign(path: str | os.PathLike) -> tuple[Generator, Metadata]:
    """Load a generator from another project's file without executing anything in it.

    Returns:
        The generator in evaluation mode, and metadata in the form of our own checkpoints, with "source" (the format)
        and "notes" (what was filled in), which are printed too.

    Raises:
        CheckpointError: The file is damaged or hostile, or holds a network that this package does not have.
    """
    stored = open_foreign(path)
    with reading(path, "a generator", CheckpointError):
        generator, notes = build(stored)
    for note in notes:
        print(f"{path}: {note}")
    return generator, {"kind": "stylegan2", "generator": built_as(generator), "source": stored.source, "notes": notes}
