"""Several processes do one piece of work: `torchrun --nproc_per_node=N scripts/...` deals its items out to them.

The first process decides what is to be done. Then each takes the next few items from a common counter whenever it is
through with its last ones, so that a fast machine does more than a slow one. Each writes what it did into files of its
own (see `journal`), and waits for no other; only the first waits, at the end, and joins these files. A process that
dies costs the items that it had taken, and what is missing is done when the same command runs again.

A process that works alone is a group of one: it gets all items and waits for nobody.
"""

import os
import platform
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stylegan2.runtime.errors import UserError

if TYPE_CHECKING:
    import torch

TIMEOUT = 60.0  # seconds without a sign of life after which a process counts as lost
SIGNS = 12  # of life in this time
POLL_SECONDS = 0.05
SEEN_SECONDS = 30.0  # until what one machine wrote shows on the others


class WorkGroup:
    """The processes that share some work, as one of them sees it.

    Args:
        rank: Number of this process, from 0; the first one joins the results.
        size: How many there are.
        store: `torch.distributed.TCPStore` or what works like it, which all of them reach; None for one process.
        timeout: Seconds without a sign of life after which a process counts as lost.
    """

    def __init__(self, rank: int = 0, size: int = 1, store: Any = None, timeout: float = TIMEOUT) -> None:
        self.rank, self.size, self.timeout = rank, size, timeout
        self._store: Any = store if size > 1 else None
        self._beats: dict[int, tuple[bytes, float]] = {}
        self._left = threading.Event()
        if self._store is not None:
            self._call("set", f"alive/{rank}", "0")
            threading.Thread(target=self._show_signs, daemon=True, name="signs of life").start()

    @property
    def is_first(self) -> bool:
        """Return whether this process joins the results."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Return whether it does all of the work."""
        return self._store is None

    def device(self, device: "torch.device") -> "torch.device":
        """Return this process's own of several GPUs, where `device` is any of them."""
        if self.is_alone or device.type != "cuda" or device.index is not None:
            return device
        import torch

        own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        torch.cuda.set_device(own)
        return own

    def share(self, name: str, content: bytes | None = None) -> bytes:
        """Give the others what the first process found: it passes the content, and they wait until it is there.

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
                    f"process {self.rank} stops, because process 0 has not answered for {self.timeout:.0f} s: run the "
                    "same command again"
                )
            time.sleep(POLL_SECONDS)
        return self._call("get", f"share/{name}")

    def check_same(self, name: str, content: str, sentence: str) -> None:
        """Raise a UserError with this sentence in a process that found something else than the first one did."""
        if self.share(name, content.encode()) != content.encode():
            raise UserError(f"process {self.rank} on {platform.node()} {sentence}")

    def check_folder(self, folder: Path) -> None:
        """Raise a UserError where this process does not see the folder of the first one, which must have it."""
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
        until = time.monotonic() + SEEN_SECONDS
        while not seen.exists():
            if time.monotonic() > until:
                raise UserError(
                    f"process {self.rank} on {platform.node()} does not see what process 0 writes to "
                    f"{str(folder)!r}: give a folder that all machines share"
                )
            os.listdir(folder)  # which makes network file systems look again
            time.sleep(POLL_SECONDS)
        self._call("set", f"saw/{self.rank}", b"")

    def deal(self, name: str, count: int, at_once: int = 1) -> Iterator[int]:
        """Yield the numbers below `count` that fall to this process, in order; each falls to one process.

        Args:
            name: Of this work; each work of a group has its own.
            count: Items there are.
            at_once: Neighbours that are taken together.
        """
        if self.is_alone:
            yield from range(count)
            return
        while (start := self._call("add", f"dealt/{name}", at_once) - at_once) < count:
            yield from range(start, min(start + at_once, count))

    def finish(self) -> list[int]:
        """Say that this process is through; the first one waits for all others.

        Returns:
            The processes that were lost, as the first one knows them.
        """
        if self.is_alone:
            return []
        if not self.is_first:
            self._call("set", f"done/{self.rank}", b"")
            return []
        return [other for other in range(1, self.size) if not self._wait_for(f"done/{other}", other)]

    def gather(self, name: str, text: str) -> list[str]:
        """Return the texts of all processes that live, in the first one; what the others get counts for nothing."""
        if not self.is_first:
            self._call("set", f"gather/{name}/{self.rank}", text.encode("utf-8", "surrogatepass"))
            return []
        keys = {other: f"gather/{name}/{other}" for other in range(1, self.size)}
        found = [self._call("get", key) for other, key in keys.items() if self._wait_for(key, other)]
        return [text, *(part.decode("utf-8", "surrogatepass") for part in found)]

    def leave(self) -> None:
        """Show no more signs of life, as where this process had ended."""
        self._left.set()

    def _wait_for(self, key: str, other: int) -> bool:
        """Wait for a key that another process sets: whether it lived to do so."""
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
            except Exception:  # the store is gone: the main thread says so when it needs it
                return

    def _call(self, operation: str, *arguments: Any) -> Any:
        try:
            return getattr(self._store, operation)(*arguments)
        except Exception as error:  # torch raises several kinds where a connection ends
            raise UserError(
                f"process {self.rank} stops, because the machine of process 0 does not answer any more: what is done "
                "is kept, and the same command does the rest"
            ) from error


def join_group(timeout: float = TIMEOUT) -> WorkGroup:
    """Join the processes that torchrun started with this one; only the first keeps its standard output.

    Args:
        timeout: Seconds without a sign of life after which a process counts as lost.

    Returns:
        A group of one where torchrun started no others.

    Raises:
        UserError: The others cannot be reached.
    """
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return WorkGroup()
    from torch.distributed import rendezvous  # here, since a process that works alone needs no network

    try:
        store, rank, size = next(iter(rendezvous("env://")))
    except Exception as error:
        raise UserError(f"the other processes cannot be reached: {str(error).splitlines()[0]}") from error
    if rank:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    return WorkGroup(rank, size, store, timeout)


def losses(lost: list[int], missing: int, items: str) -> str:
    """Return the sentence about processes that were lost, and what is missing because of them."""
    names = f"process {lost[0]} was" if len(lost) == 1 else f"processes {', '.join(map(str, lost))} were"
    return f"{names} lost, and {missing:,} {items} are missing: run the same command again, which does only these"
