"""Cost per photo in large folders: python benchmarks/folders.py [--counts 1000 10000] [--out FILE.json]

Inference, alignment and preparation run as commands in processes of their own, over folders of small photos and with a
tiny model, so that networks do not hide costs that grow with the folder. The time and the memory of a run over a few
photos are subtracted, which leaves the cost of the other photos.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import _start  # noqa: F401
import numpy as np
import torch
from PIL import Image

from benchmarks.measure import markdown, processor, write_figures
from options.parse import run
from psp import PSp, save_model
from psp.encoders import encoder_for
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import UserError

FEW = 20  # number of photos in the run that is subtracted
SIDE = 32  # side of a photo in pixels
DIFFERENT = 50  # number of different photos; all others are hard links to these
FACE = [[9.0, 12.0], [21.0, 12.0], [15.0, 17.0], [11.0, 22.0], [19.0, 22.0]]  # eyes, nose and mouth
COMMANDS = ("inference", "align_faces", "prepare_data")
Row = dict[str, Any]


@dataclass(frozen=True)
class Benchmark:
    """Measure time and memory per photo for folders of several sizes."""

    counts: list[int] = field(default_factory=lambda: [1_000, 10_000])
    """numbers of photos in a folder to measure"""
    commands: list[str] = field(default_factory=lambda: list(COMMANDS))
    """scripts to measure: inference, align_faces, prepare_data"""
    out: Path | None = None
    """JSON file to write"""

    def __post_init__(self) -> None:
        if min(self.counts, default=0) <= FEW:
            raise UserError(f"--counts takes numbers above {FEW}, the photos of the run that is taken off")
        if unknown := set(self.commands) - set(COMMANDS):
            raise UserError(f"--commands takes {', '.join(COMMANDS)}, not {min(unknown)}")


def write_photos(folder: Path, count: int) -> Path:
    """Create a folder of `count` photos, most of them hard links to the first ones, and return it."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(count):
        file = folder / f"{number:07d}.png"
        if number < DIFFERENT:
            Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(file, compress_level=1)
        else:
            os.link(folder / f"{number % DIFFERENT:07d}.png", file)
    return folder


def write_model(path: Path) -> Path:
    """Write the checkpoint of a pSp model that takes almost no time, and return its path."""
    torch.manual_seed(0)
    sizes = {"z_dim": 8, "w_dim": 8, "channel_base": 64, "channel_max": 4, "mapping_layers": 1}
    generator = GENERATORS.build("stylegan2", SIDE, **sizes)
    save_model(path, PSp(encoder_for(generator, "light", 3), generator), {"task": "inversion"})
    return path


def words(command: str, photos: Path, folder: Path) -> list[str]:
    """Return the command line that processes a folder of photos and writes its results to `folder`."""
    results = ["--exp_dir", str(folder / "results")]
    if command == "inference":
        model = write_model(folder / "model.safetensors")
        own = [*results, "--checkpoint_path", str(model), "--no_align", "--batch_size", "32", "--device", "cpu"]
    elif command == "align_faces":
        landmarks = folder / "landmarks.json"
        landmarks.write_text(json.dumps({file.name: FACE for file in photos.iterdir()}), encoding="utf-8")
        own = [*results, "--landmarks", str(landmarks), "--output_size", str(SIDE)]
    else:
        own = ["--out", str(folder / "packed.zip"), "--resolution", str(SIDE), "--keep_duplicates"]
    script = str(ROOT / "scripts" / f"{command}.py")
    return [sys.executable, script, "--data_path", str(photos), *own, "--workers", "1"]


def measure(command: str, count: int) -> tuple[float, float]:
    """Run a command over `count` photos; return its time in seconds and its peak memory in MB."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        line = words(command, write_photos(folder / "photos", count), folder)
        with (folder / "printed.txt").open("w") as printed:
            start = time.perf_counter()
            process = subprocess.Popen(line, stdout=printed, stderr=subprocess.STDOUT)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
        if status:
            raise UserError(f"{command} ended with code {status}: {(folder / 'printed.txt').read_text()[-300:]}")
    return seconds, usage.ru_maxrss / 1024


def table(rows: list[Row]) -> str:
    """Format the results as a Markdown table with one row per command and number of photos."""
    titles = ["command", "photos", "ms a photo", "peak memory, MB", "KB more a photo"]
    return markdown(
        titles,
        [
            [row["command"], f"{row['photos']:,}", f"{row['ms']:.1f}", f"{row['MB']:.0f}", f"{row['KB']:.2f}"]
            for row in rows
        ],
    )


def main(o: Benchmark) -> int:
    rows: list[Row] = []
    for command in o.commands:
        few = measure(command, FEW)
        for count in sorted(set(o.counts)):
            seconds, memory = measure(command, count)
            others = count - FEW
            figures = {"ms": 1000 * (seconds - few[0]) / others, "MB": memory, "KB": 1024 * (memory - few[1]) / others}
            rows.append({"command": command, "photos": count, **figures})
            print(f"{command}, {count:,} photos: {seconds:.0f} s, {memory:.0f} MB", file=sys.stderr, flush=True)
    print(f"photos of {SIDE} px, {os.cpu_count()} cores\n\n{table(rows)}")
    machine = {"processor": processor(), "cores": os.cpu_count()}
    write_figures(o.out, {"machine": machine, "rows": rows})
    return 0


if __name__ == "__main__":
    run(main, Benchmark)
