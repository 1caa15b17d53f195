"""List the models and networks that have a name: python scripts/models.py [WORD]"""

import _start  # noqa: F401

# isort: split

from options.commands.models import Models
from options.parse import run
from psp.catalogue import Listed, catalogue
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.weights import weights_folder

TITLES = ("name", "kind", "domain", "px", "task", "MB", "where", "licence")
TABLE_KINDS = {"psp": "pSp model"}  # {value of --kind: kind in the table}, where they differ


def cells(line: Listed, notes: list[str]) -> tuple[str, ...]:
    """Return the cells of a line. The licence is added to `notes` and shown as the number of its note."""
    if line.licence not in notes:
        notes.append(line.licence)
    size = "" if line.megabytes is None else f"{line.megabytes:.0f}" if line.megabytes >= 1 else "<1"
    pixels = str(line.resolution or "")
    note = f"[{notes.index(line.licence) + 1}]"
    return line.entry.name, line.entry.kind, line.domain, pixels, line.task, size, line.where, note


def main(o: Models) -> None:
    notes: list[str] = []
    lines = [line for line in catalogue() if o.kind == "all" or line.entry.kind == TABLE_KINDS.get(o.kind, o.kind)]
    lines = [line for line in lines if o.word.lower() in " ".join((*cells(line, []), line.licence)).lower()]
    if not lines:
        raise UserError(f"no model matches {o.word!r}")
    rows = [TITLES, *(cells(line, notes) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(TITLES))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    print()
    for number, licence in enumerate(notes, 1):
        print(f"[{number}] {licence}")
    print(f"downloads are written to {weights_folder()}; set PSP_WEIGHTS to use another folder")


if __name__ == "__main__":
    run(main, Models)
