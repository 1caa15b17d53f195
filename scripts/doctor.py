"""Examine pictures and propose commands that train on them: python scripts/doctor.py FOLDER"""

import _start  # noqa: F401

# isort: split

import shlex
from collections.abc import Iterator

import torch
from torch import Tensor

from datasets.examination import Examination, examine
from datasets.folder import ImageFiles
from datasets.tasks import build_task
from options.commands.doctor import Doctor
from options.commands.train_stylegan2 import PRESETS, TrainStyleGAN2
from options.parse import parse, run
from options.presets import LARGEST_LIGHT, PSP
from options.proposal import (
    Domain,
    encoder_training,
    fitting_resolution,
    generator_training,
    preparation,
    use,
)
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
TRAINING_FIELDS = ("batch_size", "learning_rate", "decay_from", "max_steps")


def domain_of(o: Doctor, found: Examination, on_gpu: bool) -> Domain:
    """Return the properties on which the commands depend.

    The resolution is chosen such that nine tenths of the pictures are at least as large.

    Args:
        o: Settings of the command.
        found: The result of the examination of the pictures.
        on_gpu: Whether the machine has a GPU.
    """
    side = found.side(0.1, longer=not found.shows_faces)
    if found.shows_faces and not found.is_aligned:
        side = int(SHARE_OF_A_FACE * side)
    return Domain(
        str(o.data),
        found.count,
        faces=found.shows_faces,
        aligned=found.is_aligned,
        aspect=found.aspect,
        resolution=o.resolution or fitting_resolution(side, on_gpu),
        on_gpu=on_gpu,
        moco=PRETRAINED.find("moco_v2") is not None,
    )


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


def trainings(domain: Domain, device: torch.device) -> tuple[list[str], list[str]]:
    """Return comments for the commands that train the generator and the encoder."""
    generator, of_generator = generator_needs(domain, device)
    of_encoder = encoder_needs(domain, generator, device)
    return [f"  # {line}" for line in of_generator], [f"  # {line}" for line in of_encoder]


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
    found = examine(ImageFiles(o.data), o.look_at, o.search, o.workers)
    print("\n".join([*found.lines(), ""]))
    domain = domain_of(o, found, device.type == "cuda")
    print("\n".join(explanations(domain)), end="\n\n")
    of_generator, of_encoder = trainings(domain, device) if o.estimate else ([], [])
    commented = [*preparation(domain), generator_training(domain), *of_generator, encoder_training(domain), *of_encoder]
    print("\n".join([*commented, use(domain)]))


if __name__ == "__main__":
    run(main, Doctor)
