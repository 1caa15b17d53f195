"""Networks and optimizers as named tensors, which is how a checkpoint holds them."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from stylegan2.runtime.errors import CheckpointError
from stylegan2.runtime.module import Module

IMPLEMENTATION_OPTIONS = ("fused", "foreach", "capturable", "differentiable")  # of an optimizer: how it computes


def module_tensors(prefix: str, module: Module) -> dict[str, Tensor]:
    """Return {"PREFIX.NAME": tensor} of all parameters and buffers; not copies, so save before the next step."""
    return {f"{prefix}.{name}": tensor.detach() for name, tensor in module.state_dict().items()}


def load_module(module: Module, tensors: Mapping[str, Tensor], prefix: str, assign: bool = False) -> None:
    """Copy the tensors under `prefix` into `module`, whose names and shapes must match exactly.

    Args:
        module: Changed in place.
        tensors: Those under other prefixes are passed over.
        prefix: Without the dot.
        assign: Take the tensors themselves, as a module on the meta device needs.

    Raises:
        CheckpointError: Something is missing, extra or of another shape; `module` is then unchanged.
    """
    module.load_state_dict(check_module(module, tensors, prefix), assign=assign)


def check_module(module: Module, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors under `prefix` by their names in `module`, which may be on the meta device.

    Raises:
        CheckpointError: Something is missing, extra or of another shape.
    """
    start = prefix + "."
    stored = {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
    expected = module.state_dict()
    both = [name for name in expected if name in stored and expected[name].shape != stored[name].shape]
    shapes = [f"{name} {list(stored[name].shape)} for {list(expected[name].shape)}" for name in both]
    problems = {
        "missing": [name for name in expected if name not in stored],
        "extra": [name for name in stored if name not in expected],
        "of another shape": shapes,
    }
    text = "; ".join(f"{len(names)} {kind}: {_some(names)}" for kind, names in problems.items() if names)
    if text:
        raise CheckpointError(f"the checkpoint's {prefix!r} does not fit this {type(module).__name__}: {text}")
    return stored


def _some(names: list[str], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


def optimizer_tensors(
    prefix: str, optimizer: torch.optim.Optimizer, named_parameters: Iterable[tuple[str, nn.Parameter]]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return ({"PREFIX.PARAMETER.KEY": tensor}, JSON) of an optimizer's whole state, by the names of parameters.

    Args:
        prefix: Of the tensors' names.
        optimizer: Its state may be made of tensors, Python scalars, strings, None, and lists, tuples and dicts of
            these. The tensors are no copies.
        named_parameters: Such as `module.named_parameters()`; must name every parameter of the optimizer.
    """
    names: dict[Tensor, str] = {parameter: name for name, parameter in named_parameters}
    if len(set(names.values())) != len(names):
        raise ValueError("two parameters share a name: give each module's parameters a prefix of their own")
    tensors: dict[str, Tensor] = {}
    state = {
        names[parameter]: _pack(value, f"{prefix}.{names[parameter]}", tensors)
        for parameter, value in optimizer.state.items()
    }
    groups = [
        {
            "params": [names[parameter] for parameter in group["params"]],
            "options": _pack({k: v for k, v in group.items() if k != "params"}, f"{prefix}.group{index}", tensors),
        }
        for index, group in enumerate(optimizer.param_groups)
    ]
    return tensors, {"class": type(optimizer).__name__, "state": state, "groups": groups}


def load_optimizer(
    optimizer: torch.optim.Optimizer,
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    tensors: Mapping[str, Tensor],
    settings: Mapping[str, Any],
) -> None:
    """Restore what `optimizer_tensors` gave, bit for bit, wherever the parameters are now.

    Each tensor goes to the device of its parameter; Adam's step counts stay on the CPU unless the optimizer counts on
    the device. How the optimizer is computed (`fused`, `foreach`, ...) stays as it was built, so that a checkpoint may
    move between a CPU and a GPU. (`Optimizer.load_state_dict` would cast the state to the dtype of the weights.)

    Raises:
        CheckpointError: The optimizer's class or its groups of parameters differ; it is then unchanged.
    """
    parameters = dict(named_parameters)
    names = {parameter: name for name, parameter in parameters.items()}
    groups = [[names.get(parameter) for parameter in group["params"]] for group in optimizer.param_groups]
    kind = type(optimizer).__name__
    if settings["class"] != kind:
        raise CheckpointError(f"the checkpoint holds the state of {settings['class']}, not of {kind}")
    if [group["params"] for group in settings["groups"]] != groups:
        raise CheckpointError(f"the checkpoint's {kind} was built for other parameters or in other groups")
    counts_on_device = {
        parameter: bool(group.get("fused") or group.get("capturable"))
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    try:
        options = [_unpack(group["options"], partial(_copy, tensors)) for group in settings["groups"]]
        state: dict[nn.Parameter, Any] = {}
        for name, packed in settings["state"].items():
            parameter = parameters[name]
            fetch = partial(_copy_like, tensors, parameter)
            state[parameter] = _unpack(packed, fetch)
            step = state[parameter].get("step")
            if isinstance(step, Tensor) and not counts_on_device[parameter]:
                state[parameter]["step"] = _unpack(packed["dict"]["step"], partial(_copy, tensors))
    except KeyError as error:
        raise CheckpointError(f"the checkpoint lacks {error} of the state of {kind}") from error
    for group, values in zip(optimizer.param_groups, options, strict=True):
        group.update({name: value for name, value in values.items() if name not in IMPLEMENTATION_OPTIONS})
    optimizer.state.clear()
    for parameter, value in state.items():
        optimizer.state[parameter] = value


def _copy(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    return tensors[name].clone()


def _copy_like(tensors: Mapping[str, Tensor], parameter: nn.Parameter, name: str) -> Tensor:
    """Return a copy on the parameter's device; of its shape, also in its memory layout, which fused optimizers need."""
    stored = tensors[name]
    if stored.shape != parameter.shape:
        return stored.to(parameter.device, copy=True)
    return torch.empty_like(parameter, dtype=stored.dtype, requires_grad=False).copy_(stored)


def _pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """JSON for `value`; its tensors go to `tensors`, under `name` and their place within `value`."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach()
        return {"tensor": name}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _pack(item, f"{name}.{key}", tensors) for key, item in value.items()}}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_pack(item, f"{name}.{index}", tensors) for index, item in enumerate(value)]}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(f"{name} is a {type(value).__name__}, which a checkpoint cannot hold")


def _unpack(packed: Any, fetch: Callable[[str], Tensor]) -> Any:
    """The inverse of `_pack`."""
    if not isinstance(packed, dict):
        return packed
    ((kind, content),) = packed.items()
    if kind == "tensor":
        return fetch(content)
    if kind == "dict":
        return {key: _unpack(item, fetch) for key, item in content.items()}
    items = [_unpack(item, fetch) for item in content]
    return items if kind == "list" else tuple(items)
