"""How good a reconstruction is: one value per sample."""

import torch
from torch import Tensor, nn

from psp.losses import LOSSES


class Meters(nn.Module):
    """The networks that measure: a perceptual distance and an identity similarity, both frozen.

    `names` says which they are, {"perceptual": "effnet", "identity": "id_dlib"}: values of different networks must not
    be compared, so reports put the name beside the number.
    """

    def __init__(self, perceptual: nn.Module, identity: nn.Module) -> None:
        super().__init__()
        self.perceptual, self.identity = perceptual, identity
        self.names = {"perceptual": str(perceptual.name), "identity": str(identity.name)}
        self.requires_grad_(False).eval()

    def label(self, metric: str) -> str:
        """The metric with its network, for a chart or a table: "perceptual (effnet)"."""
        return f"{metric} ({self.names[metric]})" if metric in self.names else metric


def build_meters(**networks: dict) -> Meters:
    """Meters of named networks, `perceptual={"network": NAME, "path": FILE}, id={...}`.

    By default `auto`: the paper's networks where their files are, else those that need no download.
    """
    return Meters(*(LOSSES[name](**networks.get(name, {})) for name in ("perceptual", "id")))


@torch.no_grad()
def measure(meters: Meters, output: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Compare images [N, 3, T, T] in [-1, 1]; each value is [N].

    mse: mean squared error on the [-1, 1] scale, of the output clamped to it.
    perceptual: distance, smaller is closer. identity: similarity, 1 is the same person.
    """
    output = output.clamp(-1, 1)
    return {
        "mse": (output - target).square().mean([1, 2, 3]),  # [N]
        "perceptual": meters.perceptual(output, target),  # [N]
        "identity": 1 - meters.identity(output, target),  # [N]
    }
