"""Other projects' generators, read as ours; one file a format. The bytes of a file decide which format it is."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stylegan2.convert import nvidia, rosinality
from stylegan2.networks.stylegan2 import Generator
from stylegan2.runtime.errors import CheckpointError, UserError

OURS = "psp"
READERS: dict[str, Callable[[str | os.PathLike], tuple[Generator, dict[str, Any]]]] = {
    "rosinality": rosinality.read,
    "nvidia": nvidia.read,
}

ZIP_MAGIC = b"PK\x03\x04"  # torch.save since 1.6
LEGACY_TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before: a pickled magic number
PICKLE_MAGIC = b"\x80"  # the opcode PROTO, with which every binary pickle begins


def recognise(path: str | os.PathLike) -> str:
    """The format of a generator's file, by its first bytes: "psp" (our own), "rosinality" or "nvidia".

    Raises UserError when there is no such file and CheckpointError when it is of none of these formats.
    """
    try:
        with Path(path).open("rb") as file:
            start = file.read(len(LEGACY_TORCH_MAGIC))
    except OSError as error:
        raise UserError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    if start.startswith((ZIP_MAGIC, LEGACY_TORCH_MAGIC)):
        return "rosinality"
    # safetensors: the length of its header in 8 bytes, low byte first, then JSON. Asked before the pickle, because the
    # length may begin with the pickle's magic byte too.
    if start[5:9] == b"\0\0\0{":
        return OURS
    if start.startswith(PICKLE_MAGIC):
        return "nvidia"
    raise CheckpointError(
        f"{str(path)!r} is no generator: it is neither a .safetensors file of this package, "
        "nor a PyTorch file (rosinality), nor a pickle (NVIDIA)"
    )


def load_foreign(path: str | os.PathLike) -> tuple[Generator, dict[str, Any]]:
    """(generator in eval mode, metadata) of another project's file; nothing that the file contains is executed.

    The metadata has the form of our own checkpoints, and "source" (the format) and "notes": one sentence for each
    thing that the file lacks and that was filled in. The notes are printed too.
    Raises CheckpointError, in one sentence, when the file is damaged, hostile or of a network that we do not have.
    """
    kind = recognise(path)
    if kind not in READERS:
        raise CheckpointError(f"{str(path)!r} is a file of this package's own format: load it with stylegan2.load")
    generator, metadata = READERS[kind](path)
    for note in metadata["notes"]:
        print(f"{path}: {note}")
    return generator.eval(), metadata
