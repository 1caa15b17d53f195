"""Write our models in the layout of the published code: {"state_dict": tensors, "opts": dict, "latent_avg": tensor}."""

from psp.convert import layout
from psp.model import PSp
from stylegan2.convert.rosinality import to_rosinality
from stylegan2.networks.sizes import feature_maps, resolutions
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.registry import Config, built_as
from stylegan2.runtime.tensors import module_tensors

# The published code always builds these, regardless of the file.
ENCODER = {
    "depth": 50,
    "units": None,
    "slope": None,
    "head_width": 512,
    "head_slope": 0.01,
    "w_dim": 512,
    "input_size": 256,
}
WIDTHS = [64, 128, 256, 512]
GENERATOR = {
    "architecture": "skip",
    "z_dim": 512,
    "w_dim": 512,
    "mapping_layers": 8,
    "mapping_lr_multiplier": 0.01,
    "conv_clamp": None,
    "img_channels": 3,
}
CHANNELS = (32768, 512)  # channel_base and channel_max of a channel multiplier of 2


def to_official(model: PSp, task: str = "inversion") -> dict[str, object]:
    """Return the content of a file for the published code; `export_problems` tells whether it can build the model.

    Args:
        model: The model, whose tensors are shared where their shapes are the same.
        task: Our task, which determines the published dataset type.

    Raises:
        UserError: The encoder or the generator has no counterpart there.
    """
    name = registered_name(model)
    if name not in layout.TYPES or built_as(model.generator).get("architecture") != "skip":
        raise UserError(f"there is no published layout for this model: {'; '.join(export_problems(model))}")
    state = module_tensors("encoder", model.encoder)
    state |= {f"decoder.{key}": value for key, value in to_rosinality(model.generator).items()}
    average = model.latent_avg[:1] if name == "w" else model.latent_avg  # [1 or num_ws, w_dim]
    return {"state_dict": state, "opts": published_options(model, task), "latent_avg": average.detach().clone()}


def published_options(model: PSp, task: str) -> dict[str, object]:
    """Return the options that the published inference scripts read from a file."""
    name, encoder, resolution = registered_name(model), model.encoder, model.generator.img_resolution
    channels = encoder.input_channels
    options = {
        "encoder_type": layout.TYPES[name],
        "dataset_type": "cars_encode" if encoder.aspect != 1.0 else layout.DATASETS.get(task, "ffhq_encode"),
        "start_from_latent_avg": True,
        "learn_in_w": name == "w",
        "output_size": resolution,
        "n_styles": encoder.num_ws,
        "input_nc": channels + getattr(encoder, "img_channels", 0),
        "label_nc": 0 if channels == model.generator.img_channels else channels,
        "resize_factors": None,
        "train_decoder": False,
        "device": "cuda:0",
    }
    if name == "e4e":
        options["stylegan_size"] = resolution
    if layout.is_iterative(name):
        options[layout.RESTYLE_OPTION] = encoder.iterations
    return options


def export_problems(model: PSp) -> list[str]:
    """List the reasons why the published code cannot build this model; the list is empty if it can."""
    name, encoder, generator = registered_name(model), model.encoder, model.generator
    if name not in layout.TYPES:
        return [f"its encoder {name} was never published (known: {', '.join(layout.TYPES)})"]
    settings = built_as(encoder)
    expected = {key: value for key, value in ENCODER.items() if key != "units" or "depth" in settings}
    problems = _differences(settings, expected, "encoder") + _differences(built_as(generator), GENERATOR, "generator")
    if list(settings["widths"]) != WIDTHS:
        problems.append(f"the encoder's widths are {list(settings['widths'])}, not {WIDTHS}")
    sizes = resolutions(generator.img_resolution)
    base, most = (built_as(generator).get(key, 0) for key in ("channel_base", "channel_max"))
    if any(feature_maps(size, base, most) != feature_maps(size, *CHANNELS) for size in sizes):
        problems.append(
            f"the generator has channel_base {base} and channel_max {most}, not {CHANNELS[0]} and {CHANNELS[1]}"
        )
    if name == "w" and bool((model.latent_avg != model.latent_avg[:1]).any()):
        problems.append("the rows of its latent average differ")
    return problems


def registered_name(model: PSp) -> str:
    return built_as(model.encoder)["name"]


def _differences(config: Config, expected: Config, part: str) -> list[str]:
    return [
        f"the {part}'s {key} is {config[key]}, not {value}"
        for key, value in expected.items()
        if key in config and config[key] != value
    ]
