"""What holds for every encoder, whichever files are in the folder."""

import pytest
import torch

from psp.encoders import (
    ENCODERS,
    corrected_features,
    encoder_for,
    upgraded,
    with_input_channels,
    without_conjugate_steps,
)
from psp.model import PSp
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.registry import built_as

LIGHT = sorted(name for name in ENCODERS.names() if name.startswith("light"))


def generator(resolution=64, img_channels=3):
    return GENERATORS.build(
        "stylegan2", resolution, img_channels, z_dim=16, w_dim=16, channel_base=512, channel_max=16, mapping_layers=2
    )


def test_the_papers_encoders_and_their_light_forms_are_there():
    wanted = {"gradual", "w", "w_plus_naive", "e4e", "restyle", "restyle_e4e", "restyle_resnet", "restyle_resnet_e4e"}
    wanted |= {"light", "light_w", "light_w_plus", "light_e4e", "light_restyle"}
    assert wanted <= set(ENCODERS.names())


def small_sizes(name):
    small = {} if name in LIGHT else {"widths": (16, 16, 32, 32), "units": (1, 1, 1, 1)}
    return small | (corrected_features(generator()) if "feature" in name else {})


@pytest.mark.parametrize("name", ENCODERS.names())
def test_every_encoder_works_behind_the_same_interface(name):
    small = small_sizes(name)
    encoder = ENCODERS.build(name, num_ws=10, w_dim=16, input_channels=4, input_size=32, **small)
    assert (encoder.num_ws, encoder.w_dim, encoder.input_channels, encoder.input_size) == (10, 16, 4, 32)
    model = PSp(encoder, generator()).eval()
    with torch.no_grad():
        w_plus = model.encode(torch.randn(2, 4, 32, 32)).w_plus
        assert w_plus.shape == (2, 10, 16)
        assert model(torch.randn(2, 4, 32, 32)).shape == (2, 3, 64, 64)
    with pytest.raises(UserError, match="the encoder reads images"):
        model.encode(torch.randn(2, 4, 64, 64))
    again = ENCODERS.build(**built_as(encoder))
    again.load_state_dict(encoder.state_dict())
    assert built_as(again) == built_as(encoder)
    assert built_as(again)["name"] == name


@pytest.mark.parametrize("name", ENCODERS.names())
def test_an_encoder_goes_on_with_sources_of_other_channels(name):
    small = small_sizes(name)
    encoder = ENCODERS.build(name, num_ws=10, w_dim=16, input_size=32, **small)
    own, photos, mask = generator(), torch.randn(2, 3, 32, 32), torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        before = PSp(encoder, own).eval().encode(photos).w_plus
        after = PSp(with_input_channels(encoder, 4), own).eval().encode(torch.cat([photos, mask], 1)).w_plus
    torch.testing.assert_close(after, before)

    other = with_input_channels(encoder, 19)
    assert built_as(other) == {**built_as(encoder), "input_channels": 19}
    kept, found = encoder.state_dict(), other.state_dict()
    changed = [n for n in kept if kept[n].shape != found[n].shape or not torch.equal(kept[n], found[n])]
    assert len(changed) == (2 if "feature" in name else 1)
    assert found[changed[0]].shape[1] == kept[changed[0]].shape[1] + 16


@pytest.mark.parametrize("name", ENCODERS.names())
@pytest.mark.parametrize("depth", [100, 152])
def test_deeper_trunks(name, depth):
    if name in LIGHT or "resnet" in name:
        with pytest.raises(UserError, match="unexpected keyword argument 'depth'; its settings are num_ws, w_dim"):
            ENCODERS.build(name, num_ws=10, input_size=256, depth=depth)
        return
    with torch.device("meta"):
        encoder = ENCODERS.build(name, num_ws=10, depth=depth)
    assert len(encoder.body) == {100: 49, 152: 50}[depth]
    assert built_as(encoder)["depth"] == depth


@pytest.mark.parametrize("name", ENCODERS.names())
@pytest.mark.parametrize(("resolution", "img_channels"), [(64, 3), (512, 1)])
def test_an_encoder_for_a_generator_has_its_sizes(name, resolution, img_channels):
    own = generator(resolution, img_channels)
    with torch.device("meta"):
        encoder = encoder_for(own, name, input_channels=5)
    assert (encoder.num_ws, encoder.w_dim, encoder.input_channels) == (own.num_ws, 16, 5)
    assert encoder.input_size == (64 if name in LIGHT and resolution == 64 else 256)
    assert getattr(encoder, "img_channels", img_channels) == img_channels


def test_auto_takes_the_light_encoder_up_to_128_px():
    with torch.device("meta"):
        names = {size: built_as(encoder_for(generator(size)))["name"] for size in (32, 128, 256)}
    assert names == {32: "light", 128: "light", 256: "gradual"}


@pytest.mark.parametrize("name", LIGHT)
def test_light_forms_have_at_most_seven_million_parameters(name):
    with torch.device("meta"):
        encoder = ENCODERS.build(name, num_ws=10, w_dim=128, input_size=128)
    assert sum(p.numel() for p in encoder.parameters()) <= 7e6


def test_an_unknown_encoder_for_a_generator_is_refused():
    with pytest.raises(UserError, match="no encoder called 'lite'"):
        encoder_for(generator(), "lite")


class Mean(torch.nn.Module):
    """The least that an encoder is: nothing here is an IR-SE network."""

    num_ws, w_dim, input_size, input_channels = 10, 16, 8, 3

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 160)

    def forward(self, images):
        return self.linear(images.mean([2, 3])).unflatten(1, (10, 16))


def test_any_module_with_four_sizes_is_an_encoder():
    model = PSp(Mean(), generator()).eval()
    assert model.encode(torch.randn(2, 3, 8, 8)).w_plus.shape == (2, 10, 16)
    assert model.iterations == 1
    del Mean.w_dim
    with pytest.raises(UserError, match="an encoder must have the attributes w_dim, but Mean does not"):
        PSp(Mean(), generator())


def test_settings_of_earlier_versions_build_what_they_built():
    light = {"name": "light", "num_ws": 10, "w_dim": 128, "input_channels": 3, "input_size": 64}
    assert upgraded(light) == {**light, "head_slope": 0.01}
    with torch.device("meta"):
        assert ENCODERS.build(**upgraded(light)).styles[0].convs[1].negative_slope == 0.01
        assert ENCODERS.build(**light).styles[0].convs[1].negative_slope == 0.2
    sizes = {"num_ws": 18, "w_dim": 512, "input_channels": 3, "input_size": 256, "widths": [64, 128, 256, 512]}
    gradual = {"name": "gradual", **sizes, "depth": 50, "units": [3, 4, 14, 3], "slope": None, "head_width": 512}
    assert upgraded(gradual) == {**gradual, "units": None, "head_slope": 0.01}
    assert upgraded({**gradual, "units": [1, 1, 1, 1]})["units"] == [1, 1, 1, 1]


def test_an_encoder_without_its_steps_of_conjugate_gradients():
    own = generator()
    settings = built_as(encoder_for(own, "light_feature_gradient"))
    encoder = ENCODERS.build(**{**settings, "conjugate_steps": 24})
    found = without_conjugate_steps(encoder)
    assert built_as(found) == {**settings, "conjugate_steps": 0}
    assert all(torch.equal(tensor, encoder.state_dict()[name]) for name, tensor in found.state_dict().items())
    plain = encoder_for(own, "light")
    assert without_conjugate_steps(plain) is plain
