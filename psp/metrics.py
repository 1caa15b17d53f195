"""How good a reconstruction is: one value per sample, under the name of what measured it."""

import torch
from torch import Tensor, nn

from psp.losses import LOSSES


class Meters(nn.Module):
    """The networks that measure: a perceptual distance and an identity similarity, both frozen."""

    def __init__(self, perceptual: nn.Module, identity: nn.Module) -> None:
        super().__init__()
        self.perceptual, self.identity = perceptual, identity
        self.requires_grad_(False).eval()

    @property
    def perceptual_name(self) -> str:
        return str(self.perceptual.name)

    @property
    def identity_name(self) -> str:
        return str(self.identity.name)


def default_meters(perceptual: str = "auto", identity: str = "auto") -> Meters:
    """Meters of named networks; `auto` takes the paper's where their files are, else those that need no download."""
    return Meters(LOSSES["perceptual"](network=perceptual), LOSSES["id"](network=identity))


@torch.no_grad()
def measure(meters: Meters, output: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Compare images [N, 3, T, T] in [-1, 1]; each value is [N].

    mse: mean squared error on the [-1, 1] scale, of the output clamped to it.
    perceptual: distance, smaller is closer. identity: similarity, 1 is the same person.
    """
    output = output.clamp(-1, 1)
    return {
        "mse": (output - target).square().mean([1, 2, 3]),  # [N]
        f"perceptual_{meters.perceptual_name}": meters.perceptual(output, target),  # [N]
        f"identity_{meters.identity_name}": 1 - meters.identity(output, target),  # [N]
    }
