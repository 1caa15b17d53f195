"""Rendering in 16-bit numbers (bfloat16): faster on GPUs and on processors with matrix instructions for them (AMX)."""

import time
from typing import Any

import torch
from torch import Tensor

from stylegan2.runtime.errors import UserError

PRECISIONS = ("fp32", "bf16")
LIMIT = 1.0
"""Largest mean difference between the renderings of both precisions, in steps of the 8-bit range 0..255. Writing 8 bits
makes differences of 0.25 by itself; JPEG of quality 95 makes about 1."""
CHECKED = 4  # images of the first batch that are rendered in both precisions


def autocast(device: torch.device, precision: str) -> Any:
    """The context in which the networks run."""
    if precision not in PRECISIONS:
        raise UserError(f"there is no precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@torch.inference_mode()
def check_precision(model: Any, images: Tensor, precision: str) -> str:
    """ "bf16" if its renderings are near enough to those of fp32, else "fp32"; one printed line says what was measured.

    images [N, C, S, S], what the encoder reads; the first few are encoded and rendered.
    """
    if precision == "fp32":
        return precision
    images = images[:CHECKED]
    reference, seconds = _timed(model, images, "fp32")
    _timed(model, images, precision)  # the first pass of a precision prepares its kernels
    rendered, sixteen = _timed(model, images, precision)
    difference = difference_8bit(rendered, reference)
    kept = "bf16" if difference <= LIMIT else "fp32"
    print(
        f"bf16 differs from fp32 by {difference:.2f} of 255 on average (limit {LIMIT:g}) and takes "
        f"{sixteen / seconds:.2f} of its time{'' if sixteen < seconds else ', so it is slower here'}: using {kept}"
    )
    return kept


def difference_8bit(a: Tensor, b: Tensor) -> float:
    """Mean absolute difference of images in [-1, 1], in steps of the 8-bit range 0..255; infinite where one is NaN."""
    difference = float((a.clamp(-1, 1) - b.clamp(-1, 1)).abs().mean() * 127.5)
    return difference if difference == difference else float("inf")


def _timed(model: Any, images: Tensor, precision: str) -> tuple[Tensor, float]:
    start = time.perf_counter()
    with autocast(images.device, precision):
        rendered = model(images)  # [N, img_channels, R, R]
    return rendered.float().cpu(), time.perf_counter() - start
