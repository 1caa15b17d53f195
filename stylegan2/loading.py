"""Load generators from checkpoints, experiment folders, shipped models and files of other projects."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from stylegan2 import convert
from stylegan2.networks.conditioning import keep_label_rows, stored_label_rows
from stylegan2.networks.protocols import Generator
from stylegan2.networks.registry import GENERATORS
from stylegan2.published import PUBLISHED
from stylegan2.runtime import checkpoint, weights
from stylegan2.runtime.bounded import reading
from stylegan2.runtime.checkpoint import Metadata
from stylegan2.runtime.errors import CheckpointError
from stylegan2.runtime.registry import built_as
from stylegan2.runtime.remote import local_model
from stylegan2.runtime.tensors import build_stored, module_tensors

PREFIX = "G_ema"
KIND = "stylegan2"
PRETRAINED = weights.PretrainedFiles("stylegan2", PUBLISHED)
"""The models that come with the package, and the published ones that can be downloaded."""


def load(path_or_name: str | os.PathLike) -> tuple[Generator, Metadata]:
    """Load a generator from a checkpoint, an experiment folder, a shipped model or a file of another project.

    Args:
        path_or_name: A checkpoint of this package (.safetensors), an experiment folder (its newest intact checkpoint),
            the name of a model that comes with the package or was downloaded, a .pt of rosinality or lucidrains, or
            an NVIDIA .pkl; a file or experiment folder may be a URL.

    Returns:
        A generator in evaluation mode and float32 on the CPU, and the metadata of the file: {"kind": "stylegan2",
        "generator": {"name": ..., **settings}, ...}.

    Raises:
        UserError: There is nothing of that name.
        CheckpointError: The file is damaged, or does not hold exactly a generator.
    """
    path = local_model(path_or_name).expanduser()
    if path.is_dir():
        return _restore(*checkpoint.read_newest(path))
    if not path.is_file():
        path = PRETRAINED.locate_model(str(path_or_name), "generator")
    if convert.recognise(path) != convert.OURS:
        return convert.load_foreign(path)
    return _restore(path, *checkpoint.read(path))


def save_generator(
    path: str | os.PathLike, generator: Generator, metadata: Metadata, dtype: torch.dtype | None = None
) -> None:
    """Write a generator, without the other networks of its training, to a file that `load` reads.

    Args:
        path: A .safetensors file, which is replaced atomically.
        generator: Of a registered class: built by `GENERATORS.build` or directly, or read by `load`.
        metadata: Further JSON for the file (licence, cur_nimg, data, ...); "kind" and "generator" are filled in.
        dtype: The type in which weights are stored, such as torch.float16 for half the size; `load` gives float32.

    Raises:
        CheckpointError: A weight does not fit into `dtype`, or the file cannot be written.
        ValueError: The class of the generator is not registered, so that its settings are not known.
    """
    tensors = cast(module_tensors(PREFIX, generator), dtype)
    described = {"kind": KIND, "generator": built_as(generator), **stored_label_rows(generator)}
    checkpoint.save(path, tensors, {**metadata, **described})


def cast(tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    """Convert floating-point tensors to another type; None leaves them as they are.

    Raises:
        CheckpointError: A value does not fit into the type.
    """
    result = {name: t.to(dtype) if dtype is not None and t.is_floating_point() else t for name, t in tensors.items()}
    for name, tensor in result.items():
        if not tensor.isfinite().all():
            raise CheckpointError(f"{name!r} has values beyond the range of {dtype}: save it in a wider type")
    return result


def _restore(path: Path, tensors: Mapping[str, Tensor], metadata: Metadata) -> tuple[Generator, Metadata]:
    """Build the generator that the metadata describes. CheckpointError: the file does not hold it."""
    if metadata.get("kind") != KIND:
        raise CheckpointError(f"{str(path)!r} is a checkpoint of {metadata.get('kind')!r}, not of a generator")
    with reading(path, "a generator", CheckpointError):
        generator = build_stored(GENERATORS, metadata.get("generator"), tensors, PREFIX)
        keep_label_rows(generator, metadata.get("label_rows"))
    return generator.eval(), metadata
