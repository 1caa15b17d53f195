"""Pixel-wise loss (L_2 of pSp, arXiv 2008.00951, Loss Functions), and losses on the face region only."""

from torch import Tensor, nn

from psp.losses.registry import register_loss
from psp.perception.crop import FACE


class FaceCrop(nn.Module):
    """Apply a loss of two images to the face region only, as pSp does for frontalization.

    Args:
        loss: Takes output and target [N, C, H, W].
    """

    inputs = ("output", "target")

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss
        self.name = f"{loss.name}_crop"

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Compute the loss [N] of output and target, [N, C, H, W], FFHQ-aligned."""
        return self.loss(_cut(output), _cut(target))


def _cut(images: Tensor) -> Tensor:
    """Cut the face box, rounded to whole pixels, out of images."""
    rows, columns = images.shape[2:]
    top, left, height, width = FACE
    box = slice(round(top * rows), round((top + height) * rows))
    return images[:, :, box, round(left * columns) : round((left + width) * columns)]


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
