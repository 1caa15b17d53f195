"""Images per second that reach a training: python benchmarks/loader.py [--workers 0 1 2 4] [--out FILE.json]

The benchmark reads the stream of `datasets.loader` as the trainers do, from a zip file of JPEG files, from procedural
faces that are rendered on demand, and from the same faces in a zip file, which `scripts/prepare_data.py --synthetic`
writes in the same way. The result is compared with the rate that one GPU needs. The zip files are written to a
temporary folder first.
"""

import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import _start  # noqa: F401
import numpy as np
from PIL import Image

from benchmarks.measure import markdown, processor, write_figures
from datasets.archive import open_archive
from datasets.folder import ImageFolder
from datasets.loader import stream_batches
from datasets.prepare import prepare_faces
from datasets.synthetic import SyntheticFaces, SyntheticPixels
from datasets.training_data import MirroredImages
from options.parse import run
from stylegan2.runtime.device import tune_process
from stylegan2.runtime.errors import UserError

GPU_RATES = {64: 500.0, 256: 160.0}
"""{resolution: rounded number of images per second that the training of StyleGAN2 processes on one H200}; the
measurement at 256 px is in docs/results.md."""
JPEGS, PNGS, RENDERED = "zip of JPEGs", "procedural faces from a zip", "procedural faces, rendered"
Row = dict[str, Any]


def powers_of_two() -> list[int]:
    """Return 0, 1, 2, 4, ... up to the number of cores."""
    return [0, *(2**k for k in range((os.cpu_count() or 1).bit_length()))]


@dataclass(frozen=True)
class Benchmark:
    """Measure how many images per second the loader delivers."""

    workers: list[int] = field(default_factory=powers_of_two)
    """numbers of worker processes to measure; with 0, the process of the training reads"""
    resolutions: list[int] = field(default_factory=lambda: [256, 64])
    """sides of the images in pixels to measure"""
    batch_size: int = 8
    """number of images in a batch"""
    photos: int = 500
    """number of JPEG files in the zip file"""
    faces: int = 100
    """number of procedural faces in the zip file"""
    seconds: float = 4.0
    """shortest time of each measurement in seconds"""
    out: Path | None = None
    """JSON file to write"""

    def __post_init__(self) -> None:
        if min(self.workers, default=-1) < 0:
            raise UserError("--workers takes numbers from 0 on")
        if min(self.batch_size, self.photos, self.faces) < 1:
            raise UserError("--batch_size, --photos and --faces are numbers from 1 on")


def write_jpegs(out: Path, resolution: int, count: int) -> None:
    """Write a zip file of JPEG files of quality 90 that have about the size and the decoding time of photos."""
    rng = np.random.default_rng(0)
    with open_archive(out) as archive:
        for index in range(count):
            coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8))
            smooth = np.asarray(coarse.resize((resolution, resolution), Image.Resampling.BICUBIC))  # [R, R, 3]
            grain = rng.normal(0, 6, (resolution, resolution, 1))
            file = BytesIO()
            Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
            archive(f"{index:06d}.jpg", file.getvalue())


def open_sources(folder: Path, resolution: int, o: Benchmark) -> dict[str, Any]:
    """Write the zip files into `folder` and return {name: indexable uint8 images [R, R, 3]}."""
    jpegs, pngs = folder / f"photos{resolution}.zip", folder / f"faces{resolution}.zip"
    write_jpegs(jpegs, resolution, o.photos)
    prepare_faces(SyntheticFaces(resolution, length=o.faces), pngs, max(o.workers))
    return {
        JPEGS: ImageFolder(jpegs, resolution),
        PNGS: ImageFolder(pngs, resolution),
        RENDERED: SyntheticPixels(resolution),
    }


def rate(pixels: Any, batch_size: int, workers: int, seconds: float) -> float:
    """Measure the images per second of the trainers' stream after all workers have started.

    Workers read two batches ahead, which would arrive at once. Therefore that many batches are skipped, and at least
    twice as many are counted.
    """
    dataset = MirroredImages(pixels, mirror=True, seed=0)
    stream = stream_batches(dataset, len(pixels), batch_size, seed=0, workers=workers)(0)
    try:
        for _ in islice(stream, 2 * workers + 1):
            pass
        count, start = 0, time.perf_counter()
        while True:
            count += len(next(stream))
            elapsed = time.perf_counter() - start
            if elapsed >= seconds and count >= 4 * workers * batch_size:
                return count / elapsed
    finally:
        stream.close()


def table(rows: list[Row], workers: list[int]) -> str:
    """Format the results as a Markdown table with rows for sources and resolutions, and columns for workers."""
    columns = ["1 worker" if n == 1 else f"{n} workers" for n in workers]
    table_rows = []
    for source, resolution in dict.fromkeys((row["images"], row["resolution"]) for row in rows):
        rates = {r["workers"]: r["images/s"] for r in rows if (r["images"], r["resolution"]) == (source, resolution)}
        asked = GPU_RATES.get(resolution)
        enough = [n for n in workers if asked is not None and rates[n] >= asked]
        cells = [f"{source}, {resolution} px", *(f"{rates[n]:.0f}" for n in workers)]
        cells += ["" if asked is None else f"{asked:.0f}", str(min(enough)) if enough else "none of these"]
        table_rows.append(cells)
    return markdown(["images", *columns, "a GPU asks for", "workers that keep up"], table_rows)


def main(o: Benchmark) -> int:
    tune_process()
    machine = {"processor": processor(), "cores": os.cpu_count()}
    workers, rows = sorted(set(o.workers)), []
    with tempfile.TemporaryDirectory() as folder:
        for resolution in o.resolutions:
            for name, pixels in open_sources(Path(folder), resolution, o).items():
                for n in workers:
                    figure = rate(pixels, o.batch_size, n, o.seconds)
                    rows.append({"images": name, "resolution": resolution, "workers": n, "images/s": figure})
                    print(f"{name}, {resolution} px, {n} worker(s): {figure:.1f} images/s", file=sys.stderr, flush=True)
    print(f"images/s, batches of {o.batch_size}, {machine['cores']} cores\n\n{table(rows, workers)}")
    asked = {str(resolution): GPU_RATES.get(resolution) for resolution in o.resolutions}
    content = {"machine": machine, "batch_size": o.batch_size, "asked images/s": asked, "rows": rows}
    write_figures(o.out, content)
    return 0


if __name__ == "__main__":
    run(main, Benchmark)
