"""The protocol of encoders, which map an image to one code for each row of w+, as an offset to the latent average.

Any `nn.Module` with `num_ws`, `w_dim`, `input_size` and `input_channels` is an encoder. The decorator
`@ENCODERS.register("name")` on a class, or on a function that builds one, makes it known to the command line and to
checkpoints.
"""

from collections.abc import Mapping
from typing import Protocol, cast

from torch import Tensor, nn

from stylegan2.networks.sizes import RANGES
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.module import Module
from stylegan2.runtime.registry import Registry

ENCODER_RANGES = {
    **RANGES,
    "num_ws": (1, 64),
    "input_channels": (1, 256),
    "input_size": (8, 2048),
    "depth": (1, 200),
    "widths": (1, 16384),
    "units": (1, 128),
    "head_width": (1, 16384),
    "feature_side": (4, 4096),
    "feature_channels": (1, 16384),
    "corrector_width": (1, 16384),
    "iterations": (1, 100),
    "conjugate_steps": (0, 1000),
}
"""{setting: (smallest, largest)} of encoders that files may describe"""
ENCODERS: Registry[nn.Module] = Registry("encoder", "psp.encoders", ENCODER_RANGES)


class Encoder(Module, Protocol):
    """An encoder as the model and the training loop see it.

    Every encoder has the first four attributes. The others describe encoders that take more than one pass or input;
    `with_defaults` adds those that an encoder lacks.
    """

    num_ws: int
    """rows of w+ that the generator takes"""
    w_dim: int
    """length of a row"""
    input_size: int
    """side, in pixels, of the images that the encoder reads"""
    input_channels: int
    """channels of these images"""

    reads_rendering: bool
    """whether `forward` also takes the current rendering [N, img_channels, S, S], to whose codes its offsets are added
    (ReStyle)"""
    iterations: int
    """passes over an image; more than one where the encoder reads the rendering or corrects features"""
    corrects_features: bool
    """whether later passes correct the generator's features, by `correction(images, rendering, offsets)`"""
    reads_gradient: bool
    """whether `correction` also takes the gradient of the rendering's error with respect to the features"""
    conjugate_steps: int
    """steps of conjugate gradients that follow the passes (see `psp.conjugate_gradient`)"""
    corrector: nn.Module  # the part that corrects features, and the size of these, in encoders that have one
    feature_side: int
    feature_channels: int
    unlocked: int | None
    """how many rows after the first learn, where these are deltas on the first (e4e); None elsewhere"""
    aspect: float
    """height over width of the middle part of the square input that is read; published car models read 192 x 256"""
    default_lambdas: Mapping[str, float]
    """{loss: weight} of losses that the paper adds to those of the task"""
    default_w_discriminator_lambda: float
    """weight of the latent discriminator in the paper"""

    def __call__(self, *images: Tensor) -> Tensor:
        """Encode images [N, input_channels, S, S] in [-1, 1] to offsets [N, num_ws, w_dim]."""
        ...

    def correction(self, *inputs: Tensor) -> Tensor:
        """Return a correction of the generator's features [N, C, r, r] (see `psp.encoders.feature`)."""
        ...


DEFAULTS: dict[str, object] = {
    "reads_rendering": False,
    "iterations": 1,
    "corrects_features": False,
    "reads_gradient": False,
    "conjugate_steps": 0,
    "unlocked": None,
    "aspect": 1.0,
    "default_lambdas": {},
    "default_w_discriminator_lambda": 0.0,
}


def with_defaults(encoder: "nn.Module | Encoder") -> Encoder:
    """Add to an encoder the attributes that it lacks, with the values of a single-pass encoder, and return it.

    Raises:
        UserError: It lacks one of the four attributes that every encoder must have.
    """
    missing = [name for name in ("num_ws", "w_dim", "input_size", "input_channels") if not hasattr(encoder, name)]
    if missing:
        raise UserError(
            f"an encoder must have the attributes {', '.join(missing)}, but {type(encoder).__name__} does not"
        )
    for name, value in DEFAULTS.items():
        if not hasattr(encoder, name):
            setattr(encoder, name, value)
    return cast(Encoder, encoder)


def check_images(images: Tensor, channels: int, size: int) -> None:
    """Check the shape of images, because an encoder returns wrong codes at any other size.

    Args:
        images: [N, channels, size, size].

    Raises:
        UserError: The images have another shape.
    """
    if images.ndim != 4 or images.shape[1] != channels:
        raise UserError(
            f"the encoder reads images [N, {channels}, {size}, {size}], but was given a tensor of shape "
            f"{list(images.shape)}"
        )
    height, width = images.shape[2:]
    if (height, width) != (size, size):
        raise UserError(f"the encoder reads images of {size} x {size} pixels, not {height} x {width}: resize them")


def middle_rows(images: Tensor, aspect: float) -> Tensor:
    """Cut the middle of squares [N, C, S, S]: [N, C, aspect * S, S], rounded to an even number of rows."""
    size = images.shape[2]
    margin = round(size * (1 - aspect) / 2)
    return images[:, :, margin : size - margin]  # [N, C, H, S]


def check_input_size(size: int) -> None:
    """Check that a size can be halved down to the heads. UserError: it is not a power of two from 32."""
    if size < 32 or size & (size - 1):
        raise UserError(f"the input size of an encoder must be a power of two from 32 pixels, not {size}")
