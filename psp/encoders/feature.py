"""Feature encoder: codes in W+ and, beyond them, a correction of one of the generator's feature maps.

W+ cannot hold what a generator has never drawn: the very shape of an eye, a hat, a background. Feature-Style Encoder
(Yao et al. 2022, arXiv 2202.02183) and StyleFeatureEditor (Bobkov et al. 2024, arXiv 2406.10601) let the encoder
predict an early feature map as well. Here the prediction is a correction, added to what the generator makes of the
codes: an edit of the codes moves the generator's own features, and the correction stays on top of them.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psp.encoders.encoder import ENCODERS, check_images
from psp.encoders.gradual import GradualStyleEncoder
from psp.encoders.light import HEAD_SLOPE, HEAD_WIDTH, TRUNK
from stylegan2.runtime.errors import UserError

SLOPE = 0.2
CORRECTOR_BLOCKS = 3


class ResidualBlock(nn.Module):
    """Two convolutions beside the identity, which is all that a fresh block is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.kaiming_normal_(self.conv1.weight, a=SLOPE)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same shape."""
        return x + self.conv2(F.leaky_relu(self.conv1(F.leaky_relu(x, SLOPE)), SLOPE))


class Corrector(nn.Module):
    """What is seen beside its rendering -> a correction of the generator's feature map. A fresh one corrects nothing.

    Args:
        in_channels: Of image and rendering together.
        halvings: How often the feature map's side is contained in the image's, as a power of two.
        width: Channels at the feature map's resolution.
        out_channels: Channels of the feature map.
        codes: Numbers of a w_plus. The generator's later layers weigh the map's channels by the codes, so what a
            correction shows as depends on them.
    """

    def __init__(self, in_channels: int, halvings: int, width: int, out_channels: int, codes: int) -> None:
        super().__init__()
        channels = [in_channels] + [max(32, width >> k) for k in range(halvings, -1, -1)]
        strides = [1] + [2] * halvings
        sizes = zip(pairwise(channels), strides, strict=True)
        convs = [nn.Conv2d(a, b, 3, stride, padding=1) for (a, b), stride in sizes]
        for conv in convs:
            nn.init.kaiming_normal_(conv.weight, a=SLOPE)
        self.down = nn.ModuleList(convs)
        self.blocks = nn.Sequential(*(ResidualBlock(channels[-1]) for _ in range(CORRECTOR_BLOCKS)))
        self.out = nn.Conv2d(channels[-1], out_channels, 3, padding=1)
        self.gain_in, self.gain_out = nn.Linear(codes, channels[-1]), nn.Linear(codes, out_channels)
        for last in (self.out, self.gain_in, self.gain_out):
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        """Map [N, in_channels, S, S] to [N, out_channels, r, r], r = S / 2^halvings.

        Args:
            x: Image and rendering.
            offsets: Of the codes from the latent average, [N, num_ws, w_dim].
        """
        offsets = offsets.flatten(1) / math.sqrt(
            offsets[0].numel()
        )  # [N, codes], so that a step of Adam is a small one
        for conv in self.down:
            x = F.leaky_relu(conv(x), SLOPE)  # [N, C', H / 2, W / 2]; the first keeps H and W
        x = x * (1 + self.gain_in(offsets)[:, :, None, None])
        x = self.out(F.leaky_relu(self.blocks(x), SLOPE))  # [N, out_channels, r, r]
        return x * (1 + self.gain_out(offsets)[:, :, None, None])


@ENCODERS.register("feature")
class FeatureStyleEncoder(GradualStyleEncoder):
    """The pSp encoder, and a corrector that reads the image beside what the generator makes of the codes.

    `psp.model.PSp` makes a first pass, which gives w_plus. Each of the others compares the image with what the codes
    render so far, and adds to the correction (as ReStyle does with codes, Alaluf et al. 2021, arXiv 2104.02699).

    Args:
        img_channels: Channels of the rendering, that is of the generator.
        feature_side: Side r of the feature map that is corrected.
        feature_channels: Channels of that feature map.
        corrector_width: Channels inside the corrector.
        corrections: Passes of the corrector.
        others: See `GradualStyleEncoder`.
    """

    corrects_features = True
    default_lambdas: Mapping[str, float] = MappingProxyType({"feature_norm": 0.01})

    def __init__(
        self,
        num_ws: int,
        w_dim: int = 512,
        input_channels: int = 3,
        input_size: int = 256,
        depth: int = 50,
        widths: Sequence[int] = (64, 128, 256, 512),
        units: Sequence[int] | None = None,
        head_width: int = 512,
        slope: float | None = None,
        head_slope: float = 0.01,
        img_channels: int = 3,
        feature_side: int = 64,
        feature_channels: int = 512,
        corrector_width: int = 256,
        corrections: int = 1,
    ) -> None:
        super().__init__(num_ws, w_dim, input_channels, input_size, depth, widths, units, head_width, slope, head_slope)
        self.iterations = 1 + corrections
        self.img_channels, self.feature_side, self.feature_channels = img_channels, feature_side, feature_channels
        if feature_side > input_size:
            raise UserError(f"features of {feature_side} px cannot be corrected from images of {input_size} px")
        halvings = (input_size // feature_side).bit_length() - 1
        self.corrector = Corrector(
            input_channels + img_channels, halvings, corrector_width, feature_channels, num_ws * w_dim
        )

    def correction(self, images: Tensor, rendering: Tensor, offsets: Tensor) -> Tensor:
        """Correct the generator's features.

        Args:
            images: [N, input_channels, S, S] in [-1, 1].
            rendering: What the generator makes of their codes, [N, img_channels, S, S] in [-1, 1].
            offsets: Of their w_plus from the latent average, [N, num_ws, w_dim].

        Returns:
            What is added to the generator's features of side r, [N, feature_channels, r, r].

        Raises:
            UserError: Images or rendering have another size or number of channels.
        """
        check_images(rendering, self.img_channels, self.input_size)
        return self.corrector(
            torch.cat([self.checked(images), rendering], dim=1), offsets
        )  # [N, feature_channels, r, r]


@ENCODERS.register("light_feature")
def light_feature(
    num_ws: int,
    w_dim: int = 512,
    input_channels: int = 3,
    *,
    input_size: int,
    img_channels: int = 3,
    feature_side: int = 16,
    feature_channels: int = 128,
    corrector_width: int = 160,
    corrections: int = 2,
    head_slope: float = HEAD_SLOPE,
) -> FeatureStyleEncoder:
    """Build a narrow and shallow feature encoder."""
    return FeatureStyleEncoder(
        num_ws,
        w_dim,
        input_channels,
        input_size,
        **TRUNK,
        head_width=HEAD_WIDTH,
        head_slope=head_slope,
        img_channels=img_channels,
        feature_side=feature_side,
        feature_channels=feature_channels,
        corrector_width=corrector_width,
        corrections=corrections,
    )
