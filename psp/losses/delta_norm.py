"""Regularization of e4e's deltas (L_d-reg, arXiv 2102.02766)."""

import torch
from torch import Tensor, nn

from psp.losses.registry import register_loss


@register_loss("delta_norm")
class DeltaNorm(nn.Module):
    """The sum of the Euclidean norms of the deltas between the rows of a code and its first row (e4e)."""

    name = "delta_norm"
    inputs = ("w_plus", "latent_avg")

    def forward(self, w_plus: Tensor, latent_avg: Tensor) -> Tensor:
        """Compute the loss [N] of w_plus [N, num_ws, w_dim], with latent_avg [w_dim] or [num_ws, w_dim]."""
        offsets = w_plus - latent_avg.detach()
        deltas = offsets[:, 1:] - offsets[:, :1]  # [N, num_ws - 1, w_dim]
        return torch.linalg.vector_norm(deltas, dim=2).sum(1)  # [N]
