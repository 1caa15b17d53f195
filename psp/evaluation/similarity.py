"""Whether two images show the same person, for measures that are handed a function of two images."""

from collections.abc import Callable

import torch
from torch import Tensor

from psp.losses.identity import Identity
from stylegan2.metrics.samples import as_rgb


def face_similarity(network: str, device: torch.device) -> tuple[str, Callable[[Tensor, Tensor], Tensor]]:
    """(name, function of two FFHQ-aligned batches [N, 1, 3 or 4, H, W] in [-1, 1] -> [N], 1 for the same person).

    Values of different networks must not be compared: report them under the name. See
    `psp.losses.identity.identity_network` for the networks.
    """
    identity = Identity(network).to(device)

    @torch.no_grad()
    def similarity(a: Tensor, b: Tensor) -> Tensor:
        return 1 - identity(as_rgb(a.to(device)), as_rgb(b.to(device)))  # [N]

    return identity.name, similarity
