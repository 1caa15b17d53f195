"""Processing of photographs for the page, from Pillow images to Pillow images, independent of the page itself."""

import warnings
from collections.abc import Mapping
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
"""{name on the page: arguments of `Predictor.invert`}"""
ROWS = ("coarse", "medium", "fine")
LONGEST = 2048  # longer side of a photograph in pixels; larger photographs are reduced
SHOWN = 512  # side of a face on the page in pixels
THUMBNAIL = 128  # side of the thumbnail of a face in pixels
SOFT = 6.0  # standard deviation of the soft edge of a filled hole, in pixels of the face on the page
EXAMPLES = (5, 3, 29, 23)  # seeds of the generated people among the example photographs


@dataclass(frozen=True)
class Photograph:
    """A photograph of a visitor and the faces in it."""

    image: Image.Image
    """the photograph, at most LONGEST pixels wide and high"""
    crops: tuple[Crop, ...]
    """the faces, the largest first; the centre square if no face was found"""
    notice: str = ""
    """a sentence for the visitor, or "" """


# ------------------------------------------------------------------------------------------------ models


def shipped_models(family: str) -> dict[str, str]:
    """Return the models of a family that come with the package, such as FAMILY_inversion.

    Returns:
        {task: name of the model}.

    Raises:
        UserError: The package contains no inversion model of that family.
    """
    names = {task: f"{family}_{task}" for task in TASKS if f"{family}_{task}" in PRETRAINED.shipped}
    if INVERSION not in names:
        suffix = f"_{INVERSION}"
        families = [name.removesuffix(suffix) for name in PRETRAINED.shipped if name.endswith(suffix)]
        raise UserError(f"no models of the family {family!r} come with the package: choose {' or '.join(families)}")
    return names


def load_models(names: Mapping[str, str], device: str = "auto") -> dict[str, Predictor]:
    """Load models.

    Args:
        names: {task: name of the model}.
        device: "auto", "cpu" or "cuda".

    Returns:
        {task: model}.
    """
    return {task: psp.load(name, device) for task, name in names.items()}


# ------------------------------------------------------------------------------------------- photographs


def open_photograph(path: str | Path) -> Photograph:
    """Read an uploaded file and find the faces in it.

    Raises:
        ImageError: The file cannot be read; the message says why.
    """
    try:
        image = Image.fromarray(read_picture(path))
    except ImageError as error:
        raise ImageError(str(error).replace(str(path), Path(path).name)) from error  # hides the folders of the server
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    crops = tuple(psp.find_faces(image))
    if crops:
        return Photograph(image, crops)
    return Photograph(image, (centre_of(image),), "No face was found, so the middle of the picture is used.")


def centre_of(image: Image.Image) -> Crop:
    """Return the largest centred square of an image."""
    side = min(image.size)
    left, upper = (image.width - side) / 2, (image.height - side) / 2
    right, lower = left + side, upper + side
    return Crop(((left, upper), (left, lower), (right, lower), (right, upper)))


def thumbnails(photograph: Photograph) -> list[Image.Image]:
    """Crop a small image of each face, from which the visitor chooses one."""
    return [cut_out(photograph, crop, THUMBNAIL) for crop in photograph.crops]


def cut_out(photograph: Photograph, crop: Crop, side: int = SHOWN) -> Image.Image:
    """Crop a face from a photograph and rotate it upright, as an image of side x side pixels."""
    return Image.fromarray(extract(np.asarray(photograph.image), crop, side))


def enlarged(image: Image.Image, side: int = SHOWN) -> Image.Image:
    """Enlarge a square image to a side of `side` pixels; a larger one is returned unchanged."""
    return image if image.width >= side else image.resize((side, side), Image.Resampling.LANCZOS)


# ------------------------------------------------------------------------------------------------- tasks


def invert(model: Predictor, photograph: Photograph, number: int, likeness: str = "Quick") -> Face:
    """Find the codes of a face.

    Args:
        model: The inversion model.
        photograph: The photograph that contains the face.
        number: Number of the face in `photograph.crops`.
        likeness: A key of LIKENESS.
    """
    crop = photograph.crops[min(number, len(photograph.crops) - 1)]
    return model.invert(photograph.image, crop=crop, **LIKENESS[likeness])


def edit(model: Predictor, face: Face, strengths: Mapping[str, float]) -> tuple[Face, list[str]]:
    """Edit a face along directions.

    Args:
        model: The inversion model.
        face: The inverted face.
        strengths: {direction: strength in standard deviations}.

    Returns:
        The edited face, and the warnings of the model.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        edited = model.edit(face, **{name: strength for name, strength in strengths.items() if strength})
    return edited, [str(warning.message) for warning in caught if warning.category is UserWarning]


def mix(model: Predictor, face: Face, style: Face) -> list[Face]:
    """Mix a face with another one, from which the three results take the coarse, medium and fine rows of w+."""
    return [model.mix(face, style, rows) for rows in ROWS]


def sharpen(model: Predictor, face: Face, factor: int) -> tuple[Image.Image, Image.Image]:
    """Reduce a face by a factor and restore it.

    Args:
        model: The super-resolution model.
        face: The face.
        factor: Factor by which the sides of the face are reduced.

    Returns:
        (reduced face, restored face).
    """
    side = max(1, face.aligned.width // factor)
    small = face.aligned.resize((side, side), Image.Resampling.BICUBIC)
    return small, model.translate(small, align=False)


def fill(model: Predictor, photograph: Photograph, crop: Crop, hole: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Fill a hole in a face.

    Args:
        model: The inpainting model.
        photograph: The photograph that contains the face.
        crop: Position of the face in the photograph.
        hole: Mask of mode L over the face as `cut_out` returns it, white in the hole.

    Returns:
        The face, which is changed only in the hole, and the photograph with that face.

    Raises:
        UserError: The hole is empty.
    """
    if np.asarray(hole).max() < 128:
        raise UserError("nothing is marked: draw over the part to fill, then press the button again")
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
    """Generate people who do not exist, one from each of `count` consecutive seeds."""
    return [enlarged(image) for image in model.generate(range(first_seed, first_seed + count), truncation_psi)]


# ---------------------------------------------------------------------------------------------- examples


def write_examples(model: Predictor, folder: Path) -> list[str]:
    """Write example photographs: an astronaut, generated people, and a photograph with two of them.

    Args:
        model: The inversion model, whose generator is used.
        folder: Folder for the files.

    Returns:
        The paths of the files.
    """
    made = [image.resize((SHOWN, SHOWN), Image.Resampling.LANCZOS) for image in model.generate(EXAMPLES)]
    two = Image.new("RGB", (2 * SHOWN, SHOWN))
    for number, image in enumerate(made[-2:]):
        two.paste(image, (number * SHOWN, 0))
    portraits = {f"person_{seed}": image for seed, image in zip(EXAMPLES, made, strict=True)}
    pictures = {"astronaut": Image.fromarray(data.astronaut()), **portraits, "two_people": two}
    for name, picture in pictures.items():
        picture.save(folder / f"{name}.jpg", quality=95)
    return [str(folder / f"{name}.jpg") for name in pictures]
