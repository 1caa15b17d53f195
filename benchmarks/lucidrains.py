"""The training step of lucidrains' package stylegan2-pytorch from PyPI, for comparison."""

import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks.phases import Form, Phase, count_parameters
from scripts.train_stylegan2 import TrainStyleGAN2
from stylegan2.runtime.errors import UserError

NAME = "stylegan2-pytorch"
# Step numbers of its `Trainer.train`, which determine the phases of the step.
STEPS = {"step": 1, "gradient penalty": 4, "path length": 5024}
PHASES = {"gradient penalty": Phase(4, "step"), "path length": Phase(32, "gradient penalty")}


def load() -> ModuleType:
    """Import the package, which requires a GPU on import although its networks do not.

    Raises:
        UserError: The package is not installed, or cannot be imported.
    """
    try:
        with mock.patch.object(torch.cuda, "is_available", return_value=True), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import stylegan2_pytorch  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        if error.name == "stylegan2_pytorch":
            raise UserError(f"{NAME} is not installed, so it is left out: `pip install {NAME}` adds it") from None
        raise UserError(f"{NAME} is left out because a package that it needs is missing: {error.name}") from None
    except Exception as error:  # the import of another project's package may raise anything
        raise UserError(f"{NAME} is left out because it cannot be imported: {error}") from None
    return stylegan2_pytorch


def form(settings: TrainStyleGAN2) -> Form:
    """Build its training step at the same resolution, batch size, and sizes of z, w and the mapping network as ours.

    The widths are chosen for about the same amount of work. At the image's resolution, its discriminator is as wide as
    ours and its generator half as wide. Both widths double with every halving of the resolution up to 512, because the
    option `fmap_max` of the package does not work: its moving average then has other sizes than its generator.
    """
    network, batch = settings.network, settings.training.batch_size
    package = load()
    torch.manual_seed(0)
    with TemporaryDirectory() as folder:  # nothing is saved there, since rank 1 is not the first process
        trainer: Any = package.Trainer(
            base_dir=folder,
            rank=1,
            image_size=network.resolution,
            batch_size=batch,
            network_capacity=max(1, network.channel_base // network.resolution // 4),
            latent_dim=network.w_dim,
            style_depth=network.mapping_layers,
        )
    with without_cuda():
        trainer.init_GAN()
    images = torch.rand(batch, 3, network.resolution, network.resolution)  # [N, 3, R, R]
    trainer.loader = (images.clone() for _ in itertools.count())  # a step may require gradients of its images

    def step(number: int) -> None:
        trainer.steps = number
        with without_cuda():
            trainer.train()

    parameters = count_parameters(trainer.GAN.S, trainer.GAN.G, trainer.GAN.D)
    return Form({name: partial(step, number) for name, number in STEPS.items()}, PHASES, parameters)


@contextmanager
def without_cuda() -> Iterator[None]:
    """Turn `.cuda()`, which the package calls everywhere, into a no-op within a block."""

    def stay(module_or_tensor: Any, *_: object) -> Any:
        return module_or_tensor

    with mock.patch.object(Tensor, "cuda", stay), mock.patch.object(nn.Module, "cuda", stay):
        yield
