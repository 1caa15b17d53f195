"""What a translated folder leaves behind: pictures, latents, a manifest and contact sheets."""

import contextlib
import json
import os
import sys
import tempfile
import textwrap
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from psp.inference.names import Names
from psp.inference.pasting import PASTED, PastedPhoto
from psp.inference.photos import THUMBNAIL, Photo, Portrait
from psp.model import Codes
from stylegan2.latents.codes import CodesWriter
from stylegan2.runtime import images
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import atomic_file, is_of_one_file, writing
from stylegan2.runtime.output_names import printable

RESULTS, COUPLED, SHEET, MANIFEST = "inference_results", "inference_coupled", "contact_sheet", "manifest.json"
ROWS_A_BLOCK, ROWS_A_SHEET = 10, 40  # a sheet has blocks of rows beside each other
OUTPUTS_A_ROW = 8  # so many outputs of a source are on a sheet
CELLS_A_ROW = 6  # of the grid of a source and its outputs
Row = tuple[list[np.ndarray], str]  # pictures and caption


@dataclass
class Pending:
    """A portrait on its way through the networks."""

    name: str
    outputs: list[str]
    """names of what will be made of it"""
    portrait: Portrait
    thumbnail: np.ndarray | None
    entry: dict[str, Any]
    """the manifest's, of the photo"""
    pasted: PastedPhoto | None = None


class Report:
    """Write each result as it comes, and manifest, latents and sheets at the end of a `with` block.

    Args:
        folder: Gets the results. UserError: it cannot be written.
        files: All photos of the run.
        root: Names of photos are relative to this folder.
        couple: Write source and output side by side too; several outputs become a grid.
        code_shape: (num_ws, w_dim).
        outputs: Results for each face.
        paste: Lay the results over the full photos too.
    """

    def __init__(
        self,
        folder: Path,
        files: Iterable[Path],
        root: Path,
        couple: bool,
        code_shape: tuple[int, ...],
        outputs: int = 1,
        paste: bool = False,
    ) -> None:
        self.folder, self.root, self.couple, self.outputs, self.paste = folder, root, couple, outputs, paste
        self.names = Names(files, root)
        self.rows: list[Row] = []
        self.sheets = self.total = 0
        self.failed: list[str] = []
        _check_writable(folder)
        # Nothing that grows with the number of photos stays in memory: codes and entries wait on the disk.
        self.codes = CodesWriter(folder / "latents.npz", code_shape)
        with writing(folder):
            self.manifest = tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder)  # noqa: SIM115 (closed at the end)
        self.unfinished: deque[tuple[dict[str, Any], int]] = deque()  # entries, with their number of outputs

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # What is done is listed also where the run was interrupted; the first mistake is the one to show.
        with self.codes, contextlib.suppress(*((OSError, UserError) if kind else ())):
            self._finish()
        with contextlib.suppress(OSError):
            self.manifest.close()

    def add(self, photo: Photo) -> list[Pending]:
        """List a photo; each of its portraits is to be given to `write` with its result."""
        entry: dict[str, Any] = {
            "file": os.path.relpath(photo.file, self.root).replace(os.sep, "/"),
            "status": photo.status,
            "reason": photo.reason,
            "box": _box(photo.portraits[0]) if photo.portraits else None,
            "seconds": round(photo.seconds, 4),
            "outputs": [],
        }
        self.total += 1
        self.unfinished.append((entry, len(photo.portraits) * self.outputs))
        if photo.status != "ok":
            self.failed.append(f"{entry['status']}: {entry['file']}: {entry['reason']}")
        self._list_finished()
        if photo.status != "ok" and photo.thumbnail is not None:
            self._row([photo.thumbnail], f"{entry['file']}: {photo.reason}")
        names = [self.names.of_face(photo.file, index) for index in range(len(photo.portraits))]
        outputs = [self.names.of_outputs(name, self.outputs) for name in names]
        pasted = None
        if self.paste and names:  # the largest face's outputs give the photos their names
            pasted = PastedPhoto(photo.file, [f"{PASTED}/{name}.png" for name in outputs[0]], len(names))
        return [
            Pending(name, own, portrait, photo.thumbnail, entry, pasted)
            for name, own, portrait in zip(names, outputs, photo.portraits, strict=True)
        ]

    def write(self, pending: Pending, results: Sequence[np.ndarray], codes: Codes, seconds: float) -> None:
        """Write the results of a face.

        A file that cannot be written, as a folder is in its place, say, is listed with its reason, and the others are
        written; where the disk is full none can be.

        Args:
            pending: The portrait, as `add` returned it.
            results: K images uint8 [R, R, C].
            codes: Of these K images.
            seconds: What the networks took.

        Raises:
            UserError: The disk refuses.
        """
        try:
            self._write(pending, results, codes, seconds)
        except UserError as error:
            if not is_of_one_file(error):
                raise
            entry = pending.entry
            if entry["status"] == "ok":
                entry.update(status="not_written", reason=str(error))
                self.failed.append(f"{entry['status']}: {entry['file']}: {entry['reason']}")
            entry["outputs"] += [{"name": name, "result": None} for name in pending.outputs]
            self._list_finished()

    def _write(self, pending: Pending, results: Sequence[np.ndarray], codes: Codes, seconds: float) -> None:
        portrait, entry = pending.portrait, pending.entry
        results = [portrait.shown(image) for image in results]  # [H, W, C]: R x R, unless the file's was padded
        colours, picture = [_rgb(image) for image in results], portrait.shown(portrait.picture)
        shared = {"box": _box(portrait), "quad": portrait.crop.quad if portrait.crop else None}
        if portrait.region is not None:
            shared["region"] = portrait.region
        if self.couple:
            shared["coupled"] = f"{COUPLED}/{pending.name}.png"
            source = images.resize(picture, colours[0].shape[:2])  # [H, W, 3]
            images.write_image(self.folder / shared["coupled"], _tiled([source, *colours]))
        outputs = [{"name": name, "result": f"{RESULTS}/{name}.png", **shared} for name in pending.outputs]
        for output, image in zip(outputs, results, strict=True):
            images.write_image(self.folder / output["result"], image)
        if pending.pasted is not None and portrait.crop is not None:
            entry["pasted"] = pending.pasted.add(self.folder, portrait.crop, colours)
        entry["outputs"] += outputs
        entry["seconds"] = round(entry["seconds"] + seconds, 4)
        self._list_finished()
        self.codes.append(pending.outputs, codes.w_plus, codes.features)
        high, wide = picture.shape[:2]
        shrink = THUMBNAIL / max(high, wide)
        size = (max(1, round(high * shrink)), max(1, round(wide * shrink)))
        thumbnails = [images.resize(shown, size) for shown in (picture, *colours[:OUTPUTS_A_ROW])]
        self._row([*([] if pending.thumbnail is None else [pending.thumbnail]), *thumbnails], pending.name)

    def summarize(self, seconds: float) -> int:
        """Print what was done and which files failed. Return the exit code: 0 if every file gave a result, else 1."""
        for line in self.failed:
            print(printable(line), file=sys.stderr)
        done, count = self.total - len(self.failed), len(self.codes.names)
        print(f"{done} of {self.total} files gave {count} images ({count / seconds:.2f} images/s): {self.folder}")
        return 1 if self.failed else 0

    def _list_finished(self, all_of_them: bool = False) -> None:
        """Write the entries of the photos that all outputs have come of, in the order of the photos."""
        with writing(self.folder / MANIFEST):
            while self.unfinished and (all_of_them or len(self.unfinished[0][0]["outputs"]) >= self.unfinished[0][1]):
                entry, _ = self.unfinished.popleft()
                self.manifest.write(",\n" if self.manifest.tell() else "")
                self.manifest.write(textwrap.indent(json.dumps(entry, indent=1), " "))

    def _row(self, pictures: list[np.ndarray], caption: str) -> None:
        self.rows.append((pictures, caption))
        if len(self.rows) == ROWS_A_SHEET:
            self._write_sheet()

    def _sheet_path(self, number: int) -> Path:
        return self.folder / (f"{SHEET}.jpg" if number == 1 else f"{SHEET}_{number}.jpg")

    def _write_sheet(self) -> None:
        self.sheets += 1
        blocks = [self.rows[start : start + ROWS_A_BLOCK] for start in range(0, len(self.rows), ROWS_A_BLOCK)]
        images.write_image(self._sheet_path(self.sheets), _side_by_side([_block(rows) for rows in blocks]))
        self.rows = []

    def _finish(self) -> None:
        if self.rows:
            self._write_sheet()
        surplus = self.sheets + 1
        while self._sheet_path(surplus).exists():  # of an earlier run of more photos
            self._sheet_path(surplus).unlink()
            surplus += 1
        self.codes.write()
        self._list_finished(all_of_them=True)
        path = self.folder / MANIFEST
        with writing(path), atomic_file(path, durable=False) as file:
            self.manifest.seek(0)
            file.write(b"[\n")
            while text := self.manifest.read(2**20):
                file.write(text.encode())
            file.write(b"\n]")


def own_outputs(folder: Path) -> list[Path]:
    """List where earlier runs wrote pictures: they are no sources, even if the folder lies among the photos."""
    return [folder / RESULTS, folder / COUPLED, folder / PASTED, *folder.glob(f"{SHEET}*.jpg")]


def _check_writable(folder: Path) -> None:
    probe = folder / ".writable"
    with writing(probe), atomic_file(probe, durable=False):
        pass
    probe.unlink()


def _box(portrait: Portrait) -> list[float] | None:
    return [round(v, 1) for v in portrait.face.box] if portrait.face else None


def _block(rows: list[Row]) -> np.ndarray:
    """Draw a contact sheet of some rows, uint8 [H, W, 3]."""
    captions = [printable(caption) for _, caption in rows]
    outputs = max(1, max(len(pictures) for pictures, _ in rows) - 2)
    titles = ("source", "aligned", *(["output"] if outputs == 1 else [f"mix{k}" for k in range(outputs)]))
    return images.labelled_sheet([pictures for pictures, _ in rows], titles, captions)


def _rgb(image: np.ndarray) -> np.ndarray:
    """Turn uint8 [R, R, C] into colours [R, R, 3]."""
    return image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)


def _tiled(cells: list[np.ndarray]) -> np.ndarray:
    """Put pictures uint8 [R, R, 3] into a grid, row by row; cells left over are black."""
    columns = min(len(cells), CELLS_A_ROW)
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    rows[-1] = rows[-1] + [np.zeros_like(cells[0])] * (columns - len(rows[-1]))
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])  # [rows * R, columns * R, 3]


def _side_by_side(blocks: list[np.ndarray]) -> np.ndarray:
    """Put pictures uint8 [h, w, 3] into one row, with white below the lower ones: [H, W, 3]."""
    height = max(len(block) for block in blocks)
    filled = [np.pad(b, ((0, height - len(b)), (0, 0), (0, 0)), constant_values=255) for b in blocks]  # [H, w, 3]
    return np.concatenate(filled, axis=1)
