"""The Triton kernels in Triton's interpreter, on a CPU: `test_kernels.py` runs this file with TRITON_INTERPRET=1."""

import importlib
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from triton.runtime import interpreter

from stylegan2 import ops
from stylegan2.ops import fir, kernels, modulated
from stylegan2.ops.fir import Resampling
from tests.stylegan2.ops import naive
from tests.stylegan2.ops.naive import resampled
from tests.stylegan2.ops.test_fir import CASES

epilogue = importlib.import_module("stylegan2.ops.epilogue")  # the package has a function of that name
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}  # half an ulp


@pytest.fixture(autouse=True)
def _kernels_everywhere(monkeypatch):
    for module in (fir, epilogue, modulated):
        monkeypatch.setattr(module, "kernels_for", lambda _: kernels)


def check(found: Tensor, expected: Tensor) -> None:
    tolerance = TOLERANCE[found.dtype]
    torch.testing.assert_close(found.double(), expected.double(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", CASES)
def test_filter_and_its_transpose(case):
    *filtering, start, sides, size = case
    resampling = Resampling(*filtering, start, size)
    back = resampling.transposed(sides)
    x, y = torch.randn(2, 1, *sides).double(), torch.randn(2, 1, *size).double()
    check(fir.resample(x, resampling), resampled(x, *resampling))
    check(fir.resample(y, back), resampled(y, *back))


@pytest.mark.parametrize(
    ("channels", "sides", "dtype"),
    [
        (3, (1, 1), torch.float32),
        (33, (3, 5), torch.float16),
        (8, (1, 70), torch.bfloat16),  # more than one block of columns
        (132, (1, 1), torch.float32),  # more than one block of channels
    ],
)
def test_filter_of_all_sizes(channels, sides, dtype):
    x = torch.randn(1, channels, *sides).to(dtype)
    for operator in (lambda x: ops.blur(x, 2), ops.upsample2x):
        check(operator(x), operator(x.double()))
    size = (sides[0] * 2 + 1, sides[1] * 2 + 1)
    down = Resampling(ops.FIR_TAPS, 1.0, 1, 2, (3, 3), size)
    check(fir.resample(x, down), resampled(x.double(), *down))


def test_a_single_block_of_rows_does_not_end_where_the_image_does():
    """33 rows: four programs and a fifth with one row."""
    x = torch.randn(1, 2, 33, 3, dtype=torch.float64)
    check(ops.blur(x, 1), resampled(x, ops.FIR_TAPS, 1.0, 1, 1, (1, 1), (32, 2)))
    check(ops.upsample2x(x), resampled(x, ops.FIR_TAPS, 4.0, 2, 1, (2, 2), (66, 6)))


def test_memory_outside_is_neither_read_nor_written():
    memory = torch.full((3, 4, 4, 6), float("nan"))  # [N, H, W, C]; the middle image is between two that are not ours
    memory[1] = torch.randn(4, 4, 6)
    before = memory.clone()
    x = memory[1:2].permute(0, 3, 1, 2)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert ops.blur(x, 2).isfinite().all()
    torch.testing.assert_close(memory, before, equal_nan=True, rtol=0, atol=0)


class Extremes:
    """Run only the first and the last program of each launch, on tensors without memory, and note what they touch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tensors: list[Tensor] = []
        self.written: dict[int, set[int]] = {}
        self.convert = interpreter._implicit_cvt
        builder, executor = interpreter.InterpreterBuilder, interpreter.GridExecutor
        monkeypatch.setattr(interpreter, "_implicit_cvt", self.address)
        monkeypatch.setattr(executor, "_init_args_hst", lambda _, arguments, named: (arguments, named))
        monkeypatch.setattr(executor, "_restore_args_dev", lambda *_: None)
        monkeypatch.setattr(builder, "create_masked_load", lambda _, *rest: self.load(*rest))
        monkeypatch.setattr(builder, "create_masked_store", lambda _, *rest: self.store(*rest))
        for module, name in (
            (importlib.import_module("stylegan2.ops.kernels.fir"), "fir_kernel"),
            (importlib.import_module("stylegan2.ops.kernels.epilogue"), "epilogue_kernel"),
            (importlib.import_module("stylegan2.ops.kernels.epilogue"), "epilogue_gradients_kernel"),
        ):
            monkeypatch.setattr(module, name, _Ends(getattr(module, name), monkeypatch))

    def address(self, value: object) -> object:
        """Place tensors 2^50 bytes apart, so that an address tells its tensor even where its offset is wrong."""
        if not isinstance(value, Tensor):
            return self.convert(value)
        self.tensors.append(value)
        pointer = self.convert(value)
        pointer.handle.data[:] = len(self.tensors) << 50
        return pointer

    def elements(self, pointers, mask) -> tuple[Tensor, int, np.ndarray]:
        """Return the tensor, its number, and the elements of it that are not masked; all of them must exist."""
        touched = pointers.data[np.broadcast_to(mask.data, pointers.data.shape)].astype(np.int64)
        number = int(pointers.data.flat[0] + 2**49) >> 50
        tensor = self.tensors[number - 1]
        touched = (touched - (number << 50)) // tensor.element_size()
        assert not len(touched) or (touched.min() >= 0 and touched.max() < tensor.numel())
        return tensor, number, touched

    def load(self, pointers, mask, other, *_):
        self.elements(pointers, mask)
        return interpreter.TensorHandle(np.zeros_like(other.data), other.dtype)

    def store(self, pointers, value, mask, *_):
        tensor, number, touched = self.elements(pointers, mask)
        self.written.setdefault(number, set()).update({0, tensor.numel() - 1} & {*map(int, touched)})

    def check(self) -> None:
        """Each result was written from its first to its last element."""
        assert self.written
        for number, ends in self.written.items():
            assert ends == {0, self.tensors[number - 1].numel() - 1}


class _Ends:
    """A kernel of whose grid two programs run."""

    def __init__(self, kernel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kernel, self.monkeypatch = kernel, monkeypatch

    def __getitem__(self, grid: tuple[int]):
        programs = [0, grid[0] - 1]

        def move(builder, x, *_):
            builder.grid_idx = (programs[x], 0, 0)

        self.monkeypatch.setattr(interpreter.InterpreterBuilder, "set_grid_idx", move)
        return self.kernel[(2,)]


HUGE = [(3, 512, 1024, 2080), (1, 1024, 2064, 1040), (2, 33, 8200, 8200)]  # more than 2^31 elements


@pytest.mark.parametrize("shape", HUGE)
def test_offsets_beyond_32_bits(monkeypatch, shape):
    """The first and the last program touch no element outside of a tensor, and write its first and last element."""
    n, c, h, w = shape
    assert n * c * h * w > 2**31
    x = torch.empty(shape, dtype=torch.float16, device="meta", memory_format=torch.channels_last)
    small = x[:, :, : h // 2, : w // 2].contiguous(memory_format=torch.channels_last)
    scale, bias, noise = (torch.empty(size, device="meta") for size in ((n, c), (c,), (n, 1, h, w)))
    for work in (
        lambda: ops.blur(x, 2),
        lambda: ops.downsample2x(x),
        lambda: ops.upsample2x(small),
        lambda: kernels.apply_epilogue(x, scale, noise, bias, 0.2, 256.0),
        lambda: kernels.epilogue_gradients(x, x, scale, noise, bias, x, 0.2, 256.0),
    ):
        with monkeypatch.context() as patch:
            extremes = Extremes(patch)
            work()
            extremes.check()


def test_a_filter_s_derivatives():
    x = torch.randn(1, 2, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ops.downsample2x, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(ops.downsample2x, x, fast_mode=True)


def parts(n: int, channels: int, sides: tuple[int, int], names: str) -> dict[str, Tensor]:
    """Random inputs of the epilogue: x and those that are named. A capital: one for all samples."""
    shapes = {
        "scale": (n, channels),
        "SCALE": (1, channels),
        "noise": (n, 1, *sides),
        "NOISE": sides,
        "bias": (channels,),
    }
    drawn = {name.lower(): torch.randn(shapes[name]).double() for name in names.split()}
    return {"x": torch.randn(n, channels, *sides).double(), **drawn}


ALL = ["", "bias", "scale noise bias", "SCALE NOISE bias", "noise", "scale", "NOISE bias"]


@torch.no_grad()
@pytest.mark.parametrize("names", ALL)
@pytest.mark.parametrize("clamp", [None, 1.0])
def test_epilogue(names, clamp):
    inputs = parts(2, 5, (3, 7), names)
    activate = names != "noise"
    expected = naive.epilogue(**inputs, activate=activate, clamp=clamp)
    torch.testing.assert_close(ops.epilogue(**inputs, activate=activate, clamp=clamp), expected)


@torch.no_grad()
@pytest.mark.parametrize(
    ("channels", "sides", "dtype"),
    [
        (1, (1, 1), torch.float32),
        (33, (9, 30), torch.float16),
        (8, (1, 300), torch.bfloat16),  # more than one block of pixels
        (320, (2, 9), torch.float32),  # more than one block of channels
    ],
)
def test_epilogue_of_all_sizes(channels, sides, dtype):
    inputs = parts(2, channels, sides, "scale noise bias")
    inputs["x"] = inputs["x"].to(dtype)
    exact = {**inputs, "x": inputs["x"].double()}
    check(ops.epilogue(**inputs, clamp=2.0), naive.epilogue(**exact, clamp=2.0))


@pytest.mark.parametrize(
    ("channels", "sides", "dtype"),
    [
        (1, (1, 1), torch.float64),
        (33, (9, 5), torch.float64),
        (8, (1, 300), torch.float64),
        (320, (2, 3), torch.float32),
    ],
)
@pytest.mark.parametrize("names", ["scale noise bias", "SCALE NOISE bias"])
def test_gradients_of_all_sizes(channels, sides, dtype, names):
    inputs = {name: value.requires_grad_() for name, value in parts(2, channels, sides, names).items()}
    given = {name: value.detach().to(dtype).requires_grad_() for name, value in inputs.items()}
    weight = torch.randn_like(inputs["x"])
    expected = torch.autograd.grad((naive.epilogue(**inputs, clamp=2.0) * weight).sum(), [*inputs.values()])
    found = torch.autograd.grad((ops.epilogue(**given, clamp=2.0) * weight.to(dtype)).sum(), [*given.values()])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-4 if dtype == torch.float32 else 1e-9)


@pytest.mark.parametrize("names", [names for names in ALL if names != "scale"])  # which `scaled` is
def test_epilogue_s_derivatives(names):
    inputs, clamp = parts(2, 2, (1, 3), names), None if names == "bias" else 1.0

    def operator(*values: Tensor) -> Tensor:
        return ops.epilogue(**dict(zip(inputs, values, strict=True)), activate=names != "noise", clamp=clamp)

    leaves = tuple(value.requires_grad_() for value in inputs.values())
    assert torch.autograd.gradcheck(operator, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(operator, leaves, fast_mode=True)


@torch.no_grad()
def test_scaled_input_stays_as_it_is():
    x, scale = torch.randn(2, 5, 3, 3).double(), torch.randn(2, 5).double()
    before = x.clone()
    torch.testing.assert_close(epilogue.scaled(x, scale), x * scale[:, :, None, None])
    assert torch.equal(x, before)


def test_scaled_derivatives():
    leaves = torch.randn(2, 2, 1, 3).double().requires_grad_(), torch.randn(2, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(epilogue.scaled, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(epilogue.scaled, leaves, fast_mode=True)


def test_the_kernel_that_is_tried_out_first():
    kernels.try_out(torch.device("cpu"))


def test_what_is_not_a_number_stays():
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 1.0]).view(1, 4, 1, 1)
    found = ops.epilogue(x.clone(), clamp=2.0).flatten()
    torch.testing.assert_close(found, torch.tensor([float("nan"), 2.0, -2.0, 1.0]), equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("clamp", [256.0, 256 * math.sqrt(0.5), 0.1, 0.3])
def test_what_is_clamped_has_no_gradient(dtype, clamp):
    """Also where the limit is not a number of that type, such as the limit of a residual block, 181.02."""
    x = torch.tensor([1e4, -1e4, clamp / 2]).view(1, 3, 1, 1).to(dtype).requires_grad_()
    (grad,) = torch.autograd.grad(ops.epilogue(x, clamp=clamp).double().sum(), x)
    assert grad.flatten().tolist() == [0.0, -0.0, 1.0]


@pytest.mark.parametrize("upsample", [False, True])
def test_a_layer_of_stylegan2(upsample, monkeypatch):
    """With the kernels and without: values, gradients, gradients of a gradient's norm."""
    leaves = [torch.randn(2, 3, 4, 4), torch.randn(5, 3, 3, 3), torch.randn(2, 3), torch.randn(2, 5), torch.randn(5)]
    leaves.append(torch.randn(4 * (1 + upsample), 4 * (1 + upsample)))
    leaves = [leaf.double().requires_grad_() for leaf in leaves]
    results = []
    for found in (kernels, None):
        for module in (fir, epilogue, modulated):
            monkeypatch.setattr(module, "kernels_for", lambda _, found=found: found)
        y = ops.styled_conv2d(*leaves, clamp=4.0, upsample=upsample)
        first = torch.autograd.grad(y.pow(2).sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum(grad.pow(2).sum() for grad in first), leaves)
        with torch.no_grad():
            single = ops.styled_conv2d(
                leaves[0][:1], leaves[1], leaves[2][:1], leaves[3][:1], *leaves[4:], 4.0, upsample
            )
        torch.testing.assert_close(single, y[:1].detach())
        results.append([y, *first, *second])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)
