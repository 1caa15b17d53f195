"""Published pSp checkpoints (eladrich/pixel2style2pixel, `.pt`) -> our model. Every size is read from the tensors."""

import argparse
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from psp.encoders.gradual import STRIDES, GradualStyleEncoder
from psp.encoders.irse import UNITS
from psp.model import PSp
from stylegan2.convert.rosinality import from_rosinality
from stylegan2.runtime.checkpoint import load_module
from stylegan2.runtime.errors import CheckpointError

AVERAGE_SAMPLES = 10_000  # mapped z in an estimated latent average
KEPT_OPTIONS = ("dataset_type", "label_nc", "input_nc", "resize_factors")

_E4E = "an e4e file: its heads are deltas on head 0, so read as pSp every row of w+ but the first would be wrong"
_RESTYLE = "a ReStyle file: its encoder reads the image together with its last rendering and corrects itself in steps"
_HYPERSTYLE = "a HyperStyle file: it predicts changes to the generator's weights, not codes"
_BASELINE = "one of the pSp paper's baselines on a single feature map, which have no style heads"
FOREIGN = {
    "Encoder4Editing": _E4E,
    "BackboneEncoder": _RESTYLE,
    "ProgressiveBackboneEncoder": _RESTYLE,
    "ResNetBackboneEncoder": _RESTYLE,
    "ResNetProgressiveBackboneEncoder": _RESTYLE,
    "BackboneEncoderUsingLastLayerIntoW": _BASELINE,
    "BackboneEncoderUsingLastLayerIntoWPlus": _BASELINE,
}
_E4E_OPTIONS = {"stylegan_size", "progressive_start", "delta_norm", "w_discriminator_lambda"}


def from_official(path: str | Path) -> tuple[PSp, dict[str, Any]]:
    """A published pSp file -> (model in evaluation mode, metadata with the options of its task).

    Nothing in the file is executed. CheckpointError: it is damaged, it is no pSp model (e4e, ReStyle and HyperStyle are
    told by name, since their keys are nearly or wholly the same), or keys are missing or left over.
    """
    content = read_pt(path)
    state, options = content["state_dict"], content["opts"]
    if reason := foreign(state, options):
        raise CheckpointError(f"{path} is {reason}; a pSp model is needed here.")
    encoder = GradualStyleEncoder(**encoder_config(state))
    load_module(encoder, state, "encoder")
    decoder = {key.removeprefix("decoder."): value for key, value in state.items() if key.startswith("decoder.")}
    if not decoder:
        raise CheckpointError(f"{path} holds no generator (no tensors called decoder.*).")
    average = content.get("latent_avg")
    generator = from_rosinality(decoder, None if average is None else average.reshape(-1, average.shape[-1])[0])
    model = PSp(encoder, generator, latent_average(average, options, generator))
    return model.eval(), {"converted_from": "pixel2style2pixel", "options": {k: options.get(k) for k in KEPT_OPTIONS}}


def read_pt(path: str | Path) -> dict[str, Any]:
    """The dict of a `.pt` file with `state_dict` and `opts` (a dict, empty where the file has none).

    Only tensors, plain containers and argparse.Namespace are let through: CheckpointError for anything else.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its unpickler or unzipper stumbled on
        raise CheckpointError(
            f"{path} is damaged or holds more than tensors and plain options; nothing in it was executed "
            f"({type(error).__name__})."
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise CheckpointError(f"{path} is no pSp checkpoint: it has no state_dict.")
    options = content.get("opts") or {}
    return content | {"opts": vars(options) if isinstance(options, argparse.Namespace) else dict(options)}


def foreign(state: dict[str, Tensor], options: dict[str, Any]) -> str | None:
    """Why the file is no pSp model with style heads, as a phrase; None where it is one."""
    if any(key.startswith("hypernet.") for key in state):
        return _HYPERSTYLE
    kind = options.get("encoder_type", "GradualStyleEncoder")
    if kind in FOREIGN:
        return FOREIGN[kind]
    if kind != "GradualStyleEncoder":
        return f"the file of an encoder of type {kind}"
    if "encoder_type" not in options and _E4E_OPTIONS & options.keys():
        return _E4E  # its keys and shapes are those of pSp, so only its options tell
    if "encoder.styles.0.linear.weight" not in state:
        return "a file without style heads (no tensors called encoder.styles.*)"
    return None if "encoder.latlayer1.weight" in state else _RESTYLE


def encoder_config(state: dict[str, Tensor]) -> dict[str, Any]:
    """The arguments of GradualStyleEncoder, from the shapes of `encoder.*`. CheckpointError: it cannot be one."""
    names = {tuple(key.split(".")[1:3]) for key in state if key.startswith("encoder.")}
    blocks = sum(first == "body" for first, *_ in names)
    depth = next((depth for depth, units in UNITS.items() if sum(units) == blocks), None)
    if depth is None:
        raise CheckpointError(f"A pSp encoder's trunk has 24, 49 or 50 residual units, but this one has {blocks}.")
    last_blocks = [end - 1 for end in accumulate(UNITS[depth])]
    halvings = len({key for key in state if key.startswith("encoder.styles.0.convs.") and key.endswith(".weight")})
    try:
        w_dim, head_width = state["encoder.styles.0.linear.weight"].shape
        return {
            "num_ws": sum(first == "styles" for first, *_ in names),
            "w_dim": w_dim,
            "input_channels": state["encoder.input_layer.0.weight"].shape[1],
            "input_size": STRIDES[0] << halvings,
            "depth": depth,
            "widths": [state[f"encoder.body.{i}.res_layer.3.weight"].shape[0] for i in last_blocks],
            "head_width": head_width,
        }
    except KeyError as error:
        raise CheckpointError(f"The pSp encoder in this file is incomplete: {error.args[0]} is missing.") from error


@torch.no_grad()
def latent_average(average: Tensor | None, options: dict[str, Any], generator: Any) -> Tensor:
    """What the published code adds to the codes: [num_ws, w_dim], [1, w_dim] or [w_dim].

    Nothing where the model was trained without `start_from_latent_avg`; the stored average otherwise; an estimate from
    seeded z where a file lacks it.
    """
    if not options.get("start_from_latent_avg", True):
        return torch.zeros(generator.w_dim)
    if average is not None:
        return average
    z = torch.randn(AVERAGE_SAMPLES, generator.z_dim, generator=torch.Generator().manual_seed(0))
    average = generator.mapping(z)[:, 0].mean(0)  # [w_dim]
    generator.w_avg.copy_(average)
    print(f"The file has no latent_avg: estimated from {AVERAGE_SAMPLES} mapped z.")
    return average
