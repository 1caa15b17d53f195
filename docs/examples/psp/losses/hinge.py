"""A loss in one file: `--hinge_lambda 0.5 --hinge_margin 0.02` weight it in scripts/train_psp.py."""

import torch.nn.functional as F
from torch import Tensor, nn

from psp.losses import register_loss


@register_loss("hinge")
class Hinge(nn.Module):
    """Mean absolute difference of two images beyond a margin.

    Args:
        margin: Difference that costs nothing, of images in [-1, 1].
    """

    name = "hinge"
    inputs = ("output", "target")

    def __init__(self, margin: float = 0.05) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """output, target [N, C, H, W] in [-1, 1] -> [N]."""
        return F.relu((output - target).abs() - self.margin).mean([1, 2, 3])  # [N]
