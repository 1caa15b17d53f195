"""ReStyle (arXiv 2104.02699): the encoder looks at the image beside its current rendering and corrects the code.

`psp.model.PSp` makes the passes. All heads read the trunk's last feature map; there is no pyramid. The names of
the parameters are those of the published classes (BackboneEncoder and ProgressiveBackboneEncoder).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from psp.encoders.e4e import delta_codes, zero_deltas
from psp.encoders.gradual import STRIDES, StyleHead
from psp.encoders.irse import TrunkEncoder
from psp.encoders.light import LIGHT_HEADS, only_sizes
from psp.encoders.registry import check_images, register_encoder

ITERATIONS = 5  # passes over an image, in training and inference, as the published models


def beside(images: Tensor, rendering: Tensor, channels: int, size: int) -> Tensor:
    """The image and its current rendering as the channels of one input, [N, C + img_channels, S, S]."""
    check_images(rendering, channels, size)
    return torch.cat([images, rendering], dim=1)  # [N, C + img_channels, S, S]


def single_scale_heads(num_ws: int, w_dim: int, input_size: int, in_channels: int, head_width: int) -> nn.ModuleList:
    """A style head for each row of w+, all on the map at 1/16 of the input size."""
    return nn.ModuleList(StyleHead(input_size // STRIDES[0], in_channels, head_width, w_dim) for _ in range(num_ws))


@register_encoder("restyle")
class ReStyleEncoder(TrunkEncoder):
    """An IR-SE trunk that reads image and rendering, and a style head for each row of w+.

    Args:
        img_channels: the rendering's, that is the generator's.
        iterations: passes over an image.
        others: see `GradualStyleEncoder`.

    Attributes:
        iterations: may be changed at any time.
    """

    iterations: int = ITERATIONS

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
        img_channels: int = 3,
        iterations: int = ITERATIONS,
    ) -> None:
        super().__init__(num_ws, w_dim, input_channels, input_size, depth, widths, units, slope, img_channels)
        self.img_channels, self.iterations = img_channels, iterations
        self.config |= {"head_width": head_width, "img_channels": img_channels, "iterations": iterations}
        self.styles = single_scale_heads(num_ws, w_dim, input_size, self.widths[-1], head_width)

    def forward(self, images: Tensor, rendering: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """images [N, input_channels, S, S] and their current rendering [N, img_channels, S, S], both in [-1, 1] ->
        corrections to the current codes [N, num_ws, w_dim]."""
        x = beside(self.checked(images), rendering, self.img_channels, self.input_size)
        return self.codes(self.features(x)[-1])

    def codes(self, x: Tensor) -> Tensor:
        """[N, C, S/16, S/16] -> [N, num_ws, w_dim]."""
        return torch.stack([head(x) for head in self.styles], dim=1)  # [N, num_ws, w_dim]


@register_encoder("restyle_e4e")
class ReStyleE4EEncoder(ReStyleEncoder):
    """`ReStyleEncoder` with the deltas of e4e (`Encoder4Editing`): every correction is a w and deltas."""

    def __init__(self, *sizes: Any, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        zero_deltas(self.styles)
        self.unlocked = self.num_ws - 1

    def codes(self, x: Tensor) -> Tensor:
        return delta_codes(self.styles, [x] * self.num_ws, self.unlocked)


@register_encoder("light_restyle")
class LightReStyleEncoder(ReStyleEncoder):
    """`ReStyleEncoder` in the size of the light encoder."""

    def __init__(
        self,
        num_ws: int,
        w_dim: int = 512,
        input_channels: int = 3,
        input_size: int = 64,
        img_channels: int = 3,
        iterations: int = ITERATIONS,
    ) -> None:
        sizes = (num_ws, w_dim, input_channels, input_size)
        super().__init__(*sizes, img_channels=img_channels, iterations=iterations, **LIGHT_HEADS)
        self.config = only_sizes(self.config, "img_channels", "iterations")
