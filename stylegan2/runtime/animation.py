"""Write animations as GIF, which every viewer shows, or WebP, which has all colours in a quarter of the size."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from stylegan2.runtime.choices import FASTEST
from stylegan2.runtime.errors import ImageError, UserError
from stylegan2.runtime.files import atomic_file, writing

FORMATS = {".gif": "GIF", ".webp": "WEBP"}
WEBP_QUALITY = 90


def write_animation(path: str | os.PathLike, frames: Sequence[np.ndarray], fps: float = 20.0) -> None:
    """Write uint8 frames [H, W, 1 | 3] of one size as an endless loop, atomically. The folder is created.

    A GIF has a palette of 256 colours for each frame, and its frames last whole hundredths of a second.

    Raises:
        UserError: The frame rate is not above 0 and at most 50.
        ImageError: The extension is neither .gif nor .webp, or the file cannot be written.
    """
    kind = FORMATS.get(Path(path).suffix.lower())
    if kind is None:
        raise ImageError(f"cannot write {str(path)!r}: animations are written as {' or '.join(FORMATS)}")
    if not 0 < fps <= FASTEST:
        raise UserError(f"an animation must have more than 0 and at most {FASTEST} frames a second, not {fps}")
    pictures = [Image.fromarray(np.squeeze(frame, 2) if frame.shape[2] == 1 else frame) for frame in frames]
    options = {"quality": WEBP_QUALITY} if kind == "WEBP" else {}
    with writing(path, ImageError), atomic_file(path, durable=False) as file:
        pictures[0].save(
            file, kind, save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0, **options
        )
