"""What the page does with photographs: from Pillow images to Pillow images, knowing nothing of the page."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from skimage import data

import psp
from psp.inference.align import Crop, extract, paste_back
from psp.inference.predictor import Face, Predictor
from psp.inference.sources import read_picture
from psp.pretrained_files import PRETRAINED
from stylegan2.runtime.errors import ImageError, UserError

INVERSION, SUPER_RESOLUTION, INPAINTING, TOONIFY = "inversion", "super_resolution", "inpainting", "toonify"
TASKS = (INVERSION, SUPER_RESOLUTION, INPAINTING, TOONIFY)
LIKENESS = {"Quick": {}, "Closer": {"refine": 100}, "Closest": {"refine": 100, "pivotal": 350}}
"""Arguments of `Predictor.invert` by what the page calls them."""
ROWS = ("coarse", "medium", "fine")
LONGEST = 2048  # pixels of a photograph's longer side; larger ones are reduced
SHOWN = 512  # pixels of the side of a face on the page
THUMBNAIL = 128  # pixels of the side of a face to choose
SOFT = 6.0  # standard deviation of a filled hole's edge, in pixels of the face that is shown
EXAMPLES = (5, 3, 29, 23)  # seeds of the people who stand ready to try the page


@dataclass(frozen=True)
class Photograph:
    """What somebody gave, and where the faces in it lie."""

    image: Image.Image
    crops: tuple[Crop, ...]
    """the largest face first; the centre square where none was found"""
    notice: str = ""
    """what its owner should know, one sentence"""


# ------------------------------------------------------------------------------------------------ models


def shipped_models(family: str) -> dict[str, str]:
    """Return {task: name} of the models of a family that come with the package: FAMILY_inversion and so on.

    Raises:
        UserError: No inversion model of that family comes along.
    """
    names = {task: f"{family}_{task}" for task in TASKS if f"{family}_{task}" in PRETRAINED.shipped}
    if INVERSION not in names:
        suffix = f"_{INVERSION}"
        families = [name.removesuffix(suffix) for name in PRETRAINED.shipped if name.endswith(suffix)]
        raise UserError(f"no models of the family {family!r} come with the package: choose {' or '.join(families)}")
    return names


def load_models(names: Mapping[str, str], device: str = "auto") -> dict[str, Predictor]:
    """Load models, {task: name}, as {task: model}."""
    return {task: psp.load(name, device) for task, name in names.items()}


# ------------------------------------------------------------------------------------------- photographs


def open_photograph(path: str | Path) -> Photograph:
    """Read a file that was uploaded and find the faces in it.

    Raises:
        ImageError: It cannot be read; the sentence says why.
    """
    try:
        image = Image.fromarray(read_picture(path))
    except ImageError as error:
        raise ImageError(str(error).replace(str(path), Path(path).name)) from error  # folders are nobody's business
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    crops = tuple(psp.find_faces(image))
    if crops:
        return Photograph(image, crops)
    return Photograph(image, (centre_of(image),), "No face was found, so the middle of the picture is taken.")


def centre_of(image: Image.Image) -> Crop:
    """Return the largest square in the middle of an image."""
    side = min(image.size)
    left, upper = (image.width - side) / 2, (image.height - side) / 2
    right, lower = left + side, upper + side
    return Crop(((left, upper), (left, lower), (right, lower), (right, upper)))


def thumbnails(photograph: Photograph) -> list[Image.Image]:
    """Return each face, small, to choose from."""
    return [cut_out(photograph, crop, THUMBNAIL) for crop in photograph.crops]


def cut_out(photograph: Photograph, crop: Crop, side: int = SHOWN) -> Image.Image:
    """Cut a face out of a photograph, upright."""
    return Image.fromarray(extract(np.asarray(photograph.image), crop, side))


def enlarged(image: Image.Image, side: int = SHOWN) -> Image.Image:
    """Return a square image as large as the page shows faces; one that is larger stays as it is."""
    return image if image.width >= side else image.resize((side, side), Image.Resampling.LANCZOS)


# ------------------------------------------------------------------------------------------------- tasks


def invert(model: Predictor, photograph: Photograph, number: int, likeness: str = "Quick") -> Face:
    """Find the codes of one of the faces of a photograph."""
    crop = photograph.crops[min(number, len(photograph.crops) - 1)]
    return model.invert(photograph.image, crop=crop, **LIKENESS[likeness])


def edit(model: Predictor, face: Face, strengths: Mapping[str, float]) -> tuple[Face, list[str]]:
    """Move a face along directions, {name: strength}; return it, and what the model warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        edited = model.edit(face, **{name: strength for name, strength in strengths.items() if strength})
    return edited, [str(warning.message) for warning in caught if warning.category is UserWarning]


def mix(model: Predictor, face: Face, style: Face) -> list[Face]:
    """Give a face the coarse, the medium, and the fine rows of another: three faces."""
    return [model.mix(face, style, rows) for rows in ROWS]


def sharpen(model: Predictor, face: Face, factor: int) -> tuple[Image.Image, Image.Image]:
    """Shrink a face by a factor and let the model restore it: (what it was given, what it made of that)."""
    side = max(1, face.aligned.width // factor)
    small = face.aligned.resize((side, side), Image.Resampling.BICUBIC)
    return small, model.translate(small, align=False)


def fill(model: Predictor, photograph: Photograph, crop: Crop, hole: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Complete a face where it is missing.

    Args:
        model: Of the inpainting task.
        photograph: In which the face lies.
        crop: Where it lies.
        hole: Mode L, of the face as `cut_out` shows it: white is missing.

    Returns:
        The face, which is the photograph's outside of the hole, and the photograph with it.

    Raises:
        UserError: Nothing is missing.
    """
    if np.asarray(hole).max() < 128:
        raise UserError("nothing is marked: draw over what is to be filled, then press the button again")
    known = cut_out(photograph, crop)
    hole = hole.resize(known.size).point([255 * (value >= 128) for value in range(256)])
    seen = known.copy()
    seen.putalpha(hole.point(lambda value: 255 - value))
    result = enlarged(model.translate(seen, align=False)).convert("RGB").resize(known.size)
    soft = hole.filter(ImageFilter.GaussianBlur(SOFT))
    filled = Image.composite(result, known, soft)
    whole = paste_back(np.asarray(photograph.image), np.asarray(filled), crop)  # [H, W, 3]
    touched = paste_back(np.zeros_like(whole), np.asarray(soft.convert("RGB")), crop)  # [H, W, 3]
    kept = np.where(touched > 0, whole, np.asarray(photograph.image))  # [H, W, 3]
    return filled, Image.fromarray(kept)


def people(model: Predictor, first_seed: int, count: int, truncation_psi: float) -> list[Image.Image]:
    """Make people who do not exist, each from its own seed."""
    return [enlarged(image) for image in model.generate(range(first_seed, first_seed + count), truncation_psi)]


# ---------------------------------------------------------------------------------------------- examples


def write_examples(model: Predictor, folder: Path, seeds: Sequence[int] = EXAMPLES) -> list[str]:
    """Write photographs to try the page with: an astronaut's, of people who do not exist, and of two of them."""
    made = [image.resize((SHOWN, SHOWN), Image.Resampling.LANCZOS) for image in model.generate(list(seeds))]
    two = Image.new("RGB", (2 * SHOWN, SHOWN))
    for number, image in enumerate(made[-2:]):
        two.paste(image, (number * SHOWN, 0))
    portraits = {f"person_{seed}": image for seed, image in zip(seeds, made, strict=True)}
    pictures = {"astronaut": Image.fromarray(data.astronaut()), **portraits, "two_people": two}
    for name, picture in pictures.items():
        picture.save(folder / f"{name}.jpg", quality=95)
    return [str(folder / f"{name}.jpg") for name in pictures]
