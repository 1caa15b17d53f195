"""Let several processes train as one; `torchrun --nproc_per_node=N scripts/...` starts them, on a GPU each or on CPUs.

The samples of a batch are dealt out like cards: of N processes, process r has the samples r, r + N, r + 2N, ...
Every process draws the random numbers of the whole batch from the same seed and keeps those of its samples
(`randomness.draw_shard`). Gradients are averaged before each optimizer step, so the weights become those that one
process would have reached.

A process that trains alone needs no setup: each function then returns its argument at once.
"""

import atexit
import os
import sys
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cache

import torch
import torch.distributed as dist
from torch import Tensor

from stylegan2.runtime import heartbeat
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.work_group import was_launched

LONGEST_WAIT = timedelta(hours=12)
"""how long processes wait for each other, such as for the first one while it measures; lost ones are found earlier"""


def world_size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the index of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def is_first() -> bool:
    """Return whether this is process 0, which writes files and shows progress."""
    return rank() == 0


def setup(device: torch.device, timeout: float = 60.0) -> torch.device:
    """Join the other processes if torchrun started several; only the first one keeps its standard output.

    Args:
        device: The device that was chosen on this machine.
        timeout: Seconds after which a process that shows no sign of life ends the others (see `heartbeat`).

    Returns:
        The device of this process: on CUDA, the GPU with the local index of the process.

    Raises:
        UserError: The device is neither cuda nor cpu, or there are fewer GPUs than processes.
    """
    if not was_launched() or world_size() > 1:
        return device
    if device.type not in ("cuda", "cpu"):
        raise UserError(
            f"several processes can train on cuda or cpu, not on {device.type}: start the training without torchrun"
        )
    if device.type == "cuda":
        device = torch.device("cuda", _local_gpu())
        torch.cuda.set_device(device)
    # Each backend serves the tensors of its device, so that numbers of the host do not wait for the GPU.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=LONGEST_WAIT)
    atexit.register(dist.destroy_process_group)
    _start_heartbeat(timeout)
    if not is_first():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    return device


def _start_heartbeat(timeout: float) -> None:
    """Start the heartbeat with a connection of its own, since the main thread may be waiting in the other one."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    patience = timedelta(seconds=max(timeout, 1.0))
    store = dist.TCPStore(address, port, is_master=False, timeout=patience, wait_for_workers=False)
    heartbeat.start(store, rank(), world_size(), timeout)


def _local_gpu() -> int:
    local_rank, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local_rank >= count:
        raise UserError(f"each process needs a GPU of its own, but there are {count}: use --nproc_per_node={count}")
    return local_rank


# --- exchange between processes ---


def all_reduce_gradients(optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
    """Replace the gradients of an optimizer's parameters by their means over the processes.

    Args:
        optimizer: The same in every process, with gradients for the same parameters.
        loss: [], the mean over the samples of this process. It is sent with the gradients, so that a NaN or an infinity
            in one process appears in all.

    Returns:
        The mean loss over the processes, [].
    """
    if world_size() == 1:
        return loss
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    flat = all_reduce_mean(torch.cat([tensor.flatten() for tensor in [*gradients, loss.detach()]]))  # [all numbers + 1]
    *parts, loss = flat.split([gradient.numel() for gradient in gradients] + [1])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
    return loss[0]  # []


@torch.no_grad()
def all_reduce_mean(values: Tensor) -> Tensor:
    """Return the mean, over the processes, of a tensor that has the same shape in all of them."""
    return values if world_size() == 1 else _all_reduce(values / world_size(), dist.ReduceOp.SUM)


@torch.no_grad()
def all_gather(values: Tensor) -> Tensor:
    """Stack the tensors of all processes, which have the same shape [...], to [processes, ...]."""
    stacked = values.new_zeros(world_size(), *values.shape)  # [processes, ...]
    stacked[rank()] = values
    return stacked if world_size() == 1 else _all_reduce(stacked, dist.ReduceOp.SUM)


def all_reduce_mean_values(values: Mapping[str, float]) -> dict[str, float]:
    """Return the means, over the processes, of numbers that have the same names, in the same order, in all of them."""
    if world_size() == 1 or not values:
        return dict(values)
    means = all_reduce_mean(torch.tensor(list(values.values()), dtype=torch.float64))
    return dict(zip(values, means.tolist(), strict=True))


def all_reduce_max(value: int) -> int:
    """Return the largest number over the processes."""
    if world_size() == 1:
        return value
    return int(_all_reduce(torch.tensor(value), dist.ReduceOp.MAX))


def barrier() -> None:
    """Wait until all processes have called this."""
    all_reduce_max(0)


def check_equal(value: int, sentence: str) -> None:
    """Raise a UserError with this sentence in all processes if their numbers differ."""
    if all_reduce_max(value) != -all_reduce_max(-value):
        raise UserError(sentence)


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Copy the values of the first process to every other one, in place."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor.detach(), 0)


def _all_reduce(values: Tensor, operation: dist.ReduceOp.RedOpType) -> Tensor:
    try:
        dist.all_reduce(values, operation)
    except RuntimeError as error:
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise UserError(
            f"process {rank()} stops because it cannot reach another process (see the output of that process): {reason}"
        ) from error
    return values


@cache
def print_once(text: str) -> None:
    """Print a line unless this process has printed it before; of several processes only the first one prints."""
    if is_first():
        print(text)
