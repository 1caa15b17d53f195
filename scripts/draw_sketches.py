"""Convert photos to drawings: python scripts/draw_sketches.py --data_path PHOTOS --exp_dir SKETCHES [--edges hed]"""

import _start  # noqa: F401

# isort: split

from collections.abc import Callable

import numpy as np
import torch

from options.commands.draw_sketches import DrawSketches
from options.parse import run
from options.results import record_for
from psp.inference.names import Names, list_photos
from psp.inference.sources import draw
from psp.inference.translate import prepare
from psp.perception.hed import load_hed
from psp.pretrained_files import PRETRAINED
from stylegan2.runtime import images
from stylegan2.runtime.errors import ImageError
from stylegan2.runtime.files import is_of_one_file
from stylegan2.runtime.progress import track

Drawer = Callable[[np.ndarray], np.ndarray]  # from a photo, uint8 [S, S, 3], to a drawing, uint8 [S, S], black on white


def build_drawer(o: DrawSketches, device: torch.device) -> tuple[str, Drawer]:
    """Return the name of the method that draws, and its function."""
    if o.edges == "lines" or (o.edges == "auto" and PRETRAINED.find("hed", o.hed_weights) is None):
        return "lines", draw
    network = load_hed(o.hed_weights).to(device)

    @torch.inference_mode()
    def hed(photo: np.ndarray) -> np.ndarray:
        ink = network(images.to_tensor(photo)[None].to(device))[0, 0]  # [S, S]
        return ((1 - ink) * 255).round().byte().cpu().numpy()  # [S, S]

    return "hed", hed


def square(photo: np.ndarray, size: int) -> np.ndarray:
    """Crop a photo, uint8 [H, W, 3], to its central square and resize it to uint8 [size, size, 3]."""
    return images.to_uint8(prepare(images.to_tensor(photo), 3, size)[None])[0]


def main(o: DrawSketches) -> int:
    device = o.prepare()
    record = record_for(o, "draw_sketches")
    files = list_photos(o.data_path, [o.exp_dir])
    names = Names(files, o.data_path if o.data_path.is_dir() else o.data_path.parent).of_file
    name, drawer = build_drawer(o, device)
    record.write()
    failures = []
    for file in track(files, f"drawing ({name})", "photo"):
        out = o.exp_dir / f"{names[file]}.png"
        if out.exists() and not o.overwrite:
            continue
        try:
            drawing = drawer(square(images.read_image(file), o.size))  # [S, S]
        except ImageError as error:
            failures.append(str(error))
            continue
        try:
            images.write_image(out, drawing[..., None])
        except ImageError as error:
            if not is_of_one_file(error):
                raise
            failures.append(str(error))
    print(f"{len(files) - len(failures)} drawings in {o.exp_dir}, drawn by {name}")
    print("".join(f"left out: {reason}\n" for reason in failures), end="")
    return int(bool(failures))


if __name__ == "__main__":
    run(main, DrawSketches)
