"""Photos edited end to end: a face is inverted, its codes are moved along directions, rendered, and laid back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from psp.inference.align import paste_back
from psp.inference.photos import Portrait
from psp.inference.translate import Refinement, translate
from psp.model import Codes, PSp
from stylegan2.latents.directions import Directions, fingerprint, load_directions
from stylegan2.latents.foreign_directions import read_directions
from stylegan2.latents.sampling import render
from stylegan2.loading import PRETRAINED
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import to_uint8


@dataclass(frozen=True)
class Move:
    """One step along a direction."""

    directions: Directions
    name: str
    strength: float
    """in standard deviations of W along the direction"""

    def __call__(self, codes: Tensor) -> Tensor:
        """Move codes [N, num_ws, w_dim]."""
        return self.directions.move(codes, self.name, [self.strength])[:, 0]

    def warning(self, moved: Tensor) -> str | None:
        """Say where moved codes [1, num_ws, w_dim] end, if that is where the generator has hardly any samples."""
        position, usual = self.directions.position(moved, self.name), self.directions.range_of(self.name)
        if position is None or usual is None or usual[0] <= float(position) <= usual[1]:
            return None
        return (
            f"{self.name} ends at {float(position):+.1f}, beyond the generator's samples, which lie between "
            f"{usual[0]:+.1f} and {usual[1]:+.1f}: the edit may show artefacts"
        )


def find_directions(generator: Generator, files: Sequence[Path] = ()) -> list[Directions]:
    """Read directions for a generator, from files or from those that come with the package.

    Args:
        generator: Whose codes they will move.
        files: Ours or other projects'; see `stylegan2.latents.foreign_directions.read_directions`. Without any, those
            that come with the package and were found for this generator.

    Raises:
        UserError: A file cannot be read or is another generator's, or no directions of this generator come along.
    """
    if files:
        return [read_directions(file, generator) for file in files]
    shipped = [load_directions(name)[0] for name in PRETRAINED.shipped_as("directions")]
    own = [found for found in shipped if found.fingerprint == fingerprint(generator)]
    if not own:
        raise UserError(
            "no directions of this generator come with the package: find some by scripts/directions.py, or give the "
            "files of others as `directions`"
        )
    return own


def plan_moves(sources: Sequence[Directions], strengths: Mapping[str, float]) -> list[Move]:
    """Look up the directions {name: strength}. UserError: one is in none of the sources."""
    owners = {name: source for source in reversed(sources) for name in source.names}
    if unknown := [name for name in strengths if name not in owners]:
        raise UserError(f"there is no direction {unknown[0]!r}; there are {', '.join(sorted(owners))}")
    return [Move(owners[name], name, strength) for name, strength in strengths.items()]


def move_codes(codes: Codes, moves: Sequence[Move]) -> Codes:
    """Make all moves, one after the other; a correction of features stays on top of what they change."""
    w_plus = codes.w_plus
    for move in moves:
        w_plus = move(w_plus)  # [N, num_ws, w_dim]
    return Codes(w_plus, codes.features)


def edit_portraits(
    model: PSp,
    portraits: Sequence[Portrait],
    moves: Sequence[Move],
    refinement: Refinement | None = None,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
) -> tuple[list[np.ndarray], list[str]]:
    """Invert portraits, move their codes and render them.

    Args:
        model: Of the inversion task.
        portraits: What the encoder reads, one face each.
        moves: Along which directions, and how far.
        refinement: Optimisation after encoding. Where it tunes a generator for each face, that one renders the edit
            (PTI, arXiv 2106.05744, section 3.2).
        device: Where the networks run.
        precision: One of `psp.precision.PRECISIONS`.

    Returns:
        For each portrait its edited picture, uint8 [R, R, C]; and warnings, one sentence each.
    """
    pictures: list[np.ndarray] = []
    warnings: list[str] = []
    sources = [portrait.source for portrait in portraits]
    for batch in translate(model, sources, device=device, refinement=refinement, precision=precision):
        generators = batch.generators or [model.generator] * len(batch.images)
        for codes, generator in zip(batch.codes.split(1), generators, strict=True):
            moved = move_codes(codes, moves)
            warnings += [sentence for move in moves if (sentence := move.warning(moved.w_plus))]
            pictures.append(to_uint8(render_codes(generator, moved))[0])  # [R, R, C]
    return pictures, list(dict.fromkeys(warnings))


def render_codes(generator: Generator, codes: Codes) -> Tensor:
    """Render codes, wherever they are, by a generator, wherever it is: [N, img_channels, R, R] on the CPU."""
    placed = codes.map(lambda stored: stored.to(generator.w_avg.device))
    return render(generator, placed.w_plus, features=placed.features)


def lay_back(photo: np.ndarray, portraits: Sequence[Portrait], pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Lay edited faces over the photo that they were cut out of.

    Args:
        photo: uint8 [H, W, 3].
        portraits: With the crops that alignment found.
        pictures: uint8 [R, R, C], one for each.

    Returns:
        A new photo, uint8 [H, W, 3].
    """
    for portrait, picture in zip(portraits, pictures, strict=True):
        if portrait.crop is None:
            raise ValueError("a portrait that was not cut out of a photo cannot be laid back")
        photo = paste_back(photo, np.broadcast_to(picture, (*picture.shape[:2], 3)), portrait.crop)  # [H, W, 3]
    return photo
