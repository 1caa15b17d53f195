"""The epilogue of a convolution: scale, noise, bias, leaky ReLU, clamp.

On CUDA it is one pass over memory, and so is its gradient. Elsewhere it is a chain of PyTorch's operators, in which the
convolution itself adds the bias at no cost.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan2.ops.dispatch import kernels_for

LRELU_SLOPE = 0.2
LRELU_GAIN = math.sqrt(2)  # keeps the variance of a unit Gaussian that passes a leaky ReLU


def leaky_relu(x: Tensor) -> Tensor:
    """Apply leaky ReLU without a gain; callers fold sqrt(2) into the scale before it, as a * lrelu(x) = lrelu(a * x).

    x is overwritten: its gradient depends on the sign alone, which the result has too.
    """
    return F.leaky_relu(x, LRELU_SLOPE, inplace=True)


def add_noise(x: Tensor, noise: Tensor) -> Tensor:
    """Add noise [H, W] or [N, 1, H, W] to x [N, C, H, W], which is overwritten."""
    return x.add_(noise)


def place_bias(x: Tensor, bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Decide who adds the bias to x: return (bias of the convolution, bias of the epilogue), one of which is None."""
    if bias is None or kernels_for(x) is not None:
        return None, bias
    return bias.to(x.dtype), None


def epilogue(
    x: Tensor,
    scale: Tensor | None = None,
    noise: Tensor | None = None,
    bias: Tensor | None = None,
    activate: bool = True,
    clamp: float | None = None,
) -> Tensor:
    """Compute lrelu(x * scale + noise + bias), limited to [-clamp, clamp], differentiable to any order.

    Args:
        x: [N, C, H, W], the result of a convolution, which may be overwritten, except by the kernels if a gradient is
            needed.
        scale: [N, C] or [1, C].
        noise: [H, W] or [N, 1, H, W].
        bias: [C].
        activate: Apply the leaky ReLU, without a gain (see `leaky_relu`).
        clamp: Largest absolute value; None for no limit.

    Returns:
        [N, C, H, W] in the type of x.
    """
    if not activate and clamp is None and scale is None and noise is None and bias is None:
        return x
    kernels = kernels_for(x)
    if kernels is None:
        return _plain(x, scale, noise, bias, activate, clamp)
    slope = LRELU_SLOPE if activate else 1.0
    if not torch.is_grad_enabled():
        return kernels.apply_epilogue(x, scale, noise, bias, slope, clamp, overwrite=True)
    return _Epilogue.apply(x, scale, noise, bias, slope, clamp)


def scaled(x: Tensor, scale: Tensor) -> Tensor:
    """Multiply the channels of x [N, C, H, W] by a scale [N, C], in the type of x, without changing x."""
    kernels = kernels_for(x)
    if kernels is not None and torch.is_grad_enabled():
        return _Epilogue.apply(x, scale, None, None, 1.0, None)
    if kernels is not None:
        return kernels.apply_epilogue(x, scale, None, None, 1.0, None)
    if x.dtype == torch.float16:
        scale = scale.to(x.dtype)  # bfloat16 would round it too coarsely, as it has 8 bits and float16 has 11
    return (x * scale[:, :, None, None]).to(x.dtype)


def _plain(
    x: Tensor, scale: Tensor | None, noise: Tensor | None, bias: Tensor | None, activate: bool, clamp: float | None
) -> Tensor:
    if scale is not None and bias is not None:  # one pass for both
        x = torch.addcmul(bias[:, None, None].to(x.dtype), x, scale[:, :, None, None].to(x.dtype))
    elif scale is not None:
        x = x * scale[:, :, None, None].to(x.dtype)
    elif bias is not None:
        x = x + bias[:, None, None].to(x.dtype)
    x = x if noise is None else add_noise(x, noise.to(x.dtype))
    x = leaky_relu(x) if activate else x
    if clamp is None:
        return x
    return x.clamp(-clamp, clamp) if torch.is_grad_enabled() else x.clamp_(-clamp, clamp)


class _Epilogue(torch.autograd.Function):
    """y = clamp(lrelu(x * scale + noise + bias)); sign and size of y determine the factor of the gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor | None,
        noise: Tensor | None,
        bias: Tensor | None,
        slope: float,
        clamp: float | None,
    ) -> Tensor:
        kernels = kernels_for(x)
        assert kernels is not None
        y = kernels.apply_epilogue(x, scale, noise, bias, slope, clamp)
        is_linear = slope == 1 and clamp is None
        ctx.save_for_backward(None if scale is None else x, scale, noise, bias, None if is_linear else y)
        ctx.slope, ctx.clamp = slope, clamp
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, noise, bias, y = ctx.saved_tensors
        return *_Gradients.apply(grad, x, scale, noise, bias, y, ctx.slope, ctx.clamp), None, None


class _Gradients(torch.autograd.Function):
    """The gradients of the inputs of `_Epilogue`.

    Let m be 1, the slope or 0, depending on y, and g = m * grad. The gradient of x is g * scale, that of the scale is
    the sum of g * x over pixels, and those of noise and bias are sums of g. They are linear in grad, in x and in the
    scale, so their own derivatives consist of the same two operators. Where x, noise or bias is None, the scale, the
    noise or the bias has no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        grad: Tensor,
        x: Tensor | None,
        scale: Tensor | None,
        noise: Tensor | None,
        bias: Tensor | None,
        y: Tensor | None,
        slope: float,
        clamp: float | None,
    ) -> tuple[Tensor | None, ...]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(grad, x, scale, y)
        ctx.slope, ctx.clamp = slope, clamp
        kernels = kernels_for(grad)
        assert kernels is not None
        return kernels.epilogue_gradients(grad, x, scale, noise, bias, y, slope, clamp)

    @staticmethod
    def backward(
        ctx: Any, of_x: Tensor | None, of_scale: Tensor | None, of_noise: Tensor | None, of_bias: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        grad, x, scale, y = ctx.saved_tensors
        masked = (None, None, y, ctx.slope, ctx.clamp)
        for_grad = for_x = for_scale = None
        if of_x is not None:  # the sum of of_x * m * grad * scale
            for_grad, for_scale, *_ = _Gradients.apply(of_x, grad if scale is not None else None, scale, *masked)
        if of_scale is not None:  # the sum of of_scale * m * grad * x
            for_x = _Gradients.apply(grad, None, of_scale, *masked)[0]
        rest = _sum_of(x, of_scale, of_noise, of_bias, grad)
        if rest is not None:
            rest = _Gradients.apply(rest, None, None, *masked)[0]
            for_grad = rest if for_grad is None else for_grad + rest
        return for_grad, for_x, for_scale, None, None, None, None, None


def _sum_of(
    x: Tensor | None, scale: Tensor | None, noise: Tensor | None, bias: Tensor | None, like: Tensor
) -> Tensor | None:
    """Return x * scale + noise + bias [N, C, H, W], without the terms that are None; None if all are."""
    if scale is not None:
        return _Epilogue.apply(x, scale, noise, bias, 1.0, None)
    if bias is not None:
        bias = bias[:, None, None]  # [C, 1, 1]
        noise = bias if noise is None else noise + bias  # [C, 1, 1] or [N, C, H, W]
    return None if noise is None else noise.expand_as(like).to(like.dtype)
