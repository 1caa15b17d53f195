"""Losses on the face region only, with which pSp trains frontalization (arXiv 2008.00951)."""

from torch import Tensor, nn

from psp.perception.crop import FACE


class FaceCrop(nn.Module):
    """Apply a loss of two images to the face region only.

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
