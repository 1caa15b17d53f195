"""Worker processes that read ahead: a worker receives the keys of batches and sends back arrays.

This module imports neither PyTorch nor networks, since every worker would hold a copy of them in memory.
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
from typing import NamedTuple, Protocol

import numpy as np

Key = tuple[int, int]
"""(index of a sample, its position in the stream)"""
ALIGNMENT = 64  # alignment of arrays in shared memory, in bytes
PIPE_BYTES = 2**20  # capacity of a pipe, if the system allows it; a larger one needs fewer reads and writes


class Samples(Protocol):
    """A data set: `[key]` gives an array or a tensor, or a tuple of them."""

    def __getitem__(self, key: Key, /) -> object: ...


class Batch(NamedTuple):
    """The header that is sent before the bytes of a batch."""

    arrays: list[tuple[str, tuple[int, ...]]]
    """(type, shape) of each array"""
    is_single: bool
    """whether each sample is one array instead of a tuple of arrays"""
    warnings_raised: list[str]
    """warnings that were raised while the batch was read"""


class Failure(NamedTuple):
    """The message that is sent in place of a batch that could not be read."""

    error: BaseException
    """the exception"""
    traceback_text: str
    """the traceback of the exception, for programming errors"""


def serve(
    keys: Connection, batches: Connection, dataset: bytes, sizes: Sequence[int], shared: bytes, environment: dict
) -> None:
    """Run a worker: read one batch after another, until the pipe of keys is closed.

    Args:
        keys: Pipe from which the keys of batches are received, int64 [N, 2] each.
        batches: Pipe to which a `Batch` and its arrays, or a `Failure`, are sent.
        dataset: The pickled data set without its arrays; see `pack`.
        sizes: Sizes of the arrays in bytes; see `pack`.
        shared: Shared memory with the arrays.
        environment: Environment variables of the training process.
    """
    for name in {signal.SIGINT, signal.SIGTERM}:  # schedulers signal all processes, but the trainer has to save first
        signal.signal(name, signal.SIG_IGN)
    os.environ.update(environment)
    requests: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(keys, requests), daemon=True).start()
    warnings_raised: list[str] = []
    warnings.showwarning = lambda message, *_: warnings_raised.append(str(message))
    opened = None
    while True:
        batch_keys = [(int(index), int(position)) for index, position in requests.get()]
        try:
            opened = open_packed(dataset, sizes, shared) if opened is None else opened
            arrays, is_single = collate([opened[key] for key in batch_keys])
        except Exception as error:  # the training process raises it
            batches.send(sendable(error))
            continue
        batches.send(Batch([(array.dtype.str, array.shape) for array in arrays], is_single, warnings_raised[:]))
        warnings_raised.clear()
        for array in arrays:
            send_bytes(batches, array)


def _receive(keys: Connection, requests: queue.SimpleQueue) -> None:
    """Pass on the keys that are received, and exit the process immediately when the other end of the pipe is closed."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            requests.put(np.frombuffer(keys.recv_bytes(), np.int64).reshape(-1, 2))  # [N, 2]
    os._exit(0)


def collate(samples: Sequence[object]) -> tuple[list[np.ndarray], bool]:
    """Stack samples to a batch.

    Args:
        samples: N samples, each an array, an object that NumPy converts to one (such as a tensor), or a tuple of them.

    Returns:
        Arrays [N, ...], and whether each sample is one array instead of a tuple.
    """
    is_single = not isinstance(samples[0], tuple | list)
    columns: Iterable[Sequence[object]] = [samples] if is_single else zip(*samples, strict=True)
    return [np.stack([np.asarray(value) for value in column]) for column in columns], is_single  # [N, ...] each


def sendable(error: BaseException) -> Failure:
    """Convert an error to a form that can be sent to another process."""
    traceback_text = "".join(traceback.format_exception(error))
    error = error.with_traceback(None)
    error.__cause__ = error.__context__ = None
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # exceptions may contain objects that cannot be pickled
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return Failure(error, traceback_text)


# ------------------------------------------------------------------------------------ arrays that are shared


def pack(dataset: object) -> tuple[bytes, list[int], list[memoryview]]:
    """Pickle a data set without its arrays (PEP 574).

    Returns:
        (pickled data set without arrays, size of each array in bytes, bytes of each array).
    """
    buffers: list[pickle.PickleBuffer] = []
    rest = pickle.dumps(dataset, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    return rest, [view.nbytes for view in views], views


def places(sizes: Iterable[int]) -> tuple[list[int], int]:
    """Lay out arrays in shared memory.

    Args:
        sizes: Size of each array in bytes.

    Returns:
        (offset of each array in bytes, total size in bytes).
    """
    starts, end = [], 0
    for size in sizes:
        starts.append(end)
        end += -(-size // ALIGNMENT) * ALIGNMENT
    return starts, end


def open_packed(rest: bytes, sizes: Sequence[int], shared: bytes) -> Samples:
    """Unpickle a data set from `pack`; its arrays are read-only views of the shared memory."""
    whole = memoryview(shared).cast("B").toreadonly()
    starts, _ = places(sizes)
    views = [whole[start : start + size] for start, size in zip(starts, sizes, strict=True)]
    dataset = pickle.loads(rest, buffers=views)
    if torch := sys.modules.get("torch"):  # some tasks compute with PyTorch
        torch.set_num_threads(1)  # worker processes share the cores
    return dataset


# --------------------------------------------------------------------------------------------- pipes


def widen(connection: Connection) -> None:
    """Increase the capacity of a pipe, if the system supports it."""
    if sys.platform == "linux":
        import fcntl  # not available on Windows

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
    """Fill a contiguous array with bytes from a pipe. EOFError: the other end of the pipe is closed."""
    view = array.data.cast("B") if array.size else memoryview(b"")
    if sys.platform == "win32":
        connection.recv_bytes_into(view)
        return
    while view:
        count = os.readv(connection.fileno(), [view])
        if count == 0:
            raise EOFError
        view = view[count:]
