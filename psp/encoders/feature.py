"""Feature encoder: codes in W+, and a correction of one of the generator's feature maps.

W+ cannot represent what a generator has never drawn: the exact shape of an eye, a hat, a background. Feature-Style
Encoder (Yao et al. 2022, arXiv 2202.02183) and StyleFeatureEditor (Bobkov et al. 2024, arXiv 2406.10601) therefore
predict an early feature map as well. Here the prediction is a correction that is added to the features that the
generator computes from the codes: an edit of the codes moves these features, and the correction stays on top of them.
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
    """Two convolutions with a shortcut; a new block is the identity."""

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
    """Map an image and its rendering to a correction of the generator's feature map. A new corrector returns 0.

    Args:
        in_channels: Channels of image and rendering together.
        halvings: How often the side of the image is halved to that of the feature map.
        width: Channels at the resolution of the feature map.
        out_channels: Channels of the feature map.
        codes: How many numbers a w_plus has. The later layers of the generator scale the channels of the map by the
            codes, so the effect of a correction depends on them.
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
            offsets: Offsets of the codes from the latent average, [N, num_ws, w_dim].
        """
        gain_in, gain_out = self.gains(offsets)  # [N, C, 1, 1] each
        x = self.reduced(x) * gain_in  # [N, width, r, r]
        return self.out(F.leaky_relu(self.blocks(x), SLOPE)) * gain_out  # [N, out_channels, r, r]

    def reduced(self, x: Tensor) -> Tensor:
        """Reduce image and rendering [N, in_channels, S, S] to the resolution of the features, [N, width, r, r]."""
        for conv in self.down:
            x = F.leaky_relu(conv(x), SLOPE)  # [N, C', H / 2, W / 2]; the first keeps H and W
        return x

    def gains(self, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Compute from [N, num_ws, w_dim] the gains before the blocks [N, width, 1, 1] and after them."""
        offsets = offsets.flatten(1) / math.sqrt(offsets[0].numel())  # [N, codes]; scaled, so Adam's steps stay small
        return 1 + self.gain_in(offsets)[:, :, None, None], 1 + self.gain_out(offsets)[:, :, None, None]


@ENCODERS.register("feature")
class FeatureStyleEncoder(GradualStyleEncoder):
    """The pSp encoder with a corrector, which reads the image and its rendering.

    The first pass of `psp.model.PSp` gives w_plus. Each further pass compares the image with its present rendering and
    adds to the correction, as ReStyle does with codes (Alaluf et al. 2021, arXiv 2104.02699).

    Args:
        img_channels: Channels of the rendering, which are those of the generator.
        feature_side: Side r of the feature map that is corrected.
        feature_channels: Channels of that feature map.
        corrector_width: Channels inside the corrector.
        corrections: Passes of the corrector; None for 1, or for 3 if the encoder reads the gradient.
        conjugate_steps: Steps of conjugate gradients that follow the passes (see `psp.conjugate_gradient`).
        others: As in `GradualStyleEncoder`.

    Raises:
        UserError: The feature map is larger than the images, or the encoder needs the gradient of the error but the
            source has fewer channels than a picture.
    """

    corrects_features = True
    reads_gradient = False
    corrector_class: type[Corrector] = Corrector
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
        corrections: int | None = None,
        conjugate_steps: int = 0,
    ) -> None:
        super().__init__(num_ws, w_dim, input_channels, input_size, depth, widths, units, head_width, slope, head_slope)
        if corrections is None:
            corrections = 3 if self.reads_gradient else 1
        self.iterations = 1 + corrections
        self.conjugate_steps = conjugate_steps
        self.img_channels, self.feature_side, self.feature_channels = img_channels, feature_side, feature_channels
        if feature_side > input_size:
            raise UserError(f"features of {feature_side} px cannot be corrected from images of {input_size} px")
        if (self.reads_gradient or conjugate_steps) and input_channels < min(3, img_channels):
            raise UserError(
                "this encoder compares the source with its rendering, but the source has "
                f"{input_channels} channels and the rendering {img_channels}: use the encoder type feature, and no "
                "steps of conjugate gradients"
            )
        halvings = (input_size // feature_side).bit_length() - 1
        self.corrector = self.corrector_class(
            input_channels + img_channels, halvings, corrector_width, feature_channels, num_ws * w_dim
        )

    def correction(self, images: Tensor, rendering: Tensor, offsets: Tensor) -> Tensor:
        """Correct the generator's features.

        Args:
            images: [N, input_channels, S, S] in [-1, 1].
            rendering: Rendering of the present codes, [N, img_channels, S, S] in [-1, 1].
            offsets: Offsets of w_plus from the latent average, [N, num_ws, w_dim].

        Raises:
            UserError: Images or rendering have another size or number of channels.
        """
        check_images(rendering, self.img_channels, self.input_size)
        together = torch.cat([self.checked(images), rendering], dim=1)  # [N, input_channels + img_channels, S, S]
        return self.corrector(together, offsets)  # [N, feature_channels, r, r]


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
    corrections: int = 3,
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
