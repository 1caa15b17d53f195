"""A small encoder of the published design, for generators up to 128 px: it trains on a CPU.

The other encoders have a light form too, beside their full one; all share this trunk, so that they can be compared.
"""

from typing import Any

from psp.encoders.gradual import GradualStyleEncoder
from psp.encoders.registry import register_encoder

LIGHT_TRUNK: dict[str, Any] = {"widths": (32, 64, 128, 128), "units": (2, 2, 4, 2), "slope": 0.2}
LIGHT_HEADS: dict[str, Any] = {**LIGHT_TRUNK, "head_width": 80}


def only_sizes(config: dict[str, Any], *others: str) -> dict[str, Any]:
    """What the constructor of a light encoder takes, of its full form's `config`."""
    return {name: config[name] for name in ("num_ws", "w_dim", "input_channels", "input_size", *others)}


@register_encoder("light")
class LightStyleEncoder(GradualStyleEncoder):
    """Trunk, pyramid and heads of `GradualStyleEncoder`, narrow and shallow: under 6 million parameters up to 128 px.

    `num_ws` and `w_dim` are the generator's; `input_size` is a power of two from 32 px, as a rule its resolution.
    """

    def __init__(self, num_ws: int, w_dim: int = 512, input_channels: int = 3, input_size: int = 64) -> None:
        super().__init__(num_ws, w_dim, input_channels, input_size, **LIGHT_HEADS)
        self.config = only_sizes(self.config)
