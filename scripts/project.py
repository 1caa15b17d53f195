"""Latents of pictures by optimisation: python scripts/project.py --target FILES|FOLDER [--space w_plus]"""

import _start  # noqa: F401

# isort: split

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from torch import Tensor
from tqdm import tqdm

import stylegan2
from datasets.targets import read_targets
from options.machine import Machine
from options.parse import run
from options.results import Results, label, record_for, with_folder
from psp.losses.lpips import perceptual_loss
from stylegan2.latents.codes import save_codes
from stylegan2.latents.project import Distance, Projection, Schedule, project
from stylegan2.metrics.samples import as_rgb
from stylegan2.networks.precision import set_precision
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.animation import FASTEST, write_animation
from stylegan2.runtime.device import place
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import write_text
from stylegan2.runtime.images import labelled_sheet, to_tensor, to_uint8, write_image

WRITES = ("projections.json", "latents.npz", "sheet.png", "projected", "videos")
Batch = list[tuple[str, np.ndarray]]  # names and targets, uint8 [R, R, C]


@dataclass(frozen=True)
class Project(Machine, Results):
    """Find the latents of pictures by optimisation, as the StyleGAN2 paper does: slow, and about the best there is."""

    target: Annotated[tuple[Path, ...], tyro.conf.arg(aliases=["--targets", "--data_path"])]
    """images, or folders of images, cropped as the generator's own are; of others the centre square is taken. Photos of
    faces are cropped by scripts/align_faces.py"""
    generator: Annotated[str, tyro.conf.arg(aliases=["--stylegan_weights"])] = "synthfaces64"
    """a shipped name, an experiment folder or a generator's file"""
    exp_dir: Path | None = None
    """gets projected/, videos/, sheet.png, latents.npz and projections.json; by default runs/projected-TARGET"""
    space: Literal["w", "w_plus"] = "w"
    """w: one style for all layers, as in the paper; w_plus: one for each, closer to the picture and worse to edit"""
    steps: int = 1000
    """of the optimisation"""
    learning_rate: float = 0.1
    """the largest; it ramps up and down"""
    noise_weight: float = 1e5
    """weight of the regularization of the noise maps"""
    batch_size: int = 8
    """images optimised at a time; the results do not depend on it"""
    perceptual: str = "auto"
    """perceptual network of the distance: alex, vgg or squeeze (LPIPS; the paper's is vgg), effnet, or auto"""
    perceptual_weights: Path | None = None
    """file of that network's weights"""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 computes the four highest resolutions in 16-bit numbers: faster on GPUs, and less exact"""
    frames: int = 60
    """of the moving picture of each optimisation; 0 writes none"""
    fps: float = 20.0
    """frames a second"""
    format: Literal["gif", "webp"] = "gif"
    """of the moving pictures"""
    seed: int = 0
    """of the noise"""

    def __post_init__(self) -> None:
        if not self.target:
            raise UserError("--target names no image: give files or folders")
        if self.batch_size < 1 or self.frames < 0:
            raise UserError("--batch_size is a number from 1 on, and --frames one from 0 on")
        if not 0 < self.fps <= FASTEST:
            raise UserError(f"--fps is above 0 and at most {FASTEST}, not {self.fps}")
        self.schedule()

    def schedule(self) -> Schedule:
        """Return the projector's numbers. UserError: one is out of its range."""
        return Schedule(self.steps, self.learning_rate, noise_weight=self.noise_weight, seed=self.seed)


def watched(
    generator: Generator, batch: Batch, distance: Distance, o: Project, bar: tqdm
) -> tuple[Projection, np.ndarray]:
    """Project a batch, and return pictures from the way to it too, uint8 [frames + 1, N, R, R, C]."""
    seen = []

    def watch(step: int, rendered: Tensor, distances: Tensor) -> None:
        bar.update(len(batch))
        bar.set_postfix(distance=f"{float(distances.mean()):.3f}")
        if step * o.frames // o.steps > (step - 1) * o.frames // o.steps:
            seen.append(to_uint8(rendered))

    target = torch.stack([to_tensor(picture) for _, picture in batch])  # [N, C, R, R]
    found = project(generator, target.to(generator.w_avg.device), distance, o.space, o.schedule(), watch)
    return found, np.stack([*seen, to_uint8(found.images)])


def write(batch: Batch, seen: np.ndarray, o: Project) -> None:
    for n, (name, picture) in enumerate(batch):
        write_image(o.exp_dir / "projected" / f"{name}.png", seen[-1, n])
        if o.frames:
            frames = [np.concatenate([picture, frame], axis=1) for frame in seen[:, n]]  # [R, 2R, C] each
            write_animation(o.exp_dir / "videos" / f"{name}.{o.format}", frames, o.fps)


def main(o: Project) -> None:
    device = o.prepare()
    o = with_folder(o, f"projected-{label(o.target[0])}")
    record = record_for(o, "project", writes=WRITES, free=("batch_size",), marks=WRITES[:1])
    generator = stylegan2.load(o.generator)[0]
    place(generator, device)
    set_precision(generator, torch.bfloat16 if o.precision == "bf16" else torch.float32)
    targets = read_targets(o.target, generator.img_resolution, generator.img_channels)
    network, perceptual = perceptual_loss(o.perceptual, o.perceptual_weights)
    perceptual.to(device)
    record.write()
    rows, codes, distances = [], [], []
    with tqdm(total=len(targets) * o.steps, desc="projecting", unit="step") as bar:
        for start in range(0, len(targets), o.batch_size):
            batch = list(targets.items())[start : start + o.batch_size]
            found, seen = watched(generator, batch, lambda a, b: perceptual(as_rgb(a), as_rgb(b)), o, bar)
            write(batch, seen, o)
            rows += [[picture, seen[-1, n]] for n, (_, picture) in enumerate(batch)]
            codes.append(found.w_plus.cpu())
            distances += found.distances.tolist()
    save_codes(o.exp_dir / "latents.npz", list(targets), torch.cat(codes))
    write_image(o.exp_dir / "sheet.png", labelled_sheet(rows, ["target", o.space], list(targets)))
    found = dict(zip(targets, distances, strict=True))
    report = {
        "generator": o.generator,
        "space": o.space,
        "steps": o.steps,
        "precision": o.precision,
        "network": network,
        "distances": found,
    }
    write_text(o.exp_dir / "projections.json", json.dumps(report, indent=2) + "\n")
    print(f"mean distance ({network}): {np.mean(distances):.4f}; written to {o.exp_dir}")


if __name__ == "__main__":
    run(main, Project)
