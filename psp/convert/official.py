"""Read published files of pSp with its baselines, of e4e and of ReStyle.

Their repositories are eladrich/pixel2style2pixel, omertov/encoder4editing and yuval-alaluf/restyle-encoder.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from psp.convert import layout
from psp.encoders import ENCODERS
from psp.model import PSp
from stylegan2.convert.envelope import as_tensor, unwrap
from stylegan2.convert.layout import NOISE_NOTE, W_AVG_NOTE, check_state
from stylegan2.convert.rosinality import from_rosinality
from stylegan2.convert.safe import read_torch
from stylegan2.networks.protocols import Generator
from stylegan2.runtime import checkpoint
from stylegan2.runtime.bounded import reading
from stylegan2.runtime.checkpoint import Metadata
from stylegan2.runtime.errors import CheckpointError
from stylegan2.runtime.tensors import load_module

KEPT_OPTIONS = ("dataset_type", "label_nc", "input_nc", "resize_factors")
DECODER = "decoder."
ANCHORS = ("decoder.input.input", "decoder.conv1.conv.modulation.weight", "decoder.style.1.weight")


class Content(NamedTuple):
    """The content of a published file."""

    state: dict[str, Tensor]
    """`encoder.*` and `decoder.*`"""
    average: Tensor | None
    """[w_dim], [1, w_dim] or [rows, w_dim]"""
    options: layout.Options


def from_official(path: str | Path) -> tuple[PSp, Metadata]:
    """Read a published file. Nothing in it is executed.

    Returns:
        The model in evaluation mode, and metadata: "source", "notes", "options" and our "task". Each note, which is
        printed too, says what the file lacks and how it was filled in.

    Raises:
        CheckpointError: The file is damaged, belongs to another method (HyperStyle is recognised), or has missing or
            unexpected keys.
    """
    content = checkpoint.read_safetensors(path)[0] if checkpoint.is_safetensors(path) else read_torch(path)
    with reading(path, "a published model", CheckpointError):
        model, metadata = from_content(content)
    for note in metadata["notes"]:
        print(f"{path}: {note}")
    return model, metadata


def from_content(content: object) -> tuple[PSp, Metadata]:
    """Build a model from the content of a published file: {"state_dict": tensors, "opts": ..., "latent_avg": tensor}.

    The encoder uses the tensors themselves, so that a file of a gigabyte is in memory only once.
    """
    state, average, options = parts(content)
    name = layout.encoder_name(state, options)
    generator = read_generator(state, average)
    encoder = read_encoder(name, state, generator, options)
    notes = [W_AVG_NOTE] if average is None else []
    notes += [] if f"{DECODER}noises.noise_0" in state else [NOISE_NOTE]
    if (heads := layout.count(state, "encoder.styles")) > generator.num_ws:
        notes.append(f"the generator uses the first {generator.num_ws} of its {heads} heads")
    model = PSp(encoder, generator, latent_average(average, generator, added(name, options)))
    kept = {option: options[option] for option in KEPT_OPTIONS if _is_plain(options.get(option))}
    metadata = {"source": layout.repository_of(name), "notes": notes, "options": kept}
    dataset = options.get("dataset_type")
    if isinstance(dataset, str) and dataset in layout.TASKS:
        metadata["task"] = layout.TASKS[dataset]
    subject = dataset.lower().split("_")[0] if isinstance(dataset, str) else ""
    if subject in layout.WITHOUT_FACES:
        metadata["faces"] = False
    if subject in layout.LANDSCAPE and hasattr(encoder, "styles"):
        model.encoder.aspect = layout.LANDSCAPE_ASPECT
    return model.eval(), metadata


def parts(content: object) -> Content:
    """Return the parts of a published file, however its tensors are wrapped. CheckpointError: it has no such parts."""
    if not isinstance(content, dict):
        raise CheckpointError("this is not a pSp checkpoint, because it has no state_dict")
    networks = next(filter(None, (unwrap(content, anchor) for anchor in ANCHORS)), [])
    state = networks[0].tensors if networks else content.get("state_dict")
    if not isinstance(state, dict):
        raise CheckpointError("this is not a pSp checkpoint, because it has no state_dict")
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError("its state_dict contains more than tensors")
    check_state(state)
    inner = {name: tensor for name, tensor in state.items() if name not in content}
    average, options = as_tensor(content.get("latent_avg", inner.get("latent_avg"))), content.get("opts")
    options = vars(options) if isinstance(options, argparse.Namespace) else options
    if average is not None and average.ndim == 3 and len(average) == 1:
        average = average[0]  # [rows, w_dim]
    if content.get("latent_avg") is not None and (
        average is None or average.ndim not in (1, 2) or not average.numel() or not average.is_floating_point()
    ):
        raise CheckpointError("its latent_avg is empty or not a tensor of one or two dimensions")
    return Content(state, average, options if isinstance(options, dict) else {})


def _is_plain(value: object) -> bool:
    return isinstance(value, bool | str) or (isinstance(value, int | float) and abs(value) < 2**63)


def read_generator(state: dict[str, Tensor], average: Tensor | None) -> Generator:
    decoder = {key.removeprefix(DECODER): value for key, value in state.items() if key.startswith(DECODER)}
    if not decoder:
        raise CheckpointError("the file contains no generator (no tensors called decoder.*)")
    row = None if average is None else average.reshape(-1, average.shape[-1])[0]  # [w_dim]
    return from_rosinality(decoder, row)


def read_encoder(name: str, state: dict[str, Tensor], generator: Generator, options: layout.Options) -> nn.Module:
    config = layout.encoder_config(name, state, generator.num_ws, generator.img_channels, options)
    with torch.device("meta"):  # takes neither memory nor random numbers
        encoder = ENCODERS.build(**ENCODERS.checked({"name": name, **config}))
    used = layout.without_extra_heads(state, generator.num_ws)
    tensors = {key: value.float() if value.is_floating_point() else value for key, value in used.items()}
    load_module(encoder, tensors, "encoder", assign=True)
    return encoder


def added(name: str, options: layout.Options) -> bool:
    """Return whether the published code adds the latent average: ReStyle always does, the others if trained so."""
    return layout.is_iterative(name) or bool(options.get("start_from_latent_avg", True))


def latent_average(average: Tensor | None, generator: Generator, is_added: bool) -> Tensor:
    """Return the latent average of the model: [w_dim], [1, w_dim] or [num_ws, w_dim]."""
    if not is_added:
        return torch.zeros_like(generator.w_avg)
    if average is None:
        return generator.w_avg
    average = average.float()
    return average[: generator.num_ws] if average.ndim == 2 else average
