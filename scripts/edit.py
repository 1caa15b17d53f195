"""Edit a photo or samples: python scripts/edit.py me.jpg --direction smile=+2 (or: --directions FILE)"""

import _start  # noqa: F401

# isort: split

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from datasets.tasks import task_of
from options.commands.edit import Edit
from options.parse import run
from options.results import check_new, label, record_for, with_folder
from psp import loading
from psp.inference.detect import build_detector
from psp.inference.editing import (
    Move,
    edit_portraits,
    find_directions,
    move_codes,
    paste_back_portraits,
    plan_moves,
)
from psp.inference.photos import build_reader
from psp.inference.video import edit_video
from psp.model import Codes
from stylegan2.latents.codes import load_codes
from stylegan2.latents.directions import Directions, load_directions
from stylegan2.latents.foreign_directions import READERS
from stylegan2.latents.mixing import mask_rows
from stylegan2.latents.sampling import render, seeded_w
from stylegan2.loading import PRETRAINED
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.device import place
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import collecting
from stylegan2.runtime.images import labelled_sheet, to_uint8, write_image
from stylegan2.runtime.output_names import file_name, printable, unique_paths

DEFAULT_MODEL, DEFAULT_GENERATOR = "portraits64_inversion", "portraits64"


def generator_of_directions(files: Sequence[Path]) -> str:
    """Return the name of the shipped generator for which directions were found.

    If a file of directions names another generator, this is only reported, because a path in a file from elsewhere
    should not be opened.

    Raises:
        UserError: The directions were not found for a shipped generator.
    """
    if not files:
        return DEFAULT_GENERATOR
    found_for = None if files[0].suffix in READERS else load_directions(files[0])[1].get("generator")
    if isinstance(found_for, str) and found_for in PRETRAINED.shipped_as("generator"):
        return found_for
    origin = (
        f"were found for {printable(found_for, 200)!r}" if isinstance(found_for, str) else "do not name their generator"
    )
    raise UserError(f"the directions of {str(files[0])!r} {origin}: give the generator to use with --generator")


def codes_to_edit(generator: Generator, o: Edit, failed: dict[str, str]) -> tuple[list[str], Codes]:
    """Return the names of the samples or photos, and their N codes on the device of the generator.

    Codes that are not finite numbers are left out and added to `failed`, with the reason.

    Raises:
        UserError: The file of codes does not contain a name, or none of the codes is finite.
    """
    if o.latents is None:
        seeds = o.sample_seeds()
        return [f"seed{seed:04d}" for seed in seeds], Codes(seeded_w(generator, seeds, o.truncation_psi))
    refused: dict[str, str] = {}
    names, w_plus, features = load_codes(o.latents, generator.num_ws, generator.w_dim, refused)
    numbers = {name: number for number, name in reversed(list(enumerate(names)))}
    requested = names + list(refused) if o.photos == "all" else [name.strip() for name in o.photos.split(",")]
    failed.update((name, refused[name]) for name in requested if name in refused)
    selected = [name for name in requested if name not in refused]
    if failed and not selected:
        raise UserError(next(iter(failed.values())))
    if unknown := [name for name in selected if name not in numbers]:
        raise UserError(f"{str(o.latents)!r} has no codes of {', '.join(unknown)}; there are {', '.join(names)}")
    rows = list(range(len(names))) if o.photos == "all" else [numbers[name] for name in selected]
    return selected, Codes(w_plus, features).map(lambda stored: stored[rows].to(generator.w_avg.device))


def write_strip(
    generator: Generator, directions: Directions, name: str, captions: list[str], codes: Codes, out: Path, o: Edit
) -> dict[str, str]:
    """Write the pictures of one direction for the codes of N samples or photos.

    Args:
        generator: The generator.
        directions: The set that contains the direction.
        name: Name of the direction.
        captions: Names of the samples or photos, which are also relative paths of their pictures.
        codes: The codes.
        out: Folder for the pictures. The sheet has the same name with the suffix .png.
        o: Settings of the command.

    Returns:
        {name of a picture: reason why it could not be written}.
    """
    steps = [move_codes(generator, codes, [Move(directions, name, strength)]) for strength in o.steps()]
    moved = torch.stack([step.w_plus for step in steps], dim=1)  # [N, S, num_ws, w_dim]
    corrections = [step.features for step in steps if step.features is not None]
    features = torch.stack(corrections, dim=1) if corrections else None  # [N, S, C, r, r]
    titles = o.titles()
    rows = [list(to_uint8(row)) for row in render(generator, moved, progress=out.name, features=features)]
    failed: dict[str, str] = {}
    with collecting(failed, out.name):
        write_image(out.with_name(f"{out.name}.png"), labelled_sheet(rows, titles, captions))
    for caption, row in zip(captions, rows, strict=True):
        for title, picture in zip(titles, row, strict=True):
            with collecting(failed, f"{out.name}/{caption}_{title}"):
                write_image(out / f"{caption}_{title}.png", picture)
    return failed


def edit_samples(o: Edit, device: torch.device) -> int:
    """Write a strip of pictures for each direction, and return the exit code."""
    o = with_folder(o, f"edited-{label(o.latents or (o.directions[0] if o.directions else 'samples'))}")
    record = record_for(o, "edit", writes=("*.png",), free=("names",))
    generator = loading.load_generator(o.generator or generator_of_directions(o.directions))
    place(generator, device)
    sources = sources_of(generator, o)
    names = [name for source in sources for name in source.names]
    selected = names if o.names == "all" else [name.strip() for name in o.names.split(",")]
    moves = plan_moves(sources, dict.fromkeys(selected, 0.0))
    failed: dict[str, str] = {}
    photos, codes = codes_to_edit(generator, o, failed)
    captions = unique_paths(photos, endings=[f"_{title}.png" for title in o.titles()])
    sheets = unique_paths([file_name(move.name) for move in moves], endings=("", ".png"))
    record.write()
    for move, sheet in zip(moves, sheets, strict=True):
        failed |= write_strip(generator, move.directions, move.name, captions, codes, o.folder / sheet, o)
    print("".join(f"failed: {printable(reason)}\n" for reason in failed.values()), end="", file=sys.stderr)
    print(f"written to {o.folder}: {', '.join(f'{sheet}.png' for sheet in sheets)}")
    return int(bool(failed))


def sources_of(generator: Generator, o: Edit) -> list[Directions]:
    """Load the directions of a generator, for the rows of w+ that the settings name."""
    directions = find_directions(generator, o.directions)
    if not o.rows:
        return directions
    rows = tuple(mask_rows(o.rows, generator.num_ws))
    return [replace(source, rows=rows, features={}) for source in directions]


def edit_source(o: Edit, source: Path, device: torch.device) -> None:
    """Edit a photo or a clip from end to end, and write the result."""
    photo = o.photo_settings
    out = photo.out or source.with_name(f"{source.stem}_edited{'.mp4' if o.is_clip else '.png'}")
    check_new((out,), o.overwrite)
    if not source.is_file():
        raise UserError(f"there is no file {str(source)!r}")
    model, metadata = loading.load(o.generator or DEFAULT_MODEL)
    task = task_of(metadata, model.encoder.input_channels)
    if not task.inverts:
        raise UserError("an edit needs a model of the inversion task")
    place(model, device)
    moves = plan_moves(sources_of(model.generator, o), photo.strengths())
    refinement = o.optimisation.refinement(photo.seed)
    if o.is_clip:
        detector = build_detector("dlib" if photo.detector == "auto" else photo.detector)
        clip = edit_video(model, source, out, task, detector, moves, refinement, device, photo.precision)
        print(f"{out}: the face was edited in {clip.faces} of {len(clip.landmarks)} frames")
        return
    every_face = photo.faces == "all"
    size, detector = model.generator.img_resolution, photo.detector
    if photo.paste_back and not metadata.get("faces", True):
        raise UserError("--paste_back needs a face that is cut out of a photo, but this model is not of faces")
    aligning, aspect = photo.align and metadata.get("faces", True), model.encoder.aspect
    reader = build_reader(task, model.encoder.input_size, size, aligning, detector, every_face, aspect=aspect)
    read = reader(source)
    if not read.portraits:
        raise UserError(f"no face was found in {str(source)!r}: if the face is aligned already, give no_align")
    pictures, warnings = edit_portraits(model, read.portraits, moves, refinement, device, photo.precision)
    for warning in warnings:
        print(warning, file=sys.stderr)
    pasting, shown = photo.paste_back, read.portraits[0].shown(pictures[0])  # [H, W, C]
    write_image(out, paste_back_portraits(task.read_file(source), read.portraits, pictures) if pasting else shown)
    print(f"written: {out}")


def main(o: Edit) -> int:
    device = o.prepare()
    if o.source is None:
        return edit_samples(o, device)
    edit_source(o, o.source, device)
    return 0


if __name__ == "__main__":
    run(main, Edit)
