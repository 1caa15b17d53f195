"""Labels of images, from a file of labels (`datasets.label_files`) or from the names of subfolders.

A label is either a class or a vector of attributes or continuous values. Subfolders count as classes only if there is
no file of labels, and not if their names are those of parts of a data set, such as train and val.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, islice, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datasets.label_files import Label, parse_csv, parse_dataset_json, plain
from stylegan2.runtime.bounded import MAX_TEXT
from stylegan2.runtime.errors import UserError

DATASET_JSON = "dataset.json"  # {"labels": [[name, class or vector], ...]}, next to the images or in a parent folder
FOLDERS = "folders"
PARTS = {"train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval", "images", "imgs"}
UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # the byte-order marks of UTF-16, which Windows writes
LONGEST_NUMBER = 18  # digits of a class number; longer ones are treated as names
DEEPEST = 32  # number of parent folders that are searched for labels
MAX_KEPT, MAX_KEPT_NUMBERS = 1000, 50_000  # largest number of vectors, and of their values, that a generator keeps
SHOWN = 3  # number of names in a message
SURE = 0.9  # share of vectors of one length from which on the others are mistakes


def find_labels(
    names: Sequence[str], dataset_json: bytes | None, where: str, root: str = ""
) -> list[Label | None] | None:
    """Return the label of each image of a folder or zip file, or None if there are no labels.

    Args:
        names: Paths of the images relative to the top, with "/".
        dataset_json: Content of dataset.json; None without that file, in which case subfolders are the classes.
        where: Name of the data set, for messages.
        root: The folder of dataset.json, such as "my photos/", to which the names in it are relative.

    Returns:
        One label per image, which is None for an image without a label; or None if there are no labels at all.

    Raises:
        UserError: dataset.json is damaged or lists none of the images, or the subfolders cannot be classes.
    """
    if dataset_json is None:
        return class_folders(names, where)
    given = parse_dataset_json(dataset_json, f"{where}/{root}{DATASET_JSON}")
    if given is None:
        return None
    labels = [given.get(plain(name.removeprefix(root))) for name in names]
    if all(label is None for label in labels):
        raise UserError(
            f"{where}/{root}{DATASET_JSON} contains no label for {listed(names)}: its names begin with"
            f" {min(given, default='')!r}"
        )
    return labels


def class_folders(names: Sequence[str], where: str) -> list[Label | None] | None:
    """Return the top subfolder of each image as its class.

    Args:
        names: Paths of the images relative to the top, with "/".
        where: Name of the data set, for messages.

    Returns:
        One class per image, which is None for images outside of subfolders; or None with fewer than two subfolders.

    Raises:
        UserError: Several subfolders are parts of a data set, such as train and val, or all are numbered parts.
    """
    folders = top_folders(names)
    classes = sorted(set(folders) - {""})
    if len(classes) < 2:
        return None
    parts = [folder for folder in classes if folder.lower() in PARTS]
    if len(parts) > 1:
        raise UserError(
            f"the folders {listed(parts)} of {where} are parts of a data set, not classes: give one of them as `data`"
        )
    if all(len(folder) == 5 and folder.isdecimal() for folder in classes) and _are_shards([int(f) for f in classes]):
        raise UserError(
            f"the folders {listed(classes)} of {where} are numbered parts, not classes: give a {DATASET_JSON}, "
            f"such as the one that prepare_data.py writes"
        )
    return [folder or None for folder in folders]


class EncodedLabels(NamedTuple):
    """Labels in the form in which networks are conditioned on them."""

    values: np.ndarray
    """classes as int64 [M], or vectors as float32 [M, K]"""
    indices: np.ndarray
    """int64 [M], the indices of the M images that have a label"""
    messages: list[str]
    """messages for the user: how many images have no label, and the order in which classes were numbered"""


def encode_labels(labels: Sequence[Label | None], where: str) -> EncodedLabels:
    """Convert labels to the form in which networks are conditioned on them.

    Class names are numbered in sorted order. Class numbers stay as they are, unless the largest is not below the number
    of images: then the classes that occur are numbered from 0.

    Args:
        labels: One label per image; None for an image without a label.
        where: Name of the data set, for messages.

    Raises:
        UserError: Some labels are classes and others vectors, or vectors differ in length, and not only a few of them.
    """
    messages = []
    lengths = Counter(len(label) for label in labels if isinstance(label, tuple))
    length, count = next(iter(lengths.most_common(1)), (0, 0))
    if len(lengths) > 1 and count > SURE * lengths.total():  # a few of them are mistakes
        messages.append(
            f"{lengths.total() - count:,} of {lengths.total():,} labels of {where} do not have {length} numbers and"
            " count as no label"
        )
        labels = [None if isinstance(label, tuple) and len(label) != length else label for label in labels]
    indices = np.array([index for index, label in enumerate(labels) if label is not None], np.int64)  # [M]
    given: list[Any] = [label for label in labels if label is not None]
    if len(indices) < len(labels):
        messages.append(
            f"{len(labels) - len(indices):,} of {len(labels):,} images of {where} have no label and are left out"
        )
    if any(isinstance(label, tuple) for label in given):
        if len({len(label) if isinstance(label, tuple) else 0 for label in given}) > 1:
            raise UserError(
                f"the labels of {where} are classes for some images and vectors for others, or of several lengths"
            )
        return EncodedLabels(np.array(given, np.float32), indices, messages)  # [M, K]
    if any(isinstance(label, str) for label in given) or max(given, default=0) >= len(labels):
        number = {name: k for k, name in enumerate(in_order({str(label) for label in given}))}
        messages.append(f"{len(number)} classes of {where}: {listed(list(number))}")
        given = [number[str(label)] for label in given]
    return EncodedLabels(np.array(given, np.int64), indices, messages)  # [M]


def number_of_classes(labels: np.ndarray | None) -> int:
    """Return the size of a network's condition: the number of classes, or of values per vector; 0 without labels.

    Args:
        labels: Classes as int64 [N], vectors as float32 [N, K], or None.
    """
    if labels is None:
        return 0
    return labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1


def rows_to_keep(labels: np.ndarray | None) -> np.ndarray | None:
    """Draw label vectors that a generator stores, to sample its condition from them later.

    Their number is small enough for the metadata of a checkpoint, and they are the same at every call.

    Args:
        labels: Classes as int64 [N], vectors as float32 [N, C], or None.

    Returns:
        float32 [K, C]; None if the labels are no vectors.
    """
    if labels is None or labels.ndim == 1:
        return None
    count = min(len(labels), MAX_KEPT, max(1, MAX_KEPT_NUMBERS // labels.shape[1]))
    return labels[np.random.default_rng(0).permutation(len(labels))[:count]]  # [K, C]


def read_labels(source: str, names: Iterable[str]) -> dict[str, str | tuple[float, ...]]:
    """Read the labels of images from a file or from their folders.

    Args:
        source: "folders" for the top subfolder of each image, or a .csv file with lines `name,class` or
            `name,number,number,...`, with or without a header, or a .json file in NVIDIA's format.
        names: Paths of the images relative to the top, with "/".

    Returns:
        {name: name of the class, or vector}, without the images that have no label.

    Raises:
        UserError: The file does not exist, is malformed, or lists none of the images.
    """
    names = list(names)
    if source == FOLDERS:
        folders = top_folders(names, alone=True)
        return {name: folder for name, folder in zip(names, folders, strict=True) if folder}
    path = Path(source)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TEXT + 1)
        if len(content) > MAX_TEXT:
            raise UserError(f"the labels of {source!r} are longer than the limit of {MAX_TEXT:,} bytes")
        json_file = path.suffix.lower() == ".json"
        text = "" if json_file else content.decode("utf-16" if content[:2] in UTF_16 else "utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"cannot read the labels of {source!r}: {reason}") from error
    entries = (parse_dataset_json(content, source) or {}) if json_file else parse_csv(text, source)
    root = next((root for root in roots(names) if any(plain(name.removeprefix(root)) in entries for name in names)), "")
    given = {name: entries.get(plain(name.removeprefix(root))) for name in names}
    labels = {
        name: label if isinstance(label, tuple) else str(label) for name, label in given.items() if label is not None
    }
    if not labels:
        own, first = min(names, default=""), min(entries, default="")
        raise UserError(
            f"{source!r} contains none of the images: its names begin with {first!r}, those of the images with {own!r}"
        )
    if strange := sorted(entries.keys() - {plain(name.removeprefix(root)) for name in names}):
        print(f"{source} names {listed(strange)}, which are not among the images")
    return labels


def numbered(classes: Mapping[str, str]) -> tuple[dict[str, int], list[str]]:
    """Number the classes of files in sorted order (see `in_order`): ({file: number}, names of the classes)."""
    distinct = in_order(set(classes.values()))
    number = {name: index for index, name in enumerate(distinct)}
    return {file: number[name] for file, name in classes.items()}, distinct


def in_order(classes: set[str]) -> list[str]:
    """Sort class names numerically if all of them are whole numbers, else alphabetically."""
    numeric = all(name.isascii() and name.isdecimal() and len(name) <= LONGEST_NUMBER for name in classes)
    return sorted(sorted(classes), key=int) if numeric else sorted(classes)


def roots(names: Sequence[str]) -> list[str]:
    """Return the folders that contain all images, from the top down: ["", "my photos/", ...]."""
    folders = {name[: name.rfind("/") + 1] for name in names}  # far fewer than names
    parents = sorted(tuple(folder.split("/")[:-1]) for folder in folders) or [()]
    same = takewhile(lambda pair: pair[0] == pair[1], zip(parents[0], parents[-1], strict=False))
    return list(accumulate((f"{part}/" for part, _ in islice(same, DEEPEST)), initial=""))


def top_folders(names: Sequence[str], alone: bool = False) -> list[str]:
    """Return the first folder of each image below the deepest folder that contains all images.

    Args:
        names: Paths of the images, with "/".
        alone: Whether to return the name of that deepest folder for every image if it has no subfolders.

    Returns:
        One folder name per image; "" for an image outside of subfolders.
    """
    within = roots(names)
    inner = [name.removeprefix(within[-1]) for name in names]
    if alone and len(within) > 1 and all("/" not in name for name in inner):
        return [within[-1].rstrip("/").rpartition("/")[2]] * len(names)
    return [name.partition("/")[0] if "/" in name else "" for name in inner]


def _are_shards(numbers: Sequence[int]) -> bool:
    """Return whether folders are numbered as in FFHQ (by thousands) or as by NVIDIA's dataset_tool.py (from 0)."""
    return all(number % 1000 == 0 for number in numbers) or sorted(numbers) == list(range(len(numbers)))


def listed(names: Sequence[str]) -> str:
    """List the first few names and the number of the others, for a message."""
    more = len(names) - SHOWN
    return ", ".join(map(repr, names[:SHOWN])) + (f" and {more} more" if more > 0 else "")
