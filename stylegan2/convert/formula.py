"""Compute other projects' generators by plain formulas on the tensors of their files, to compare ours with them.

The formulas are written down from the papers (StyleGAN2, arXiv 1912.04958; lucidrains' departures from it) and the
layout of the files. They are slow and simple: each sample has a kernel of its own. Nothing here is shared with the
networks of this package.
"""

import math
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor


class Parameters:
    """The tensors of a file under a prefix; each is converted to `dtype` only when it is used, to save memory."""

    def __init__(self, state: Mapping[str, Tensor], prefix: str, dtype: torch.dtype) -> None:
        self.state, self.prefix, self.dtype = state, prefix, dtype

    def __getitem__(self, name: str) -> Tensor:
        return self.state[self.prefix + name].to(self.dtype)

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.state

    def numbered(self, pattern: str, first: int = 0) -> Iterator[str]:
        """Yield the pattern with 0, 1, 2, ... in place of {} for as long as there are tensors of that name."""
        number = first
        while any(key.startswith(self.prefix + pattern.format(number) + ".") for key in self.state):
            yield pattern.format(number)
            number += 1


# --- what the projects share ---


def affine(vector: Tensor) -> Tensor:
    return vector.reshape(1, -1, 1, 1)


def equal_linear(p: Parameters, name: str, x: Tensor) -> Tensor:
    weight = p[f"{name}.weight"]
    return x @ weight.T / math.sqrt(weight.shape[1]) + p[f"{name}.bias"]


def mean_square_1(x: Tensor) -> Tensor:
    return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()


def leaky(x: Tensor) -> Tensor:
    return torch.maximum(x, 0.2 * x)


def mapping(p: Parameters, names: list[str], x: Tensor, lr_multiplier: float) -> Tensor:
    """Map normalised z [N, z_dim] to w [N, w_dim] with equalized learning rate (StyleGAN, section 2)."""
    for name in names:
        weight = p[f"{name}.weight"]
        x = x @ weight.T * lr_multiplier / math.sqrt(weight.shape[1]) + p[f"{name}.bias"] * lr_multiplier
        x = leaky(x) * math.sqrt(2)
    return x


def modulated(x: Tensor, kernel: Tensor, styles: Tensor, up: bool = False, demodulate: bool = True) -> Tensor:
    """Modulate and demodulate a convolution (StyleGAN2, eq. 1 and 3); upsampling inserts zeros, then low-passes."""
    images = []
    for image, s in zip(x, styles, strict=True):
        own = kernel * affine(s)  # [O, I, k, k]
        if demodulate:
            own = own / (own.square().sum([1, 2, 3], keepdim=True) + 1e-8).sqrt()
        if up:
            y = F.conv_transpose2d(image[None], own.transpose(0, 1), stride=2)  # [1, O, 2H + 1, 2W + 1]
            images.append(low_pass(y, 1, 1))
        else:
            images.append(F.conv2d(image[None], own, padding=own.shape[-1] // 2))
    return torch.cat(images)


def low_pass(x: Tensor, before: int, after: int) -> Tensor:
    """Filter with [1, 3, 3, 1] in both directions and a gain of 4, after padding with zeros."""
    taps = x.new_tensor([1.0, 3.0, 3.0, 1.0]) / 4  # [4]
    kernel = (taps[:, None] * taps).repeat(x.shape[1], 1, 1, 1)  # [C, 1, 4, 4]
    return F.conv2d(F.pad(x, (before, after, before, after)), kernel, groups=x.shape[1])


def doubled(x: Tensor) -> Tensor:
    """Double the resolution: insert zeros between the pixels, then low-pass."""
    spread = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    spread[:, :, ::2, ::2] = x
    return low_pass(spread, 2, 1)


def weighted_rows(x: Tensor, matrix: Tensor) -> Tensor:
    """Multiply height and width by a matrix [s, h]: [N, C, h, h] -> [N, C, s, s]."""
    return matrix @ x @ matrix.T


def stretch(x: Tensor, size: int, corners: bool) -> Tensor:
    """Resize bilinearly, aligning the centres of the corner pixels (`corners`) or the edges of the image."""
    old = x.shape[-1]
    at = [i * (old - 1) / (size - 1) if corners else (i + 0.5) * old / size - 0.5 for i in range(size)]
    positions = x.new_tensor(at).clamp(0, old - 1)  # [size]
    distances = (positions[:, None] - torch.arange(old, dtype=x.dtype)).abs()  # [size, old]
    return weighted_rows(x, (1 - distances).clamp(min=0))


# --- rosinality ---


def rosinality_w(p: Parameters, z: Tensor) -> Tensor:
    """Map z [N, z_dim] to w [N, w_dim]; style.0 is the normalisation."""
    return mapping(p, list(p.numbered("style.{}", first=1)), mean_square_1(z), 0.01)


def rosinality_convolution(p: Parameters, name: str, x: Tensor, w: Tensor, up: bool, demodulate: bool) -> Tensor:
    kernel = p[f"{name}.conv.weight"][0]  # [O, I, k, k]
    styles = equal_linear(p, f"{name}.conv.modulation", w)  # [N, I]
    return modulated(x, kernel / math.sqrt(kernel[0].numel()), styles, up, demodulate)


def rosinality_layer(p: Parameters, name: str, number: int, x: Tensor, w: Tensor) -> Tensor:
    x = rosinality_convolution(p, name, x, w, up=number % 2 == 1, demodulate=True)
    x = x + p[f"{name}.noise.weight"] * p[f"noises.noise_{number}"] + affine(p[f"{name}.activate.bias"])
    return leaky(x) * math.sqrt(2)


def rosinality_rgb(p: Parameters, name: str, x: Tensor, w: Tensor) -> Tensor:
    return rosinality_convolution(p, name, x, w, up=False, demodulate=False) + p[f"{name}.bias"]


def rosinality_image(p: Parameters, ws: Tensor) -> Tensor:
    """Render ws [N, num_ws, w_dim] as [N, C, R, R], with the noise maps of the file."""
    x = rosinality_layer(p, "conv1", 0, p["input.input"].repeat(len(ws), 1, 1, 1), ws[:, 0])
    image = rosinality_rgb(p, "to_rgb1", x, ws[:, 1])
    for j, name in enumerate(p.numbered("to_rgbs.{}")):
        x = rosinality_layer(p, f"convs.{2 * j}", 2 * j + 1, x, ws[:, 2 * j + 1])
        x = rosinality_layer(p, f"convs.{2 * j + 1}", 2 * j + 2, x, ws[:, 2 * j + 2])
        image = doubled(image) + rosinality_rgb(p, name, x, ws[:, 2 * j + 3])
    return image


# --- NVIDIA ---


def nvidia_w(p: Parameters, z: Tensor, lr_multiplier: float, labels: Tensor | None = None) -> Tensor:
    """Map z [N, z_dim], and one-hot labels [N, classes] of a conditional network, to w [N, w_dim]."""
    x = mean_square_1(z)
    if labels is not None:
        x = torch.cat([x, mean_square_1(equal_linear(p, "mapping.embed", labels))], dim=1)  # [N, z_dim + w_dim]
    return mapping(p, list(p.numbered("mapping.fc{}")), x, lr_multiplier)


def nvidia_layer(
    p: Parameters, name: str, x: Tensor, w: Tensor, clamp: float, up: bool = False, gain: float = 1.0
) -> Tensor:
    """Compute one layer; its weight needs no factor, as demodulation would take it out again."""
    x = modulated(x, p[f"{name}.weight"], equal_linear(p, f"{name}.affine", w), up)
    if f"{name}.noise_const" in p:
        x = x + p[f"{name}.noise_const"] * p[f"{name}.noise_strength"]
    x = leaky(x + affine(p[f"{name}.bias"])) * (math.sqrt(2) * gain)
    return x.clamp(-clamp * gain, clamp * gain)


def nvidia_rgb(p: Parameters, name: str, x: Tensor, w: Tensor, clamp: float) -> Tensor:
    kernel = p[f"{name}.weight"]  # [C, I, 1, 1]
    styles = equal_linear(p, f"{name}.affine", w) / math.sqrt(kernel.shape[1])  # [N, I]
    x = modulated(x, kernel, styles, demodulate=False) + affine(p[f"{name}.bias"])
    return x.clamp(-clamp, clamp)


def nvidia_image(p: Parameters, ws: Tensor, clamp: float = math.inf) -> Tensor:
    """Render ws [N, num_ws, w_dim] as [N, C, R, R], with the noise maps of the file, in all three architectures."""
    x, image = p["synthesis.b4.const"].repeat(len(ws), 1, 1, 1), None
    x = nvidia_layer(p, "synthesis.b4.conv1", x, ws[:, 0], clamp)
    row, resolution = 1, 4
    while True:
        block = f"synthesis.b{resolution}"
        if f"{block}.torgb.weight" in p:
            rgb = nvidia_rgb(p, f"{block}.torgb", x, ws[:, row], clamp)
            image = rgb if image is None else doubled(image) + rgb
        resolution *= 2
        block = f"synthesis.b{resolution}"
        if f"{block}.conv0.weight" not in p:
            assert image is not None
            return image
        residual = f"{block}.skip.weight" in p
        y = nvidia_layer(p, f"{block}.conv0", x, ws[:, row], clamp, up=True)
        y = nvidia_layer(p, f"{block}.conv1", y, ws[:, row + 1], clamp, gain=math.sqrt(0.5) if residual else 1.0)
        if residual:
            kernel = p[f"{block}.skip.weight"]  # [O, I, 1, 1]
            y = y + math.sqrt(0.5) * doubled(F.conv2d(x, kernel / math.sqrt(kernel.shape[1])))
        x, row = y, row + 2


# --- lucidrains ---


def lucidrains_w(p: Parameters, z: Tensor, lr_multiplier: float) -> Tensor:
    """Map z [N, w_dim], scaled to length 1, to w [N, w_dim]. Every second of the numbered layers has tensors."""
    x, i = z / z.norm(dim=1, keepdim=True), 0
    while f"S.net.{i}.weight" in p:
        x = leaky(x @ (p[f"S.net.{i}.weight"] * lr_multiplier).T + p[f"S.net.{i}.bias"] * lr_multiplier)
        i += 2
    return x


def lucidrains_layer(p: Parameters, name: str, number: int, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
    """Compute one layer; the second index of the noise [N, R, R] is the column of the image, not the row."""
    styles = w @ p[f"{name}.to_style{number}.weight"].T + p[f"{name}.to_style{number}.bias"]  # [N, I]
    x = modulated(x, p[f"{name}.conv{number}.weight"], styles + 1)  # [N, O, H, W]
    size = x.shape[-1]
    noise = noise[:, None, :size, :size].transpose(2, 3)  # [N, 1, H, W]
    strength, bias = p[f"{name}.to_noise{number}.weight"], p[f"{name}.to_noise{number}.bias"]
    return leaky(x + noise * affine(strength) + affine(bias))


def lucidrains_rgb(p: Parameters, name: str, x: Tensor, w: Tensor) -> Tensor:
    styles = w @ p[f"{name}.to_style.weight"].T + p[f"{name}.to_style.bias"]  # [N, I]
    return modulated(x, p[f"{name}.conv.weight"], styles + 1, demodulate=False)


def blurred(x: Tensor) -> Tensor:
    """Filter with [1, 2, 1] / 4 in both directions, with reflection at the edges."""
    size = x.shape[-1]
    matrix = 0.5 * torch.eye(size, dtype=x.dtype)
    for i in range(size):
        for neighbour in (i - 1, i + 1):
            inside = 2 * (size - 1) - neighbour if neighbour >= size else abs(neighbour)
            matrix[i, inside] += 0.25
    return weighted_rows(x, matrix)


def lucidrains_image(p: Parameters, ws: Tensor, noise: Tensor) -> Tensor:
    """Render ws [N, num_ws, w_dim] and noise [N, R, R] in [0, 1] as [N, C, R, R], about in [0, 1]."""
    if "G.initial_block" in p:
        initial = p["G.initial_block"]
        x = initial.reshape(1, *initial.shape[-3:]).repeat(len(ws), 1, 1, 1)  # [N, C, 4, 4]
    else:
        x = F.conv_transpose2d(ws.mean(1)[:, :, None, None], p["G.to_initial_block.weight"])  # [N, C, 4, 4]
    x = F.conv2d(x, p["G.initial_conv.weight"], p["G.initial_conv.bias"], padding=1)
    image = x.new_zeros(1)
    for j, name in enumerate(p.numbered("G.blocks.{}")):
        if j:
            x, image = stretch(x, 2 * x.shape[-1], False), stretch(image, 2 * image.shape[-1], False)
            if f"G.blocks.{j - 1}.to_rgb.upsample.1.f" in p:
                image = blurred(image)
        x = lucidrains_layer(p, name, 1, x, ws[:, j], noise)
        x = lucidrains_layer(p, name, 2, x, ws[:, j], noise)
        image = image + lucidrains_rgb(p, f"{name}.to_rgb", x, ws[:, j])
    return image
