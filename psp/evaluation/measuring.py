"""Image after image, kept on disk as it comes: what was measured once is not measured again."""

import hashlib
import json
import re
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from psp.evaluation.gauge import Gauge
from psp.evaluation.methods import Method, OnStep
from stylegan2.runtime.checkpoint import atomic_file
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import to_uint8

Batch = Callable[[int, int, int], tuple[Tensor, Tensor]]
"""(start, stop, source_size) -> source [N, C, S, S] and target [N, 3, T, T] of the images start to stop"""
VERSION = 1  # of what is measured: raise it whenever a metric changes, so that no older value is taken for a new one
SAVE_SECONDS = 5.0  # between writes, for methods that are faster than that


@dataclass(frozen=True)
class Measurement:
    """What is done with each batch."""

    name: str
    key: dict[str, Any]
    """JSON of all that its values depend on, beside the images"""
    source_size: int
    run: Callable[[Tensor, Tensor, OnStep], tuple[dict[str, Tensor], Tensor]]
    """(source, target, on_step) -> {metric: [N] or [N, L]} and pictures [N, 3, H, W] in [-1, 1]"""
    steps: int = 0
    """of optimisation for a batch; on_step is called after each"""


@dataclass(frozen=True)
class Plan:
    """On which images, and where the values are kept."""

    count: int
    folder: Path
    """gets a file for each measurement under each settings"""
    settings: dict[str, Any]
    """JSON of all that values depend on beside the measurement: the data, the seed, ..."""
    batch_size: int = 16
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    keep: int = 0
    """pictures of the first images"""

    def part(self, name: str, **settings: Any) -> "Plan":
        """The plan of one of several groups, in a folder of its own."""
        return replace(self, folder=self.folder / slug(name), settings={**self.settings, "part": name, **settings})


@dataclass(frozen=True)
class Measured:
    values: dict[str, np.ndarray]
    """{metric: [N] or [N, L]}"""
    pictures: np.ndarray
    """uint8 [K, H, W, 3], of the first images"""


def quality(method: Method, gauge: Gauge) -> Measurement:
    """All metrics of a method's outputs, and the seconds per image of the method alone."""

    def run(source: Tensor, target: Tensor, on_step: OnStep) -> tuple[dict[str, Tensor], Tensor]:
        started = time.perf_counter()
        output = method.render(source, target, on_step)
        _synchronize(output.device)
        seconds = (time.perf_counter() - started) / len(target)
        values = gauge(output, source, target)
        return {**values, "seconds_per_image": torch.full((len(target),), seconds)}, output

    return Measurement(method.name, {"method": method.key, "gauge": gauge.key()}, method.source_size, run, method.steps)


@torch.no_grad()
def measure_images(measurement: Measurement, batch: Batch, plan: Plan) -> Measured:
    """Values of the first images, and pictures of some.

    Images that the plan's folder has values of already are not measured again, so an interrupted run goes on after its
    last batch, and a larger count adds to a smaller one.
    """
    size, steps = plan.batch_size, max(measurement.steps, 1)
    key = {"version": VERSION, "measurement": measurement.key, "settings": plan.settings}
    store = Store(plan.folder, measurement.name, {**key, "batch_size": size, "device": plan.device.type})
    starts = range(store.count, plan.count, size)
    total, unit = -(-plan.count // size) * steps, "step" if measurement.steps else "batch"
    try:
        with tqdm(total=total, initial=total - len(starts) * steps, desc=measurement.name, unit=unit) as bar:
            for start in starts:
                pair = batch(start, min(start + size, plan.count), measurement.source_size)
                source, target = (part.to(plan.device) for part in pair)
                values, pictures = measurement.run(source, target, lambda _: bar.update())
                if not measurement.steps:
                    bar.update()
                store.add(values, to_uint8(pictures[: max(0, plan.keep - start)]))
    finally:
        store.save()
    values = {name: value[: plan.count] for name, value in store.values.items()}
    return Measured(values, store.pictures[: min(plan.keep, plan.count)])


class Store:
    """What is known of one measurement under one key, and its file."""

    def __init__(self, folder: Path, name: str, key: dict[str, Any]) -> None:
        self.key = json.dumps(key, sort_keys=True)
        digest = hashlib.sha256(self.key.encode()).hexdigest()[:8]
        self.path = folder / f"{slug(name)}-{digest}.npz"
        self.values: dict[str, np.ndarray] = {}
        self.pictures = np.zeros((0, 0, 0, 3), np.uint8)
        self._saved_at, self._changed = time.monotonic(), False
        if self.path.is_file():
            self._load()

    @property
    def count(self) -> int:
        """Images measured so far."""
        return min((len(value) for value in self.values.values()), default=0)

    def add(self, values: dict[str, Tensor], pictures: np.ndarray) -> None:
        """The next images: {metric: [N, ...]}, uint8 [n, H, W, 3]."""
        for name, tensor in values.items():
            new = tensor.detach().cpu().numpy()
            self.values[name] = np.concatenate([self.values[name], new]) if name in self.values else new
        if len(pictures):
            self.pictures = np.concatenate([self.pictures, pictures]) if len(self.pictures) else pictures
        self._changed = True
        if time.monotonic() - self._saved_at > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """UserError: the disk refuses."""
        if not self._changed:
            return
        arrays = {f"value/{name}": value for name, value in self.values.items()}
        try:
            with atomic_file(self.path, durable=False) as file:
                np.savez(file, key=np.array(self.key), pictures=self.pictures, **arrays)  # type: ignore[arg-type]
        except OSError as error:
            raise UserError(f"cannot write {str(self.path)!r}: {error.strerror or error}") from error
        self._saved_at, self._changed = time.monotonic(), False

    def _load(self) -> None:
        try:
            with np.load(self.path, allow_pickle=False) as file:
                if str(file["key"]) != self.key:
                    return
                pictures = file["pictures"]
                values = {name[6:]: file[name] for name in file.files if name.startswith("value/")}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            print(f"{str(self.path)!r} is damaged: it is measured again")
            return
        self.values, self.pictures = values, pictures


def slug(name: str) -> str:
    """A name as part of a file's: letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower().replace("+", " plus ")).strip("_") or "unnamed"


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
