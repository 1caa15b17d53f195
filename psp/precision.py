"""Rendering and training in 16-bit numbers: faster on GPUs and on processors with matrix instructions for them."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from stylegan2.runtime.device import DTYPES, check_precision
from stylegan2.runtime.errors import UserError

LIMIT = 1.0
"""Largest mean difference between the renderings of both precisions, in steps of the 8-bit range 0..255. Writing 8 bits
makes differences of 0.25 by itself; JPEG of quality 95 makes about 1."""
CHECKED_IMAGES = 4  # images of the first batch that are rendered in both precisions


def pick_precision(precision: str, device: torch.device) -> str:
    """Return the precision in which a device computes.

    "auto" is float32 on a CPU and bfloat16 on a GPU that has it, else float16. A GPU may then round the operands of
    the remaining float32 products to TF32, as it may with "tf32"; with "fp32" it must not. This is set for the process.

    Raises:
        UserError: There is no such precision, or the device does not have it.
    """
    check_precision(precision)
    if device.type != "cuda":
        if precision == "fp16":
            raise UserError(f"float16 needs an NVIDIA GPU, not {device.type}: use fp32 or bf16")
        return "fp32" if precision in ("auto", "tf32") else precision
    torch.backends.cuda.matmul.allow_tf32 = precision != "fp32"
    torch.backends.cudnn.allow_tf32 = precision != "fp32"
    if precision == "auto":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return precision


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which the networks run; parameters stay in float32."""
    return torch.autocast(device.type, DTYPES.get(precision, torch.bfloat16), enabled=precision in DTYPES)


@torch.inference_mode()
def safe_precision(model: Callable[[Tensor], Tensor], images: Tensor, precision: str) -> str:
    """Return the requested precision if its renderings are close enough to those of fp32, else "fp32".

    The measured difference is printed.

    Args:
        model: Maps images to renderings.
        images: Inputs of the encoder, [N, C, S, S], of which the first few are rendered.
        precision: One of `stylegan2.runtime.ranges.PRECISIONS`.
    """
    precision = pick_precision(precision, images.device)
    if precision not in DTYPES:
        return precision
    images = images[:CHECKED_IMAGES]
    for each in ("fp32", precision):
        _timed(model, images, each)  # the first pass of a precision prepares its kernels
    reference, seconds = _timed(model, images, "fp32")
    rendered, sixteen = _timed(model, images, precision)
    difference = difference_8bit(rendered, reference)
    kept = precision if difference <= LIMIT else "fp32"
    print(
        f"{precision} differs from fp32 by {difference:.2f} of 255 on average (limit {LIMIT:g}) and takes "
        f"{sixteen / seconds:.2f} of its time{'' if sixteen < seconds else ', so it is slower here'}: using {kept}"
    )
    return kept


def difference_8bit(a: Tensor, b: Tensor) -> float:
    """Return the mean absolute difference of images in [-1, 1], in steps of the 8-bit range 0..255.

    It is infinite if a number is NaN.
    """
    difference = float((a.clamp(-1, 1) - b.clamp(-1, 1)).abs().mean() * 127.5)
    return difference if difference == difference else float("inf")


def _timed(model: Callable[[Tensor], Tensor], images: Tensor, precision: str) -> tuple[Tensor, float]:
    start = time.perf_counter()
    with autocast(images.device, precision):
        rendered = model(images)  # [N, img_channels, R, R]
    return rendered.float().cpu(), time.perf_counter() - start
