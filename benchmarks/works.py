"""Measurements of a benchmark, which share its time, and the table of their figures."""

import platform
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from benchmarks.clock import clean
from benchmarks.measure import markdown, processor

Row = dict[str, Any]


class Work(NamedTuple):
    """A measurement: the case in its row of the table, and the function that measures it within a number of seconds."""

    case: Row
    measure: Callable[[float], Row]


def measure_works(works: list[Work], seconds: float, device: torch.device, keep: Callable[[Row], None]) -> None:
    """Run measurements one after another within `seconds`, and pass each row of the table to `keep`.

    Each measurement gets an equal share of the remaining time; one that exceeds it is completed nevertheless. A row has
    the case and its figures or, if it fails, the error under "failed".
    """
    end = time.perf_counter() + seconds
    for k, work in enumerate(works):
        clean(device)
        left = max(0.0, end - time.perf_counter()) / (len(works) - k)
        try:
            figures = work.measure(left / 2)  # the other half is for construction and warm-up
        except Exception as error:  # a failure must not prevent the other measurements
            figures = {"failed": f"{type(error).__name__}: {error}"[:300]}
        keep({**work.case, **figures})


def table(rows: list[Row]) -> str:
    """Format rows as a Markdown table with one column per name; the kernels of a profile are listed below it."""
    columns = list(dict.fromkeys(name for row in rows for name in row if name != "top"))
    lines = [markdown(columns, ([shown(row.get(column)) for column in columns] for row in rows))]
    for row in rows:
        if "top" in row:
            lines += ["", f"Kernels of {row['step']}:", "", table(row["top"])]
    return "\n".join(lines)


def shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return "" if value is None else str(value).replace("|", "/")


def machine(device: torch.device) -> Row:
    """Return the name of the device and the versions of PyTorch, CUDA and Python."""
    on_cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_cuda else processor()
    versions = {"torch": torch.__version__, "cuda": torch.version.cuda if on_cuda else None}
    return {"device": name, **versions, "python": platform.python_version()}
