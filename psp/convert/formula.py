"""The published models as plain formulas on the tensors of their files, to compare ours with.

Written down from the papers (pSp arXiv 2008.00951, e4e 2102.02766, ReStyle 2104.02699, StyleGAN2 1912.04958) and the
layout of the files, slowly and simply; nothing here is shared with the networks of this package.
"""

import math
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

# Residual units with stride 2, by the number of units: IR-SE 50, 100 and 152, and ResNet-34.
HALVING = {24: (0, 3, 7, 21), 49: (0, 3, 16, 46), 50: (0, 3, 11, 47), 16: (3, 7, 13)}


class Parameters:
    """Tensors of a file under a prefix, each converted to a number type when it is used, so that memory is not."""

    def __init__(self, state: Mapping[str, Tensor], prefix: str, dtype: torch.dtype) -> None:
        self.state, self.prefix, self.dtype = state, prefix, dtype

    def __getitem__(self, name: str) -> Tensor:
        return self.state[self.prefix + name].to(self.dtype)

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.state

    def numbered(self, pattern: str) -> Iterator[str]:
        """The names "PATTERN" with 0, 1, 2, ... for {} as long as there are tensors for them."""
        number = 0
        while any(key.startswith(self.prefix + pattern.format(number) + ".") for key in self.state):
            yield pattern.format(number)
            number += 1


# --- encoders ---


def affine(vector: Tensor) -> Tensor:
    return vector.reshape(1, -1, 1, 1)


def batch_norm(p: Parameters, name: str, x: Tensor) -> Tensor:
    scale = p[f"{name}.weight"] / (p[f"{name}.running_var"] + 1e-5).sqrt()
    return (x - affine(p[f"{name}.running_mean"])) * affine(scale) + affine(p[f"{name}.bias"])


def prelu(p: Parameters, name: str, x: Tensor) -> Tensor:
    return x.clamp(min=0) + affine(p[f"{name}.weight"]) * x.clamp(max=0)


def equal_linear(p: Parameters, name: str, x: Tensor) -> Tensor:
    weight = p[f"{name}.weight"]
    return x @ weight.T / math.sqrt(weight.shape[1]) + p[f"{name}.bias"]


def ir_se_unit(p: Parameters, name: str, x: Tensor, stride: int) -> Tensor:
    y = F.conv2d(batch_norm(p, f"{name}.res_layer.0", x), p[f"{name}.res_layer.1.weight"], padding=1)
    y = F.conv2d(prelu(p, f"{name}.res_layer.2", y), p[f"{name}.res_layer.3.weight"], stride=stride, padding=1)
    y = batch_norm(p, f"{name}.res_layer.4", y)
    gate = F.conv2d(y.mean([2, 3], keepdim=True), p[f"{name}.res_layer.5.fc1.weight"]).clamp(min=0)
    gate = F.conv2d(gate, p[f"{name}.res_layer.5.fc2.weight"])
    y = y / (1 + torch.exp(-gate))
    if f"{name}.shortcut_layer.0.weight" not in p:
        return y + F.max_pool2d(x, 1, stride)
    shortcut = F.conv2d(x, p[f"{name}.shortcut_layer.0.weight"], stride=stride)
    return y + batch_norm(p, f"{name}.shortcut_layer.1", shortcut)


def resnet_unit(p: Parameters, name: str, x: Tensor, stride: int) -> Tensor:
    y = F.conv2d(x, p[f"{name}.conv1.weight"], stride=stride, padding=1)
    y = F.conv2d(batch_norm(p, f"{name}.bn1", y).clamp(min=0), p[f"{name}.conv2.weight"], padding=1)
    y = batch_norm(p, f"{name}.bn2", y)
    if f"{name}.downsample.0.weight" in p:
        x = batch_norm(p, f"{name}.downsample.1", F.conv2d(x, p[f"{name}.downsample.0.weight"], stride=stride))
    return (y + x).clamp(min=0)


def trunk(p: Parameters, x: Tensor) -> list[Tensor]:
    """The last feature map of each resolution, from the finest to the coarsest."""
    is_resnet = "conv1.weight" in p
    if is_resnet:
        x = prelu(p, "relu", batch_norm(p, "bn1", F.conv2d(x, p["conv1.weight"], stride=2, padding=3)))
    else:
        x = batch_norm(p, "input_layer.1", F.conv2d(x, p["input_layer.0.weight"], padding=1))
        x = prelu(p, "input_layer.2", x)
    units, maps = list(p.numbered("body.{}")), [x]
    for number, name in enumerate(units):
        stride = 2 if number in HALVING[len(units)] else 1
        x = (resnet_unit if is_resnet else ir_se_unit)(p, name, x, stride)
        maps = [*maps, x] if stride == 2 else [*maps[:-1], x]
    return maps


def map2style(p: Parameters, name: str, x: Tensor) -> Tensor:
    """Convolutions of stride 2 until one pixel is left; leaky ReLU 0.01 after each."""
    i = 0
    while x.shape[-1] > 1:
        x = F.conv2d(x, p[f"{name}.convs.{i}.weight"], p[f"{name}.convs.{i}.bias"], stride=2, padding=1)
        x = torch.maximum(x, 0.01 * x)
        i += 2
    return equal_linear(p, f"{name}.linear", x[:, :, 0, 0])  # [N, w_dim]


def weighted_rows(x: Tensor, matrix: Tensor) -> Tensor:
    """A separable linear map of height and width: [N, C, h, h] by [s, h] -> [N, C, s, s]."""
    return matrix @ x @ matrix.T


def stretch(x: Tensor, size: int, corners: bool) -> Tensor:
    """Bilinear, with the centres of the corner pixels or the edges of the image on one another."""
    old = x.shape[-1]
    at = [i * (old - 1) / (size - 1) if corners else (i + 0.5) * old / size - 0.5 for i in range(size)]
    positions = x.new_tensor(at).clamp(0, old - 1)  # [size]
    distances = (positions[:, None] - torch.arange(old, dtype=x.dtype)).abs()  # [size, old]
    return weighted_rows(x, (1 - distances).clamp(min=0))


def pooled(x: Tensor, size: int) -> Tensor:
    """The mean over each of size x size bins, which may overlap by a pixel."""
    old = x.shape[-1]
    matrix = x.new_zeros(size, old)
    for i in range(size):
        first, last = i * old // size, -(-(i + 1) * old // size)
        matrix[i, first:last] = 1 / (last - first)
    return weighted_rows(x, matrix)


def pyramid(p: Parameters, maps: list[Tensor]) -> list[Tensor]:
    """Coarse, medium and fine features."""
    c1, c2, c3 = maps[-3:]
    p2 = stretch(c3, c2.shape[-1], True) + F.conv2d(c2, p["latlayer1.weight"], p["latlayer1.bias"])
    if "latlayer2.weight" not in p:
        return [c3, p2]
    return [c3, p2, stretch(p2, c1.shape[-1], True) + F.conv2d(c1, p["latlayer2.weight"], p["latlayer2.bias"])]


def encoder(p: Parameters, x: Tensor, rows: int, deltas: bool) -> Tensor:
    """[N, C, S, S] -> [N, rows, w_dim], without the latent average."""
    maps = trunk(p, x)
    if "output_layer_2.3.weight" in p:
        x = pooled(batch_norm(p, "output_layer_2.0", maps[-1]), 7).flatten(1)  # [N, 49 C]
        x = x @ p["output_layer_2.3.weight"].T + p["output_layer_2.3.bias"]  # [N, C]
        return equal_linear(p, "linear", x).reshape(len(x), rows, -1)  # [N, rows, w_dim]
    if "linear.weight" in p:
        w = equal_linear(p, "linear", maps[-1].mean([2, 3]))  # [N, w_dim]
        return torch.stack([w] * rows, dim=1)  # [N, rows, w_dim]
    levels = pyramid(p, maps) if "latlayer1.weight" in p else maps[-1:] * 3
    codes = [map2style(p, f"styles.{row}", levels[0 if row < 3 else 1 if row < 7 else 2]) for row in range(rows)]
    if deltas:
        codes = codes[:1] + [codes[0] + delta for delta in codes[1:]]
    return torch.stack(codes, dim=1)  # [N, rows, w_dim]


# --- generator ---


def convolution(p: Parameters, name: str, x: Tensor, w: Tensor, up: bool, demodulate: bool) -> Tensor:
    """A kernel of its own for each sample (StyleGAN2, eq. 1 and 3); upsampling puts zeros between, then low-passes."""
    kernel = p[f"{name}.conv.weight"][0]  # [O, I, k, k]
    style = equal_linear(p, f"{name}.conv.modulation", w)  # [N, I]
    images = []
    for image, s in zip(x, style, strict=True):
        own = kernel / math.sqrt(kernel[0].numel()) * affine(s)
        if demodulate:
            own = own / (own.square().sum([1, 2, 3], keepdim=True) + 1e-8).sqrt()
        if up:
            y = F.conv_transpose2d(image[None], own.transpose(0, 1), stride=2)  # [1, O, 2H + 1, 2W + 1]
            images.append(low_pass(y, 1, 1))
        else:
            images.append(F.conv2d(image[None], own, padding=own.shape[-1] // 2))
    return torch.cat(images)


def low_pass(x: Tensor, before: int, after: int) -> Tensor:
    """[1, 3, 3, 1] in both directions with a gain of 4, after padding with zeros."""
    taps = x.new_tensor([1.0, 3.0, 3.0, 1.0]) / 4  # [4]
    kernel = (taps[:, None] * taps).repeat(x.shape[1], 1, 1, 1)  # [C, 1, 4, 4]
    return F.conv2d(F.pad(x, (before, after, before, after)), kernel, groups=x.shape[1])


def doubled(x: Tensor) -> Tensor:
    """Zeros between the pixels, then the low-pass filter."""
    spread = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    spread[:, :, ::2, ::2] = x
    return low_pass(spread, 2, 1)


def styled(p: Parameters, name: str, number: int, x: Tensor, w: Tensor) -> Tensor:
    x = convolution(p, name, x, w, up=number % 2 == 1, demodulate=True)
    x = x + p[f"{name}.noise.weight"] * p[f"noises.noise_{number}"] + affine(p[f"{name}.activate.bias"])
    return torch.maximum(x, 0.2 * x) * math.sqrt(2)


def to_rgb(p: Parameters, name: str, x: Tensor, w: Tensor) -> Tensor:
    return convolution(p, name, x, w, up=False, demodulate=False) + p[f"{name}.bias"]


def decoder(p: Parameters, ws: Tensor) -> Tensor:
    """[N, rows, w_dim] -> [N, 3, R, R], with the noise maps of the file."""
    x = styled(p, "conv1", 0, p["input.input"].repeat(len(ws), 1, 1, 1), ws[:, 0])
    image = to_rgb(p, "to_rgb1", x, ws[:, 1])
    for j, name in enumerate(p.numbered("to_rgbs.{}")):
        x = styled(p, f"convs.{2 * j}", 2 * j + 1, x, ws[:, 2 * j + 1])
        x = styled(p, f"convs.{2 * j + 1}", 2 * j + 2, x, ws[:, 2 * j + 2])
        image = doubled(image) + to_rgb(p, name, x, ws[:, 2 * j + 3])
    return image


# --- both ---


@torch.no_grad()
def inversions(
    state: Mapping[str, Tensor],
    images: Tensor,
    average: Tensor,
    deltas: bool,
    passes: int,
    dtype: torch.dtype = torch.float32,
) -> Iterator[tuple[Tensor, Tensor]]:
    """images [N, C, S, S] -> (codes [N, rows, w_dim], their rendering [N, 3, R, R]) after each pass.

    average: [rows, w_dim]. deltas: heads beyond the first are deltas on it (e4e). passes: 0 for an encoder that reads
    the image alone; else it reads the current rendering too, and corrects the codes as many times (ReStyle).
    """
    e, g = Parameters(state, "encoder.", dtype), Parameters(state, "decoder.", dtype)
    images, average = images.to(dtype), average.to(dtype)
    rows, size = len(average), images.shape[-1]
    codes = average[None].repeat(len(images), 1, 1)  # [N, rows, w_dim]
    if not passes:
        codes = codes + encoder(e, images, rows, deltas)
        yield codes, decoder(g, codes)
        return
    rendering = decoder(g, codes[:1]).repeat(len(images), 1, 1, 1)  # [N, 3, R, R]
    for _ in range(passes):
        seen = pooled(rendering, size) if rendering.shape[-1] >= size else stretch(rendering, size, False)
        codes = codes + encoder(e, torch.cat([images, seen], dim=1), rows, deltas)
        rendering = decoder(g, codes)
        yield codes, rendering
