"""The two baselines of the pSp paper (arXiv 2008.00951, section 4.1): all codes from the trunk's last feature map.

The names of the parameters are those of the published classes (BackboneEncoderUsingLastLayerIntoW and ...IntoWPlus).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from psp.encoders.encoder import ENCODERS
from psp.encoders.irse import TrunkEncoder
from stylegan2 import ops
from stylegan2.networks.layers import EqualLinear

POOLED = 7  # side of the map that naive W+ flattens, as in ArcFace


def linear_near_zero(in_features: int, out_features: int) -> EqualLinear:
    """Build a last layer with which a new encoder returns approximately the latent average."""
    linear = EqualLinear(in_features, out_features)
    with torch.no_grad():
        linear.weight.mul_(0.1)
    return linear


@ENCODERS.register("w")
class WEncoder(TrunkEncoder):
    """One w for all rows, from global average pooling and a linear layer. The arguments are those of `TrunkEncoder`."""

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
    ) -> None:
        super().__init__(num_ws, w_dim, input_channels, input_size, depth, widths, units, slope)
        self.linear = linear_near_zero(self.widths[-1], w_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Encode images [N, input_channels, S, S] in [-1, 1] to offsets [N, num_ws, w_dim]."""
        x = self.last_map(images)  # [N, C, S/16, S/16]
        w = self.linear(x.mean([2, 3]))  # [N, w_dim]
        return w[:, None].repeat(1, self.num_ws, 1)  # [N, num_ws, w_dim]


class AreaDownsample(nn.Module):
    """Average feature maps over areas to size x size pixels."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return ops.area_downsample(x, self.size)  # [N, C, size, size]


@ENCODERS.register("w_plus_naive")
class NaiveWPlusEncoder(TrunkEncoder):
    """All rows of w+ from one vector, by one linear layer. The arguments are those of `TrunkEncoder`."""

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
    ) -> None:
        super().__init__(num_ws, w_dim, input_channels, input_size, depth, widths, units, slope)
        width = self.widths[-1]
        self.output_layer_2 = nn.Sequential(
            nn.BatchNorm2d(width), AreaDownsample(POOLED), nn.Flatten(), nn.Linear(width * POOLED**2, width)
        )
        self.linear = linear_near_zero(width, w_dim * num_ws)

    def forward(self, images: Tensor) -> Tensor:
        """Encode images [N, input_channels, S, S] in [-1, 1] to offsets [N, num_ws, w_dim]."""
        x = self.last_map(images)  # [N, C, S/16, S/16]
        x = self.output_layer_2(x)  # [N, C]
        return self.linear(x).unflatten(1, (self.num_ws, self.w_dim))  # [N, num_ws, w_dim]
