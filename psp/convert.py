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
from stylegan2.convert.layout import W_AVG_NOTE
from stylegan2.convert.rosinality import from_rosinality
from stylegan2.convert.safe import read_torch
from stylegan2.runtime.checkpoint import load_module
from stylegan2.runtime.errors import CheckpointError, UserError

KEPT_OPTIONS = ("dataset_type", "label_nc", "input_nc", "resize_factors")

E4E = "an e4e file: its heads are deltas on head 0, so read as pSp every row of w+ but the first would be wrong"
RESTYLE = "a ReStyle file: its encoder reads the image together with its last rendering and corrects itself in steps"
HYPERSTYLE = "a HyperStyle file: it predicts changes to the generator's weights, not codes"
BASELINE = "a baseline of the pSp paper on a single feature map, which has no style heads"
FOREIGN = {
    "Encoder4Editing": E4E,
    "BackboneEncoder": RESTYLE,
    "ProgressiveBackboneEncoder": RESTYLE,
    "ResNetBackboneEncoder": RESTYLE,
    "ResNetProgressiveBackboneEncoder": RESTYLE,
    "BackboneEncoderUsingLastLayerIntoW": BASELINE,
    "BackboneEncoderUsingLastLayerIntoWPlus": BASELINE,
}
E4E_OPTIONS = {"stylegan_size", "progressive_start", "delta_norm", "w_discriminator_lambda"}


def from_official(path: str | Path) -> tuple[PSp, dict[str, Any]]:
    """A published pSp file -> (model in evaluation mode, metadata: "source", "notes" and the "options" of its task).

    Nothing in the file is executed. A note, which is printed too, says what the file lacks and was filled in.

    Raises CheckpointError: the file is damaged; it is no pSp model (e4e, ReStyle and HyperStyle are told by name, since
    their keys are nearly or wholly the same); keys are missing or left over.
    """
    content = read_torch(path)
    try:
        model, metadata = from_content(content)
    except UserError as error:
        raise CheckpointError(f"{str(path)!r}: {error}") from error
    for note in metadata["notes"]:
        print(f"{path}: {note}")
    return model.eval(), metadata


def from_content(content: Any) -> tuple[PSp, dict[str, Any]]:
    """The same, from what `torch.load` gives: {"state_dict": tensors, "opts": ..., "latent_avg": tensor}."""
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise CheckpointError("this is no pSp checkpoint, since it has no state_dict")
    if not all(isinstance(value, Tensor) for value in content["state_dict"].values()):
        raise CheckpointError("its state_dict holds more than tensors")
    state, average, options = content["state_dict"], content.get("latent_avg"), content.get("opts")
    options = vars(options) if isinstance(options, argparse.Namespace) else options
    options = options if isinstance(options, dict) else {}
    if average is not None and not (isinstance(average, Tensor) and average.ndim in (1, 2)):
        raise CheckpointError("its latent_avg is no tensor of one or two dimensions")
    if reason := foreign(state, options):
        raise CheckpointError(f"this is {reason}; a pSp model is needed here")

    with torch.random.fork_rng(devices=[]):  # reading a file leaves the caller's randomness alone
        encoder = GradualStyleEncoder(**encoder_config(state))
    load_module(encoder, state, "encoder")
    decoder = {key.removeprefix("decoder."): value for key, value in state.items() if key.startswith("decoder.")}
    if not decoder:
        raise CheckpointError("the file holds no generator (no tensors called decoder.*)")
    # The published code adds nothing to the codes of a model that was trained without start_from_latent_avg.
    adds_average = options.get("start_from_latent_avg", True)
    row = None if average is None else average.reshape(-1, average.shape[-1])[0]  # [w_dim]
    generator = from_rosinality(decoder, row)
    model = PSp(encoder, generator, average if adds_average else torch.zeros_like(generator.w_avg))
    return model, {
        "source": "pixel2style2pixel",
        "notes": [W_AVG_NOTE] if average is None else [],
        "options": {name: options[name] for name in KEPT_OPTIONS if name in options},
    }


def foreign(state: dict[str, Tensor], options: dict[str, Any]) -> str | None:
    """Why this is no pSp model with style heads, as a phrase; None where it is one."""
    if any(key.startswith("hypernet.") for key in state):
        return HYPERSTYLE
    kind = options.get("encoder_type", "GradualStyleEncoder")
    if kind in FOREIGN:
        return FOREIGN[kind]
    if kind != "GradualStyleEncoder":
        return f"the file of an encoder of type {kind}"
    if "encoder_type" not in options and E4E_OPTIONS & options.keys():
        return E4E  # its keys and shapes are those of pSp, so only its options tell
    if "encoder.styles.0.linear.weight" not in state:
        return "a file without style heads (no tensors called encoder.styles.*)"
    return None if "encoder.latlayer1.weight" in state else RESTYLE


def encoder_config(state: dict[str, Tensor]) -> dict[str, Any]:
    """The arguments of GradualStyleEncoder, from the shapes of `encoder.*`. CheckpointError: it cannot be one."""
    names = {tuple(key.split(".")[1:3]) for key in state if key.startswith("encoder.")}
    blocks = sum(first == "body" for first, *_ in names)
    depth = next((depth for depth, units in UNITS.items() if sum(units) == blocks), None)
    if depth is None:
        allowed = ", ".join(str(sum(units)) for units in UNITS.values())
        raise CheckpointError(f"the trunk of a pSp encoder has {allowed} residual units, but this one has {blocks}")
    stage_ends = [end - 1 for end in accumulate(UNITS[depth])]
    halvings = sum(key.startswith("encoder.styles.0.convs.") and key.endswith(".weight") for key in state)
    try:
        w_dim, head_width = state["encoder.styles.0.linear.weight"].shape
        return {
            "num_ws": sum(first == "styles" for first, *_ in names),
            "w_dim": w_dim,
            "input_channels": state["encoder.input_layer.0.weight"].shape[1],
            "input_size": STRIDES[0] << halvings,
            "depth": depth,
            "widths": [state[f"encoder.body.{i}.res_layer.3.weight"].shape[0] for i in stage_ends],
            "head_width": head_width,
        }
    except KeyError as error:
        raise CheckpointError(f"the encoder is incomplete: {error.args[0]} is missing") from error
