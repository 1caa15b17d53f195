"""Batches of tensors in order, which worker processes read ahead."""

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
    Samples,
    collate,
    pack,
    places,
    receive_bytes,
    serve,
    widen,
)
from stylegan2.runtime.errors import UserError

BATCHES_AHEAD = 2  # number of batches that each worker reads ahead
EXIT_SECONDS = 5.0  # seconds that a worker has to end by itself
# Workers are forked from a server process that has imported little and computed nothing. A fork of the trainer itself
# would share all of its memory, and could hang because CUDA or threads are in use.
METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
PRELOADED = ("numpy", "PIL.Image")  # installed packages only: the fork server may not find this project's modules


class Worker(NamedTuple):
    """A worker process, and the ends of its pipes in this process."""

    process: SpawnProcess
    keys: Connection
    batches: Connection


def read_here(dataset: Samples, keys: Iterator[list[Key]]) -> Generator[Any, None, None]:
    """Yield a batch of tensors for each list of keys, read by this process.

    Args:
        dataset: `[key]` returns an array or a tensor, or a tuple of them.
        keys: Lists of (index, position), one per batch.
    """
    for batch in keys:
        arrays, is_single = collate([dataset[key] for key in batch])
        tensors = [torch.from_numpy(array) for array in arrays]
        tensors = [tensor.pin_memory() for tensor in tensors] if torch.cuda.is_available() else tensors
        yield tensors[0] if is_single else tuple(tensors)


def read_ahead(dataset: Samples, keys: Iterator[list[Key]], workers: int) -> Generator[Any, None, None]:
    """Yield a batch of tensors for each list of keys, read ahead by worker processes.

    Closing the generator ends the workers. An exception that a worker raises is raised here.

    Args:
        dataset: `[key]` returns an array or a tensor, or a tuple of them. It is pickled, and its arrays are shared by
            all workers. The modules that its attribute `preload` names, such as `torch`, are imported once for all
            workers.
        keys: Lists of (index, position), one per batch; they may be endless.
        workers: Number of worker processes, at least 1.

    Raises:
        UserError: A worker was killed from outside.
    """
    team = _start(dataset, workers)
    ready: queue.SimpleQueue[object] = queue.SimpleQueue()
    device = torch.cuda.current_device() if torch.cuda.is_available() else None
    reader = threading.Thread(target=_receive_all, args=(team, ready, device), daemon=True)
    try:
        reader.start()
        due = sum(_ask(worker, keys) for worker in team * BATCHES_AHEAD)  # batches requested but not yielded yet
        for worker in cycle(team):
            if due == 0:
                break
            batch, warnings_raised = _checked(ready.get(), worker)
            for sentence in warnings_raised:
                warnings.warn(sentence, stacklevel=2)
            due += _ask(worker, keys) - 1
            yield batch
    finally:
        _end(team, reader)


def _ask(worker: Worker, keys: Iterator[list[Key]]) -> bool:
    """Ask a worker for the next batch; return False if there is none."""
    batch = next(keys, None)
    if batch is None:
        return False
    with contextlib.suppress(BrokenPipeError, ConnectionError):  # a dead worker is reported when its batch is due
        worker.keys.send_bytes(np.array(batch, np.int64).tobytes())
    return True


def _checked(message: Any, worker: Worker) -> tuple[Any, list[str]]:
    """Return a batch and the warnings that were raised while it was read; raise the exception of a worker."""
    if isinstance(message, Failure):
        if isinstance(message.error, UserError):
            raise message.error
        raise message.error from RuntimeError(f"in a process that reads ahead:\n{message.traceback_text}")
    if isinstance(message, EOFError | OSError):
        worker.process.join(EXIT_SECONDS)
        code = worker.process.exitcode
        signal_name = f" by {signal.Signals(-code).name}" if code is not None and -code in set(signal.Signals) else ""
        raise UserError(
            f"a process that reads ahead was terminated{signal_name}: if memory is short, use fewer workers"
        )
    if isinstance(message, BaseException):
        raise message
    return message


# ------------------------------------------------------------------------------------------------ start and end


def _start(dataset: Samples, workers: int) -> list[Worker]:
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
    """Prevent `multiprocessing` from importing the main script, and with it the networks, in every worker.

    If the data set is defined in the main script, workers need that import, and nothing is changed.
    """
    main = sys.modules["__main__"]
    if b"__main__" not in pickled:
        sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _end(team: Sequence[Worker], reader: threading.Thread) -> None:
    """End the workers, which exit when the pipe of keys is closed, and then the thread that receives from them."""
    for worker in team:
        worker.keys.close()
    for worker in team:
        worker.process.join(EXIT_SECONDS)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join(EXIT_SECONDS)
    reader.join(EXIT_SECONDS)
    if not reader.is_alive():
        for worker in team:
            worker.batches.close()


# ---------------------------------------------------------------------------------------------------- a thread


def _receive_all(team: Sequence[Worker], ready: queue.SimpleQueue, device: int | None) -> None:
    """Receive batches in order, into pinned memory if there is a GPU."""
    if device is not None:
        torch.cuda.set_device(device)
    try:
        for worker in cycle(team):
            ready.put(_receive(worker.batches, pinned=device is not None))
    except BaseException as error:  # also if a worker died; the main loop raises the error
        ready.put(error)


def _receive(batches: Connection, pinned: bool) -> object:
    """Receive one batch with its warnings, or a failure."""
    head = batches.recv()
    if isinstance(head, Failure):
        return head
    assert isinstance(head, Batch)
    tensors = []
    for dtype, shape in head.arrays:
        kind = torch.from_numpy(np.empty(0, dtype)).dtype
        tensors.append(torch.empty(shape, dtype=kind, pin_memory=pinned))
        receive_bytes(batches, tensors[-1].numpy())
    return tensors[0] if head.is_single else tuple(tensors), head.warnings_raised
