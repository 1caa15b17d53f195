"""The kernels on a GPU against the formulas in float64, and their speed as a share of the memory's."""

import pytest
import torch
from torch import Tensor

from stylegan2 import ops
from stylegan2.ops.dispatch import kernels_for
from stylegan2.ops.fir import BINOMIAL_TAPS, Resampling, resample
from tests.stylegan2.ops import naive

TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
LAYOUTS = [torch.channels_last, torch.contiguous_format]
FILTERS = {  # taps, gain, up, down, start, and the side of the result for one of H
    "blur": (ops.FIR_TAPS, 4.0, 1, 1, (1, 1), lambda side: side - 1),
    "up": (ops.FIR_TAPS, 4.0, 2, 1, (2, 2), lambda side: side * 2),
    "down": (ops.FIR_TAPS, 1.0, 1, 2, (1, 1), lambda side: side // 2),
    "binomial": (BINOMIAL_TAPS, 1.0, 1, 1, (1, 1), lambda side: side),
}


def check(actual: Tensor, expected: Tensor, looser: float = 1.0) -> None:
    """Within so many units of the last place of the largest number."""
    error = (actual.double() - expected.double()).abs().max() / expected.double().abs().max().clamp_min(1e-30)
    assert error <= TOLERANCE[actual.dtype] * looser, f"{error:.2e} in {actual.dtype}"


SHAPES = [(2, 3, 33, 65), (1, 520, 9, 7)]
ODD = [(1, 1, 4, 2), (3, 64, 16, 16), (0, 4, 8, 8)]  # each of them is compiled anew, so in one type only
CASES = [(shape, dtype) for shape in SHAPES for dtype in DTYPES] + [(shape, torch.float32) for shape in ODD]


@pytest.mark.parametrize(("shape", "dtype"), CASES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FILTERS)
def test_filter(shape, name, layout, dtype, device):
    *filtering, side = FILTERS[name]
    resampling = Resampling(*filtering, (side(shape[2]), side(shape[3])))
    x = torch.randn(shape, device=device).to(dtype).contiguous(memory_format=layout).requires_grad_()
    assert kernels_for(x) is not None
    y = resample(x, resampling)
    weight = torch.randn_like(y)
    (grad,) = torch.autograd.grad((y * weight).sum(), x)
    assert y.dtype == grad.dtype == dtype
    assert y.is_contiguous(memory_format=torch.channels_last)
    if shape[0]:
        exact = x.detach().double().requires_grad_()
        expected = naive.resampled(exact, *resampling)
        check(y, expected)
        check(grad, torch.autograd.grad((expected * weight.double()).sum(), exact)[0])


@pytest.mark.parametrize("name", FILTERS)
def test_filters_are_twice_differentiable(name, device):
    *filtering, side = FILTERS[name]
    resampling = Resampling(*filtering, (side(4), side(6)))
    x = torch.randn(1, 2, 4, 6, device=device, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: resample(x, resampling), x)
    assert torch.autograd.gradgradcheck(lambda x: resample(x, resampling), x)


def test_more_than_32_bits_of_elements(device):
    """2^31 elements and a few: offsets that do not fit into 32 bits. 8 GiB."""
    if torch.cuda.mem_get_info()[0] < 16 * 2**30:
        pytest.skip("there are no 16 GiB free on this GPU")
    x = torch.zeros(2, 512, 1024, 2080, device=device, dtype=torch.float16).contiguous(
        memory_format=torch.channels_last
    )
    x[1, :, -4:, -4:] = torch.randn(512, 4, 4, device=device).half()
    corner = x[1:, :, -8:, -8:].clone()
    y = ops.blur(x, 1)
    check(y[1:, :, -4:, -4:], ops.blur(corner, 1)[:, :, -4:, -4:])
    del y
    expected = ops.epilogue(corner.clone(), clamp=1.0)
    with torch.no_grad():
        check(ops.epilogue(x, clamp=1.0)[1:, :, -8:, -8:], expected)


def inputs(shape: tuple[int, ...], names: str, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    n, c, h, w = shape
    shapes = {"scale": (n, c), "SCALE": (1, c), "noise": (n, 1, h, w), "NOISE": (h, w), "bias": (c,)}
    drawn = {"x": torch.randn(shape, device=device).to(dtype)}
    drawn |= {
        name.lower(): torch.randn(shapes[name], device=device, dtype=torch.promote_types(dtype, torch.float32))
        for name in names.split()
    }
    return {name: value.requires_grad_() for name, value in drawn.items()}


NAMES = ["", "bias", "scale noise bias", "SCALE NOISE bias", "noise"]
# Each combination is compiled anew, so all types are tried with all terms, and fewer terms in float32.
EPILOGUES = [(shape, dtype, "scale noise bias", 1.0) for shape, dtype in CASES[:-1]]
EPILOGUES += [((2, 3, 33, 65), torch.float32, names, 1.0 if names == "" else None) for names in NAMES]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("shape", "dtype", "names", "clamp"), EPILOGUES)
def test_epilogue(shape, names, clamp, layout, dtype, device):
    given = inputs(shape, names, dtype, device)
    given["x"] = given["x"].detach().contiguous(memory_format=layout).requires_grad_()
    exact = {name: value.detach().double().requires_grad_() for name, value in given.items()}
    y, expected = ops.epilogue(**given, clamp=clamp), naive.epilogue(**exact, clamp=clamp)
    check(y, expected)
    weight = torch.randn_like(y)
    # Where rounding decided between sign and clamp, the formula's gradient is another: none of it is looked at.
    weight[(expected.abs() < 0.02) | ((expected.abs() - (clamp or 100)).abs() < 0.02)] = 0
    grads = torch.autograd.grad((y * weight).sum(), [*given.values()])
    for actual, value, like in zip(
        grads, torch.autograd.grad((expected * weight.double()).sum(), [*exact.values()]), given.values(), strict=True
    ):
        assert actual.dtype == like.dtype
        if value.abs().max() > 0:
            error = (actual.double() - value).abs().max() / value.abs().max()
            assert error <= 4 * TOLERANCE[dtype], f"{error:.2e}"
    with torch.no_grad():
        check(ops.epilogue(**{name: value.clone() for name, value in given.items()}, clamp=clamp), expected)


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("clamp", [None, 1.0])
def test_epilogue_is_twice_differentiable(names, clamp, device):
    given = inputs((2, 3, 2, 3), names, torch.float64, device)

    def operator(*values: Tensor) -> Tensor:
        return ops.epilogue(**dict(zip(given, values, strict=True)), clamp=clamp)

    assert torch.autograd.gradcheck(operator, tuple(given.values()))
    assert torch.autograd.gradgradcheck(operator, tuple(given.values()))


@pytest.mark.parametrize("upsample", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_layer_as_on_the_cpu(upsample, dtype, device):
    shapes = [(2, 16, 8, 8), (24, 16, 3, 3), (2, 16), (2, 24), (24,), (8 * (1 + upsample), 8 * (1 + upsample))]
    leaves = [torch.randn(shape, dtype=torch.float64) / (12 if shape[2:] == (3, 3) else 1) for shape in shapes]
    there = [leaf.clone().requires_grad_() for leaf in leaves]
    here = [leaf.to(device, torch.float32).requires_grad_() for leaf in leaves]
    expected = ops.styled_conv2d(*there, clamp=4.0, upsample=upsample)
    x = here[0].to(dtype).contiguous(memory_format=torch.channels_last)
    actual = ops.styled_conv2d(x, *here[1:], clamp=4.0, upsample=upsample)
    assert actual.dtype == dtype
    check(actual.cpu(), expected.detach(), looser=8)
    norms = []
    for y, values in ((expected, there), (actual.double(), here)):
        grads = torch.autograd.grad(y.square().sum(), values[:4], create_graph=True)
        norm = sum(grad.square().sum() for grad in grads)
        norms.append([grad.detach().cpu().double() for grad in torch.autograd.grad(norm, values)])
    for one, other in zip(*norms, strict=True):
        assert (one - other).norm() <= 20 * TOLERANCE[dtype] * one.norm()


def test_autocast_leaves_the_dtype_alone(device):
    x = torch.randn(2, 8, 8, 8, device=device, requires_grad=True)
    with torch.autocast("cuda", torch.float16):
        y = ops.epilogue(ops.upsample2x(ops.blur(x, 2)), bias=torch.zeros(8, device=device))
    assert y.dtype == torch.float32
    assert torch.autograd.grad(y.sum(), x)[0].dtype == torch.float32


def test_gradients_are_the_same_each_time(device):
    given = inputs((4, 64, 64, 64), "scale noise bias", torch.float16, device)
    runs = [torch.autograd.grad(ops.epilogue(**given).float().square().sum(), [*given.values()]) for _ in range(3)]
    assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(run, runs[0], strict=True))


def milliseconds(work, *arguments, repetitions: int = 20) -> float:
    """The median on the device, after three runs that compile and look for kernels."""
    for _ in range(3):
        work(*arguments)
    times = []
    for _ in range(repetitions):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work(*arguments)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times)[len(times) // 2]


def passes(device: torch.device, dtype: torch.dtype):
    """(name, work, bytes that have to move) for [16, 128, 256, 256]."""
    x = torch.randn(16, 128, 256, 256, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    small = ops.downsample2x(x)
    scale, bias = torch.randn(16, 128, device=device), torch.randn(128, device=device)
    noise = torch.randn(256, 256, device=device)
    full, quarter = x.numel() * x.element_size(), small.numel() * x.element_size()
    there = [value.detach().requires_grad_() for value in (x, scale, noise, bias)]
    y, grad = ops.epilogue(*there), torch.randn_like(x)
    mask = ops.epilogue(there[0], bias=there[3])
    yield "copy", x.clone, 2 * full
    yield "blur", lambda: ops.blur(x, 2), 2 * full
    yield "upsample2x", lambda: ops.upsample2x(small), full + quarter
    yield "downsample2x", lambda: ops.downsample2x(x), full + quarter
    with torch.no_grad():
        yield "epilogue, in place", lambda: ops.epilogue(x, scale, noise, bias, clamp=256.0), 2 * full
    yield "epilogue", lambda: ops.epilogue(*there, clamp=256.0), 2 * full
    yield "its gradients", lambda: torch.autograd.grad(y, there, grad, retain_graph=True), 4 * full
    yield "bias, its gradients", lambda: torch.autograd.grad(mask, there[::3], grad, retain_graph=True), 3 * full


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_within_twice_the_memory_s_time(dtype, device):
    """The goal of each: at most twice as long as a copy of as many bytes."""
    speeds = {}
    for name, work, size in passes(device, dtype):
        time = milliseconds(work)
        speeds[name] = size / time / 1e6  # GB/s
        print(f"{dtype!s:15} {name:22} {time:7.3f} ms {speeds[name]:6.0f} GB/s {speeds[name] / speeds['copy']:6.0%}")
    assert all(speed >= speeds["copy"] / 2 for speed in speeds.values()), speeds
