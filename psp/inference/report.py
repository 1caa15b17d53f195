"""Write the results of a translated photo: pictures, and a record from which the report is made later."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from psp.inference.align import Crop, Point, paste_back
from psp.inference.aligned_folder import Entry
from psp.inference.names import Names
from psp.inference.photos import THUMBNAIL, Photo, Portrait
from psp.model import Codes
from stylegan2.runtime import images
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import atomic_file, is_of_one_file, writing
from stylegan2.runtime.journal import Journal

RESULTS, COUPLED, PASTED = "inference_results", "inference_coupled", "inference_pasted"
SHEET = "contact_sheet"
OUTPUTS_A_ROW = 8  # number of outputs per source on a contact sheet
CELLS_A_ROW = 6  # columns of the grid of a source and its outputs


@dataclass
class PastedPhoto:
    """A photo whose translated faces arrive one by one.

    The photo is read again after its last face has arrived, so that it is not held in memory until then.
    """

    file: Path
    names: list[str]
    """names of the photos to write, one for each of the K outputs of a face"""
    missing: int
    """number of faces that have not arrived yet"""
    faces: list[tuple[Crop, list[np.ndarray]]] = field(default_factory=list)

    def add(self, folder: Path, crop: Crop, results: list[np.ndarray]) -> list[str]:
        """Add the outputs of a face and, after the last face, write the photos.

        Args:
            folder: Folder for the photos.
            crop: Position of the face in the photo.
            results: K outputs, uint8 [R, R, 3].

        Returns:
            The names of the photos that were written.

        Raises:
            ImageError: The photo can no longer be read, or the result cannot be written.
        """
        self.faces.append((crop, results))
        self.missing -= 1
        if self.missing:
            return []
        photo = images.read_image(self.file)  # [H, W, 3]
        for k, name in enumerate(self.names):
            pasted = photo
            for crop, outputs in self.faces:
                pasted = paste_back(pasted, outputs[k], crop)  # [H, W, 3]
            images.write_image(folder / name, pasted)
        return self.names


@dataclass
class PhotoRecord:
    """The results of a photo so far, until those of all its faces have arrived."""

    file: Path
    entry: Entry
    """entry of the manifest"""
    missing: int
    """number of outputs that have not arrived yet"""
    state: dict[str, int] | None
    """size and time of the file when it was read"""
    names: list[str] = field(default_factory=list)
    """names of the outputs"""
    w_plus: list[np.ndarray] = field(default_factory=list)
    """codes of each face, float32 [K, num_ws, w_dim]"""
    features: list[np.ndarray] = field(default_factory=list)
    """feature corrections of each face, float16 [K, C, r, r]; empty without corrections"""
    rows: list[tuple[str, int]] = field(default_factory=list)
    """caption and number of thumbnails of each row of the contact sheet"""
    thumbnails: list[bytes] = field(default_factory=list)
    """JPEG files"""

    def add_row(self, pictures: Sequence[np.ndarray], caption: str) -> None:
        """Add a row of pictures, uint8 [H, W, 3] each, to the contact sheet."""
        self.rows.append((caption, len(pictures)))
        self.thumbnails += map(_jpeg, pictures)


@dataclass
class Pending:
    """A portrait whose results have not arrived yet."""

    name: str
    outputs: list[str]
    """names of its outputs"""
    portrait: Portrait
    thumbnail: np.ndarray | None
    record: PhotoRecord
    pasted: PastedPhoto | None = None


class Report:
    """A writer of results, which writes pictures as they arrive and a record of each photo after its last picture.

    The memory that is used does not grow with the number of photos. `psp.inference.translated_folder`
    makes the manifest, the latents and the contact sheets from the records.

    Args:
        folder: Folder for the results.
        names: Names for the outputs of all photos.
        root: Folder to which the names of photos are relative.
        journal: The file for the records.
        couple: Also write source and output side by side, or in a grid if there are several outputs.
        outputs: Number of outputs per face.
        paste: Also paste the outputs into the photos.

    Raises:
        UserError: The folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        names: Names,
        root: Path,
        journal: Journal,
        couple: bool,
        outputs: int = 1,
        paste: bool = False,
    ) -> None:
        self.folder, self.names, self.root, self.journal = folder, names, root, journal
        self.couple, self.outputs, self.paste = couple, outputs, paste
        _check_writable(folder)

    def add(self, photo: Photo) -> list[Pending]:
        """Begin the record of a photo.

        Returns:
            One object for each portrait of the photo, which must be passed to `write` with the results.
        """
        entry: Entry = {
            "file": relative_name(photo.file, self.root),
            "status": photo.status,
            "reason": photo.reason,
            "box": _box(photo.portraits[0]) if photo.portraits else None,
            "seconds": round(photo.seconds, 4),
            "outputs": [],
        }
        record = PhotoRecord(photo.file, entry, len(photo.portraits) * self.outputs, file_state(photo.file))
        if photo.status != "ok" and photo.thumbnail is not None:
            record.add_row([photo.thumbnail], f"{entry['file']}: {photo.reason}")
        if not photo.portraits:
            self._list(record)
        names = [self.names.of_face(photo.file, index) for index in range(len(photo.portraits))]
        outputs = [self.names.of_outputs(name, self.outputs) for name in names]
        pasted = None
        if self.paste and names:  # the largest face's outputs give the photos their names
            pasted = PastedPhoto(photo.file, [f"{PASTED}/{name}.png" for name in outputs[0]], len(names))
        return [
            Pending(name, own, portrait, photo.thumbnail, record, pasted)
            for name, own, portrait in zip(names, outputs, photo.portraits, strict=True)
        ]

    def write(self, pending: Pending, results: Sequence[np.ndarray], codes: Codes, seconds: float) -> None:
        """Write the results of a face.

        If a single file cannot be written, for example because there is a folder of that name, the record states the
        reason and the run continues.

        Args:
            pending: The portrait, as `add` returned it.
            results: K images, uint8 [R, R, C].
            codes: Codes of these K images.
            seconds: Time that the networks took.

        Raises:
            UserError: The disk accepts no file at all.
        """
        record = pending.record
        try:
            self._write(pending, results, codes, seconds)
        except UserError as error:
            if not is_of_one_file(error):
                raise
            if record.entry["status"] == "ok":
                record.entry.update(status="not_written", reason=str(error))
            record.entry["outputs"] += [{"name": name, "result": None} for name in pending.outputs]
        record.missing -= len(results)
        if not record.missing:
            self._list(record)

    def _write(self, pending: Pending, results: Sequence[np.ndarray], codes: Codes, seconds: float) -> None:
        portrait, record, entry = pending.portrait, pending.record, pending.record.entry
        results = [portrait.shown(image) for image in results]  # [H, W, C], smaller than R x R after padding
        colours, picture = [_rgb(image) for image in results], portrait.shown(portrait.picture)
        shared = {"box": _box(portrait), "quad": _quad(portrait)}
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
        record.names += pending.outputs
        record.w_plus.append(codes.w_plus.detach().float().cpu().numpy())
        if codes.features is not None:
            record.features.append(codes.features.detach().half().cpu().numpy())
        high, wide = picture.shape[:2]
        shrink = THUMBNAIL / max(high, wide)
        size = (max(1, round(high * shrink)), max(1, round(wide * shrink)))
        thumbnails = [images.resize(shown, size) for shown in (picture, *colours[:OUTPUTS_A_ROW])]
        record.add_row([*([] if pending.thumbnail is None else [pending.thumbnail]), *thumbnails], pending.name)

    def _list(self, record: PhotoRecord) -> None:
        """Append the record of a photo, after all files that it names are written."""
        codes = [_bytes(record.w_plus, "<f4"), _bytes(record.features, "<f2")]
        about = {
            "file": record.entry["file"],
            "state": record.state,
            "stem": self.names.of_file[record.file],
            "entry": record.entry,
            "names": record.names,
            "features": list(record.features[0].shape[1:]) if record.features else None,
            "rows": record.rows,
        }
        self.journal.append(about, [*codes, *record.thumbnails])


def relative_name(file: Path, root: Path) -> str:
    """Return the name of a photo in the manifest: its path relative to `root`, with slashes."""
    return os.path.relpath(file, root).replace(os.sep, "/")


def file_state(file: Path) -> dict[str, int] | None:
    """Return the size in bytes and the modification time in nanoseconds of a file, or None if it does not exist."""
    try:
        status = file.stat()
    except OSError:
        return None
    return {"bytes": status.st_size, "changed": status.st_mtime_ns}


def own_outputs(folder: Path) -> list[Path]:
    """List the folders and files of earlier results, which are not sources even if they are among the photos."""
    return [folder / RESULTS, folder / COUPLED, folder / PASTED, *folder.glob(f"{SHEET}*.jpg")]


def _check_writable(folder: Path) -> None:
    probe = folder / f".writable-{os.getpid()}"
    with writing(probe), atomic_file(probe, durable=False):
        pass
    probe.unlink()


def _box(portrait: Portrait) -> list[float] | None:
    """Return the box of a face, (x0, y0, x1, y1) in pixels of the file."""
    return [round(v * portrait.shrunk, 1) for v in portrait.face.box] if portrait.face else None


def _quad(portrait: Portrait) -> tuple[Point, Point, Point, Point] | None:
    """Return the corners of the aligned picture (see `Crop`), in pixels of the file."""
    return portrait.crop.moved(0, 0, portrait.shrunk).quad if portrait.crop else None


def _bytes(parts: list[np.ndarray], dtype: str) -> bytes:
    return b"".join(np.ascontiguousarray(part, dtype).tobytes() for part in parts)


def _jpeg(picture: np.ndarray) -> bytes:
    """Encode a picture, uint8 [H, W, C] with C = 3 or 4, as a JPEG file, with a white background if C = 4."""
    image, file = Image.fromarray(picture), io.BytesIO()
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image)
        image = white
    image.convert("RGB").save(file, "JPEG", quality=images.JPEG_QUALITY, subsampling=0)
    return file.getvalue()


def _rgb(image: np.ndarray) -> np.ndarray:
    """Convert uint8 [R, R, C] to RGB, uint8 [R, R, 3]."""
    return image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)


def _tiled(cells: list[np.ndarray]) -> np.ndarray:
    """Arrange pictures, uint8 [R, R, 3], in a grid, row by row; unused cells are black."""
    columns = min(len(cells), CELLS_A_ROW)
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    rows[-1] = rows[-1] + [np.zeros_like(cells[0])] * (columns - len(rows[-1]))
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])  # [rows * R, columns * R, 3]
