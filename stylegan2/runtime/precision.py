"""Choose the numbers in which a device computes: float32, TF32 products of float32, or 16-bit layers."""

import torch

from stylegan2.runtime.choices import check_precision

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def set_precision_flags(precision: str, device: torch.device, auto: str) -> torch.dtype:
    """Set how this process multiplies float32 numbers, and return the type of layers in reduced precision.

    TF32 rounds the factors of a product to 10 bits of mantissa, on NVIDIA GPUs from Ampere on. Networks with 16-bit
    layers use it too, as those layers are less exact anyway.

    Args:
        precision: One of `choices.PRECISIONS`; "auto" is float32 on a CPU.
        device: The device of the networks.
        auto: The meaning of "auto" on CUDA, such as "fp16".

    Returns:
        torch.float16, torch.bfloat16 or, where no layer is reduced, torch.float32.

    Raises:
        UserError: There is no such precision.
    """
    check_precision(precision)
    if precision == "auto":
        precision = auto if device.type == "cuda" else "fp32"
    allow_tf32 = precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allow_tf32
    if precision in DTYPES and device.type == "cpu":
        print(f"{precision} is slower than fp32 on most processors")
    return DTYPES.get(precision, torch.float32)
