"""Regularization of the corrections of a feature encoder, so that the codes represent as much as they can."""

import torch
from torch import Tensor, nn

from psp.losses.registry import register_loss


@register_loss("feature_norm")
class FeatureNorm(nn.Module):
    """The mean square of the corrections of the generator's features; 0 for codes without corrections."""

    name = "feature_norm"
    inputs = ("w_plus", "features")

    def forward(self, w_plus: Tensor, features: Tensor | None) -> Tensor:
        """Compute the loss [N] of features [N, C, r, r] or None; w_plus [N, num_ws, w_dim] gives the batch size."""
        if features is None:
            return torch.zeros(len(w_plus), device=w_plus.device)  # [N]
        return features.float().square().mean([1, 2, 3])  # [N]
