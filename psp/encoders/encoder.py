"""What an encoder is: image -> one code for each row of w+, as an offset to the latent average.

Any `nn.Module` that carries `num_ws`, `w_dim`, `input_size` and `input_channels` is an encoder. The decorator
`@ENCODERS.register("name")` beside a class, or beside a function that builds one, makes it known to the command line
and to checkpoints.
"""

from collections.abc import Mapping
from typing import Any, Protocol, cast

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
}
"""{setting: (smallest, largest)} of encoders that files describe."""
ENCODERS: Registry[nn.Module] = Registry("encoder", "psp.encoders", ENCODER_RANGES)


class Encoder(Module, Protocol):
    """An encoder as the model and the training loop see it.

    The first four attributes are every encoder's own. The others describe encoders that work otherwise than in one
    pass; `with_defaults` adds those that an encoder does not have.
    """

    num_ws: int
    """rows of w+ that the generator takes"""
    w_dim: int
    """length of a row"""
    input_size: int
    """side of the images that it reads, in pixels"""
    input_channels: int
    """channels of these images"""

    reads_rendering: bool
    """whether `forward` also takes the current rendering [N, img_channels, S, S], and its answer is an offset to the
    codes of that rendering (ReStyle)"""
    iterations: int
    """passes over an image; more than one where it reads the rendering or corrects features"""
    corrects_features: bool
    corrector: nn.Module  # of an encoder that corrects features: the part that does
    """whether a second pass gives a correction of the generator's features, by `correction(images, rendering)`"""
    unlocked: int | None
    """how many of the rows after the first learn, where these are deltas on the first (e4e); None where they are not"""
    aspect: float
    """height over width of what it reads in the middle of its square input; published models of cars read 192 x 256"""
    default_lambdas: Mapping[str, float]
    """{loss: weight} of the losses that its paper adds to those of the task"""
    default_w_discriminator_lambda: float
    """weight that its paper gives to the latent discriminator"""

    def __call__(self, *images: Tensor) -> Tensor:
        """Encode images [N, input_channels, S, S] in [-1, 1] to offsets [N, num_ws, w_dim]."""
        ...

    def correction(self, images: Tensor, rendering: Tensor, offsets: Tensor) -> Tensor:
        """Correct features, where it `corrects_features`: [N, C, r, r]. See `psp.encoders.feature`."""
        ...


DEFAULTS: dict[str, Any] = {
    "reads_rendering": False,
    "iterations": 1,
    "corrects_features": False,
    "unlocked": None,
    "aspect": 1.0,
    "default_lambdas": {},
    "default_w_discriminator_lambda": 0.0,
}


def with_defaults(encoder: "nn.Module | Encoder") -> Encoder:
    """Return the same encoder, with the value of one that works in a single pass for each attribute it lacks.

    Raises:
        UserError: It lacks one of the four that every encoder has.
    """
    missing = [name for name in ("num_ws", "w_dim", "input_size", "input_channels") if not hasattr(encoder, name)]
    if missing:
        raise UserError(f"an encoder has the attributes {', '.join(missing)}, but {type(encoder).__name__} does not")
    for name, value in DEFAULTS.items():
        if not hasattr(encoder, name):
            setattr(encoder, name, value)
    return cast(Encoder, encoder)


def check_images(images: Tensor, channels: int, size: int) -> None:
    """Refuse images at any other size than the encoder's, where its codes would be silently wrong.

    Args:
        images: [N, channels, size, size].

    Raises:
        UserError: The shape is another.
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
    """Refuse a size that cannot be halved down to the heads. UserError: it is not a power of two from 32."""
    if size < 32 or size & (size - 1):
        raise UserError(f"the input size of an encoder is a power of two from 32 pixels, not {size}")
