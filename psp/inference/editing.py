"""Editing of photos: a face is inverted, its codes are moved along directions and rendered, and the face is pasted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from psp.feature_editing import DAMPING, edited_codes
from psp.inference.align import paste_back
from psp.inference.photos import Portrait
from psp.inference.translate import Refinement, translate
from psp.model import Codes, PSp
from stylegan2.latents.directions import Directions, shipped_directions
from stylegan2.latents.foreign_directions import read_directions
from stylegan2.latents.sampling import render
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import to_uint8

LARGEST_CHANGE = 4.0  # of features, in strengths; photographs with an attribute differ from those without by 2


@dataclass(frozen=True)
class Move:
    """A step along a direction."""

    directions: Directions
    name: str
    strength: float
    """in standard deviations of W along the direction or, where features move, in halves of the difference between
    photographs with and without the attribute"""

    def __call__(self, codes: Tensor) -> Tensor:
        """Return codes [N, num_ws, w_dim] moved along the direction."""
        return self.directions.move(codes, self.name, [self.strength])[:, 0]

    def features(self, codes: Codes) -> Tensor | None:
        """Return the change [C, r, r] of the features of codes, or None if the direction moves their w_plus instead."""
        known = self.directions.features.get(self.name)
        if known is None or codes.features is None or known.shape != codes.features.shape[1:]:
            return None
        return self.strength * known.to(codes.features)  # [C, r, r]

    def warning(self, moved: Codes) -> str | None:
        """Return a warning if the move of an image ends beyond the usual range of samples or photographs, else None."""
        if self.features(moved) is not None:
            if abs(self.strength) <= LARGEST_CHANGE:
                return None
            return (
                f"{self.name} changes the features by {self.strength:+.1f}, and beyond {LARGEST_CHANGE:g}, twice the "
                "difference between photographs, the edit may show artefacts"
            )
        position, usual = self.directions.position(moved.w_plus, self.name), self.directions.range_of(self.name)
        if position is None or usual is None or usual[0] <= float(position) <= usual[1]:
            return None
        return (
            f"{self.name} ends at {float(position):+.1f}, beyond the generator's samples, which lie between "
            f"{usual[0]:+.1f} and {usual[1]:+.1f}: the edit may show artefacts"
        )


def find_directions(generator: Generator, files: Sequence[Path] = ()) -> list[Directions]:
    """Load the directions of a generator, from files or from this package.

    Args:
        generator: The generator whose codes are to be moved.
        files: Files of this or of other projects (see `stylegan2.latents.foreign_directions.read_directions`). Without
            files, the directions in this package that were found for this generator are loaded.

    Raises:
        UserError: A file cannot be read or belongs to another generator, or this package has no directions of this
            generator.
    """
    if files:
        return [read_directions(file, generator) for file in files]
    own = shipped_directions(generator)
    if not own:
        raise UserError(
            "no directions of this generator come with the package: find some by scripts/directions.py, or give the "
            "files of others as `directions`"
        )
    return list(own.values())


def plan_moves(sources: Sequence[Directions], strengths: Mapping[str, float]) -> list[Move]:
    """Look up directions by name.

    Args:
        sources: Sets of directions; the first set that has a name is used.
        strengths: {name: strength in standard deviations of W along the direction}.

    Raises:
        UserError: None of the sources has a direction of that name.
    """
    owners = {name: source for source in reversed(sources) for name in source.names}
    if unknown := [name for name in strengths if name not in owners]:
        raise UserError(f"there is no direction {unknown[0]!r}; there are {', '.join(sorted(owners))}")
    return [Move(owners[name], name, strength) for name, strength in strengths.items()]


def move_codes(generator: Generator, codes: Codes, moves: Sequence[Move], damping: float = DAMPING) -> Codes:
    """Apply all moves to the codes, in order.

    Codes with features move by the change of the features if the direction knows it. Otherwise w_plus moves, and a
    correction of features gives way (see `psp.feature_editing`, also for `damping`).
    """
    w_plus, changes = codes.w_plus, [move.features(codes) for move in moves]
    for move, change in zip(moves, changes, strict=True):
        w_plus = move(w_plus) if change is None else w_plus  # [N, num_ws, w_dim]
    edited = edited_codes(generator, codes, w_plus, damping, local=True)
    for change in changes:
        if change is not None and edited.features is not None:
            edited = edited._replace(features=edited.features + change)  # [N, C, r, r]
    return edited


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
        model: A model of the inversion task.
        portraits: Inputs of the encoder, one face each.
        moves: Steps along directions.
        refinement: Optimisation after encoding. If it tunes a generator for each face, this generator renders the edit
            (PTI, arXiv 2106.05744, section 3.2).
        device: Device of the networks.
        precision: One of `psp.precision.PRECISIONS`.

    Returns:
        The edited picture of each portrait, uint8 [R, R, C], and a list of warnings.
    """
    pictures: list[np.ndarray] = []
    warnings: list[str] = []
    sources = [portrait.source for portrait in portraits]
    for batch in translate(model, sources, device=device, refinement=refinement, precision=precision):
        generators = batch.generators or [model.generator] * len(batch.images)
        for codes, generator in zip(batch.codes.split(1), generators, strict=True):
            moved = move_codes(generator, codes, moves)
            warnings += [sentence for move in moves if (sentence := move.warning(moved))]
            pictures.append(to_uint8(render_codes(generator, moved))[0])  # [R, R, C]
    return pictures, list(dict.fromkeys(warnings))


def render_codes(generator: Generator, codes: Codes) -> Tensor:
    """Render codes on any device by a generator on any device: images [N, img_channels, R, R] in [-1, 1] on the CPU."""
    placed = codes.map(lambda stored: stored.to(generator.w_avg.device))
    return render(generator, placed.w_plus, features=placed.features)


def paste_back_portraits(
    photo: np.ndarray, portraits: Sequence[Portrait], pictures: Sequence[np.ndarray]
) -> np.ndarray:
    """Paste edited faces into the photo from which they were cropped.

    Args:
        photo: uint8 [H, W, 3].
        portraits: The aligned faces, with their crops.
        pictures: Edited pictures, uint8 [R, R, C], one for each portrait.

    Returns:
        A new photo, uint8 [H, W, 3].

    Raises:
        ValueError: A portrait has no crop.
    """
    for portrait, picture in zip(portraits, pictures, strict=True):
        if portrait.crop is None:
            raise ValueError("a portrait that was not cut out of a photo cannot be pasted back")
        photo = paste_back(photo, np.broadcast_to(picture, (*picture.shape[:2], 3)), portrait.crop)  # [H, W, 3]
    return photo
