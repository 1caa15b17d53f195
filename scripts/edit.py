"""Edit samples or encoded photos: python scripts/edit.py --directions FILE"""

import _start  # noqa: F401

# isort: split

from dataclasses import replace
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
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.device import place
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import labelled_sheet, to_uint8, write_image


def load_generator(name: str) -> Any:
    """Load a generator, or that of a pSp model."""
    try:
        return stylegan2.load(name)[0]
    except UserError as no_generator:
        try:
            return psp.load(name)[0].generator
        except UserError:
            raise no_generator from None


def codes_to_edit(generator: Generator, o: Edit) -> tuple[list[str], Codes]:
    """Return names, and N codes on the generator's device."""
    if o.latents is None:
        return [f"seed{seed:04d}" for seed in o.samples()], Codes(seeded_w(generator, o.samples(), o.truncation_psi))
    names, *found = load_codes(o.latents, generator.num_ws, generator.w_dim)
    selected = names if o.photos == "all" else [name.strip() for name in o.photos.split(",")]
    if unknown := [name for name in selected if name not in names]:
        raise UserError(f"{str(o.latents)!r} has no codes of {', '.join(unknown)}; there are {', '.join(names)}")
    rows = [names.index(name) for name in selected]
    return selected, Codes(*found).map(lambda stored: stored[rows].to(generator.w_avg.device))


def write_strip(
    generator: Generator, directions: Directions, name: str, captions: list[str], codes: Codes, o: Edit
) -> None:
    """Write the pictures of one direction; a correction of features stays on top of what the edit changes."""
    moved = directions.move(codes.w_plus, name, o.steps())  # [N, S, num_ws, w_dim]
    features = codes.features
    if features is not None:
        features = features[:, None].expand(-1, moved.shape[1], -1, -1, -1)  # [N, S, C, r, r]
    titles = [f"{step:+g}" for step in o.steps()]
    rows = [list(to_uint8(row)) for row in render(generator, moved, progress=name, features=features)]
    write_image(o.exp_dir / f"{name}.png", labelled_sheet(rows, titles, captions))
    for caption, row in zip(captions, rows, strict=True):
        for title, picture in zip(titles, row, strict=True):
            write_image(o.exp_dir / name / f"{caption}_{title}.png", picture)


def main(o: Edit) -> None:
    device = o.prepare()
    o = with_folder(o, f"edited-{label(o.latents or o.directions)}")
    record = record_for(o, "edit", writes=("*.png",), free=("names",))
    directions, metadata = load_directions(o.directions)
    generator = load_generator(o.generator or metadata["generator"])
    place(generator, device)
    if o.rows:
        directions = replace(directions, rows=tuple(mask_rows(o.rows, generator.num_ws)))
    directions.check(generator)
    names = directions.names if o.names == "all" else [name.strip() for name in o.names.split(",")]
    for name in names:
        directions.index(name)  # says now if there is none
    captions, codes = codes_to_edit(generator, o)
    record.write()
    for name in names:
        write_strip(generator, directions, name, captions, codes, o)
    print(f"written to {o.exp_dir}: {', '.join(f'{name}.png' for name in names)}")


if __name__ == "__main__":
    run(main, Edit)
