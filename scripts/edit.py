"""Edit samples or encoded photos: python scripts/edit.py --directions FILE"""

import _start  # noqa: F401

# isort: split

from dataclasses import replace
from pathlib import Path
from typing import Any

import psp
import stylegan2
from options.commands.edit import Edit
from options.parse import run
from options.results import label, record_for, with_folder
from psp.model import Codes
from stylegan2.latents.codes import load_codes
from stylegan2.latents.directions import Directions, load_directions
from stylegan2.latents.mixing import mask_rows
from stylegan2.latents.sampling import render, seeded_w
from stylegan2.loading import PRETRAINED
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.device import place
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import labelled_sheet, to_uint8, write_image
from stylegan2.runtime.output_names import file_name, printable, unique_paths


def load_generator(name: str) -> Any:
    """Load a generator, or that of a pSp model; `name` is the user's own."""
    try:
        return stylegan2.load(name)[0]
    except UserError as no_generator:
        try:
            return psp.load(name)[0].generator
        except UserError:
            raise no_generator from None


def own_generator(directions: Path, found_for: Any) -> str:
    """Return the generator that directions were found for, where that is a shipped one.

    Another is only shown: a file that names a path is no reason to open it.
    """
    if isinstance(found_for, str) and found_for in PRETRAINED.shipped:
        return found_for
    said = f"were found for {printable(found_for, 200)!r}" if isinstance(found_for, str) else "name none"
    raise UserError(f"the directions of {str(directions)!r} {said}: give the generator to use with --generator")


def codes_to_edit(generator: Generator, o: Edit) -> tuple[list[str], Codes]:
    """Return names, and N codes on the generator's device."""
    if o.latents is None:
        return [f"seed{seed:04d}" for seed in o.samples()], Codes(seeded_w(generator, o.samples(), o.truncation_psi))
    names, *found = load_codes(o.latents, generator.num_ws, generator.w_dim)
    numbers = {name: number for number, name in reversed(list(enumerate(names)))}
    selected = names if o.photos == "all" else [name.strip() for name in o.photos.split(",")]
    if unknown := [name for name in selected if name not in numbers]:
        raise UserError(f"{str(o.latents)!r} has no codes of {', '.join(unknown)}; there are {', '.join(names)}")
    rows = list(range(len(names))) if o.photos == "all" else [numbers[name] for name in selected]
    return selected, Codes(*found).map(lambda stored: stored[rows].to(generator.w_avg.device))


def write_strip(
    generator: Generator, directions: Directions, name: str, captions: list[str], codes: Codes, out: Path, o: Edit
) -> None:
    """Write the pictures of one direction; a correction of features stays on top of what the edit changes.

    Args:
        name: Of the direction.
        captions: What the codes are of; each is a path that may be joined to a folder.
        out: Gets the pictures, and with the ending .png the sheet.
    """
    moved = directions.move(codes.w_plus, name, o.steps())  # [N, S, num_ws, w_dim]
    features = codes.features
    if features is not None:
        features = features[:, None].expand(-1, moved.shape[1], -1, -1, -1)  # [N, S, C, r, r]
    titles = o.titles()
    rows = [list(to_uint8(row)) for row in render(generator, moved, progress=out.name, features=features)]
    write_image(out.with_name(f"{out.name}.png"), labelled_sheet(rows, titles, captions))
    for caption, row in zip(captions, rows, strict=True):
        for title, picture in zip(titles, row, strict=True):
            write_image(out / f"{caption}_{title}.png", picture)


def main(o: Edit) -> None:
    device = o.prepare()
    o = with_folder(o, f"edited-{label(o.latents or o.directions)}")
    record = record_for(o, "edit", writes=("*.png",), free=("names",))
    directions, metadata = load_directions(o.directions)
    generator = load_generator(o.generator or own_generator(o.directions, metadata.get("generator")))
    place(generator, device)
    if o.rows:
        directions = replace(directions, rows=tuple(mask_rows(o.rows, generator.num_ws)))
    directions.check(generator)
    names = directions.names if o.names == "all" else [name.strip() for name in o.names.split(",")]
    for name in names:
        directions.index(name)  # says now if there is none
    photos, codes = codes_to_edit(generator, o)
    captions = unique_paths(photos, endings=[f"_{title}.png" for title in o.titles()])
    sheets = unique_paths([file_name(name) for name in names], endings=("", ".png"))
    record.write()
    for name, sheet in zip(names, sheets, strict=True):
        write_strip(generator, directions, name, captions, codes, o.exp_dir / sheet, o)
    print(f"written to {o.exp_dir}: {', '.join(f'{sheet}.png' for sheet in sheets)}")


if __name__ == "__main__":
    run(main, Edit)
