"""Start of a training and memory of its processes: python benchmarks/startup.py [--counts 1000 30000 1000000]

`scripts/train_stylegan2.py` trains a tiny network on images of 32 px from a zip file and from a folder, each with and
without subfolders as classes. It is started without an index of the data, like the first training on them, and with the
index. The benchmark records the time until the first step, and then the memory of the main process and of each worker.
It creates the data first, with a few different images under many names, which are hard links in the folder.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import _start  # noqa: F401
import numpy as np
from PIL import Image

from benchmarks.measure import markdown, processor, write_figures
from datasets.cached_arrays import cache_paths
from options.parse import run
from stylegan2.runtime.errors import UserError

SIDE, PICTURES, CLASSES = 32, 64, 100
MAX_LINKS = 60_000  # number of hard links to one file; ext4 allows 65,000
KEPT = ("index", "labels")
TRAIN = (
    *("--preset", "tiny-cpu", "--device", "cpu", "--resolution", str(SIDE), "--channel_base", "256"),
    *("--channel_max", "16", "--batch_size", "4", "--log_interval", "4", "--total_nimg", "1000000000"),
)
PATIENCE = 1800.0  # seconds for one start
Row = dict[str, Any]


@dataclass(frozen=True)
class Benchmark:
    """Measure the start of trainings on many images. This works only on Linux, which reports shared memory."""

    counts: list[int] = field(default_factory=lambda: [1_000, 30_000, 1_000_000])
    """numbers of images to measure"""
    workers: int = 2
    """number of worker processes that read ahead"""
    folder: Path | None = None
    """folder for the data, which are deleted at the end; by default the folder of temporary files"""
    out: Path | None = None
    """JSON file to write"""

    def __post_init__(self) -> None:
        if min(self.counts, default=0) < 1 or self.workers < 1:
            raise UserError("--counts and --workers are numbers from 1 on")
        if not Path("/proc/self/smaps_rollup").exists():
            raise UserError("this system does not report how much memory a process shares: measure on Linux")


# ------------------------------------------------------------------------------------------------------ data


def pictures() -> list[bytes]:
    """Return the contents of PNG files of 32 x 32 pixels, about 2 KB each."""
    rng, contents = np.random.default_rng(0), []
    for _ in range(PICTURES):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        file = BytesIO()
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "PNG")
        contents.append(file.getvalue())
    return contents


def names(count: int) -> list[str]:
    """Return the names of `count` images in subfolders for their classes."""
    return [f"class{n % CLASSES:03d}/{n:07d}.png" for n in range(count)]


def write_zip(path: Path, count: int) -> None:
    """Write a zip file of `count` images."""
    contents = pictures()
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(names(count)):
            archive.writestr(zipfile.ZipInfo(name), contents[number % PICTURES])


def write_folder(path: Path, count: int) -> None:
    """Create a folder of `count` images, most of them hard links to the first ones."""
    contents, originals = pictures(), dict[int, str]()
    for number, name in enumerate(names(count)):
        target = str(path / name)
        if number < CLASSES:
            os.makedirs(os.path.dirname(target))
        kind = number % PICTURES + PICTURES * (number // (PICTURES * MAX_LINKS))
        if kind in originals:
            os.link(originals[kind], target)
        else:
            Path(target).write_bytes(contents[number % PICTURES])
            originals[kind] = target


# --------------------------------------------------------------------------------------------------- measure


def memory(pid: int) -> dict[str, float]:
    """Return the memory of a process in MB: proportional set size (pss), private memory (own) and resident (rss)."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    sizes = {name: int(size) / 1000 for name, size in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    return {"pss": sizes["Pss"], "own": sizes["Private_Dirty"] + sizes["Private_Clean"], "rss": sizes["Rss"]}


def children(pid: int) -> list[int]:
    """Return the ids of the processes that the main thread of a process started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def computed(pid: int) -> float:
    """Return the CPU time of a process in seconds, which other processes hardly affect."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime


def start(data: Path, workers: int, conditional: bool) -> Row:
    """Start a training with or without classes.

    Returns:
        The time until the first step and the CPU time in seconds, and the memory of all processes in MB.

    Raises:
        UserError: The training does not start.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        flags = [*TRAIN, "--data", str(data), "--workers", str(workers), "--exp_dir", str(out)]
        command = [sys.executable, str(ROOT / "scripts/train_stylegan2.py"), *flags, *["--conditional"] * conditional]
        began = time.perf_counter()
        with open(Path(folder, "log"), "wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as training:
            try:
                while not _has_stepped(out / "metrics.jsonl"):
                    if training.poll() is not None or time.perf_counter() - began > PATIENCE:
                        raise UserError(f"the training did not start: {Path(folder, 'log').read_text()[-500:]}")
                    time.sleep(0.02)
                seconds, own = time.perf_counter() - began, computed(training.pid)
                # The workers are children of the fork server, which the training started.
                readers = [reader for child in children(training.pid) for reader in children(child)]
                held = {"main": memory(training.pid), "workers": [memory(pid) for pid in readers]}
                return {"seconds": seconds, "computed": own, **held}
            finally:
                training.kill()


def _has_stepped(records: Path) -> bool:
    try:
        return b"\n" in records.read_bytes()
    except OSError:
        return False


def forget(data: Path) -> None:
    """Delete the cached index and labels of a data set."""
    for kind in KEPT:
        for path in cache_paths(data, kind):
            path.unlink(missing_ok=True)


def measure(folder: Path, count: int, workers: int) -> list[Row]:
    """Measure a zip file and a folder of `count` images, each without classes and with classes."""
    rows = []
    for kind, write in (("zip", write_zip), ("folder", write_folder)):
        data = folder / f"{count}.zip" if kind == "zip" else folder / str(count)
        write(data, count)
        time.sleep(2.5)  # the index of a folder is cached when the folder has not changed for two seconds
        for conditional in (False, True):
            forget(data)
            name = f"{kind}, classes" if conditional else kind
            for state in ("first", "again"):
                rows.append({"data": name, "pictures": count, "start": state, **start(data, workers, conditional)})
                print(
                    f"{name}, {count:,} pictures, {state}: {rows[-1]['seconds']:.1f} s, {rows[-1]}",
                    file=sys.stderr,
                    flush=True,
                )
        forget(data)
        data.unlink() if kind == "zip" else shutil.rmtree(data)
    return rows


def table(rows: list[Row]) -> str:
    """Format the results as a Markdown table with one row per data set, for the first start and for later ones."""
    titles = ["data", "pictures", "first start, s (computed)", "again, s (computed)", "main, MB"]
    table_rows = []
    for first, again in zip(rows[::2], rows[1::2], strict=True):
        largest = {key: max(worker[key] for worker in again["workers"]) for key in ("pss", "own", "rss")}
        times = (f"{row['seconds']:.1f} ({row['computed']:.1f})" for row in (first, again))
        sizes = ", ".join(f"{size:.0f}" for size in largest.values())
        table_rows.append([again["data"], f"{again['pictures']:,}", *times, f"{again['main']['pss']:.0f}", sizes])
    return markdown([*titles, "worker: PSS, own, RSS, MB"], table_rows)


def main(o: Benchmark) -> int:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=o.folder, prefix="startup_") as folder:
        for count in sorted(set(o.counts)):
            rows += measure(Path(folder), count, o.workers)
    load = os.getloadavg()[2]
    machine = {"processor": processor(), "cores": os.cpu_count(), "load": load}
    print(f"{machine['processor']}, {machine['cores']} cores, load {load:.1f}\n\n{table(rows)}")
    content = {"machine": machine, "workers": o.workers, "rows": rows}
    write_figures(o.out, content)
    return 0


if __name__ == "__main__":
    run(main, Benchmark)
