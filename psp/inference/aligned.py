"""Align a folder of photos into another one, with a manifest: what is done is not done again."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from psp.inference.align import Crop, align
from psp.inference.detect import Detector, DlibDetector, Face, build_detector, find_faces
from psp.inference.landmarks import Faces
from psp.inference.names import Names
from stylegan2.runtime import images
from stylegan2.runtime.errors import ImageError, UserError
from stylegan2.runtime.files import atomic_file, is_of_one_file, write_text, writing
from stylegan2.runtime.image_reader import read_picture
from stylegan2.runtime.journal import Journal, Records, journals
from stylegan2.runtime.output_names import printable, relative_path
from stylegan2.runtime.progress import track
from stylegan2.runtime.threads import ordered_map
from stylegan2.runtime.work_group import WorkGroup, losses

MANIFEST, FAILURES = "manifest.jsonl", "failures.txt"
PARTS = ".parts"  # what other processes than the first have done, until the first joins it
Entry = dict[str, Any]


@dataclass(frozen=True)
class Detected:
    """Find faces by a detector: the largest of a photo, or all."""

    detector: Detector
    every_face: bool
    name: str
    """of the detector, for the manifest"""

    def __call__(self, name: str, photo: np.ndarray, shrunk: float = 1.0) -> list[Face]:
        faces = find_faces(photo, self.detector)
        return faces if self.every_face else faces[:1]

    def settings(self, name: str) -> str:
        """Return what the result for a file depends on."""
        return f"{self.name} {'all' if self.every_face else 'largest'}"


@dataclass(frozen=True)
class Given:
    """Take the faces of the user's own file; see `psp.inference.landmarks`."""

    faces: Faces

    def __call__(self, name: str, photo: np.ndarray, shrunk: float = 1.0) -> list[Face]:
        # The numbers count the pixels of the file, of which a photo of more than 50 megapixels was read as fewer.
        return [_face(photo, _scaled(numbers, 1 / shrunk)) for numbers in self.faces.get(name, [])]

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
            read = read_picture(file)
            photo = read.pixels  # [H, W, 3]
            entry["photo"] = [round(photo.shape[1] * read.shrunk), round(photo.shape[0] * read.shrunk)]
            faces = self.find(entry["file"], photo, read.shrunk)
        except OSError as error:
            return _failed(result, "unreadable", error.strerror or str(error))
        except ImageError as error:
            return _failed(result, "unreadable", str(error))
        except Exception as error:  # whatever is wrong with one photo, the others are done
            return _failed(result, "failed", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
        return self._align(result, photo, faces, read.shrunk)

    def _align(self, result: Aligned, photo: np.ndarray, faces: list[Face], shrunk: float) -> Aligned:
        refused = None
        for face in faces:
            try:
                picture, crop = align(photo, face.landmarks, self.size)  # [S, S, 3]
            except UserError as error:  # landmarks of no face: outside of the picture, or in one point
                refused = str(error)
                continue
            result.pictures.append(picture)
            result.entry["outputs"].append(_output(face, crop, shrunk))
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


def _output(face: Face, crop: Crop, shrunk: float) -> Entry:
    """Describe an aligned face for the manifest, in pixels of the file, which is `shrunk` times larger than was read.

    Its `quad` is all that `psp.inference.align.paste_back` needs.
    """
    box, landmarks = (_scaled(np.asarray(numbers, np.float64), shrunk) for numbers in (face.box, face.landmarks))
    quad = crop.moved(0, 0, shrunk).quad
    return {"quad": quad, "box": box.round(1).tolist(), "landmarks": landmarks.round(2).tolist()}


def _scaled(numbers: np.ndarray, scale: float) -> np.ndarray:
    """Convert coordinates that are counted from the centre of the first pixel to pixels of another size."""
    return numbers if scale == 1.0 else (numbers + 0.5) * scale - 0.5


@dataclass
class Summary:
    """What became of a folder."""

    photos: int
    faces: int = 0
    failures: list[str] = field(default_factory=list)
    """a line for each photo that gave no face"""
    missing: int = 0
    """photos of processes that were lost"""
    lost: list[int] = field(default_factory=list)
    """the numbers of these processes"""


def align_folder(
    files: Sequence[Path], aligner: Aligner, folder: Path, workers: int, group: WorkGroup | None = None
) -> Summary | None:
    """Write the aligned pictures and the manifest of `files` into `folder`.

    A file is passed over if the manifest there lists it as aligned, and the file, the settings and the pictures are as
    they were. Entries are appended as they come and put in order at the end; memory holds where each lies.

    Args:
        files: All photos.
        aligner: Aligns one.
        folder: Gets the results.
        workers: Photos at a time.
        group: The processes that share the work; by default this one alone.

    Returns:
        What became of all files, in the group's first process; None in the others.

    Raises:
        UserError: The folder cannot be written, or the group's processes see different photos.
    """
    group = group or WorkGroup()
    numbers = {aligner.name(file): number for number, file in enumerate(files)}
    group.check_same("photos", _digest(numbers), "finds other photos than process 0: give all the same folder")
    with _known(numbers, folder) as known:
        todo = _share_todo(files, aligner, known, folder, group)
        names = Names(files, aligner.root, reserved=_names_in_use(known, len(files), todo))
    done = len(files) - len(todo)
    if done:
        print(f"{done} of {len(files)} photos are aligned already")
    # The first process appends to the manifest itself, so that a run of one that dies leaves what it did there.
    with Journal(folder / PARTS, folder / MANIFEST if group.is_first else None) as journal:
        dealt = (files[todo[place]] for place in group.deal("photos", len(todo)))
        aligned = ordered_map(aligner, dealt, workers)
        total = len(files) if group.is_alone else None
        for result in track(aligned, "aligning", "photo", total=total, initial=done if group.is_alone else 0):
            _write_or_list(result, files[numbers[result.entry["file"]]], names, folder)
            journal.append(result.entry)
    lost = group.finish()
    return replace(_join(numbers, folder), lost=lost) if group.is_first else None


def _write_or_list(result: Aligned, file: Path, names: Names, folder: Path) -> None:
    """Write the pictures of a file; where one cannot be written, list the file. UserError: the disk refuses all."""
    try:
        _write_pictures(result, file, names, folder)
    except UserError as error:
        if not is_of_one_file(error):
            raise
        result.entry["outputs"] = []
        _failed(result, "not_written", str(error))


def _write_pictures(result: Aligned, file: Path, names: Names, folder: Path) -> None:
    for index, (picture, output) in enumerate(zip(result.pictures, result.entry["outputs"], strict=True)):
        output["aligned"] = f"{names.of_face(file, index)}.png"
        images.write_image(folder / output["aligned"], picture)


def _share_todo(files: Sequence[Path], aligner: Aligner, known: Records, folder: Path, group: WorkGroup) -> np.ndarray:
    """Return the numbers of the files that are to be aligned, as the first process finds them, int64 [n]."""
    if not group.is_first:
        return np.frombuffer(group.share("todo"), np.int64)
    todo = np.array([n for n, file in enumerate(files) if not _is_done(file, n, aligner, known, folder)], np.int64)
    group.share("todo", todo.tobytes())
    return todo


def _known(numbers: Mapping[str, int], folder: Path) -> Records:
    """Open the entries of a manifest, and of the parts of other processes that no run has joined yet."""
    return Records([folder / MANIFEST, *journals(folder / PARTS)], numbers, "file", _is_entry)


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogatepass")).hexdigest()


def _names_in_use(known: Records, count: int, todo: np.ndarray) -> Iterator[str]:
    """Yield the names of the pictures of all files that are done."""
    open_numbers = set(todo.tolist())
    for number in range(count):
        if number not in open_numbers and (entry := known.get(number)):
            for output in entry["outputs"]:
                yield output["aligned"].removesuffix(".png")


def _join(numbers: Mapping[str, int], folder: Path) -> Summary:
    """Write the manifest anew, one entry a file in the order of the files, from all that was appended to it."""
    summary = Summary(len(numbers))
    with _known(numbers, folder) as known, writing(folder), atomic_file(folder / MANIFEST, durable=False) as manifest:
        for number in range(len(numbers)):
            entry = known.get(number)
            if entry is None:
                summary.missing += 1
                continue
            manifest.write(json.dumps(entry).encode() + b"\n")
            summary.faces += len(entry["outputs"])
            if entry["status"] != "ok":
                summary.failures.append(f"{entry['status']}: {entry['file']}: {entry['reason']}")
    shutil.rmtree(folder / PARTS, ignore_errors=True)
    return summary


def _is_entry(entry: Any) -> bool:
    """Return whether a line is an entry of ours, whose pictures lie beneath the folder: anybody may have written it."""
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        return False
    outputs = entry.get("outputs")
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        return False
    names = [output.get("aligned") for output in outputs]
    return all(isinstance(name, str) and name == f"{relative_path(name.removesuffix('.png'))}.png" for name in names)


def _is_done(file: Path, number: int, aligner: Aligner, known: Records, folder: Path) -> bool:
    entry = known.get(number) or {}
    if entry.get("status") != "ok" or not file.is_file() or entry.get("state") != aligner.state(file):
        return False
    return all((folder / output["aligned"]).is_file() for output in entry["outputs"])


def summarize(summary: Summary, folder: Path) -> int:
    """Print and write down what failed and why, and return the exit code: 0 if every file was aligned, else 1.

    Raises:
        UserError: Photos are missing, as processes were lost.
    """
    lines = [printable(line) for line in summary.failures]  # names may be no text
    for line in lines:
        print(line, file=sys.stderr)
    (folder / FAILURES).unlink(missing_ok=True)
    if lines:
        write_text(folder / FAILURES, "".join(line + "\n" for line in lines))
    done = summary.photos - len(lines) - summary.missing
    print(f"{done} of {summary.photos} photos gave {summary.faces} aligned faces: {folder}")
    if summary.missing:
        raise UserError(losses(summary.lost, summary.missing, "photos"))
    return 1 if lines else 0
