"""WebDataset shards: tar files of samples, on this machine or behind URLs, with random access to their images.

The position of each image is determined once and cached, so that a training can read samples by index, as from a
folder, and resume exactly. `webdataset` defines what a sample is: consecutive files that share a name up to its first
dot, such as 000017.jpg, 000017.cls and 000017.json.
"""

import hashlib
import math
import os
import re
from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np

from datasets.label_files import Label
from datasets.labels import EncodedLabels, encode_labels
from datasets.shard_cache import ShardCache
from datasets.shard_index import open_index
from datasets.tar_index import name_at
from stylegan2.runtime import remote
from stylegan2.runtime.errors import ImageError, UserError
from stylegan2.runtime.image_reader import MAX_FILE_BYTES, read_image

EXTRA = 'pip install "psp-translate[shards]"'
MAX_SHARDS = 100_000
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
FEW_SHARDS = 2  # smallest number of shards from which images are held out
OPEN_FILES = 16  # number of shards that a process keeps open


def is_shards(data: str | os.PathLike) -> bool:
    """Return whether `data` names tar files, such as FOLDER/{000000..000999}.tar."""
    return all(part.partition("?")[0].endswith(".tar") for part in os.fspath(data).split("::"))


class ShardFiles:
    """The images of shards by index; the methods are those of `datasets.folder.ImageFiles`.

    Args:
        data: Paths or URLs with braces, such as `{000000..000999}` or `{train,val}`; "::" separates several of them.

    Raises:
        UserError: A shard is missing or no tar file, the shards hold no images, or `webdataset` is not installed.
    """

    def __init__(self, data: str | os.PathLike) -> None:
        self.path = Path(data)  # for messages
        self.shards = ShardCache([remote.url_of(place) or place for place in expand(os.fspath(data))])
        index = open_index(self.shards)
        self.starts, self.sizes = index.starts, index.sizes
        self.shard_of = np.repeat(np.arange(len(index.counts), dtype=np.int32), index.counts)  # [N]
        self._labels = index.labels
        self._files: OrderedDict[int, BinaryIO] = OrderedDict()
        self._opened_by = 0  # id of the process that opened the files
        self._reading = Lock()  # threads share the position in an open file
        if not len(self.starts):
            raise UserError(f"{self.path} contains no pictures in WebDataset samples")

    def __len__(self) -> int:
        return len(self.starts)

    def __getstate__(self) -> dict[str, object]:
        # Open files cannot be pickled, and workers need no labels.
        return {**self.__dict__, "_files": OrderedDict(), "_labels": None, "_reading": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _reading=Lock())

    def keep(self, kept: Sequence[int] | np.ndarray) -> None:
        """Restrict the collection to some of its images, in the given order."""
        self.starts, self.sizes, self.shard_of = self.starts[kept], self.sizes[kept], self.shard_of[kept]
        self._labels = None if self._labels is None else [self._labels[index] for index in kept]

    def of_few_shards(self, count: int) -> np.ndarray:
        """Return the indices of at least `count` images in a few randomly selected shards, always the same ones."""
        shards = np.random.default_rng(0).permutation(len(self.shards))
        counts = np.cumsum(np.bincount(self.shard_of, minlength=len(shards))[shards])
        selected = shards[: max(FEW_SHARDS, int(np.searchsorted(counts, count)) + 1)]
        return np.flatnonzero(np.isin(self.shard_of, selected))

    def relative(self, index: int) -> str:
        """Return the shard and the name of an image, such as "000003.tar/000017.jpg"."""
        shard = int(self.shard_of[index])
        with self._reading:
            return f"{self.shards.name(shard)}/{name_at(self._open(shard), int(self.starts[index]))}"

    def digest(self) -> str:
        """Compute a digest of the content, from names, sizes and times of the shards and the selection of images."""
        kept = hashlib.sha256(self.starts.tobytes() + self.shard_of.tobytes()).hexdigest()
        return hashlib.sha256(f"{self.shards.digest()} {kept}".encode()).hexdigest()[:16]

    def labels(self) -> list[Label | None] | None:
        """Return the label of each sample from its .cls or .json member; None if no sample has a label."""
        return self._labels

    def encoded_labels(self) -> EncodedLabels | None:
        """Return the labels in the form in which networks are conditioned on them; None if no sample has a label."""
        return None if self._labels is None else encode_labels(self._labels, str(self.path))

    def dataset_json(self) -> None:
        """Return None, because shards store labels within samples."""

    def read(self, index: int, mode: str) -> np.ndarray:
        """Read an image.

        Args:
            index: Index of the image.
            mode: "gray", "rgb", "rgba" or "labels"; see `read_image`.

        Returns:
            uint8 [H, W, C], or label ids [H, W].

        Raises:
            ImageError: The image cannot be read.
        """
        shard, start, size = int(self.shard_of[index]), int(self.starts[index]), int(self.sizes[index])
        try:
            if size > MAX_FILE_BYTES:
                raise ImageError(f"it is larger than {MAX_FILE_BYTES // 2**20} MB")
            with self._reading:
                file = self._open(shard)
                file.seek(start)
                content = file.read(size)
            if len(content) < size:
                raise ImageError("the shard is truncated before it")
            return read_image(content, mode)
        except (ImageError, OSError) as error:
            raise ImageError(f"the picture at byte {start:,} of {self.shards.name(shard)}: {error}") from error

    def _open(self, shard: int) -> BinaryIO:
        if self._opened_by != os.getpid():
            # A forked worker opens the files again, since it shares the positions of the inherited files.
            self._files, self._opened_by = OrderedDict(), os.getpid()
        if shard not in self._files:
            self._files[shard] = self.shards.open(shard)
            if len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(shard)
        return self._files[shard]


def expand(data: str) -> list[str]:
    """Expand the braces of a pattern of shards to a list of paths or URLs.

    Raises:
        UserError: The pattern is malformed or names too many shards, or webdataset is not installed.
    """
    try:
        from webdataset.shardlists import braceexpand  # an extra  # pyright: ignore[reportAttributeAccessIssue]
    except ImportError as error:
        raise UserError(f"shards are read with webdataset, which is not installed: {EXTRA}") from error
    places: list[str] = []
    for part in data.split("::"):
        ranges = [abs(int(last[:18]) - int(first[:18])) + 1 for first, last in RANGE.findall(part)]
        if math.prod(ranges) > MAX_SHARDS:  # checked before braceexpand lists them
            raise UserError(f"{part!r} stands for more than {MAX_SHARDS:,} shards")
        try:
            places += islice(braceexpand.braceexpand(part), MAX_SHARDS + 1 - len(places))
        except ValueError as error:  # unclosed braces
            raise UserError(f"{part!r} is not a pattern of shards ({error}), such as {{000000..000999}}.tar") from error
    if len(places) > MAX_SHARDS:
        raise UserError(f"{data!r} stands for more than {MAX_SHARDS:,} shards")
    return places
