"""IR-SE trunk: ArcFace's improved residual units (arXiv 1801.07698, section 3.1) with squeeze and excitation.

The parameters have the names of the published ArcFace and pSp weights, so that either can be loaded.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from psp.encoders.encoder import Encoder, check_images, check_input_size, middle_rows
from stylegan2 import ops
from stylegan2.convert.envelope import load_network_tensors
from stylegan2.runtime.errors import CheckpointError, UserError

# Residual units in each of the four stages, by depth.
UNITS = {50: (3, 4, 14, 3), 100: (3, 13, 30, 3), 152: (3, 8, 36, 3)}
TRUNK = ("input_layer.", "body.")  # prefixes of the parameters of the trunk
STEM = "input_layer.0.weight"
SQUEEZE = 16  # reduction of the squeeze-and-excitation bottleneck


class PReLU(nn.PReLU):
    """PReLU (arXiv 1502.01852) with a gradient by vectorised operators, which is three times as fast on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """Multiply the negative values of input [N, C, ...] by the slopes [C]."""
        if torch.is_grad_enabled() and input.device.type == "cpu" and input.dtype == self.weight.dtype:
            return _PReLU.apply(input, self.weight)
        return super().forward(input)


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.nn.functional.prelu(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight = ctx.saved_tensors
        where_positive = torch.ops.aten.threshold_backward(grad, x, 0)
        where_negative = grad - where_positive
        slopes = weight.view(-1, *[1] * (x.ndim - 2))  # [C, 1, ...]
        of_x = torch.addcmul(where_positive, where_negative, slopes)
        of_weight = (where_negative * x).sum([0, *range(2, x.ndim)])  # [C]
        return of_x, of_weight.sum_to_size(weight.shape)


def activation(channels: int, slope: float | None) -> nn.Module:
    """Build PReLU as published or, given a `slope`, leaky ReLU, whose backward pass is faster on a CPU."""
    return PReLU(channels) if slope is None else nn.LeakyReLU(slope, inplace=True)


class SqueezeExcite(nn.Module):
    """Rescale every channel by a gate computed from the channel means (arXiv 1709.01507, eq. 2-4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // SQUEEZE, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // SQUEEZE, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = x.mean([2, 3], keepdim=True)  # [N, C, 1, 1]
        gate = torch.sigmoid(self.fc2(torch.relu(self.fc1(gate))))
        return x * gate


class Bottleneck(nn.Module):
    """BN - conv - PReLU - conv (stride) - BN - SE, plus a shortcut that is projected only where the width changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, slope: float | None = None) -> None:
        super().__init__()
        self.stride = stride
        self.shortcut_layer = None
        if in_channels != out_channels:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            ops.Conv2d(in_channels, out_channels, 3, 1, 1, bias=False),
            activation(out_channels, slope),
            ops.Conv2d(out_channels, out_channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            SqueezeExcite(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.res_layer(x) + self.shortcut(x)  # [N, out, H / stride, W / stride]

    def shortcut(self, x: Tensor) -> Tensor:
        """Keep every stride-th pixel, as the published 1 x 1 max pooling does, without a copy."""
        if self.shortcut_layer is not None:
            return self.shortcut_layer(x)  # [N, out, H / stride, W / stride]
        return x[:, :, :: self.stride, :: self.stride]  # [N, C, H / stride, W / stride]


class IRSE(nn.Module):
    """The convolutional trunk: a stem at full resolution, then four stages that each halve it.

    Args:
        depth: 50, 100 or 152, which determines the residual units of each stage.
        in_channels: Channels of the images.
        widths: Channels of the four stages; the stem has those of the first.
        units: Residual units of each stage, instead of those of the depth.
        slope: Slope of the activations, as in `activation`.

    Raises:
        UserError: There is no such depth.
    """

    def __init__(
        self,
        depth: int = 50,
        in_channels: int = 3,
        widths: Sequence[int] = (64, 128, 256, 512),
        units: Sequence[int] | None = None,
        slope: float | None = None,
    ) -> None:
        super().__init__()
        if units is None and depth not in UNITS:
            raise UserError(f"the depth of an IR-SE trunk must be one of {', '.join(map(str, UNITS))}, not {depth}")
        self.units = tuple(units or UNITS[depth])
        self.widths = tuple(widths)
        self.input_layer = nn.Sequential(
            ops.Conv2d(in_channels, widths[0], 3, 1, 1, bias=False),
            nn.BatchNorm2d(widths[0]),
            activation(widths[0], slope),
        )
        self.body = nn.Sequential(*_bottlenecks(self.widths, self.units, slope))

    def features(self, images: Tensor) -> list[Tensor]:
        """Map images [N, C, H, W] in [-1, 1] to one feature map per stage, [N, widths[i], H / 2^(i+1), W / 2^(i+1)]."""
        x = self.input_layer(images)  # [N, widths[0], H, W]
        blocks = iter(self.body)
        features = []
        for count in self.units:
            for _ in range(count):
                x = next(blocks)(x)
            features.append(x)  # [N, widths[i], H / 2^(i+1), W / 2^(i+1)]
        return features


def _bottlenecks(widths: Sequence[int], units: Sequence[int], slope: float | None) -> list[Bottleneck]:
    """Build all residual units in order; the first of each stage halves the resolution."""
    blocks, in_channels = [], widths[0]
    for width, count in zip(widths, units, strict=True):
        for i in range(count):
            blocks.append(Bottleneck(in_channels, width, 2 if i == 0 else 1, slope))
            in_channels = width
    return blocks


class TrunkEncoder(IRSE):
    """The trunk with the attributes that every encoder needs.

    Args:
        num_ws: Rows of w+ that the generator takes.
        w_dim: Length of a row.
        input_channels: 3 for RGB, 1 for a sketch, the number of labels for a segmentation.
        input_size: A power of two from 32 px; the published models read 256.
        depth: 50, 100 or 152, which determines the residual units of the trunk's stages.
        widths: Channels of the trunk's stages; the default is the published form.
        units: Residual units of the trunk's stages, instead of those of the depth.
        slope: Slope of a leaky ReLU in the trunk, instead of a learned slope.
        extra_channels: Channels that the stem reads besides the image.

    Attributes:
        aspect: As in `Encoder`; it is set after construction.

    Raises:
        UserError: The input size or the depth is not allowed.
    """

    aspect: float = 1.0

    def __init__(
        self,
        num_ws: int,
        w_dim: int = 512,
        input_channels: int = 3,
        input_size: int = 256,
        depth: int = 50,
        widths: Sequence[int] = (64, 128, 256, 512),
        units: Sequence[int] | None = None,
        slope: float | None = None,
        extra_channels: int = 0,
    ) -> None:
        check_input_size(input_size)
        super().__init__(depth, input_channels + extra_channels, widths, units, slope)
        self.num_ws, self.w_dim = num_ws, w_dim
        self.input_channels, self.input_size = input_channels, input_size

    def last_map(self, images: Tensor, *others: Tensor) -> Tensor:
        """Map images [N, input_channels, S, S] and further channels [N, ., S, S] to [N, widths[3], S/16, S/16]."""
        return self.features(self.checked(images, *others))[-1]

    def checked(self, images: Tensor, *others: Tensor) -> Tensor:
        """Concatenate the channels of all inputs. UserError: the images have another size or number of channels."""
        check_images(images, self.input_channels, self.input_size)
        together = torch.cat([images, *others], dim=1) if others else images  # [N, all channels, S, S]
        return together if self.aspect == 1.0 else middle_rows(together, self.aspect)  # [N, all channels, H, S]


def start_trunk(encoder: nn.Module | Encoder, path: str | Path) -> None:
    """Copy the trunk of an ArcFace file (model_ir_se50.pth), without its head, into an encoder.

    If the encoder does not read 3 channels, its first convolution stays unchanged, as in the published code; an encoder
    that reads a photograph and its rendering (ReStyle) takes the filters for the photograph.

    Raises:
        CheckpointError: The file does not hold the trunk of this encoder.
    """
    own = {name: tensor for name, tensor in encoder.state_dict().items() if name.startswith(TRUNK)}
    stored = {name: tensor for name, tensor in load_network_tensors(path, STEM).items() if name.startswith(TRUNK)}
    if STEM in stored and STEM in own:
        stored[STEM] = _fitting_stem(own[STEM], stored[STEM], getattr(encoder, "input_channels", None))
    if {name: t.shape for name, t in own.items()} != {name: t.shape for name, t in stored.items()}:
        raise CheckpointError(
            f"{path} does not hold the trunk of this encoder: it fits encoders of the published size only"
        )
    encoder.load_state_dict(stored, strict=False)  # such a file has no heads


def _fitting_stem(own: Tensor, stored: Tensor, image_channels: int | None) -> Tensor:
    """Return the filters [width, channels, 3, 3] of the file if they read the encoder's image, else its own."""
    if stored.shape[1] != image_channels:
        return own
    return torch.cat([stored, own[:, image_channels:]], dim=1)  # [width, image and rendering, 3, 3]
