"""Share work among the threads of a process, or among processes that `torchrun --nproc_per_node=N scripts/...` started.

The first process decides which items have to be computed. Each process then takes the next few items from a shared
counter whenever it has finished its last ones, so that a fast machine computes more than a slow one. Each process
writes its results to files of its own (see `journal`) and does not wait for others; only the first process waits, at
the end, and merges these files. When a process dies, only the items that it had taken are missing, and running the
same command again computes them.

A process that works alone is a group of one, which gets all items and never waits.
"""

import os
import platform
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stylegan2.runtime.errors import UserError

if TYPE_CHECKING:
    import torch

TIMEOUT = 60.0  # seconds without a heartbeat after which a process counts as lost
SIGNS = 12  # heartbeats within the timeout
POLL_SECONDS = 0.05
VISIBLE_SECONDS = 30.0  # a file that one machine wrote has to be visible to the others within this time


class WorkGroup:
    """The group of processes that share some work, as seen by one of them.

    Args:
        rank: Number of this process, counted from 0. Process 0 is the first one, which merges the results.
        size: Number of processes.
        store: A `torch.distributed.TCPStore`, or an object with the same methods, that all processes can reach; None
            for a single process.
        timeout: Seconds without a heartbeat after which a process counts as lost.
    """

    def __init__(self, rank: int = 0, size: int = 1, store: object = None, timeout: float = TIMEOUT) -> None:
        self.rank, self.size, self.timeout = rank, size, timeout
        self._store: object = store if size > 1 else None
        self._beats: dict[int, tuple[bytes, float]] = {}
        self._left = threading.Event()
        if self._store is not None:
            self._call("set", f"alive/{rank}", "0")
            threading.Thread(target=self._show_signs, daemon=True, name="signs of life").start()

    @property
    def is_first(self) -> bool:
        """Return whether this is the first process, which merges the results."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Return whether this process does all of the work."""
        return self._store is None

    def device(self, device: "torch.device") -> "torch.device":
        """Choose the GPU of this process if `device` is "cuda" without an index; return other devices unchanged."""
        if self.is_alone or device.type != "cuda" or device.index is not None:
            return device
        import torch

        own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        torch.cuda.set_device(own)
        return own

    def share(self, name: str, content: bytes | None = None) -> bytes:
        """Send bytes from the first process to all others, which wait for them.

        Args:
            name: Name of what is shared, unique within the group.
            content: The bytes; only the first process passes them.

        Returns:
            The bytes of the first process, in every process.

        Raises:
            UserError: The first process is lost.
        """
        if self.is_alone:
            return content or b""
        if self.is_first:
            self._call("set", f"share/{name}", content or b"")
            return content or b""
        while not self._call("check", [f"share/{name}"]):
            if self._is_lost(0):
                raise UserError(
                    f"process {self.rank} stops because process 0 has not answered for {self.timeout:.0f} s: run the "
                    "same command again"
                )
            time.sleep(POLL_SECONDS)
        return self._call("get", f"share/{name}")

    def check_same(self, name: str, content: str, sentence: str) -> None:
        """Check that all processes found the same content.

        Raises:
            UserError: The content of this process differs from that of the first one; `sentence` says so.
        """
        if self.share(name, content.encode()) != content.encode():
            raise UserError(f"process {self.rank} on {platform.node()} {sentence}")

    def check_folder(self, folder: Path) -> None:
        """Check that all processes see one and the same folder, which has to exist for the first process.

        Raises:
            UserError: This process does not see what the first one writes into the folder.
        """
        if self.is_alone:
            return
        seen = folder / f".group-{self.share('folder', uuid.uuid4().hex.encode()).decode()}"
        if self.is_first:
            seen.touch()
            self.share("folder is marked")
            for other in range(1, self.size):
                self._wait_for(f"saw/{other}", other)
            seen.unlink(missing_ok=True)
            return
        self.share("folder is marked")
        until = time.monotonic() + VISIBLE_SECONDS
        while not seen.exists():
            if time.monotonic() > until:
                raise UserError(
                    f"process {self.rank} on {platform.node()} does not see what process 0 writes to "
                    f"{str(folder)!r}: give a folder that all machines share"
                )
            os.listdir(folder)  # listing the folder makes network file systems refresh it
            time.sleep(POLL_SECONDS)
        self._call("set", f"saw/{self.rank}", b"")

    def deal(self, name: str, count: int, at_once: int = 1) -> Iterator[int]:
        """Yield the numbers below `count` that this process has to work on, in ascending order.

        Each number is given to exactly one process of the group.

        Args:
            name: Name of the work, unique within the group.
            count: Number of items.
            at_once: Number of consecutive items that a process takes at a time.
        """
        if self.is_alone:
            yield from range(count)
            return
        while (start := self._call("add", f"dealt/{name}", at_once) - at_once) < count:
            yield from range(start, min(start + at_once, count))

    def finish(self) -> list[int]:
        """Report that this process has finished; the first process waits for all others.

        Returns:
            The ranks of lost processes, in the first process; an empty list in the others.
        """
        if self.is_alone:
            return []
        if not self.is_first:
            self._call("set", f"done/{self.rank}", b"")
            return []
        return [other for other in range(1, self.size) if not self._wait_for(f"done/{other}", other)]

    def gather(self, name: str, text: str) -> list[str]:
        """Collect one text from each process that is still alive.

        Args:
            name: Name of what is collected, unique within the group.
            text: The text of this process.

        Returns:
            The texts in the order of ranks, in the first process; an empty list in the others.
        """
        if not self.is_first:
            self._call("set", f"gather/{name}/{self.rank}", text.encode("utf-8", "surrogatepass"))
            return []
        keys = {other: f"gather/{name}/{other}" for other in range(1, self.size)}
        texts = [self._call("get", key) for other, key in keys.items() if self._wait_for(key, other)]
        return [text, *(part.decode("utf-8", "surrogatepass") for part in texts)]

    def leave(self) -> None:
        """Stop the heartbeats, so that the others consider this process lost."""
        self._left.set()

    def _wait_for(self, key: str, other: int) -> bool:
        """Wait for a key that another process sets; return False if that process is lost before it does."""
        while not self._call("check", [key]):
            if self._is_lost(other):
                return False
            time.sleep(POLL_SECONDS)
        return True

    def _is_lost(self, other: int) -> bool:
        key, now = f"alive/{other}", time.monotonic()
        sign = self._call("get", key) if self._call("check", [key]) else b""
        before, since = self._beats.get(other, (None, now))
        if sign != before:
            self._beats[other] = (sign, now)
            return False
        return now - since > self.timeout

    def _show_signs(self) -> None:
        number = 0
        while not self._left.wait(self.timeout / SIGNS):
            number += 1
            try:
                self._call("set", f"alive/{self.rank}", str(number))
            except Exception:  # the store is gone; the main thread reports it at its next call
                return

    def _call(self, operation: str, *arguments: object) -> Any:
        try:
            return getattr(self._store, operation)(*arguments)
        except Exception as error:  # torch raises several kinds of errors when a connection breaks
            raise UserError(
                f"process {self.rank} stops because the machine of process 0 no longer answers: finished work "
                f"is kept, and the same command does the rest"
            ) from error


def was_launched() -> bool:
    """Return whether torchrun started this process as one of several."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def join_group() -> WorkGroup:
    """Join the group of processes that torchrun started; all but the first discard their standard output.

    Returns:
        The group; a group of one if torchrun started no other processes.

    Raises:
        UserError: The other processes cannot be reached.
    """
    if not was_launched():
        return WorkGroup()
    from torch.distributed import rendezvous  # imported here because a process that works alone needs no network

    try:
        store, rank, size = next(iter(rendezvous("env://")))
    except Exception as error:
        raise UserError(f"the other processes cannot be reached: {str(error).splitlines()[0]}") from error
    if rank:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    return WorkGroup(rank, size, store)


def lost_message(lost: list[int], missing: int, items: str) -> str:
    """Write the message about lost processes and the number of items that are missing because of them."""
    names = f"process {lost[0]} was" if len(lost) == 1 else f"processes {', '.join(map(str, lost))} were"
    return f"{names} lost, and {missing:,} {items} are missing: run the same command again, which processes only these"


Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Yield function(item) for each item, in order.

    The threads run only a few items ahead of the consumer; items are taken in the thread of the consumer.
    """
    with ThreadPoolExecutor(workers) as pool:
        remaining, ahead = iter(items), deque()
        try:
            for item in remaining:
                ahead.append(pool.submit(function, item))
                if len(ahead) > 2 * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
