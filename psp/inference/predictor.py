"""A model as a Python program uses it: photographs in, photographs out.

model = psp.load("portraits64_inversion")
face = model.invert("me.jpg")
smiling = model.edit(face, smile=2.0)
smiling.paste_back().save("me_smiling.jpg")
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

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
from psp.mixing import Mixing
from psp.model import Codes, PSp
from psp.optimize import LAMBDAS
from stylegan2.latents.mixing import mask_rows
from stylegan2.latents.sampling import render, seeded_w
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.device import pick_device, place
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import Region, cut_region, to_uint8
from stylegan2.runtime.progress import Progress


@dataclass(frozen=True)
class Face:
    """A picture in the space of a generator."""

    image: Image.Image
    """what the generator makes of the codes: a square of its resolution, or for a model of wider pictures the part of
    it that shows one"""
    w_plus: Tensor
    """[num_ws, w_dim], on the CPU"""
    aligned: Image.Image
    """what the encoder was shown, as people see it: the face that was cut out of the photo"""
    photo: Picture
    """what was given"""
    features: Tensor | None = None
    """[C, r, r], for encoders that correct the generator's features; None for codes in W+ alone"""
    crop: Crop | None = None
    """where the face lies in the photo; None for pictures that were taken as they are"""
    generator: Generator | None = None
    """the copy that was tuned for this face; None for the model's own"""
    region: Region | None = None
    """what of the generator's square `image` is; None for all"""

    @property
    def codes(self) -> Codes:
        """Return w_plus and features as those of a batch of one."""
        return Codes(self.w_plus[None], None if self.features is None else self.features[None])

    def paste_back(self, feather: float = 0.1) -> Image.Image:
        """Lay the image over the photo that the face was cut out of.

        Args:
            feather: Width of the soft seam as a fraction of the face's side.

        Returns:
            The photo, upright and as large as it was.

        Raises:
            UserError: The picture was taken as it is, or its file is gone.
        """
        if self.crop is None:
            raise UserError("this picture was not cut out of a photo, so there is nothing to paste it into")
        photo = read_picture(self.photo)  # [H, W, 3]
        image = np.asarray(self.image.convert("RGB"))  # [R, R, 3]
        return Image.fromarray(paste_back(photo, image, self.crop, feather))


class Predictor:
    """A pSp model on a device, and the directions along which it edits.

    Args:
        model: Encoder and generator; it is moved to the device, and set to evaluation without gradients.
        metadata: As `psp.loading.load` gives it; its "task" says what the encoder reads.
        device: Where the networks run.
        directions: Files of directions, ours or other projects'; by default those that come with the package for this
            generator.
    """

    def __init__(
        self,
        model: PSp,
        metadata: Mapping[str, Any],
        device: torch.device | str = "cpu",
        directions: Sequence[str | Path] = (),
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
        """Tell whether the model was trained on aligned faces; published models of cars, say, were not."""
        return self.metadata.get("faces", True) is not False

    @property
    def resolution(self) -> int:
        """Return the side of the model's images in pixels."""
        return self.model.generator.img_resolution

    @cached_property
    def directions(self) -> dict[str, Any]:
        """Return {name: the directions that it is one of}. UserError: none of this generator are known."""
        found = find_directions(self.model.generator, self.directions_files)
        return {name: directions for directions in reversed(found) for name in directions.names}

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
        """Find the codes of photos, and render them again.

        Args:
            photos: A path or a Pillow image of any size, or a list of them.
            align: Find the largest face and cut it out as FFHQ does; without, and for a model of anything else than
                faces, the middle of the picture is taken.
            crop: Where the face of one photo lies, as `find_faces` returns it; then no face is searched.
            refine: Steps of W+ optimisation from the encoder's codes.
            pivotal: Steps of tuning a copy of the generator around the codes, for each photo its own (PTI).
            batch_size: Photos at a time.

        Returns:
            A face for each photo: one, or a list where a list was given.

        Raises:
            UserError: The model was trained for another task, or no face was found in a photo.
            ImageError: A photo cannot be read.
        """
        if self.task not in ("inversion", "toonify"):
            raise UserError(f"this model was trained for {self.task}: its outputs are not their sources, so translate")
        refinement = None
        if refine or pivotal:
            refinement = Refinement(build_losses(LAMBDAS), refine, pivotal)
        found = self._faces(photos, crop or align, batch_size, None, refinement)
        return _as_given(photos, [faces[0] for faces in found])

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
        """Translate pictures by the model's task: photos, drawings, label maps, or photos with transparent holes.

        Args:
            pictures: A path or a Pillow image of any size, or a list of them.
            align: Find the largest face and cut it out; by default wherever faces can be found in what the task reads.
            crop: Where the face of one picture lies, as `find_faces` returns it; then no face is searched.
            outputs: Images for each picture; several differ by random styles.
            rows: Rows of w+ that get these: coarse, medium, fine, or numbers such as 8-17.
            seed: Of the random styles.
            batch_size: Images at a time.

        Returns:
            A Pillow image for each picture, or a list of them where several outputs were asked for; one, or a list
            where a list was given.

        Raises:
            UserError: No face was found in a picture, or the rows are not the generator's.
            ImageError: A picture cannot be read.
        """
        aligning = crop or (self.sources.aligns if align is None else align)
        mixing = Mixing(rows, outputs, seed=seed) if outputs != 1 else None
        found = [[face.image for face in faces] for faces in self._faces(pictures, aligning, batch_size, mixing, None)]
        answers: list[Any] = found if outputs != 1 else [images[0] for images in found]
        return _as_given(pictures, answers)

    @overload
    def edit(self, faces: Face, **strengths: float) -> Face: ...
    @overload
    def edit(self, faces: Sequence[Face], **strengths: float) -> list[Face]: ...
    def edit(self, faces: Face | Sequence[Face], **strengths: float) -> Face | list[Face]:
        """Move faces along directions: `edit(face, smile=2.0, yaw=-1.0)`.

        Args:
            faces: What `invert` or `edit` returned, one or a list.
            strengths: {direction: strength in standard deviations of W along it}; `directions` has the names.

        Returns:
            New faces; their `paste_back` lays them over the same photos. A face that leaves the range in which the
            generator has samples is warned of.

        Raises:
            UserError: There is no such direction, or none of this generator are known.
        """
        moves = plan_moves(list(self.directions.values()), strengths)
        edited = []
        for face in [faces] if isinstance(faces, Face) else faces:
            codes = move_codes(face.codes, moves)
            for sentence in filter(None, (move.warning(codes.w_plus) for move in moves)):
                warnings.warn(sentence, stacklevel=2)
            edited.append(self._rendered(face, codes))
        return edited[0] if isinstance(faces, Face) else edited

    def mix(self, face: Face, style: Face, rows: str = "fine") -> Face:
        """Give a face some rows of the codes of another.

        Args:
            face: Keeps its other rows.
            style: Whose rows are taken.
            rows: coarse (pose, shape), medium (features), fine (colours, light), or numbers such as 8-17.

        Raises:
            UserError: The rows are not the generator's.
        """
        chosen = mask_rows(rows, self.model.generator.num_ws)
        w_plus = face.w_plus.clone()  # [num_ws, w_dim]
        w_plus[chosen] = style.w_plus[chosen]
        return self._rendered(face, Codes(w_plus[None], face.codes.features))

    @overload
    def generate(self, seeds: int = ..., truncation_psi: float = ...) -> Image.Image: ...
    @overload
    def generate(self, seeds: Sequence[int], truncation_psi: float = ...) -> list[Image.Image]: ...
    def generate(self, seeds: int | Sequence[int] = 0, truncation_psi: float = 0.7) -> Image.Image | list[Image.Image]:
        """Make images of nothing but seeds: the same image for a seed at every call.

        Args:
            seeds: One, or several.
            truncation_psi: 1 leaves the samples as they are; a smaller number brings them closer to the mean.

        Returns:
            A Pillow image, or a list where several seeds were given.
        """
        generator = self.model.generator
        numbers = [seeds] if isinstance(seeds, int) else list(seeds)
        images = to_uint8(render(generator, seeded_w(generator, numbers, truncation_psi)))  # [N, R, R, C]
        pictures = [_to_pillow(image) for image in images]
        return pictures[0] if isinstance(seeds, int) else pictures

    def _rendered(self, face: Face, codes: Codes) -> Face:
        """Return a face with other codes, rendered by its own generator if it has one."""
        image = to_uint8(render_codes(face.generator or self.model.generator, codes))[0]  # [R, R, C]
        shown = image if face.region is None else cut_region(image, face.region)  # [H, W, C]
        return replace(face, image=_to_pillow(shown), w_plus=codes.w_plus[0])

    def _faces(
        self,
        pictures: Picture | Sequence[Picture],
        align: bool | Crop,
        batch_size: int,
        mixing: Mixing | None,
        refinement: Refinement | None,
    ) -> Iterator[list[Face]]:
        """Yield the faces of each picture, one for each output, a batch at a time."""
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
    """Load a pSp model to use it on photographs.

    Args:
        name: A model's name (`psp models` lists them), a checkpoint, an experiment folder, or a published pSp, e4e or
            ReStyle file. `psp.loading.load` gives the networks alone.
        device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1" or "mps".
        directions: Files of directions to edit along; by default those that come with the package.

    Raises:
        UserError: There is no such model or device.
        CheckpointError: The file is damaged, or not a pSp model.
    """
    where = pick_device(device)
    model, metadata = loading.load(name)
    return Predictor(model, metadata, where, directions)


def results_of(batch: Translation) -> Iterator[tuple[np.ndarray, Codes, Generator | None]]:
    """Yield each image uint8 [R, R, C] of a batch, its codes as a batch of one, and the generator tuned for it."""
    outputs = len(batch.images) // max(1, len(batch.generators))  # of a tuned generator
    for n, (image, codes) in enumerate(zip(to_uint8(batch.images), batch.codes.split(1), strict=True)):
        yield image, codes, batch.generators[n // outputs] if batch.generators else None


def face_of(picture: Picture, portrait: Portrait, image: np.ndarray, codes: Codes, generator: Generator | None) -> Face:
    """Put together what was given, what the encoder saw of it, and what came out."""
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
    """uint8 [H, W, 1 | 3 | 4] -> Pillow."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def _as_given(pictures: Picture | Sequence[Picture], found: list) -> Any:
    """Return what was found for a picture, or the list of it where a list was given."""
    return found[0] if isinstance(pictures, Picture) else found
