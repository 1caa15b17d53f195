"""Feature encoder whose corrector also reads how the error of the rendering changes with the features.

A corrector that sees only two images must learn what each number of a feature map does to the rendering, which differs
from code to code. The generator knows it: one pass backwards through its later layers gives the gradient of the squared
error. A network that turns gradients into steps is an iterative method that has been learned: recurrent inference
machines (Putzky and Welling 2017, arXiv 1706.04008, eq. 8).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psp.encoders.encoder import ENCODERS, check_images
from psp.encoders.feature import SLOPE, Corrector, FeatureStyleEncoder
from psp.encoders.light import HEAD_SLOPE, HEAD_WIDTH, TRUNK

GRADIENT_SCALE = 0.3  # small, since the new layers start from 0 and Adam changes all their weights at once
LARGEST_ERROR = 0.5  # root mean square, of images in [-1, 1]


class GradientCorrector(Corrector):
    """A corrector that also maps the gradient of the error to a correction.

    A new one returns 0, and one with the weights of a `Corrector` returns at first what that one does.

    Args:
        others: As in `Corrector`.
    """

    def __init__(self, in_channels: int, halvings: int, width: int, out_channels: int, codes: int) -> None:
        super().__init__(in_channels, halvings, width, out_channels, codes)
        self.read = nn.Conv2d(out_channels, width, 3, padding=1)
        self.step = nn.Conv2d(out_channels, out_channels, 1)
        for part in (self.read, self.step):
            for parameter in part.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, offsets: Tensor, gradient: Tensor) -> Tensor:
        """Map [N, in_channels, S, S] to [N, out_channels, r, r], r = S / 2^halvings.

        Args:
            x: Image and rendering.
            offsets: Offsets of the codes from the latent average, [N, num_ws, w_dim].
            gradient: Gradient of the error, [N, out_channels, r, r].
        """
        gain_in, gain_out = self.gains(offsets)  # [N, C, 1, 1] each
        x = (self.reduced(x) + self.read(gradient)) * gain_in  # [N, width, r, r]
        x = self.out(F.leaky_relu(self.blocks(x), SLOPE))  # [N, out_channels, r, r]
        return (x + self.step(gradient)) * gain_out


@ENCODERS.register("feature_gradient")
class FeatureGradientEncoder(FeatureStyleEncoder):
    """The feature encoder with a corrector that also reads a gradient.

    It is meant for sources that the rendering should resemble pixel by pixel.

    Args:
        others: As in `FeatureStyleEncoder`.
    """

    reads_gradient = True
    corrector_class = GradientCorrector

    def correction(self, images: Tensor, rendering: Tensor, offsets: Tensor, gradient: Tensor) -> Tensor:  # type: ignore[override]
        """Correct the generator's features.

        Args:
            images: [N, input_channels, S, S] in [-1, 1].
            rendering: Rendering of the present codes, [N, img_channels, S, S] in [-1, 1].
            offsets: Offsets of w_plus from the latent average, [N, num_ws, w_dim].
            gradient: Direction in which the error of the rendering grows, [N, feature_channels, r, r], with the root
                mean square of the error as its own.

        Raises:
            UserError: Images or rendering have another size or number of channels.
        """
        check_images(rendering, self.img_channels, self.input_size)
        length = gradient.square().mean((1, 2, 3), keepdim=True).sqrt()  # [N, 1, 1, 1]
        # The limit keeps one bad correction from making the next one worse.
        gradient = gradient * (GRADIENT_SCALE / (length / LARGEST_ERROR).clamp(min=1))
        return self.corrector(torch.cat([self.checked(images), rendering], dim=1), offsets, gradient)


@ENCODERS.register("light_feature_gradient")
def light_feature_gradient(
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
    conjugate_steps: int = 0,
    head_slope: float = HEAD_SLOPE,
) -> FeatureGradientEncoder:
    """Build a narrow and shallow feature encoder that reads gradients."""
    return FeatureGradientEncoder(
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
        conjugate_steps=conjugate_steps,
    )
