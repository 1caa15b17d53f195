"""Light encoders: the encoders of the papers in a size that trains on a CPU, for generators up to 128 px.

All share one trunk, so that they can be compared. Each has fewer than 7 million parameters up to 128 px. They read the
generator's own resolution, hence `input_size` has no default (`psp.encoders.encoder_for`).
"""

from typing import Any

from psp.encoders.baselines import NaiveWPlusEncoder, WEncoder
from psp.encoders.e4e import Encoder4Editing
from psp.encoders.encoder import ENCODERS
from psp.encoders.gradual import GradualStyleEncoder
from psp.encoders.restyle import ITERATIONS, ReStyleEncoder

TRUNK: dict[str, Any] = {"widths": (32, 64, 128, 128), "units": (2, 2, 4, 2), "slope": 0.2}
HEAD_WIDTH = 80
HEAD_SLOPE = 0.2  # as in the trunk; the published heads have a slope of 0.01


@ENCODERS.register("light")
def light(
    num_ws: int, w_dim: int = 512, input_channels: int = 3, *, input_size: int, head_slope: float = HEAD_SLOPE
) -> GradualStyleEncoder:
    """Build a narrow and shallow pSp encoder."""
    sizes = (num_ws, w_dim, input_channels, input_size)
    return GradualStyleEncoder(*sizes, **TRUNK, head_width=HEAD_WIDTH, head_slope=head_slope)


@ENCODERS.register("light_e4e")
def light_e4e(
    num_ws: int, w_dim: int = 512, input_channels: int = 3, *, input_size: int, head_slope: float = HEAD_SLOPE
) -> Encoder4Editing:
    """Build a narrow and shallow e4e encoder."""
    sizes = (num_ws, w_dim, input_channels, input_size)
    return Encoder4Editing(*sizes, **TRUNK, head_width=HEAD_WIDTH, head_slope=head_slope)


@ENCODERS.register("light_restyle")
def light_restyle(
    num_ws: int,
    w_dim: int = 512,
    input_channels: int = 3,
    *,
    input_size: int,
    head_slope: float = HEAD_SLOPE,
    img_channels: int = 3,
    iterations: int = ITERATIONS,
) -> ReStyleEncoder:
    """Build a narrow and shallow ReStyle encoder."""
    return ReStyleEncoder(
        num_ws,
        w_dim,
        input_channels,
        input_size,
        **TRUNK,
        head_width=HEAD_WIDTH,
        head_slope=head_slope,
        img_channels=img_channels,
        iterations=iterations,
    )


@ENCODERS.register("light_w")
def light_w(num_ws: int, w_dim: int = 512, input_channels: int = 3, *, input_size: int) -> WEncoder:
    """Build a narrow and shallow encoder into W."""
    return WEncoder(num_ws, w_dim, input_channels, input_size, **TRUNK)


@ENCODERS.register("light_w_plus")
def light_w_plus(num_ws: int, w_dim: int = 512, input_channels: int = 3, *, input_size: int) -> NaiveWPlusEncoder:
    """Build a narrow and shallow encoder into W+ without a pyramid."""
    return NaiveWPlusEncoder(num_ws, w_dim, input_channels, input_size, **TRUNK)
