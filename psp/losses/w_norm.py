"""Regularization towards the average latent (L_reg of pSp, arXiv 2008.00951, Loss Functions)."""

import torch
from torch import Tensor, nn

from psp.losses.registry import register_loss


@register_loss("w_norm")
class WNorm(nn.Module):
    """The distance of a code from the average latent, as the Euclidean norm over all rows together."""

    name = "w_norm"
    inputs = ("w_plus", "latent_avg")

    def forward(self, w_plus: Tensor, latent_avg: Tensor) -> Tensor:
        """Compute the loss [N] of w_plus [N, num_ws, w_dim], with latent_avg [w_dim] or [num_ws, w_dim]."""
        offset = (w_plus - latent_avg.detach()).flatten(1)  # [N, num_ws * w_dim]
        return torch.linalg.vector_norm(offset, dim=1)  # [N]
