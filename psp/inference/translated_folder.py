"""Report on a translated folder, from the records that one or several processes have written to it.

`TranslatedFolder.todo` finds the photos that have no record yet, so that an interrupted run can continue. `join` writes
manifest.json, latents.npz and the contact sheets from all records, in the order of the photos.
"""

import hashlib
import json
import math
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import torch

from psp.inference.aligned_folder import Entry
from psp.inference.names import Names
from psp.inference.report import SHEET, file_state, relative_name
from stylegan2.latents.codes import CodesWriter
from stylegan2.runtime import images
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import atomic_file, remove_partial_files, writing
from stylegan2.runtime.journal import Journal, Record, Records, journals
from stylegan2.runtime.output_names import printable
from stylegan2.runtime.work_group import WorkGroup, lost_message

PARTS = ".parts"  # folder of the records until they are joined
MANIFEST, LATENTS = "manifest.json", "latents.npz"
ROWS_A_BLOCK, ROWS_A_PAGE = 10, 40  # at most; the blocks of a page are side by side, equally high
Row = tuple[list[np.ndarray], str]  # (pictures, caption)


@dataclass
class TranslationSummary:
    """The outcome for all photos."""

    photos: int
    images: int = 0
    new_images: int = 0
    """number of images that this run added"""
    failed: list[str] = field(default_factory=list)
    """one line for each photo without a result"""
    missing: int = 0
    """number of photos without a record"""


class Sheets:
    """A writer of pages with rows of pictures, which holds only the rows of one page in memory.

    Args:
        folder: Folder for contact_sheet.jpg, contact_sheet_2.jpg and so on.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.pages = folder, 0
        self._rows: list[Row] = []

    def add(self, pictures: list[np.ndarray], caption: str) -> None:
        """Add a row of pictures, uint8 [H, W, 3] each: the source, the aligned face and the outputs."""
        self._rows.append((pictures, caption))
        if len(self._rows) == ROWS_A_PAGE:
            self._write_page()

    def finish(self) -> None:
        """Write the last page, and remove further pages of an earlier run with more photos."""
        if self._rows:
            self._write_page()
        surplus = self.pages + 1
        while self._path(surplus).exists():
            self._path(surplus).unlink()
            surplus += 1

    def _path(self, number: int) -> Path:
        return self.folder / (f"{SHEET}.jpg" if number == 1 else f"{SHEET}_{number}.jpg")

    def _write_page(self) -> None:
        self.pages += 1
        blocks = math.ceil(len(self._rows) / ROWS_A_BLOCK)
        height = math.ceil(len(self._rows) / blocks)
        starts = range(0, len(self._rows), height)
        images.write_image(
            self._path(self.pages), _side_by_side([_block(self._rows[start : start + height]) for start in starts])
        )
        self._rows = []


class TranslatedFolder:
    """The records of a folder of results.

    Args:
        folder: Folder of the results.
        files: All photos, in order.
        root: Folder to which the names of photos are relative.
        code_shape: (num_ws, w_dim).
        key: All settings on which the results depend, as JSON. Records with another key are ignored.
    """

    def __init__(
        self, folder: Path, files: Sequence[Path], root: Path, code_shape: tuple[int, ...], key: object
    ) -> None:
        self.folder, self.files, self.code_shape = folder, files, code_shape
        self.names = Names(files, root)
        self.numbers = {relative_name(file, root): number for number, file in enumerate(files)}
        self.parts = folder / PARTS / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]

    def journal(self) -> Journal:
        """Return a journal, to which this process writes its records."""
        return Journal(self.parts)

    def todo(self, group: WorkGroup, overwrite: bool) -> np.ndarray:
        """Find the photos that have no record yet.

        Args:
            group: The processes that share the work. The first process reads the records and removes those of other
                keys.
            overwrite: Remove all records first.

        Returns:
            Numbers of photos, int64 [n], the same in all processes.

        Raises:
            UserError: The processes find different photos.
        """
        listing = hashlib.sha256("\n".join(self.numbers).encode("utf-8", "surrogatepass")).hexdigest()
        group.check_same("photos", listing, "found other photos than process 0: give all processes the same folder")
        if not group.is_first:
            return np.frombuffer(group.share("todo"), np.int64)
        for other in (self.folder / PARTS).glob("*"):
            if overwrite or other != self.parts:
                shutil.rmtree(other, ignore_errors=True)
        remove_partial_files(self.folder, subfolders=True)
        with self._records() as known:
            todo = np.array([n for n in range(len(self.files)) if not self._is_done(n, known)], np.int64)
        group.share("todo", todo.tobytes())
        return todo

    def join(self, todo: np.ndarray) -> TranslationSummary:
        """Write manifest, latents and contact sheets from all records, one photo at a time.

        Args:
            todo: Numbers of the photos that this run had to translate, int64 [n].

        Returns:
            The outcome for all photos.
        """
        summary, new = TranslationSummary(len(self.files)), set(todo.tolist())
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
        """Check that a photo has a record with a result, and that the photo and its pictures are unchanged."""
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


def summarize(summary: TranslationSummary, folder: Path, seconds: float, lost: list[int]) -> int:
    """Print the outcome and the files that failed.

    Args:
        summary: The outcome, as `TranslatedFolder.join` returns it.
        folder: Folder of the results.
        seconds: Duration of this run.
        lost: Numbers of the processes that did not finish.

    Returns:
        The exit code: 0 if every file has a result, else 1.

    Raises:
        UserError: Photos are missing because processes were lost.
    """
    for line in summary.failed:
        print(printable(line), file=sys.stderr)
    done = summary.photos - len(summary.failed) - summary.missing
    rate = f"{summary.new_images / seconds:.2f} images/s"
    print(f"{done} of {summary.photos} files gave {summary.images} images ({rate}): {folder}")
    if summary.missing:
        raise UserError(lost_message(lost, summary.missing, "photos"))
    return 1 if summary.failed else 0


def _write_entry(manifest: IO[bytes], entry: Entry) -> None:
    manifest.write(b",\n" if manifest.tell() > 2 else b"")  # no comma directly after the bracket
    manifest.write(textwrap.indent(json.dumps(entry, indent=1), " ").encode())


def _pictures(entry: Entry) -> Iterator[str]:
    """Yield the names of the pictures that an entry lists."""
    for output in entry["outputs"]:
        if output["result"] is not None:
            yield output["result"]
        if "coupled" in output:
            yield output["coupled"]
    yield from entry.get("pasted", ())


def _is_record(record: Record) -> bool:
    """Check that a record has the expected form."""
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


def _are_texts(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _block(rows: list[Row]) -> np.ndarray:
    """Draw a block of rows, uint8 [H, W, 3]."""
    captions = [printable(caption) for _, caption in rows]
    outputs = max(1, max(len(pictures) for pictures, _ in rows) - 2)
    titles = ("source", "aligned", *(["output"] if outputs == 1 else [f"mix{k}" for k in range(outputs)]))
    return images.labelled_sheet([pictures for pictures, _ in rows], titles, captions)


def _side_by_side(blocks: list[np.ndarray]) -> np.ndarray:
    """Put pictures, uint8 [h, w, 3], side by side, and fill the space below shorter ones with white: [H, W, 3]."""
    height = max(len(block) for block in blocks)
    filled = [np.pad(b, ((0, height - len(b)), (0, 0), (0, 0)), constant_values=255) for b in blocks]  # [H, w, 3]
    return np.concatenate(filled, axis=1)  # [H, W, 3]
