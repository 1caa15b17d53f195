"""Labels of latents: a CSV file of seeds of a generator, or of names of codes, with a number for each attribute."""

import csv
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stylegan2.runtime.errors import UserError

KEYS = ("seed", "name")
WORDS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}


@dataclass(frozen=True)
class Scores:
    """What a file says of N latents."""

    key: str
    """seed or name: what `keys` are"""
    keys: list[str]
    values: dict[str, Tensor]
    """{attribute: [N]}, higher where it is more surely there"""


def read_scores(path: str | Path) -> Scores:
    """A CSV file with a header `seed,ATTRIBUTE,...` or `name,ATTRIBUTE,...`, then a row for each latent.

    Values are numbers (0 and 1, a classifier's scores, degrees), or yes and no. UserError names the row that is wrong.
    """
    try:
        rows = list(csv.reader(Path(path).read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"the labels {str(path)!r} cannot be read: {error}") from error
    rows = [[cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row)]
    if len(rows) < 3 or len(rows[0]) < 2 or rows[0][0].lower() not in KEYS or len(set(rows[0])) < len(rows[0]):
        raise UserError(
            f"the labels {str(path)!r} need a header `seed,ATTRIBUTE,...` or `name,ATTRIBUTE,...` and two rows or more"
        )
    key, attributes = rows[0][0].lower(), rows[0][1:]
    numbers = [_numbers(row, key, len(attributes), number, path) for number, row in enumerate(rows[1:], start=2)]
    values = torch.tensor(numbers)  # [N, A]
    return Scores(key, [row[0] for row in rows[1:]], dict(zip(attributes, values.unbind(1), strict=True)))


def _numbers(row: list[str], key: str, count: int, number: int, path: str | Path) -> list[float]:
    try:
        values = [WORDS[cell.lower()] if cell.lower() in WORDS else float(cell) for cell in row[1:]]
    except ValueError:
        values = []
    if len(values) != count or not torch.tensor(values).isfinite().all() or (key == "seed" and not row[0].isdecimal()):
        raise UserError(f"row {number} of {str(path)!r} is not a {key} and {count} times a number, or yes or no")
    return values
