"""A process that reads ahead: it gets the keys of batches and sends back arrays, and holds no more than it reads with.

What is here imports neither PyTorch nor networks, of which each process would hold a copy of its own.
"""

import contextlib
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterable, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

Key = tuple[int, int]
"""Index of a sample and its position in the stream."""
ALIGNMENT = 64  # bytes at which arrays begin in shared memory
PIPE_BYTES = 2**20  # of a pipe, where the system lets it be as large: fewer turns of reading and writing


class Batch(NamedTuple):
    """What goes ahead of the bytes of a batch."""

    arrays: list[tuple[str, tuple[int, ...]]]
    """type and shape of each"""
    alone: bool
    """whether samples are one array each, not several"""
    said: list[str]
    """warnings that were raised meanwhile"""


class Failure(NamedTuple):
    """What is sent instead of a batch that could not be made."""

    error: BaseException
    report: str
    """its traceback, for a programmer's mistake"""


def serve(
    keys: Connection, batches: Connection, dataset: bytes, sizes: Sequence[int], shared: Any, environment: dict
) -> None:
    """Read batch after batch, until nobody sends keys any more.

    Args:
        keys: Gives the keys of a batch, int64 [N, 2].
        batches: Takes a `Batch` and its arrays, or a `Failure`.
        dataset: Pickled, its arrays left out; see `unpack`.
        sizes: See `unpack`.
        shared: Memory with those arrays.
        environment: Variables of the process that trains.
    """
    for name in {signal.SIGINT, signal.SIGTERM}:  # schedulers signal every process of a job: the loop saves first
        signal.signal(name, signal.SIG_IGN)
    os.environ.update(environment)
    asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(keys, asked), daemon=True).start()
    said: list[str] = []
    warnings.showwarning = lambda message, *_: said.append(str(message))  # type: ignore[assignment]
    opened = None
    while True:
        wanted = [(int(index), int(position)) for index, position in asked.get()]
        try:
            opened = open_packed(dataset, sizes, shared) if opened is None else opened
            arrays, alone = collate([opened[key] for key in wanted])
        except Exception as error:  # whatever it is, it is the trainer's to raise
            batches.send(sendable(error))
            continue
        batches.send(Batch([(array.dtype.str, array.shape) for array in arrays], alone, said[:]))
        said.clear()
        for array in arrays:
            send_bytes(batches, array)


def _receive(keys: Connection, asked: queue.SimpleQueue) -> None:
    """Hand on what is asked for, and end the process, whatever it is doing, when the other side is gone."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            asked.put(np.frombuffer(keys.recv_bytes(), np.int64).reshape(-1, 2))  # [N, 2]
    os._exit(0)


def collate(samples: Sequence[Any]) -> tuple[list[np.ndarray], bool]:
    """Stack samples, each an array (or what NumPy makes one of, such as a tensor) or several of them.

    Returns:
        Arrays [N, ...], and whether a sample is one array, not several.
    """
    alone = not isinstance(samples[0], tuple | list)
    columns: Iterable[Sequence[Any]] = [samples] if alone else zip(*samples, strict=True)
    return [np.stack([np.asarray(value) for value in column]) for column in columns], alone  # [N, ...] each


def sendable(error: BaseException) -> Failure:
    """Return an error as it can be sent to another process."""
    report = "".join(traceback.format_exception(error))
    error = error.with_traceback(None)
    error.__cause__ = error.__context__ = None
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # exceptions may hold anything
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return Failure(error, report)


# ------------------------------------------------------------------------------------ arrays that are shared


def pack(dataset: Any) -> tuple[bytes, list[int], list[memoryview]]:
    """Pickle a dataset without its arrays (PEP 574): the rest, and the size and the bytes of each array."""
    buffers: list[pickle.PickleBuffer] = []
    rest = pickle.dumps(dataset, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    return rest, [view.nbytes for view in views], views


def places(sizes: Iterable[int]) -> tuple[list[int], int]:
    """Return where arrays of so many bytes begin in the memory that is shared, and how much of it they take."""
    starts, end = [], 0
    for size in sizes:
        starts.append(end)
        end += -(-size // ALIGNMENT) * ALIGNMENT
    return starts, end


def open_packed(rest: bytes, sizes: Sequence[int], shared: Any) -> Any:
    """Undo `pack`: the arrays, which nobody may write to, stay where they are."""
    whole = memoryview(shared).cast("B").toreadonly()
    starts, _ = places(sizes)
    views = [whole[start : start + size] for start, size in zip(starts, sizes, strict=True)]
    dataset = pickle.loads(rest, buffers=views)
    if torch := sys.modules.get("torch"):  # which some tasks compute with
        torch.set_num_threads(1)  # the processes share the machine
    return dataset


# --------------------------------------------------------------------------------------------- pipes


def widen(connection: Connection) -> None:
    """Let a pipe hold more, where the system can."""
    if sys.platform == "linux":
        import fcntl  # not on Windows

        with contextlib.suppress(OSError):
            fcntl.fcntl(connection.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def send_bytes(connection: Connection, array: np.ndarray) -> None:
    """Write the bytes of an array to a pipe."""
    view = np.ascontiguousarray(array).data.cast("B") if array.size else memoryview(b"")
    if sys.platform == "win32":
        connection.send_bytes(view)
        return
    while view:
        view = view[os.write(connection.fileno(), view) :]


def receive_bytes(connection: Connection, array: np.ndarray) -> None:
    """Fill a contiguous array with bytes from a pipe. EOFError: the other side is gone."""
    view = array.data.cast("B") if array.size else memoryview(b"")
    if sys.platform == "win32":
        connection.recv_bytes_into(view)
        return
    while view:
        count = os.readv(connection.fileno(), [view])
        if count == 0:
            raise EOFError
        view = view[count:]
