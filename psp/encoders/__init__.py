"""Encoders: image -> one code for each row of w+, as an offset to the latent average. One file an encoder.

An encoder carries `input_size`, `input_channels`, `num_ws`, `w_dim` and `config` (its constructor's arguments), and
`forward(images [N, input_channels, input_size, input_size]) -> codes [N, num_ws, w_dim]`.
"""

from importlib import import_module
from pkgutil import iter_modules

from psp.encoders.registry import ENCODERS, build_encoder, register_encoder

# Every file of this folder registers its own encoder, so that a new encoder is one new file.
for _file in iter_modules(__path__):
    import_module(f"{__name__}.{_file.name}")

__all__ = ["ENCODERS", "build_encoder", "register_encoder"]
