"""Writing WebDataset shards, which appear only when all are complete, with an index of the positions of images."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from datasets.archive import check_out, new_folder
from datasets.labels import numbered
from datasets.shard_cache import ShardCache
from datasets.shard_index import INDEX, scan, write_index
from datasets.shards import EXTRA
from stylegan2.runtime.errors import UserError

Number = int | tuple[float, ...]
"""the number of a class, or a vector"""


def numbered_labels(labels: Mapping[str, str | tuple[float, ...]]) -> tuple[dict[str, Number], list[str]]:
    """Number the classes of labels.

    Returns:
        ({file: number of its class, or vector}, names of all classes).

    Raises:
        UserError: Some labels are classes and others vectors, or vectors differ in length.
    """
    vectors, classes = by_kind(labels)
    numbers, names = numbered(classes)
    return {**vectors, **numbers}, names


def by_kind(labels: Mapping[str, str | tuple[float, ...]]) -> tuple[dict[str, tuple[float, ...]], dict[str, str]]:
    """Split labels into those that are vectors and those that are classes, one of which is empty.

    Raises:
        UserError: Some labels are classes and others vectors, or vectors differ in length.
    """
    vectors = {name: label for name, label in labels.items() if isinstance(label, tuple)}
    classes = {name: label for name, label in labels.items() if isinstance(label, str)}
    if vectors and (classes or len({len(vector) for vector in vectors.values()}) > 1):
        raise UserError("the labels are classes for some images and vectors for others, or of several lengths")
    return vectors, classes


class ShardArchive:
    """An `Archive` that adds images as samples to tar files, and writes other files next to these.

    A sample consists of `00000017.png`, of `00000017.json` with the name of the image and its label if that is a
    vector, and of `00000017.cls` if the label is a class.

    Args:
        folder: Folder of the shards.
        per_shard: Number of images per shard.
        labels: {name of an image: class or vector}; images without a label are not in it.
    """

    def __init__(self, folder: Path, per_shard: int, labels: Mapping[str, Number]) -> None:
        self.folder, self.per_shard, self.labels = folder, per_shard, labels
        self.count = 0
        self._writer: Any = None
        self._file: Any = None

    def __call__(self, name: str, content: bytes) -> None:
        if PurePosixPath(name).suffix != ".png":
            (self.folder / name).write_bytes(content)
            return
        if self.count % self.per_shard == 0:
            self._next()
        notes: dict[str, object] = {"name": name}
        sample = {"__key__": f"{self.count:08d}", "png": content}
        label = self.labels.get(name)
        if isinstance(label, int):
            sample["cls"] = str(label).encode()
        elif label is not None:
            notes["label"] = list(label)
        self._writer.write({**sample, "json": json.dumps(notes).encode()})
        self.count += 1

    def finish(self) -> None:
        """Close the last shard and write the index of all shards."""
        self._close()
        shards = ShardCache([str(path) for path in sorted(self.folder.glob("*.tar"))])
        write_index(self.folder / INDEX, shards.names(), shards.sizes(), scan(shards))

    def _next(self) -> None:
        from webdataset import TarWriter  # an extra  # pyright: ignore[reportAttributeAccessIssue]

        self._close()
        self._file = (self.folder / f"{self.count // self.per_shard:06d}.tar").open("xb")
        self._writer = TarWriter(self._file, encoder=False, mtime=0)  # equal images give equal shards

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()


@contextmanager
def open_shards(out: Path, per_shard: int, labels: Mapping[str, Number]) -> Iterator[ShardArchive]:
    """Open new shards in a new folder; if the block raises, nothing is left behind.

    Args:
        out: The new folder.
        per_shard: Number of images per shard.
        labels: {name of an image: class or vector}.

    Yields:
        The archive to which images are added.

    Raises:
        UserError: `out` exists and is not an empty folder, or webdataset is not installed.
    """
    try:
        import webdataset  # noqa: F401
    except ImportError as error:
        raise UserError(f"shards are written with webdataset, which is not installed: {EXTRA}") from error
    check_out(out)
    with new_folder(out) as unfinished:
        archive = ShardArchive(unfinished, per_shard, labels)
        yield archive
        archive.finish()
