"""Let processes that train together detect that one has fallen silent, and end with a message that names it.

A process that is killed closes its connections, and the others fail at once. A process that is stopped, or whose
machine is lost, does not, and the others would wait for it forever. The heartbeat comes from a thread of its own, so
that a process may compute or measure for any length of time.
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol

DATED_BACK = 10  # seconds by which a failure is dated back (see `tell_launcher`)
INTERVALS = 12  # beats within the time after which a process counts as silent


class Store(Protocol):
    """A key-value store that all processes share, such as `torch.distributed.TCPStore`."""

    def set(self, key: str, value: str) -> None: ...

    def get(self, key: str) -> bytes: ...


class Heartbeat:
    """The heartbeat of this process, which also watches those of the others.

    Args:
        store: The store that the processes share.
        rank: Index of this process.
        processes: Number of processes; all must have beaten once before `silent` is called.
        timeout: Seconds without a beat after which a process counts as silent.
        clock: Returns the time in seconds.
    """

    def __init__(
        self, store: Store, rank: int, processes: int, timeout: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.store, self.rank, self.timeout, self.clock = store, rank, timeout, clock
        self.beats = 0
        self._others = {other: (b"", clock()) for other in range(processes) if other != rank}
        self._last = clock()
        self.beat()

    def beat(self) -> None:
        """Record a sign of life of this process."""
        self.beats += 1
        self.store.set(f"heartbeat/{self.rank}", str(self.beats))

    def silent(self) -> int | None:
        """Return the index of a process that has not beaten for `timeout` seconds, or None if all have."""
        now = self.clock()
        paused = now - self._last > self.timeout / 2  # this process was paused itself, and maybe all others with it
        self._last = now
        for other, (beat, since) in self._others.items():
            latest = self.store.get(f"heartbeat/{other}")
            if latest != beat or paused:
                self._others[other] = (latest, now)
            elif now - since > self.timeout:
                return other
        return None


def start(store: Store, rank: int, processes: int, timeout: float) -> None:
    """Beat and watch in a thread; end this process with exit code 2 if another one falls silent."""
    heartbeat = Heartbeat(store, rank, processes, timeout)
    threading.Thread(target=_beat, args=(heartbeat,), daemon=True, name="heartbeat").start()


def _beat(heartbeat: Heartbeat) -> None:
    while True:
        time.sleep(heartbeat.timeout / INTERVALS)
        try:
            heartbeat.beat()
            silent = heartbeat.silent()
        except Exception:  # the store ended with the launcher, which ends all processes
            return
        if silent is not None:
            end(
                f"process {silent} has not answered for {heartbeat.timeout:.0f} s, so process {heartbeat.rank} ends: "
                "check whether it was stopped or its machine cannot be reached; the same command resumes from "
                "the last checkpoint"
            )


def end(sentence: str) -> None:
    """Print a sentence and end this process at once, even if its main thread is waiting."""
    with contextlib.suppress(OSError):
        print(f"error: {sentence}", file=sys.stderr, flush=True)
    tell_launcher(sentence)
    os._exit(2)


def tell_launcher(sentence: str) -> None:
    """Let torchrun end its report with this sentence, which would otherwise be followed by forty other lines.

    The report ends with the earliest failure. This failure is dated back a little, because a process that stops after
    another one died explains more than the signal that ended the other one.
    """
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not path:
        return
    about = {"py_callstack": sentence, "timestamp": str(int(time.time()) - DATED_BACK)}
    with contextlib.suppress(OSError), open(path, "w", encoding="utf-8") as file:
        json.dump({"message": {"message": sentence, "extraInfo": about}}, file)
