"""Alignment of a folder of photos, with a manifest by which a later run skips the photos that are aligned already."""

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
from stylegan2.runtime.files import atomic_file, is_of_one_file, remove_partial_files, write_text, writing
from stylegan2.runtime.image_reader import read_reduced
from stylegan2.runtime.journal import Journal, Records, journals
from stylegan2.runtime.output_names import is_safe_path, printable
from stylegan2.runtime.progress import track
from stylegan2.runtime.work_group import WorkGroup, lost_message, ordered_map

MANIFEST, FAILURES = "manifest.jsonl", "failures.txt"
PARTS = ".parts"  # folder of the records of the other processes, until the first process joins them
Entry = dict[str, Any]


@dataclass(frozen=True)
class DetectedFaces:
    """A source of faces that detects the largest face of a photo, or all faces."""

    detector: Detector
    every_face: bool
    name: str
    """name of the detector, for the manifest"""

    def __call__(self, name: str, photo: np.ndarray, shrunk: float = 1.0) -> list[Face]:
        faces = find_faces(photo, self.detector)
        return faces if self.every_face else faces[:1]

    def settings(self, name: str) -> str:
        """Describe the settings on which the faces of a file depend."""
        return f"{self.name} {'all' if self.every_face else 'largest'}"


@dataclass(frozen=True)
class GivenFaces:
    """A source of faces that takes them from a file of the user (see `psp.inference.landmarks`)."""

    faces: Faces

    def __call__(self, name: str, photo: np.ndarray, shrunk: float = 1.0) -> list[Face]:
        # The coordinates are in pixels of the file, but a photo of more than 50 megapixels is reduced when it is read.
        given = self.faces.get(name, [])
        return [_face(photo, _scaled(face, 1 / shrunk)) for face in given if isinstance(face, np.ndarray)]

    def refused(self, name: str) -> str | None:
        """Return why the first face of a file that cannot be used cannot be; None if all of them can."""
        reason = next((face for face in self.faces.get(name, []) if isinstance(face, str)), None)
        return None if reason is None else f"a face in the file of landmarks {reason}"

    def settings(self, name: str) -> str:
        """Describe the settings on which the faces of a file depend."""
        given = self.faces.get(name, [])
        numbers = b"".join(face.encode() if isinstance(face, str) else face.tobytes() for face in given)
        return f"given {hashlib.sha256(numbers).hexdigest()[:16]}"


def _face(photo: np.ndarray, numbers: np.ndarray) -> Face:
    """Complete a face: add the box to landmarks [K, 2], or predict the landmarks of a box [4] by dlib."""
    if numbers.ndim == 1:
        x0, y0, x1, y1 = box = numbers.tolist()
        return Face((x0, y0, x1, y1), cast(DlibDetector, build_detector("dlib")).landmarks(photo, box), 1.0)
    (x0, y0), (x1, y1) = numbers.min(0), numbers.max(0)
    return Face((float(x0), float(y0), float(x1), float(y1)), numbers, 1.0)


@dataclass
class AlignedPhoto:
    """The result for one photo."""

    entry: Entry
    pictures: list[np.ndarray] = field(default_factory=list)
    """uint8 [S, S, 3], one for each item of `entry["outputs"]`"""


class Aligner:
    """A function that aligns the faces of one photo. Several threads may call it.

    Args:
        root: Folder to which file names in the manifest are relative.
        size: Side of an aligned picture in pixels.
        find: Source of the faces.
    """

    def __init__(self, root: Path, size: int, find: DetectedFaces | GivenFaces) -> None:
        self.root, self.size, self.find = root, size, find

    def name(self, file: Path) -> str:
        """Return the name of a file in the manifest."""
        return os.path.relpath(file, self.root).replace(os.sep, "/")

    def state(self, file: Path) -> Entry:
        """Return all that the result for a file depends on: size and time of the file, and the settings."""
        status = file.stat()
        return {
            "bytes": status.st_size,
            "changed": status.st_mtime_ns,
            "size": self.size,
            "faces": self.find.settings(self.name(file)),
        }

    def __call__(self, file: Path) -> AlignedPhoto:
        entry: Entry = {"file": self.name(file), "status": "ok", "reason": None, "outputs": []}
        result = AlignedPhoto(entry)
        try:
            entry["state"] = self.state(file)
            read = read_reduced(file)
            photo = read.pixels  # [H, W, 3]
            entry["photo"] = [round(photo.shape[1] * read.shrunk), round(photo.shape[0] * read.shrunk)]
            faces = self.find(entry["file"], photo, read.shrunk)
        except OSError as error:
            return _failed(result, "unreadable", error.strerror or str(error))
        except ImageError as error:
            return _failed(result, "unreadable", str(error))
        except Exception as error:  # an error in one photo must not stop the others
            return _failed(result, "failed", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
        return self._align(result, photo, faces, read.shrunk)

    def _align(self, result: AlignedPhoto, photo: np.ndarray, faces: list[Face], shrunk: float) -> AlignedPhoto:
        refused = self.find.refused(result.entry["file"]) if isinstance(self.find, GivenFaces) else None
        for face in faces:
            try:
                picture, crop = align(photo, face.landmarks, self.size)  # [S, S, 3]
            except UserError as error:  # the landmarks, outside of the photo or in one point, are not those of a face
                refused = refused or str(error)
                continue
            result.pictures.append(picture)
            result.entry["outputs"].append(_output(face, crop, shrunk))
        if refused and (isinstance(self.find, GivenFaces) or not result.pictures):
            return _failed(result, "bad_landmarks", refused)
        if result.pictures:
            return result
        if isinstance(self.find, GivenFaces):
            return _failed(result, "not_listed", "the file of landmarks does not contain it")
        return _failed(result, "no_face", "no face was found")


def _failed(result: AlignedPhoto, status: str, reason: str) -> AlignedPhoto:
    result.entry.update(status=status, reason=reason)
    return result


def _output(face: Face, crop: Crop, shrunk: float) -> Entry:
    """Describe an aligned face for the manifest.

    All coordinates are in pixels of the file, whose sides are `shrunk` times those of the photo that was read. The
    `quad` defines the `Crop` that `psp.inference.align.paste_back` needs.
    """
    box, landmarks = (_scaled(np.asarray(numbers, np.float64), shrunk) for numbers in (face.box, face.landmarks))
    quad = crop.moved(0, 0, shrunk).quad
    return {"quad": quad, "box": box.round(1).tolist(), "landmarks": landmarks.round(2).tolist()}


def _scaled(numbers: np.ndarray, scale: float) -> np.ndarray:
    """Scale coordinates whose origin is at the centre of the first pixel."""
    return numbers if scale == 1.0 else (numbers + 0.5) * scale - 0.5


@dataclass
class AlignmentSummary:
    """The outcome of aligning a folder."""

    photos: int
    faces: int = 0
    failures: list[str] = field(default_factory=list)
    """one line for each photo without an aligned face"""
    missing: int = 0
    """number of photos without an entry, because the processes that had them were lost"""
    lost: list[int] = field(default_factory=list)
    """the numbers of these processes"""


def align_folder(
    files: Sequence[Path], aligner: Aligner, folder: Path, workers: int, group: WorkGroup | None = None
) -> AlignmentSummary | None:
    """Write the aligned pictures and the manifest of `files` into `folder`.

    A file is skipped if the manifest in the folder lists it as aligned, and if the file, the settings and the pictures
    are unchanged. Entries are appended when they are ready and are sorted at the end; only their positions in the file
    are held in memory.

    Args:
        files: All photos.
        aligner: The function that aligns one photo.
        folder: Folder for the results.
        workers: Number of photos that are aligned at a time.
        group: The processes that share the work; by default only this process.

    Returns:
        The outcome for all files, in the first process of the group; None in the others.

    Raises:
        UserError: The folder cannot be written, or the processes of the group find different photos.
    """
    group = group or WorkGroup()
    numbers = {aligner.name(file): number for number, file in enumerate(files)}
    group.check_same(
        "photos", _digest(numbers), "found other photos than process 0: give all processes the same folder"
    )
    with _known(numbers, folder) as known:
        todo = _share_todo(files, aligner, known, folder, group)
        names = Names(files, aligner.root, reserved=_names_in_use(known, len(files), todo))
    done = len(files) - len(todo)
    if done:
        print(f"{done} of {len(files)} photos are aligned already")
    # The first process appends to the manifest directly, so that its results are kept if a run with one process dies.
    with Journal(folder / PARTS, folder / MANIFEST if group.is_first else None) as journal:
        dealt = (files[todo[place]] for place in group.deal("photos", len(todo)))
        aligned = ordered_map(aligner, dealt, workers)
        total = len(files) if group.is_alone else None
        for result in track(aligned, "aligning", "photo", total=total, initial=done if group.is_alone else 0):
            _write_or_list(result, files[numbers[result.entry["file"]]], names, folder)
            journal.append(result.entry)
    lost = group.finish()
    return replace(_join(numbers, folder), lost=lost) if group.is_first else None


def _write_or_list(result: AlignedPhoto, file: Path, names: Names, folder: Path) -> None:
    """Write the pictures of a file, or record in its entry that they cannot be written.

    Raises:
        UserError: The disk accepts no file at all.
    """
    try:
        _write_pictures(result, file, names, folder)
    except UserError as error:
        if not is_of_one_file(error):
            raise
        result.entry["outputs"] = []
        _failed(result, "not_written", str(error))


def _write_pictures(result: AlignedPhoto, file: Path, names: Names, folder: Path) -> None:
    for index, (picture, output) in enumerate(zip(result.pictures, result.entry["outputs"], strict=True)):
        output["aligned"] = f"{names.of_face(file, index)}.png"
        images.write_image(folder / output["aligned"], picture)


def _share_todo(files: Sequence[Path], aligner: Aligner, known: Records, folder: Path, group: WorkGroup) -> np.ndarray:
    """Return the numbers of the files to align, int64 [n], which the first process determines for all."""
    if not group.is_first:
        return np.frombuffer(group.share("todo"), np.int64)
    remove_partial_files(folder, subfolders=True)
    todo = np.array([n for n, file in enumerate(files) if not _is_done(file, n, aligner, known, folder)], np.int64)
    group.share("todo", todo.tobytes())
    return todo


def _known(numbers: Mapping[str, int], folder: Path) -> Records:
    """Open the entries of a manifest, and those of other processes that have not been joined yet."""
    return Records([folder / MANIFEST, *journals(folder / PARTS)], numbers, "file", _is_entry)


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogatepass")).hexdigest()


def _names_in_use(known: Records, count: int, todo: np.ndarray) -> Iterator[str]:
    """Yield the names of the pictures of all files that are aligned already."""
    open_numbers = set(todo.tolist())
    for number in range(count):
        if number not in open_numbers and (entry := known.get(number)):
            for output in entry["outputs"]:
                yield output["aligned"].removesuffix(".png")


def _join(numbers: Mapping[str, int], folder: Path) -> AlignmentSummary:
    """Rewrite the manifest from all records, with one entry per file in the order of the files."""
    summary = AlignmentSummary(len(numbers))
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


def _is_entry(entry: object) -> bool:
    """Check that a line is a valid entry whose pictures are inside the folder, because anybody may have written it."""
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        return False
    outputs = entry.get("outputs")
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        return False
    names = [output.get("aligned") for output in outputs]
    return all(isinstance(name, str) and name.endswith(".png") and is_safe_path(name) for name in names)


def _is_done(file: Path, number: int, aligner: Aligner, known: Records, folder: Path) -> bool:
    entry = known.get(number) or {}
    if entry.get("status") != "ok" or not file.is_file() or entry.get("state") != aligner.state(file):
        return False
    return all((folder / output["aligned"]).is_file() for output in entry["outputs"])


def summarize(summary: AlignmentSummary, folder: Path) -> int:
    """Print the outcome, and print and write which photos failed and why.

    Args:
        summary: The outcome.
        folder: Folder of the results.

    Returns:
        The exit code: 0 if every photo was aligned, else 1.

    Raises:
        UserError: Photos are missing because processes were lost.
    """
    lines = [printable(line) for line in summary.failures]  # names may contain bytes that are not valid text
    for line in lines:
        print(line, file=sys.stderr)
    (folder / FAILURES).unlink(missing_ok=True)
    if lines:
        write_text(folder / FAILURES, "".join(line + "\n" for line in lines))
    done = summary.photos - len(lines) - summary.missing
    print(f"{done} of {summary.photos} photos gave {summary.faces} aligned faces: {folder}")
    if summary.missing:
        raise UserError(lost_message(summary.lost, summary.missing, "photos"))
    return 1 if lines else 0
