"""ReStyle on a ResNet-34 (arXiv 1512.03385), its published form for cars, churches, horses and other non-faces.

The names of the parameters are those of the published classes, ResNetBackboneEncoder and
ResNetProgressiveBackboneEncoder.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psp.encoders.e4e import delta_codes, zero_deltas
from psp.encoders.registry import check_images, register_encoder
from psp.encoders.restyle import ITERATIONS, beside, single_scale_heads
from stylegan2.runtime.errors import UserError

RESNET34_UNITS = (3, 4, 6, 3)


class BasicBlock(nn.Module):
    """conv (stride) - BN - ReLU - conv - BN, plus a shortcut that is projected where the shape changes, then ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
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


@register_encoder("restyle_resnet")
class ReStyleResNetEncoder(nn.Module):
    """A ResNet-34 without its max pooling, so that it ends at 1/16 of the input, and a style head for each row of w+.

    Arguments and attributes: see `psp.encoders.restyle.ReStyleEncoder`.
    """

    iterations: int = ITERATIONS

    def __init__(
        self,
        num_ws: int,
        w_dim: int = 512,
        input_channels: int = 3,
        input_size: int = 256,
        widths: Sequence[int] = (64, 128, 256, 512),
        units: Sequence[int] = RESNET34_UNITS,
        head_width: int = 512,
        img_channels: int = 3,
        iterations: int = ITERATIONS,
    ) -> None:
        super().__init__()
        if input_size < 32 or input_size & (input_size - 1):
            raise UserError(f"The input size of an encoder is a power of two from 32 pixels, not {input_size}.")
        self.num_ws, self.w_dim = num_ws, w_dim
        self.input_channels, self.input_size = input_channels, input_size
        self.img_channels, self.iterations = img_channels, iterations
        self.config = {
            "num_ws": num_ws,
            "w_dim": w_dim,
            "input_channels": input_channels,
            "input_size": input_size,
            "widths": list(widths),
            "units": list(units),
            "head_width": head_width,
            "img_channels": img_channels,
            "iterations": iterations,
        }
        self.conv1 = nn.Conv2d(input_channels + img_channels, widths[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.PReLU(widths[0])
        self.body = nn.Sequential(*_blocks(widths, units))
        self.styles = single_scale_heads(num_ws, w_dim, input_size, widths[-1], head_width)

    def forward(self, images: Tensor, rendering: Tensor) -> Tensor:
        """images [N, input_channels, S, S] and their current rendering [N, img_channels, S, S], both in [-1, 1] ->
        corrections to the current codes [N, num_ws, w_dim]."""
        check_images(images, self.input_channels, self.input_size)
        x = beside(images, rendering, self.img_channels, self.input_size)
        x = self.relu(self.bn1(self.conv1(x)))  # [N, widths[0], S/2, S/2]
        return self.codes(self.body(x))

    def codes(self, x: Tensor) -> Tensor:
        """[N, C, S/16, S/16] -> [N, num_ws, w_dim]."""
        return torch.stack([head(x) for head in self.styles], dim=1)  # [N, num_ws, w_dim]


@register_encoder("restyle_resnet_e4e")
class ReStyleResNetE4EEncoder(ReStyleResNetEncoder):
    """`ReStyleResNetEncoder` with the deltas of e4e (`psp.encoders.e4e.Encoder4Editing`)."""

    def __init__(self, *sizes: Any, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        zero_deltas(self.styles)
        self.unlocked = self.num_ws - 1

    def codes(self, x: Tensor) -> Tensor:
        return delta_codes(self.styles, [x] * self.num_ws, self.unlocked)


def _blocks(widths: Sequence[int], units: Sequence[int]) -> list[BasicBlock]:
    """All residual units in order; the first of each stage but the first halves the resolution."""
    stages = [
        [(width, 2 if i == 0 and stage > 0 else 1) for i in range(count)]
        for stage, (width, count) in enumerate(zip(widths, units, strict=True))
    ]
    blocks, in_channels = [], widths[0]
    for width, stride in chain.from_iterable(stages):
        blocks.append(BasicBlock(in_channels, width, stride))
        in_channels = width
    return blocks
