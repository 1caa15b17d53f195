"""The pSp encoder (arXiv 2008.00951, section 3, figure 2): a feature pyramid and one map2style head for each row of w+.

The parameters have the names of the published weights.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from psp.encoders.encoder import ENCODERS
from psp.encoders.heads import STRIDES, StyleHead, StyleHeads
from psp.encoders.irse import TrunkEncoder
from stylegan2 import ops

# The pyramid has levels 0, 1, 2 at 1/16, 1/8, 1/4 of the input size. Rows 0-2 of w+ (coarse) are read from level 0,
# rows 3-6 (medium) from level 1 and all others (fine) from level 2, for generators of any size.
MEDIUM_START, FINE_START = 3, 7


def head_level(row: int) -> int:
    """Return the level of the pyramid that the head of a row of w+ reads."""
    return (row >= MEDIUM_START) + (row >= FINE_START)


@ENCODERS.register("gradual")
class GradualStyleEncoder(TrunkEncoder):
    """An IR-SE trunk, a feature pyramid on its last three stages and a style head for each row of w+.

    Args:
        head_width: Channels of the heads.
        head_slope: Slope of the leaky ReLU in the heads.
        others: As in `TrunkEncoder`.
    """

    heads: type[StyleHeads] = StyleHeads

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
    ) -> None:
        super().__init__(num_ws, w_dim, input_channels, input_size, depth, widths, units, slope)
        _, fine, medium, coarse = self.widths
        self.latlayer1 = nn.Conv2d(medium, coarse, 1)
        self.latlayer2 = nn.Conv2d(fine, coarse, 1) if num_ws > FINE_START else None
        self.styles = self.heads(
            StyleHead(input_size // STRIDES[head_level(row)], coarse, head_width, w_dim, head_slope)
            for row in range(num_ws)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Encode images.

        Args:
            images: [N, input_channels, S, S] in [-1, 1].

        Returns:
            Offsets to the latent average, [N, num_ws, w_dim].

        Raises:
            UserError: The images have another size or number of channels.
        """
        levels = self.pyramid(self.checked(images))
        return self.styles([levels[head_level(row)] for row in range(self.num_ws)])  # [N, num_ws, w_dim]

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Return the feature pyramid (arXiv 1612.03144): [N, C, S/16, S/16], [N, C, S/8, S/8], [N, C, S/4, S/4]."""
        _, c1, c2, c3 = self.features(images)
        p2 = upsample(c3, c2) + self.latlayer1(c2)  # [N, C, S/8, S/8]
        if self.latlayer2 is None:  # a small generator has no fine rows
            return [c3, p2]
        return [c3, p2, upsample(p2, c1) + self.latlayer2(c1)]  # the last [N, C, S/4, S/4]


def upsample(x: Tensor, like: Tensor) -> Tensor:
    """Interpolate bilinearly, with aligned corners, to the height and width of `like`: [N, C, h, w]."""
    return ops.bilinear_upsample(x, like.shape[2], like.shape[3])  # [N, C, h, w]
