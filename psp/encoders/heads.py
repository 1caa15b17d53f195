"""The map2style heads, which map a feature map to one row of w+; parameters have the names of the published weights."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from stylegan2 import ops
from stylegan2.networks.layers import EqualLinear

STRIDES = (16, 8, 4)  # strides of the levels of the feature pyramid


class StyleHead(nn.Module):
    """map2style: log2(spatial) convolutions of stride 2 down to 1 x 1, then a linear layer to one row of w+.

    Args:
        spatial: Side of the feature map, a power of two.
        in_channels: Channels of the feature map.
        width: Channels of the convolutions.
        w_dim: Length of the row.
        slope: Slope of the leaky ReLU between the convolutions; 0.01 in the published models.
    """

    def __init__(self, spatial: int, in_channels: int, width: int, w_dim: int, slope: float = 0.01) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(spatial.bit_length() - 1):
            conv = ops.Conv2d(in_channels if i == 0 else width, width, 3, stride=2, padding=1)
            nn.init.kaiming_normal_(conv.weight, a=slope)  # keeps the signal through four to six layers
            layers += [conv, nn.LeakyReLU(slope, inplace=True)]
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(width, w_dim)
        with torch.no_grad():
            self.linear.weight.mul_(0.1)  # a new encoder returns approximately the latent average

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, in_channels, spatial, spatial] to [N, w_dim]."""
        x = self.convs(x)  # [N, width, 1, 1]
        return self.linear(x.flatten(1))  # [N, w_dim]


class StyleHeads(nn.ModuleList):
    """One head for each row of w+."""

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Map features, one [N, C, s, s] for each head, to codes [N, num_ws, w_dim]."""
        return torch.stack([head(x) for head, x in zip(self, features, strict=True)], dim=1)  # [N, num_ws, w_dim]


class DeltaHeads(StyleHeads):
    """Heads of which the first gives w and the others give deltas: w_i = w_0 + delta_i (e4e, arXiv 2102.02766).

    New deltas are exactly 0, so that a model is consistent before all deltas have learned.

    Attributes:
        unlocked: How many deltas learn; the others are frozen. All deltas are added, so the codes do not depend on this
            number.
    """

    def __init__(self, heads: Iterable[StyleHead]) -> None:
        heads = list(heads)
        with torch.no_grad():
            for head in heads[1:]:
                head.linear.weight.zero_()
        super().__init__(heads)
        self.unlocked = len(heads) - 1

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Map features, one [N, C, s, s] for each head, to codes [N, num_ws, w_dim]."""
        w = self[0](features[0])  # [N, w_dim]
        codes = [w]
        for row in range(1, len(self)):
            with torch.set_grad_enabled(torch.is_grad_enabled() and row <= self.unlocked):
                delta = self[row](features[row])  # [N, w_dim]
            codes.append(w + delta)
        return torch.stack(codes, dim=1)  # [N, num_ws, w_dim]
