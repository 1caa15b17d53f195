"""Encoders, one per file, which map an image to one code for each row of w+; `encoder.py` defines the protocol."""

import inspect

import torch
from torch import nn

from psp.encoders.encoder import ENCODERS, Encoder, with_defaults
from psp.encoders.irse import UNITS
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.registry import Config, built_as

__all__ = [
    "ENCODERS",
    "Encoder",
    "encoder_for",
    "started_from",
    "upgraded",
    "with_input_channels",
    "without_conjugate_steps",
]

LIGHT_MAX = 128  # generators up to this resolution get the light encoder by default
SMALLEST, PUBLISHED_SIZE = 32, 256  # px; the published encoders read 256 px at every resolution of the generator
PUBLISHED_HEAD_SLOPE = 0.01  # slope of all heads in earlier versions


def encoder_for(generator: Generator, name: str = "auto", input_channels: int = 3) -> nn.Module:
    """Build an untrained encoder that fits a generator.

    An encoder whose `input_size` has a default reads images of that size, as the published ones do. Any other reads the
    generator's own resolution, from 32 up to 256 px, as the light ones do.

    Args:
        generator: The generator, whose `num_ws`, `w_dim`, `img_resolution` and `img_channels` are used.
        name: A registered encoder, or "auto": `light` up to 128 px and the paper's `gradual` above.
        input_channels: Channels of the source images.

    Raises:
        UserError: There is no encoder of that name.
    """
    resolution = generator.img_resolution
    if name == "auto":
        name = "light" if resolution <= LIGHT_MAX else "gradual"
    parameters = inspect.signature(ENCODERS[name]).parameters
    settings = {"num_ws": generator.num_ws, "w_dim": generator.w_dim, "input_channels": input_channels}
    if "img_channels" in parameters:
        settings["img_channels"] = generator.img_channels
    if "input_size" in parameters and parameters["input_size"].default is inspect.Parameter.empty:
        settings["input_size"] = max(SMALLEST, min(resolution, PUBLISHED_SIZE))
    if "feature_side" in parameters:
        settings |= corrected_features(generator)
    return ENCODERS.build(name, **settings)


def corrected_features(generator: Generator) -> dict[str, int]:
    """Choose which feature map of a generator a feature encoder corrects: 16 px, or 64 px for a 1024 px generator.

    Raises:
        UserError: The generator takes no corrections.
    """
    channels = getattr(generator.synthesis, "feature_channels", None)
    if channels is None:
        raise UserError("this generator takes no corrections of its features: use an encoder of W+, or StyleGAN2")
    side = min(max(16, generator.img_resolution // 16), generator.img_resolution)
    return {"feature_side": side, "feature_channels": channels[side]}


def upgraded(settings: Config) -> Config:
    """Convert {"name": ..., **settings} of an encoder from any earlier version to those of this version.

    Earlier versions also wrote the residual units that follow from the depth, and lack settings that are newer.

    Raises:
        UserError: There is no encoder of that name.
    """
    parameters = inspect.signature(ENCODERS[settings["name"]]).parameters
    defaults = {name: p.default for name, p in parameters.items() if p.default is not inspect.Parameter.empty}
    if "head_slope" in defaults:
        defaults["head_slope"] = PUBLISHED_HEAD_SLOPE
    complete = {**defaults, **settings}
    if "depth" in parameters and list(complete["units"] or ()) == list(UNITS.get(complete["depth"], ())):
        complete["units"] = None
    return complete


def with_input_channels(encoder: Encoder, channels: int) -> nn.Module:
    """Build the same encoder for sources with another number of channels, to train it further.

    The first convolution is new. Where one channel is added, as the mask is to the photograph for inpainting, the
    filters of the other channels stay and those of the new channel are 0, so that the encoder computes the same at
    first.
    """
    twin = _rebuilt(encoder, input_channels=channels)
    fresh, tensors, before = twin.state_dict(), dict(encoder.state_dict()), encoder.input_channels
    for name, tensor in tensors.items():
        if tensor.shape == fresh[name].shape:
            continue
        if channels == before + 1:  # a rendering's channels, if any, come after the source's
            joined = tensor[:, :before], torch.zeros_like(tensor[:, :1]), tensor[:, before:]
            tensors[name] = torch.cat(joined, dim=1)  # [width, channels (+ rendering's), k, k]
        else:
            tensors[name] = fresh[name]
    twin.load_state_dict(tensors)
    return twin


def without_conjugate_steps(encoder: Encoder) -> Encoder:
    """Build the same encoder without steps of conjugate gradients, which would make outputs resemble their sources."""
    if not built_as(encoder).get("conjugate_steps"):
        return encoder
    twin = _rebuilt(encoder, conjugate_steps=0)
    twin.load_state_dict(encoder.state_dict())
    return with_defaults(twin)


def _rebuilt(encoder: Encoder, **changed: int) -> nn.Module:
    """Build an encoder with the settings of another one, but for the changed ones, and with fresh weights."""
    twin = ENCODERS.build(**{**built_as(encoder), **changed})
    if encoder.aspect != 1.0:
        twin.aspect = encoder.aspect  # type: ignore[assignment]
    return twin


def started_from(encoder: nn.Module | Encoder, fresh: nn.Module) -> tuple[nn.Module, str]:
    """Copy into a fresh encoder all weights of another one that have the same name and shape in both.

    Returns:
        The fresh encoder, and the beginning of a sentence about what was copied: "134 of 150 tensors, without
        corrector, were loaded".

    Raises:
        UserError: Only one of the two gives deltas on its first code, or fewer than half of the weights fit.
    """
    if (with_defaults(encoder).unlocked is None) != (with_defaults(fresh).unlocked is None):
        raise UserError("one of the two encoders gives deltas on its first code and the other does not")
    given, own = encoder.state_dict(), fresh.state_dict()
    taken = {name: tensor for name, tensor in given.items() if name in own and own[name].shape == tensor.shape}
    count = sum(tensor.numel() for tensor in taken.values())
    if 2 * count < min(sum(tensor.numel() for tensor in tensors.values()) for tensors in (given, own)):
        raise UserError("the two encoders share less than half of their weights")
    fresh.load_state_dict(own | taken)
    new = sorted({name.split(".")[0] for name in own.keys() - taken.keys()})
    without = f", without {', '.join(new)}," if new else ""
    return fresh, f"{len(taken)} of {len(own)} tensors{without} were loaded"
