"""What a published pSp file holds, written down by formula from its documented layout and not from our modules."""

import math

import pytest
import torch

PUBLISHED_WIDTHS = (64, 128, 256, 512)
UNITS = {50: (3, 4, 14, 3), 100: (3, 13, 30, 3), 152: (3, 8, 36, 3)}


def batch_norm(name, channels):
    vectors = dict.fromkeys((f"{name}.{key}" for key in ("weight", "bias", "running_mean", "running_var")), (channels,))
    return vectors | {f"{name}.num_batches_tracked": ()}


def block_layout(name, width_in, width):
    layout = batch_norm(f"{name}.res_layer.0", width_in)
    layout[f"{name}.res_layer.1.weight"] = (width, width_in, 3, 3)
    layout[f"{name}.res_layer.2.weight"] = (width,)
    layout[f"{name}.res_layer.3.weight"] = (width, width, 3, 3)
    layout |= batch_norm(f"{name}.res_layer.4", width)
    layout[f"{name}.res_layer.5.fc1.weight"] = (width // 16, width, 1, 1)
    layout[f"{name}.res_layer.5.fc2.weight"] = (width, width // 16, 1, 1)
    if width_in != width:
        layout[f"{name}.shortcut_layer.0.weight"] = (width, width_in, 1, 1)
        layout |= batch_norm(f"{name}.shortcut_layer.1", width)
    return layout


def trunk_layout(depth=50, channels=3, widths=PUBLISHED_WIDTHS):
    """{key: shape} of input_layer.* and body.*"""
    layout = {"input_layer.0.weight": (widths[0], channels, 3, 3), "input_layer.2.weight": (widths[0],)}
    layout |= batch_norm("input_layer.1", widths[0])
    sequence = [width for width, count in zip(widths, UNITS[depth], strict=True) for _ in range(count)]
    for i, (width_in, width) in enumerate(zip([widths[0], *sequence], sequence, strict=False)):
        layout |= block_layout(f"body.{i}", width_in, width)
    return layout


def head_layout(row, convs, width_in=512, w_dim=512, head_width=512):
    """{key: shape} of styles.ROW with so many convolutions."""
    layout = {}
    for i in range(convs):
        layout[f"styles.{row}.convs.{2 * i}.weight"] = (head_width, width_in if i == 0 else head_width, 3, 3)
        layout[f"styles.{row}.convs.{2 * i}.bias"] = (head_width,)
    return layout | {f"styles.{row}.linear.weight": (w_dim, head_width), f"styles.{row}.linear.bias": (w_dim,)}


def encoder_layout(num_ws, channels=3, size=256, widths=PUBLISHED_WIDTHS, w_dim=512, head_width=512, depth=50):
    """{key: shape} of the whole encoder of pSp, and of e4e."""
    layout = trunk_layout(depth, channels, widths)
    for row in range(num_ws):
        convs = round(math.log2(size // (16 if row < 3 else 8 if row < 7 else 4)))
        layout |= head_layout(row, convs, widths[3], w_dim, head_width)
    for name, width in (("latlayer1", widths[2]), ("latlayer2", widths[1])):
        layout |= {f"{name}.weight": (widths[3], width, 1, 1), f"{name}.bias": (widths[3],)}
    return layout


def w_layout(channels=3, widths=PUBLISHED_WIDTHS, w_dim=512, depth=50):
    """{key: shape} of BackboneEncoderUsingLastLayerIntoW."""
    return trunk_layout(depth, channels, widths) | {"linear.weight": (w_dim, widths[3]), "linear.bias": (w_dim,)}


def w_plus_layout(num_ws, channels=3, widths=PUBLISHED_WIDTHS, w_dim=512, depth=50):
    """{key: shape} of BackboneEncoderUsingLastLayerIntoWPlus."""
    layout = trunk_layout(depth, channels, widths) | batch_norm("output_layer_2.0", widths[3])
    layout |= {"output_layer_2.3.weight": (widths[3], widths[3] * 49), "output_layer_2.3.bias": (widths[3],)}
    return layout | {"linear.weight": (w_dim * num_ws, widths[3]), "linear.bias": (w_dim * num_ws,)}


def restyle_layout(num_ws, channels=6, size=256, widths=PUBLISHED_WIDTHS, w_dim=512, head_width=512, depth=50):
    """{key: shape} of BackboneEncoder: all heads on the last map."""
    layout = trunk_layout(depth, channels, widths)
    for row in range(num_ws):
        layout |= head_layout(row, round(math.log2(size // 16)), widths[3], w_dim, head_width)
    return layout


def resnet_layout(num_ws, channels=6, size=256, widths=PUBLISHED_WIDTHS, w_dim=512, head_width=512):
    """{key: shape} of ResNetBackboneEncoder."""
    layout = {"conv1.weight": (widths[0], channels, 7, 7), "relu.weight": (widths[0],)} | batch_norm("bn1", widths[0])
    number, width_in = 0, widths[0]
    for width, count in zip(widths, (3, 4, 6, 3), strict=True):
        for _ in range(count):
            layout |= {f"body.{number}.conv1.weight": (width, width_in, 3, 3)} | batch_norm(f"body.{number}.bn1", width)
            layout |= {f"body.{number}.conv2.weight": (width, width, 3, 3)} | batch_norm(f"body.{number}.bn2", width)
            if width != width_in:
                layout[f"body.{number}.downsample.0.weight"] = (width, width_in, 1, 1)
                layout |= batch_norm(f"body.{number}.downsample.1", width)
            number, width_in = number + 1, width
    for row in range(num_ws):
        layout |= head_layout(row, round(math.log2(size // 16)), widths[3], w_dim, head_width)
    return layout


def published_width(resolution):
    """Channels of the published generators: a channel multiplier of 2."""
    return min(512, 32768 // resolution)


def decoder_layout(resolution, width=16, w_dim=32, mapping_layers=2):
    """{key: shape} of a generator in the layout of the files' decoder. `width`: of all resolutions, or a function."""
    width_of = width if callable(width) else lambda size: width
    layout = {"input.input": (1, width_of(4), 4, 4)}
    for i in range(mapping_layers):
        layout |= {f"style.{i + 1}.weight": (w_dim, w_dim), f"style.{i + 1}.bias": (w_dim,)}

    def modulated(name, out, width_in, kernel):
        return {
            f"{name}.conv.weight": (1, out, width_in, kernel, kernel),
            f"{name}.conv.modulation.weight": (width_in, w_dim),
            f"{name}.conv.modulation.bias": (width_in,),
        }

    def styled(name, out, width_in):
        return modulated(name, out, width_in, 3) | {f"{name}.noise.weight": (1,), f"{name}.activate.bias": (out,)}

    def to_rgb(name, width_in):
        return modulated(name, 3, width_in, 1) | {f"{name}.bias": (1, 3, 1, 1)}

    layout |= styled("conv1", width_of(4), width_of(4)) | to_rgb("to_rgb1", width_of(4))
    layout |= {"noises.noise_0": (1, 1, 4, 4)}
    for j in range(round(math.log2(resolution)) - 2):
        size = 2 ** (j + 3)
        layout |= styled(f"convs.{2 * j}", width_of(size), width_of(size // 2))
        layout |= {f"convs.{2 * j}.conv.blur.kernel": (4, 4)}
        layout |= styled(f"convs.{2 * j + 1}", width_of(size), width_of(size)) | to_rgb(f"to_rgbs.{j}", width_of(size))
        layout |= {f"to_rgbs.{j}.upsample.kernel": (4, 4)}
        layout |= {f"noises.noise_{2 * j + 1 + k}": (1, 1, size, size) for k in range(2)}
    return layout


def filled(layout, prefix="", seed=0):
    """Random tensors of a layout, of the sizes that trained ones have, so that rounding errors do not grow."""
    draw = torch.Generator().manual_seed(seed)
    return {prefix + key: _tensor(key, shape, draw) for key, shape in layout.items()}


def _tensor(key, shape, draw):
    if key.endswith("num_batches_tracked"):
        return torch.tensor(7)
    if key.endswith(".kernel"):
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        return taps[:, None] * taps / 64 * 4
    numbers = torch.randn(shape, generator=draw)
    if key.endswith("running_var"):
        return 1 + 0.5 * numbers.tanh()
    if key.endswith("res_layer.4.weight") or key.endswith("bn2.weight"):
        return 0.2 + 0.05 * numbers  # the end of a residual branch
    if len(shape) == 1 and key.endswith("weight") and ".noise." not in key and shape != (1,):
        return 1 + 0.2 * numbers if ".2.weight" not in key and "relu" not in key else 0.25 + 0.1 * numbers
    if key.endswith("modulation.bias"):
        return 1 + 0.1 * numbers
    if key.endswith(("bias", "running_mean", "noise.weight")):
        return 0.1 * numbers
    if len(shape) == 4 and shape[0] > 1:  # a plain convolution; equalized layers scale themselves
        return numbers * math.sqrt(1.5 / math.prod(shape[1:]))
    return numbers / math.sqrt(shape[1]) if key.endswith("output_layer_2.3.weight") else numbers


@pytest.fixture(scope="session")
def layouts():
    """The functions above by name."""
    return {
        "trunk": trunk_layout,
        "encoder": encoder_layout,
        "w": w_layout,
        "w_plus": w_plus_layout,
        "restyle": restyle_layout,
        "resnet": resnet_layout,
        "decoder": decoder_layout,
        "published_width": published_width,
        "fill": filled,
    }
