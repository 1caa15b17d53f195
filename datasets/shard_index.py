"""The positions of the samples in WebDataset shards, from one scan that is stored beside the shards or in the cache."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock

from datasets.label_files import Label, parse_label
from datasets.labels import LONGEST_NUMBER
from datasets.shard_cache import ShardCache
from datasets.tar_index import DamagedTarError, members
from stylegan2.runtime.bounded import parse_json, read_arrays, reading
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import atomic_file, cache_folder, make_folder, writing
from stylegan2.runtime.image_files import EXTENSIONS
from stylegan2.runtime.progress import track, write_line
from stylegan2.runtime.work_group import ordered_map

INDEX = "shards.npz"  # file next to the shards, written by `prepare_data.py --shards`
LARGEST_SHARD = 2**50  # bytes
MAX_LABEL = 2**16  # bytes of a .cls or .json member
PARALLEL_SHARDS = 8  # number of shards that are downloaded and indexed concurrently
WITHOUT_PICTURE = "samples without a picture"


# ------------------------------------------------------------------------------------------------- index


@dataclass
class ShardIndex:
    """The positions and the labels of the images in S shards."""

    counts: np.ndarray
    """number of images in each shard, int64 [S]"""
    starts: np.ndarray
    """offset of each image in its shard in bytes, int64 [N]"""
    sizes: np.ndarray
    """size of each image in bytes, int32 [N]"""
    labels: list[Label | None] | None = None
    """label of each image; None if no image has a label"""


def open_index(shards: ShardCache) -> ShardIndex:
    """Return the index of shards, from the file next to them, from the cache, or by scanning the shards.

    Raises:
        UserError: A shard is missing, or is no tar file.
    """
    beside = _beside(shards)
    if beside is not None:
        return beside
    path = cache_folder() / f"shards-{shards.digest()}.npz"
    make_folder(path.parent)
    with writing(path), FileLock(path.with_suffix(".lock")):  # only one of several processes scans the shards
        index = read_index(path, shards.names()) if path.is_file() else None
        if index is None:
            index = scan(shards)
            write_index(path, shards.names(), shards.sizes(), index)
    return index


def _beside(shards: ShardCache) -> ShardIndex | None:
    """Read the index next to the shards; None if there is none, or if it does not match the shards."""
    path = shards.beside(INDEX)
    if path is None:
        return None
    try:
        index = read_index(path, shards.names(), shards.sizes())
    except UserError as error:
        write_line(f"{INDEX} beside the shards is ignored: {error}")
        return None
    if index is None:
        write_line(f"{INDEX} beside the shards is ignored: it belongs to other shards, or to other versions of these")
    return index


def read_index(path: Path, names: Sequence[str], sizes: Sequence[int] | None = None) -> ShardIndex | None:
    """Read the index of shards from a file.

    Args:
        path: The file.
        names: Names of the shards, which may be a subset of those in the file.
        sizes: Sizes of the shards in bytes; None to accept any sizes.

    Returns:
        The index of the named shards; None if the file does not cover all of them, or sizes differ.

    Raises:
        UserError: The file is damaged.
    """
    with reading(path, "an index of shards"):
        arrays = read_arrays(path)
        stored = _list_of(arrays["names"])
        labels = _list_of(arrays["labels"]) if "labels" in arrays else None
        counts, starts, lengths, totals = (arrays[key] for key in ("counts", "starts", "sizes", "bytes"))
        _check_arrays(len(stored), counts, starts, lengths, totals)
        labels = None if labels is None else [parse_label(label, False, "it has") for label in labels]
        if labels is not None and len(labels) != len(starts):
            raise UserError("its numbers of labels and pictures differ")
    place = {name: number for number, name in enumerate(stored)}
    if not place.keys() >= set(names):
        return None
    numbers = [place[name] for name in names]
    if sizes is not None and list(sizes) != totals[numbers].tolist():
        return None
    if numbers != list(range(len(stored))):
        parts = np.concatenate([[0], np.cumsum(counts)])  # [S + 1]
        kept = np.concatenate([np.arange(parts[number], parts[number + 1]) for number in numbers])
        counts, starts, lengths = counts[numbers], starts[kept], lengths[kept]
        labels = None if labels is None else [labels[index] for index in kept.tolist()]
    return ShardIndex(counts.astype(np.int64), starts.astype(np.int64), lengths.astype(np.int32), labels)


def write_index(path: Path, names: Sequence[str], sizes: Sequence[int], index: ShardIndex) -> None:
    """Write the index of shards to a file.

    Args:
        path: The file.
        names: Names of the shards.
        sizes: Sizes of the shards in bytes; -1 for an unknown size.
        index: The index.

    Raises:
        OSError: The file cannot be written.
    """
    arrays = {
        "names": np.frombuffer(json.dumps(list(names)).encode(), np.uint8),
        "bytes": np.array(sizes, np.int64),
        "counts": index.counts,
        "starts": index.starts,
        "sizes": index.sizes,
    }
    if index.labels is not None:
        arrays["labels"] = np.frombuffer(json.dumps(index.labels).encode(), np.uint8)
    with atomic_file(path, durable=False) as file:
        np.savez(file, **arrays)


def _check_arrays(shards: int, counts: np.ndarray, starts: np.ndarray, lengths: np.ndarray, totals: np.ndarray) -> None:
    """Validate the arrays of an index. UserError: they do not fit together, or an image lies outside of its shard."""
    if any(array.dtype.kind != "i" or array.ndim != 1 for array in (counts, starts, lengths, totals)):
        raise UserError("its arrays are not lists of whole numbers")
    if len(counts) != shards or len(totals) != shards or len(lengths) != len(starts):
        raise UserError("its arrays do not have the same length")
    if ((counts < 0) | (counts > len(starts))).any() or int(counts.sum()) != len(starts):
        raise UserError("the number of pictures in its shards differs from the number that it lists")
    ends = np.repeat(np.where(totals < 0, LARGEST_SHARD, totals), counts)  # the size may be unknown
    if ((starts < 0) | (lengths < 0) | (starts > ends) | (lengths > ends - starts)).any():
        raise UserError("it lists pictures beyond the end of their shards")


def _list_of(array: np.ndarray) -> list:
    """Parse the JSON list that an array of bytes contains. UserError: it contains no list."""
    entries = parse_json(array.tobytes())
    if not isinstance(entries, list) or not all(isinstance(entry, str | int | list | None) for entry in entries):
        raise UserError("it contains no list")
    return entries


# -------------------------------------------------------------------------------------------------- scan


@dataclass
class Scan:
    """The positions and the labels of the images in one shard."""

    starts: list[int] = field(default_factory=list)
    """offset of each image in bytes"""
    sizes: list[int] = field(default_factory=list)
    """size of each image in bytes"""
    labels: list[Label | None] = field(default_factory=list)
    """label of each image"""
    skipped: Counter[str] = field(default_factory=Counter)
    """{kind: number of skipped samples or members}"""
    error_text: str = ""
    """why the shard could not be read to its end, or "" """


def scan(shards: ShardCache) -> ShardIndex:
    """Index all shards, which are downloaded if necessary, and print how many samples or members were skipped.

    Raises:
        UserError: A shard is no tar file, or cannot be downloaded or read.
    """
    # Python's threads share one core, so they are useful only for waiting for downloads.
    work = ordered_map(partial(scan_shard, shards), range(len(shards)), PARALLEL_SHARDS if shards.remote else 1)
    counts, starts, sizes, labels, skipped = [], [], [], [], Counter()
    for number, shard in enumerate(track(work, "looking through shards", "shard", total=len(shards))):
        if shard.error_text:
            write_line(
                f"{shards.name(number)}: {shard.error_text}; the {len(shard.starts):,} pictures before that are used"
            )
        counts.append(len(shard.starts))
        starts.append(np.array(shard.starts, np.int64))
        sizes.append(np.array(shard.sizes, np.int32))
        labels += shard.labels
        skipped += shard.skipped
    if skipped:
        write_line("skipped: " + ", ".join(f"{count:,} {kind}" for kind, count in sorted(skipped.items())))
    return ShardIndex(np.array(counts), np.concatenate(starts), np.concatenate(sizes), _of_one_kind(labels))


def _of_one_kind(labels: list[Label | None]) -> list[Label | None] | None:
    """Convert integer labels to vectors if other labels are vectors of one value; None if no image has a label."""
    if any(isinstance(label, tuple) and len(label) == 1 for label in labels):
        return [(float(label),) if isinstance(label, int) else label for label in labels]
    return labels if any(label is not None for label in labels) else None


def scan_shard(shards: ShardCache, number: int) -> Scan:
    """Index one shard. UserError: it is no tar file, or cannot be downloaded or read."""
    result = Scan()
    try:
        with shards.open(number) as file:
            for sample in read_samples(file, result):
                _add(file, sample, result, shards.name(number))
    except OSError as error:
        raise UserError(f"cannot read the shard {shards.name(number)!r}: {error.strerror or error}") from error
    return result


def read_samples(file: BinaryIO, result: Scan) -> Iterator[dict[str, Any]]:
    """Yield the samples of a shard, grouped by webdataset, without reading their contents.

    Args:
        file: The open shard.
        result: The result of the scan, in which skipped members are counted.

    Yields:
        {extension: (offset, size) in bytes, ...}, and webdataset's own entries, whose names start with "__".
    """
    from webdataset.tariterators import group_by_keys

    def twice(error: Exception) -> bool:  # of members of the same name, the first is used
        result.skipped["members whose name occurs twice in their sample"] += 1
        return True

    yield from group_by_keys(_named(file, result), handler=twice)


def _named(file: BinaryIO, result: Scan) -> Iterator[dict[str, Any]]:
    try:
        for member in members(file):
            own = member.name.rpartition("/")[2]
            if not own.startswith((".", "__")):  # files of macOS and metadata of webdataset
                yield {"fname": member.name, "data": (member.start, member.size), "__url__": ""}
    except DamagedTarError as error:
        result.error_text = str(error)
    except UserError as error:
        raise UserError(f"{Path(str(file.name)).name}: {error}") from error


def _add(file: BinaryIO, sample: dict[str, Any], result: Scan, shard: str) -> None:
    contents = {extension: place for extension, place in sample.items() if not extension.startswith("__")}
    pictures = [extension for extension in contents if "." + extension.rpartition(".")[2] in EXTENSIONS]
    if not pictures:
        result.skipped[WITHOUT_PICTURE] += 1
        return
    plain = next((extension for extension in pictures if "." not in extension), pictures[0])
    if len(pictures) > 1:
        result.skipped["further pictures of samples that have several"] += len(pictures) - 1
    start, size = contents[plain]
    result.starts.append(start)
    result.sizes.append(min(size, np.iinfo(np.int32).max))  # too large, rejected when it is read
    try:
        result.labels.append(_label(file, contents, f"{shard}/{sample['__key__']}"))
    except (UserError, UnicodeDecodeError):
        result.labels.append(None)
        result.skipped[".cls and .json members that are not labels"] += 1


def _label(file: BinaryIO, contents: dict[str, tuple[int, int]], where: str) -> Label | None:
    """Read the label of a sample from its .cls member, or from "label" in its .json member.

    Raises:
        UserError: The member holds no valid label.
    """
    if "cls" in contents:
        text = _read_text(file, *contents["cls"]).strip()
        return parse_label(int(text) if text.isdecimal() and len(text) < LONGEST_NUMBER else text, False, where)
    if "json" in contents:
        stored = parse_json(_read_text(file, *contents["json"]))
        label = stored.get("label") if isinstance(stored, dict) else None
        return parse_label(label, type(label) is float, where)
    return None


def _read_text(file: BinaryIO, start: int, size: int) -> str:
    if size > MAX_LABEL:
        raise UserError(f"it is larger than the {MAX_LABEL:,} bytes that are the limit for a label")
    file.seek(start)
    return file.read(size).decode("utf-8")
