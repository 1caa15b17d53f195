"""Works that a benchmark measures one after the other: how they share time, and the table of their figures."""

import platform
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from benchmarks.clock import clean

Row = dict[str, Any]


class Work(NamedTuple):
    """Something to measure: its columns in the table, and what measures it within a number of seconds."""

    labels: Row
    measure: Callable[[float], Row]


def measure_works(works: list[Work], seconds: float, device: torch.device, keep: Callable[[Row], None]) -> None:
    """Measure works one after the other; each gets an equal share of the time that is left.

    Args:
        works: What is measured.
        seconds: For all of them; what is being measured when they are over is finished.
        device: Its memory is emptied before each work.
        keep: Gets the row of each: its labels with its figures, or with the error under "failed".
    """
    end = time.perf_counter() + seconds
    for k, work in enumerate(works):
        clean(device)
        left = max(0.0, end - time.perf_counter()) / (len(works) - k)
        try:
            figures = work.measure(left / 2)  # the other half is for building and for the first calls
        except Exception as error:  # one form that fails must not cost the figures of all others
            figures = {"failed": f"{type(error).__name__}: {error}"[:300]}
        keep({**work.labels, **figures})


def table(rows: list[Row]) -> str:
    """Return rows as Markdown, a column for each name; of a profile with its kernels below it."""
    columns = list(dict.fromkeys(name for row in rows for name in row if name != "top"))
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += ["| " + " | ".join(shown(row.get(column)) for column in columns) + " |" for row in rows]
    for row in rows:
        if "top" in row:
            lines += ["", f"Kernels of {row['step']}:", "", table(row["top"])]
    return "\n".join(lines)


def shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return "" if value is None else str(value).replace("|", "/")


def machine(device: torch.device) -> Row:
    """Say what figures belong to: the device and the versions."""
    on_cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_cuda else platform.processor() or platform.machine()
    versions = {"torch": torch.__version__, "cuda": torch.version.cuda if on_cuda else None}
    return {"device": name, **versions, "python": platform.python_version()}
