"""Photos into which translated faces are pasted."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from psp.inference.align import Crop, paste_back
from stylegan2.runtime import images

PASTED = "inference_pasted"


@dataclass
class PastedPhoto:
    """A photo whose translated faces arrive one by one.

    The photo is read again after its last face has arrived, so that it is not held in memory until then.
    """

    file: Path
    names: list[str]
    """names of the photos to write, one for each of the K outputs of a face"""
    missing: int
    """number of faces that have not arrived yet"""
    faces: list[tuple[Crop, list[np.ndarray]]] = field(default_factory=list)

    def add(self, folder: Path, crop: Crop, results: list[np.ndarray]) -> list[str]:
        """Add the outputs of a face and, after the last face, write the photos.

        Args:
            folder: Folder for the photos.
            crop: Position of the face in the photo.
            results: K outputs, uint8 [R, R, 3].

        Returns:
            The names of the photos that were written.

        Raises:
            ImageError: The photo can no longer be read, or the result cannot be written.
        """
        self.faces.append((crop, results))
        self.missing -= 1
        if self.missing:
            return []
        photo = images.read_image(self.file)  # [H, W, 3]
        for k, name in enumerate(self.names):
            pasted = photo
            for crop, outputs in self.faces:
                pasted = paste_back(pasted, outputs[k], crop)  # [H, W, 3]
            images.write_image(folder / name, pasted)
        return self.names
