"""Settings that several commands share: the device and the process, the optimisation after encoding, and types."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from options.results import Configured
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.memory import limit_memory
from stylegan2.runtime.ranges import NotNegative, Weight

if TYPE_CHECKING:
    import torch

    from psp.inference.translate import Refinement

Precision = Literal["auto", "fp32", "tf32", "bf16", "fp16"]
"""precision of all networks"""
SynthesisPrecision = Annotated[
    Literal["fp32", "bf16"],
    tyro.conf.arg(help="bf16 computes the four highest resolutions in 16-bit numbers: faster on GPUs, and less exact"),
]
PerceptualNetwork = Annotated[
    str, tyro.conf.arg(help="perceptual network: alex, vgg or squeeze (LPIPS), effnet, or auto")
]
IdentityNetwork = Annotated[str, tyro.conf.arg(help="identity network: arcface, dlib, facenet, or auto")]


@dataclass(frozen=True, kw_only=True)
class Machine(Configured):
    """Settings of the machine, which the dataclass of a command inherits."""

    device: str = "auto"
    """auto, cpu, cuda or mps"""
    tune_malloc: bool = True
    """keep freed memory in the process instead of returning it to the system: faster on Linux, no change elsewhere"""

    def prepare(self) -> "torch.device":
        """Configure the process and return the device of the networks.

        Raises:
            UserError: The device does not exist.
        """
        from stylegan2.runtime import device as runtime  # here, because settings are parsed without importing PyTorch

        device = runtime.pick_device(self.device)
        runtime.tune_process(self.tune_malloc)
        if device.type == "cpu":
            limit_memory()
        return device


@dataclass(frozen=True)
class Optimisation:
    """Settings of the optimisation after encoding."""

    refine: NotNegative = 0
    """steps of W+ optimisation that start from the encoder's codes"""
    pivotal: NotNegative = 0
    """steps of pivotal tuning (PTI), which tunes a copy of the generator for each face; 350 in the paper"""
    locality: Weight = 0.0
    """weight of the locality regularization of --pivotal, which preserves images of nearby codes; 0.1 in the paper"""
    perceptual: PerceptualNetwork = "auto"
    perceptual_weights: Path | None = None
    """file of the weights of the perceptual network"""

    def check_task(self, inverts: bool) -> None:
        """Raise a UserError if optimisation is asked for, but outputs are not meant to equal their sources."""
        if (self.refine or self.pivotal) and not inverts:
            raise UserError(
                "--refine and --pivotal make an output more similar to its source, so they need a model "
                "of the inversion task"
            )

    def refinement(self, seed: int) -> "Refinement | None":
        """Build the refinement, or return None if no optimisation is asked for.

        Args:
            seed: Seed of the locality regularization.
        """
        if not self.refine and not self.pivotal:
            return None
        from psp.inference.translate import Refinement
        from psp.losses import build_losses
        from psp.optimize import LAMBDAS

        network = {"network": self.perceptual, "path": self.perceptual_weights}
        losses = build_losses(LAMBDAS, perceptual=network)
        return Refinement(losses, self.refine, self.pivotal, self.locality, seed)
