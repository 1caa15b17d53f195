"""Compute the published models by plain formulas on the tensors of their files, to compare ours with them.

The formulas are written down from the papers (pSp arXiv 2008.00951, e4e 2102.02766, ReStyle 2104.02699) and the layout
of the files. They are slow and simple, and share nothing with the networks of this package.
"""

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan2.convert.formula import Parameters, affine, equal_linear, stretch, weighted_rows
from stylegan2.convert.formula import rosinality_image as decoder

# Residual units with stride 2, by the number of units: IR-SE 50, 100 and 152, and ResNet-34.
HALVING = {24: (0, 3, 7, 21), 49: (0, 3, 16, 46), 50: (0, 3, 11, 47), 16: (3, 7, 13)}


# --- encoders ---


def batch_norm(p: Parameters, name: str, x: Tensor) -> Tensor:
    scale = p[f"{name}.weight"] / (p[f"{name}.running_var"] + 1e-5).sqrt()
    return (x - affine(p[f"{name}.running_mean"])) * affine(scale) + affine(p[f"{name}.bias"])


def prelu(p: Parameters, name: str, x: Tensor) -> Tensor:
    return x.clamp(min=0) + affine(p[f"{name}.weight"]) * x.clamp(max=0)


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
    """Compute the last feature map of each resolution, from the finest to the coarsest."""
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
    """Convolve with stride 2 until one pixel is left, with leaky ReLU 0.01 after each: [N, w_dim]."""
    i = 0
    while x.shape[-1] > 1:
        x = F.conv2d(x, p[f"{name}.convs.{i}.weight"], p[f"{name}.convs.{i}.bias"], stride=2, padding=1)
        x = torch.maximum(x, 0.01 * x)
        i += 2
    return equal_linear(p, f"{name}.linear", x[:, :, 0, 0])  # [N, w_dim]


def pooled(x: Tensor, size: int) -> Tensor:
    """Average over size x size bins, which may overlap by a pixel."""
    old = x.shape[-1]
    matrix = x.new_zeros(size, old)
    for i in range(size):
        first, last = i * old // size, -(-(i + 1) * old // size)
        matrix[i, first:last] = 1 / (last - first)
    return weighted_rows(x, matrix)


def pyramid(p: Parameters, maps: list[Tensor]) -> list[Tensor]:
    """Compute coarse, medium and fine features."""
    c1, c2, c3 = maps[-3:]
    p2 = stretch(c3, c2.shape[-1], True) + F.conv2d(c2, p["latlayer1.weight"], p["latlayer1.bias"])
    if "latlayer2.weight" not in p:
        return [c3, p2]
    return [c3, p2, stretch(p2, c1.shape[-1], True) + F.conv2d(c1, p["latlayer2.weight"], p["latlayer2.bias"])]


def encoder(p: Parameters, x: Tensor, rows: int, deltas: bool) -> Tensor:
    """Encode x [N, C, S, S] to [N, rows, w_dim], without the latent average."""
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
    """Invert images, pass by pass.

    Args:
        state: The tensors of a published file.
        images: [N, C, S, S] in [-1, 1].
        average: The latent average, [rows, w_dim].
        deltas: Whether the heads after the first give deltas on the first (e4e).
        passes: 0 for an encoder that reads only the image; otherwise the number of passes of an encoder that also reads
            the current rendering and corrects the codes (ReStyle).
        dtype: The type of the computation.

    Yields:
        Codes [N, rows, w_dim] and their rendering [N, 3, R, R].
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
