"""Show progress, as a bar in a terminal or a notebook, and as one plain line per minute in a file."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TypeVar

from tqdm.auto import tqdm

Item = TypeVar("Item")
SECONDS_A_LINE = 60.0
WARM_UP_SECONDS, WARM_UP_UNITS = 10.0, 3
"""after both, the expected duration of the whole training is printed"""
Listener = Callable[[str, int, int | None], None]
"""Called with the name of the work, the number of units that are done, and their total number."""
LISTENER: ContextVar[Listener | None] = ContextVar("LISTENER", default=None)
SPANS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


class Progress:
    """Show the progress of some work from creation until `close`.

        with Progress(len(photos), "translating", "photo") as progress:
            for photo in photos:
                translate(photo)
                progress.update()

    Args:
        total: Units of the whole work, or None if it is unknown.
        desc: Description of the work.
        unit: Name of a unit.
        initial: Units that an earlier run completed.
        leave: Keep the finished bar on the screen.
        hidden: Show nothing, as all processes but the first do.
        images_per_unit: Images in a unit, to show the speed in images where units are steps.
        expects: Print the expected duration as soon as the speed is known.
    """

    def __init__(
        self,
        total: int | None,
        desc: str,
        unit: str,
        *,
        initial: int = 0,
        leave: bool = True,
        hidden: bool = False,
        images_per_unit: float | None = None,
        expects: bool = False,
    ) -> None:
        self.total, self.desc, self.unit, self.done = total, desc, unit, initial
        self.images_per_unit, self._expects, self._hidden = images_per_unit, expects and total is not None, hidden
        self._bar = None
        if not hidden and is_interactive():
            self._bar = tqdm(total=total, initial=initial, desc=desc, unit=unit, leave=leave, smoothing=0.05)
        self._values: dict[str, str] = {}
        self._start = self._mark = (time.monotonic(), initial)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        self.close()

    def update(self, count: int = 1) -> None:
        """Count units as completed."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
        if self._hidden:
            return
        if listener := LISTENER.get():
            listener(self.desc, self.done, self.total)
        now = time.monotonic()
        if self._expects and now - self._start[0] >= WARM_UP_SECONDS and self.done - self._start[1] >= WARM_UP_UNITS:
            self._expects = False
            self._print_expected_time(self._speed(self._start, now))
        if self._bar is None and now - self._mark[0] >= SECONDS_A_LINE:
            print(self._line(self._speed(self._mark, now)), file=sys.stderr, flush=True)
            self._mark = (now, self.done)

    def show(self, **values: str) -> None:
        """Show values beside the progress from now on."""
        self._values = values
        if self._bar is not None:
            self._bar.set_postfix(values, refresh=False)

    def close(self) -> None:
        """End the bar in its present state."""
        if self._bar is not None:
            self._bar.close()

    def _speed(self, since: tuple[float, int], now: float) -> float:
        """Return units per second."""
        return (self.done - since[1]) / max(now - since[0], 1e-9)

    def _rate(self, speed: float) -> str:
        rate, unit = (speed, self.unit) if self.images_per_unit is None else (speed * self.images_per_unit, "img")
        return f"{rate:.3g} {unit}/s"

    def _line(self, speed: float) -> str:
        of = "" if self.total is None else f" of {self.total:,}"
        left = "" if self.total is None or not speed else f", {duration((self.total - self.done) / speed)} left"
        values = "".join(f", {name} {value}" for name, value in self._values.items())
        return f"{self.desc}: {self.done:,}{of} {self.unit}s, {self._rate(speed)}{left}{values}"

    def _print_expected_time(self, speed: float) -> None:
        left = (self.total or 0) - self.done
        write_line(f"{self.desc}: {left:,} {self.unit}s to go, about {duration(left / speed)} at {self._rate(speed)}")


def track(
    items: Iterable[Item], desc: str, unit: str, *, total: int | None = None, initial: int = 0, leave: bool = True
) -> Iterator[Item]:
    """Yield items and show how many of them have been processed."""
    total = len(items) if total is None and isinstance(items, Sized) else total
    with Progress(total, desc, unit, initial=initial, leave=leave) as progress:
        for item in items:
            yield item
            progress.update()


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Report all progress within the block to a function, such as that of a web page, which has no terminal."""
    token = LISTENER.set(listener)
    try:
        yield
    finally:
        LISTENER.reset(token)


def write_line(text: str) -> None:
    """Print a line while bars may be on the screen."""
    tqdm.write(text)
    sys.stdout.flush()


def is_interactive() -> bool:
    """Return whether a moving bar can be seen, in a terminal or in a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def duration(seconds: float) -> str:
    """Format a time in at most its two largest units: "43 hours", "1 hour 20 minutes", "9 seconds"."""
    rest = max(round(seconds), 0)
    if rest >= 100:
        rest = round(rest / 60) * 60
    words = []
    for name, length in SPANS:
        count, rest = divmod(rest, length)
        if count:
            words.append(f"{count} {name}{'s' * (count != 1)}")
        if len(words) == 2 or (words and count >= 10):
            break
    return " ".join(words) or "0 seconds"
