"""Convert networks and optimizers to named tensors and back, and build the network that a file describes."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from stylegan2.runtime.checkpoint import Metadata
from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.module import Module
from stylegan2.runtime.registry import Registry

IMPLEMENTATION_OPTIONS = ("fused", "foreach", "capturable", "differentiable")
"""options of an optimizer that choose how it computes, not what"""
Part = TypeVar("Part", bound=Module)


def module_tensors(prefix: str, module: Module) -> dict[str, Tensor]:
    """Return {"PREFIX.NAME": tensor} of all parameters and buffers; they are not copies, so save them at once."""
    return {f"{prefix}.{name}": tensor.detach() for name, tensor in module.state_dict().items()}


def load_module(module: Module, tensors: Mapping[str, Tensor], prefix: str, assign: bool = False) -> None:
    """Copy the tensors under `prefix` into `module`, whose names and shapes must match exactly.

    Args:
        module: The module, which is changed in place.
        tensors: The tensors by name; those under other prefixes are ignored.
        prefix: The prefix, without the dot.
        assign: Use the tensors themselves instead of copying, as a module on the meta device needs.

    Raises:
        CheckpointError: A tensor is missing, unexpected or of another shape; `module` is then unchanged.
    """
    module.load_state_dict(check_module(module, tensors, prefix), assign=assign)


def check_module(module: Module, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors under `prefix` by their names in `module`, which may be on the meta device.

    Raises:
        CheckpointError: A tensor is missing, unexpected or of another shape.
    """
    start = prefix + "."
    stored = {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
    expected = module.state_dict()
    both = [name for name in expected if name in stored and expected[name].shape != stored[name].shape]
    shapes = [f"{name} {list(stored[name].shape)} instead of {list(expected[name].shape)}" for name in both]
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
) -> tuple[dict[str, Tensor], Metadata]:
    """Return the whole state of an optimizer, by the names of its parameters.

    Args:
        prefix: The prefix of the tensors' names.
        optimizer: An optimizer whose state consists of tensors, Python scalars, strings, None, and lists, tuples and
            dicts of these.
        named_parameters: Pairs such as those of `module.named_parameters()`, for every parameter of the optimizer.

    Returns:
        {"PREFIX.PARAMETER.KEY": tensor}, which are not copies, and JSON with everything else.

    Raises:
        ValueError: Two parameters share a name.
        TypeError: The state holds an object of another type.
    """
    names: dict[Tensor, str] = {parameter: name for name, parameter in named_parameters}
    if len(set(names.values())) != len(names):
        raise ValueError("two parameters share a name: give the parameters of each module a different prefix")
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
    settings: Metadata,
) -> None:
    """Restore the state that `optimizer_tensors` returned, bit for bit, on the device of the parameters.

    Each tensor goes to the device of its parameter; Adam's step counts stay on the CPU unless the optimizer counts on
    the device. How the optimizer is computed (`fused`, `foreach`, ...) stays as it was built, so that a checkpoint may
    move between a CPU and a GPU. (`Optimizer.load_state_dict` would cast the state to the dtype of the weights.)

    Raises:
        CheckpointError: The class of the optimizer or its parameter groups differ; it is then unchanged.
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
        copy = partial(_copy, tensors)
        options = [
            {key: _unpack(item, copy) for key, item in group["options"]["dict"].items()} for group in settings["groups"]
        ]
        state: dict[nn.Parameter, dict[str, object]] = {}
        for name, packed in settings["state"].items():
            parameter = parameters[name]
            fetch = partial(_copy_like, tensors, parameter)
            state[parameter] = {key: _unpack(item, fetch) for key, item in packed["dict"].items()}
            if isinstance(state[parameter].get("step"), Tensor) and not counts_on_device[parameter]:
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
    """Copy a tensor to the parameter's device and, if the shapes agree, to its layout, which fused optimizers need."""
    stored = tensors[name]
    if stored.shape != parameter.shape:
        return stored.to(parameter.device, copy=True)
    return torch.empty_like(parameter, dtype=stored.dtype, requires_grad=False).copy_(stored)


def _pack(value: object, name: str, tensors: dict[str, Tensor]) -> object:
    """Return JSON for `value`, and add its tensors to `tensors` under `name` and their place within `value`."""
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


def _unpack(packed: object, fetch: Callable[[str], Tensor]) -> object:
    """Rebuild the value that `_pack` was given."""
    if not isinstance(packed, dict):
        return packed
    ((kind, content),) = packed.items()
    if kind == "tensor":
        return fetch(content)
    if kind == "dict":
        return {key: _unpack(item, fetch) for key, item in content.items()}
    items = [_unpack(item, fetch) for item in content]
    return items if kind == "list" else tuple(items)


def build_stored(registry: Registry[Part], description: object, tensors: Mapping[str, Tensor], prefix: str) -> Part:
    """Build the network that a file describes, with its tensors in float32.

    A description of a few bytes may ask for any amount of memory, so the network is first built without memory, on
    PyTorch's meta device, and its shapes are compared with the tensors.

    Args:
        registry: The registry of networks of this kind.
        description: {"name": ..., **settings}, as JSON holds it.
        tensors: The tensors of the file; those called PREFIX.* are exactly the network's.
        prefix: The prefix, without the dot.

    Raises:
        CheckpointError: The description is not valid, the tensors do not fit it, or one is not finite.
    """
    check_module(build_on_meta(registry, description), tensors, prefix)
    start = prefix + "."
    own = {name: _real(name, tensor) for name, tensor in tensors.items() if name.startswith(start)}
    with torch.random.fork_rng(devices=[]):  # reading a file must not change the caller's random state
        part = registry.build(**registry.checked(description))
    load_module(part, own, prefix)
    return part


def build_on_meta(registry: Registry[Part], description: object) -> Part:
    """Build the network that a file describes on the meta device, where it takes no memory.

    Raises:
        CheckpointError: The description is not valid.
    """
    if not isinstance(description, Mapping):
        raise CheckpointError(f"its metadata do not contain the name of its {registry.kind}")
    try:
        with torch.device("meta"):
            return registry.build(**registry.checked(description))
    except UserError as error:
        raise CheckpointError(f"this version of the package cannot build its {registry.kind}: {error}") from error


def _real(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    if not tensor.isfinite().all():
        raise CheckpointError(f"its {name} contains numbers that are not finite")
    return tensor.float()
