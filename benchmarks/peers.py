"""Networks of other projects: NVIDIA's and the official pSp from checkouts of the user, and lucidrains' from PyPI.

This repository contains no code of these projects. NVIDIA's modules, in the layout of stylegan3, and those of the
official pSp are imported from a folder that the user names, and are combined here as in their training loops.
"""

import importlib
import itertools
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.phases import Form, Phase, count_parameters
from stylegan2.runtime.errors import UserError

if TYPE_CHECKING:
    from scripts.train_stylegan2 import TrainStyleGAN2

NVIDIA, OFFICIAL = "NVIDIA", "official"
FP16_RESOLUTIONS = 4  # number of the highest resolutions that use float16, as in NVIDIA's training
SHARED_NAMES = ("training", "models", "configs", "utils", "criteria")  # top-level packages that several projects have
LUCIDRAINS = "stylegan2-pytorch"
# Step numbers of its `Trainer.train`, which determine the phases of the step.
LUCIDRAINS_STEPS = {"step": 1, "gradient penalty": 4, "path length": 5024}
LUCIDRAINS_PHASES = {"gradient penalty": Phase(4, "step"), "path length": Phase(32, "gradient penalty")}


def imported(folder: Path, *names: str) -> list[ModuleType]:
    """Import modules from a checkout. UserError: the folder does not contain them, or they cannot be imported."""
    sys.path.insert(0, str(folder.resolve()))
    try:
        return [importlib.import_module(name) for name in names]
    except Exception as error:  # the import of another project's module may raise anything
        raise UserError(f"cannot compare with {folder}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(folder.resolve()))
        for name in [name for name in sys.modules if name.split(".")[0] in SHARED_NAMES]:
            del sys.modules[name]  # the next checkout may have packages of the same name


# --- NVIDIA ---


def nvidia_generator(folder: Path, device: torch.device, half: bool, sizes: dict[str, Any]) -> nn.Module:
    """Build NVIDIA's StyleGAN2 generator, with float16 in the highest resolutions if `half`, else float32 throughout.

    `sizes` are resolution, channel_base, channel_max, z_dim, w_dim and mapping_layers.
    """
    (networks,) = imported(folder, "training.networks_stylegan2")
    with device:
        return networks.Generator(
            c_dim=0,
            z_dim=sizes["z_dim"],
            w_dim=sizes["w_dim"],
            img_resolution=sizes["resolution"],
            img_channels=3,
            mapping_kwargs={"num_layers": sizes["mapping_layers"]},
            **_widths(sizes, half, discriminator=False),
        ).to(device)  # the constructor creates filters on the CPU


def nvidia_form(folder: Path, device: torch.device, half: bool, sizes: dict[str, Any], batch: int) -> Form:
    """Build NVIDIA's training step, with R1 every 16 steps, path length every 4 steps, and the moving average."""
    networks, loss_module = imported(folder, "training.networks_stylegan2", "training.loss")
    torch.manual_seed(0)
    G, G_ema = (nvidia_generator(folder, device, half, sizes).requires_grad_(False) for _ in range(2))
    widths = _widths(sizes, half, discriminator=True)
    with device:
        D = networks.Discriminator(c_dim=0, img_resolution=sizes["resolution"], img_channels=3, **widths).to(device)
    D.requires_grad_(False)
    loss = loss_module.StyleGAN2Loss(device, G, D, r1_gamma=1.0, style_mixing_prob=0.9, pl_weight=2.0)
    networks_of = {"G": (G, _adam(G, interval=4)), "D": (D, _adam(D, interval=16))}
    real = torch.randn(batch, 3, sizes["resolution"], sizes["resolution"], device=device).clamp(-1, 1)
    labels = torch.zeros(batch, 0, device=device)

    def phase(name: str, gain: int) -> None:
        network, optimizer = networks_of[name[0]]
        optimizer.zero_grad(set_to_none=True)
        network.requires_grad_(True)
        z = torch.randn(batch, sizes["z_dim"], device=device)
        loss.accumulate_gradients(name, real, labels, z, labels, gain=gain, cur_nimg=0)
        network.requires_grad_(False)
        for parameter in network.parameters():
            if parameter.grad is not None:
                torch.nan_to_num(parameter.grad, nan=0, posinf=1e5, neginf=-1e5, out=parameter.grad)
        optimizer.step()

    def step(*lazy: tuple[str, int]) -> Callable[[], None]:
        def call() -> None:
            for name, gain in (("Gmain", 1), ("Dmain", 1), *lazy):
                phase(name, gain)
            with torch.no_grad():
                for kept, current in zip(G_ema.parameters(), G.parameters(), strict=True):
                    kept.copy_(current.lerp(kept, 0.998))

        return call

    steps = {"step": step(), "R1": step(("Dreg", 16)), "path length": step(("Greg", 4))}
    return Form(steps, {"R1": Phase(16, "step"), "path length": Phase(4, "step")}, count_parameters(G, D))


def nvidia_filter(folder: Path) -> Callable[..., Tensor]:
    """Return NVIDIA's FIR filter with taps [1, 3, 3, 1] as a function of (x, up, down, padding, gain)."""
    (module,) = imported(folder, "torch_utils.ops.upfirdn2d")

    def apply(x: Tensor, up: int = 1, down: int = 1, padding: list[int] | int = 0, gain: float = 1.0) -> Tensor:
        taps = module.setup_filter([1, 3, 3, 1], device=x.device)
        return module.upfirdn2d(x, taps, up=up, down=down, padding=padding, gain=gain)

    return apply


def nvidia_epilogue(folder: Path) -> Callable[..., Tensor]:
    """Return NVIDIA's bias with activation, after adding noise, as a function of (x, noise, bias, gain, clamp)."""
    (module,) = imported(folder, "torch_utils.ops.bias_act")

    def apply(x: Tensor, noise: Tensor, bias: Tensor, gain: float, clamp: float | None) -> Tensor:
        return module.bias_act(x + noise, bias, act="lrelu", gain=gain, clamp=clamp)

    return apply


def _widths(sizes: dict[str, Any], half: bool, discriminator: bool) -> dict[str, Any]:
    widths = {"channel_base": sizes["channel_base"], "channel_max": sizes["channel_max"]}
    precision = {"num_fp16_res": FP16_RESOLUTIONS if half else 0, "conv_clamp": 256 if half else None}
    if discriminator:
        return {**widths, **precision, "epilogue_kwargs": {"mbstd_group_size": 4}}
    return {**widths, **precision}


def _adam(network: nn.Module, interval: int) -> torch.optim.Adam:
    """Build NVIDIA's Adam optimizer, with its correction for lazy regularization."""
    ratio = interval / (interval + 1)
    return torch.optim.Adam(network.parameters(), lr=0.0025 * ratio, betas=(0.0, 0.99**ratio), eps=1e-8)


# --- the official pSp ---


def official_model(folder: Path, device: torch.device) -> SimpleNamespace:
    """Build the official pSp model: GradualStyleEncoder with IR-SE 50 at 256 px, and the generator for 1024 px.

    Returns:
        A namespace with the functions
            encode: images [N, 3, 256, 256] -> codes [N, 18, 512],
            render: codes -> images [N, 3, 1024, 1024],
            step: (images, losses) -> None, one training step of the encoder,
        and with the encoder and its optimizer.
    """
    names = ("models.encoders.psp_encoders", "models.stylegan2.model", "training.ranger")
    encoders, networks, optimizers = imported(folder, *names)
    torch.manual_seed(0)
    with device:
        encoder = encoders.GradualStyleEncoder(50, "ir_se", SimpleNamespace(input_nc=3))
        generator = networks.Generator(1024, 512, 8).eval().requires_grad_(False)
    latent_avg = torch.zeros(18, 512, device=device)
    optimizer = optimizers.Ranger(encoder.parameters(), lr=1e-4)

    def encode(images: Tensor) -> Tensor:
        return encoder(images) + latent_avg

    def render(codes: Tensor) -> Tensor:
        return generator([codes], input_is_latent=True, randomize_noise=True)[0]

    def step(images: Tensor, losses: Any) -> None:
        optimizer.zero_grad()
        codes = encode(images)  # [N, 18, 512]
        output = F.adaptive_avg_pool2d(render(codes), images.shape[-1])  # [N, 3, 256, 256]
        terms = losses(source=images, target=images, output=output, w_plus=codes, latent_avg=latent_avg)
        losses.total(terms).backward()
        optimizer.step()

    return SimpleNamespace(encode=encode, render=render, step=step, encoder=encoder, optimizer=optimizer)


# --- lucidrains ---


def lucidrains_package() -> ModuleType:
    """Import stylegan2-pytorch, which requires a GPU on import although its networks do not.

    Raises:
        UserError: The package is not installed, or cannot be imported.
    """
    try:
        with mock.patch.object(torch.cuda, "is_available", return_value=True), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import stylegan2_pytorch  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        if error.name == "stylegan2_pytorch":
            raise UserError(
                f"{LUCIDRAINS} is not installed, so it is left out: `pip install {LUCIDRAINS}` adds it"
            ) from None
        raise UserError(f"{LUCIDRAINS} is left out because a package that it needs is missing: {error.name}") from None
    except Exception as error:  # the import of another project's package may raise anything
        raise UserError(f"{LUCIDRAINS} is left out because it cannot be imported: {error}") from None
    return stylegan2_pytorch


def lucidrains_form(settings: "TrainStyleGAN2") -> Form:
    """Build lucidrains' training step.

    Resolution, batch size, and the sizes of z, w and the mapping network are ours. The widths are chosen for about the
    same amount of work. At the image's resolution, its discriminator is as wide as ours and its generator half as wide.
    Both widths double with every halving of the resolution up to 512, because the option `fmap_max` of the package does
    not work: its moving average then has other sizes than its generator.
    """
    network, batch = settings.network, settings.training.batch_size
    package = lucidrains_package()
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
    return Form(
        {name: partial(step, number) for name, number in LUCIDRAINS_STEPS.items()}, LUCIDRAINS_PHASES, parameters
    )


@contextmanager
def without_cuda() -> Iterator[None]:
    """Turn `.cuda()`, which the package calls everywhere, into a no-op within a block."""

    def stay(module_or_tensor: Any, *_: object) -> Any:
        return module_or_tensor

    with mock.patch.object(Tensor, "cuda", stay), mock.patch.object(nn.Module, "cuda", stay):
        yield
