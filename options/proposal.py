"""The commands that make a generator and an encoder from a folder of pictures."""

import shlex
from dataclasses import dataclass

from options.results import label

SMALLEST, LARGEST_ON_CPU, LARGEST_ON_GPU = 32, 64, 256
"""px; a GPU can train larger sizes, in four times the time for each doubling"""
SQUARE_ASPECT = 1.1
"""aspect ratio up to which pictures lose little if they are cropped to the central square"""
FEW_IMAGES = 50_000
"""number of images below which adaptive augmentation (ADA) prevents the discriminator from overfitting"""


@dataclass(frozen=True)
class Domain:
    """The properties of the pictures and of the machine on which the commands depend."""

    data: str
    """folder or zip of pictures"""
    count: int
    faces: bool
    aligned: bool
    aspect: float
    """median of width / height"""
    resolution: int
    """side of the training images in pixels"""
    on_gpu: bool
    moco: bool
    """whether the weights of MoCo are on this machine"""

    @property
    def pads(self) -> bool:
        """Return whether pictures are padded to squares instead of being cropped."""
        return not self.faces and max(self.aspect, 1 / self.aspect) > SQUARE_ASPECT


def fitting_resolution(side: int, on_gpu: bool) -> int:
    """Return the largest power of two that is at most `side`, in pixels, and that the machine can train."""
    largest = LARGEST_ON_GPU if on_gpu else LARGEST_ON_CPU
    return max(SMALLEST, min(largest, 2 ** (max(side, 1).bit_length() - 1)))


def preparation(d: Domain) -> list[str]:
    """Return the commands that make a data set: faces are aligned, and pictures of other objects are kept whole."""
    name = label(d.data)
    commands, source = [], d.data
    if d.faces and not d.aligned:
        source = f"{name}-aligned"
        commands.append(_typed("align", data_path=d.data, exp_dir=source, output_size=d.resolution))
    crop = {"crop": "pad"} if d.pads else {}
    return [*commands, _typed("prepare", data_path=source, out=f"{name}.zip", resolution=d.resolution, **crop)]


def generator_training(d: Domain) -> str:
    """Return the command that trains a generator."""
    preset = "tiny-cpu" if not d.on_gpu else "paper256" if d.resolution == 256 else "auto"
    settings = {"data": f"{label(d.data)}.zip", "resolution": d.resolution, "preset": preset, "mirror": None}
    few = {"augment": "bgc"} if d.count < FEW_IMAGES else {}
    return _typed("train-gan", **settings, **few, exp_dir=f"runs/{label(d.data)}-generator")


def encoder_training(d: Domain) -> str:
    """Return the command that trains an encoder, with the identity loss only for faces."""
    name = label(d.data)
    weights = {} if d.faces else {"id_lambda": 0, **({"moco_lambda": 0.5} if d.moco else {})}
    settings = {"data": f"{name}.zip", "stylegan_weights": f"runs/{name}-generator"}
    return _typed("train", task="inversion", **settings, **weights, exp_dir=f"runs/{name}-encoder")


def use(d: Domain) -> str:
    """Return the command that inverts pictures by the trained encoder."""
    name = label(d.data)
    kept = {} if d.faces and not d.aligned else {"no_align": None, **({"crop": "pad"} if d.pads else {})}
    trained = {"data_path": d.data, "exp_dir": f"{name}-inverted", "checkpoint_path": f"runs/{name}-encoder"}
    return _typed("invert", **trained, **kept)


def _typed(command: str, **settings: object) -> str:
    words = ["psp", command]
    for name, value in settings.items():
        words += [f"--{name}"] if value is None else [f"--{name}", str(value)]
    return shlex.join(words)
