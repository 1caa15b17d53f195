"""What a training step costs where some of it happens in every so many steps only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Phase(NamedTuple):
    interval: int
    """steps from one to the next"""
    without: str
    """the step that is the same but for this phase"""


@dataclass(frozen=True)
class Form:
    """One way to train."""

    steps: dict[str, Callable[[], object]]
    """a call for the step without phases, and one for each step that has a phase, by the name of the phase"""
    phases: dict[str, Phase]
    parameters: int
    """of generator and discriminator"""


def parts(steps: Mapping[str, float], phases: Mapping[str, Phase]) -> dict[str, float]:
    """What each part of the training takes, given what each step takes: a phase is what its step takes more."""
    return {name: took - steps[phases[name].without] if name in phases else took for name, took in steps.items()}


def amortised(steps: Mapping[str, float], phases: Mapping[str, Phase]) -> float:
    """What a step takes on average, given what each step takes."""
    return sum(took / (phases[name].interval if name in phases else 1) for name, took in parts(steps, phases).items())


def count_parameters(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def count_gflop(call: Callable[[], object]) -> float:
    """GFLOP of the matrix products and convolutions of a call, those of both its backward passes included."""
    with _Counter() as counter:
        call()
    return counter.flop / 1e9


class _Counter(TorchDispatchMode):
    """PyTorch's formulas. Its own counter follows modules too, and stumbles where a gradient is differentiated."""

    def __init__(self) -> None:
        super().__init__()
        self.flop = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        with self:  # without autograd, convolutions arrive as a whole
            result = func.decompose(*args, **(kwargs or {}))
        if result is not NotImplemented:
            return result
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket == torch.ops.aten.convolution_backward:
            self.flop += convolution_backward_flop(*args)
        elif func.overloadpacket in flop_registry:
            self.flop += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=result)
        return result


def convolution_backward_flop(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, *rest: Any
) -> int:
    """Each gradient that is wanted costs as much as the convolution. PyTorch's formula takes many groups for one."""
    transposed, _, _, (wanted_x, wanted_weight, _) = rest
    places = (x if transposed else grad)[0, 0].numel()
    return 2 * (wanted_x + wanted_weight) * len(x) * weight.numel() * places
