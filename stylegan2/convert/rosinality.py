"""Read and write generators of rosinality/stylegan2-pytorch (.pt), the layout of most published pSp-family models."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from stylegan2 import ops
from stylegan2.convert import envelope, layout
from stylegan2.convert.layout import Stored
from stylegan2.networks import protocols
from stylegan2.networks.sizes import feature_maps, resolutions
from stylegan2.networks.stylegan2 import Generator
from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.registry import Config, built_as

SOURCE = "rosinality"
LR_MULTIPLIER = 0.01  # the mapping network's; that project has no other
LAYER = {
    "weight": "conv.weight",
    "affine.weight": "conv.modulation.weight",
    "affine.bias": "conv.modulation.bias",
    "noise_strength": "noise.weight",
    "bias": "activate.bias",
}
TO_RGB = {
    "weight": "conv.weight",
    "affine.weight": "conv.modulation.weight",
    "affine.bias": "conv.modulation.bias",
    "bias": "bias",
}
FILTERS = (".blur.kernel", ".upsample.kernel")
# Every generator has each of these tensors, and no other network has one; a damaged file may lack some.
ANCHORS = ("input.input", "conv1.conv.modulation.weight", "to_rgb1.conv.modulation.weight", "style.1.weight")
W_AVG = "latent_avg"
RGB_BIAS = re.compile(r"to_rgb(1|s\.\d+)\.bias")


def extract(content: object) -> Stored:
    """Find the generator in a file {g_ema, latent_avg}, {g, d, g_ema, args, ...} or any other wrapping of its tensors.

    Averaged weights are preferred; if there are none, a note says so.

    Args:
        content: The content of the file, as `read_torch` returns it.

    Raises:
        CheckpointError: The file holds no such generator, or it holds an encoder too.
    """
    if not isinstance(content, dict):
        raise CheckpointError(f"it contains a {type(content).__name__}, not a checkpoint")
    networks = next(filter(None, (envelope.unwrap(content, anchor) for anchor in ANCHORS)), [])
    if any(wrapped.place.endswith("decoder.") for wrapped in networks) or {"state_dict", "opts"} <= content.keys():
        raise CheckpointError("it also contains an encoder (pSp's layout), but a file of a generator was expected")
    if not networks and isinstance(content.get("g_ema"), dict):
        networks = [envelope.Wrapped("g_ema", {k: v for k, v in content["g_ema"].items() if isinstance(v, Tensor)})]
    if not networks:
        names = ", ".join(repr(str(key)[:40]) for key in list(content)[:5])
        raise CheckpointError(f"it contains no generator 'g_ema', only {names or 'nothing'}")
    state = dict(networks[0].tensors)
    own = next((state.pop(name) for name in envelope.MEANS if name in state), None)
    mean = envelope.stored_w_avg(content) if own is None else own
    settings = {"place": networks[0].place} if networks[0].place and not networks[0].averaged else {}
    return Stored(SOURCE, state if mean is None else {**state, W_AVG: mean.reshape(-1, mean.shape[-1])[0]}, settings)


def trained(content: object) -> Stored | None:
    """Find the trained generator in a file that also has the averaged one; None if the file has no trained one."""
    networks = next(filter(None, (envelope.unwrap(content, anchor) for anchor in ANCHORS)), [])
    if len(networks) < 2 or not networks[0].averaged or networks[1].averaged:
        return None
    mean = envelope.stored_w_avg(content)
    state = {name: tensor for name, tensor in networks[1].tensors.items() if name not in envelope.MEANS}
    return Stored(SOURCE, state if mean is None else {**state, W_AVG: mean.reshape(-1, mean.shape[-1])[0]}, {})


def build(stored: Stored) -> tuple[protocols.Generator, list[str]]:
    """Return the generator, and one sentence for each thing that the file lacks and that was filled in."""
    state = dict(stored.tensors)
    latent_avg = state.pop(W_AVG, None)
    notes = [layout.W_AVG_NOTE] if latent_avg is None else []
    notes += [] if "noises.noise_0" in state else [layout.NOISE_NOTE]
    if "place" in stored.settings:
        notes.append(
            f"the file contains no averaged weights; those of {stored.settings['place'].rstrip('.')!r} were used"
        )
    return from_rosinality(state, latent_avg), notes


def describe(stored: Stored) -> layout.Description:
    """Describe the generator of a file, also a damaged one, without building it."""
    state = stored.tensors
    blocks, depth = layout.count(state, "to_rgbs"), layout.count(state, "style")
    names = {name: f"{name}.activate.bias" for name in ["conv1", *(f"convs.{2 * j}" for j in range(blocks))]}
    widths = {4 * 2**j: layout.size(state, bias, 0) for j, bias in enumerate(names.values())}
    wanted = list(tensor_names(blocks, max(1, depth)).values())
    remarks = [] if W_AVG in state else [layout.W_AVG_LACKING]
    if not any(name.startswith("noises.") for name in state):
        wanted = [name for name in wanted if not name.startswith("noises.")]
        remarks.append(layout.NOISE_LACKING)
    ignored = [W_AVG, *(name for name in state if name.endswith(FILTERS))]
    return layout.Description(
        widths,
        2 * blocks + 2,
        depth,
        layout.size(state, "style.1.weight", 1),
        layout.size(state, "style.1.weight", 0),
        layout.size(state, "to_rgb1.bias", 1),
        *layout.gaps(state, wanted, ignored),
        remarks,
    )


def from_rosinality(state: Mapping[str, Tensor], latent_avg: Tensor | None = None) -> protocols.Generator:
    """Build a generator from a `g_ema` state dict; every size is read from the tensors.

    Args:
        state: The tensors by name, without a prefix. The noise maps that very old files lack (`noises.*`) are drawn
            with a fixed seed.
        latent_avg: [w_dim] or [1, w_dim], the mean of W; None to estimate it with a fixed seed.

    Raises:
        CheckpointError: Tensors are missing, unknown or of another shape.
    """
    state = dict(state)
    blocks = layout.count_numbered(state, "convs.{}.conv.weight") // 2
    mapping_layers = max(1, layout.count_numbered(state, "style.{}.weight", first=1))
    names = tensor_names(blocks, mapping_layers)
    if latent_avg is not None:
        state[W_AVG] = latent_avg
        names[layout.W_AVG] = W_AVG
    if not any(name.startswith("noises.") for name in state):
        state |= {f"noises.noise_{k}": noise for k, noise in enumerate(layout.seeded_noise(2 * blocks + 1))}
    filters = [name for name in state if name.endswith(FILTERS)]
    layout.check_names(state, names.values(), filters)
    layout.check_filters(state, filters, gain=4.0)
    return layout.build(_config(state, blocks, mapping_layers), names, state)


def to_rosinality(generator: protocols.Generator) -> dict[str, Tensor]:
    """Return the `g_ema` of a generator, with the resampling filters: the inverse of `from_rosinality`.

    A learning-rate multiplier of the mapping network other than 0.01 is folded into its tensors.

    Raises:
        UserError: The generator has something that this layout has no place for.
    """
    if not isinstance(generator, Generator) or export_problems(generator):
        reasons = "; ".join(export_problems(generator))
        raise UserError(f"this generator cannot be written in rosinality's layout: {reasons}")
    own = generator.state_dict()
    blocks = len(generator.synthesis.to_rgbs) - 1
    state = {}
    for ours, theirs in tensor_names(blocks, len(generator.mapping.layers)).items():
        state[theirs] = own[ours].detach().clone().reshape(_shape(theirs, own[ours]))
        if ours.startswith("mapping."):
            state[theirs] *= built_as(generator)["mapping_lr_multiplier"] / LR_MULTIPLIER
    kernel = ops.fir_kernel(1, 4.0, torch.empty(0))[0, 0]  # [4, 4]
    for j in range(blocks):
        state[f"convs.{2 * j}.conv.blur.kernel"] = kernel.clone()
        state[f"to_rgbs.{j}.upsample.kernel"] = kernel.clone()
    return state


def store(generator: protocols.Generator) -> Stored:
    """Return a generator and its mean of W as a file of that layout holds them. UserError: as in `to_rosinality`."""
    return Stored(SOURCE, {**to_rosinality(generator), W_AVG: generator.w_avg.detach().clone()}, {})


def file_content(stored: Stored) -> dict[str, object]:
    """Return the content that `torch.save` writes for that project's code."""
    return {"g_ema": {k: v for k, v in stored.tensors.items() if k != W_AVG}, W_AVG: stored.tensors[W_AVG]}


def export_problems(generator: protocols.Generator) -> list[str]:
    """List what a generator has that rosinality's layout has no place for; empty if it can be written."""
    if not isinstance(generator, Generator):
        return [f"it is a {built_as(generator)['name']} generator, not a stylegan2 one"]
    architecture = built_as(generator)["architecture"]
    problems = [] if architecture == "skip" else [f"its architecture is {architecture}, not skip"]
    return problems + (["it is conditioned on classes"] if generator.num_classes else [])


def differences(generator: protocols.Generator) -> list[str]:
    """List, one sentence each, what the layout holds but rosinality's own code cannot build without changes."""
    sizes = resolutions(generator.img_resolution)
    config = built_as(generator)
    widths = [feature_maps(size, config["channel_base"], config["channel_max"]) for size in sizes]
    sentences = []
    if not any(widths == [published_width(size, multiplier) for size in sizes] for multiplier in (1, 2)):
        table = ", ".join(f"{size}: {width}" for size, width in zip(sizes, widths, strict=True))
        sentences.append(f"that project's code has other widths: change its table of channels to {{{table}}}")
    if generator.z_dim != generator.w_dim:
        sentences.append(f"that project's code needs z as large as w, but here z has {generator.z_dim} numbers")
    if generator.img_channels != 3:
        sentences.append(f"that project's code needs images of 3 channels, but these have {generator.img_channels}")
    if config["conv_clamp"] is not None:
        sentences.append(
            f"that project's code does not clamp its layers, but this generator does, at {config['conv_clamp']}"
        )
    return sentences


def published_width(resolution: int, multiplier: int) -> int:
    """Return the channels in rosinality's code at a resolution: 512 up to 32 px, for any multiplier."""
    return 512 if resolution <= 32 else multiplier * 16384 // resolution


def _shape(theirs: str, tensor: Tensor) -> tuple[int, ...]:
    """Return the shape of one of our tensors in that layout, which adds dimensions of size 1."""
    if theirs.endswith("conv.weight"):
        return 1, *tensor.shape  # [1, O, I, k, k]
    if theirs.endswith("noise.weight"):
        return (1,)
    if RGB_BIAS.fullmatch(theirs):
        return 1, -1, 1, 1
    return (1, 1, *tensor.shape) if theirs.startswith("noises.") else tuple(tensor.shape)


def tensor_names(blocks: int, mapping_layers: int) -> dict[str, str]:
    """Return {our name: rosinality's name} for a generator of resolution 4 * 2^blocks, without the mean of W."""
    names = {"synthesis.const": "input.input"}
    for i in range(mapping_layers):
        for part in ("weight", "bias"):
            names[f"mapping.layers.{i}.{part}"] = f"style.{i + 1}.{part}"
    for k in range(2 * blocks + 1):
        theirs = f"convs.{k - 1}" if k else "conv1"
        names |= {f"synthesis.layers.{k}.{ours}": f"{theirs}.{part}" for ours, part in LAYER.items()}
        names[f"synthesis.layers.{k}.noise_const"] = f"noises.noise_{k}"
    for j in range(blocks + 1):
        theirs = f"to_rgbs.{j - 1}" if j else "to_rgb1"
        names |= {f"synthesis.to_rgbs.{j}.{ours}": f"{theirs}.{part}" for ours, part in TO_RGB.items()}
    return names


def _config(state: Mapping[str, Tensor], blocks: int, mapping_layers: int) -> Config:
    w_dim, z_dim = layout.matrix(state, "style.1.weight")
    widths = {4: state["conv1.activate.bias"].numel()}
    widths |= {8 * 2**j: state[f"convs.{2 * j}.activate.bias"].numel() for j in range(blocks)}
    return {
        "img_resolution": max(widths),
        "img_channels": state["to_rgb1.bias"].numel(),
        "z_dim": z_dim,
        "w_dim": w_dim,
        "mapping_layers": mapping_layers,
        **layout.channel_settings(widths),
    }
