"""Examine pictures and propose commands that train on them: python scripts/doctor.py FOLDER"""

import _start  # noqa: F401

# isort: split

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from datasets.examination import Examination, examine
from datasets.folder import ImageFiles
from datasets.tasks import build_task
from options.commands.doctor import Doctor
from options.commands.train_psp import LARGEST_LIGHT, PSP
from options.commands.train_stylegan2 import PRESETS, TrainStyleGAN2
from options.parse import parse, run
from options.results import label
from psp import PSp
from psp.dry_run import estimate as estimate_encoder
from psp.encoders import encoder_for
from psp.losses import build_losses
from psp.model import LOSS_SIZE
from psp.pretrained_files import PRETRAINED
from psp.training_settings import TrainingSettings
from stylegan2.dry_run import estimate as estimate_generator
from stylegan2.networks.protocols import Generator

SHARE_OF_A_FACE = 0.5
"""typical side of the square around a face, as a share of the shorter side of its photo"""
SMALLEST, LARGEST_ON_CPU, LARGEST_ON_GPU = 32, 64, 256
"""px; a GPU can train larger sizes, in four times the time for each doubling"""
SQUARE_ASPECT = 1.1
"""aspect ratio up to which pictures lose little if they are cropped to the central square"""
FEW_IMAGES = 50_000
"""number of images below which adaptive augmentation (ADA) prevents the discriminator from overfitting"""
TRAINING_FIELDS = ("batch_size", "learning_rate", "decay_from", "max_steps")


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


def domain_of(o: Doctor, examination: Examination, on_gpu: bool) -> Domain:
    """Return the properties on which the commands depend, with a resolution that nine tenths of the pictures have."""
    side = examination.side(0.1, longer=not examination.shows_faces)
    if examination.shows_faces and not examination.is_aligned:
        side = int(SHARE_OF_A_FACE * side)
    return Domain(
        str(o.data),
        examination.count,
        faces=examination.shows_faces,
        aligned=examination.is_aligned,
        aspect=examination.aspect,
        resolution=o.resolution or fitting_resolution(side, on_gpu),
        on_gpu=on_gpu,
        moco=PRETRAINED.find("moco_v2") is not None,
    )


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


def noise(size: int, batch_size: int) -> Iterator[Tensor]:
    """Yield random images [N, 3, S, S] in [-1, 1], with which the time of a step is measured."""
    while True:
        yield torch.rand(batch_size, 3, size, size) * 2 - 1


def generator_needs(domain: Domain, device: torch.device) -> tuple[Generator, list[str]]:
    """Build a new generator, and return it with sentences about the time and memory of its training."""
    settings = parse(TrainStyleGAN2, PRESETS, args=shlex.split(generator_training(domain))[2:])
    G, D, G_ema = settings.network.build()
    s = settings.training
    needs = estimate_generator(G, D, G_ema, lambda _: noise(domain.resolution, s.batch_size), s, device)
    return G_ema, needs.lines(s.total_nimg)


def encoder_needs(domain: Domain, generator: Generator, device: torch.device) -> list[str]:
    """Return sentences about the time and memory of training an encoder."""
    fitting = PSP["light"] if domain.resolution <= LARGEST_LIGHT else {}
    s = TrainingSettings(**{name: value for name, value in fitting.items() if name in TRAINING_FIELDS})
    model = PSp(encoder_for(generator, "auto", 3), generator)
    losses = build_losses(build_task("inversion").lambdas | ({} if domain.faces else {"id": 0.0}))
    sources = noise(model.encoder.input_size, s.batch_size)
    targets = noise(min(LOSS_SIZE, domain.resolution), s.batch_size)
    needs = estimate_encoder(model, losses, lambda _: zip(sources, targets, strict=True), s, device)
    return needs.lines(s.max_steps * s.batch_size)


def explanations(domain: Domain) -> list[str]:
    """Return sentences that explain the proposed commands."""
    reasons = []
    if domain.faces:
        reasons.append(
            "the images show faces that are aligned already"
            if domain.aligned
            else "the images show faces, which are cut out of the photos first"
        )
    else:
        moco = (
            "MoCo's features are compared instead"
            if domain.moco
            else "`psp download moco_v2` gets a network that fits better"
        )
        reasons.append(f"the images show no faces: nothing is aligned, and no identity network is used; {moco}")
    if domain.pads:
        reasons.append("the pictures are not square: they are padded, and results are cropped to their shape again")
    return reasons


def main(o: Doctor) -> None:
    device = o.prepare()
    examination = examine(ImageFiles(o.data), o.look_at, o.search, o.workers)
    print("\n".join([*examination.lines(), ""]))
    domain = domain_of(o, examination, device.type == "cuda")
    print("\n".join(explanations(domain)), end="\n\n")
    of_generator: list[str] = []
    of_encoder: list[str] = []
    if o.estimate:
        generator, of_generator = generator_needs(domain, device)
        of_encoder = encoder_needs(domain, generator, device)
    print("\n".join([*preparation(domain), generator_training(domain), *(f"  # {line}" for line in of_generator)]))
    print("\n".join([encoder_training(domain), *(f"  # {line}" for line in of_encoder), use(domain)]))


if __name__ == "__main__":
    run(main, Doctor)
