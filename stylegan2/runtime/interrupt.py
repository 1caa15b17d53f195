"""Stop a training loop at a good moment when the scheduler or the user interrupts it."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from stylegan2.runtime import distributed

Handler = Callable[[int, FrameType | None], object] | int | None
MESSAGE = b"\nstopping after this step and saving; press Ctrl-C again to stop at once\n"


class Interrupt:
    """Remember the first SIGTERM or SIGINT, so that the loop can finish its step, save and exit with `exit_code`.

        with Interrupt() as interrupt:
            while not done:
                step()
                if interrupt.requested:
                    save()
                    sys.exit(interrupt.exit_code)

    A Ctrl-C after the first signal raises KeyboardInterrupt at once. The earlier handlers are restored when the block
    ends. Outside the main thread, Python cannot handle signals, so `requested` stays False.
    """

    def __init__(self) -> None:
        self.signum: int | None = None  # the first signal that arrived
        self._earlier: dict[int, Handler] = {}
        self._process = os.getpid()

    @property
    def requested(self) -> bool:
        """Return whether a signal arrived."""
        return self.signum is not None

    @property
    def exit_code(self) -> int:
        """Return 128 + signal as a shell reports it: 143 after SIGTERM, 130 after SIGINT, and 0 without a signal."""
        return 0 if self.signum is None else 128 + self.signum

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGTERM, signal.SIGINT):
                self._earlier[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for signum, handler in self._earlier.items():
            signal.signal(signum, handler or signal.SIG_DFL)  # None means a handler that was not set from Python
        self._earlier.clear()

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.requested and signum == signal.SIGINT:
            raise KeyboardInterrupt
        if self.requested:
            return
        self.signum = int(signum)
        if os.getpid() == self._process:  # forked data workers inherit this handler and stay silent
            with contextlib.suppress(OSError):
                os.write(2, MESSAGE)  # print is not safe here, because the signal may have interrupted a print


def is_asked_to_stop(interrupt: Interrupt) -> bool:
    """Return whether a signal arrived at any of the processes that train together."""
    signum = distributed.all_reduce_max(interrupt.signum or 0)
    if signum and not interrupt.requested:
        interrupt.signum = signum
    return signum > 0
