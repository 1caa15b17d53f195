"""A small encoder of the published design, for generators up to 128 px: it trains on a CPU."""

from psp.encoders.gradual import GradualStyleEncoder
from psp.encoders.registry import register_encoder


@register_encoder("light")
class LightStyleEncoder(GradualStyleEncoder):
    """Trunk, pyramid and heads of `GradualStyleEncoder`, narrow and shallow: under 6 million parameters up to 128 px.

    `num_ws` and `w_dim` are the generator's; `input_size` is a power of two from 32 px, as a rule its resolution.
    """

    def __init__(self, num_ws: int, w_dim: int = 512, input_channels: int = 3, input_size: int = 64) -> None:
        super().__init__(
            num_ws,
            w_dim,
            input_channels,
            input_size,
            widths=(32, 64, 128, 128),
            units=(2, 2, 4, 2),
            head_width=80,
            slope=0.2,
        )
        self.config = {
            "num_ws": num_ws,
            "w_dim": w_dim,
            "input_channels": input_channels,
            "input_size": input_size,
        }
