"""Files of other projects, synthesised from the published layouts, and naive forward passes in their own terms."""

import itertools
import math
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
KERNEL = torch.outer(TAPS, TAPS)
SMALL = {4: 12, 8: 12, 16: 8, 32: 4}
STYLE_DIM = 16


# rosinality


def paper_widths(resolution: int, multiplier: int, divisor: int = 1) -> dict[int, int]:
    """512 up to 32 px, then 256, 128, ... times the multiplier; `divisor` narrows every width alike."""
    full = {r: 512 if r <= 32 else multiplier * 16384 // r for r in (4, 8, 16, 32, 64, 128, 256, 512, 1024)}
    return {r: width // divisor for r, width in full.items() if r <= resolution}


def rosinality_state(
    widths: dict[int, int] = SMALL, mapping_layers: int = 8, style_dim: int = STYLE_DIM, channels: int = 3
) -> dict[str, Tensor]:
    """Names and shapes of a `g_ema`; every value random, so that no swapped tensor goes unnoticed."""
    source = torch.Generator().manual_seed(len(widths) + mapping_layers)

    def rand(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=source)

    def modulated(name: str, out: int, width: int, kernel: int) -> dict[str, Tensor]:
        return {
            f"{name}.conv.weight": rand(1, out, width, kernel, kernel),
            f"{name}.conv.modulation.weight": rand(width, style_dim),
            f"{name}.conv.modulation.bias": 1 + 0.1 * rand(width),
        }

    def layer(name: str, out: int, width: int) -> dict[str, Tensor]:
        tail = {f"{name}.noise.weight": rand(1), f"{name}.activate.bias": rand(out)}
        return modulated(name, out, width, 3) | tail

    def to_rgb(name: str, width: int) -> dict[str, Tensor]:
        return modulated(name, channels, width, 1) | {f"{name}.bias": rand(1, channels, 1, 1)}

    sizes = sorted(widths)
    state = {}
    for i in range(1, mapping_layers + 1):
        state |= {f"style.{i}.weight": 100 * rand(style_dim, style_dim), f"style.{i}.bias": 10 * rand(style_dim)}
    state |= {"input.input": rand(1, widths[4], 4, 4)} | layer("conv1", widths[4], widths[4])
    state |= to_rgb("to_rgb1", widths[4])
    for j, (low, high) in enumerate(itertools.pairwise(sizes)):
        state |= layer(f"convs.{2 * j}", widths[high], widths[low])
        state |= {f"convs.{2 * j}.conv.blur.kernel": 4 * KERNEL}
        state |= layer(f"convs.{2 * j + 1}", widths[high], widths[high])
        state |= to_rgb(f"to_rgbs.{j}", widths[high]) | {f"to_rgbs.{j}.upsample.kernel": 4 * KERNEL}
    for k, size in enumerate([4] + [size for size in sizes[1:] for _ in range(2)]):
        state[f"noises.noise_{k}"] = rand(1, 1, size, size)
    return state


def upfir(x: Tensor, before: int, after: int) -> Tensor:
    """Pad, then correlate each channel with the kernel that sums to 4."""
    weight = (4 * KERNEL).repeat(x.shape[1], 1, 1, 1)
    return F.conv2d(F.pad(x, (before, after, before, after)), weight, groups=x.shape[1])


def spread(x: Tensor) -> Tensor:
    out = torch.zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    out[:, :, ::2, ::2] = x
    return out


def rosinality_convolution(p: dict, name: str, x: Tensor, w: Tensor, up: bool, demodulate: bool) -> Tensor:
    """One weight for each sample, scaled by 1 / sqrt(fan-in), modulated and demodulated, in a loop over the batch."""
    weight = p[f"{name}.conv.weight"][0]
    style = w @ p[f"{name}.conv.modulation.weight"].t() / math.sqrt(w.shape[1]) + p[f"{name}.conv.modulation.bias"]
    outputs = []
    for image, s in zip(x, style, strict=True):
        own = weight / math.sqrt(weight[0].numel()) * s.reshape(1, -1, 1, 1)
        if demodulate:
            own = own / (own.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:
            y = F.conv2d(spread(image[None])[:, :, :-1, :-1], own.flip(2, 3), padding=2)
            outputs.append(upfir(y, 1, 1))
        else:
            outputs.append(F.conv2d(image[None], own, padding=own.shape[-1] // 2))
    return torch.cat(outputs)


def rosinality_layer(p: dict, name: str, k: int, x: Tensor, w: Tensor) -> Tensor:
    y = rosinality_convolution(p, name, x, w, up=name.startswith("convs") and k % 2 == 1, demodulate=True)
    y = y + p[f"{name}.noise.weight"] * p[f"noises.noise_{k}"]
    return F.leaky_relu(y + p[f"{name}.activate.bias"].reshape(1, -1, 1, 1), 0.2) * math.sqrt(2)


def rosinality_style(p: dict, z: Tensor) -> Tensor:
    w = z / (z.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
    i = 1
    while f"style.{i}.weight" in p:
        weight = p[f"style.{i}.weight"]
        w = F.leaky_relu(w @ weight.t() * 0.01 / math.sqrt(len(weight)) + p[f"style.{i}.bias"] * 0.01, 0.2)
        w, i = w * math.sqrt(2), i + 1
    return w


def rosinality_image(p: dict, ws: Tensor) -> Tensor:
    """Rows: 0 conv1; 1 to_rgb1 and convs.0; 2 convs.1; 3 to_rgbs.0 and convs.2; ...; the last one only ToRGB."""
    x = rosinality_layer(p, "conv1", 0, p["input.input"].repeat(len(ws), 1, 1, 1), ws[:, 0])
    image = rosinality_convolution(p, "to_rgb1", x, ws[:, 1], up=False, demodulate=False) + p["to_rgb1.bias"]
    j = 0
    while f"to_rgbs.{j}.bias" in p:
        x = rosinality_layer(p, f"convs.{2 * j}", 2 * j + 1, x, ws[:, 2 * j + 1])
        x = rosinality_layer(p, f"convs.{2 * j + 1}", 2 * j + 2, x, ws[:, 2 * j + 2])
        rgb = rosinality_convolution(p, f"to_rgbs.{j}", x, ws[:, 2 * j + 3], up=False, demodulate=False)
        image = upfir(spread(image), 2, 1) + rgb + p[f"to_rgbs.{j}.bias"]
        j += 1
    return image


def rosinality_discriminator(widths: dict[int, int] = SMALL, channels: int = 3) -> dict[str, Tensor]:
    """Names and shapes of a `d`, all values random."""
    source = torch.Generator().manual_seed(7)

    def rand(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=source)

    sizes, last = sorted(widths, reverse=True), widths[4]
    state = {"convs.0.0.weight": rand(widths[sizes[0]], channels, 1, 1), "convs.0.1.bias": rand(widths[sizes[0]])}
    for j, (high, low) in enumerate(itertools.pairwise(sizes), start=1):
        a, b, block = widths[high], widths[low], f"convs.{j}"
        state |= {f"{block}.conv1.0.weight": rand(a, a, 3, 3), f"{block}.conv1.1.bias": rand(a)}
        state |= {f"{block}.conv2.0.kernel": KERNEL, f"{block}.conv2.1.weight": rand(b, a, 3, 3)}
        state |= {f"{block}.conv2.2.bias": rand(b), f"{block}.skip.0.kernel": KERNEL}
        state[f"{block}.skip.1.weight"] = rand(b, a, 1, 1)
    state |= {"final_conv.0.weight": rand(last, last + 1, 3, 3), "final_conv.1.bias": rand(last)}
    state |= {"final_linear.0.weight": rand(last, 16 * last), "final_linear.0.bias": rand(last)}
    return state | {"final_linear.1.weight": rand(1, last), "final_linear.1.bias": rand(1)}


def rosinality_logits(p: dict, images: Tensor) -> Tensor:
    """The discriminator in that project's terms, for a batch that is one group of the minibatch statistic."""

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = p[f"{name}.weight"] / math.sqrt(p[f"{name}.weight"][0].numel())
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2 if stride == 1 else 0)

    def activated(x: Tensor, bias: Tensor) -> Tensor:
        return F.leaky_relu(x + bias.reshape(1, -1, *[1] * (x.ndim - 2)), 0.2) * math.sqrt(2)

    def blur(x: Tensor, before: int, after: int) -> Tensor:
        return F.conv2d(F.pad(x, (before, after) * 2), KERNEL.repeat(x.shape[1], 1, 1, 1), groups=x.shape[1])

    x, j = activated(conv(images, "convs.0.0"), p["convs.0.1.bias"]), 1
    while f"convs.{j}.skip.1.weight" in p:
        y = activated(conv(x, f"convs.{j}.conv1.0"), p[f"convs.{j}.conv1.1.bias"])
        y = activated(conv(blur(y, 2, 2), f"convs.{j}.conv2.1", 2), p[f"convs.{j}.conv2.2.bias"])
        x, j = (y + conv(blur(x, 1, 1), f"convs.{j}.skip.1", 2)) / math.sqrt(2), j + 1
    statistic = (x.var(0, unbiased=False) + 1e-8).sqrt().mean().expand(len(x), 1, 4, 4)
    x = activated(conv(torch.cat([x, statistic], 1), "final_conv.0"), p["final_conv.1.bias"]).flatten(1)
    first, last = (p[f"final_linear.{k}.weight"] for k in (0, 1))
    x = activated(x @ first.t() / math.sqrt(first.shape[1]), p["final_linear.0.bias"])
    return x @ last.t() / math.sqrt(last.shape[1]) + p["final_linear.1.bias"]


# NVIDIA


def nvidia_discriminator(p: dict, resolution: int) -> dict[str, Tensor]:
    """The same discriminator under NVIDIA's names."""
    out, top = {}, f"b{resolution}"
    out |= {f"{top}.fromrgb.weight": p["convs.0.0.weight"], f"{top}.fromrgb.bias": p["convs.0.1.bias"]}
    j, size = 1, resolution
    while f"convs.{j}.skip.1.weight" in p:
        theirs, ours = f"convs.{j}", f"b{size}"
        out |= {
            f"{ours}.conv0.weight": p[f"{theirs}.conv1.0.weight"],
            f"{ours}.conv0.bias": p[f"{theirs}.conv1.1.bias"],
        }
        out |= {
            f"{ours}.conv1.weight": p[f"{theirs}.conv2.1.weight"],
            f"{ours}.conv1.bias": p[f"{theirs}.conv2.2.bias"],
        }
        out |= {f"{ours}.skip.weight": p[f"{theirs}.skip.1.weight"], f"{ours}.conv0.resample_filter": KERNEL}
        j, size = j + 1, size // 2
    for name, (weight, bias) in {
        "conv": ("final_conv.0.weight", "final_conv.1.bias"),
        "fc": ("final_linear.0.weight", "final_linear.0.bias"),
        "out": ("final_linear.1.weight", "final_linear.1.bias"),
    }.items():
        out |= {f"b4.{name}.weight": p[weight], f"b4.{name}.bias": p[bias]}
    return out


def nvidia_state(p: dict, w_avg: Tensor | None) -> dict[str, Tensor]:
    """The same generator under NVIDIA's names (skip architecture)."""
    out = {"synthesis.b4.const": p["input.input"][0]}
    if w_avg is not None:
        out["mapping.w_avg"] = w_avg
    i = 1
    while f"style.{i}.weight" in p:
        out |= {f"mapping.fc{i - 1}.{part}": p[f"style.{i}.{part}"] for part in ("weight", "bias")}
        i += 1

    def modulated(theirs: str, ours: str) -> dict[str, Tensor]:
        return {
            f"{ours}.weight": p[f"{theirs}.conv.weight"][0],
            f"{ours}.affine.weight": p[f"{theirs}.conv.modulation.weight"],
            f"{ours}.affine.bias": p[f"{theirs}.conv.modulation.bias"],
        }

    def layer(theirs: str, ours: str, k: int) -> dict[str, Tensor]:
        return modulated(theirs, ours) | {
            f"{ours}.bias": p[f"{theirs}.activate.bias"],
            f"{ours}.noise_strength": p[f"{theirs}.noise.weight"][0],
            f"{ours}.noise_const": p[f"noises.noise_{k}"][0, 0],
            f"{ours}.resample_filter": KERNEL,
        }

    def to_rgb(theirs: str, ours: str) -> dict[str, Tensor]:
        return modulated(theirs, ours) | {f"{ours}.bias": p[f"{theirs}.bias"].flatten()}

    out |= layer("conv1", "synthesis.b4.conv1", 0) | to_rgb("to_rgb1", "synthesis.b4.torgb")
    out["synthesis.b4.resample_filter"] = KERNEL
    j = 0
    while f"to_rgbs.{j}.bias" in p:
        block = f"synthesis.b{2 ** (j + 3)}"
        out |= layer(f"convs.{2 * j}", f"{block}.conv0", 2 * j + 1)
        out |= layer(f"convs.{2 * j + 1}", f"{block}.conv1", 2 * j + 2)
        out |= to_rgb(f"to_rgbs.{j}", f"{block}.torgb") | {f"{block}.resample_filter": KERNEL}
        j += 1
    return out


class Persistent:
    """Pickles as an object of a class that `torch_utils.persistence` decorates does."""

    def __init__(self, class_name: str, state: dict, source: str) -> None:
        self.meta = {"type": "class", "version": 6, "module_src": source, "class_name": class_name, "state": state}

    def __reduce__(self):
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


class NvidiaModules:
    """Stand-ins for the modules that the pickles name; present only while a pickle is written."""

    def __enter__(self) -> "NvidiaModules":
        names = ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util")
        modules = {name: types.ModuleType(name) for name in names}

        def _reconstruct_persistent_obj(meta):
            raise AssertionError("the reader called NVIDIA's own function")

        _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
        _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
        easy = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})
        modules["torch_utils.persistence"]._reconstruct_persistent_obj = _reconstruct_persistent_obj
        modules["dnnlib.util"].EasyDict = easy
        self.modules, self.easy_dict = modules, easy
        sys.modules.update(modules)
        return self

    def __exit__(self, *_) -> None:
        for name in self.modules:
            del sys.modules[name]


def module_tree(tensors: dict, attributes: dict, source: str, prefix: str = "") -> Persistent:
    """Nested modules for dotted names. `attributes`: {"a.b.name": value}, plain attributes of the modules."""
    parameters, buffers, children = OrderedDict(), OrderedDict(), OrderedDict()
    for name, tensor in tensors.items():
        head, _, rest = name.partition(".")
        if rest:
            children.setdefault(head, {})[rest] = tensor
        elif name in ("w_avg", "noise_const", "resample_filter"):
            buffers[name] = tensor
        else:
            parameters[name] = torch.nn.Parameter(tensor)
    own = {k: v for k, v in attributes.items() if "." not in k}
    modules = OrderedDict()
    for head, inner in children.items():
        below = {k.removeprefix(f"{head}."): v for k, v in attributes.items() if k.startswith(f"{head}.")}
        modules[head] = module_tree(inner, below, source, f"{prefix}{head}.")
    state = {
        "training": False,
        "_parameters": parameters,
        "_buffers": buffers,
        "_non_persistent_buffers_set": set(),
        "_backward_hooks": OrderedDict(),
        "_modules": modules,
        "_init_args": (),
        "weight_gain": np.float64(1.5),
        **own,
    }
    state.setdefault("_init_kwargs", {})
    return Persistent("Generator", state, source)


def nvidia_pickle(
    path: Path,
    tensors: dict,
    attributes: dict | None = None,
    protocol: int = 4,
    source: str = "",
    training: tuple[dict, dict] | None = None,
) -> Path:
    """`training`: the tensors of G and D beside those of G_ema."""
    with NvidiaModules() as modules:
        kwargs = modules.easy_dict({"synthesis_kwargs": modules.easy_dict({"channel_base": 1, "conv_clamp": 256})})
        attributes = {"_init_kwargs": kwargs, "c_dim": 0, "mapping.fc0.bias_gain": 0.01} | (attributes or {})
        g = module_tree(tensors, attributes, source)
        G, D = (None, None) if training is None else (module_tree(t, attributes, source) for t in training)
        content = {"G": G, "D": D, "G_ema": g, "augment_pipe": None, "training_set_kwargs": modules.easy_dict()}
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


# lucidrains


def lucidrains_widths(resolution: int, capacity: int, fmap_max: int) -> list[int]:
    """From 4 px up: capacity * 2^k, at most fmap_max."""
    layers = int(math.log2(resolution)) - 1
    return [min(capacity * 2 ** (layers - j), fmap_max) for j in range(layers)]


def lucidrains_content(
    resolution: int = 32,
    capacity: int = 2,
    depth: int = 2,
    dim: int = STYLE_DIM,
    channels: int = 3,
    fmap_max: int = 512,
    no_const: bool = False,
) -> dict:
    """What that project's Trainer saves: names and shapes of S, G, D (in part), SE and GE; every value random."""
    source = torch.Generator().manual_seed(resolution + depth)

    def rand(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=source)

    def linear(name: str, out: int, inputs: int) -> dict[str, Tensor]:
        return {f"{name}.weight": rand(out, inputs) / math.sqrt(inputs), f"{name}.bias": 0.3 * rand(out)}

    def vectorizer(name: str) -> dict[str, Tensor]:
        return {
            f"{name}.net.{2 * i}.{part}": rand(*([dim, dim] if part == "weight" else [dim]))
            for i in range(depth)
            for part in ("weight", "bias")
        }

    def generator(name: str) -> dict[str, Tensor]:
        widths = lucidrains_widths(resolution, capacity, fmap_max)
        state = {} if no_const else {f"{name}.initial_block": rand(1, widths[0], 4, 4)}
        if no_const:
            state[f"{name}.to_initial_block.weight"] = rand(dim, widths[0], 4, 4)
        state[f"{name}.initial_conv.weight"] = rand(widths[0], widths[0], 3, 3) / math.sqrt(9 * widths[0])
        state[f"{name}.initial_conv.bias"] = 0.3 * rand(widths[0])
        for j, (before, width) in enumerate(zip(widths[:1] + widths, widths, strict=False)):
            block = f"{name}.blocks.{j}"
            for k, inputs in ((1, before), (2, width)):
                state |= linear(f"{block}.to_style{k}", inputs, dim) | linear(f"{block}.to_noise{k}", width, 1)
                state[f"{block}.conv{k}.weight"] = rand(width, inputs, 3, 3)
            state |= linear(f"{block}.to_rgb.to_style", width, dim)
            state[f"{block}.to_rgb.conv.weight"] = rand(channels, width, 1, 1) / math.sqrt(width)
            if j < len(widths) - 1:
                state[f"{block}.to_rgb.upsample.1.f"] = torch.tensor([1.0, 2.0, 1.0])
        return state

    state = vectorizer("S") | generator("G") | {"D.blocks.0.conv_res.weight": rand(4, channels, 1, 1)}
    state |= {
        "D.quantize_blocks.0.fn._codebook.embed": rand(4, 4),
        "D_aug.D.blocks.0.conv_res.weight": rand(4, 3, 1, 1),
    }
    return {"GAN": state | vectorizer("SE") | generator("GE"), "version": "1.9.0"}


def lucidrains_style(p: dict, z: Tensor, lr_mlp: float = 0.1, name: str = "SE") -> Tensor:
    w, i = F.normalize(z, dim=1), 0
    while f"{name}.net.{i}.weight" in p:
        w = F.leaky_relu(F.linear(w, p[f"{name}.net.{i}.weight"] * lr_mlp, p[f"{name}.net.{i}.bias"] * lr_mlp), 0.2)
        i += 2
    return w


def lucidrains_convolution(x: Tensor, weight: Tensor, style: Tensor, demodulate: bool) -> Tensor:
    """All samples in one convolution, a group each; the style is a deviation from 1."""
    n, _, height, width = x.shape
    own = weight[None] * (style[:, None, :, None, None] + 1)
    if demodulate:
        own = own * (own.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    y = F.conv2d(x.reshape(1, -1, height, width), own.flatten(0, 1), padding=weight.shape[-1] // 2, groups=n)
    return y.reshape(n, -1, height, width)


def lucidrains_image(p: dict, ws: Tensor, noise: Tensor, name: str = "GE") -> Tensor:
    """noise [N, R, R, 1] in [0, 1], its axes being width and height; each block has the code of its number."""
    if f"{name}.initial_block" in p:
        x = p[f"{name}.initial_block"].expand(len(ws), -1, -1, -1)
    else:
        x = torch.einsum("nd,dcij->ncij", ws.mean(dim=1), p[f"{name}.to_initial_block.weight"])
    x = F.conv2d(x, p[f"{name}.initial_conv.weight"], p[f"{name}.initial_conv.bias"], padding=1)
    image, j = None, 0
    while f"{name}.blocks.{j}.conv1.weight" in p:
        block, w = f"{name}.blocks.{j}", ws[:, j]
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False) if j else x

        def linear(part: str, inputs: Tensor, block: str = block) -> Tensor:
            return F.linear(inputs, p[f"{block}.{part}.weight"], p[f"{block}.{part}.bias"])

        for k in (1, 2):
            x = lucidrains_convolution(x, p[f"{block}.conv{k}.weight"], linear(f"to_style{k}", w), demodulate=True)
            own = linear(f"to_noise{k}", noise[:, : x.shape[2], : x.shape[3]])  # [N, width, height, C]
            x = F.leaky_relu(x + own.permute(0, 3, 2, 1), 0.2)
        rgb = lucidrains_convolution(
            x, p[f"{block}.to_rgb.conv.weight"], linear("to_rgb.to_style", w), demodulate=False
        )
        image = rgb if image is None else image + rgb
        j += 1
        if f"{name}.blocks.{j}.conv1.weight" in p:
            image = F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)
        if f"{block}.to_rgb.upsample.1.f" in p:
            taps = torch.tensor([1.0, 2.0, 1.0], dtype=image.dtype) / 4
            kernel = torch.outer(taps, taps).expand(image.shape[1], 1, 3, 3)
            image = F.conv2d(F.pad(image, (1, 1, 1, 1), mode="reflect"), kernel, groups=image.shape[1])
    return image


@pytest.fixture(scope="session")
def foreign() -> SimpleNamespace:
    """The functions of this file; test modules cannot import it."""
    return SimpleNamespace(
        KERNEL=KERNEL,
        SMALL=SMALL,
        STYLE_DIM=STYLE_DIM,
        NvidiaModules=NvidiaModules,
        lucidrains_content=lucidrains_content,
        lucidrains_image=lucidrains_image,
        lucidrains_style=lucidrains_style,
        lucidrains_widths=lucidrains_widths,
        Persistent=Persistent,
        module_tree=module_tree,
        nvidia_discriminator=nvidia_discriminator,
        nvidia_pickle=nvidia_pickle,
        nvidia_state=nvidia_state,
        paper_widths=paper_widths,
        rosinality_discriminator=rosinality_discriminator,
        rosinality_image=rosinality_image,
        rosinality_logits=rosinality_logits,
        rosinality_state=rosinality_state,
        rosinality_style=rosinality_style,
    )
