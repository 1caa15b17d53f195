"""Sizes of networks: resolutions, channels at each, and the number of codes that a style-based generator reads."""

import math

from stylegan2.runtime.errors import UserError

ARCHITECTURES = ("skip", "residual", "plain")
RESOLUTIONS = tuple(2**k for k in range(3, 13))  # 8 to 4096

RANGES = {
    "img_resolution": (4, 4096),
    "img_channels": (1, 16),
    "z_dim": (1, 16384),
    "w_dim": (1, 16384),
    "channel_base": (1, 2**22),
    "channel_max": (1, 16384),
    "mapping_layers": (0, 64),
    "mapping_lr_multiplier": (1e-6, 1e3),
    "conv_clamp": (1e-6, 1e9),
    "num_classes": (0, 10**7),
    "mbstd_group": (1, 4096),
    "mbstd_channels": (1, 512),
}
"""{setting: (smallest, largest)} of networks that files may describe; no published network exceeds these."""


def check_sizes(img_resolution: int, img_channels: int, architecture: str) -> None:
    """Raise a UserError unless networks for images of this size and of this architecture can be built."""
    if img_resolution not in RESOLUTIONS:
        raise UserError(
            f"the resolution must be a power of two from {RESOLUTIONS[0]} to {RESOLUTIONS[-1]}, not {img_resolution}"
        )
    if not 1 <= img_channels <= 4:
        raise UserError(f"images must have 1 to 4 channels, not {img_channels}")
    if architecture not in ARCHITECTURES:
        raise UserError(f"there is no architecture {architecture!r}: choose one of {', '.join(ARCHITECTURES)}")


def resolutions(img_resolution: int) -> list[int]:
    """Return 4, 8, ... up to the resolution of the images."""
    return [2**k for k in range(2, int(math.log2(img_resolution)) + 1)]


def feature_maps(resolution: int, channel_base: int, channel_max: int) -> int:
    """Return the channels of feature maps at a resolution; StyleGAN2's configuration F has the base 32768, E 16384.

    Raises:
        UserError: The base is so small that there would be no channels.
    """
    if channel_base < resolution:
        raise UserError(f"channel_base must be at least the resolution, {resolution}, not {channel_base}")
    return min(channel_base // resolution, channel_max)


def num_ws_at(img_resolution: int) -> int:
    """Return how many codes w a style-based generator reads: two for each of its resolutions, 18 at 1024 px."""
    return 2 * len(resolutions(img_resolution))


def is_power_of_two(number: int) -> bool:
    """Return whether a number is 1, 2, 4, 8, ..."""
    return number > 0 and number & (number - 1) == 0
