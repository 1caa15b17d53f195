"""Full photos with the translated faces laid over them."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from psp.inference.align import Crop, paste_back
from stylegan2.runtime import images

PASTED = "inference_pasted"


@dataclass
class PastedPhoto:
    """A photo whose faces arrive one by one; it is read again when the last one is there, so none waits in memory."""

    file: Path
    names: list[str]
    """of the pictures to write, one for each of the K outputs of a face"""
    missing: int
    """faces still to come"""
    faces: list[tuple[Crop, list[np.ndarray]]] = field(default_factory=list)

    def add(self, folder: Path, crop: Crop, results: list[np.ndarray]) -> list[str]:
        """Take the K outputs uint8 [R, R, 3] of a face, and write the photos after the last face.

        Returns:
            The names of the photos that were written.

        Raises:
            ImageError: The photo cannot be read any more, or the disk refuses.
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
