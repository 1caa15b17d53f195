"""The package stylegan2-pytorch of PyPI, which is lucidrains', as a form to compare with: its own training step."""

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
# Counts of its steps, as `Trainer.train` reads them: which phases a step has depends on its number.
STEPS = {"step": 1, "gradient penalty": 4, "path length": 5024}
PHASES = {"gradient penalty": Phase(4, "step"), "path length": Phase(32, "gradient penalty")}


def load() -> ModuleType:
    """The package, which asks for a GPU when it is imported; its networks do not need one.

    Raises:
        UserError: it is not installed, or cannot be imported.
    """
    try:
        with mock.patch.object(torch.cuda, "is_available", return_value=True), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import stylegan2_pytorch  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        if error.name == "stylegan2_pytorch":
            raise UserError(f"{NAME} is not installed, so it is left out: `pip install {NAME}` adds it") from None
        raise UserError(f"{NAME} is left out, as a package that it needs is missing: {error.name}") from None
    except Exception as error:  # whatever a foreign package may do on import
        raise UserError(f"{NAME} is left out, as it cannot be imported: {error}") from None
    return stylegan2_pytorch


def form(settings: TrainStyleGAN2) -> Form:
    """Its step at the same resolution, batch and sizes of z, w and mapping.

    Widths are chosen for about the same work as ours: at the image's resolution its discriminator is as wide and its
    generator half as wide, and both double with every halving up to 512, as the package has no working limit of its
    own (with `fmap_max` its moving average has other sizes than its generator).
    """
    network, batch = settings.network, settings.training.batch_size
    package = load()
    torch.manual_seed(0)
    with TemporaryDirectory() as folder:  # nothing is saved in it, as `rank` is not the first process's
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
    trainer.loader = (images.clone() for _ in itertools.count())  # a step may want its images' gradients

    def step(number: int) -> None:
        trainer.steps = number
        with without_cuda():
            trainer.train()

    parameters = count_parameters(trainer.GAN.S, trainer.GAN.G, trainer.GAN.D)
    return Form({name: partial(step, number) for name, number in STEPS.items()}, PHASES, parameters)


@contextmanager
def without_cuda() -> Iterator[None]:
    """`.cuda()`, which its code calls throughout, leaves everything where it is."""

    def stay(module_or_tensor: Any, *_: object) -> Any:
        return module_or_tensor

    with mock.patch.object(Tensor, "cuda", stay), mock.patch.object(nn.Module, "cuda", stay):
        yield
