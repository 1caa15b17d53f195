"""Run a script on a GPU that is not there: `python tests/simulated_gpu.py scripts/generate.py samples --device cuda`.

A tensor of the simulated GPU says that it is on cuda:0, holds its numbers in a tensor of the CPU, and refuses to be
combined with one, as on a GPU. Unlike PyTorch's fake tensors it has values, so that whole scripts run: they load,
train, resume, render and write. What a backward pass itself combines is not checked, since the formulas of PyTorch make
tensors of the CPU there. Autocast has no effect, and there are no Triton kernels.
"""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch._dynamo
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

REPOSITORY = Path(__file__).resolve().parents[1]
GPU = torch.device("cuda", 0)
aten, Base = torch.ops.aten, torch._C.TensorBase
COPIES = {aten.copy_.default, aten._to_copy.default}
INDEXING = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default}
in_backward: list[bool] = []


class TwoDevicesError(RuntimeError):
    """Raised by an operator on tensors of the simulated GPU and of the CPU."""


class OnGpu(Tensor):
    """A tensor of the simulated GPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "OnGpu":
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "layout": inner.layout}
        made = Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype, device="cpu", **layout)
        made.inner = inner
        return made

    def __init__(self, inner: Tensor) -> None:
        pass

    def __tensor_flatten__(self):
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner, *_):
        return OnGpu(inner["inner"])

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})

    def _own_gradient(self):
        gradient = Base.grad.__get__(self)  # autograd may have copied it to a new tensor of the CPU
        return gradient if gradient is None or isinstance(gradient, OnGpu) else OnGpu(gradient)

    grad = property(_own_gradient, lambda self, value: Base.grad.__set__(self, value), lambda self: None)
    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def tolist(self):
        return self.inner.tolist()

    def new_tensor(self, data, dtype=None):
        return OnGpu(torch.tensor(data, dtype=dtype or self.dtype))

    def numpy(self, *_):
        raise TwoDevicesError("a tensor of the GPU cannot become an array")

    __array__ = numpy


def compute(func: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Compute an operator on the CPU; its results are on the GPU if an operand is."""
    operands = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    of_gpu = {id(x.inner): x for x in operands if isinstance(x, OnGpu)}
    of_cpu = [x for x in operands if not isinstance(x, OnGpu) and x.ndim > 0]
    if of_gpu and of_cpu and func not in COPIES | INDEXING and not in_backward:
        raise TwoDevicesError(f"{func} of tensors on the CPU and the GPU: {[tuple(x.shape) for x in operands]}"[:500])
    result = func(*tree_map(inner_of, args), **tree_map(inner_of, kwargs))
    if not of_gpu:
        return result
    if func is aten.copy_.default and not isinstance(args[0], OnGpu):
        return args[0]

    def placed(x: object) -> object:
        if not isinstance(x, Tensor) or isinstance(x, OnGpu):
            return x
        return of_gpu[id(x)] if id(x) in of_gpu else OnGpu(x)

    return return_and_correct_aliasing(func, args, kwargs, tree_map(placed, result))


def inner_of(x: Any) -> Any:
    return x.inner if isinstance(x, OnGpu) else x


class ToGpu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return OnGpu(x.detach().clone())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return inner_of(grad).clone()


class ToCpu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Tensor:
        return x.inner.detach().clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return OnGpu(grad.clone())


class Factories(TorchDispatchMode):
    """Within it, tensors made for the GPU are simulated."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = {name: value for name, value in (kwargs or {}).items() if name != "pin_memory"}
        device = kwargs.get("device")
        if device is None:
            return compute(func, args, kwargs)
        generator = kwargs.get("generator")
        if generator is not None and generator.device.type != device.type:
            raise TwoDevicesError(f"{func} for {device} with a generator of {generator.device}")
        result = compute(func, args, {**kwargs, "device": torch.device("cpu") if device.type == "cuda" else device})
        if device.type != "cuda":
            return inner_of(result)
        return result if isinstance(result, OnGpu) else OnGpu(result)


real_to = Tensor.to


def moved(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Do what `Tensor.to` does."""
    device, dtype, copy = kwargs.get("device"), kwargs.get("dtype"), kwargs.get("copy", False)
    for value in (*args, kwargs.get("other")):
        if isinstance(value, Tensor):
            device, dtype = value.device, value.dtype
        elif isinstance(value, torch.dtype):
            dtype = value
        elif value is not None and not isinstance(value, bool):
            device = value
    layout = {"memory_format": kwargs["memory_format"]} if kwargs.get("memory_format") is not None else {}
    on_gpu = isinstance(x, OnGpu)
    to_gpu = on_gpu if device is None else isinstance(device, int) or torch.device(device).type == "cuda"
    if not on_gpu and not to_gpu:
        return real_to(x, x.device if device is None else device, dtype or x.dtype, False, copy, **layout)
    if on_gpu != to_gpu:
        x = ToGpu.apply(x) if to_gpu else ToCpu.apply(x)
    elif copy:
        x = x.clone()
    return real_to(x, dtype or x.dtype, False, False, **layout)


def made_from_numbers(real: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def make(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        made = real(data, *args, **kwargs)
        return made if device is None else moved(made, device)

    return make


def differentiating(real: Callable[..., Any]) -> Callable[..., Any]:
    """Return `torch.autograd.backward` or `grad` with results on the device of the inputs."""

    def call(*args: Any, **kwargs: Any) -> Any:
        in_backward.append(True)
        try:
            result = real(*args, **kwargs)
        finally:
            in_backward.pop()
        if result is None:
            return None
        inputs = args[1] if len(args) > 1 else kwargs["inputs"]
        inputs = [inputs] if isinstance(inputs, Tensor) else inputs
        return tuple(
            ToGpu.apply(gradient) if isinstance(x, OnGpu) and type(gradient) is Tensor else gradient
            for x, gradient in zip(inputs, result, strict=True)
        )

    return call


def simulate() -> None:
    """Let PyTorch believe for the rest of this process that there is a GPU."""
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # a parameter changes its class as it moves
    torch.inference_mode = lambda mode=True: torch.no_grad()  # its tensors cannot be aliases
    Tensor.to = moved  # type: ignore[method-assign]
    Tensor.cpu = lambda self: moved(self, "cpu")  # type: ignore[method-assign]
    Tensor.cuda = lambda self, *_: moved(self, "cuda")  # type: ignore[method-assign]
    Tensor.pin_memory = lambda self, *_: self  # type: ignore[method-assign]
    torch.tensor, torch.as_tensor = made_from_numbers(torch.tensor), made_from_numbers(torch.as_tensor)
    torch.autograd.backward = differentiating(torch.autograd.backward)
    torch.autograd.grad = differentiating(torch.autograd.grad)
    one_hot = F.one_hot
    F.one_hot = lambda x, count: OnGpu(one_hot(x.inner, count)) if isinstance(x, OnGpu) else one_hot(x, count)
    torch.optim.Optimizer._accelerator_graph_capture_health_check = lambda self: None
    answers = {"is_available": True, "device_count": 1, "current_device": 0, "is_bf16_supported": True}
    answers |= {"get_device_capability": (9, 0), "get_device_name": "simulated", "max_memory_allocated": 2**20}
    nothing = ("set_device", "synchronize", "manual_seed", "manual_seed_all", "empty_cache", "_lazy_init")
    answers |= dict.fromkeys((*nothing, "reset_peak_memory_stats", "current_stream"))
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
    torch.cuda.get_rng_state = lambda *_: torch.get_rng_state()
    torch.cuda.set_rng_state = lambda state, *_: torch.set_rng_state(state)
    torch.cuda.Event = mock.Mock()
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False


if __name__ == "__main__":
    sys.path[0] = str(REPOSITORY / "scripts")
    simulate()
    del sys.argv[0]
    with Factories():
        runpy.run_path(sys.argv[0], run_name="__main__")
