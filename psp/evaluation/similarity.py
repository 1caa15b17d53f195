"""Measure whether two images show the same person."""

import torch
from torch import Tensor

from psp.losses.identity import Identity
from stylegan2.metrics.samples import as_rgb


class FaceSimilarity:
    """Compare the people in two batches of FFHQ-aligned images.

    Values of different networks must not be compared, so reports give the attribute `name` with them.

    Args:
        network: Name of the network, as in `psp.losses.identity.identity_network`.
        device: Where the network runs.
    """

    def __init__(self, network: str, device: torch.device) -> None:
        self.identity, self.device = Identity(network).to(device), device
        self.name = self.identity.name

    @torch.no_grad()
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Compare images [N, 1, 3 or 4, H, W] in [-1, 1]: [N], 1 for the same person."""
        return 1 - self.identity(as_rgb(a.to(self.device)), as_rgb(b.to(self.device)))  # [N]
