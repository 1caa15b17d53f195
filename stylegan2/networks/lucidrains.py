"""The generator of lucidrains/stylegan2-pytorch, a variant of StyleGAN2 (arXiv 1912.04958), to use its files.

It departs from the paper in several ways: bilinear upsampling before the convolution instead of a low-pass filter after
it, one code for both convolutions and the ToRGB of a resolution, uniform noise with a strength for each channel, a bare
convolution on the constant, activations without a gain, weights without equalized learning rate, and images in [0, 1].
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan2 import ops
from stylegan2.networks.mapping import Mapping
from stylegan2.networks.protocols import TwoPartGenerator
from stylegan2.networks.registry import GENERATORS
from stylegan2.networks.sizes import check_sizes, feature_maps, resolutions
from stylegan2.runtime.ranges import Layers, Positive, Size


def uniform(*size: int, device: torch.device | None = None, generator: torch.Generator | None = None) -> Tensor:
    """Draw uniform random numbers of mean 0 and variance 1."""
    drawn = torch.rand(size, device=device, generator=generator)
    # Arithmetic on the meta device would import PyTorch's compiler, which takes seconds.
    return drawn if drawn.is_meta else (2 * drawn - 1) * math.sqrt(3)


def bilinear2x(x: Tensor) -> Tensor:
    """Double the resolution of x by bilinear interpolation: [N, C, H, W] -> [N, C, 2H, 2W]."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def reflected_blur(x: Tensor) -> Tensor:
    """Filter x [N, C, H, W] with [1, 2, 1] in each direction, reflected at the edges."""
    padded = F.pad(x, (1, 1, 1, 1), mode="reflect")  # [N, C, H+2, W+2]
    return ops.binomial_blur(padded)[:, :, 1:-1, 1:-1]  # [N, C, H, W]


class Modulation(nn.Linear):
    """Linear layer from w to styles, which start at 1; in full precision where autocast is on.

    Args:
        w_dim: Size of the latent w.
        channels: Number of styles.
    """

    def __init__(self, w_dim: int, channels: int) -> None:
        super().__init__(w_dim, channels)
        nn.init.kaiming_normal_(self.weight, a=ops.LRELU_SLOPE)
        nn.init.ones_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        with ops.full_precision(input):
            return super().forward(input.to(self.weight.dtype))  # [N, I]


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, demodulation (StyleGAN2, eq. 1 and 3), bias, noise, and a leaky ReLU without gain.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        w_dim: Size of the latent w.
    """

    def __init__(self, in_channels: int, out_channels: int, w_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.kaiming_normal_(torch.empty(out_channels, in_channels, 3, 3)))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros(out_channels))
        self.affine = Modulation(w_dim, in_channels)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """Compute the feature maps of a style.

        Args:
            x: [N, I, H, W].
            w: [N, w_dim].
            noise: [R, R] or [N, 1, R, R], whose top left corner is added; None for no noise.

        Returns:
            [N, O, H, W].
        """
        styles = self.affine(w)  # [N, I]
        scale = ops.demodulation(self.weight, styles)  # [N, O]
        x = ops.modulated_conv2d(x, self.weight, styles, scale, self.bias)  # [N, O, H, W]
        if noise is not None:
            corner = noise[..., : x.shape[2], : x.shape[3]]  # [H, W] or [N, 1, H, W]
            x = ops.add_noise(x, (corner * self.noise_strength[:, None, None]).to(x.dtype))
        return ops.leaky_relu(x)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution without demodulation and bias."""

    def __init__(self, in_channels: int, img_channels: int, w_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.kaiming_normal_(torch.empty(img_channels, in_channels, 1, 1)))
        self.affine = Modulation(w_dim, in_channels)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        styles = self.affine(w)  # [N, I]
        channels = len(self.weight)
        return ops.modulated_conv2d(x, self.weight, styles, styles.new_ones(1, channels), styles.new_zeros(channels))


class Block(nn.Module):
    """The layers of a resolution: two modulated convolutions and a ToRGB, all with the same w.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        img_channels: Channels of the images.
        w_dim: Size of the latent w.
    """

    def __init__(self, in_channels: int, out_channels: int, img_channels: int, w_dim: int) -> None:
        super().__init__()
        self.conv0 = SynthesisLayer(in_channels, out_channels, w_dim)
        self.conv1 = SynthesisLayer(out_channels, out_channels, w_dim)
        self.to_rgb = ToRGB(out_channels, img_channels, w_dim)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map x [N, I, H, W] to features [N, O, H, W] and to their share of the image, [N, img_channels, H, W]."""
        x = self.conv1(self.conv0(x, w, noise), w, noise)  # [N, O, H, W]
        return x, self.to_rgb(x, w)


class Synthesis(nn.Module):
    """The synthesis network g: block j reads ws[:, j]; all layers take their noise from the corner of one map.

    Args:
        w_dim: Size of the latent w.
        img_resolution: Pixels of a side of the images.
        img_channels: Channels of the images.
        channel_base: Channels are min(channel_base / resolution, channel_max).
        channel_max: Most channels of a layer.
        rgb_blur: Filter the images between the resolutions.
        learned_const: Begin with a constant; otherwise with a linear map of the mean code.
    """

    noise_const: Tensor  # [R, R], the noise of noise_mode="const", of mean 0 and variance 1

    def __init__(
        self,
        w_dim: int,
        img_resolution: int,
        img_channels: int,
        channel_base: int,
        channel_max: int,
        rgb_blur: bool,
        learned_const: bool,
    ) -> None:
        super().__init__()
        self.rgb_blur = rgb_blur
        widths = [feature_maps(r, channel_base, channel_max) for r in resolutions(img_resolution)]
        self.const = nn.Parameter(torch.randn(1 if learned_const else w_dim, widths[0], 4, 4))
        self.learned_const = learned_const
        self.conv = nn.Conv2d(widths[0], widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(
            Block(before, width, img_channels, w_dim)
            for before, width in zip(widths[:1] + widths[:-1], widths, strict=True)
        )
        self.register_buffer("noise_const", uniform(img_resolution, img_resolution))

    def forward(self, ws: Tensor, noise_mode: str = "const") -> Tensor:
        """Turn latents into images.

        Args:
            ws: [N, num_ws, w_dim].
            noise_mode: "const" (the stored map), "random" (fresh, from the global generator) or "none" (its mean).

        Returns:
            [N, img_channels, R, R], about in [-1, 1] but not clamped.
        """
        noise = self.noise(len(ws), noise_mode)  # [R, R] or [N, 1, R, R], or None
        x = self.conv(self.start(ws).contiguous(memory_format=torch.channels_last))  # [N, C, 4, 4]
        x, image = self.blocks[0](x, ws[:, 0], noise)  # [N, C, 4, 4], [N, img_channels, 4, 4]
        for j, block in enumerate(self.blocks[1:], start=1):
            x, rgb = block(bilinear2x(x), ws[:, j], noise)  # [N, C', 2H, 2W], [N, img_channels, 2H, 2W]
            image = self.enlarged(image) + rgb
        return 2 * image - 1

    def start(self, ws: Tensor) -> Tensor:
        """Return the constant, or a linear map of the mean code: [N, C, 4, 4]."""
        if self.learned_const:
            return self.const.expand(len(ws), -1, -1, -1)
        return torch.einsum("nw,wcij->ncij", ws.mean(1), self.const)

    def enlarged(self, image: Tensor) -> Tensor:
        """Double the resolution of an image: [N, img_channels, H, W] -> [N, img_channels, 2H, 2W]."""
        image = bilinear2x(image)
        return reflected_blur(image) if self.rgb_blur else image

    def noise(self, count: int, mode: str) -> Tensor | None:
        """Return the noise of `count` images: [R, R] or [count, 1, R, R]; None in mode "none"."""
        if mode == "none":
            return None
        if mode == "const":
            return self.noise_const
        return uniform(count, 1, *self.noise_const.shape[-2:], device=self.noise_const.device)  # [N, 1, R, R]


@GENERATORS.register("lucidrains")
class Generator(TwoPartGenerator[Mapping, Synthesis]):
    """The generator of lucidrains/stylegan2-pytorch, with the interface of `stylegan2.networks.stylegan2.Generator`.

    Args:
        img_resolution: Pixels of a side, a power of two from 8 to 4096.
        img_channels: 1 gray, 3 RGB, 4 RGBA.
        w_dim: Size of z and of w.
        channel_base: 2 R times `network_capacity` of that project.
        channel_max: Most channels of a layer, `fmap_max` in that project.
        mapping_layers: Depth of the mapping network.
        mapping_lr_multiplier: Learning rate of the mapping network, `lr_mlp` in that project.
        rgb_blur: Filter the images between the resolutions, as that project does since version 1.2.
        learned_const: Begin with a constant; otherwise (`no_const` in that project) with a linear map of the mean code.
    """

    grows = False
    has_styles = True
    num_classes = 0

    def __init__(
        self,
        img_resolution: int,
        img_channels: int = 3,
        w_dim: Size = 512,
        channel_base: Size = 8192,
        channel_max: Size = 512,
        mapping_layers: Layers = 8,
        mapping_lr_multiplier: Positive = 0.1,
        rgb_blur: bool = True,
        learned_const: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(img_resolution, img_channels, "skip")
        self.z_dim = self.w_dim = w_dim
        self.img_resolution, self.img_channels = img_resolution, img_channels
        self.num_ws = len(resolutions(img_resolution))
        self.mapping = Mapping(w_dim, w_dim, self.num_ws, mapping_layers, mapping_lr_multiplier)
        self.synthesis = Synthesis(
            w_dim, img_resolution, img_channels, channel_base, channel_max, rgb_blur, learned_const
        )
