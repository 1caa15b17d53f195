"""Convolutions on a CPU as products of two matrices.

For a convolution of few pixels and many channels, oneDNN spends most of its time on rearranging the weights. Its
product of matrices takes them as they lie in channels_last, [O, k * k * I], if the pixels under each position of the
kernel are gathered into a row, [N * H * W, k * k * I]. The gradient of the weights is faster in this form for any
number of pixels, if the channels are many or the stride is 2: a limited number of rows at a time is gathered and
multiplied while it is in the cache. `benchmarks/convolution.py` measures all forms.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan2.ops.dispatch import PLAIN_TYPES

ISA = torch.backends.cpu.get_cpu_capability()
MOST_PIXELS = 32**2  # of all results together
FEWEST_CHANNELS = 256
MOST_PIXELS_OF_STRIDE_1 = 16**2  # for the convolution itself; its gradients pay up to MOST_PIXELS
FEWEST_CHANNELS_OF_STRIDE_1 = 512
PIECE = 32**2  # rows of one product in the gradient of the weights; longer ones are slower by up to 15 %
Pair = tuple[int, ...]
"""(for the height, for the width)"""


def columns_pay(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, gradients: bool = False) -> bool:
    """Return whether a convolution of x [N, I, H, W] with weight [O, I, k, k], or its gradients, are faster here.

    Gradients become 1.4 to 2.9 times as fast with AVX2 and AVX-512, at stride 1 up to 1.6 times. With AVX2 the
    convolution itself gains nothing.
    """
    if ISA != "AVX512" and not (gradients and ISA == "AVX2"):
        return False
    if min(weight.shape[:2]) < FEWEST_CHANNELS or not _suit(x, weight):
        return False
    most = MOST_PIXELS
    if stride == (1, 1):
        most = MOST_PIXELS if gradients else MOST_PIXELS_OF_STRIDE_1
        if min(weight.shape[:2]) < FEWEST_CHANNELS_OF_STRIDE_1:
            return False
    height, width = _size(x, weight, stride, padding)
    return 0 < len(x) * height * width <= most


def weight_gradient_pays(x: Tensor, weight: Tensor, stride: Pair) -> bool:
    """Return whether `weight_gradient` is the fastest form for x [N, I, H, W], whatever the number of its pixels.

    The same holds for transposed convolutions. At stride 2, its speed is 1.1 to 1.5 times that of the faster of
    oneDNN's forms with AVX-512, and 1 to 1.6 times with AVX2; at stride 1, it is 1.04 to 1.2 times with AVX-512.
    """
    narrowest = min(weight.shape[:2])
    if stride != (1, 1):
        wide = narrowest >= 64 and ISA in ("AVX2", "AVX512")
    else:
        wide = ISA == "AVX512" and (narrowest >= 512 or (narrowest >= 256 and x.shape[2] * x.shape[3] >= 64**2))
    return wide and x.numel() > 0 and _suit(x, weight)


def _suit(x: Tensor, weight: Tensor) -> bool:
    """Return whether x and weight have the type and the layout that the products take."""
    if type(x) not in PLAIN_TYPES or type(weight) not in PLAIN_TYPES or x.device.type != "cpu":
        return False
    if not x.dtype == weight.dtype == torch.float32 or weight.shape[-1] == 1:
        return False
    dense = weight.is_contiguous(memory_format=torch.channels_last)
    return dense and has_linear() and not torch.is_autocast_enabled("cpu")


def has_linear() -> bool:
    """Return whether this PyTorch can use oneDNN's product of matrices."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def convolve_columns(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair) -> Tensor:
    """Compute `torch.nn.functional.conv2d` of x [N, I, H, W] with weight [O, I, k, k] and bias [O]."""
    height, width = _size(x, weight, stride, padding)
    y = _linear(_columns(x, weight, stride, padding), _matrix(weight), bias)  # [N H' W', O]
    return y.view(len(x), height, width, len(weight)).permute(0, 3, 1, 2)  # [N, O, H', W']


def input_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """Return the gradient of x [N, I, H, W] from that of the result [N, O, H', W']; only the shape of x matters."""
    n, channels, rows, columns = x.shape
    height, width = grad.shape[2:]
    size = (n, height, width, *weight.shape[2:], channels)
    of_columns = _linear(_pixels(grad), _matrix(weight).t(), None).view(size)  # [N, H', W', k, k, I]
    padded = grad.new_zeros(n, rows + 2 * padding[0], columns + 2 * padding[1], channels)
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            last = i + (height - 1) * stride[0] + 1, j + (width - 1) * stride[1] + 1
            padded[:, i : last[0] : stride[0], j : last[1] : stride[1]] += of_columns[:, :, :, i, j]
    inner = padded[:, padding[0] : padding[0] + rows, padding[1] : padding[1] + columns]  # [N, H, W, I]
    return inner.permute(0, 3, 1, 2).clone(memory_format=torch.channels_last)  # [N, I, H, W]


def weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """Return the gradient of weight [O, I, k, k] in channels_last; only its shape matters.

    That of a transposed convolution is the same with `grad` and `x` exchanged.
    """
    outputs, channels, height, width = weight.shape
    grad = grad.permute(0, 2, 3, 1)  # [N, H', W', O]
    images = max(1, PIECE // (grad.shape[1] * grad.shape[2]))
    rows = max(1, PIECE // grad.shape[2])
    total: Tensor | None = None
    for first in range(0, len(grad), images):
        windows = _windows(x[first : first + images], weight, stride, padding)  # [n, H', W', k, k I]
        for top in range(0, grad.shape[1], rows):
            columns = windows[:, top : top + rows].reshape(-1, height * width * channels)  # [M, k k I], M about PIECE
            of_result = grad[first : first + images, top : top + rows].reshape(-1, outputs)  # [M, O]
            part = _linear(of_result.t(), columns.t(), None)  # [O, k k I]
            total = part if total is None else total.add_(part)
    assert total is not None  # there are pixels
    return total.view(outputs, height, width, channels).permute(0, 3, 1, 2)  # [O, I, k, k]


def _size(x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> tuple[int, int]:
    """Return the height and width of the result."""
    height, width = ((x.shape[2 + k] + 2 * padding[k] - weight.shape[2 + k]) // stride[k] + 1 for k in (0, 1))
    return height, width


def _windows(x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """View the pixels of x [N, I, H, W] under each position of the kernel, after padding: [N, H', W', k, k I].

    A row of the kernel covers pixels that lie one after the other in channels_last, so it is copied as a whole.
    """
    (height, width), channels = weight.shape[2:], x.shape[1]
    size = (len(x), *_size(x, weight, stride, padding), height, width * channels)
    x = x.permute(0, 2, 3, 1).contiguous()  # [N, H, W, I]
    if max(padding) > 0:
        x = F.pad(x, (0, 0, padding[1], padding[1], padding[0], padding[0]))  # [N, H+2p, W+2p, I]
    image, row, pixel, _ = x.stride()
    return x.as_strided(size, (image, row * stride[0], pixel * stride[1], row, 1))  # [N, H', W', k, k I]


def _columns(x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """Gather the pixels of x [N, I, H, W] under each position of the kernel: [N H' W', k k I]."""
    return _windows(x, weight, stride, padding).reshape(-1, weight.shape[2] * weight.shape[3] * x.shape[1])


def _matrix(weight: Tensor) -> Tensor:
    """View a weight [O, I, k, k] in channels_last as a matrix [O, k k I]."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def _pixels(x: Tensor) -> Tensor:
    """Turn x [N, C, H, W] into a matrix [N H W, C]."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute x [M, K] times weight [N, K] plus bias [N] by oneDNN, which `torch.nn.functional.linear` does not use."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")  # [M, N]
