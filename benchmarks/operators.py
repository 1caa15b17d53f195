"""Speed of the FIR filter and of the epilogue of a convolution, compared with the memory bandwidth of a copy."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import peers
from benchmarks.clock import milliseconds
from benchmarks.works import Row, Work
from stylegan2 import ops

Operator = Callable[[Tensor], Tensor]
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
OURS, PLAIN = "ours", "plain"
CLAMP = 256.0


def filter_works(
    shape: tuple[int, int, int, int], rate: float, device: torch.device, nvidia: Path | None
) -> list[Work]:
    """List the measurements of the FIR filter: low-pass, 2x upsampling and 2x downsampling in channels_last.

    Args:
        shape: Shape of the input, [N, C, H, W].
        rate: Bytes per second that a copy reads and writes.
        device: Device on which to measure.
        nvidia: Checkout of NVlabs/stylegan3 to compare with; None for no comparison.
    """
    forms: dict[str, dict[str, Operator]] = {
        OURS: {"blur": partial(ops.blur, padding=2), "up": ops.upsample2x, "down": ops.downsample2x},
        PLAIN: {"blur": partial(depthwise, padding=2), "up": depthwise_up, "down": partial(depthwise, stride=2)},
    }
    if nvidia is not None:
        fir = peers.nvidia_filter(nvidia)
        forms[peers.NVIDIA] = {
            "blur": partial(fir, padding=2),
            "up": partial(fir, up=2, padding=[2, 1, 2, 1], gain=4.0),
            "down": partial(fir, down=2, padding=1),
        }
    works = []
    for precision, dtype in DTYPES.items():
        for name in ("blur", "up", "down"):
            for form, calls in forms.items():
                if form != PLAIN or precision == "fp32":  # slow everywhere: once is enough
                    measure = partial(measure_operator, calls[name], shape, dtype, device, rate)
                    works.append(Work({"operator": name, "precision": precision, "form": form}, measure))
    return works


def epilogue_works(
    shape: tuple[int, int, int, int], rate: float, device: torch.device, nvidia: Path | None
) -> list[Work]:
    """List the measurements of noise, bias, leaky ReLU, gain and clamp; the arguments are those of `filter_works`."""
    forms: dict[str, Callable[..., Tensor]] = {OURS: own_epilogue, PLAIN: plain_epilogue}
    if nvidia is not None:
        forms[peers.NVIDIA] = peers.nvidia_epilogue(nvidia)
    works = []
    for precision, dtype in DTYPES.items():
        noise = torch.randn(shape[0], 1, *shape[2:], device=device, dtype=dtype)
        bias = torch.randn(shape[1], device=device, dtype=dtype)
        for form, call in forms.items():
            operator = partial(call, noise=noise, bias=bias, gain=ops.LRELU_GAIN, clamp=CLAMP)
            measure = partial(measure_operator, operator, shape, dtype, device, rate)
            works.append(Work({"operator": "epilogue", "precision": precision, "form": form}, measure))
    return works


def measure_operator(
    call: Operator, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, rate: float, seconds: float
) -> Row:
    """Measure a forward pass, one with its gradient, and one with the derivative of that gradient.

    The fraction of the copy's speed counts each map once: one read and one write for the forward pass, and the same
    again for the backward pass.
    """
    x = torch.randn(shape, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    x.requires_grad_(True)
    y = call(x)
    grad, direction = torch.randn_like(y), torch.randn_like(x)

    @torch.no_grad()
    def forward() -> None:
        call(x)

    def backward() -> None:
        torch.autograd.grad(call(x), x, grad)

    def second() -> None:
        varied = grad.detach().requires_grad_(True)
        (first,) = torch.autograd.grad(call(x), x, varied, create_graph=True)
        torch.autograd.grad(first, varied, direction)

    ms = [milliseconds(each, device, seconds / 3) for each in (forward, backward, second)]
    ideal = (x.nbytes + y.nbytes) / rate * 1000
    return {
        "forward, ms": ms[0],
        "share of the copy's speed": ideal / ms[0],
        "with backward, ms": ms[1],
        "its share": 2 * ideal / ms[1],
        "with double backward, ms": ms[2],
    }


def depthwise(x: Tensor, padding: int = 1, stride: int = 1) -> Tensor:
    return F.conv2d(x, _kernel(x, 1.0), stride=stride, padding=padding, groups=x.shape[1])


def depthwise_up(x: Tensor) -> Tensor:
    return F.conv_transpose2d(x, _kernel(x, 4.0), stride=2, padding=1, groups=x.shape[1])  # [N, C, 2H, 2W]


def _kernel(x: Tensor, gain: float) -> Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype, device=x.device) / 8
    return (torch.outer(taps, taps) * gain).expand(x.shape[1], 1, 4, 4)


def own_epilogue(x: Tensor, noise: Tensor, bias: Tensor, gain: float, clamp: float) -> Tensor:
    """Compute our epilogue without the gain, which our networks fold into the weight and the bias."""
    return ops.epilogue(x, noise=noise, bias=bias, clamp=clamp)


def plain_epilogue(x: Tensor, noise: Tensor, bias: Tensor, gain: float, clamp: float) -> Tensor:
    """Compute the epilogue with one PyTorch operator per operation."""
    return (F.leaky_relu(x + noise + bias[:, None, None], ops.LRELU_SLOPE) * gain).clamp(-clamp, clamp)
