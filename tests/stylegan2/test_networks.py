"""StyleGAN2's networks against a naive float64 reference written from the paper's formulas: loops, no fused tricks.

The reference shares no code with the package: it reads parameters by name and computes with plain convolutions.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan2.networks.registry import GENERATORS
from stylegan2.networks.sizes import ARCHITECTURES
from stylegan2.networks.stylegan2 import Discriminator, Generator
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.registry import built_as

TOLERANCE = {"rtol": 0.0, "atol": 1e-9}
SMALL = {"z_dim": 6, "w_dim": 5, "channel_base": 96, "channel_max": 7, "mapping_layers": 3}


# The reference: appendix B of the StyleGAN2 paper, one sample and one tap at a time.


def fir(x: Tensor, before: int, after: int, gain: float) -> Tensor:
    """Correlate with [1, 3, 3, 1] in each direction, as a sum of shifted images."""
    taps = [1 / 8, 3 / 8, 3 / 8, 1 / 8]
    x = F.pad(x, (before, after, before, after))
    height, width = x.shape[2] - 3, x.shape[3] - 3
    total = torch.zeros(*x.shape[:2], height, width, dtype=x.dtype)
    for i in range(4):
        for j in range(4):
            total += gain * taps[i] * taps[j] * x[:, :, i : i + height, j : j + width]
    return total


def insert_zeros(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    out = torch.zeros(n, c, 2 * h, 2 * w, dtype=x.dtype)
    for i in range(h):
        for j in range(w):
            out[:, :, 2 * i, 2 * j] = x[:, :, i, j]
    return out


def upsample(x: Tensor) -> Tensor:
    return fir(insert_zeros(x), before=2, after=1, gain=4.0)


def downsample(x: Tensor) -> Tensor:
    return fir(x, before=1, after=1, gain=1.0)[:, :, ::2, ::2]


def lrelu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)


def dense(x: Tensor, p: dict, name: str, multiplier: float = 1.0) -> Tensor:
    weight, bias = p[f"{name}.weight"], p[f"{name}.bias"]
    return (x @ weight.t()) * multiplier / math.sqrt(weight.shape[1]) + bias * multiplier


def styled_weight(p: dict, name: str, w: Tensor, demodulate: bool) -> Tensor:
    """Equations 1 and 3 for one sample: w [w_dim] -> its own convolution weight [O, I, k, k]."""
    weight = p[f"{name}.weight"]
    style = dense(w[None], p, f"{name}.affine")[0]
    out = weight.clone()
    for i in range(weight.shape[1]):
        out[:, i] = style[i] * weight[:, i] / math.sqrt(weight[0].numel())
    if demodulate:
        for o in range(weight.shape[0]):
            out[o] = out[o] / math.sqrt(float((out[o] ** 2).sum()) + 1e-8)
    return out


def styled_layer(x: Tensor, p: dict, name: str, w: Tensor, up: bool, clamp: float | None = None) -> Tensor:
    """Convolution, (low-pass,) noise, bias, activation: figure 2c, sample by sample."""
    outputs = []
    for sample, row in zip(x, w, strict=True):
        weight = styled_weight(p, name, row, demodulate=True)
        if up:
            spread = insert_zeros(sample[None])[:, :, :-1, :-1]
            y = F.conv2d(spread, weight.flip(2, 3), padding=2)
            y = fir(y, before=1, after=1, gain=4.0)
        else:
            y = F.conv2d(sample[None], weight, padding=1)
        y = y + p[f"{name}.noise_strength"] * p[f"{name}.noise_const"]
        y = lrelu(y + p[f"{name}.bias"].reshape(1, -1, 1, 1))
        outputs.append(y if clamp is None else y.clamp(-clamp, clamp))
    return torch.cat(outputs)


def rgb(x: Tensor, p: dict, name: str, w: Tensor, clamp: float | None = None) -> Tensor:
    outputs = []
    for sample, row in zip(x, w, strict=True):
        y = F.conv2d(sample[None], styled_weight(p, name, row, demodulate=False))
        y = y + p[f"{name}.bias"].reshape(1, -1, 1, 1)
        outputs.append(y if clamp is None else y.clamp(-clamp, clamp))
    return torch.cat(outputs)


def reference_synthesis(p: dict, ws: Tensor, architecture: str, clamp: float | None = None) -> Tensor:
    """Figure 7: the row of ws advances by one a convolution, and a ToRGB reads the row after its block's last one."""
    x = p["const"].repeat(len(ws), 1, 1, 1)
    x = styled_layer(x, p, "layers.0", ws[:, 0], up=False, clamp=clamp)
    row, block = 1, 0
    image = rgb(x, p, "to_rgbs.0", ws[:, row], clamp) if architecture == "skip" else None
    while f"layers.{row}.weight" in p:
        y = styled_layer(x, p, f"layers.{row}", ws[:, row], up=True, clamp=clamp)
        y = styled_layer(y, p, f"layers.{row + 1}", ws[:, row + 1], up=False, clamp=clamp)
        if architecture == "residual":
            weight = p[f"skips.{block}.weight"]
            # The paper upsamples, then convolves by 1x1.
            y = (y + F.conv2d(upsample(x), weight / math.sqrt(weight.shape[1]))) / math.sqrt(2)
        x, row, block = y, row + 2, block + 1
        if architecture == "skip":
            image = upsample(image) + rgb(x, p, f"to_rgbs.{block}", ws[:, row], clamp)
    return image if architecture == "skip" else rgb(x, p, "to_rgbs.0", ws[:, row], clamp)


def reference_mapping(p: dict, z: Tensor, layers: int, multiplier: float) -> Tensor:
    w = z / (z.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
    for i in range(layers):
        w = lrelu(dense(w, p, f"layers.{i}", multiplier))
    return w


def equal_conv(x: Tensor, p: dict, name: str, **kwargs) -> Tensor:
    weight = p[f"{name}.weight"]
    return F.conv2d(x, weight / math.sqrt(weight[0].numel()), p.get(f"{name}.bias"), **kwargs)


def stddev_map(x: Tensor, group: int, channels: int) -> Tensor:
    """PGGAN, section 3: each sample gets the mean standard deviation within its own group."""
    n, c, height, width = x.shape
    groups = n // group
    out = torch.zeros(n, channels, height, width, dtype=x.dtype)
    for sample in range(n):
        members = [m for m in range(n) if m % groups == sample % groups]
        assert len(members) == group
        for f in range(channels):
            part = x[members, f * c // channels : (f + 1) * c // channels]
            variance = (part - part.mean(dim=0)).square().mean(dim=0)
            out[sample, f] = (variance + 1e-8).sqrt().mean()
    return out


def reference_discriminator(p: dict, images: Tensor, architecture: str, group: int, channels: int) -> Tensor:
    x = lrelu(equal_conv(images, p, "from_rgbs.0"))
    block = 0
    while f"blocks.{block}.conv0.weight" in p:
        name = f"blocks.{block}"
        y = lrelu(equal_conv(x, p, f"{name}.conv0", padding=1))
        y = lrelu(equal_conv(fir(y, before=2, after=2, gain=1.0), p, f"{name}.conv1", stride=2))
        if architecture == "residual":
            y = (y + equal_conv(downsample(x), p, f"{name}.skip")) / math.sqrt(2)
        block += 1
        if architecture == "skip":
            images = downsample(images)
            y = y + lrelu(equal_conv(images, p, f"from_rgbs.{block}"))
        x = y
    x = torch.cat([x, stddev_map(x, group, channels)], dim=1)
    x = lrelu(equal_conv(x, p, "conv", padding=1)).flatten(1)
    return dense(lrelu(dense(x, p, "fc")), p, "out")


def randomised(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Every parameter and buffer drawn anew (biases and noise strengths start at 0 and would hide mistakes)."""
    generator = torch.Generator().manual_seed(seed)
    module.double()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            value = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            tensor.copy_(value + 1 if name.endswith("affine.bias") else value)
    return module


def small_generator(resolution: int, architecture: str = "skip", channels: int = 3, **kwargs) -> Generator:
    return randomised(
        GENERATORS.build("stylegan2", resolution, channels, architecture=architecture, **SMALL, **kwargs),
        seed=resolution,
    )


def rows(generator: Generator, n: int = 2) -> Tensor:
    """Latents that differ in every row and every sample."""
    shape = (n, generator.num_ws, generator.w_dim)
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


# Generator


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("resolution", "channels", "samples"), [(16, 1, 2), (16, 4, 1), (32, 2, 2), (32, 3, 1)])
def test_synthesis_equals_the_papers_formulas(architecture, resolution, channels, samples):
    generator = small_generator(resolution, architecture, channels)
    ws = rows(generator, samples)
    with torch.no_grad():
        images = generator.synthesis(ws)
        expected = reference_synthesis(generator.synthesis.state_dict(), ws, architecture)
    assert images.shape == (samples, channels, resolution, resolution)
    torch.testing.assert_close(images, expected, **TOLERANCE)


@pytest.mark.parametrize("corrected", [False, True])
def test_large_images_are_rendered_alone_where_no_gradient_is_wanted(monkeypatch, corrected):
    generator = Generator(32, z_dim=8, w_dim=8, channel_base=128, channel_max=8)
    ws = torch.randn(3, generator.num_ws, 8)
    features = torch.randn(3, generator.synthesis.feature_channels[16], 16, 16) if corrected else None
    with torch.no_grad():
        together = generator.synthesis(ws, features=features)
        monkeypatch.setattr("stylegan2.networks.stylegan2.SINGLE_FROM", 32)
        batches = []
        generator.synthesis.layers[0].register_forward_pre_hook(lambda layer, inputs: batches.append(len(inputs[0])))
        torch.testing.assert_close(generator.synthesis(ws, features=features), together, rtol=1e-4, atol=1e-5)
        assert batches == [1, 1, 1]
        generator.synthesis(ws, noise_mode="random")  # drawn for all samples at once, so that processes can share it
    generator.synthesis(ws)  # its weights' gradients are those of all samples
    assert batches[3:] == [3, 3]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("samples", [1, 2])
def test_clamp_bounds_every_layer(architecture, samples):
    generator = small_generator(16, architecture, conv_clamp=0.7)
    ws = rows(generator, samples)
    with torch.no_grad():
        images = generator.synthesis(ws)
        expected = reference_synthesis(generator.synthesis.state_dict(), ws, architecture, clamp=0.7)
        unclamped = reference_synthesis(generator.synthesis.state_dict(), ws, architecture)
    torch.testing.assert_close(images, expected, **TOLERANCE)
    assert (images - unclamped).abs().max() > 0.1


def test_forward_maps_normalised_z():
    generator = small_generator(16, mapping_lr_multiplier=0.05)
    z = torch.randn(3, generator.z_dim, dtype=torch.float64)
    with torch.no_grad():
        expected = reference_mapping(generator.mapping.state_dict(), z, layers=3, multiplier=0.05)
        torch.testing.assert_close(
            generator.mapping(z), expected[:, None].expand(-1, generator.num_ws, -1), **TOLERANCE
        )
        torch.testing.assert_close(generator(z), generator.synthesis(generator.mapping(z)))
        torch.testing.assert_close(generator.mapping(5 * z), generator.mapping(z), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_row_of_ws_matters(architecture):
    """Replacing row k changes the image; in the skip generator the last row reaches only the last ToRGB."""
    generator = small_generator(16, architecture)
    ws = rows(generator, n=1)
    with torch.no_grad():
        before = generator.synthesis(ws)
        for k in range(generator.num_ws):
            changed = ws.clone()
            changed[:, k] += 1
            assert (generator.synthesis(changed) - before).abs().max() > 1e-3, k


def test_noise_modes():
    generator = small_generator(16)
    ws = rows(generator)
    with torch.no_grad():
        const, none = generator.synthesis(ws, noise_mode="const"), generator.synthesis(ws, noise_mode="none")
        first, second = (generator.synthesis(ws, noise_mode="random") for _ in range(2))
        torch.testing.assert_close(const, generator.synthesis(ws, noise_mode="const"))
        assert min((first - second).abs().max(), (const - none).abs().max(), (first - const).abs().max()) > 1e-2
        for layer in generator.synthesis.layers:
            layer.noise_strength.zero_()
        torch.testing.assert_close(generator.synthesis(ws, noise_mode="random"), none)


def test_random_noise_differs_between_samples():
    generator = small_generator(16)
    ws = rows(generator, n=1).repeat(2, 1, 1)
    with torch.no_grad():
        a, b = generator.synthesis(ws, noise_mode="random")
    assert (a - b).abs().max() > 1e-2


def test_truncation_moves_towards_the_mean():
    generator = small_generator(16)
    z = torch.randn(4, generator.z_dim, dtype=torch.float64)
    with torch.no_grad():
        ws, mean = generator.mapping(z), generator.w_avg
        torch.testing.assert_close(generator.mapping(z, truncation_psi=1.0), ws)
        torch.testing.assert_close(generator.mapping(z, truncation_psi=0.0), mean.expand_as(ws))
        torch.testing.assert_close(generator.mapping(z, truncation_psi=0.3), mean + 0.3 * (ws - mean))
        torch.testing.assert_close(generator.mapping(z, truncation_psi=-1.0), 2 * mean - ws)
        cut = generator.mapping(z, truncation_psi=0.5, truncation_cutoff=2)
        torch.testing.assert_close(cut[:, :2], mean + 0.5 * (ws[:, :2] - mean))
        torch.testing.assert_close(cut[:, 2:], ws[:, 2:])
        torch.testing.assert_close(generator(z, truncation_psi=0.5), generator.synthesis((ws + mean) / 2))


def test_average_tracks_w():
    generator = small_generator(16)
    before = generator.w_avg.clone()
    w = torch.randn(8, generator.w_dim, dtype=torch.float64)
    generator.mapping.track_average(w, decay=0.9)
    torch.testing.assert_close(generator.w_avg, 0.9 * before + 0.1 * w.mean(dim=0))


@pytest.mark.parametrize(
    ("resolution", "num_ws"), [(8, 4), (16, 6), (64, 10), (256, 14), (1024, 18), (2048, 20), (4096, 22)]
)
def test_number_of_rows(resolution, num_ws):
    with torch.device("meta"):
        generator = GENERATORS.build("stylegan2", resolution)
        image = generator.synthesis(torch.empty(1, num_ws, 512))
    assert generator.num_ws == num_ws
    assert image.shape == (1, 3, resolution, resolution)
    assert generator.mapping(torch.empty(2, 512, device="meta")).shape == (2, num_ws, 512)


def test_paper_size():
    """Configuration F at 1024 has 30.37 M parameters in G, and widths from 512 down to 32."""
    with torch.device("meta"):
        generator = GENERATORS.build("stylegan2", 1024)
    widths = [layer.weight.shape[0] for layer in generator.synthesis.layers][::2]
    assert widths == [512, 512, 512, 512, 512, 256, 128, 64, 32]
    trainable = sum(parameter.numel() for parameter in generator.parameters())
    assert trainable == 30_370_060


def test_gradients_reach_every_parameter():
    generator = small_generator(16, "residual")
    generator(torch.randn(2, generator.z_dim, dtype=torch.float64), noise_mode="const").square().mean().backward()
    assert [name for name, p in generator.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_config_builds_the_same_network():
    generator = small_generator(16, "residual", 2, conv_clamp=3.0)
    twin = GENERATORS.build(**built_as(generator)).double()
    twin.load_state_dict(generator.state_dict())
    ws = rows(generator)
    with torch.no_grad():
        torch.testing.assert_close(twin.synthesis(ws), generator.synthesis(ws), rtol=0, atol=0)


@pytest.mark.parametrize("network", [Generator, Discriminator])
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"img_resolution": 24}, "24"),
        ({"img_resolution": 4}, "4"),
        ({"img_resolution": 8192}, "8192"),
        ({"img_resolution": 16, "img_channels": 0}, "0"),
        ({"img_resolution": 16, "img_channels": 5}, "5"),
        ({"img_resolution": 16, "architecture": "resnet"}, "resnet"),
        ({"img_resolution": 64, "channel_base": 32}, "channel_base must be at least the resolution, 64, not 32"),
    ],
)
def test_sizes_that_do_not_exist_are_named(network, arguments, named):
    with pytest.raises(UserError, match=named):
        network(**arguments)


# Discriminator


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("resolution", "channels"), [(16, 1), (32, 4)])
@pytest.mark.parametrize(("batch", "group", "stats"), [(4, 4, 1), (6, 2, 1), (6, 3, 2)])
def test_discriminator_equals_the_papers_formulas(architecture, resolution, channels, batch, group, stats):
    sizes = {"channel_base": 96, "channel_max": 6, "mbstd_group": group, "mbstd_channels": stats}
    network = randomised(Discriminator(resolution, channels, architecture=architecture, **sizes), seed=5)
    images = torch.randn(batch, channels, resolution, resolution, dtype=torch.float64)
    with torch.no_grad():
        logits = network(images)
        expected = reference_discriminator(network.state_dict(), images, architecture, group, stats)
    assert logits.shape == (batch, 1)
    torch.testing.assert_close(logits, expected, **TOLERANCE)


def small_discriminator(group: int) -> Discriminator:
    return randomised(Discriminator(16, channel_base=64, channel_max=6, mbstd_group=group), seed=6)


def test_parts_keep_their_statistics_apart():
    network = small_discriminator(group=2)
    fakes, reals = torch.randn(2, 4, 3, 16, 16, dtype=torch.float64).unbind(0)
    with torch.no_grad():
        together = network(torch.cat([fakes, reals]), parts=2)
        mixed = network(torch.cat([fakes, reals]), parts=1)
        torch.testing.assert_close(together, torch.cat([network(fakes), network(reals)]))
    assert (mixed - together).abs().max() > 1e-6


@pytest.mark.parametrize(("batch", "effective"), [(1, 1), (3, 1), (6, 2), (8, 4)])
def test_any_batch_is_grouped(batch, effective):
    network = small_discriminator(group=4)
    images = torch.randn(batch, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        expected = reference_discriminator(network.state_dict(), images, "residual", effective, 1)
        torch.testing.assert_close(network(images), expected, **TOLERANCE)
