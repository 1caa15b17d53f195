"""Images encoded as PNG files. This module does not import PyTorch, so that processes that render stay small."""

import io

import numpy as np
from PIL import Image

from datasets.synthetic import SyntheticFaces


class EncodedFaces:
    """Procedural faces as PNG files: `[(index, position)]` returns the index and the bytes of the file, uint8 [L]."""

    def __init__(self, faces: SyntheticFaces) -> None:
        self.faces = faces

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        index, _ = key
        return np.array(index), np.frombuffer(encode_png(self.faces.image(index)), np.uint8)


def encode_png(picture: np.ndarray) -> bytes:
    """Encode uint8 [R, R, C] as the bytes of a PNG file."""
    file = io.BytesIO()
    array = picture[..., 0] if picture.shape[2] == 1 else picture
    Image.fromarray(np.ascontiguousarray(array)).save(file, "PNG")
    return file.getvalue()
