"""An encoder in one file: `--encoder_type plain` trains it. It has nothing in common with the paper's encoders."""

import torch.nn.functional as F
from torch import Tensor, nn

from psp.encoders import ENCODERS

WIDTHS = (16, 32, 64)


@ENCODERS.register("plain")
class PlainEncoder(nn.Module):
    """Convolutions that each halve the image, and a linear layer for all codes.

    It looks at the generator's own resolution, hence `input_size` has no default.
    """

    def __init__(self, num_ws: int, w_dim: int = 512, input_channels: int = 3, *, input_size: int) -> None:
        super().__init__()
        self.num_ws, self.w_dim = num_ws, w_dim
        self.input_channels, self.input_size = input_channels, input_size
        sizes = zip((input_channels, *WIDTHS), WIDTHS, strict=False)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in sizes)
        self.linear = nn.Linear(WIDTHS[-1], num_ws * w_dim)

    def forward(self, images: Tensor) -> Tensor:
        """images [N, input_channels, S, S] in [-1, 1] -> offsets to the latent average [N, num_ws, w_dim]."""
        x = images
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.2)  # [N, C, S / 2, S / 2], then S / 4, S / 8
        return self.linear(x.mean([2, 3])).unflatten(1, (self.num_ws, self.w_dim))  # [N, num_ws, w_dim]
