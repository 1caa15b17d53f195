"""Find latents of pictures by optimisation: python scripts/project.py --target FILES|FOLDER [--space w_plus]"""

import _start  # noqa: F401

# isort: split

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

import stylegan2
from datasets.folder import MODES, square
from options.commands.project import Project
from options.parse import run
from options.results import label, record_for, with_folder
from psp.inference.names import Names, list_photos
from psp.losses.lpips import perceptual_loss
from stylegan2.latents.codes import save_codes
from stylegan2.latents.project import Distance, Projection, project
from stylegan2.metrics.samples import as_rgb
from stylegan2.networks.precision import set_precision
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.device import place
from stylegan2.runtime.errors import ImageError, UserError
from stylegan2.runtime.files import collecting, write_text
from stylegan2.runtime.images import labelled_sheet, read_image, to_tensor, to_uint8, write_animation, write_image
from stylegan2.runtime.output_names import printable
from stylegan2.runtime.progress import Progress

WRITES = ("projections.json", "latents.npz", "sheet.png", "projected", "videos")
Batch = list[tuple[str, np.ndarray]]  # (name, target uint8 [R, R, C]) of each picture


class Targets(NamedTuple):
    """The images that were read from files, and the files that could not be read."""

    pictures: dict[str, np.ndarray]
    """{name: uint8 [R, R, C]}"""
    failed: dict[str, str]
    """{name: why the file cannot be read}"""


def read_targets(sources: Sequence[Path], resolution: int, channels: int) -> Targets:
    """Read image files and the files of folders, each file once, and crop them to the centre square.

    Args:
        sources: Image files and folders.
        resolution: Side R of the images in pixels.
        channels: Number of channels C: 1, 3 or 4.

    Returns:
        The images under unique names that are derived from the file names, and the files that cannot be read.

    Raises:
        UserError: A folder does not exist or holds no images, or image files cannot have this number of channels.
        ImageError: None of the files can be read; the message is about the first one.
    """
    if channels not in MODES:
        raise UserError(f"image files have 1, 3 or 4 channels, but this generator's images have {channels}")
    files = list(dict.fromkeys(file for source in sources for file in list_photos(source)))
    names = Names(files, Path(os.path.commonpath([file.absolute().parent for file in files])))
    targets, errors = Targets({}, {}), []
    for file in files:
        name = names.of_file[file]
        try:
            targets.pictures[name] = square(read_image(file, MODES[channels]), resolution)
        except ImageError as error:
            targets.failed[name] = str(error)
            errors.append(error)
    if not targets.pictures:
        raise errors[0]
    return targets


def project_batch(
    generator: Generator, batch: Batch, distance: Distance, o: Project, bar: Progress
) -> tuple[Projection, np.ndarray]:
    """Project a batch of N pictures, and keep frames of the optimisation for an animation.

    Returns:
        The projection, and the frames with the final images at the end, uint8 [frames + 1, N, R, R, C].
    """
    seen = []

    def watch(step: int, rendered: Tensor, distances: Tensor) -> None:
        bar.update(len(batch))
        bar.show(distance=f"{float(distances.mean()):.3f}")
        if step * o.frames // o.steps > (step - 1) * o.frames // o.steps:
            seen.append(to_uint8(rendered))

    target = torch.stack([to_tensor(picture) for _, picture in batch])  # [N, C, R, R]
    projection = project(generator, target.to(generator.w_avg.device), distance, o.space, o.schedule(), watch)
    return projection, np.stack([*seen, to_uint8(projection.images)])  # [frames + 1, N, R, R, C]


def write(batch: Batch, seen: np.ndarray, o: Project, failed: dict[str, str]) -> None:
    """Write the pictures of a batch and the frames of its optimisation, uint8 [frames + 1, N, R, R, C].

    The names of pictures that cannot be written are added to `failed`, with the reasons.
    """
    for n, (name, picture) in enumerate(batch):
        with collecting(failed, name):
            write_image(o.folder / "projected" / f"{name}.png", seen[-1, n])
            if o.frames:
                frames = [np.concatenate([picture, frame], axis=1) for frame in seen[:, n]]  # [R, 2R, C] each
                write_animation(o.folder / "videos" / f"{name}.{o.format}", frames, o.fps)


def main(o: Project) -> int:
    device = o.prepare()
    o = with_folder(o, f"projected-{label(o.target[0])}")
    record = record_for(o, "project", writes=WRITES, free=("batch_size",), marks=WRITES[:1])
    generator = stylegan2.load(o.generator)[0]
    place(generator, device)
    set_precision(generator, torch.bfloat16 if o.precision == "bf16" else torch.float32)
    targets, failed = read_targets(o.target, generator.img_resolution, generator.img_channels)
    network, perceptual = perceptual_loss(o.perceptual, o.perceptual_weights)
    perceptual.to(device)
    record.write()
    rows, codes, distances = [], [], []
    with Progress(len(targets) * o.steps, "projecting", "step") as bar:
        for start in range(0, len(targets), o.batch_size):
            batch = list(targets.items())[start : start + o.batch_size]
            projection, seen = project_batch(generator, batch, lambda a, b: perceptual(as_rgb(a), as_rgb(b)), o, bar)
            write(batch, seen, o, failed)
            rows += [[picture, seen[-1, n]] for n, (_, picture) in enumerate(batch)]
            codes.append(projection.w_plus.cpu())
            distances += projection.distances.tolist()
    save_codes(o.folder / "latents.npz", list(targets), torch.cat(codes))
    write_image(o.folder / "sheet.png", labelled_sheet(rows, ["target", o.space], list(targets)))
    results = {
        "generator": o.generator,
        "space": o.space,
        "steps": o.steps,
        "precision": o.precision,
        "network": network,
        "distances": dict(zip(targets, distances, strict=True)),
        "failed": failed,
    }
    write_text(o.folder / "projections.json", json.dumps(results, indent=2) + "\n")
    print("".join(f"failed: {printable(reason)}\n" for reason in failed.values()), end="", file=sys.stderr)
    print(f"mean distance ({network}) of {len(targets)}: {np.mean(distances):.4f}; written to {o.folder}")
    return int(bool(failed))


if __name__ == "__main__":
    run(main, Project)
