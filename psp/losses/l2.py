"""Pixel-wise loss (L_2 of pSp, arXiv 2008.00951, Loss Functions)."""

from torch import Tensor, nn

from psp.losses.face_crop import FaceCrop
from psp.losses.registry import register_loss


@register_loss("l2")
class L2(nn.Module):
    """Mean squared difference of two images, over pixels and channels as in published numbers."""

    name = "l2"
    inputs = ("output", "target")

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """output, target [N, C, H, W] in [-1, 1] -> [N]."""
        return (output - target.detach()).square().mean([1, 2, 3])  # [N]


@register_loss("l2_crop", published={"lambda": "l2_lambda_crop"})
def l2_crop() -> FaceCrop:
    """Mean squared difference of the face alone, as frontalization weights it."""
    return FaceCrop(L2())
