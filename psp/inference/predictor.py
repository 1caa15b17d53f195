"""The interface of a model for Python programs, from photographs to photographs.

model = psp.load("portraits64_inversion")
face = model.invert("me.jpg")
smiling = model.edit(face, smile=2.0)
smiling.paste_back().save("me_smiling.jpg")
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from psp import loading
from psp.inference.align import Crop, paste_back
from psp.inference.editing import find_directions, move_codes, plan_moves, render_codes
from psp.inference.photos import Portrait
from psp.inference.portraits import read_portraits, reader_for
from psp.inference.sources import Picture, read_picture, sources_of
from psp.inference.translate import Refinement, Translation, translate
from psp.losses import build_losses
from psp.mixing import Mixing, mixed_codes
from psp.model import Codes, PSp
from psp.optimize import LAMBDAS
from stylegan2.latents.directions import Directions
from stylegan2.latents.mixing import mask_rows
from stylegan2.latents.sampling import render, seeded_w
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.checkpoint import Metadata
from stylegan2.runtime.device import pick_device, place
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import Region, cut_region, to_uint8
from stylegan2.runtime.progress import Progress

Result = TypeVar("Result")


@dataclass(frozen=True)
class Face:
    """A picture with its codes and its rendering by the generator."""

    image: Image.Image
    """rendering of the codes: a square of the generator's resolution or, for models of pictures that are not square,
    the part of it without padding"""
    w_plus: Tensor
    """codes [num_ws, w_dim], on the CPU"""
    aligned: Image.Image
    """input of the encoder as a picture: the face as it was cropped out of the photo"""
    photo: Picture
    """the picture that was given to `invert`"""
    features: Tensor | None = None
    """correction of the generator's features [C, r, r], from encoders that correct features; None for W+ alone"""
    crop: Crop | None = None
    """position of the face in the photo; None for pictures that were not aligned"""
    generator: Generator | None = None
    """copy of the generator that was tuned for this face; None if the model's own generator is used"""
    region: Region | None = None
    """part of the generator's square that `image` shows; None for the whole square"""

    @property
    def codes(self) -> Codes:
        """Return the codes as a batch of one."""
        return Codes(self.w_plus[None], None if self.features is None else self.features[None])

    def paste_back(self, feather: float = 0.1) -> Image.Image:
        """Paste the image into the photo from which the face was cropped.

        Args:
            feather: Width of the soft seam as a fraction of the side of the crop.

        Returns:
            The upright photo, in its original size.

        Raises:
            UserError: The picture was not cropped out of a photo, or its file no longer exists.
        """
        if self.crop is None:
            raise UserError("this picture was not cut out of a photo, so there is nothing to paste it into")
        photo = read_picture(self.photo)  # [H, W, 3]
        image = np.asarray(self.image.convert("RGB"))  # [R, R, 3]
        return Image.fromarray(paste_back(photo, image, self.crop, feather))


class Predictor:
    """A pSp model on a device, with directions for editing.

    Args:
        model: Encoder and generator. The model is moved to the device, set to evaluation mode and frozen.
        metadata: Metadata as from `psp.loading.load`. The value of "task" determines what the encoder reads.
        device: Device of the networks.
        directions: Files of directions, of this or of other projects; by default the directions for this generator that
            are part of this package.
    """

    def __init__(
        self, model: PSp, metadata: Metadata, device: torch.device | str = "cpu", directions: Sequence[str | Path] = ()
    ) -> None:
        self.model, self.metadata = model.eval().requires_grad_(False), dict(metadata)
        self.device = torch.device(device)
        self.directions_files = [Path(file) for file in directions]
        self.sources = sources_of(metadata, model.encoder.input_channels)
        place(self.model, self.device)

    @property
    def task(self) -> str:
        """Return the task that the model was trained for, such as "inversion"."""
        return self.metadata.get("task") or "inversion"

    @property
    def of_faces(self) -> bool:
        """Return whether the model was trained on aligned faces, unlike published models of cars, for example."""
        return self.metadata.get("faces", True) is not False

    @property
    def resolution(self) -> int:
        """Return the side of the generator's images in pixels."""
        return self.model.generator.img_resolution

    @cached_property
    def directions(self) -> dict[str, Directions]:
        """Return {name of a direction: the set of directions that contains it}.

        Raises:
            UserError: No directions of this generator are known, or a file of directions cannot be read.
        """
        sources = find_directions(self.model.generator, self.directions_files)
        return {name: directions for directions in reversed(sources) for name in directions.names}

    @overload
    def invert(
        self,
        photos: Picture,
        *,
        align: bool = ...,
        crop: Crop | None = ...,
        refine: int = ...,
        pivotal: int = ...,
        batch_size: int = ...,
    ) -> Face: ...
    @overload
    def invert(
        self,
        photos: Sequence[Picture],
        *,
        align: bool = ...,
        refine: int = ...,
        pivotal: int = ...,
        batch_size: int = ...,
    ) -> list[Face]: ...
    def invert(
        self,
        photos: Picture | Sequence[Picture],
        *,
        align: bool = True,
        crop: Crop | None = None,
        refine: int = 0,
        pivotal: int = 0,
        batch_size: int = 8,
    ) -> Face | list[Face]:
        """Find the codes of photos and render them.

        Args:
            photos: A path or a Pillow image of any size, or a list of them.
            align: Find the largest face and crop it as in FFHQ. Without alignment, and for a model of other objects
                than faces, the middle part of the picture is taken.
            crop: Position of the face in a single photo, as from `find_faces`; no face is searched then.
            refine: Steps of W+ optimisation that start from the encoder's codes.
            pivotal: Steps of pivotal tuning (PTI, arXiv 2106.05744), which tunes one copy of the generator per photo.
            batch_size: Number of photos that are processed at a time.

        Returns:
            A face, or a list of faces if a list was given.

        Raises:
            UserError: The model was trained for another task, or no face was found in a photo.
            ImageError: A photo cannot be read.
        """
        if self.task not in ("inversion", "toonify"):
            raise UserError(
                f"this model was trained for {self.task}: its outputs differ from their sources, so use translate"
            )
        refinement = None
        if refine or pivotal:
            refinement = Refinement(build_losses(LAMBDAS), refine, pivotal)
        results = self._faces(photos, crop or align, batch_size, None, refinement)
        return _as_given(photos, [faces[0] for faces in results])

    def translate(
        self,
        pictures: Picture | Sequence[Picture],
        *,
        align: bool | None = None,
        crop: Crop | None = None,
        outputs: int = 1,
        rows: str = "fine",
        seed: int = 0,
        batch_size: int = 8,
    ) -> Any:
        """Translate pictures to images of the generator.

        The task of the model determines the kind of pictures: photos, drawings, label maps, or photos with transparent
        holes.

        Args:
            pictures: A path or a Pillow image of any size, or a list of them.
            align: Find the largest face and crop it; by default if faces can be detected in the sources of the task.
            crop: Position of the face in a single picture, as from `find_faces`; no face is searched then.
            outputs: Number of images per picture. Several images of a picture differ by random styles.
            rows: Rows of w+ that get the random styles: coarse, medium, fine, or numbers such as 8-17.
            seed: Seed of the random styles.
            batch_size: Number of images that are generated at a time.

        Returns:
            A Pillow image per picture, or a list of images per picture if there are several outputs. The result is a
            list over the pictures if a list was given.

        Raises:
            UserError: No face was found in a picture, or the generator does not have these rows.
            ImageError: A picture cannot be read.
        """
        aligning = crop or (self.sources.aligns if align is None else align)
        mixing = Mixing(rows, outputs, seed=seed) if outputs != 1 else None
        results = self._faces(pictures, aligning, batch_size, mixing, None)
        images = [[face.image for face in faces] for faces in results]
        return _as_given(pictures, images) if outputs != 1 else _as_given(pictures, [image for (image,) in images])

    @overload
    def edit(self, faces: Face, **strengths: float) -> Face: ...
    @overload
    def edit(self, faces: Sequence[Face], **strengths: float) -> list[Face]: ...
    def edit(self, faces: Face | Sequence[Face], **strengths: float) -> Face | list[Face]:
        """Move faces along directions, as in `edit(face, smile=2.0, yaw=-1.0)`.

        If a face leaves the range in which the generator usually has samples, a warning is issued. Where a direction
        knows what its attribute changes in the features (`psp.attribute_changes`), these move. Otherwise w_plus moves,
        and a correction of features gives way where the edit changes something (see `psp.feature_editing`), which the
        opposite edit does not undo: start each edit from the face that `invert` returned.

        Args:
            faces: A face from `invert` or `edit`, or a list of faces.
            strengths: {name of a direction: strength in standard deviations of W along the direction}. The names are
                the keys of `directions`.

        Returns:
            New faces, with which `paste_back` pastes into the same photos.

        Raises:
            UserError: There is no such direction, or no directions of this generator are known.
        """
        moves = plan_moves(list(self.directions.values()), strengths)
        edited = []
        for face in [faces] if isinstance(faces, Face) else faces:
            codes = move_codes(face.generator or self.model.generator, face.codes, moves)
            for sentence in filter(None, (move.warning(codes) for move in moves)):
                warnings.warn(sentence, stacklevel=2)
            edited.append(self._rendered(face, codes))
        return edited[0] if isinstance(faces, Face) else edited

    def mix(self, face: Face, style: Face, rows: str = "fine") -> Face:
        """Replace some rows of the codes of a face by those of another face (style mixing).

        Args:
            face: The face that keeps its other rows.
            style: The face from which the rows are taken.
            rows: coarse (pose, shape), medium (features), fine (colours, light), or numbers such as 8-17.

        Raises:
            UserError: The generator does not have these rows.
        """
        chosen = mask_rows(rows, self.model.generator.num_ws)
        w_plus = face.w_plus.clone()  # [num_ws, w_dim]
        w_plus[chosen] = style.w_plus[chosen]
        generator = face.generator or self.model.generator
        return self._rendered(face, mixed_codes(generator, face.codes, w_plus[None], chosen))

    @overload
    def generate(self, seeds: int = ..., truncation_psi: float = ...) -> Image.Image: ...
    @overload
    def generate(self, seeds: Sequence[int], truncation_psi: float = ...) -> list[Image.Image]: ...
    def generate(self, seeds: int | Sequence[int] = 0, truncation_psi: float = 0.7) -> Image.Image | list[Image.Image]:
        """Generate random images. A seed always gives the same image.

        Args:
            seeds: A seed, or a list of seeds.
            truncation_psi: Strength of the truncation trick: 1 leaves samples unchanged, and smaller values move them
                closer to the mean.

        Returns:
            A Pillow image, or a list of images if a list was given.
        """
        generator = self.model.generator
        numbers = [seeds] if isinstance(seeds, int) else list(seeds)
        images = to_uint8(render(generator, seeded_w(generator, numbers, truncation_psi)))  # [N, R, R, C]
        pictures = [_to_pillow(image) for image in images]
        return pictures[0] if isinstance(seeds, int) else pictures

    def _rendered(self, face: Face, codes: Codes) -> Face:
        """Return the face with other codes, rendered by the generator of the face if it has one."""
        image = to_uint8(render_codes(face.generator or self.model.generator, codes))[0]  # [R, R, C]
        shown = image if face.region is None else cut_region(image, face.region)  # [H, W, C]
        features = None if codes.features is None else codes.features[0]  # [C, r, r]
        return replace(face, image=_to_pillow(shown), w_plus=codes.w_plus[0], features=features)

    def _faces(
        self,
        pictures: Picture | Sequence[Picture],
        align: bool | Crop,
        batch_size: int,
        mixing: Mixing | None,
        refinement: Refinement | None,
    ) -> Iterator[list[Face]]:
        """Yield a list of faces for each picture, one face per output; a batch of pictures is processed at a time."""
        given = [pictures] if isinstance(pictures, Picture) else list(pictures)
        aligning = align if isinstance(align, Crop) else align and self.of_faces
        reader = reader_for(self.model, self.sources, aligning, len(given))
        outputs = 1 if mixing is None else mixing.outputs
        with Progress(len(given), "translating", "picture", hidden=len(given) <= batch_size) as bar:
            for start in range(0, len(given), batch_size):
                part = given[start : start + batch_size]
                portraits = read_portraits(part, reader)
                sources = [portrait.source for portrait in portraits]
                batches = translate(self.model, sources, batch_size, self.device, mixing=mixing, refinement=refinement)
                results = [result for batch in batches for result in results_of(batch)]
                for n, (picture, portrait) in enumerate(zip(part, portraits, strict=True)):
                    own = results[n * outputs : (n + 1) * outputs]
                    yield [face_of(picture, portrait, *result) for result in own]
                bar.update(len(part))


def load(name: str | Path, device: str = "auto", directions: Sequence[str | Path] = ()) -> Predictor:
    """Load a pSp model for photographs.

    The function `psp.loading.load` returns only the networks.

    Args:
        name: The name of a model (`psp models` lists them), a checkpoint, an experiment folder, or a published pSp, e4e
            or ReStyle file.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1" or "mps".
        directions: Files of directions for editing; by default those that are part of this package.

    Raises:
        UserError: There is no such model or device.
        CheckpointError: The file is damaged or does not contain a pSp model.
    """
    where = pick_device(device)
    model, metadata = loading.load(name)
    return Predictor(model, metadata, where, directions)


def results_of(batch: Translation) -> Iterator[tuple[np.ndarray, Codes, Generator | None]]:
    """Yield each image of a batch, uint8 [R, R, C], its codes as a batch of one, and the generator tuned for it."""
    outputs = len(batch.images) // max(1, len(batch.generators))  # images per tuned generator
    for n, (image, codes) in enumerate(zip(to_uint8(batch.images), batch.codes.split(1), strict=True)):
        yield image, codes, batch.generators[n // outputs] if batch.generators else None


def face_of(picture: Picture, portrait: Portrait, image: np.ndarray, codes: Codes, generator: Generator | None) -> Face:
    """Build a face from a picture, the encoder's input, and the results.

    Args:
        picture: The picture as the user gave it.
        portrait: The input of the encoder.
        image: Rendering of the codes, uint8 [R, R, C].
        codes: The codes, a batch of one.
        generator: The generator that was tuned for this face, if any.
    """
    return Face(
        image=_to_pillow(portrait.shown(image)),
        w_plus=codes.w_plus[0],
        aligned=_to_pillow(portrait.shown(portrait.picture)),
        photo=picture,
        features=None if codes.features is None else codes.features[0],
        crop=portrait.crop,
        generator=generator,
        region=portrait.region,
    )


def _to_pillow(image: np.ndarray) -> Image.Image:
    """Convert uint8 [H, W, C], with C = 1, 3 or 4, to a Pillow image."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def _as_given(pictures: Picture | Sequence[Picture], results: list[Result]) -> Result | list[Result]:
    """Return the only result if a single picture was given, else the list of results."""
    return results[0] if isinstance(pictures, Picture) else results
