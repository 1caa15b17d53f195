"""ReStyle (arXiv 2104.02699): the encoder reads the image with its current rendering and corrects the codes.

`psp.model.PSp` runs the passes. All heads read the last feature map of the trunk; there is no pyramid. The trunk is
IR-SE for faces and a ResNet-34 for cars, churches, horses and other domains. The parameters have the names of the
published classes: BackboneEncoder, ProgressiveBackboneEncoder, ResNetBackboneEncoder, ResNetProgressiveBackboneEncoder.
"""

from collections.abc import Sequence

from torch import Tensor

from psp.encoders.e4e import Deltas
from psp.encoders.encoder import ENCODERS, check_images
from psp.encoders.heads import STRIDES, StyleHead, StyleHeads
from psp.encoders.irse import TrunkEncoder
from psp.encoders.resnet import RESNET34_UNITS, ResNetTrunk

ITERATIONS = 5  # passes over an image in training and inference, as in the published models


@ENCODERS.register("restyle")
class ReStyleEncoder(TrunkEncoder):
    """An IR-SE trunk that reads image and rendering, and a style head for each row of w+.

    Args:
        img_channels: Channels of the rendering, which are those of the generator.
        iterations: Passes over an image.
        others: As in `GradualStyleEncoder`.

    Attributes:
        iterations: Passes over an image, which may be changed at any time.
    """

    reads_rendering = True
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
        img_channels: int = 3,
        iterations: int = ITERATIONS,
    ) -> None:
        super().__init__(num_ws, w_dim, input_channels, input_size, depth, widths, units, slope, img_channels)
        self.img_channels, self.iterations = img_channels, iterations
        side = input_size // STRIDES[0]
        self.styles = self.heads(StyleHead(side, self.widths[-1], head_width, w_dim, head_slope) for _ in range(num_ws))

    def forward(self, images: Tensor, rendering: Tensor) -> Tensor:
        """Correct codes.

        Args:
            images: [N, input_channels, S, S] in [-1, 1].
            rendering: Rendering of the current codes, [N, img_channels, S, S] in [-1, 1].

        Returns:
            Offsets to the current codes, [N, num_ws, w_dim].

        Raises:
            UserError: Images or rendering have another size or number of channels.
        """
        check_images(rendering, self.img_channels, self.input_size)
        x = self.last_map(images, rendering)  # [N, widths[3], S/16, S/16]
        return self.styles([x] * self.num_ws)  # [N, num_ws, w_dim]


@ENCODERS.register("restyle_e4e")
class ReStyleE4EEncoder(Deltas, ReStyleEncoder):
    """`ReStyleEncoder` with the deltas of e4e: every correction is a w and deltas."""


@ENCODERS.register("restyle_resnet")
class ReStyleResNetEncoder(ResNetTrunk):
    """`ReStyleEncoder` on a ResNet-34, with the same arguments and attributes except those of the trunk."""

    reads_rendering = True
    heads: type[StyleHeads] = StyleHeads

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
        super().__init__(input_channels, input_size, widths, units, img_channels)
        self.num_ws, self.w_dim = num_ws, w_dim
        self.img_channels, self.iterations = img_channels, iterations
        side = input_size // STRIDES[0]
        self.styles = self.heads(StyleHead(side, widths[-1], head_width, w_dim) for _ in range(num_ws))

    forward = ReStyleEncoder.forward


@ENCODERS.register("restyle_resnet_e4e")
class ReStyleResNetE4EEncoder(Deltas, ReStyleResNetEncoder):
    """`ReStyleResNetEncoder` with the deltas of e4e."""
