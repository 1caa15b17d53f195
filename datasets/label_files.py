"""Files of labels: dataset.json in NVIDIA's format, and tables of the user, each to {name of an image: label}.

A label that cannot be used gives a warning and counts as no label, so that the others are used.
"""

import csv
import json
import math
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from stylegan2.runtime.bounded import parse_json
from stylegan2.runtime.errors import UserError

HEADER = {"file", "filename", "file_name", "image", "image_id", "name", "path"}
LARGEST_CLASS = 10**9  # classes, and the numbers of vectors, are smaller
Label = int | str | tuple[float, ...]
"""the number or the name of a class, or a vector"""


def parse_dataset_json(content: bytes | str, where: str) -> dict[str, Label | None] | None:
    """Parse dataset.json.

    Args:
        content: Content of the file.
        where: Name of the file, for messages.

    Returns:
        {name: label}, where the label of an image may be None; or None if the file says that there are no labels, or
        gives none to any image. A label that cannot be used gives a warning and counts as None, and so does an image
        with two labels.

    Raises:
        UserError: The file is malformed, or none of its labels can be used.
    """
    try:
        pairs = parse_json(content)["labels"]
        if pairs is None:
            return None
        entries = list(pairs.items() if isinstance(pairs, dict) else pairs)
    except UserError as error:
        raise UserError(f'{where} is not of the form {{"labels": [[name, label], ...]}}: {error}') from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f'{where} is not of the form {{"labels": [[name, label], ...]}}') from error
    given: dict[str, Any] = {}
    problems, contradicted = [], set()
    for entry in entries:
        if not _is_entry(entry):
            problems.append(f"{where} has the entry {str(entry)[:80]}, which is not of the form [name, label]")
            continue
        name = plain(entry[0])
        if name in given and given[name] != entry[1]:
            one, other = str(given[name])[:40], str(entry[1])[:40]
            problems.append(f"{where} gives {name!r} two labels, {one} and {other}: keep one")
            contradicted.add(name)
        given.setdefault(name, entry[1])
    given |= dict.fromkeys(contradicted)
    if not problems and given and all(label is None for label in given.values()):
        return None
    continuous = any(type(label) is float and math.isfinite(label) and label != int(label) for label in given.values())
    labels: dict[str, Label | None] = {}
    for name, label in given.items():
        try:
            labels[name] = parse_label(label, continuous, f"{where} gives {name!r}")
        except UserError as error:
            labels[name] = None
            problems.append(str(error))
    _report(problems, labels)
    return labels


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, list | tuple) and len(entry) == 2 and isinstance(entry[0], str)


def plain(name: str) -> str:
    """Return the name of an image in one form, whichever system wrote it: with "/", and with composed accents."""
    name = name.replace("\\", "/").removeprefix("./")
    return name if name.isascii() else unicodedata.normalize("NFC", name)  # macOS writes accents as separate characters


def _report(problems: Sequence[str], labels: Mapping[str, Label | None]) -> None:
    """Warn of the first label that cannot be used, and how many more there are; raise a UserError if no other can."""
    if not problems:
        return
    if all(label is None for label in labels.values()):
        raise UserError(problems[0])
    more = f" ({len(problems) - 1:,} more cannot be used either)" if len(problems) > 1 else ""
    warnings.warn(f"{problems[0]}{more}: it counts as no label", stacklevel=3)


def parse_label(label: Any, continuous: bool, sentence: str) -> Label | None:
    """Validate one label.

    Args:
        label: The label as parsed from JSON.
        continuous: Whether numbers are continuous values, because some of them have fractions, and not classes.
        sentence: Beginning of the error message.

    Raises:
        UserError: The label is no class, and no vector of numbers.
    """
    numbers = label if isinstance(label, list) else [label]
    if label is None or (isinstance(label, str) and label):
        return label
    if type(label) is int and label >= LARGEST_CLASS:
        raise UserError(
            f"{sentence} the label {str(label)[:80]}, but classes are whole numbers below {LARGEST_CLASS:,}"
        )
    if not numbers or not all(type(x) in (int, float) and abs(x) < LARGEST_CLASS for x in numbers):  # which NaN is not
        raise UserError(f"{sentence} the label {str(label)[:80]}, which is neither a class nor a vector of numbers")
    if isinstance(label, list) or continuous:
        return tuple(map(float, numbers))
    if numbers[0] < 0:
        raise UserError(f"{sentence} the label {label}, but classes are whole numbers from 0 on")
    return int(numbers[0])


def format_dataset_json(labels: Mapping[str, int | tuple[float, ...]], classes: Sequence[str]) -> str:
    """Write labels in NVIDIA's format of dataset.json, with the names of the classes as an additional entry."""
    return json.dumps({"labels": [[name, labels[name]] for name in sorted(labels)], "classes": list(classes)}, indent=0)


def parse_csv(text: str, where: str) -> dict[str, Label | None]:
    """Parse lines `name,class` or `name,number,number,...`, whose delimiter may also be ";" or a tab.

    A first line such as `file,label` is a header. Numbers are classes, unless one of them has a fraction or a line has
    several numbers.

    Args:
        text: Content of the file.
        where: Name of the file, for messages.

    Returns:
        {name: class or vector}, where an empty label is None. A line that is malformed, or gives an image a second
        label, gives a warning and counts as no label.

    Raises:
        UserError: No line gives a label.
    """
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    rows = csv.reader(lines, delimiter=next((mark for mark in ",\t;" if mark in first), ","))
    cells_of: dict[str, list[str]] = {}
    problems, contradicted = [], set()
    for number, row in enumerate(rows, start=1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (number == 1 and _is_header(cells)):
            continue
        several = len(next(iter(cells_of.values()), cells[1:])) > 1
        if len(cells) < 2 or not cells[0] or (len(cells) > 2 and not (several and _numbers(cells[1:]))):
            problems.append(f"line {number} of {where!r} is not of the form name,class: {','.join(row)[:80]!r}")
            continue
        name = plain(cells[0])
        if cells_of.setdefault(name, cells[1:]) != cells[1:]:
            one, other = ",".join(cells_of[name]), ",".join(cells[1:])
            problems.append(f"{where!r} gives {name!r} two classes, {one!r} and {other!r}: keep one")
            contradicted.add(name)
    cells_of |= {name: [""] for name in contradicted}
    given = [label for label in cells_of.values() if label != [""]]
    numbers = [_numbers(label) for label in given]
    if all(numbers) and any(label and not (len(label) == 1 and label[0].is_integer()) for label in numbers):
        labels: dict[str, Label | None] = {name: _numbers(label) for name, label in cells_of.items()}
    else:
        labels = {name: label[0] or None for name, label in cells_of.items()}
    _report(problems, labels)
    return labels


def _is_header(cells: Sequence[str]) -> bool:
    return cells[0].lower() in HEADER or (len(cells) > 2 and _numbers(cells[1:]) is None)


def _numbers(cells: Sequence[str]) -> tuple[float, ...] | None:
    """Parse cells as finite numbers; None if any of them is not one."""
    try:
        numbers = tuple(map(float, cells))
    except ValueError:
        return None
    return numbers if numbers and all(map(math.isfinite, numbers)) else None
