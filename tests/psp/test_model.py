import pytest
import torch

from psp.encoders import ENCODERS
from psp.loading import load, save_model
from psp.model import PSp
from stylegan2.networks import stylegan
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.registry import built_as


def small_generator(resolution=32, w_dim=16):
    generator = GENERATORS.build(
        "stylegan2", resolution, z_dim=16, w_dim=w_dim, channel_base=512, channel_max=16, mapping_layers=2
    )
    generator.w_avg.copy_(torch.linspace(-1, 1, w_dim))
    for layer in generator.synthesis.layers:
        torch.nn.init.constant_(layer.noise_strength, 0.5)
    return generator


def small_encoder(num_ws=8, w_dim=16):
    return ENCODERS.build("light", num_ws=num_ws, w_dim=w_dim, input_size=32)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return PSp(small_encoder(), small_generator()).eval()


def test_codes_are_offsets_to_the_latent_average(model):
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        w_plus = model.encode(images).w_plus
        assert w_plus.shape == (2, 8, 16)
        torch.testing.assert_close(w_plus - model.encoder(images), model.latent_avg.expand(2, 8, 16))
        output = model(images)
        assert output.shape == (2, 3, 32, 32)
        assert torch.equal(output, model.generator.synthesis(w_plus, noise_mode="const"))
        assert torch.equal(output, model.decode(w_plus))


def test_noise_is_fixed_unless_asked_for(model):
    w_plus = torch.randn(1, 8, 16)
    with torch.no_grad():
        assert torch.equal(model.decode(w_plus), model.decode(w_plus))
        assert not torch.equal(model.decode(w_plus, "random"), model.decode(w_plus, "random"))
        assert not torch.equal(model.decode(w_plus, "none"), model.decode(w_plus))


def test_average_defaults_to_the_generators_and_is_a_buffer(model):
    assert torch.equal(model.latent_avg, model.generator.w_avg.repeat(8, 1))
    assert "latent_avg" in model.state_dict()
    assert model.latent_avg.data_ptr() != model.generator.w_avg.data_ptr()


@pytest.mark.parametrize("shape", [(16,), (1, 16), (8, 16)])
def test_average_of_every_published_shape(shape):
    average = torch.randn(shape)
    model = PSp(small_encoder(), small_generator(), average)
    assert torch.equal(model.latent_avg, torch.zeros(8, 16) + average)


def test_parts_of_different_sizes_are_refused():
    with pytest.raises(UserError, match="8 codes of 16 numbers, but this generator takes 10 of 16"):
        PSp(small_encoder(), small_generator(64))
    with pytest.raises(UserError, match="8 codes of 16 numbers, but this generator takes 8 of 24"):
        PSp(small_encoder(), small_generator(w_dim=24))
    with pytest.raises(UserError, match=r"latent_avg has shape \[18, 16\]"):
        PSp(small_encoder(), small_generator(), torch.zeros(18, 16))


def test_a_generator_without_styles_is_refused():
    generator = GENERATORS.build("pggan", 32, z_dim=16, channel_base=512, channel_max=16)
    with pytest.raises(
        UserError, match="one latent for the whole image .PGGAN., but pSp encodes a code for each layer"
    ):
        PSp(small_encoder(num_ws=1), generator)


@pytest.mark.parametrize("normalization", stylegan.NORMALIZATIONS)
def test_stylegan_is_a_decoder_too(normalization, tmp_path):
    sizes = {"z_dim": 16, "w_dim": 16, "channel_base": 512, "channel_max": 16, "mapping_layers": 2}
    model = PSp(small_encoder(), GENERATORS.build("stylegan", 32, normalization=normalization, **sizes)).eval()
    save_model(tmp_path / "m.safetensors", model, {})
    loaded, metadata = load(tmp_path / "m.safetensors")
    assert metadata["generator"] == built_as(model.generator)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        output = model(images)
        assert output.shape == (2, 3, 32, 32)
        assert torch.equal(loaded(images), output)
