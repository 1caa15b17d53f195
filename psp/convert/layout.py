"""Recognise the encoder of a published file, and its settings, by the names and shapes of its tensors."""

from collections.abc import Mapping
from itertools import accumulate

from torch import Tensor

from psp.encoders.heads import STRIDES
from psp.encoders.irse import UNITS
from psp.encoders.resnet import RESNET34_UNITS
from psp.encoders.restyle import ITERATIONS
from stylegan2.convert.layout import count
from stylegan2.runtime.errors import CheckpointError
from stylegan2.runtime.registry import Config

# `encoder_type` of the files -> our encoder.
NAMES = {
    "GradualStyleEncoder": "gradual",
    "Encoder4Editing": "e4e",
    "BackboneEncoder": "restyle",
    "ProgressiveBackboneEncoder": "restyle_e4e",
    "ResNetBackboneEncoder": "restyle_resnet",
    "ResNetProgressiveBackboneEncoder": "restyle_resnet_e4e",
    "BackboneEncoderUsingLastLayerIntoW": "w",
    "BackboneEncoderUsingLastLayerIntoWPlus": "w_plus_naive",
    "SingleStyleCodeEncoder": "w",
    "WPlusEncoder": "w_plus_naive",
}
TYPES = {name: kind for kind, name in reversed(NAMES.items())}  # our encoder -> its first `encoder_type`
# Our task -> the files' `dataset_type`.
DATASETS = {
    "inversion": "ffhq_encode",
    "frontalization": "ffhq_frontalize",
    "sketch": "celebs_sketch_to_face",
    "segmentation": "celebs_seg_to_face",
    "super_resolution": "celebs_super_resolution",
}
TASKS = {dataset: task for task, dataset in DATASETS.items()}
WITHOUT_FACES = {
    *("car", "cars", "church", "churches", "horse", "horses", "cat", "cats", "dog", "dogs", "afhq", "bedroom")
}
"""first words of `dataset_type` in files that were trained on whole photos"""
LANDSCAPE, LANDSCAPE_ASPECT = {"car", "cars"}, 0.75
"""first words of `dataset_type` of encoders that read photos of 192 x 256, without the bars above and below that their
generator has learned"""
E4E_OPTIONS = {"stylegan_size", "progressive_start", "progressive_steps", "delta_norm", "w_discriminator_lambda"}
RESTYLE_OPTION = "n_iters_per_batch"
Options = Mapping[str, object]
"""`opts` of a file, which describe the training that wrote it"""
HYPERSTYLE = "a HyperStyle file: it predicts changes to the generator's weights, not codes"
PUBLISHED_SIZE = 256  # input size of the baselines, which their tensors do not show


def repository_of(name: str) -> str:
    """Return the repository that publishes files with this encoder."""
    if name.startswith("restyle"):
        return "restyle-encoder"
    return "encoder4editing" if name == "e4e" else "pixel2style2pixel"


def is_iterative(name: str) -> bool:
    return name.startswith("restyle")


def encoder_name(state: Mapping[str, Tensor], options: Options) -> str:
    """Return our name of the encoder in a file, from its options or else from the names of its tensors.

    Raises:
        CheckpointError: The encoder belongs to another method, or has a form that was never published.
    """
    if any(key.startswith("hypernet.") for key in state):
        raise CheckpointError(f"this is {HYPERSTYLE}; a pSp model is needed here")
    kind = options.get("encoder_type")
    if kind is None:
        return _name_from_keys(state, options)
    if not isinstance(kind, str) or kind not in NAMES:
        raise CheckpointError(
            f"this is the file of an encoder of type {str(kind)[:100]}; the known types are {', '.join(NAMES)}"
        )
    if NAMES[kind] == "gradual" and RESTYLE_OPTION in options:
        raise CheckpointError("this is a ReStyle file with a feature pyramid; the published ones have none")
    return NAMES[kind]


def _name_from_keys(state: Mapping[str, Tensor], options: Options) -> str:
    """Recognise the encoder by its tensors, which do not show whether heads give deltas; only the options tell."""
    deltas = bool(E4E_OPTIONS & options.keys())
    if "encoder.conv1.weight" in state:
        return "restyle_resnet_e4e" if deltas else "restyle_resnet"
    if "encoder.output_layer_2.3.weight" in state:
        return "w_plus_naive"
    if "encoder.linear.weight" in state:
        return "w"
    if "encoder.styles.0.linear.weight" not in state:
        raise CheckpointError("the file contains no known encoder (no tensors called encoder.styles.*)")
    if "encoder.latlayer1.weight" not in state:
        return "restyle_e4e" if deltas else "restyle"
    return "e4e" if deltas else "gradual"


def encoder_config(name: str, state: Mapping[str, Tensor], num_ws: int, img_channels: int, options: Options) -> Config:
    """Read the settings of our encoder `name` from the tensors `encoder.*`.

    Args:
        name: A registered encoder.
        state: The tensors of the file.
        num_ws: Rows that the generator takes; further heads are not counted (`without_extra_heads`).
        img_channels: Channels of the generator's images.
        options: The options in the file.

    Raises:
        CheckpointError: The tensors cannot be those of such an encoder.
    """
    try:
        if name == "w":
            return {"num_ws": num_ws, "w_dim": len(state["encoder.linear.bias"]), **_trunk(state), **_whole_size()}
        if name == "w_plus_naive":
            rows = len(state["encoder.linear.bias"])
            return {"num_ws": num_ws, "w_dim": rows // num_ws, **_trunk(state), **_whole_size()}
        trunk = _resnet(state) if "resnet" in name else _trunk(state)
        config = {**trunk, **_heads(state, num_ws)}
        if is_iterative(name):
            passes = options.get(RESTYLE_OPTION)
            config["input_channels"] -= img_channels
            config["img_channels"] = img_channels
            config["iterations"] = passes if type(passes) is int and passes > 0 else ITERATIONS
        return config
    except KeyError as error:
        raise CheckpointError(f"the encoder is incomplete: {error.args[0]} is missing") from error
    except (IndexError, TypeError, ValueError) as error:  # a tensor has another number of dimensions
        raise CheckpointError("the encoder has tensors of other shapes than a published one") from error


def _whole_size() -> Config:
    return {"input_size": PUBLISHED_SIZE}


def _trunk(state: Mapping[str, Tensor]) -> Config:
    blocks = count(state, "encoder.body")
    depth = next((depth for depth, units in UNITS.items() if sum(units) == blocks), None)
    if depth is None:
        allowed = ", ".join(str(sum(units)) for units in UNITS.values())
        raise CheckpointError(f"the trunk of a pSp encoder has {allowed} residual units, but this one has {blocks}")
    return {
        "input_channels": state["encoder.input_layer.0.weight"].shape[1],
        "depth": depth,
        "widths": _widths(state, UNITS[depth], "res_layer.3.weight"),
    }


def _resnet(state: Mapping[str, Tensor]) -> Config:
    blocks = count(state, "encoder.body")
    if blocks != sum(RESNET34_UNITS):
        raise CheckpointError(f"a ResNet-34 has {sum(RESNET34_UNITS)} residual units, but this one has {blocks}")
    return {
        "input_channels": state["encoder.conv1.weight"].shape[1],
        "widths": _widths(state, RESNET34_UNITS, "conv2.weight"),
    }


def _widths(state: Mapping[str, Tensor], units: tuple[int, ...], last: str) -> list[int]:
    """Read the channels of the stages from the last convolution of each."""
    return [state[f"encoder.body.{end - 1}.{last}"].shape[0] for end in accumulate(units)]


def _heads(state: Mapping[str, Tensor], num_ws: int) -> Config:
    halvings = sum(key.startswith("encoder.styles.0.convs.") and key.endswith(".weight") for key in state)
    w_dim, head_width = state["encoder.styles.0.linear.weight"].shape
    return {
        "num_ws": min(count(state, "encoder.styles"), num_ws),
        "w_dim": w_dim,
        "input_size": STRIDES[0] << halvings,
        "head_width": head_width,
    }


def without_extra_heads(state: Mapping[str, Tensor], num_ws: int) -> dict[str, Tensor]:
    """Remove the heads beyond num_ws: the first e4e files for cars have 18 heads for a generator of 16 rows."""
    extra = tuple(f"encoder.styles.{row}." for row in range(num_ws, count(state, "encoder.styles")))
    return {key: value for key, value in state.items() if not (extra and key.startswith(extra))}
