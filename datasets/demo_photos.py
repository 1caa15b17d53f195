"""Sample photos for the demo: one real photograph, generated people, some of them rotated, and one damaged file."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data

import stylegan2
from stylegan2.runtime.images import to_uint8
from stylegan2.runtime.randomness import seeded_normal

GENERATOR, SEED, PSI = "portraits64", 7, 0.5
RESOLUTION = 512
PEOPLE = 6
TILT_DEGREES = (0, 15, 0, -20, 0, 0)
EXIF_ORIENTATION, EXIF_ROTATED = 0x0112, 6  # the stored image has to be rotated by 90 degrees for display


@torch.inference_mode()
def write_sample_photos(folder: Path) -> int:
    """Write the sample photos as JPEG files into `folder`, the same ones at every call.

    Returns:
        The number of files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data.astronaut()).save(folder / "astronaut.jpg", quality=95)
    generator, _ = stylegan2.load(GENERATOR)
    z = seeded_normal((PEOPLE + 2, generator.z_dim), SEED)
    people = [enlarged(picture) for picture in to_uint8(generator(z, truncation_psi=PSI))]
    for index, tilt in enumerate(TILT_DEGREES):
        edge = tuple(int(v) for v in people[index][0].mean(0))  # fills the corners that rotation leaves empty
        face = Image.fromarray(people[index]).rotate(tilt, Image.Resampling.BICUBIC, expand=True, fillcolor=edge)
        face.save(folder / f"person{index}.jpg", quality=95)
    _write_exif_rotated(people[PEOPLE], folder / "exif_rotated.jpg")
    _write_truncated(people[PEOPLE + 1], folder / "broken.jpg")
    return PEOPLE + 3


def enlarged(picture: np.ndarray) -> np.ndarray:
    """Resize an image, uint8 [H, W, 3], to the size of the sample photos, [512, 512, 3]."""
    return np.asarray(Image.fromarray(picture).resize((RESOLUTION, RESOLUTION), Image.Resampling.LANCZOS))


def _write_exif_rotated(image: np.ndarray, path: Path) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = EXIF_ROTATED
    Image.fromarray(np.rot90(image)).save(path, quality=95, exif=exif)


def _write_truncated(image: np.ndarray, path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG")
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 3])
