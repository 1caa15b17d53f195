"""Processes that train together tell each other that they live; where one falls silent, the others end and say which.

A process that is killed closes its connections, and the others fail at once. One that is stopped, or whose machine is
lost, does not: without this the others would wait for it forever. What counts is whether a thread of its still runs, so
that a process may compute or measure for as long as it likes.
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol

DATED_BACK = 10  # seconds
INTERVALS = 12  # so many signs of life in the time after which a process counts as silent


class Store(Protocol):
    """What all processes read and write: `torch.distributed.TCPStore`."""

    def set(self, key: str, value: str) -> None: ...

    def get(self, key: str) -> bytes: ...


class Heartbeat:
    """Beats for this process, and finds out whether another one no longer does.

    Args:
        store: Shared by the processes.
        rank: Number of this process.
        processes: How many there are; all must have beaten once before `silent` is asked.
        timeout: Seconds without a beat after which a process is silent.
        clock: Seconds.
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
        """Give a sign of life."""
        self.beats += 1
        self.store.set(f"heartbeat/{self.rank}", str(self.beats))

    def silent(self) -> int | None:
        """Return the number of a process that has not beaten for so long, None where all do."""
        now = self.clock()
        paused, self._last = now - self._last > self.timeout / 2, now  # this process itself, and maybe all with it
        for other, (beat, since) in self._others.items():
            found = self.store.get(f"heartbeat/{other}")
            if found != beat or paused:
                self._others[other] = (found, now)
            elif now - since > self.timeout:
                return other
        return None


def start(store: Store, rank: int, processes: int, timeout: float) -> None:
    """Beat and listen in a thread of this process, which ends with exit code 2 where another one falls silent."""
    heartbeat = Heartbeat(store, rank, processes, timeout)
    threading.Thread(target=_beat, args=(heartbeat,), daemon=True, name="heartbeat").start()


def _beat(heartbeat: Heartbeat) -> None:
    while True:
        time.sleep(heartbeat.timeout / INTERVALS)
        try:
            heartbeat.beat()
            silent = heartbeat.silent()
        except Exception:  # the store is gone with the launcher, which ends all processes
            return
        if silent is not None:
            end(
                f"process {silent} has not answered for {heartbeat.timeout:.0f} s, so process {heartbeat.rank} ends: "
                "see whether it is stopped or its machine is lost; the same command goes on from the last checkpoint"
            )


def end(sentence: str) -> None:
    """End this process at once, whatever its main thread waits for."""
    with contextlib.suppress(OSError):
        print(f"error: {sentence}", file=sys.stderr, flush=True)
    tell_launcher(sentence)
    os._exit(2)


def tell_launcher(sentence: str) -> None:
    """Let torchrun end its report with this sentence, which otherwise stands above forty lines of its own.

    Its last lines are those of the earliest failure. A process that another one's end brought down says more than the
    signal that ended that one, so that its failure is dated back a little.
    """
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not path:
        return
    about = {"py_callstack": sentence, "timestamp": str(int(time.time()) - DATED_BACK)}
    with contextlib.suppress(OSError), open(path, "w", encoding="utf-8") as file:
        json.dump({"message": {"message": sentence, "extraInfo": about}}, file)
