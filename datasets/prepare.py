"""Preparation of photos for training: they are validated, cropped to squares, resized and packed into an archive.

Files that are left out are listed with the reason. Procedural faces can be packed in the same way, so that a training
reads them instead of rendering them.
"""

import hashlib
import json
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from datasets.archive import Archive, check_out, open_archive
from datasets.folder import MODES, ImageFiles
from datasets.label_files import format_dataset_json
from datasets.labels import DATASET_JSON, numbered
from datasets.prepared import Prepared, parts_of, prepare_together
from datasets.read_ahead import read_ahead, read_here
from datasets.shard_writer import Number, by_kind, numbered_labels, open_shards
from datasets.shards import ShardFiles
from datasets.synthetic import EncodedFaces, SyntheticFaces, encode_png
from psp.inference.names import Names
from stylegan2.runtime import images
from stylegan2.runtime.errors import ImageError, UserError
from stylegan2.runtime.files import atomic_file, writing
from stylegan2.runtime.progress import track
from stylegan2.runtime.work_group import WorkGroup, ordered_map

NOTES = {
    "gray": "{count} of them are grayscale and were converted to {channels} equal channels",
    "colour": "{count} of them were in colour and were converted to grayscale",
    "transparent": "{count} of them were transparent and were placed on white",
}
PAD, PADDING_JSON = "pad", "padding.json"
CLASSES_JSON = "classes.json"
LEFT_OUT_SUFFIX = ".left_out.txt"
SHOWN_CLASSES = 20


@dataclass(frozen=True)
class Recipe:
    """The requirements for photos, and how they are converted."""

    resolution: int
    """side of the prepared images in pixels"""
    channels: int = 3
    """1 for grayscale, 3 for RGB, 4 for RGBA"""
    crop: str = "center"
    """center, top or none (see `square_box`), or pad to place the whole photo on a black square"""
    min_side: int = 0
    """smallest side of the square in pixels, before it is resized"""
    max_aspect: float = float("inf")
    """largest ratio of the longer side to the shorter side"""


@dataclass
class Outcome:
    """The outcome of preparing all files."""

    total: int
    """number of files"""
    kept: dict[str, str] = field(default_factory=dict)
    """{file: its name in the archive}"""
    left_out: list[Prepared] = field(default_factory=list)
    """the files that were left out, with the reasons"""
    notes: Counter[str] = field(default_factory=Counter)
    """{key of NOTES: number of images}"""
    regions: dict[str, images.Region] = field(default_factory=dict)
    """{name in the archive: region of the photo in the image}, for padded photos"""
    classes: Counter[str] = field(default_factory=Counter)
    """{class: number of images}"""


def prepare_folder(
    files: ImageFiles | ShardFiles,
    out: Path,
    recipe: Recipe,
    labels: Mapping[str, str | tuple[float, ...]] | None = None,
    keep_duplicates: bool = False,
    workers: int = 1,
    group: WorkGroup | None = None,
    per_shard: int = 0,
) -> Outcome | None:
    """Prepare all usable files and write them to a new folder or .zip file, which appears only when it is complete.

    Args:
        files: The photos.
        out: The new folder, or .zip file.
        recipe: The requirements for photos, and how they are converted.
        labels: {file: class or vector}; files that are not in it are left out. Classes with at least one image are
            numbered from 0, and `dataset.json` holds the number of each image. For shards, all classes are numbered,
            and `classes.json` lists them.
        keep_duplicates: Whether to keep images that equal an earlier one in every pixel.
        workers: Number of photos that are prepared at a time.
        group: The processes that share the work; None for this process alone.
        per_shard: Number of images per WebDataset shard in the folder `out`; 0 writes no shards.

    Returns:
        The outcome, in the first process of the group; None in the others.

    Raises:
        UserError: `out` exists or cannot be written, no file can be used, or processes of the group were lost.
    """
    names = [files.relative(index) for index in range(len(files))]
    outcome, seen = Outcome(len(files)), {}
    work = partial(ordered_map, partial(prepare, files, recipe=recipe, labels=labels), workers=workers)
    items = _prepare_all(names, work, out, partial(_key, files, recipe, labels), group, "preparing")
    if items is None:
        return None
    targets = Names(map(Path, names), Path())
    numbers, classes = numbered_labels(labels or {}) if per_shard else ({}, [])
    own_labels = {f"{targets.of_file[Path(name)]}.png": number for name, number in numbers.items()}
    with writing(out), _open(out, per_shard, own_labels) as archive:
        for item in track(items, "packing", "image", total=len(files)):
            first = seen.setdefault(item.digest, item.name) if item.reason is None else item.name
            if first != item.name and not keep_duplicates:
                item.reason, item.detail = "duplicate", f"it is the same as {first}"
            _keep(item, f"{targets.of_file[Path(item.name)]}.png", archive, outcome)
        if not outcome.kept:
            first_left_out = outcome.left_out[0]
            raise UserError(f"none of the {len(files)} images can be used: {_line(first_left_out)}")
        if outcome.regions:
            archive(PADDING_JSON, (json.dumps(outcome.regions, indent=1) + "\n").encode())
        if labels is not None and per_shard:
            outcome.classes = Counter(dict.fromkeys(classes, 0))
            outcome.classes.update(str(labels[name]) for name in outcome.kept if classes)
            archive(CLASSES_JSON, json.dumps(classes).encode())
        elif labels is not None:
            own = {target: labels[name] for name, target in outcome.kept.items()}
            archive(DATASET_JSON, _dataset_json(own, outcome).encode())
    return outcome


def _open(out: Path, per_shard: int, labels: Mapping[str, Number]) -> AbstractContextManager[Archive]:
    return open_shards(out, per_shard, labels) if per_shard else open_archive(out)


def _prepare_all(
    names: Sequence[str],
    work: Callable[[Iterable[int]], Iterable[Prepared]],
    out: Path,
    key: Callable[[], object],
    group: WorkGroup | None,
    verb: str,
) -> Iterable[Prepared] | None:
    """Prepare all images in order, lazily if this process works alone; None in all processes but the first."""
    check_out(out)
    group = group or WorkGroup()
    if group.is_alone and not parts_of(out).exists():  # no images of an earlier group are left on disk
        return work(range(len(names)))
    items = prepare_together(names, work, out, key(), group, verb)
    return items if group.is_first else None


def _key(
    files: ImageFiles | ShardFiles, recipe: Recipe, labels: Mapping[str, str | tuple[float, ...]] | None
) -> list[object]:
    """Return everything that determines the prepared images, as JSON."""
    return [asdict(recipe), files.digest(), None if labels is None else sorted(labels.items())]


def _dataset_json(labels: Mapping[str, str | tuple[float, ...]], outcome: Outcome) -> str:
    """Write dataset.json and count the classes. UserError: some labels are classes and others vectors."""
    vectors, classes = by_kind(labels)
    outcome.classes = Counter(classes.values())
    return format_dataset_json(vectors, []) if vectors else format_dataset_json(*numbered(classes))


def _keep(item: Prepared, target: str, archive: Archive, outcome: Outcome) -> None:
    if item.reason is None:
        archive(target, item.png)
        outcome.kept[item.name] = target
        if item.region is not None:
            outcome.regions[target] = item.region
        outcome.notes.update(item.notes)
    else:
        item.png = b""
        outcome.left_out.append(item)


def prepare(
    files: ImageFiles | ShardFiles, index: int, recipe: Recipe, labels: Mapping[str, str | tuple[float, ...]] | None
) -> Prepared:
    """Read, validate, crop, resize and encode one file. This function is thread-safe.

    Args:
        files: The photos.
        index: Index of the file.
        recipe: The requirements for photos, and how they are converted.
        labels: {file: class or vector}; None if no labels are needed.

    Returns:
        The prepared image, or the reason why the file is left out.
    """
    item = Prepared(index, files.relative(index))
    item.reason, item.detail = _refusal(item.name, labels)
    if item.reason is not None:
        return item
    try:
        photo = files.read(index, "rgba")  # [H, W, 4]
        box = _checked_box(photo, recipe, item)
        if box is None:
            return item
        item.notes = _notes(photo, recipe.channels)
        if recipe.channels == 1 or "transparent" in item.notes:  # the reader composites over white
            photo = files.read(index, MODES[recipe.channels])  # [H, W, C]
    except ImageError as error:
        item.reason, item.detail = "unreadable", str(error)
        return item
    top, left, side = box
    if recipe.crop == PAD:
        square, item.region = images.pad_square(photo[..., : recipe.channels])  # [side, side, C]
    else:
        square = photo[top : top + side, left : left + side, : recipe.channels]  # [side, side, C]
    picture = images.resize(square, (recipe.resolution, recipe.resolution))  # [R, R, C]
    item.png, item.digest = encode_png(picture), hashlib.sha256(picture.tobytes()).digest()
    return item


def _refusal(name: str, labels: Mapping[str, str | tuple[float, ...]] | None) -> tuple[str | None, str]:
    """Return (reason, detail) if a file has to be left out without reading it, else (None, "").

    Names in a zip file may lead out of its folder, and names on a disk need not be valid text.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        return "bad_name", "rename it"
    if labels is not None and name not in labels:
        return "no_label", "no class is given for it"
    return None, ""


def _checked_box(photo: np.ndarray, recipe: Recipe, item: Prepared) -> tuple[int, int, int] | None:
    """Return the square to crop as (top, left, side); None, with the reason in `item`, if the photo is rejected."""
    height, width = photo.shape[:2]
    box = (0, 0, max(height, width)) if recipe.crop == PAD else square_box(height, width, recipe.crop)
    if box is None or max(height, width) > recipe.max_aspect * min(height, width):
        problem = "it is not square" if box is None else f"its sides differ by more than {recipe.max_aspect:g} times"
        item.reason, item.detail = "aspect", f"{width} x {height} pixels: {problem}"
    elif box[2] < recipe.min_side:
        item.reason, item.detail = "too_small", f"{width} x {height} pixels: less than {recipe.min_side}"
    return box if item.reason is None else None


def square_box(height: int, width: int, crop: str) -> tuple[int, int, int] | None:
    """Choose the largest square of an image.

    Args:
        height, width: Size of the image in pixels.
        crop: "center" for the centre; "top" for the upper end of tall images, where portraits show the face; "none" to
            accept square images only.

    Returns:
        (top, left, side) in pixels, or None if `crop` is "none" and the image is not square.
    """
    if crop == "none" and height != width:
        return None
    side = min(height, width)
    top = 0 if crop == "top" else (height - side) // 2
    return top, (width - side) // 2, side


def _notes(photo: np.ndarray, channels: int) -> list[str]:
    """Return the keys of NOTES that apply to a photo, uint8 [H, W, 4]."""
    colours, alpha = photo[..., :3], photo[..., 3]
    gray = bool((colours == colours[..., :1]).all())
    notes = [] if gray == (channels == 1) else ["gray" if gray else "colour"]
    return notes + (["transparent"] if channels != 4 and int(alpha.min()) < 255 else [])


# ---------------------------------------------------------------------------------------- procedural faces


def prepare_faces(
    faces: SyntheticFaces, out: Path, workers: int = 1, group: WorkGroup | None = None, per_shard: int = 0
) -> Outcome | None:
    """Render procedural faces into a new folder or .zip file, which appears only when it is complete.

    Args:
        faces: The faces.
        out: The new folder, or .zip file.
        workers: Number of processes that render; it does not change the result.
        group: The processes that share the work; None for this process alone.
        per_shard: Number of images per WebDataset shard in the folder `out`; 0 writes no shards.

    Returns:
        The outcome, in the first process of the group; None in the others.

    Raises:
        UserError: `out` exists or cannot be written, or processes of the group were lost.
    """
    outcome, names = Outcome(len(faces)), [f"{index:06d}.png" for index in range(len(faces))]
    key = partial(list, ["faces", faces.resolution, faces.seed])
    items = _prepare_all(names, partial(_render, faces, workers), out, key, group, "rendering")
    if items is None:
        return None
    with writing(out), _open(out, per_shard, {}) as archive:
        for item in track(items, "packing", "image", total=len(faces)):
            _keep(item, item.name, archive, outcome)
    return outcome


def _render(faces: SyntheticFaces, workers: int, numbers: Iterable[int]) -> Iterator[Prepared]:
    """Render faces in order, with processes instead of threads, because rendering consists of many steps in Python."""
    keys = ([(number, number)] for number in numbers)
    rendered = read_ahead(EncodedFaces(faces), keys, workers) if workers else read_here(EncodedFaces(faces), keys)
    with closing(rendered):
        for index, png in rendered:  # [1], [1, L]
            yield Prepared(int(index), f"{int(index):06d}.png", png.numpy().tobytes())


# ---------------------------------------------------------------------------------------------- summary


def summarize(outcome: Outcome, out: Path, recipe: Recipe) -> int:
    """Print the outcome, and list the files that were left out on standard error and in a file next to `out`.

    Returns:
        The exit code: 0 if no file was left out, else 1.
    """
    lines = [_line(item) for item in outcome.left_out]
    for line in lines:
        print(line, file=sys.stderr)
    listing = out.with_name((out.stem if out.suffix.lower() == ".zip" else out.name) + LEFT_OUT_SUFFIX)
    with writing(listing):
        if lines:
            with atomic_file(listing, durable=False) as file:
                file.write("".join(line + "\n" for line in lines).encode())
        else:
            listing.unlink(missing_ok=True)
    print(f"{len(outcome.kept):,} of {outcome.total:,} images at {recipe.resolution} px: {out}")
    for note, count in sorted(outcome.notes.items()):
        print(NOTES[note].format(count=f"{count:,}", channels=recipe.channels))
    if outcome.classes:
        names = numbered({name: name for name in outcome.classes})[1]
        counts = [f"{k} {name} ({outcome.classes[name]:,})" for k, name in enumerate(names)]
        shown = ", ".join(counts[:SHOWN_CLASSES]) + (", ..." if len(counts) > SHOWN_CLASSES else "")
        print(f"{len(counts)} classes: {shown}")
    if outcome.left_out:
        reasons = Counter(str(item.reason) for item in outcome.left_out)
        print(f"left out: {', '.join(f'{count:,} {reason}' for reason, count in reasons.most_common())}; see {listing}")
    return 1 if outcome.left_out else 0


def _line(item: Prepared) -> str:
    name = ascii(item.name) if item.reason == "bad_name" else item.name
    return f"{item.reason}: {name}: {item.detail}"
