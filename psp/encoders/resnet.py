"""A trunk for encoders: ResNet-34 (arXiv 1512.03385) without max pooling, which ends at 1/16 of the input size.

The parameters have the names of ReStyle's published classes.
"""

from collections.abc import Sequence
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psp.encoders.encoder import check_images, check_input_size, middle_rows
from psp.encoders.irse import PReLU
from stylegan2 import ops

RESNET34_UNITS = (3, 4, 6, 3)


class BasicBlock(nn.Module):
    """conv (stride) - BN - ReLU - conv - BN, plus a shortcut that is projected where the shape changes, then ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ops.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = ops.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))  # [N, out, H / stride, W / stride]
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNetTrunk(nn.Module):
    """The convolutional layers of a ResNet.

    Args:
        input_channels: Channels of the image.
        input_size: A power of two from 32 px; the published models read 256.
        widths: Channels of the four stages.
        units: Residual units of the four stages.
        extra_channels: Channels that the first layer reads besides the image.

    Raises:
        UserError: The input size is not a power of two from 32.
    """

    aspect: float = 1.0  # as in `Encoder`; it is set after construction

    def __init__(
        self,
        input_channels: int = 3,
        input_size: int = 256,
        widths: Sequence[int] = (64, 128, 256, 512),
        units: Sequence[int] = RESNET34_UNITS,
        extra_channels: int = 0,
    ) -> None:
        check_input_size(input_size)
        super().__init__()
        self.input_channels, self.input_size = input_channels, input_size
        self.conv1 = nn.Conv2d(input_channels + extra_channels, widths[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = PReLU(widths[0])
        self.body = nn.Sequential(*_blocks(widths, units))

    def last_map(self, images: Tensor, *others: Tensor) -> Tensor:
        """Map images [N, input_channels, S, S] and further channels [N, ., S, S] to [N, widths[3], S/16, S/16]."""
        check_images(images, self.input_channels, self.input_size)
        x = middle_rows(torch.cat([images, *others], dim=1), self.aspect)  # [N, all channels, aspect * S, S]
        x = self.relu(self.bn1(self.conv1(x)))  # [N, widths[0], S/2, S/2]
        return self.body(x)  # [N, widths[3], S/16, S/16]


def _blocks(widths: Sequence[int], units: Sequence[int]) -> list[BasicBlock]:
    """Build all residual units in order; the first of each stage but the first halves the resolution."""
    stages = [
        [(width, 2 if i == 0 and stage > 0 else 1) for i in range(count)]
        for stage, (width, count) in enumerate(zip(widths, units, strict=True))
    ]
    blocks, in_channels = [], widths[0]
    for width, stride in chain.from_iterable(stages):
        blocks.append(BasicBlock(in_channels, width, stride))
        in_channels = width
    return blocks
