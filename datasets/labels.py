"""The class of each image: from dataset.json in NVIDIA's layout, from a table of the user's, or from subfolders."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from stylegan2.runtime.errors import UserError

DATASET_JSON = "dataset.json"  # at the top of a folder or zip: {"labels": [[name, class], ...]}, classes from 0 on
FOLDERS = "folders"
HEADER = {"file", "filename", "file_name", "image", "name", "path"}
SHOWN = 3  # names in a message


def labels_of(names: Sequence[str], dataset_json: str | None, where: str) -> np.ndarray | None:
    """Return the class of each image of a folder or zip, int64 [len(names)]; None where no source has labels.

    Args:
        names: the images, relative to the top, with "/".
        dataset_json: what that file holds, where there is one; else the top subfolders are the classes.
        where: for messages.

    Raises:
        UserError: the file is damaged, or does not give every image one class.
    """
    found = None if dataset_json is None else parse_dataset_json(dataset_json, f"{where}/{DATASET_JSON}")
    if found is None:
        found, classes = numbered({name: top_folder(name) for name in names})
        return np.array([found[name] for name in names], np.int64) if len(classes) > 1 else None
    if missing := [name for name in names if name not in found]:
        raise UserError(f"{where}/{DATASET_JSON} gives no class to {listed(missing)}: add them, or remove the file")
    return np.array([found[name] for name in names], np.int64)  # [len(names)]


def parse_dataset_json(text: str, where: str) -> dict[str, int] | None:
    """Read {name: class}; None where the file says that there are no labels."""
    try:
        pairs = json.loads(text)["labels"]
        if pairs is None:
            return None
        labels = {name.replace("\\", "/"): label for name, label in pairs}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f'{where} is not of the form {{"labels": [[name, class], ...]}}') from error
    for name, label in labels.items():
        if type(label) is not int or label < 0:
            raise UserError(f"{where} gives {name!r} the label {label!r}, where classes are whole numbers from 0 on")
    return labels


def format_dataset_json(labels: Mapping[str, int], classes: Sequence[str]) -> str:
    """Write NVIDIA's layout, and the names of the classes beside it."""
    return json.dumps({"labels": [[name, labels[name]] for name in sorted(labels)], "classes": list(classes)}, indent=0)


def read_labels(source: str, names: Iterable[str]) -> dict[str, str]:
    """Read the classes of the images `names` (relative, with "/"): {name: the class's name}.

    Args:
        source: "folders" for the top subfolder of each image, or a .csv file with lines `name,class`, with or without
            a header, or a .json file in NVIDIA's layout. Images that it does not name are not in the result.

    Raises:
        UserError: there is no such file, it has another form, or it names none of the images.
    """
    names = list(names)
    if source == FOLDERS:
        return {name: top_folder(name) for name in names if top_folder(name)}
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"cannot read the labels of {source!r}: {reason}") from error
    if path.suffix.lower() == ".json":
        found: Mapping[str, int | str] = parse_dataset_json(text, source) or {}
    else:
        found = parse_csv(text, source)
    labels = {name: str(found[name]) for name in names if name in found}
    if not labels:
        own, given = min(names, default=""), min(found, default="")
        raise UserError(f"{source!r} names none of the images: it begins with {given!r}, they with {own!r}")
    if strange := sorted(found.keys() - set(names)):
        print(f"{source} names {listed(strange)}, which are not among the images")
    return labels


def parse_csv(text: str, where: str) -> dict[str, str]:
    """Read {name: class} from lines `name,class`; a first line such as `file,label` is a header."""
    found: dict[str, str] = {}
    for number, row in enumerate(csv.reader(text.splitlines()), start=1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (number == 1 and cells[0].lower() in HEADER):
            continue
        if len(cells) != 2 or not all(cells):
            raise UserError(f"line {number} of {where!r} is not of the form name,class: {','.join(row)[:80]!r}")
        name, label = cells[0].replace("\\", "/").removeprefix("./"), cells[1]
        if found.setdefault(name, label) != label:
            raise UserError(f"{where!r} gives {name!r} two classes, {found[name]!r} and {label!r}: keep one")
    return found


def numbered(classes: Mapping[str, str]) -> tuple[dict[str, int], list[str]]:
    """Number the classes: ({file: number}, names), in the order of whole numbers, else in that of letters."""
    distinct = sorted(set(classes.values()))
    if all(name.isascii() and name.isdecimal() for name in distinct):
        distinct.sort(key=int)
    number = {name: index for index, name in enumerate(distinct)}
    return {file: number[name] for file, name in classes.items()}, distinct


def top_folder(name: str) -> str:
    """Return the first folder of a path; "" for what lies in none."""
    return "".join(PurePosixPath(name).parts[:-1][:1])


def listed(names: Sequence[str]) -> str:
    """List the first few, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(map(repr, names[:SHOWN])) + (f" and {more} more" if more > 0 else "")
