"""Read labels of latents: a CSV file of seeds or of names of codes, with a number for each attribute."""

import csv
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stylegan2.latents.codes import load_codes
from stylegan2.latents.sampling import seeded_w
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.errors import UserError

KEYS = ("seed", "name")
WORDS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}


@dataclass(frozen=True)
class Scores:
    """The labels of N latents."""

    key: str
    """what `keys` are: "seed" or "name" """
    keys: list[str]
    values: dict[str, Tensor]
    """{attribute: [N]}, higher where the attribute is more likely present"""


def read_scores(path: str | Path) -> Scores:
    """Read a CSV file with a header `seed,ATTRIBUTE,...` or `name,ATTRIBUTE,...` and a row for each latent.

    Values are numbers (0 and 1, a classifier's scores, degrees), or yes and no.

    Raises:
        UserError: The file cannot be read, or a row is wrong; the message names the row.
    """
    try:
        rows = list(csv.reader(Path(path).read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"the file of labels {str(path)!r} cannot be read: {error}") from error
    rows = [[cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row)]
    if len(rows) < 3 or len(rows[0]) < 2 or rows[0][0].lower() not in KEYS or len(set(rows[0])) < len(rows[0]):
        raise UserError(
            f"the file of labels {str(path)!r} needs a header `seed,ATTRIBUTE,...` or `name,ATTRIBUTE,...` "
            f"and at least two rows"
        )
    key, attributes = rows[0][0].lower(), rows[0][1:]
    numbers = [_numbers(row, key, len(attributes), number, path) for number, row in enumerate(rows[1:], start=2)]
    values = torch.tensor(numbers)  # [N, A]
    return Scores(key, [row[0] for row in rows[1:]], dict(zip(attributes, values.unbind(1), strict=True)))


def scored_latents(generator: Generator, labels: Path, latents: Path | None) -> tuple[Tensor, dict[str, Tensor]]:
    """Find the latents that a CSV file names, by their seeds or by the names of codes in `latents`.

    Returns:
        w [N, w_dim], which is the mean over the layers where a code has a w for each, and {attribute: [N]}.

    Raises:
        UserError: The labels have names but `latents` is missing, or a name is not in `latents`.
    """
    scores = read_scores(labels)
    if scores.key == "seed":
        w = torch.cat([seeded_w(generator, [int(seed)])[:, 0] for seed in scores.keys])  # [N, w_dim]
        return w, {name: values.to(w.device) for name, values in scores.values.items()}
    if latents is None:
        raise UserError(f"{str(labels)!r} labels codes by their names: give the file of the codes as `latents`")
    names, w_plus, _ = load_codes(latents, generator.num_ws, generator.w_dim)
    if missing := [key for key in scores.keys if key not in names]:
        raise UserError(f"{str(latents)!r} has no codes of {len(missing)} labelled names, such as {missing[0]!r}")
    w = w_plus[[names.index(key) for key in scores.keys]].mean(1).to(generator.w_avg.device)  # [N, w_dim]
    return w, {name: values.to(w.device) for name, values in scores.values.items()}


def _numbers(row: list[str], key: str, count: int, number: int, path: str | Path) -> list[float]:
    try:
        values = [WORDS[cell.lower()] if cell.lower() in WORDS else float(cell) for cell in row[1:]]
    except ValueError:
        values = []
    if len(values) != count or not torch.tensor(values).isfinite().all() or (key == "seed" and not row[0].isdecimal()):
        raise UserError(f"row {number} of {str(path)!r} must be a {key} and {count} values, each a number, yes or no")
    return values
