"""Pixel-wise loss (L_2 of pSp, arXiv 2008.00951, Loss Functions)."""

from torch import Tensor, nn

from psp.losses.face_crop import FaceCrop
from psp.losses.registry import register_loss


@register_loss("l2")
class L2(nn.Module):
    """The mean squared difference of two images over pixels and channels, as in published numbers."""

    name = "l2"
    inputs = ("output", "target")

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Compute the loss [N] of output and target, [N, C, H, W] in [-1, 1]."""
        return (output - target.detach()).square().mean([1, 2, 3])  # [N]


@register_loss("l2_crop", published={"lambda": "l2_lambda_crop"})
def l2_crop() -> FaceCrop:
    """Build the mean squared difference on the face region only, for frontalization."""
    return FaceCrop(L2())
