"""Encoders by name, for checkpoints and the command line; the decorator stands beside the class it names."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from stylegan2.runtime.errors import UserError

ENCODERS: dict[str, Callable[..., nn.Module]] = {}
Class = TypeVar("Class", bound=type[nn.Module])


def register_encoder(name: str) -> Callable[[Class], Class]:
    """Class decorator: makes an encoder known under `name`."""

    def register(cls: Class) -> Class:
        if name in ENCODERS:
            raise ValueError(f"two encoders are called {name!r}")
        cls.registered_name = name  # type: ignore[attr-defined]
        ENCODERS[name] = cls
        return cls

    return register


def build_encoder(name: str, **settings: Any) -> nn.Module:
    """The encoder registered under `name`, built from its constructor's arguments. UserError: an unknown name."""
    if name not in ENCODERS:
        raise UserError(f"There is no encoder called {name!r}; there are {', '.join(sorted(ENCODERS))}.")
    return ENCODERS[name](**settings)


def with_input_channels(encoder: Any, channels: int) -> Any:
    """The same encoder for sources of so many channels, to go on training with: its first convolution starts anew.

    Where one channel joins, as the mask joins the photograph for inpainting, the filters for the others stay and its
    own are 0: the encoder starts as what it was.
    """
    twin = build_encoder(encoder.registered_name, **{**encoder.config, "input_channels": channels})
    fresh, tensors, before = twin.state_dict(), dict(encoder.state_dict()), encoder.input_channels
    for name, found in tensors.items():
        if found.shape == fresh[name].shape:
            continue
        if channels == before + 1:  # a rendering's channels, if any, come after the source's
            joined = found[:, :before], torch.zeros_like(found[:, :1]), found[:, before:]
            tensors[name] = torch.cat(joined, dim=1)  # [width, channels (+ rendering's), k, k]
        else:
            tensors[name] = fresh[name]
    twin.load_state_dict(tensors)
    return twin


def check_images(images: Tensor, channels: int, size: int) -> None:
    """UserError unless images is [N, channels, size, size]: at any other size an encoder would be silently wrong."""
    if images.ndim != 4 or images.shape[1] != channels:
        raise UserError(
            f"The encoder reads images [N, {channels}, {size}, {size}], but was given a tensor of shape "
            f"{list(images.shape)}."
        )
    height, width = images.shape[2:]
    if (height, width) != (size, size):
        raise UserError(f"The encoder reads images of {size} x {size} pixels, not {height} x {width}: resize them.")
