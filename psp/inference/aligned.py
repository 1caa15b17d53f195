"""Align a folder of photos into another one, with a manifest: what is done is not done again."""

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from psp.inference.align import Crop, align
from psp.inference.detect import Detector, DlibDetector, Face, build_detector, find_faces
from psp.inference.landmarks import Faces
from psp.inference.names import Names
from stylegan2.runtime import images
from stylegan2.runtime.bounded import parse_json
from stylegan2.runtime.errors import ImageError, UserError
from stylegan2.runtime.files import atomic_file, write_text, writing
from stylegan2.runtime.output_names import printable, relative_path
from stylegan2.runtime.progress import track
from stylegan2.runtime.threads import ordered_map

MANIFEST, FAILURES = "manifest.jsonl", "failures.txt"
Entry = dict[str, Any]


@dataclass(frozen=True)
class Detected:
    """Find faces by a detector: the largest of a photo, or all."""

    detector: Detector
    every_face: bool
    name: str
    """of the detector, for the manifest"""

    def __call__(self, name: str, photo: np.ndarray) -> list[Face]:
        faces = find_faces(photo, self.detector)
        return faces if self.every_face else faces[:1]

    def settings(self, name: str) -> str:
        """Return what the result for a file depends on."""
        return f"{self.name} {'all' if self.every_face else 'largest'}"


@dataclass(frozen=True)
class Given:
    """Take the faces of the user's own file; see `psp.inference.landmarks`."""

    faces: Faces

    def __call__(self, name: str, photo: np.ndarray) -> list[Face]:
        return [_face(photo, numbers) for numbers in self.faces.get(name, [])]

    def settings(self, name: str) -> str:
        """Return what the result for a file depends on."""
        numbers = b"".join(array.tobytes() for array in self.faces.get(name, []))
        return f"given {hashlib.sha256(numbers).hexdigest()[:16]}"


def _face(photo: np.ndarray, numbers: np.ndarray) -> Face:
    """Put a box around landmarks, or find the landmarks in a box with dlib's predictor."""
    if numbers.ndim == 1:
        x0, y0, x1, y1 = box = numbers.tolist()
        return Face((x0, y0, x1, y1), cast(DlibDetector, build_detector("dlib")).landmarks(photo, box), 1.0)
    (x0, y0), (x1, y1) = numbers.min(0), numbers.max(0)
    return Face((float(x0), float(y0), float(x1), float(y1)), numbers, 1.0)


@dataclass
class Aligned:
    """The result for one file."""

    entry: Entry
    pictures: list[np.ndarray] = field(default_factory=list)
    """uint8 [S, S, 3], one for each of the entry's outputs"""


class Aligner:
    """Align the faces of one file; several threads may call it.

    Args:
        root: File names in the manifest are relative to this folder.
        size: Side of an aligned picture in pixels.
        find: Where the faces come from.
    """

    def __init__(self, root: Path, size: int, find: Detected | Given) -> None:
        self.root, self.size, self.find = root, size, find

    def name(self, file: Path) -> str:
        """Return a file's name in the manifest."""
        return os.path.relpath(file, self.root).replace(os.sep, "/")

    def state(self, file: Path) -> Entry:
        """Return what the result depends on: the file as it is on the disk, and the settings."""
        status = file.stat()
        return {
            "bytes": status.st_size,
            "changed": status.st_mtime_ns,
            "size": self.size,
            "faces": self.find.settings(self.name(file)),
        }

    def __call__(self, file: Path) -> Aligned:
        entry: Entry = {"file": self.name(file), "status": "ok", "reason": None, "outputs": []}
        result = Aligned(entry)
        try:
            entry["state"] = self.state(file)
            photo = images.read_image(file)  # [H, W, 3]
            entry["photo"] = [photo.shape[1], photo.shape[0]]
            faces = self.find(entry["file"], photo)
        except OSError as error:
            return _failed(result, "unreadable", error.strerror or str(error))
        except ImageError as error:
            return _failed(result, "unreadable", str(error))
        except Exception as error:  # whatever is wrong with one photo, the others are done
            return _failed(result, "failed", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
        return self._align(result, photo, faces)

    def _align(self, result: Aligned, photo: np.ndarray, faces: list[Face]) -> Aligned:
        refused = None
        for face in faces:
            try:
                picture, crop = align(photo, face.landmarks, self.size)  # [S, S, 3]
            except UserError as error:  # landmarks of no face: outside of the picture, or in one point
                refused = str(error)
                continue
            result.pictures.append(picture)
            result.entry["outputs"].append(_output(face, crop))
        if refused and (isinstance(self.find, Given) or not result.pictures):
            return _failed(result, "bad_landmarks", refused)
        if result.pictures:
            return result
        if isinstance(self.find, Given):
            return _failed(result, "not_listed", "the file of landmarks does not name it")
        return _failed(result, "no_face", "no face was found")


def _failed(result: Aligned, status: str, reason: str) -> Aligned:
    result.entry.update(status=status, reason=reason)
    return result


def _output(face: Face, crop: Crop) -> Entry:
    """Describe an aligned face for the manifest; its `quad` is all that `psp.inference.align.paste_back` needs."""
    return {"quad": crop.quad, "box": [round(v, 1) for v in face.box], "landmarks": face.landmarks.round(2).tolist()}


def align_folder(files: Sequence[Path], aligner: Aligner, folder: Path, workers: int) -> list[Entry]:
    """Write the aligned pictures and the manifest of `files` into `folder`.

    A file is passed over if the manifest there lists it as aligned, and the file, the settings and the pictures are as
    they were.

    Returns:
        The entries of all files, in order.

    Raises:
        UserError: The folder cannot be written.
    """
    known = _read_manifest(folder / MANIFEST)
    done = {file: known[aligner.name(file)] for file in files if _is_done(file, aligner, known, folder)}
    todo = [file for file in files if file not in done]
    used = [
        Path(output["aligned"]).with_suffix("").as_posix() for entry in done.values() for output in entry["outputs"]
    ]
    names = Names(files, aligner.root, reserved=used)
    if done:
        print(f"{len(done)} of {len(files)} photos are aligned already")
    entries = {aligner.name(file): entry for file, entry in done.items()}
    with writing(folder), (folder / MANIFEST).open("a", encoding="utf-8") as manifest:
        aligned = ordered_map(aligner, todo, workers)
        bar = track(aligned, "aligning", "photo", total=len(files), initial=len(done))
        for result, file in zip(bar, todo, strict=True):
            _write_pictures(result, file, names, folder)
            entries[result.entry["file"]] = result.entry
            manifest.write(json.dumps(result.entry) + "\n")
            manifest.flush()
    ordered = [entries[aligner.name(file)] for file in files]
    with atomic_file(folder / MANIFEST, durable=False) as compact:
        compact.write("".join(json.dumps(entry) + "\n" for entry in ordered).encode())
    return ordered


def _write_pictures(result: Aligned, file: Path, names: Names, folder: Path) -> None:
    for index, (picture, output) in enumerate(zip(result.pictures, result.entry["outputs"], strict=True)):
        output["aligned"] = f"{names.of_face(file, index)}.png"
        images.write_image(folder / output["aligned"], picture)


def _read_manifest(path: Path) -> dict[str, Entry]:
    """Read {file: its last entry}; a line that was cut short by a crash is passed over."""
    known: dict[str, Entry] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = parse_json(line)
            except UserError:
                continue
            if _is_entry(entry):
                known[entry["file"]] = entry
    return known


def _is_entry(entry: Any) -> bool:
    """Return whether a line is an entry of ours, whose pictures lie beneath the folder: anybody may have written it."""
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        return False
    outputs = entry.get("outputs")
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        return False
    names = [output.get("aligned") for output in outputs]
    return all(isinstance(name, str) and name == f"{relative_path(name.removesuffix('.png'))}.png" for name in names)


def _is_done(file: Path, aligner: Aligner, known: dict[str, Entry], folder: Path) -> bool:
    entry = known.get(aligner.name(file), {})
    if entry.get("status") != "ok" or not file.is_file() or entry.get("state") != aligner.state(file):
        return False
    return all((folder / output["aligned"]).is_file() for output in entry["outputs"])


def summarize(entries: list[Entry], folder: Path) -> int:
    """Print and write down what failed and why, and return the exit code: 0 if every file was aligned, else 1."""
    failures = [
        f"{entry['status']}: {entry['file']}: {entry['reason']}" for entry in entries if entry["status"] != "ok"
    ]
    lines = [printable(line) for line in failures]  # names may be no text
    for line in lines:
        print(line, file=sys.stderr)
    (folder / FAILURES).unlink(missing_ok=True)
    if lines:
        write_text(folder / FAILURES, "".join(line + "\n" for line in lines))
    count = sum(len(entry["outputs"]) for entry in entries)
    print(f"{len(entries) - len(failures)} of {len(entries)} photos gave {count} aligned faces: {folder}")
    return 1 if failures else 0
