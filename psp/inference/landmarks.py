"""A reader for files of landmarks or boxes, with which the user states where the faces are instead of detecting them.

Each face is a box (x0, y0, x1, y1), 5 landmarks (eyes, nose, mouth corners; the left one in the image first) or 68
landmarks (iBUG order). Landmarks are (x, y). All coordinates are in pixels of the upright photo, with the origin at the
centre of its first pixel. File names are relative to the folder of photos and contain slashes. A photo may have several
faces. A face that cannot be used is replaced by the reason, so that it does not stop the others.

    .json   {"a/x.jpg": FACE or [FACE, ...]}, where a FACE is a list of numbers or of pairs [x, y]
    .csv    one line per face: a/x.jpg,x,y,x,y,...; a header line is skipped
    .npz    `files` [M], and `landmarks` [M, 5, 2] or [M, 68, 2] or `boxes` [M, 4], with one row per face
"""

import csv
from pathlib import Path

import numpy as np

from stylegan2.runtime.bounded import MAX_TEXT, read_arrays, read_json, reading
from stylegan2.runtime.errors import UserError

SHAPES = {4: (4,), 10: (5, 2), 136: (68, 2)}  # {count of numbers: shape of the array}
MAX_FACES = 500  # per photo
MAX_COORDINATE = 1e6  # px, more than the width of any photo
Faces = dict[str, list[np.ndarray | str]]
"""{name of a photo: its faces}; text in place of a face says why it cannot be used, after the words "a face" """


def read_landmarks(path: Path) -> Faces:
    """Read the faces of photos from a .json, .csv or .npz file.

    Returns:
        {name of a photo: its faces}. Each face is a float64 array: a box [4], or landmarks [5, 2] or [68, 2]; or text,
        the reason why it cannot be used.

    Raises:
        UserError: The file cannot be read or has another format, or none of its faces can be used.
    """
    readers = {".json": _from_json, ".csv": _from_csv, ".npz": _from_npz}
    if path.suffix.lower() not in readers:
        raise UserError(f"landmarks are read from {', '.join(readers)} files, not from {path.name!r}")
    if not path.is_file():
        raise UserError(f"there is no file {str(path)!r} of landmarks")
    with reading(path, "a file of landmarks"):
        if path.stat().st_size > MAX_TEXT:
            raise UserError(f"it is larger than the {MAX_TEXT:,} bytes that are allowed")
        photos = readers[path.suffix.lower()](path)
        if not photos:
            raise UserError("it contains no file names")
        photos = {name: _limited(faces) for name, faces in photos.items()}
        _check_any(photos)
    return photos


def _limited(faces: list[np.ndarray | str]) -> list[np.ndarray | str]:
    if len(faces) <= MAX_FACES:
        return faces
    return [f"is one of {len(faces):,}; at most {MAX_FACES} are allowed for a photo"]


def _check_any(photos: Faces) -> None:
    """Raise a UserError that describes the first face that cannot be used if no other can."""
    reasons = [(name, face) for name, faces in photos.items() for face in faces if isinstance(face, str)]
    if reasons and not any(isinstance(face, np.ndarray) for faces in photos.values() for face in faces):
        name, reason = reasons[0]
        raise UserError(f"a face of {name[:200]!r} {reason}")


def _from_json(path: Path) -> Faces:
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError("it must be an object of file names and their faces")
    return {name: _faces(value) for name, value in content.items()}


def _faces(value: object) -> list[np.ndarray | str]:
    """Read one face or a list of faces. A face is a list of numbers or of pairs; anything else is a list of faces."""
    if not isinstance(value, list):
        return ["is not a list of numbers or of faces"]
    if value == []:
        return []
    pairs = all(isinstance(item, list) and len(item) == 2 for item in value)
    numbers = not any(isinstance(item, list) for item in value)
    return [_face(value)] if pairs or numbers else [_face(face) for face in value]


def _from_csv(path: Path) -> Faces:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [line for line in csv.reader(file) if line]
    photos: Faces = {}
    for number, (name, *values) in enumerate(lines):
        if number == 0 and not _is_number(values[0] if values else ""):
            continue  # the header
        photos.setdefault(name, []).append(_face([value for value in values if value.strip()]))
    return photos


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _from_npz(path: Path) -> Faces:
    arrays = read_arrays(path, ("files", "landmarks", "boxes"))
    kind = next((kind for kind in ("landmarks", "boxes") if kind in arrays), None)
    if kind is None or "files" not in arrays:
        raise UserError(
            f"it needs arrays called files and landmarks or boxes, and has {', '.join(arrays) or 'neither'}"
        )
    names, values = arrays["files"], arrays[kind]
    if names.ndim != 1 or names.dtype.kind != "U" or values.ndim < 2:
        raise UserError(f"its files are not a list of names, or its {kind} are not rows of numbers")
    if len(names) != len(values):
        raise UserError(f"it has {len(names)} files and {len(values)} {kind}")
    photos: Faces = {}
    for name, value in zip(names, values, strict=True):
        photos.setdefault(str(name), []).append(_face(value))
    return photos


def _face(value: object) -> np.ndarray | str:
    """Read a face, [4], [5, 2] or [68, 2], or say why it cannot be used."""
    try:
        numbers = np.asarray(value, np.float64).ravel()
    except (TypeError, ValueError):
        return "has values that are not numbers"
    if value is None:
        return "is null"
    if numbers.size not in SHAPES:
        return f"has {numbers.size} numbers: give 4 (a box), 10 or 136 (5 or 68 landmarks)"
    if not (np.abs(numbers) <= MAX_COORDINATE).all():  # also true for NaN
        return "has numbers that are not finite, or are outside of any photo"
    if numbers.size == 4 and (numbers[2] <= numbers[0] or numbers[3] <= numbers[1]):
        return "has an empty box: give x0, y0, x1, y1 with x0 < x1 and y0 < y1"
    return numbers.reshape(SHAPES[numbers.size])
