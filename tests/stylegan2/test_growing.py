"""The networks that grow against naive float64 references from the papers, and what fading in must keep."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import stylegan2
from stylegan2 import ops
from stylegan2.networks import growing, pggan, stylegan
from stylegan2.networks.growing import fade, fade_real
from stylegan2.networks.layers import HeConv2d, normalize_2nd_moment
from stylegan2.networks.registry import DISCRIMINATORS, GENERATORS
from stylegan2.networks.sizes import RESOLUTIONS
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.registry import built_as

CLOSE = {"rtol": 0.0, "atol": 1e-9}
EXACT = {"rtol": 0.0, "atol": 0.0}
SMALL = {"z_dim": 6, "channel_base": 96, "channel_max": 7}
STYLED = {**SMALL, "w_dim": 5, "mapping_layers": 3}


# The references: PGGAN's table 2 and section 4, StyleGAN's figure 1b and appendix C.


def lrelu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def he(p: dict, name: str, gain: float = math.sqrt(2)) -> Tensor:
    weight = p[f"{name}.weight"]
    return weight * gain / math.sqrt(weight[0].numel())


def bias(p: dict, name: str) -> Tensor:
    return p[f"{name}.bias"].reshape(1, -1, 1, 1)


def pixel_norm(x: Tensor) -> Tensor:
    out = torch.empty_like(x)
    for n in range(len(x)):
        for i in range(x.shape[2]):
            for j in range(x.shape[3]):
                vector = x[n, :, i, j]
                out[n, :, i, j] = vector / math.sqrt(float(vector @ vector) / len(vector) + 1e-8)
    return out


def doubled(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def halved(x: Tensor) -> Tensor:
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def low_passed(x: Tensor) -> Tensor:
    padded, taps = F.pad(x, (1, 1, 1, 1)), (0.25, 0.5, 0.25)
    height, width = x.shape[2:]
    return sum(taps[i] * taps[j] * padded[..., i : i + height, j : j + width] for i in range(3) for j in range(3))  # type: ignore[return-value]


def naive_adain(x: Tensor, styles: Tensor) -> Tensor:
    out = torch.empty_like(x)
    for n in range(len(x)):
        for c in range(x.shape[1]):
            values = x[n, c].flatten().tolist()
            mean = sum(values) / len(values)
            sigma = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values) + 1e-8)
            out[n, c] = styles[n, c] * (x[n, c] - mean) / sigma + styles[n, x.shape[1] + c]
    return out


def reference_pggan(p: dict, w: Tensor, blocks: int) -> Tensor:
    x = torch.einsum("nc,ocij->noij", w, he(p, "blocks.0.conv0").flip(2, 3)) + bias(p, "blocks.0.conv0")
    for k in range(blocks):
        if k:
            x = F.conv2d(doubled(x), he(p, f"blocks.{k}.conv0"), padding=1) + bias(p, f"blocks.{k}.conv0")
        x = pixel_norm(lrelu(x))
        x = F.conv2d(x, he(p, f"blocks.{k}.conv1"), padding=1) + bias(p, f"blocks.{k}.conv1")
        x = pixel_norm(lrelu(x))
    return F.conv2d(x, he(p, f"to_rgbs.{blocks - 1}", gain=1.0)) + bias(p, f"to_rgbs.{blocks - 1}")


def reference_stylegan(p: dict, ws: Tensor, blocks: int) -> Tensor:
    x = p["const"].repeat(len(ws), 1, 1, 1)
    for k in range(2 * blocks):
        name = f"layers.{k}"
        if k:
            x = doubled(x) if k > 1 and k % 2 == 0 else x
            x = F.conv2d(x, he(p, name), padding=1)
            x = low_passed(x) if k > 1 and k % 2 == 0 else x
        x = x + p[f"{name}.noise_strength"].reshape(1, -1, 1, 1) * p[f"{name}.noise_const"]
        styles = ws[:, k] @ he(p, f"{name}.affine", gain=1.0).t() + p[f"{name}.affine.bias"]
        x = naive_adain(lrelu(x + bias(p, name)), styles)
    return F.conv2d(x, he(p, f"to_rgbs.{blocks - 1}", gain=1.0)) + bias(p, f"to_rgbs.{blocks - 1}")


def reference_discriminator(p: dict, images: Tensor, first: int, low_pass: bool) -> Tensor:
    """For one group of all samples."""
    x = lrelu(F.conv2d(images, he(p, f"from_rgbs.{first}")) + bias(p, f"from_rgbs.{first}"))
    k = first
    while f"blocks.{k}.conv0.weight" in p:
        x = lrelu(F.conv2d(x, he(p, f"blocks.{k}.conv0"), padding=1) + bias(p, f"blocks.{k}.conv0"))
        x = low_passed(x) if low_pass else x
        x = lrelu(halved(F.conv2d(x, he(p, f"blocks.{k}.conv1"), padding=1)) + bias(p, f"blocks.{k}.conv1"))
        k += 1
    deviation = (x - x.mean(0)).square().mean(0).add(1e-8).sqrt().mean()
    x = torch.cat([x, deviation.expand(len(x), 1, 4, 4)], dim=1)
    x = lrelu(F.conv2d(x, he(p, "conv"), padding=1) + bias(p, "conv"))
    x = lrelu(F.conv2d(x, he(p, "fc")) + bias(p, "fc")).flatten(1)
    return x @ he(p, "out", gain=1.0).t() + p["out.bias"]


# What is tested


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    """Every parameter and buffer drawn anew: biases and noise strengths start at 0 and would hide mistakes."""
    module.double()
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            tensor.copy_(torch.randn(tensor.shape, dtype=torch.float64))
    return module


def generators(resolution: int = 32, **sizes) -> dict[str, torch.nn.Module]:
    return {
        "pggan": randomised(GENERATORS.build("pggan", resolution, **SMALL, **sizes)),
        "adain": randomised(GENERATORS.build("stylegan", resolution, **STYLED, **sizes)),
        "demodulation": randomised(
            GENERATORS.build("stylegan", resolution, **STYLED, normalization="demodulation", **sizes)
        ),
    }


KINDS = ("pggan", "adain", "demodulation")


def rows(generator: torch.nn.Module, n: int = 3) -> Tensor:
    return torch.randn(n, generator.num_ws, generator.w_dim, dtype=torch.float64)


@pytest.mark.parametrize("with_bias", [False, True])
def test_resampling_convolutions_are_the_two_steps_in_one(with_bias):
    x, weight = torch.randn(2, 3, 6, 6).double(), torch.randn(5, 3, 3, 3).double()
    offset = torch.randn(5).double() if with_bias else None
    torch.testing.assert_close(ops.upsample_conv2d(x, weight, offset), F.conv2d(doubled(x), weight, offset, padding=1))
    expected = halved(F.conv2d(x, weight, offset, padding=1))
    torch.testing.assert_close(ops.downsample_conv2d(x, weight, offset), expected)
    torch.testing.assert_close(ops.nearest_upsample2x(x), doubled(x))
    torch.testing.assert_close(ops.average_downsample2x(x), halved(x))
    torch.testing.assert_close(ops.binomial_blur(x), low_passed(x))


@pytest.mark.parametrize("operator", [ops.upsample_conv2d, ops.downsample_conv2d])
def test_resampling_convolutions_are_twice_differentiable(operator):
    inputs = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((1, 2, 4, 4), (2, 2, 3, 3))]
    assert torch.autograd.gradcheck(operator, inputs)
    assert torch.autograd.gradgradcheck(operator, inputs)


def test_pixel_norm_is_the_papers():
    x = torch.randn(2, 5, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(normalize_2nd_moment(x), pixel_norm(x), **CLOSE)


def test_adain_is_the_papers():
    x, styles = torch.randn(3, 4, 5, 5, dtype=torch.float64) * 3 + 1, torch.randn(3, 8, dtype=torch.float64)
    out = stylegan.adain(x, styles)
    torch.testing.assert_close(out, naive_adain(x, styles), **CLOSE)
    torch.testing.assert_close(out.mean([2, 3]), styles[:, 4:])
    torch.testing.assert_close(out.std([2, 3], correction=0), styles[:, :4].abs())


@pytest.mark.parametrize(("resolution", "blocks"), [(4, 1), (8, 2), (16, 3), (32, 4)])
def test_generators_equal_the_papers_formulas_at_every_resolution(resolution, blocks):
    G = generators()
    with torch.no_grad():
        w = rows(G["pggan"])
        expected = reference_pggan(G["pggan"].synthesis.state_dict(), w[:, 0], blocks)
        torch.testing.assert_close(G["pggan"].synthesis(w, resolution=resolution), expected, **CLOSE)
        ws = rows(G["adain"])
        expected = reference_stylegan(G["adain"].synthesis.state_dict(), ws, blocks)
        torch.testing.assert_close(G["adain"].synthesis(ws, resolution=resolution), expected, **CLOSE)


def test_demodulated_synthesis_is_stylegan2s_plain_one():
    """Same weights under other names: at full resolution the growing network is StyleGAN2's plain architecture."""
    ours = generators(16)["demodulation"]
    theirs = GENERATORS["stylegan2"](16, architecture="plain", **STYLED).double()
    weights = {**ours.state_dict()}
    weights = {k.replace("to_rgbs.2.", "to_rgbs.0."): v for k, v in weights.items() if "to_rgbs.0" not in k}
    kept = {k: v for k, v in weights.items() if "to_rgbs.1" not in k and "growth" not in k}
    theirs.load_state_dict(kept)
    assert ours.num_ws == theirs.num_ws
    z = torch.randn(3, 6, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours(z), theirs(z), **CLOSE)


@pytest.mark.parametrize("low_pass", ["none", "binomial"])
@pytest.mark.parametrize(("resolution", "first"), [(16, 0), (8, 1), (4, 2)])
def test_the_discriminator_equals_the_papers_formulas(low_pass, resolution, first):
    D = randomised(growing.Discriminator(16, 3, 96, 6, low_pass))
    images = torch.randn(4, 3, resolution, resolution, dtype=torch.float64)
    with torch.no_grad():
        expected = reference_discriminator(D.state_dict(), images, first, low_pass == "binomial")
        torch.testing.assert_close(D(images), expected, **CLOSE)


# Fading in


@pytest.mark.parametrize("kind", KINDS)
def test_a_resolution_fades_in_from_the_one_before(kind):
    G = generators()[kind]
    ws = rows(G)
    with torch.no_grad():
        old, new = (G.synthesis(ws, resolution=resolution) for resolution in (16, 32))
        torch.testing.assert_close(G.synthesis(ws, resolution=32, alpha=0.0), doubled(old), **EXACT)
        torch.testing.assert_close(G.synthesis(ws, resolution=32, alpha=1.0), new, **EXACT)
        torch.testing.assert_close(G.synthesis(ws, resolution=32, alpha=0.25), 0.75 * doubled(old) + 0.25 * new)
        assert (new - doubled(old)).abs().max() > 0.1


@pytest.mark.parametrize("low_pass", growing.LOW_PASSES)
def test_the_discriminator_fades_in_alike(low_pass):
    D = randomised(growing.Discriminator(16, 3, 96, 6, low_pass))
    images = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        old, new = D(halved(images)), D(images)
        torch.testing.assert_close(D(images, alpha=0.0), old, **CLOSE)
        torch.testing.assert_close(D(images, alpha=1.0), new, **EXACT)
        half = D(images, alpha=0.5)
        assert min((half - old).abs().max(), (half - new).abs().max()) > 1e-3


def test_real_images_fade_in_alike():
    images = torch.randn(2, 3, 16, 16)
    assert fade_real(images, 16, 1.0) is images
    torch.testing.assert_close(fade_real(images, 4, 1.0), F.avg_pool2d(images, 4))
    eight, four = halved(images), halved(halved(images))
    torch.testing.assert_close(fade_real(images, 8, 0.0), doubled(four))
    torch.testing.assert_close(fade_real(images, 8, 0.3), 0.7 * doubled(four) + 0.3 * eight)
    torch.testing.assert_close(fade(four, eight, 0.3), fade_real(images, 8, 0.3))


@pytest.mark.parametrize("kind", KINDS)
def test_new_layers_learn_only_when_they_are_shown(kind):
    G = generators(16)[kind]
    G.synthesis(rows(G), resolution=8, alpha=0.5).square().sum().backward()
    names = {name for name, parameter in G.synthesis.named_parameters() if parameter.grad is not None}
    assert any(name.startswith("to_rgbs.0") for name in names)
    assert any(name.startswith("to_rgbs.1") for name in names)
    assert not any(name.startswith(("to_rgbs.2", "blocks.2", "layers.5")) for name in names)


# A generator that has not grown up yet


@pytest.mark.parametrize("kind", KINDS)
def test_a_half_grown_generator_shows_what_it_has_learned_whoever_loads_it(kind, tmp_path):
    G = generators()[kind].float()
    G.synthesis.growth.reached = (16, 0.25)
    stylegan2.save_generator(tmp_path / "g.safetensors", G, {"cur_nimg": 3})
    loaded, metadata = stylegan2.load(tmp_path / "g.safetensors")
    assert metadata["generator"] == built_as(G)
    assert loaded.synthesis.growth.reached == (16, 0.25)
    ws = rows(G).float()
    with torch.no_grad():
        images = loaded.synthesis(ws)
        assert images.shape == (3, 3, 32, 32)
        torch.testing.assert_close(images, doubled(G.synthesis(ws, resolution=16, alpha=0.25)), **EXACT)


@pytest.mark.parametrize("dtype", [None, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_saved_is_loaded(kind, dtype, tmp_path):
    G = generators(16, img_channels=1)[kind].float()
    stylegan2.save_generator(tmp_path / "g.safetensors", G, {}, dtype)
    loaded, _ = stylegan2.load(tmp_path / "g.safetensors")
    assert built_as(loaded) == built_as(G)
    assert loaded.synthesis.growth.reached == (16, 1.0)
    tolerance = EXACT if dtype is None else {"rtol": 1e-3, "atol": 1e-6}
    for name, tensor in G.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, check_dtype=False, **tolerance)


# Sizes, interface and mistakes


@pytest.mark.parametrize(("kind", "num_ws"), [("pggan", 1), ("adain", 8), ("demodulation", 8)])
def test_the_interface_of_a_generator(kind, num_ws):
    G = generators()[kind]
    z = torch.randn(2, G.z_dim, dtype=torch.float64)
    with torch.no_grad():
        ws = G.mapping(z)
        torch.testing.assert_close(G(z), G.synthesis(ws), **EXACT)
        assert ws.shape == (2, num_ws, G.w_dim)
        assert G.w_avg.shape == (G.w_dim,)
        assert (G.num_ws, G.img_resolution, G.img_channels, G.num_classes) == (num_ws, 32, 3, 0)
        first, second = (G.synthesis(ws, noise_mode="random") for _ in range(2))
        assert torch.equal(first, second) == (kind == "pggan")
        torch.testing.assert_close(G.synthesis(ws, noise_mode="none"), G.synthesis(ws, noise_mode="none"))
    twin = GENERATORS.build(**built_as(G)).double()
    twin.load_state_dict(G.state_dict())
    torch.testing.assert_close(twin(z), G(z), **EXACT)


@pytest.mark.parametrize("kind", ["adain", "demodulation"])
def test_each_row_of_ws_matters(kind):
    G = generators(16)[kind]
    ws = rows(G, n=1)
    with torch.no_grad():
        before = G.synthesis(ws)
        for k in range(G.num_ws):
            changed = ws.clone()
            changed[:, k] += 1
            assert (G.synthesis(changed) - before).abs().max() > 1e-6, k


def test_a_new_stylegan_starts_as_the_paper_says():
    G = GENERATORS.build("stylegan", 16, **STYLED)
    for name, parameter in G.synthesis.named_parameters():
        if name.endswith("affine.bias"):
            scales, shifts = parameter.chunk(2)
            assert (scales == 1).all()
            assert (shifts == 0).all()
        elif name.endswith(("bias", "noise_strength")):
            assert (parameter == 0).all(), name
        elif name == "const":
            assert (parameter == 1).all()
        else:
            assert parameter.std() > 0.5, name


def test_pggans_widths_are_the_papers():
    with torch.device("meta"):
        G, D = GENERATORS.build("pggan", 1024), pggan.build_discriminator(1024)
    assert [block.conv1.weight.shape[0] for block in G.synthesis.blocks] == [512, 512, 512, 512, 256, 128, 64, 32, 16]
    assert [rgb.weight.shape[0] for rgb in D.from_rgbs] == [16, 32, 64, 128, 256, 512, 512, 512, 512]
    # Table 2 gives 23.1 M trainable parameters each.
    assert [round(sum(p.numel() for p in network.parameters()) / 1e6, 1) for network in (G, D)] == [23.1, 23.1]


def test_stylegans_size_is_the_papers():
    """Section 2 of the paper: 26.2 M trainable parameters, against 23.1 M in the traditional generator."""
    with torch.device("meta"):
        G = GENERATORS.build("stylegan", 1024)
    assert round(sum(p.numel() for p in G.parameters()) / 1e6, 1) == 26.2


def test_pggan_has_nothing_to_truncate():
    G = generators()["pggan"]
    with pytest.raises(UserError, match="no intermediate latent space W to truncate in: use psi 1"):
        G(torch.randn(1, 6, dtype=torch.float64), truncation_psi=0.5)


def test_the_sums_without_activation_have_no_gain():
    x, layer = torch.randn(2, 4, 3, 3), HeConv2d(4, 5, 1, activate=False)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight / 2))


@pytest.mark.parametrize("name", ["pggan", "stylegan"])
@pytest.mark.parametrize("registry", [GENERATORS, DISCRIMINATORS], ids=["G", "D"])
@pytest.mark.parametrize("resolution", [24, 4, 8192])
def test_sizes_that_do_not_exist_are_named(name, registry, resolution):
    assert resolution not in RESOLUTIONS
    with pytest.raises(UserError, match=f"a power of two from 8 to 4096, not {resolution}"):
        registry[name](resolution)


def test_what_does_not_exist_is_named():
    with pytest.raises(UserError, match="there is no normalization 'batch': choose one of adain, demodulation"):
        GENERATORS.build("stylegan", 16, normalization="batch")
    with pytest.raises(UserError, match="unknown filter 'box': choose one of none, binomial, fir"):
        growing.Discriminator(16, low_pass="box")
