"""The Inception v3 of FID (Szegedy et al. 2015, arXiv 1512.00567), which was trained with TensorFlow in 2015.

FID and KID are defined by exactly this network. The weights are the state dict that pytorch-fid and torch-fidelity use
(its SHA-256 begins with 6726825d). In contrast to torchvision, average pooling leaves out the border, the last block
uses max pooling, and images are resized as in TensorFlow 1.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psp.pretrained_files import PRETRAINED
from stylegan2.convert.envelope import load_network_tensors
from stylegan2.runtime import weights

SIDE = 299
CLASSES = 1008
BN_EPS = 1e-3
Kernel = int | tuple[int, int]
Layer = tuple[str, int, Kernel]
"""(name, channels, kernel) of a convolution"""


class Conv(nn.Module):
    """A convolution, batch normalisation and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: Kernel, stride: int = 1, pad: bool = False) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if pad else 0
        self.conv = nn.Conv2d(in_channels, out_channels, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=BN_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Map features [N, in, H, W] to [N, out, H', W']."""
        return F.relu(self.bn(self.conv(x)), inplace=True)  # [N, out, H', W']


class Mixed(nn.Module):
    """A block of parallel branches whose outputs are concatenated (figures 5 to 7 of the paper).

    Args:
        in_channels: Channels of the input.
        branches: Chains of convolutions (name, channels, kernel). The last element of a chain may be a list of two
            convolutions, which have the same input and are both outputs.
        pool: Kind of the pooled branch: "average" (without the border) or "max", each followed by a convolution, or
            "halve", which is max pooling without a convolution. In the last case the pooling and the last convolution
            of each chain halve the resolution.
        pool_channels: Channels of the pooled branch.
    """

    def __init__(self, in_channels: int, branches: Sequence[Sequence], pool: str, pool_channels: int = 0) -> None:
        super().__init__()
        self.pool, self.halves = pool, pool == "halve"
        self.chains: list[list[list[str]]] = []
        for branch in branches:
            width, chain = in_channels, []
            for place, step in enumerate(branch):
                layers: list[Layer] = step if isinstance(step, list) else [step]
                last = self.halves and place == len(branch) - 1
                for name, channels, kernel in layers:
                    self.add_module(name, Conv(width, channels, kernel, 2 if last else 1, pad=not last))
                width = layers[-1][1]
                chain.append([name for name, *_ in layers])
            self.chains.append(chain)
        self.branch_pool = None if self.halves else Conv(in_channels, pool_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map features [N, in, H, W] to [N, out, H, W], or to [N, out, (H - 1) // 2, (W - 1) // 2] for "halve"."""
        outputs = []
        for chain in self.chains:
            ends = [x]
            for names in chain:
                ends = [self.get_submodule(name)(ends[0]) for name in names]
            outputs += ends
        return torch.cat([*outputs, self._pooled(x)], dim=1)  # [N, out, H, W], or half of the sides

    def _pooled(self, x: Tensor) -> Tensor:
        if self.branch_pool is None:
            return F.max_pool2d(x, 3, 2)
        if self.pool == "max":
            return self.branch_pool(F.max_pool2d(x, 3, 1, 1))
        return self.branch_pool(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))


def _grid_35(in_channels: int, pool_channels: int) -> Mixed:
    """Build a Mixed_5 block, for feature maps of 35 x 35."""
    return Mixed(
        in_channels,
        [
            [("branch1x1", 64, 1)],
            [("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)],
            [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)],
        ],
        "average",
        pool_channels,
    )


def _grid_17(width: int) -> Mixed:
    """Build one of Mixed_6b to Mixed_6e, with factorised 7 x 7 convolutions, for feature maps of 17 x 17."""
    long = ["branch7x7dbl_1", "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5"]
    kernels: list[Kernel] = [1, (7, 1), (1, 7), (7, 1), (1, 7)]
    return Mixed(
        768,
        [
            [("branch1x1", 192, 1)],
            [("branch7x7_1", width, 1), ("branch7x7_2", width, (1, 7)), ("branch7x7_3", 192, (7, 1))],
            [(name, 192 if name == long[-1] else width, k) for name, k in zip(long, kernels, strict=True)],
        ],
        "average",
        192,
    )


def _grid_8(in_channels: int, pool: str) -> Mixed:
    """Build Mixed_7b or Mixed_7c, in which branches split at the end, for feature maps of 8 x 8."""
    return Mixed(
        in_channels,
        [
            [("branch1x1", 320, 1)],
            [("branch3x3_1", 384, 1), [("branch3x3_2a", 384, (1, 3)), ("branch3x3_2b", 384, (3, 1))]],
            [
                ("branch3x3dbl_1", 448, 1),
                ("branch3x3dbl_2", 384, 3),
                [("branch3x3dbl_3a", 384, (1, 3)), ("branch3x3dbl_3b", 384, (3, 1))],
            ],
        ],
        pool,
        192,
    )


class Inception(nn.Module):
    """A network from images to the 2,048 pooled features of FID."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3, pad=True)
        self.Conv2d_3b_1x1 = Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _grid_35(192, 32), _grid_35(256, 64), _grid_35(288, 64)
        halve_3 = [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)]
        self.Mixed_6a = Mixed(288, [[("branch3x3", 384, 3)], halve_3], "halve")
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = map(_grid_17, (128, 160, 160, 192))
        names = ["branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"]
        halve_7 = [(name, 192, kernel) for name, kernel in zip(names, (1, (1, 7), (7, 1), 3), strict=True)]
        self.Mixed_7a = Mixed(768, [[("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3)], halve_7], "halve")
        self.Mixed_7b, self.Mixed_7c = _grid_8(1280, "average"), _grid_8(2048, "max")
        self.fc = nn.Linear(2048, CLASSES)  # only because the file contains it; FID does not use it

    def forward(self, images: Tensor) -> Tensor:
        """Map RGB images [N, 3, H, W] in [-1, 1], quantised to 256 levels as in a file, to features [N, 2048]."""
        x = resize_as_tensorflow(images * 127.5 + 127.5, SIDE)  # [N, 3, 299, 299]
        x = (x - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # [N, 64, 147, 147]
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))  # [N, 192, 71, 71]
        x = F.max_pool2d(x, 3, 2)  # [N, 192, 35, 35]
        for name, block in self.named_children():
            if name.startswith("Mixed"):
                x = block(x)
        return x.mean([2, 3])  # [N, 2048]


def resize_as_tensorflow(images: Tensor, side: int) -> Tensor:
    """Resize images [N, C, H, W] bilinearly to [N, C, side, side], as TensorFlow 1 does.

    Output row i is sampled at the input coordinate i * H / side, without the usual half pixel of pixel centres.
    """
    for dim in (2, 3):
        size = images.shape[dim]
        place = torch.arange(side, device=images.device, dtype=images.dtype) * (size / side)  # [side]
        low = place.long()
        share = (place - low)[:, None] if dim == 2 else place - low
        high = (low + 1).clamp(max=size - 1)
        images = images.index_select(dim, low).lerp(images.index_select(dim, high), share)
    return images


def load_inception(path: str | Path | None = None) -> Inception:
    """Load the frozen network with the weights that pytorch-fid and torch-fidelity use.

    Args:
        path: The file of the weights, if it is not in the cache of torch.

    Raises:
        UserError: The file is not on this machine.
        CheckpointError: The file is damaged or holds something else.
    """
    path = PRETRAINED.locate("inception_fid", path)
    network = Inception()
    tensors = load_network_tensors(path, "Conv2d_1a_3x3.conv.weight")
    counters = {key for key in network.state_dict() if key.endswith("num_batches_tracked")}
    zeros = {key: torch.tensor(0) for key in counters - tensors.keys()}  # some files lack the counters
    weights.fill(network, {**tensors, **zeros}, path)
    return weights.freeze(network, channels_last=True)
