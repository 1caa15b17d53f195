"""Batches that other processes read ahead, as tensors and in order."""

import contextlib
import multiprocessing
import os
import queue
import signal
import sys
import threading
import warnings
from collections.abc import Generator, Iterator, Sequence
from itertools import cycle
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch

from datasets.worker import (
    Batch,
    Failure,
    Key,
    collate,
    pack,
    places,
    receive_bytes,
    serve,
    widen,
)
from stylegan2.runtime.errors import UserError

AHEAD = 2  # batches that each process is asked for
PATIENCE = 5.0  # seconds in which a process ends that is not asked any more
# Forked from a process that has imported little and computed nothing: a fork of the trainer itself would hold all that
# it holds, and may hang where CUDA or threads are in use.
METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
PRELOADED = ("numpy", "PIL.Image")  # that are ours are found in another place than an installed package's


class Worker(NamedTuple):
    """A process, and this side of its pipes."""

    process: Any
    keys: Connection
    batches: Connection


def read_here(dataset: Any, keys: Iterator[list[Key]]) -> Generator[Any, None, None]:
    """Yield a batch of tensors for each list of keys, read by this process."""
    for batch in keys:
        arrays, alone = collate([dataset[key] for key in batch])
        tensors = [torch.from_numpy(array) for array in arrays]
        tensors = [tensor.pin_memory() for tensor in tensors] if torch.cuda.is_available() else tensors
        yield tensors[0] if alone else tuple(tensors)


def read_ahead(dataset: Any, keys: Iterator[list[Key]], workers: int) -> Generator[Any, None, None]:
    """Yield a batch of tensors for each list of keys, read ahead by other processes; closing it ends them.

    Args:
        dataset: Gives an array, or several, for a key. It is pickled, and its arrays are shared by all processes. What
            it names as `preload`, such as `torch`, is imported once for all of them.
        keys: Endless.
        workers: Number of processes, from 1 on.

    Raises:
        UserError: A process was ended from outside. What a process raises is raised here.
    """
    team = _start(dataset, workers)
    ready: queue.SimpleQueue[Any] = queue.SimpleQueue()
    device = torch.cuda.current_device() if torch.cuda.is_available() else None
    reader = threading.Thread(target=_receive_all, args=(team, ready, device), daemon=True)
    try:
        reader.start()
        for worker in team * AHEAD:
            _ask(worker, next(keys))
        for worker in cycle(team):
            batch, said = _checked(ready.get(), worker)
            for sentence in said:
                warnings.warn(sentence, stacklevel=2)
            _ask(worker, next(keys))
            yield batch
    finally:
        _end(team, reader)


def _ask(worker: Worker, keys: Sequence[Key]) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionError):  # it has ended, which is seen where its batch is due
        worker.keys.send_bytes(np.array(keys, np.int64).tobytes())


def _checked(found: Any, worker: Worker) -> tuple[Any, list[str]]:
    """Return a batch and what was said while it was read; raise what a process raised."""
    if isinstance(found, Failure):
        if isinstance(found.error, UserError):
            raise found.error
        raise found.error from RuntimeError(f"in a process that reads ahead:\n{found.report}")
    if isinstance(found, EOFError | OSError):
        worker.process.join(PATIENCE)
        code = worker.process.exitcode
        how = f" by {signal.Signals(-code).name}" if code is not None and -code in set(signal.Signals) else ""
        raise UserError(f"a process that reads ahead was ended{how}: if memory is short, use fewer workers")
    if isinstance(found, BaseException):
        raise found
    return found


# ------------------------------------------------------------------------------------------------ start and end


def _start(dataset: Any, workers: int) -> list[Worker]:
    context = multiprocessing.get_context(METHOD)
    if METHOD == "forkserver":
        context.set_forkserver_preload([*PRELOADED, *getattr(dataset, "preload", ())])
    rest, sizes, views = pack(dataset)
    starts, end = places(sizes)
    shared = context.RawArray("B", max(end, 1))
    for start, view in zip(starts, views, strict=True):
        memoryview(shared).cast("B")[start : start + view.nbytes] = view
    team: list[Worker] = []
    with _without_main(rest):
        for _ in range(workers):
            (keys_out, keys_in), (batches_out, batches_in) = context.Pipe(False), context.Pipe(False)
            widen(batches_in)
            about = (keys_out, batches_in, rest, sizes, shared, dict(os.environ))
            process: SpawnProcess = context.Process(target=serve, args=about, daemon=True)  # type: ignore[assignment]
            process.start()
            keys_out.close()
            batches_in.close()
            team.append(Worker(process, keys_in, batches_out))
    return team


@contextlib.contextmanager
def _without_main(pickled: bytes) -> Iterator[None]:
    """Keep `multiprocessing` from importing the command again in every process, with networks and all.

    A dataset that the command itself defines needs that, though.
    """
    main = sys.modules["__main__"]
    if b"__main__" not in pickled:
        sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _end(team: Sequence[Worker], reader: threading.Thread) -> None:
    """End the processes, which do so by themselves once their keys end, and then the thread that reads from them."""
    for worker in team:
        worker.keys.close()
    for worker in team:
        worker.process.join(PATIENCE)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join(PATIENCE)
    reader.join(PATIENCE)
    if not reader.is_alive():
        for worker in team:
            worker.batches.close()


# ---------------------------------------------------------------------------------------------------- a thread


def _receive_all(team: Sequence[Worker], ready: queue.SimpleQueue, device: int | None) -> None:
    """Read batches in their order, into memory that a GPU can copy from where there is one."""
    if device is not None:
        torch.cuda.set_device(device)
    try:
        for worker in cycle(team):
            ready.put(_receive(worker.batches, pinned=device is not None))
    except BaseException as error:  # the end of a process among others: for the loop to raise
        ready.put(error)


def _receive(batches: Connection, pinned: bool) -> Any:
    """Read one batch, and what was said meanwhile; or the failure to make it."""
    head = batches.recv()
    if isinstance(head, Failure):
        return head
    assert isinstance(head, Batch)
    tensors = []
    for dtype, shape in head.arrays:
        kind = torch.from_numpy(np.empty(0, dtype)).dtype
        tensors.append(torch.empty(shape, dtype=kind, pin_memory=pinned))
        receive_bytes(batches, tensors[-1].numpy())
    return tensors[0] if head.alone else tuple(tensors), head.said
