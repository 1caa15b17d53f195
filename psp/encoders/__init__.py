"""Encoders: image -> one code for each row of w+, as an offset to the latent average. One file an encoder.

An encoder carries `input_size`, `input_channels`, `num_ws`, `w_dim` and `config` (its constructor's arguments), and
`forward(images [N, input_channels, input_size, input_size]) -> codes [N, num_ws, w_dim]`. Two further attributes tell
the model and the training loop of encoders that work otherwise:
    iterations  how many passes are made over an image; its forward takes the current rendering too (ReStyle)
    unlocked    how many rows beyond the first learn, since they are deltas on it (e4e)
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from torch import nn

from psp.encoders.registry import ENCODERS, build_encoder, register_encoder

# Every file of this folder registers its own encoder, so that a new encoder is one new file.
for _file in iter_modules(__path__):
    import_module(f"{__name__}.{_file.name}")

__all__ = ["ENCODERS", "build_encoder", "encoder_for", "register_encoder"]

LIGHT, LIGHT_MAX = "light", 128  # generators up to this resolution get the light encoder by default
PUBLISHED_SIZE = 256  # what the paper's encoder looks at, whatever the generator's resolution
SMALLEST = 32


def encoder_for(generator: Any, name: str = "auto", input_channels: int = 3) -> nn.Module:
    """An untrained encoder that fits a generator; `auto` takes `light` up to 128 px and the paper's above.

    Light encoders (`light`, `light_e4e`, ...) look at the generator's own resolution, from 32 up to 256 px.
    """
    resolution = generator.img_resolution
    if name == "auto":
        name = LIGHT if resolution <= LIGHT_MAX else "gradual"
    settings = {"img_channels": generator.img_channels} if hasattr(ENCODERS.get(name), "iterations") else {}
    return build_encoder(
        name,
        num_ws=generator.num_ws,
        w_dim=generator.w_dim,
        input_channels=input_channels,
        input_size=max(SMALLEST, min(resolution, PUBLISHED_SIZE)) if name.startswith(LIGHT) else PUBLISHED_SIZE,
        **settings,
    )
