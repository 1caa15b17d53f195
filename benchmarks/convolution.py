"""Speed of the forms of a convolution on a CPU, and whether `stylegan2.ops.convolution` chooses the faster one.

python -m benchmarks.convolution [--repetitions 4]

Times are the CPU time of this thread on one core, which other processes hardly affect. To measure AVX2 on a processor
with AVX-512, set ONEDNN_MAX_CPU_ISA=AVX2 and ATEN_CPU_CAPABILITY=avx2 in the environment.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from stylegan2.ops import columns, convolution
from stylegan2.runtime.device import tune_process

# (samples, input channels, output channels, side, kernel, stride); stride 2 with kernel 3 is a transposed convolution
GRADIENTS = [
    (1, 64, 64, 256, 3, 1),
    (1, 64, 128, 128, 3, 1),
    (1, 128, 128, 64, 3, 1),
    (1, 256, 256, 32, 3, 1),
    (1, 512, 512, 16, 3, 1),
    (1, 256, 256, 64, 3, 1),
    (1, 512, 512, 64, 3, 1),
    (1, 128, 64, 128, 3, 2),
    (4, 64, 64, 128, 3, 1),
    (4, 128, 256, 64, 3, 1),
    (8, 64, 64, 64, 3, 1),
    (8, 256, 256, 16, 3, 1),
    (8, 64, 64, 32, 3, 2),
    (8, 512, 256, 32, 3, 2),
    (16, 512, 512, 32, 3, 1),
    (8, 64, 128, 32, 1, 1),
    (16, 32, 32, 32, 3, 1),
]
TRANSPOSED = [
    (1, 512, 512, 8, 3, 2),
    (1, 512, 512, 32, 3, 2),
    (1, 512, 256, 64, 3, 2),
    (1, 256, 128, 128, 3, 2),
    (1, 128, 64, 256, 3, 2),
    (1, 64, 32, 512, 3, 2),
    (4, 128, 64, 128, 3, 2),
    (8, 64, 64, 32, 3, 2),
]
FEW_PIXELS = [
    (1, 512, 512, 64, 3, 2),
    (1, 512, 512, 32, 3, 2),
    (1, 512, 512, 16, 3, 2),
    (1, 512, 512, 8, 3, 2),
    (1, 512, 512, 4, 3, 2),
    (4, 512, 512, 16, 3, 2),
    (4, 512, 512, 8, 3, 2),
    (1, 256, 256, 32, 3, 2),
    (8, 128, 128, 8, 3, 2),
    (1, 512, 512, 16, 3, 1),
    (8, 512, 512, 4, 3, 1),
    (8, 512, 512, 8, 3, 1),
    (16, 512, 512, 8, 3, 1),
    (16, 256, 256, 8, 3, 1),
]
Shape = tuple[int, int, int, int, int, int]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=4)
    repetitions = parser.parse_args(arguments).repetitions
    tune_process()
    torch.set_num_threads(1)
    print(f"{convolution.ISA}, GFLOP/s of a core; * what is chosen")
    for heading, shapes, work in (
        ("gradient of the weights: channels_last, dense copies, columns", GRADIENTS, weight_gradients),
        ("transposed, stride 2: as such, as four phases", TRANSPOSED, transposed_forms),
        ("few pixels: as such, as columns", FEW_PIXELS, column_forms),
        ("both gradients of few pixels: as such, as columns", FEW_PIXELS, column_gradients),
    ):
        print(heading)
        for shape in shapes:
            rates, chosen = measured(shape, work, repetitions)
            columns = [f"{rate:7.0f}{'*' if k == chosen else ' '}" for k, rate in enumerate(rates)]
            print("  {} x {} -> {}, {} px, {}x{} stride {}".format(*shape[:5], *shape[4:]).ljust(44), *columns)


def measured(
    shape: Shape, work: Callable[[Shape], tuple[list[Callable[[], Tensor]], int]], repetitions: int
) -> tuple[list[float], int]:
    """Measure the forms of a convolution in alternating repetitions.

    Returns:
        The speed of each form in GFLOP/s, from its fastest repetition, and the number of the chosen form.
    """
    n, i, o, side, kernel, stride = shape
    forms, chosen = work(shape)
    seconds = [[_seconds(form) for form in forms] for _ in range(repetitions + 1)][1:]
    products = 2 * n * i * o * kernel**2 * side**2 / 1e9
    if work in (column_forms, column_gradients):  # the side of the result is that of the input over the stride
        products *= (1 if work is column_forms else 2) / stride**2
    return [products / min(column) for column in zip(*seconds, strict=True)], chosen


def _seconds(form: Callable[[], Tensor]) -> float:
    start = time.thread_time()
    form()
    return time.thread_time() - start


def weight_gradients(shape: Shape) -> tuple[list[Callable[[], Tensor]], int]:
    n, i, o, side, kernel, stride = shape
    transposed, padding = stride == 2, 0 if stride == 2 else kernel // 2
    weight = _random(*((i, o) if transposed else (o, i)), kernel, kernel)
    x = _random(n, i, side, side)
    settings = (stride, stride), (padding, padding), transposed
    grad = torch.ops.aten.convolution(x, weight, None, *settings[:2], (1, 1), transposed, (0, 0), 1)
    chosen = int(convolution.copies_pay(weight, side**2, (stride, stride), transposed))
    if columns.weight_gradient_pays(x, weight, (stride, stride)):
        chosen = 2

    def as_they_are() -> Tensor:
        return convolution._gradients(grad, x, weight, *settings, (False, True))[1]

    def from_copies() -> Tensor:
        dense = grad.contiguous(), x.contiguous(), weight.contiguous()
        return convolution._gradients(*dense, *settings, (False, True))[1]

    def as_columns() -> Tensor:
        of_result, of_input = (x, grad) if transposed else (grad, x)
        return columns.weight_gradient(of_result, of_input, weight, *settings[:2])

    return [as_they_are, from_copies, as_columns], chosen


def transposed_forms(shape: Shape) -> tuple[list[Callable[[], Tensor]], int]:
    n, i, o, side, kernel, stride = shape
    x, weight = _random(n, i, side, side), _random(o, i, kernel, kernel)

    def as_such() -> Tensor:
        dense = weight.transpose(0, 1).contiguous(memory_format=torch.channels_last)  # [I, O, k, k]
        return torch.nn.functional.conv_transpose2d(x, dense, stride=stride)

    return [as_such, lambda: convolution.conv_transpose2d_by_phases(x, weight)], int(convolution.phases_pay(x))


def column_forms(shape: Shape) -> tuple[list[Callable[[], Tensor]], int]:
    x, weight, settings = _strided(shape)
    as_columns = partial(columns.convolve_columns, x, weight, None, *settings)
    as_such = partial(torch.nn.functional.conv2d, x, weight, None, *settings)
    return [as_such, as_columns], _columns_chosen(shape, gradients=False)


def column_gradients(shape: Shape) -> tuple[list[Callable[[], Tensor]], int]:
    x, weight, settings = _strided(shape)
    grad = torch.nn.functional.conv2d(x, weight, None, *settings)

    def as_such() -> Tensor:
        return convolution._gradients(grad, x, weight, *settings, False, (True, True))[1]

    def as_columns() -> Tensor:
        columns.input_gradient(grad, x, weight, *settings)
        return columns.weight_gradient(grad, x, weight, *settings)

    return [as_such, as_columns], _columns_chosen(shape, gradients=True)


def _strided(shape: Shape) -> tuple[Tensor, Tensor, tuple[tuple[int, int], tuple[int, int]]]:
    n, i, o, side, kernel, stride = shape
    return _random(n, i, side, side), _random(o, i, kernel, kernel), ((stride, stride), (kernel // 2, kernel // 2))


def _columns_chosen(shape: Shape, gradients: bool) -> int:
    x, weight, settings = _strided(shape)
    return int(columns.columns_pay(x, weight, *settings, gradients=gradients))


def _random(*size: int) -> Tensor:
    return torch.randn(size).contiguous(memory_format=torch.channels_last)


if __name__ == "__main__":
    main(sys.argv[1:])
