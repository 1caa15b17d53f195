"""The report of a translated folder, made of the records that one process or several have left there.

`todo` says which photos have no record yet, so that a run that was interrupted goes on; `join` puts all records in the
order of the photos: manifest.json, latents.npz and the contact sheets.
"""

import hashlib
import json
import math
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from psp.inference.names import Names
from psp.inference.report import file_state, relative_name
from psp.inference.sheets import Sheets
from stylegan2.latents.codes import CodesWriter
from stylegan2.runtime import images
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import atomic_file, writing
from stylegan2.runtime.journal import Journal, Record, Records, journals
from stylegan2.runtime.output_names import printable
from stylegan2.runtime.work_group import WorkGroup, losses

PARTS = ".parts"  # the records, until they are joined
MANIFEST, LATENTS = "manifest.json", "latents.npz"


@dataclass
class Summary:
    """What became of all photos."""

    photos: int
    images: int = 0
    new_images: int = 0
    """those of this run"""
    failed: list[str] = field(default_factory=list)
    """a line for each photo that gave no result"""
    missing: int = 0
    """photos without a record"""


class TranslatedFolder:
    """The records of a folder of results.

    Args:
        folder: Of the results.
        files: All photos, in order.
        root: Names of photos are relative to this folder.
        code_shape: (num_ws, w_dim).
        key: All that the results depend on besides the photos; records of another key do not count.
    """

    def __init__(self, folder: Path, files: Sequence[Path], root: Path, code_shape: tuple[int, ...], key: Any) -> None:
        self.folder, self.files, self.code_shape = folder, files, code_shape
        self.names = Names(files, root)
        self.numbers = {relative_name(file, root): number for number, file in enumerate(files)}
        self.parts = folder / PARTS / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]

    def journal(self) -> Journal:
        """Return where this process writes its records."""
        return Journal(self.parts)

    def todo(self, group: WorkGroup, overwrite: bool) -> np.ndarray:
        """Return the numbers of the photos that have no record yet, int64 [n], the same in all processes.

        Args:
            group: The processes that share the work; the first one looks, and removes records of other keys.
            overwrite: Remove all records.

        Raises:
            UserError: The processes see different photos.
        """
        listing = hashlib.sha256("\n".join(self.numbers).encode("utf-8", "surrogatepass")).hexdigest()
        group.check_same("photos", listing, "finds other photos than process 0: give all the same folder")
        if not group.is_first:
            return np.frombuffer(group.share("todo"), np.int64)
        for other in (self.folder / PARTS).glob("*"):
            if overwrite or other != self.parts:
                shutil.rmtree(other, ignore_errors=True)
        with self._records() as known:
            todo = np.array([n for n in range(len(self.files)) if not self._is_done(n, known)], np.int64)
        group.share("todo", todo.tobytes())
        return todo

    def join(self, todo: np.ndarray) -> Summary:
        """Write manifest, latents and contact sheets from all records, a photo at a time.

        Args:
            todo: Photos that this run was to translate.
        """
        summary, new = Summary(len(self.files)), set(todo.tolist())
        path, sheets = self.folder / MANIFEST, Sheets(self.folder)
        with (
            self._records() as known,
            CodesWriter(self.folder / LATENTS, self.code_shape) as codes,
            writing(path),
            atomic_file(path, durable=False) as manifest,
        ):
            manifest.write(b"[\n")
            for number in range(len(self.files)):
                record = known.get(number)
                if record is None:
                    summary.missing += 1
                    continue
                _write_entry(manifest, record["entry"])
                self._add(record, known.blobs(number, record), codes, sheets)
                summary.images += len(record["names"])
                summary.new_images += len(record["names"]) * (number in new)
                if record["entry"]["status"] != "ok":
                    entry = record["entry"]
                    summary.failed.append(f"{entry['status']}: {entry['file']}: {entry['reason']}")
            sheets.finish()
            codes.write()
            manifest.write(b"\n]")
        if not summary.missing:
            shutil.rmtree(self.folder / PARTS, ignore_errors=True)
        return summary

    def _records(self) -> Records:
        return Records(journals(self.parts), self.numbers, "file", _is_record)

    def _is_done(self, number: int, known: Records) -> bool:
        """Return whether a photo has a result, and it and its pictures are as they were."""
        record, file = known.get(number), self.files[number]
        if record is None or record["entry"]["status"] != "ok" or record["stem"] != self.names.of_file[file]:
            return False
        if record["state"] is None or record["state"] != file_state(file):
            return False
        shapes = [self.code_shape, record["features"] or (0,)]
        sizes = [len(record["names"]) * math.prod(shape) * width for shape, width in zip(shapes, (4, 2), strict=True)]
        if not known.has_blobs(number, record, 2 + sum(n for _, n in record["rows"])) or record["blobs"][1:3] != sizes:
            return False
        return all((self.folder / picture).is_file() for picture in _pictures(record["entry"]))

    def _add(self, record: Record, blobs: list[bytes], codes: CodesWriter, sheets: Sheets) -> None:
        names, features = record["names"], None
        if names:
            w_plus = np.frombuffer(blobs[0], "<f4").reshape(len(names), *self.code_shape)  # [K, num_ws, w_dim]
            if record["features"] is not None:
                stored = np.frombuffer(blobs[1], "<f2").reshape(len(names), *record["features"])  # [K, C, r, r]
                features = torch.from_numpy(stored.copy())
            codes.append(names, torch.from_numpy(w_plus.copy()), features)
        thumbnails = iter(blobs[2:])
        for caption, pictures in record["rows"]:
            sheets.add([images.read_image(next(thumbnails)) for _ in range(pictures)], caption)


def summarize(summary: Summary, folder: Path, seconds: float, lost: list[int]) -> int:
    """Print what was done and which files failed. Return the exit code: 0 if every file gave a result, else 1.

    Args:
        summary: As `TranslatedFolder.join` returns it.
        folder: Of the results.
        seconds: That this run took.
        lost: Processes that did not end their part.

    Raises:
        UserError: Photos are missing, as processes were lost.
    """
    for line in summary.failed:
        print(printable(line), file=sys.stderr)
    done = summary.photos - len(summary.failed) - summary.missing
    rate = f"{summary.new_images / seconds:.2f} images/s"
    print(f"{done} of {summary.photos} files gave {summary.images} images ({rate}): {folder}")
    if summary.missing:
        raise UserError(losses(lost, summary.missing, "photos"))
    return 1 if summary.failed else 0


def _write_entry(manifest: IO[bytes], entry: Mapping[str, Any]) -> None:
    manifest.write(b",\n" if manifest.tell() > 2 else b"")  # behind the bracket
    manifest.write(textwrap.indent(json.dumps(entry, indent=1), " ").encode())


def _pictures(entry: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the pictures that an entry says are there."""
    for output in entry["outputs"]:
        if output["result"] is not None:
            yield output["result"]
        if "coupled" in output:
            yield output["coupled"]
    yield from entry.get("pasted", ())


def _is_record(record: Record) -> bool:
    """Return whether a record has the form of ours."""
    entry, rows = record.get("entry"), record.get("rows")
    if not isinstance(entry, dict) or not isinstance(rows, list) or not _are_texts(record.get("names")):
        return False
    outputs, shape = entry.get("outputs"), record.get("features")
    return (
        all(isinstance(row, list) and len(row) == 2 and isinstance(row[1], int) and 0 <= row[1] < 100 for row in rows)
        and isinstance(outputs, list)
        and all(isinstance(output, dict) and isinstance(output.get("result"), str | None) for output in outputs)
        and _are_texts([output.get("coupled", "") for output in outputs])
        and _are_texts(entry.get("pasted", []))
        and _are_texts([entry.get("file"), entry.get("status"), record.get("stem")])
        and (shape is None or (isinstance(shape, list) and all(isinstance(n, int) and n > 0 for n in shape)))
    )


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
