"""What a translated folder leaves behind: pictures, latents, a manifest and contact sheets."""

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from datasets.photos import THUMBNAIL, Photo, Portrait
from stylegan2.runtime import images
from stylegan2.runtime.checkpoint import atomic_file
from stylegan2.runtime.errors import UserError

RESULTS, COUPLED, SHEET = "inference_results", "inference_coupled", "contact_sheet"
ROWS_A_BLOCK, ROWS_A_SHEET = 10, 40  # a sheet has blocks of rows beside each other
Row = tuple[list[np.ndarray], str]  # pictures and caption


class Names:
    """One output name per picture, such that no output overwrites another, also where case does not count.

    `a/x.jpg` becomes `a/x`. If `a/x.png` is there too, they become `a/x_jpg` and `a/x_png`; further faces of a photo
    are `a/x_face1`, `a/x_face2` ... The names depend on the files and on the number of faces in each alone.
    """

    def __init__(self, files: Iterable[Path], root: Path) -> None:
        relative = {file: Path(os.path.relpath(file, root)) for file in files}
        # A result must not take the name of a folder that is needed: `b.jpg` beside a folder `b.png`.
        self.taken = {_key(parent) for path in relative.values() for parent in path.parents}
        wanted: dict[str, list[Path]] = {}
        for file, path in relative.items():
            wanted.setdefault(_key(path.with_suffix(".png")), []).append(file)
        self.of_file: dict[Path, str] = {}
        alone = [group[0] for group in wanted.values() if len(group) == 1]
        shared = [file for group in wanted.values() if len(group) > 1 for file in group]
        for file in alone:
            self.of_file[file] = self._take(relative[file].with_suffix(""))
        for file in shared:
            path = relative[file]
            self.of_file[file] = self._take(path.with_name(f"{path.stem}_{path.suffix[1:].lower()}"))

    def of_face(self, file: Path, index: int) -> str:
        """The name for the face `index` of a file; the largest face bears the file's name."""
        name = self.of_file[file]
        return name if index == 0 else self._take(Path(f"{name}_face{index}"))

    def _take(self, path: Path) -> str:
        candidate, number = path.as_posix(), 1
        while _key(Path(candidate + ".png")) in self.taken:
            number += 1
            candidate = f"{path.as_posix()}_{number}"
        self.taken.add(_key(Path(candidate + ".png")))
        return candidate


@dataclass
class Pending:
    """A portrait on its way through the networks."""

    name: str
    portrait: Portrait
    thumbnail: np.ndarray | None
    entry: dict[str, Any]
    """the manifest's, of the photo"""


class Report:
    """Writes each result as it comes, and manifest, latents and sheets at the end of a `with` block.

    Args:
        folder: the results' place; UserError if it cannot be written.
        files, root: all photos of the run, and the folder that their names are relative to.
        couple: write source and output side by side too.
        code_shape: (num_ws, w_dim).
    """

    def __init__(
        self, folder: Path, files: Iterable[Path], root: Path, couple: bool, code_shape: tuple[int, ...]
    ) -> None:
        self.folder, self.root, self.couple = folder, root, couple
        self.names = Names(files, root)
        self.entries: list[dict[str, Any]] = []
        self.latent_names: list[str] = []
        self.latents = [np.zeros((0, *code_shape), np.float32)]
        self.rows: list[Row] = []
        self.sheets = 0
        _check_writable(folder)

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # What is done is listed also where the run was interrupted; the first mistake is the one to show.
        with contextlib.suppress(*((OSError, UserError) if kind else ())):
            self._finish()

    def add(self, photo: Photo) -> list[Pending]:
        """Lists a photo; each of its portraits is to be given to `write` with its result."""
        entry: dict[str, Any] = {
            "file": os.path.relpath(photo.file, self.root).replace(os.sep, "/"),
            "status": photo.status,
            "reason": photo.reason,
            "box": _box(photo.portraits[0]) if photo.portraits else None,
            "seconds": round(photo.seconds, 4),
            "outputs": [],
        }
        self.entries.append(entry)
        if photo.status != "ok" and photo.thumbnail is not None:
            self._row([photo.thumbnail], f"{entry['file']}: {photo.reason}")
        names = [self.names.of_face(photo.file, index) for index in range(len(photo.portraits))]
        return [Pending(n, p, photo.thumbnail, entry) for n, p in zip(names, photo.portraits, strict=True)]

    def write(self, pending: Pending, image: np.ndarray, code: np.ndarray, seconds: float) -> None:
        """One result: image uint8 [R, R, C], code [num_ws, w_dim] and what the networks took."""
        name, portrait = pending.name, pending.portrait
        output = {"name": name, "result": f"{RESULTS}/{name}.png", "box": _box(portrait)}
        output["quad"] = portrait.crop.quad if portrait.crop else None
        images.write_image(self.folder / output["result"], image)
        rgb = image[..., :3] if image.shape[2] >= 3 else np.repeat(image, 3, axis=2)  # [R, R, 3]
        if self.couple:
            output["coupled"] = f"{COUPLED}/{name}.png"
            source = images.resize(portrait.picture, image.shape[:2])  # [R, R, 3]
            images.write_image(self.folder / output["coupled"], np.concatenate([source, rgb], axis=1))  # [R, 2R, 3]
        pending.entry["outputs"].append(output)
        pending.entry["seconds"] = round(pending.entry["seconds"] + seconds, 4)
        self.latent_names.append(name)
        self.latents.append(code[None])  # [1, num_ws, w_dim]
        pictures = [images.resize(picture, (THUMBNAIL, THUMBNAIL)) for picture in (portrait.picture, rgb)]
        self._row([*([] if pending.thumbnail is None else [pending.thumbnail]), *pictures], name)

    def summarize(self, seconds: float) -> int:
        """Prints what was done, and each file that was not; the exit code: 0 if every file gave a result, else 1."""
        failed = [entry for entry in self.entries if entry["status"] != "ok"]
        for entry in failed:
            print(_printable(f"{entry['status']}: {entry['file']}: {entry['reason']}"), file=sys.stderr)
        done, count = len(self.entries) - len(failed), len(self.latent_names)
        print(
            f"{done} of {len(self.entries)} files gave {count} images ({count / seconds:.2f} images/s): {self.folder}"
        )
        return 1 if failed else 0

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
        with _written(self.folder / "latents.npz") as file:
            np.savez(file, names=np.array(self.latent_names, dtype=np.str_), w_plus=np.concatenate(self.latents))
        with _written(self.folder / "manifest.json") as file:
            file.write(json.dumps(self.entries, indent=1).encode())


def own_outputs(folder: Path) -> list[Path]:
    """Where earlier runs wrote pictures: they are no sources, even if the folder lies among the photos."""
    return [folder / RESULTS, folder / COUPLED, *folder.glob(f"{SHEET}*.jpg")]


@contextlib.contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes its place when complete; a disk that refuses is a UserError."""
    try:
        with atomic_file(path, durable=False) as file:
            yield file
    except OSError as error:
        raise UserError(f"cannot write {str(path)!r}: {error.strerror or error}") from error


def _check_writable(folder: Path) -> None:
    probe = folder / ".writable"
    with _written(probe):
        pass
    probe.unlink()


def _box(portrait: Portrait) -> list[float] | None:
    return [round(v, 1) for v in portrait.face.box] if portrait.face else None


def _block(rows: list[Row]) -> np.ndarray:
    """A contact sheet of some rows, uint8 [H, W, 3]."""
    captions = [_printable(caption) for _, caption in rows]
    return images.labelled_sheet([pictures for pictures, _ in rows], ("source", "aligned", "output"), captions)


def _side_by_side(blocks: list[np.ndarray]) -> np.ndarray:
    """Pictures uint8 [h, w, 3] in one row, white below those that are not as high as the highest: [H, W, 3]."""
    height = max(len(block) for block in blocks)
    filled = [np.pad(b, ((0, height - len(b)), (0, 0), (0, 0)), constant_values=255) for b in blocks]  # [H, w, 3]
    return np.concatenate(filled, axis=1)


def _key(path: Path) -> str:
    return path.as_posix().casefold()


def _printable(text: str) -> str:
    """File names may hold bytes that are no text."""
    return text.encode("utf-8", "backslashreplace").decode()
