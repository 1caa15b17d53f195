"""16-bit numbers in the highest resolutions: near float32 in values and derivatives of both orders, and in range."""

import copy

import pytest
import torch

from stylegan2 import losses
from stylegan2.networks.growing import growth_of
from stylegan2.networks.precision import CONV_CLAMP, set_precision
from stylegan2.networks.registry import DISCRIMINATORS, GENERATORS
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.registry import built_as

SIZES = {"img_resolution": 64, "z_dim": 16, "w_dim": 16, "channel_base": 512, "channel_max": 16, "mapping_layers": 2}
SYSTEMS = {
    "stylegan2": ("stylegan2", {}),
    "residual": ("stylegan2", {"architecture": "residual"}),
    "stylegan": ("stylegan", {}),
    "demodulation": ("stylegan", {"normalization": "demodulation"}),
    "pggan": ("pggan", {}),
}
HALVES = {torch.float16: 0.01, torch.bfloat16: 0.04}  # relative differences of images and logits
# Of derivatives in float16, which rounding moves across the kink of the leaky ReLU; in bfloat16 four times as much.
DERIVATIVES = {"stylegan2": 0.01, "residual": 0.1, "stylegan": 0.06, "demodulation": 0.02, "pggan": 0.15}


def networks(system):
    torch.manual_seed(0)
    arch, own = SYSTEMS[system]
    G, D = (registry.build_from(arch, {**SIZES, **own}) for registry in (GENERATORS, DISCRIMINATORS))
    for layer in G.synthesis.modules():
        if hasattr(layer, "noise_strength"):
            torch.nn.init.normal_(layer.noise_strength)
    return G, D


def codes(G, count=3):
    with torch.no_grad():
        return G.mapping(torch.randn(count, G.z_dim))


def gradients(module, loss):
    found = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True, retain_graph=True)
    return torch.cat([gradient.flatten() for gradient in found if gradient is not None])


def assert_near(actual, expected, limit):
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == other.dtype == torch.float32
        assert one.isfinite().all()
        assert (one - other).norm() <= limit * other.norm()


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("system", SYSTEMS)
def test_both_networks_and_their_derivatives_are_near_float32(system, dtype):
    G, D = networks(system)
    ws = codes(G)

    def everything():
        watched = ws.clone().requires_grad_(True)
        images = G.synthesis(watched)  # [N, C, R, R]
        torch.manual_seed(1)
        lengths = losses.path_lengths(images, watched)
        real = torch.tanh(images.detach()).requires_grad_(True)
        logits = D(real)
        penalty = losses.r1(logits, real)
        learned = [gradients(G.synthesis, images.square().mean()), gradients(G.synthesis, lengths.mean())]
        learned += [gradients(D, logits.mean()), gradients(D, penalty.mean())]
        return [images, logits], [lengths, penalty, *learned]

    values, derivatives = everything()
    set_precision(G, dtype)
    set_precision(D, dtype)
    half_values, half_derivatives = everything()
    assert_near(half_values, values, HALVES[dtype])
    assert not torch.equal(half_values[0], values[0])
    assert_near(half_derivatives, derivatives, DERIVATIVES[system] * HALVES[dtype] / HALVES[torch.float16])


@pytest.mark.parametrize("system", SYSTEMS)
def test_which_resolutions_are_reduced(system):
    G, D = networks(system)
    seen = {"G": {}, "D": {}}

    def watch(name):
        def note(layer, inputs, output):
            size = max(inputs[0].shape[2], output.shape[2])
            seen[name].setdefault(size, set()).add(inputs[0].dtype)

        return note

    blocks = G.synthesis.blocks if hasattr(G.synthesis, "blocks") else G.synthesis.layers
    for layer in blocks:
        layer.register_forward_hook(watch("G"))
    for block in D.blocks:
        block.register_forward_hook(watch("D"))
    for network in (G, D):
        set_precision(network, torch.bfloat16, num_resolutions=2)
    D(G.synthesis(codes(G)))
    half, full = {torch.bfloat16}, {torch.float32}
    assert seen["G"] == {4: full, 8: full, 16: full, 32: half, 64: half}
    assert seen["D"] == {8: full, 16: full, 32: half, 64: half}
    for network in (G, D):
        set_precision(network, torch.bfloat16, num_resolutions=9)
    seen["G"].clear()
    seen["D"].clear()
    D(G.synthesis(codes(G)))
    assert seen["G"] == {4: full, 8: half, 16: half, 32: half, 64: half}
    assert seen["D"] == {8: half, 16: half, 32: half, 64: half}


def test_full_precision_again_is_as_before_and_nothing_is_stored():
    G, _ = networks("stylegan2")
    ws, names, built = codes(G), set(G.state_dict()), built_as(G)
    expected = G.synthesis(ws)
    set_precision(G, torch.float16)
    twin = copy.deepcopy(G)
    assert torch.equal(twin.synthesis(ws), G.synthesis(ws))
    assert (set(G.state_dict()), built_as(G)) == (names, built)
    assert all(tensor.dtype == torch.float32 for tensor in G.state_dict().values())
    set_precision(G, torch.float32)
    assert torch.equal(G.synthesis(ws), expected)


@pytest.mark.parametrize("system", ["stylegan2", "residual", "demodulation"])
@pytest.mark.parametrize("count", [1, 3])
def test_float16_does_not_overflow_where_styles_and_weights_are_large(system, count):
    """Demodulation takes their size out again, but in between their products would be beyond 65,504."""
    G, _ = networks(system)
    with torch.no_grad():
        for layer in G.synthesis.layers:
            layer.weight.mul_(300)
            layer.affine.bias.mul_(5_000)
            layer.affine.weight.mul_(5_000)
        ws = codes(G, count)
        expected = G.synthesis(ws)
        set_precision(G, torch.float16)
        assert_near([G.synthesis(ws)], [expected], HALVES[torch.float16])


@pytest.mark.parametrize("system", SYSTEMS)
def test_activations_stay_in_range(system):
    _, D = networks(system)
    set_precision(D, torch.float16)
    images = 1e4 * torch.randn(2, 3, 64, 64)
    found = []
    D.blocks[0].register_forward_hook(lambda block, inputs, output: found.extend([inputs[0], output]))
    with torch.no_grad():
        assert D(images).isfinite().all()
    assert found[0].abs().max() == CONV_CLAMP
    assert found[1].abs().max() <= 2 * CONV_CLAMP


def test_a_single_image_without_gradients_is_the_same():
    G, _ = networks("stylegan2")
    set_precision(G, torch.float16)
    ws = codes(G)
    with torch.no_grad():
        one = G.synthesis(ws[:1])
    assert_near([one], [G.synthesis(ws)[:1].detach()], HALVES[torch.float16])


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("system", ["pggan", "stylegan", "demodulation"])
@pytest.mark.parametrize(("resolution", "alpha"), [(4, 1.0), (8, 0.5), (32, 0.25), (64, 0.5)])
@torch.no_grad()
def test_growing_networks_fade_between_types(system, dtype, resolution, alpha):
    G, D = networks(system)
    assert growth_of(G) is not None
    ws = codes(G)

    def forward():
        images = G.synthesis(ws, resolution=resolution, alpha=alpha)
        return [images, D(images, alpha=alpha)]

    expected = forward()
    for network in (G, D):
        set_precision(network, dtype, num_resolutions=2)
    assert_near(forward(), expected, HALVES[dtype])


def test_what_does_not_exist_is_named():
    G, _ = networks("pggan")
    with pytest.raises(UserError, match="not in torch.int8"):
        set_precision(G, torch.int8)
