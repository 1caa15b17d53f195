"""Average cost of a training step with lazy phases, which are computed only every few steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from stylegan2.runtime.module import Module


class Phase(NamedTuple):
    interval: int
    """number of steps from one phase to the next"""
    without: str
    """name of the step that differs only in lacking this phase"""


@dataclass(frozen=True)
class Form:
    """One implementation of a computation, such as a training step."""

    steps: Mapping[str, Callable[[], object]]
    """{name: function}, with one step without phases, and one step for each phase, under the name of the phase"""
    phases: dict[str, Phase]
    """{name: phase}"""
    parameters: int
    """number of parameters of generator and discriminator"""


def parts(steps: Mapping[str, float], phases: Mapping[str, Phase]) -> dict[str, float]:
    """Return the cost of each part of a training from the cost of each step.

    The cost of a phase is the difference between the step with the phase and the step without it.
    """
    return {
        name: elapsed - steps[phases[name].without] if name in phases else elapsed for name, elapsed in steps.items()
    }


def amortised(steps: Mapping[str, float], phases: Mapping[str, Phase]) -> float:
    """Return the average cost of a step from the cost of each step, with phases weighted by their frequency."""
    return sum(
        elapsed / (phases[name].interval if name in phases else 1) for name, elapsed in parts(steps, phases).items()
    )


def count_parameters(*modules: Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def count_gflop(call: Callable[[], object]) -> float:
    """Count the GFLOP of the matrix products and convolutions of a call, including its backward passes."""
    with _Counter() as counter:
        call()
    return counter.flop / 1e9


ONEDNN = ("aten.mkldnn_convolution", "mkldnn._linear_pointwise")  # called by `stylegan2.ops` on a CPU


class _Counter(TorchDispatchMode):
    """A counter with PyTorch's formulas; PyTorch's own counter also tracks modules and fails on double backward."""

    def __init__(self) -> None:
        super().__init__()
        self.flop = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        with self:  # below autograd, convolutions arrive as single operators
            result = func.decompose(*args, **(kwargs or {}))
        if result is not NotImplemented:
            return result
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket == torch.ops.aten.convolution_backward:
            self.flop += convolution_backward_flop(*args)
        elif str(func.overloadpacket) in ONEDNN:
            weight = args[1]  # [O, I, k, k] or [O, I]
            self.flop += 2 * result.numel() * weight[0].numel()
        elif func.overloadpacket in flop_registry:
            self.flop += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=result)
        return result


def convolution_backward_flop(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, *rest: Any
) -> int:
    """Return the FLOP of the backward pass of a convolution, in which each gradient costs as much as the convolution.

    PyTorch's own formula ignores groups.
    """
    transposed, _, _, (wanted_x, wanted_weight, _) = rest
    places = (x if transposed else grad)[0, 0].numel()
    return 2 * (wanted_x + wanted_weight) * len(x) * weight.numel() * places
