"""Layer swapping: which weights come from where, and that the result is a generator like any other."""

import pytest
import torch

import stylegan2
from stylegan2.latents.blend import blend, style_share
from stylegan2.loading import save_generator
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import UserError


def generator(seed, architecture="skip", resolution=32, **sizes):
    torch.manual_seed(seed)
    settings = {"z_dim": 8, "w_dim": 8, "channel_base": 128, "channel_max": 8, "mapping_layers": 2} | sizes
    network = GENERATORS.build("stylegan2", resolution, architecture=architecture, **settings).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


def resolution_of(name):
    """Of a parameter of the synthesis, from the order of the layers: 4; 8, 8; 16, 16; 32, 32."""
    _, part, index = f"{name}.".split(".")[:3]
    if part == "const":
        return 4
    return {"layers": lambda k: 4 << (k + 1) // 2, "to_rgbs": lambda k: 4 << k, "skips": lambda k: 8 << k}[part](
        int(index)
    )


def test_coarse_layers_are_of_the_base_and_fine_ones_of_the_style():
    base, style = generator(0), generator(1)
    blended = blend(base, style, 16)
    of_base, of_style = base.state_dict(), style.state_dict()
    for name, tensor in blended.state_dict().items():
        from_style = name.startswith("synthesis") and resolution_of(name) >= 16
        assert torch.equal(tensor, (of_style if from_style else of_base)[name]), name
    assert torch.equal(blended.w_avg, base.w_avg)


def test_every_architecture():
    for architecture in ("residual", "plain"):
        base, style = generator(0, architecture), generator(1, architecture)
        fine = blend(base, style, 32).state_dict()
        for name, tensor in fine.items():
            last_rgb = name.startswith("synthesis.to_rgbs")  # these have the one of the image's resolution alone
            from_style = name.startswith("synthesis") and (last_rgb or resolution_of(name) >= 32)
            assert torch.equal(tensor, (style if from_style else base).state_dict()[name]), name


def test_the_picture_is_the_base_where_nothing_was_swapped():
    base, style = generator(0), generator(1)
    z = torch.randn(2, 8)
    with torch.no_grad():
        assert torch.equal(blend(base, base, 16)(z), base(z))
        images = [network(z) for network in (base, style, blend(base, style, 8), blend(base, style, 32))]
    for i, image in enumerate(images):
        assert all(not torch.allclose(image, other, atol=1e-3) for other in images[i + 1 :])


def test_base_and_style_are_left_alone():
    base, style = generator(0), generator(1)
    before = [{k: v.clone() for k, v in network.state_dict().items()} for network in (base, style)]
    blend(base, style, 8, ramp=2)
    for network, state in zip((base, style), before, strict=True):
        assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in state.items())


def test_a_ramp_mixes_the_weights_in_equal_steps():
    assert [style_share(r, 8) for r in (4, 8, 16, 32)] == [0, 1, 1, 1]
    assert [style_share(r, 8, 2) for r in (4, 8, 16, 32, 64)] == pytest.approx([0, 1 / 3, 2 / 3, 1, 1])
    base, style = generator(0), generator(1)
    mixed = blend(base, style, 16, ramp=1).state_dict()
    weight, map_ = "synthesis.layers.3.weight", "synthesis.layers.3.noise_const"  # at 16 px
    expected = (base.state_dict()[weight] + style.state_dict()[weight]) / 2
    torch.testing.assert_close(mixed[weight], expected)
    assert torch.equal(mixed[map_], style.state_dict()[map_])  # drawn, so it is either's
    assert torch.equal(mixed["synthesis.layers.5.weight"], style.state_dict()["synthesis.layers.5.weight"])


def test_the_result_is_saved_and_loaded_as_any_generator(tmp_path):
    blended = blend(generator(0), generator(1), 16)
    save_generator(tmp_path / "blend.safetensors", blended, {})
    loaded, metadata = stylegan2.load(tmp_path / "blend.safetensors")
    z = torch.randn(2, 8)
    with torch.no_grad():
        torch.testing.assert_close(loaded(z), blended(z))
    assert metadata["kind"] == "stylegan2"


@pytest.mark.parametrize(
    ("change", "arguments", "words"),
    [
        ({"channel_max": 4}, (16,), "of the same sizes, but channel_max is 8 and 4"),
        ({"resolution": 16}, (16,), "of the same sizes, but img_resolution is 32 and 16"),
        ({}, (4,), "swap_from must be one of 8, 16, 32, not 4"),
        ({}, (24,), "swap_from must be one of 8, 16, 32, not 24"),
        ({}, (8, -1), "ramp must not be negative"),
    ],
)
def test_what_cannot_be_blended_is_one_sentence(change, arguments, words):
    with pytest.raises(UserError, match=words):
        blend(generator(0), generator(1, **change), *arguments)


def test_another_kind_of_generator_is_one_sentence():
    with pytest.raises(UserError, match="between StyleGAN2 generators, not with a Linear"):
        blend(generator(0), torch.nn.Linear(2, 2), 16)
