"""Read generators of NVIDIA's stylegan2-ada-pytorch, and of stylegan3 with --cfg=stylegan2 (.pkl)."""

import re
from collections.abc import Mapping

from torch import Tensor

from stylegan2.convert import envelope, layout
from stylegan2.convert.layout import Stored
from stylegan2.convert.safe import StoredModule
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.checkpoint import Metadata
from stylegan2.runtime.errors import CheckpointError
from stylegan2.runtime.registry import Config

SOURCE = "nvidia"
LAYER = ("weight", "bias", "affine.weight", "affine.bias", "noise_strength", "noise_const")
TO_RGB = ("weight", "bias", "affine.weight", "affine.bias")
CONST = "synthesis.b4.const"
EMBEDDING = "mapping.embed.weight"
DEEPEST = 8  # modules within modules; a generator has 4 levels
MAX_MODULES = 10_000  # a generator of 1024 px has 60; a hostile file can repeat one module in a few bytes
LARGEST_SETTING = 1e6
LR_MULTIPLIER = 0.01
BARE_NOTE = (
    f"the file contains only tensors, so its layers are not clamped, and lr_multiplier of its "
    f"mapping is {LR_MULTIPLIER}"
)


def extract(content: object) -> Stored:
    """Take `G_ema` from a network pickle, as `read_persistence_pickle` reads it.

    Raises:
        CheckpointError: The pickle has no `G_ema`.
    """
    stored = content.get("G_ema", content.get("G")) if isinstance(content, dict) else content
    if not isinstance(stored, StoredModule):
        raise CheckpointError("it is a pickle without a generator 'G_ema' of NVIDIA's PyTorch projects")
    tensors, settings = flatten(stored)
    settings["conv_clamp"] = settings.get(
        "synthesis.b4.conv1.conv_clamp", _synthesis_arguments(stored).get("conv_clamp")
    )
    settings["mapping_lr_multiplier"] = settings.get("mapping.fc0.bias_gain", LR_MULTIPLIER)
    return Stored(SOURCE, tensors, settings)


def trained(content: object) -> Stored | None:
    """Find the trained generator that a pickle may contain besides `G_ema`; None if there is none."""
    if not isinstance(content, dict) or not isinstance(content.get("G"), StoredModule) or "G_ema" not in content:
        return None
    return extract({"G": content["G"]})


def extract_tensors(content: object) -> Stored | None:
    """Find the tensors of an NVIDIA generator in a PyTorch file, however they are wrapped; None if there are none."""
    networks = envelope.unwrap(content, CONST)
    if not networks:
        return None
    return Stored(
        SOURCE, networks[0].tensors, {"conv_clamp": None, "mapping_lr_multiplier": LR_MULTIPLIER, "bare": True}
    )


def build(stored: Stored) -> tuple[Generator, list[str]]:
    """Return the generator, and one sentence for each thing that the file lacks and that was filled in."""
    tensors, settings = stored.tensors, stored.settings
    if reason := unsupported(stored):
        raise CheckpointError(reason)
    notes = [] if layout.W_AVG in tensors else [layout.W_AVG_NOTE]
    notes += [BARE_NOTE] if settings.get("bare") else []
    return from_nvidia(tensors, settings["conv_clamp"], settings["mapping_lr_multiplier"]), notes


def describe(stored: Stored) -> layout.Description:
    """Describe the generator of a file, also a damaged one, without building it."""
    state, settings = stored.tensors, stored.settings
    resolutions = layout.numbers(state, r"synthesis\.b(\d+)\.")
    blocks = max((resolution.bit_length() - 3 for resolution in resolutions), default=0)
    depth = len(layout.numbers(state, r"mapping\.fc(\d+)\."))
    architecture, classes = _architecture(state), layout.size(state, EMBEDDING, 1)
    names = tensor_names(blocks, max(1, depth), architecture, bool(classes))
    wanted = [name for name in names.values() if ".noise_" not in name or any(".noise_" in other for other in state)]
    filters = [name for name in state if name.endswith("resample_filter")]
    w_dim, inputs = (layout.size(state, "mapping.fc0.weight", dim) for dim in (0, 1))
    widths = {4 * 2**k: layout.size(state, f"synthesis.b{4 * 2**k}.conv1.bias", 0) for k in range(blocks + 1)}
    remarks = [f"architecture: {architecture}, conv_clamp {settings['conv_clamp']}"]
    remarks += [f"classes: {classes}"] if classes else []
    remarks += [] if layout.W_AVG in state else [layout.W_AVG_LACKING]
    reason = unsupported(stored)
    return layout.Description(
        widths,
        2 * blocks + 2,
        depth,
        inputs - w_dim if classes and inputs is not None and w_dim is not None else inputs,
        w_dim,
        layout.size(state, f"synthesis.b{4 * 2**blocks}.torgb.bias", 0),
        *layout.gaps(state, wanted, [*filters, layout.W_AVG]),
        [f"not read: {reason}"] if reason else remarks,
    )


def flatten(stored: StoredModule) -> tuple[dict[str, Tensor], Metadata]:
    """Return the parameters and buffers of a module and its children, and their plain attributes.

    Returns:
        {"a.b.name": tensor} and {"a.b.name": number, text or None}.

    Raises:
        CheckpointError: The module is damaged, or has more modules than any generator.
    """
    tensors: dict[str, Tensor] = {}
    settings: Metadata = {}
    waiting: list[tuple[object, str, int]] = [(stored, "", 0)]
    for module, prefix, depth in waiting:
        if not isinstance(module, StoredModule) or depth > DEEPEST:
            raise CheckpointError(f"{prefix or 'G_ema'!r} is not a module as NVIDIA's projects store it")
        for kind in ("_parameters", "_buffers"):
            for name, value in _dict(module, kind).items():
                if isinstance(value, Tensor):
                    tensors[f"{prefix}{name}"] = value
        for name, value in module.state.items():
            if isinstance(value, str) or value is None or (isinstance(value, int | float) and abs(value) < 2**63):
                settings[f"{prefix}{name}"] = value
        waiting += [(child, f"{prefix}{name}.", depth + 1) for name, child in _dict(module, "_modules").items()]
        if max(len(waiting), len(tensors), len(settings) // 10) > MAX_MODULES:
            raise CheckpointError("it has more modules than any known generator")
    return tensors, settings


def from_nvidia(
    state: Mapping[str, Tensor], conv_clamp: float | None = None, mapping_lr_multiplier: float = LR_MULTIPLIER
) -> Generator:
    """Build a generator from the state dict of an NVIDIA generator; sizes and architecture follow from the tensors.

    Args:
        state: The tensors by name. A missing mean of W is estimated with a fixed seed, and a network without noise
            (`use_noise=False`) gets noise of strength 0.
        conv_clamp: The bound on each layer's output, which the tensors do not tell.
        mapping_lr_multiplier: The mapping network's multiplier, which the tensors do not tell either.

    Raises:
        CheckpointError: Tensors are missing, unknown or of another shape.
    """
    state = dict(state)
    if CONST not in state:
        raise CheckpointError(f"it is not a StyleGAN2 generator: {CONST!r} is missing")
    blocks = _blocks(state)
    mapping_layers = max(1, layout.count_numbered(state, "mapping.fc{}.weight"))
    architecture = _architecture(state)
    names = tensor_names(blocks, mapping_layers, architecture, EMBEDDING in state)
    if layout.W_AVG in state:
        names[layout.W_AVG] = layout.W_AVG
    if not any(".noise_" in name for name in state):
        state |= _no_noise(blocks)
    filters = [name for name in state if name.endswith("resample_filter")]
    layout.check_names(state, names.values(), filters)
    layout.check_filters(state, filters, gain=1.0)
    config = _config(state, blocks, mapping_layers) | {
        "architecture": architecture,
        "conv_clamp": _positive("conv_clamp", conv_clamp, optional=True),
        "mapping_lr_multiplier": _positive("mapping_lr_multiplier", mapping_lr_multiplier),
    }
    return layout.build(config, names, state)


def tensor_names(blocks: int, mapping_layers: int, architecture: str, conditional: bool = False) -> dict[str, str]:
    """Return {our name: NVIDIA's name} for a generator of resolution 4 * 2^blocks, without the mean of W."""
    names = {"synthesis.const": CONST}
    if conditional:
        names |= {f"mapping.embedding.linear.{part}": f"mapping.embed.{part}" for part in ("weight", "bias")}
    for i in range(mapping_layers):
        for part in ("weight", "bias"):
            names[f"mapping.layers.{i}.{part}"] = f"mapping.fc{i}.{part}"
    for k in range(2 * blocks + 1):
        names |= {f"synthesis.layers.{k}.{part}": f"{_layer(k)}.{part}" for part in LAYER}
    outputs = range(blocks + 1) if architecture == "skip" else [blocks]
    for j, block in enumerate(outputs):
        theirs = f"synthesis.b{4 * 2**block}.torgb"
        names |= {f"synthesis.to_rgbs.{j}.{part}": f"{theirs}.{part}" for part in TO_RGB}
    if architecture == "residual":
        names |= {f"synthesis.skips.{j}.weight": f"synthesis.b{8 * 2**j}.skip.weight" for j in range(blocks)}
    return names


def _layer(k: int) -> str:
    """Return NVIDIA's name of layer k: layer 0 is b4.conv1; each later block has an upsampling conv0 and a conv1."""
    return f"synthesis.b{4 * 2 ** ((k + 1) // 2)}.conv{0 if k % 2 else 1}"


def _no_noise(blocks: int) -> dict[str, Tensor]:
    maps = enumerate(layout.seeded_noise(2 * blocks + 1))
    return {
        f"{_layer(k)}.{part}": tensor
        for k, noise in maps
        for part, tensor in (("noise_const", noise), ("noise_strength", noise.new_zeros([])))
    }


def _blocks(state: Mapping[str, Tensor]) -> int:
    """Return how often the resolution doubles from 4."""
    blocks = 0
    while f"synthesis.b{8 * 2**blocks}.conv0.weight" in state:
        blocks += 1
    return blocks


def _architecture(state: Mapping[str, Tensor]) -> str:
    """Return the architecture, which the names show: 1x1 skips in the blocks, or a ToRGB in the first block."""
    if "synthesis.b8.skip.weight" in state:
        return "residual"
    return "skip" if "synthesis.b4.torgb.weight" in state else "plain"


def _config(state: Mapping[str, Tensor], blocks: int, mapping_layers: int) -> Config:
    resolutions = [4 * 2**block for block in range(blocks + 1)]
    widths = {r: state[f"synthesis.b{r}.conv1.bias"].numel() for r in resolutions}
    w_dim, inputs = layout.matrix(state, "mapping.fc0.weight")
    conditional = EMBEDDING in state  # then the label's embedding, as wide as w, is concatenated with z
    return {
        "img_resolution": resolutions[-1],
        "img_channels": state[f"synthesis.b{resolutions[-1]}.torgb.bias"].numel(),
        "z_dim": inputs - w_dim if conditional else inputs,
        "w_dim": w_dim,
        "mapping_layers": mapping_layers,
        "num_classes": layout.matrix(state, EMBEDDING)[1] if conditional else 0,
        **layout.channel_settings(widths),
    }


def unsupported(stored: Stored) -> str | None:
    """Return a sentence on why a network in the same container is not supported, or None if it is supported."""
    if any(name.startswith("synthesis.input.") for name in stored.tensors):
        return "it is a StyleGAN3 generator (stylegan3-t or -r); of NVIDIA's generators, only StyleGAN2 is supported"
    if stored.settings.get("c_dim") and EMBEDDING not in stored.tensors:
        return "it is a class-conditional generator (c_dim > 0) without an embedding of its classes"
    for name, value in stored.settings.items():
        if re.fullmatch(r"(mapping\.fc\d+|synthesis\.b\d+\.conv[01])\.activation", name) and value != "lrelu":
            return f"the activation of its layers is {value!r}; only 'lrelu' is supported"
    return None


def _synthesis_arguments(stored: StoredModule) -> Metadata:
    """Return the synthesis network's arguments: stylegan2-ada nests them in `synthesis_kwargs`, stylegan3 does not."""
    arguments = _dict(stored, "_init_kwargs")
    nested = arguments.get("synthesis_kwargs")
    return nested if isinstance(nested, dict) else arguments


def _dict(module: StoredModule, name: str) -> Metadata:
    value = module.state.get(name)
    return value if isinstance(value, dict) else {}


def _positive(name: str, value: object, optional: bool = False) -> float | None:
    if value is None and optional:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LARGEST_SETTING:
        raise CheckpointError(f"its {name} is {str(value)[:50]}, which is not a positive number")
    return float(value)
