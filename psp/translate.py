"""Images in, images and latents out."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from psp.model import PSp
from stylegan2.runtime.errors import UserError

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's conversion to gray


@dataclass(frozen=True)
class Translation:
    """One batch of results."""

    images: Tensor
    """float32 [N, img_channels, R, R] in [-1, 1], on the CPU"""
    codes: np.ndarray
    """w_plus, float32 [N, num_ws, w_dim]"""
    seconds: float
    """what encoding and rendering took"""


def translate(
    model: PSp,
    sources: Iterable[Tensor],
    batch_size: int = 8,
    device: torch.device | str = "cpu",
    noise_mode: str = "const",
) -> Iterator[Translation]:
    """Encodes and renders images as they come, in batches; every source gives one result, in order.

    Args:
        model: is moved to `device` and set to evaluation mode.
        sources: float [C, H, W] in [-1, 1], each of any size; see `prepare`. No more than a batch is held at a time.
        batch_size: the last batch may be smaller.
        noise_mode: the generator's: "const", "random" or "none".

    Yields:
        `Translation`, one a batch.

    Raises:
        UserError: a source has channels that the encoder cannot take, or the device's memory is too small.
    """
    if batch_size < 1:
        raise UserError(f"the batch size is a number from 1 on, not {batch_size}")
    model = model.to(device).eval()
    encoder: Any = model.encoder
    channels, size = encoder.input_channels, encoder.input_size
    remaining = iter(sources)
    while batch := [prepare(source, channels, size) for source in islice(remaining, batch_size)]:
        yield _translate_batch(model, torch.stack(batch), device, noise_mode)


@torch.inference_mode()
def _translate_batch(model: PSp, batch: Tensor, device: torch.device | str, noise_mode: str) -> Translation:
    start = time.perf_counter()
    try:
        codes = model.encode(batch.to(device))  # [N, num_ws, w_dim]
        images = model.decode(codes, noise_mode)  # [N, img_channels, R, R]
        images, codes = images.float().clamp(-1, 1).cpu(), codes.float().cpu()
    except torch.OutOfMemoryError as error:
        raise UserError(f"{device} has too little memory for {len(batch)} images at a time: use fewer") from error
    return Translation(images, codes.numpy(), time.perf_counter() - start)


def prepare(source: Tensor, channels: int, size: int) -> Tensor:
    """What the encoder reads: float32 [channels, size, size].

    Of a source [C, H, W] the centre square is taken and resized with antialiasing. Gray becomes RGB by repetition, and
    RGB becomes gray by its luma; any other mismatch of channels is a UserError.
    """
    if source.ndim != 3 or min(source.shape) < 1:
        raise UserError(f"a source is an image [C, H, W], not a tensor of shape {list(source.shape)}")
    height, width = source.shape[1:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = source[:, top : top + side, left : left + side].float()  # [C, side, side]
    if side != size:
        square = F.interpolate(square[None], (size, size), mode="bicubic", antialias=True)[0]  # [C, size, size]
        square = square.clamp(-1, 1)
    return _match_channels(square, channels)


def _match_channels(image: Tensor, channels: int) -> Tensor:
    if image.shape[0] == channels:
        return image
    if (image.shape[0], channels) == (1, 3):
        return image.expand(3, -1, -1)  # [3, H, W]
    if (image.shape[0], channels) == (3, 1):
        return torch.tensordot(image.new_tensor([LUMA]), image, dims=1)  # [1, H, W]
    raise UserError(f"the encoder reads images of {channels} channels, and this one has {image.shape[0]}")
