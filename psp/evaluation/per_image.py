"""Keep the values of single images on disk, so that no image is measured twice, and show their means as tables."""

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from psp.perception.segmenter import label_ious
from stylegan2.runtime import images
from stylegan2.runtime.bounded import read_arrays, reading
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import atomic_file, writing

VERSION = 2  # raise it whenever a metric changes, so that no older value is used
SAVE_SECONDS = 5.0  # least time between two writes
PICTURE_SIDE = 128  # smallest side of a picture in the sheet, in pixels
Values = Mapping[str, np.ndarray]


class PerImageValues:
    """Values of single images and some pictures, in a file of their own: `with PerImageValues(...) as values:`.

    Values that were stored under the same key are read again, so that an interrupted run continues after its last
    batch. The file is written every few seconds and at the end of the block, also after an exception.

    Args:
        folder: Folder of the file.
        name: Name of the measurement, which is part of the name of the file.
        key: JSON of everything that the values depend on.

    Attributes:
        values: {metric: [N] or [N, L]}.
        pictures: uint8 [K, H, W, 3], of the first images.
    """

    def __init__(self, folder: Path, name: str, key: Mapping[str, object]) -> None:
        self.key = json.dumps({"version": VERSION, **key}, sort_keys=True)
        digest = hashlib.sha256(self.key.encode()).hexdigest()[:8]
        self.path = folder / f"{slug(name)}-{digest}.npz"
        self.values: dict[str, np.ndarray] = {}
        self.pictures = np.zeros((0, 0, 0, 3), np.uint8)
        self._saved_at, self._changed = time.monotonic(), False
        if self.path.is_file():
            self._load()

    def __enter__(self) -> "PerImageValues":
        return self

    def __exit__(self, *_: object) -> None:
        self.save()

    @property
    def count(self) -> int:
        """Return the number of images measured so far."""
        return min((len(value) for value in self.values.values()), default=0)

    def add(self, values: dict[str, Tensor], pictures: np.ndarray) -> None:
        """Append the next images.

        Args:
            values: {metric: [N] or [N, L]}.
            pictures: uint8 [n, H, W, 3], of the first n of these images.
        """
        for name, tensor in values.items():
            new = tensor.detach().cpu().numpy()
            self.values[name] = np.concatenate([self.values[name], new]) if name in self.values else new
        if len(pictures):
            self.pictures = np.concatenate([self.pictures, pictures]) if len(self.pictures) else pictures
        self._changed = True
        if time.monotonic() - self._saved_at > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write new values to the file. UserError: the file cannot be written."""
        if not self._changed:
            return
        arrays: dict[str, Any] = {f"value/{name}": value for name, value in self.values.items()}
        with writing(self.path), atomic_file(self.path, durable=False) as file:
            np.savez(file, key=np.array(self.key), pictures=self.pictures, **arrays)
        self._saved_at, self._changed = time.monotonic(), False

    def first(self, count: int) -> dict[str, np.ndarray]:
        """Return {metric: values of the first `count` images}, [count] or [count, L] each."""
        return {name: value[:count] for name, value in self.values.items()}

    def _load(self) -> None:
        try:
            with reading(self.path, "a file of values"):
                stored = read_arrays(self.path)
                if str(stored["key"]) != self.key:
                    return
                pictures = stored["pictures"]
                values = {name[6:]: array for name, array in stored.items() if name.startswith("value/")}
        except UserError:
            print(f"{str(self.path)!r} is damaged, so it is measured again")
            return
        self.values, self.pictures = values, pictures


def slug(name: str) -> str:
    """Turn a name into a part of a file name, of letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower().replace("+", " plus ")).strip("_") or "unnamed"


def means(values: Values) -> dict[str, float]:
    """Average over images: {metric: mean}. Overlaps of labels become the mIoU over the labels that occur."""
    result = {name: float(value.mean()) for name, value in values.items() if value.ndim == 1}
    if "union" in values:
        seconds = result.pop("seconds_per_image")
        ious = label_ious(*(torch.from_numpy(values[name]) for name in ("intersection", "union")))  # [label_nc]
        result |= {"miou": float(ious.nanmean()), "seconds_per_image": seconds}
    return result


def overall(groups: Sequence[Values]) -> dict[str, float]:
    """Average over the images of all groups together: {metric: mean}."""
    return means({name: np.concatenate([group[name] for group in groups]) for name in groups[0]})


def table(results: Mapping[str, Mapping[str, float]], titles: Mapping[str, str]) -> str:
    """Format {method: {metric: mean}} as a Markdown table with one row per method; titles are {metric: title}."""
    metrics = list(next(iter(results.values())))
    lines = ["| method | " + " | ".join(titles.get(m, m) for m in metrics) + " |"]
    lines.append("|---" * (len(metrics) + 1) + "|")
    for name, values in results.items():
        lines.append(f"| {name} | " + " | ".join(f"{values[m]:.4f}" for m in metrics) + " |")
    return "\n".join(lines) + "\n"


def tables(groups: Mapping[str, Mapping[str, Values]], titles: Mapping[str, str]) -> tuple[dict, str]:
    """Average {group: {method: values of each image}} and format the means.

    Returns:
        JSON {"results": {method: {metric: mean over all groups}}, "groups": {group: {method: ...}}}, where "groups" is
        left out if there is only one; and the same as Markdown.
    """
    by_group = {group: {name: means(values) for name, values in methods.items()} for group, methods in groups.items()}
    if len(by_group) == 1:
        results = next(iter(by_group.values()))
        return {"results": results}, table(results, titles)
    complete = [name for name in next(iter(groups.values())) if all(name in methods for methods in groups.values())]
    results = {name: overall([methods[name] for methods in groups.values()]) for name in complete}
    parts = [("all", results), *by_group.items()]
    text = "\n".join(f"**{group}**\n\n{table(values, titles)}" for group, values in parts if values)
    return {"results": results, "groups": by_group}, text


def sheet(rows: Mapping[str, Sequence[np.ndarray]]) -> np.ndarray:
    """Stack rows {caption: K pictures uint8 [H, W, 3]} in one picture; small pictures are enlarged."""
    return images.labelled_sheet([[_enlarged(p) for p in row] for row in rows.values()], captions=list(rows))


def _enlarged(picture: np.ndarray) -> np.ndarray:
    times = -(-PICTURE_SIDE // len(picture))
    return picture.repeat(times, axis=0).repeat(times, axis=1)  # [times * H, times * W, 3]
