"""Prepared images, and their preparation by several processes, the first of which packs the images of all.

Images and their records are stored in a hidden folder, `.OUT.parts`, until the archive is complete. The folder remains
if processes die, so that the next run prepares only the missing images, even with a single process. With other files or
another recipe, preparation starts from the beginning.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stylegan2.runtime import images
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import hold_folder
from stylegan2.runtime.journal import Journal, Record, Records, journals
from stylegan2.runtime.progress import track
from stylegan2.runtime.work_group import WorkGroup, lost_message

TEXTS = ("file", "digest", "detail")


@dataclass
class Prepared:
    """A prepared image, or the reason why its file is left out."""

    number: int
    """number of the file"""
    name: str
    """path of the file relative to the top, with "/" """
    png: bytes = b""
    """the image [R, R, C] as a PNG file"""
    digest: bytes = b""
    """SHA-256 of the pixels"""
    notes: list[str] = field(default_factory=list)
    """keys of datasets.prepare.NOTES"""
    reason: str | None = None
    """why the file is left out: unreadable, aspect, too_small, no_label, bad_name or duplicate; None if it is kept"""
    detail: str = ""
    """the reason in words"""
    region: images.Region | None = None
    """region of the photo in the square to which it was padded"""


def parts_of(out: Path) -> Path:
    """Return the folder that stores prepared images until the archive is complete."""
    return out.with_name(f".{out.name}.parts")


def prepare_together(
    names: Sequence[str],
    prepare: Callable[[Iterable[int]], Iterable[Prepared]],
    out: Path,
    key: object,
    group: WorkGroup,
    verb: str,
) -> Iterator[Prepared]:
    """Prepare the images that earlier runs have not prepared, together with the other processes of a group.

    Args:
        names: The names of all files.
        prepare: Maps numbers of files to prepared images, in order.
        out: Path of the archive.
        key: Everything that determines the images, as JSON; images of another key are deleted.
        group: The processes that share the work.
        verb: Name of the work, for the progress bar.

    Returns:
        In the first process, all images in order, when all of them are prepared; nothing in the others.

    Raises:
        UserError: Images are missing because processes were lost, or the processes find different files or labels.
    """
    parts = parts_of(out)
    if group.is_first:
        hold_folder(parts)
    group.check_folder(parts)
    digest = hashlib.sha256(json.dumps([key, *names], sort_keys=True).encode()).hexdigest()[:16]
    group.check_same("key", digest, "found other photos or labels than process 0: give all processes the same ones")
    folder = parts / digest
    todo = _share_todo(len(names), folder, group)
    if len(todo) < len(names):
        print(f"{len(names) - len(todo)} of {len(names)} images are prepared already")
    dealt = (int(todo[place]) for place in group.deal("images", len(todo)))
    with Journal(folder) as journal:
        for item in track(prepare(dealt), verb, "image", total=len(todo) if group.is_alone else None):
            journal.append(_record(item), [item.png])
    lost = group.finish()
    return _joined(len(names), folder, lost) if group.is_first else iter(())


def _share_todo(count: int, folder: Path, group: WorkGroup) -> np.ndarray:
    """Return the numbers of the images that have to be prepared, int64 [n], as determined by the first process."""
    if not group.is_first:
        return np.frombuffer(group.share("todo"), np.int64)
    for other in folder.parent.iterdir():
        if other.is_dir() and other != folder:
            shutil.rmtree(other, ignore_errors=True)
    with _known(count, folder) as known:
        todo = np.array([n for n in range(count) if not _is_whole(n, known)], np.int64)
    group.share("todo", todo.tobytes())
    return todo


def _known(count: int, folder: Path) -> Records:
    return Records(journals(folder), {number: number for number in range(count)}, "number", _is_record)


def _is_whole(number: int, known: Records) -> bool:
    record = known.get(number)
    return record is not None and known.has_blobs(number, record, 1)


def _joined(count: int, folder: Path, lost: list[int]) -> Iterator[Prepared]:
    with _known(count, folder) as known:
        if missing := sum(number not in known for number in range(count)):
            raise UserError(lost_message(lost, missing, "images"))
        for number in range(count):
            record = known.get(number) or {}
            (png,) = known.blobs(number, record)
            region = None if record["region"] is None else tuple(record["region"])
            about = {name: record[name] for name in ("notes", "reason", "detail")}
            yield Prepared(number, record["file"], png, bytes.fromhex(record["digest"]), region=region, **about)
    shutil.rmtree(folder.parent, ignore_errors=True)


def _record(item: Prepared) -> Record:
    return {
        "number": item.number,
        "file": item.name,
        "digest": item.digest.hex(),
        "notes": item.notes,
        "reason": item.reason,
        "detail": item.detail,
        "region": item.region,
    }


def _is_record(record: Record) -> bool:
    """Return whether a record has the form that `_record` gives it."""
    region, notes, digest = record.get("region"), record.get("notes"), record.get("digest")
    return (
        all(isinstance(record.get(name), str) for name in TEXTS)
        and set(str(digest)) <= set("0123456789abcdef")
        and len(str(digest)) % 2 == 0
        and isinstance(notes, list)
        and all(isinstance(note, str) for note in notes)
        and isinstance(record.get("reason"), str | None)
        and (region is None or (isinstance(region, list) and len(region) == 4))
    )
