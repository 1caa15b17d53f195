"""A reader for files of landmarks or boxes, with which the user states where the faces are instead of detecting them.

Each face is a box (x0, y0, x1, y1), 5 landmarks (eyes, nose, mouth corners; the left one in the image first) or 68
landmarks (iBUG order). Landmarks are (x, y). All coordinates are in pixels of the upright photo, with the origin at the
centre of its first pixel. File names are relative to the folder of photos and contain slashes. A photo may have several
faces.

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
Faces = dict[str, list[np.ndarray]]


def read_landmarks(path: Path) -> Faces:
    """Read the faces of photos from a .json, .csv or .npz file.

    Returns:
        {name of a photo: its faces}. Each face is a float64 array: a box [4], or landmarks [5, 2] or [68, 2].

    Raises:
        UserError: The file cannot be read or has another format, or the coordinates of a face are invalid.
    """
    readers = {".json": _from_json, ".csv": _from_csv, ".npz": _from_npz}
    if path.suffix.lower() not in readers:
        raise UserError(f"landmarks are read from {', '.join(readers)} files, not from {path.name!r}")
    if not path.is_file():
        raise UserError(f"there is no file {str(path)!r} of landmarks")
    with reading(path, "a file of landmarks"):
        if path.stat().st_size > MAX_TEXT:
            raise UserError(f"it is larger than the {MAX_TEXT:,} bytes that are allowed")
        found = readers[path.suffix.lower()](path)
        for name, faces in found.items():
            if len(faces) > MAX_FACES:
                raise UserError(f"{name[:200]!r} has {len(faces):,} faces; at most {MAX_FACES} are allowed for a photo")
    if not found:
        raise UserError(f"{str(path)!r} contains no file names")
    return found


def _from_json(path: Path) -> Faces:
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError("it must be an object of file names and their faces")
    return {name: _faces(name, value) for name, value in content.items()}


def _faces(name: str, value: object) -> list[np.ndarray]:
    """Read one face or a list of faces. A face is a list of numbers or of pairs; anything else is a list of faces."""
    if not isinstance(value, list):
        raise UserError(f"its entry for {name[:200]!r} is not a list of numbers or of faces")
    if value == []:
        return []
    pairs = isinstance(value, list) and all(isinstance(item, list) and len(item) == 2 for item in value)
    numbers = isinstance(value, list) and not any(isinstance(item, list) for item in value)
    return [_face(name, value)] if pairs or numbers else [_face(name, face) for face in value]


def _from_csv(path: Path) -> Faces:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [line for line in csv.reader(file) if line]
    found: Faces = {}
    for number, (name, *values) in enumerate(lines):
        if number == 0 and not _is_number(values[0] if values else ""):
            continue  # the header
        found.setdefault(name, []).append(_face(name, [value for value in values if value.strip()]))
    return found


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
    found: Faces = {}
    for name, value in zip(names, values, strict=True):
        found.setdefault(str(name), []).append(_face(str(name), value))
    return found


def _face(name: str, value: object) -> np.ndarray:
    name = name[:200]  # limits the length of messages
    try:
        numbers = np.asarray(value, np.float64).ravel()
    except (TypeError, ValueError):
        raise UserError(f"a face of {name!r} has values that are not numbers") from None
    if numbers.size not in SHAPES:
        raise UserError(f"a face of {name!r} has {numbers.size} numbers: give 4 (a box), 10 or 136 (5 or 68 landmarks)")
    if not (np.abs(numbers) <= MAX_COORDINATE).all():  # also true for NaN
        raise UserError(f"a face of {name!r} has numbers that are not finite, or are outside of any photo")
    if numbers.size == 4 and (numbers[2] <= numbers[0] or numbers[3] <= numbers[1]):
        raise UserError(f"a box of {name!r} is empty: give x0, y0, x1, y1 with x0 < x1 and y0 < y1")
    return numbers.reshape(SHAPES[numbers.size])  # [4], [5, 2] or [68, 2]
