"""What is in a checkpoint: its format, the sizes of its networks, and what it lacks. Reads damaged models too."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from psp.convert import layout
from psp.convert.official import DECODER, parts
from psp.encoders import ENCODERS
from stylegan2 import convert
from stylegan2.convert.rosinality import FILTERS, tensor_names
from stylegan2.convert.safe import read_torch
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import UserError

SHOWN = 5  # names that a line lists


def inspect(path: str | Path) -> list[str]:
    """Lines such as "generator: 1024 px, ..." about any file that this package reads.

    UserError: there is no such file; CheckpointError: it is none of these formats, or damaged as a whole.
    """
    kind = convert.recognise(path)
    if kind == convert.OURS:
        return _ours(path)
    if kind == "nvidia":
        generator, _ = convert.load_foreign(path)
        return ["format: NVIDIA pickle of a StyleGAN2 generator", f"generator: {_settings(generator.config)}"]
    content = read_torch(path)
    if isinstance(content, dict) and "state_dict" in content:
        return _published(content)
    if isinstance(content, dict) and isinstance(content.get("g_ema"), dict):
        return ["format: StyleGAN2 generator (rosinality)", *_generator(content["g_ema"]), _average(content)]
    if isinstance(content, dict) and "input_layer.0.weight" in content:
        return [f"format: ArcFace IR-SE network of {len(content)} tensors (for --trunk_weights and the identity loss)"]
    names = [str(name) for name in content] if isinstance(content, dict) else []
    return [f"format: a PyTorch file of no kind known here ({type(content).__name__}: {_listed(names)})"]


def _ours(path: str | Path) -> list[str]:
    tensors, metadata = checkpoint.read(path)
    lines = [f"format: checkpoint of this package, {metadata.get('kind')}"]
    lines += [f"{part}: {_settings(metadata[part])}" for part in ("encoder", "generator") if part in metadata]
    step = {key: metadata[key] for key in ("task", "cur_step", "cur_nimg") if key in metadata}
    lines += [f"training: {_settings(step)}"] * bool(step)
    return [*lines, _amount(tensors)]


def _published(content: dict[str, Any]) -> list[str]:
    state, _, options = parts(content)
    lines = []
    try:
        name = layout.encoder_name(state, options)
        lines.append(f"format: {layout.project(name)}, encoder_type {options.get('encoder_type', 'not said')}")
        lines += _encoder(name, state, options)
    except UserError as error:
        lines.append(f"encoder: {error}")
    lines += _generator({key.removeprefix(DECODER): value for key, value in state.items() if key.startswith(DECODER)})
    lines.append(_average(content))
    said = {
        key: options[key] for key in ("dataset_type", "start_from_latent_avg", layout.RESTYLE_OPTION) if key in options
    }
    further = [key for key in content if key not in ("state_dict", "opts", "latent_avg")]
    lines.append(f"options: {_settings(said) or 'none'}")
    lines += [f"beside the model: {', '.join(map(str, further))}"] * bool(further)
    return [*lines, _amount(state)]


def _encoder(name: str, state: Mapping[str, Tensor], options: dict[str, Any]) -> list[str]:
    """The sizes of the encoder and what its class lacks or does not know."""
    rows = 2 * layout.count(state, f"{DECODER}to_rgbs") + 2
    config = layout.encoder_config(name, state, rows, 3, options)
    with torch.device("meta"):
        wanted = ENCODERS[name](**config).state_dict()
    used = layout.without_extra_heads(state, rows)
    found = {key.removeprefix("encoder."): value for key, value in used.items() if key.startswith("encoder.")}
    lines = [f"encoder: {name}, {_settings(config)}"]
    if (heads := layout.count(state, "encoder.styles")) > rows:
        lines.append(f"encoder: of its {heads} heads the generator uses the first {rows}")
    other = [key for key in wanted if key in found and wanted[key].shape != found[key].shape]
    return lines + _gaps("encoder", wanted, found) + [f"encoder: of another shape: {_listed(other)}"] * bool(other)


def _generator(state: Mapping[str, Tensor]) -> list[str]:
    """The sizes of a generator in rosinality's layout and what is missing or left over."""
    if not state:
        return ["generator: none"]
    blocks, depth = layout.count(state, "to_rgbs"), layout.count(state, "style")
    outputs = ["conv1", *(f"convs.{2 * j}" for j in range(blocks))]
    biases = [state.get(f"{name}.activate.bias") for name in outputs]
    widths = {4 * 2**j: "?" if bias is None else len(bias) for j, bias in enumerate(biases)}
    style = state.get("style.1.weight")
    sizes = "?" if style is None else f"z {style.shape[1]}, w {style.shape[0]}"
    lines = [
        f"generator: {4 * 2**blocks} px, {2 * blocks + 2} rows, mapping of {depth} layers, {sizes}",
        "generator: widths " + ", ".join(f"{size}: {width}" for size, width in widths.items()),
    ]
    known = {name for name in state if name.endswith(FILTERS)}
    wanted = dict.fromkeys(tensor_names(blocks, max(1, depth)).values())
    return lines + _gaps("generator", wanted, {name: None for name in state if name not in known})


def _gaps(part: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    missing, extra = [key for key in wanted if key not in found], [key for key in found if key not in wanted]
    return [
        f"{part}: {len(names)} tensors {kind}: {_listed(names)}"
        for kind, names in (("missing", missing), ("left over", extra))
        if names
    ] or [f"{part}: no tensor missing or left over"]


def _average(content: dict[str, Any]) -> str:
    average = content.get("latent_avg")
    if isinstance(average, Tensor):
        return f"latent_avg: {list(average.shape)}"
    return "latent_avg: not in the file; it is estimated from the mapping network when the file is read"


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _amount(state: Mapping[str, Tensor]) -> str:
    return f"tensors: {len(state)}, {sum(value.numel() for value in state.values()) / 1e6:.1f} million numbers"
