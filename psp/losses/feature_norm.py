"""Regularization of a feature encoder's corrections, so that the codes keep what they can hold."""

import torch
from torch import Tensor, nn

from psp.losses.registry import register_loss


@register_loss("feature_norm")
class FeatureNorm(nn.Module):
    """Mean square of the corrections of the generator's features; 0 where codes have none."""

    name = "feature_norm"
    inputs = ("w_plus", "features")

    def forward(self, w_plus: Tensor, features: Tensor | None) -> Tensor:
        """w_plus [N, num_ws, w_dim], features [N, C, r, r] or None -> [N]."""
        if features is None:
            return torch.zeros(len(w_plus), device=w_plus.device)  # [N]
        return features.float().square().mean([1, 2, 3])  # [N]
