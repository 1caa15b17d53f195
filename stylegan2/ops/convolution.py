"""Convolutions in the form that is fastest for their shapes on a CPU; elsewhere PyTorch's own.

Feature maps are stored in channels_last, which suits the forward pass and the gradient of the input. oneDNN's gradient
of the weights is often so much faster on dense [N, C, H, W] that it pays to copy both operands, and its transposed
convolution of a single image takes longer than four ordinary ones. For few pixels, and for the gradient of the weights
at stride 2 or of many channels, `stylegan2.ops.columns` is faster.
`benchmarks/convolution.py` measures all forms, and how well the rules below decide. Fixed rules decide instead of
measurements at run time, so that a run is reproducible.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan2.ops import columns
from stylegan2.ops.columns import Pair, columns_pay, weight_gradient_pays
from stylegan2.ops.dispatch import PLAIN_TYPES

ISA = torch.backends.cpu.get_cpu_capability()


class Conv2d(nn.Conv2d):
    """PyTorch's layer with a gradient that is faster on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        plain = self.padding_mode == "zeros" and self.groups == 1 and self.dilation == (1, 1)
        if not plain or isinstance(self.padding, str):
            return super().forward(input)
        return conv2d(input, self.weight, self.bias, self.stride, self.padding)


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int | Pair = 1, padding: int | Pair = 0
) -> Tensor:
    """Compute `torch.nn.functional.conv2d` of x [N, I, H, W] with weight [O, I, k, k] and bias [O]."""
    pairs = _pair(stride), _pair(padding)
    if not torch.is_grad_enabled() and columns_pay(x, weight, *pairs):
        return columns.convolve_columns(x, weight, bias, *pairs)
    if _is_trained(x, weight) and (
        columns_pay(x, weight, *pairs, gradients=True)
        or weight_gradient_pays(x, weight, pairs[0])
        or copies_pay(weight, x.shape[2] * x.shape[3], pairs[0], transposed=False)
    ):
        return _convolve(x, weight, bias, *pairs, False)
    return F.conv2d(x, weight, bias, stride, padding)


def conv_transpose2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0
) -> Tensor:
    """Compute `torch.nn.functional.conv_transpose2d` of x [N, I, H, W] with weight [I, O, k, k] and bias [O]."""
    if _is_trained(x, weight) and (
        weight_gradient_pays(x, weight, (stride, stride))
        or copies_pay(weight, x.shape[2] * x.shape[3], (stride, stride), transposed=True)
    ):
        return _convolve(x, weight, bias, _pair(stride), _pair(padding), True)
    return F.conv_transpose2d(x, weight, bias, stride, padding)


def copies_pay(weight: Tensor, pixels: int, stride: Pair, transposed: bool) -> bool:
    """Return whether the gradient of the weights gains more from dense copies of both operands than they cost.

    The rule was measured with oneDNN 3 on processors with AVX2 (20 to 90 GFLOP/s of a core become 50 to 90) and with
    AVX-512.
    """
    if weight.shape[-1] == 1 or min(weight.shape[:2]) < 64:
        return False
    if transposed:
        return ISA in ("AVX2", "AVX512")
    if ISA == "AVX512":
        return stride in ((1, 1), (2, 2)) and min(weight.shape[:2]) >= 256 and pixels >= 64**2
    return ISA == "AVX2" and stride == (1, 1)


def phases_pay(x: Tensor) -> bool:
    """Return whether a transposed convolution of stride 2 is slower than `conv_transpose2d_by_phases`."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or x.shape[0] > 1:
        return False
    return ISA == "AVX2" or (ISA == "AVX512" and x.shape[1] >= 128)


def conv_transpose2d_by_phases(x: Tensor, weight: Tensor) -> Tensor:
    """Compute a transposed convolution of stride 2 as four ordinary ones, one for each parity of rows and columns.

    Even rows are sums of two taps, odd rows have only the middle tap.

    Args:
        x: [N, I, H, W].
        weight: [O, I, 3, 3].

    Returns:
        [N, O, 2H+1, 2W+1] in channels_last.
    """
    n, _, h, w = x.shape
    taps = weight.flip(2, 3)
    size = (n, len(weight), 2 * h + 1, 2 * w + 1)
    y = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    for row in (0, 1):
        for column in (0, 1):
            phase = taps[:, :, row::2, column::2].contiguous(
                memory_format=torch.channels_last
            )  # [O, I, 2 or 1, 2 or 1]
            y[:, :, row::2, column::2] = _ordinary(x, phase, (1 - row, 1 - column))
    return y


def _ordinary(x: Tensor, weight: Tensor, padding: Pair) -> Tensor:
    """Convolve without gradients by oneDNN, which with one thread PyTorch does not use for 1x1 kernels.

    It then takes more than twice as long.
    """
    if type(x) in PLAIN_TYPES and torch.backends.mkldnn.is_available() and x.dtype == torch.float32:
        return torch.ops.aten.mkldnn_convolution(x, weight, None, padding, (1, 1), (1, 1), 1)
    return F.conv2d(x, weight, padding=padding)


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _is_trained(x: Tensor, weight: Tensor) -> bool:
    """Return whether float32 weights on a CPU will have a gradient."""
    if not (torch.is_grad_enabled() and weight.requires_grad and x.device.type == "cpu"):
        return False
    return x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, transposed: bool) -> Tensor:
    # Views are not leaves, and autograd cannot tell whether the gradient of a leaf is needed.
    bias = None if bias is None else bias.view_as(bias)
    return _Convolution.apply(x, weight.view_as(weight), bias, stride, padding, transposed)


class _Convolution(torch.autograd.Function):
    """A convolution whose gradient of the input is `_InputGradient`, so that second derivatives are as fast."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, transposed: bool
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.settings = stride, padding, transposed
        if not transposed and columns_pay(x, weight, stride, padding):
            # A view could not be overwritten, as activations do.
            return columns.convolve_columns(x, weight, bias, stride, padding).clone()
        return torch.ops.aten.convolution(x, weight, bias, stride, padding, (1, 1), transposed, (0, 0), 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x = _InputGradient.apply(grad, x, weight, *ctx.settings) if ctx.needs_input_grad[0] else None
        of_weight = _weight_gradient(grad, x, weight, *ctx.settings) if _is_wanted(ctx, 1) else None
        of_bias = grad.sum((0, 2, 3)) if _is_wanted(ctx, 2) else None
        return of_x, of_weight, of_bias, None, None, None


class _InputGradient(torch.autograd.Function):
    """The gradient of the input of a convolution, linear in `grad` and in the weight; only the shape of x matters."""

    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, transposed: bool
    ) -> Tensor:
        ctx.save_for_backward(grad, weight)
        ctx.settings = stride, padding, transposed
        if not transposed and columns_pay(x, weight, stride, padding, gradients=True):
            return columns.input_gradient(grad, x, weight, stride, padding)
        return _gradients(grad, x, weight, stride, padding, transposed, (True, False))[0]

    @staticmethod
    def backward(ctx: Any, of_x: Tensor) -> tuple[Tensor | None, ...]:
        grad, weight = ctx.saved_tensors
        of_grad = _Convolution.apply(of_x, weight, None, *ctx.settings) if ctx.needs_input_grad[0] else None
        of_weight = _weight_gradient(grad, of_x, weight, *ctx.settings) if _is_wanted(ctx, 2) else None
        return of_grad, None, of_weight, None, None, None


def _is_wanted(ctx: Any, k: int) -> bool:
    """Return whether autograd continues from input k, which `needs_input_grad` does not tell: R1 needs no weights."""
    if not ctx.needs_input_grad[k]:
        return False
    try:
        return torch._C._will_engine_execute_node(ctx.next_functions[k][0])
    except RuntimeError:  # it cannot be known
        return True


def _weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, transposed: bool) -> Tensor:
    """Compute the gradient of the weights as columns, or else from dense copies.

    If it is to be differentiated in turn, PyTorch's formula does that.
    """
    if not torch.is_grad_enabled():
        few = not transposed and columns_pay(x, weight, stride, padding, gradients=True)
        if few or weight_gradient_pays(x, weight, stride):
            of_result, of_input = (x, grad) if transposed else (grad, x)
            return columns.weight_gradient(of_result, of_input, weight, stride, padding)
    shape = torch.empty(weight.shape, dtype=weight.dtype, device=weight.device)  # nothing else of the weight matters
    return _gradients(grad.contiguous(), x.contiguous(), shape, stride, padding, transposed, (False, True))[1]


def _gradients(
    grad: Tensor, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, transposed: bool, wanted: tuple[bool, bool]
) -> tuple[Tensor, ...]:
    return torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, padding, (1, 1), transposed, (0, 0), 1, (*wanted, False)
    )
