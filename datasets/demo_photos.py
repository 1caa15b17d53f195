"""A folder of sample photos for the demo: a real photograph, procedural faces, some rotated, one file broken."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from datasets.synthetic import HELD_OUT_SEED, SyntheticFaces

RESOLUTION = 512
FACES = 10
TILT_DEGREES = (0, 0, 15, 0, -20, 0, 0, 25, 0, 0)
EXIF_ORIENTATION, EXIF_ROTATED = 0x0112, 6  # the viewer has to turn the stored picture by 90 degrees


def write_sample_photos(folder: Path) -> int:
    """Write JPEG files into `folder` and return how many: the same ones at every call."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data.astronaut()).save(folder / "astronaut.jpg", quality=95)
    faces = SyntheticFaces(RESOLUTION, seed=HELD_OUT_SEED)
    for index, tilt in zip(range(FACES), TILT_DEGREES, strict=True):
        face = Image.fromarray(faces.image(index)).rotate(tilt, Image.Resampling.BICUBIC, expand=True)
        face.save(folder / f"face{index:02d}.jpg", quality=95)
    _write_exif_rotated(faces.image(FACES), folder / "exif_rotated.jpg")
    _write_truncated(faces.image(FACES + 1), folder / "broken.jpg")
    return FACES + 3


def _write_exif_rotated(image: np.ndarray, path: Path) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = EXIF_ROTATED
    Image.fromarray(np.rot90(image)).save(path, quality=95, exif=exif)


def _write_truncated(image: np.ndarray, path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG")
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 3])
