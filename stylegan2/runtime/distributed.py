"""Several processes train as one: `torchrun --nproc_per_node=N scripts/...` starts them, a GPU each, or CPU processes.

The samples of a batch are dealt out like cards: of N processes, number r has the samples r, r + N, r + 2N, ... of each.
What is random is drawn for the whole batch in every process, from the same seed (`randomness.own_rows`), gradients are
averaged before each optimizer moves, and so the weights are those that one process would have reached.

In a process of its own each function returns at once what it was given.
"""

import atexit
import os
import sys
from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor

from stylegan2.runtime.errors import UserError


def world() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if world() > 1 else 0


def is_first() -> bool:
    """Whether this is the process that writes files and shows progress."""
    return rank() == 0


def was_launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def setup(device: torch.device) -> torch.device:
    """Joins the processes that torchrun started, if it did; only the first one keeps its standard output.

    Returns:
        the device of this process: on CUDA, the GPU of its number on this machine.

    Raises:
        UserError: another device than cuda or cpu, or fewer GPUs than processes.
    """
    if not was_launched() or world() > 1:
        return device
    if device.type not in ("cuda", "cpu"):
        raise UserError(f"several processes train on cuda or cpu, not on {device.type}: start it without torchrun")
    if device.type == "cuda":
        device = torch.device("cuda", _own_gpu())
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    atexit.register(dist.destroy_process_group)
    if not is_first():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    return device


def _own_gpu() -> int:
    own, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if own >= there:
        raise UserError(f"each process needs a GPU of its own, but there are {there}: use --nproc_per_node={there}")
    return own


def refuse() -> None:
    """For what trains in one process only. UserError: torchrun started several."""
    if was_launched():
        raise UserError("this training runs in one process: start it with python, without torchrun")


# --- what is exchanged ---


def average_gradients(optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
    """Replaces the gradients of the optimizer's parameters by their means over the processes, and returns the loss's.

    loss: [], each process's mean over as many samples. It travels with the gradients, so that a NaN or an infinity in
        one process is one in all.
    """
    if world() == 1:
        return loss
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    flat = mean(torch.cat([tensor.flatten() for tensor in [*gradients, loss.detach()]]))  # [all numbers + 1]
    *parts, loss = flat.split([gradient.numel() for gradient in gradients] + [1])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
    return loss[0]  # []


@torch.no_grad()
def mean(values: Tensor) -> Tensor:
    """The mean over the processes of a tensor that has the same shape in all of them."""
    return values if world() == 1 else _reduce(values / world(), dist.ReduceOp.SUM)


def mean_values(values: Mapping[str, float]) -> dict[str, float]:
    """The means over the processes, which have the same names in the same order."""
    if world() == 1 or not values:
        return dict(values)
    means = mean(torch.tensor(list(values.values()), dtype=torch.float64, device=_meeting_place()))
    return dict(zip(values, means.tolist(), strict=True))


def largest(value: int) -> int:
    """The largest of the processes' numbers."""
    if world() == 1:
        return value
    return int(_reduce(torch.tensor(value, device=_meeting_place()), dist.ReduceOp.MAX))


def wait() -> None:
    """Until all processes are here."""
    largest(0)


def check_equal(value: int, sentence: str) -> None:
    """UserError, in all processes, where their numbers differ."""
    if largest(value) != -largest(-value):
        raise UserError(sentence)


def copy_from_first(tensors: Iterable[Tensor]) -> None:
    """Gives every process the first one's values."""
    if world() > 1:
        for tensor in tensors:
            dist.broadcast(tensor.detach(), 0)


def _reduce(values: Tensor, operation: dist.ReduceOp.RedOpType) -> Tensor:
    try:
        dist.all_reduce(values, operation)
    except RuntimeError as error:
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise UserError(f"process {rank()} stops, because it cannot reach another one, see there: {reason}") from error
    return values


def _meeting_place() -> torch.device:
    """Where the processes exchange numbers."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
