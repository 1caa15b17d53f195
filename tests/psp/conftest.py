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


def encoder_layout(num_ws, channels=3, size=256, widths=PUBLISHED_WIDTHS, w_dim=512, head_width=512, depth=50):
    """{key: shape} of the whole encoder."""
    layout = trunk_layout(depth, channels, widths)
    for row in range(num_ws):
        spatial = size // (16 if row < 3 else 8 if row < 7 else 4)
        for i in range(round(math.log2(spatial))):
            width_in = widths[3] if i == 0 else head_width
            layout[f"styles.{row}.convs.{2 * i}.weight"] = (head_width, width_in, 3, 3)
            layout[f"styles.{row}.convs.{2 * i}.bias"] = (head_width,)
        layout[f"styles.{row}.linear.weight"] = (w_dim, head_width)
        layout[f"styles.{row}.linear.bias"] = (w_dim,)
    for name, width in (("latlayer1", widths[2]), ("latlayer2", widths[1])):
        layout |= {f"{name}.weight": (widths[3], width, 1, 1), f"{name}.bias": (widths[3],)}
    return layout


def decoder_layout(resolution, width=16, w_dim=32, mapping_layers=2):
    """{key: shape} of a generator in the layout of the files' decoder, with one width for all resolutions."""
    layout = {"input.input": (1, width, 4, 4)}
    for i in range(mapping_layers):
        layout |= {f"style.{i + 1}.weight": (w_dim, w_dim), f"style.{i + 1}.bias": (w_dim,)}

    def modulated(name, out, kernel):
        return {
            f"{name}.conv.weight": (1, out, width, kernel, kernel),
            f"{name}.conv.modulation.weight": (width, w_dim),
            f"{name}.conv.modulation.bias": (width,),
        }

    def styled(name):
        return modulated(name, width, 3) | {f"{name}.noise.weight": (1,), f"{name}.activate.bias": (width,)}

    layout |= (
        styled("conv1") | modulated("to_rgb1", 3, 1) | {"to_rgb1.bias": (1, 3, 1, 1), "noises.noise_0": (1, 1, 4, 4)}
    )
    for j in range(round(math.log2(resolution)) - 2):
        size = 2 ** (j + 3)
        layout |= styled(f"convs.{2 * j}") | {f"convs.{2 * j}.conv.blur.kernel": (4, 4)} | styled(f"convs.{2 * j + 1}")
        layout |= modulated(f"to_rgbs.{j}", 3, 1) | {f"to_rgbs.{j}.bias": (1, 3, 1, 1)}
        layout |= {f"to_rgbs.{j}.upsample.kernel": (4, 4)}
        layout |= {f"noises.noise_{2 * j + 1 + k}": (1, 1, size, size) for k in range(2)}
    return layout


def filled(layout, prefix="", seed=0):
    """Random tensors of a layout: positive variances, integer counters."""
    draw = torch.Generator().manual_seed(seed)
    tensors = {}
    for key, shape in layout.items():
        if key.endswith("num_batches_tracked"):
            tensors[prefix + key] = torch.tensor(7)
        elif key.endswith(".kernel"):
            taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
            tensors[prefix + key] = taps[:, None] * taps / 64 * 4
        elif key.endswith("running_var"):
            tensors[prefix + key] = torch.rand(shape, generator=draw) + 0.5
        else:
            fan_in = math.prod(shape[1:]) if len(shape) == 4 and shape[0] > 1 else 1
            tensors[prefix + key] = torch.randn(shape, generator=draw) / math.sqrt(fan_in)
    return tensors


@pytest.fixture(scope="session")
def layouts():
    """The functions above by name."""
    return {"trunk": trunk_layout, "encoder": encoder_layout, "decoder": decoder_layout, "fill": filled}
