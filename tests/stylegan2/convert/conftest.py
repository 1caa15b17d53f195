"""Files of other projects, synthesised from the published layouts, and a naive forward pass in rosinality's terms."""

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


# NVIDIA


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
    path: Path, tensors: dict, attributes: dict | None = None, protocol: int = 4, source: str = ""
) -> Path:
    with NvidiaModules() as modules:
        kwargs = modules.easy_dict({"synthesis_kwargs": modules.easy_dict({"channel_base": 1, "conv_clamp": 256})})
        attributes = {"_init_kwargs": kwargs, "c_dim": 0, "mapping.fc0.bias_gain": 0.01} | (attributes or {})
        g = module_tree(tensors, attributes, source)
        content = {"G": None, "D": None, "G_ema": g, "augment_pipe": None, "training_set_kwargs": modules.easy_dict()}
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.fixture(scope="session")
def foreign() -> SimpleNamespace:
    """The functions of this file; test modules cannot import it."""
    return SimpleNamespace(
        KERNEL=KERNEL,
        SMALL=SMALL,
        STYLE_DIM=STYLE_DIM,
        NvidiaModules=NvidiaModules,
        Persistent=Persistent,
        module_tree=module_tree,
        nvidia_pickle=nvidia_pickle,
        nvidia_state=nvidia_state,
        paper_widths=paper_widths,
        rosinality_image=rosinality_image,
        rosinality_state=rosinality_state,
        rosinality_style=rosinality_style,
    )
