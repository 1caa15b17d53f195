"""The feature encoder that reads the gradient of its error."""

import pytest
import torch

import psp
from psp import loading
from psp.encoders import ENCODERS, encoder_for, started_from
from psp.encoders.feature_gradient import GRADIENT_SCALE, LARGEST_ERROR
from psp.model import Codes, PSp, picture, rms
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import UserError


def generator_of(**settings):
    sizes = {"z_dim": 8, "w_dim": 8, "channel_base": 512, "channel_max": 16, "mapping_layers": 1}
    return GENERATORS.build("stylegan2", 32, **{**sizes, **settings}).requires_grad_(False)


@pytest.fixture
def model():
    generator = generator_of()
    return PSp(encoder_for(generator, "light_feature_gradient"), generator).eval()


@pytest.fixture
def images():
    return torch.rand(2, 3, 32, 32) * 2 - 1


def trained(model):
    for name in ("out", "step", "read", "gain_in", "gain_out"):
        torch.nn.init.normal_(getattr(model.encoder.corrector, name).weight, std=0.02)
    return model


def test_with_the_weights_of_a_feature_encoder_it_corrects_the_same(model, images):
    plain = PSp(encoder_for(model.generator, "light_feature"), model.generator).eval()
    for name in ("out", "gain_in", "gain_out"):
        torch.nn.init.normal_(getattr(plain.encoder.corrector, name).weight, std=0.02)
    plain.iterations = model.iterations
    _, sentence = started_from(plain.encoder, model.encoder)
    assert sentence.startswith(f"{len(plain.encoder.state_dict())} of {len(model.encoder.state_dict())} tensors")
    with torch.no_grad():
        codes, expected = model.encode(images), plain.encode(images)
    assert codes.features.abs().max() > 0.01
    torch.testing.assert_close(codes.features, expected.features)
    assert torch.equal(codes.w_plus, expected.w_plus)


def test_the_gradient_is_that_of_finite_differences():
    torch.manual_seed(1)
    generator = generator_of().double()
    model = PSp(encoder_for(generator, "light_feature_gradient").double(), generator).eval().double()
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64) * 2 - 1
    codes = Codes(torch.randn(2, 8, 8, dtype=torch.float64), torch.randn(2, 16, 16, 16, dtype=torch.float64))
    with torch.no_grad():
        features, seen, gradient = model.error_gradient(images, codes)
        assert torch.equal(features, codes.features)
        torch.testing.assert_close(seen, model.decode(codes))
        torch.testing.assert_close(rms(gradient), rms(seen - images))
        for towards in (gradient, torch.randn_like(features)):
            ahead, behind = (model.decode(Codes(codes.w_plus, features + s * towards)) for s in (1e-5, -1e-5))
            slopes = ((ahead - images).square() - (behind - images).square()).sum((1, 2, 3)) / 2e-5  # [N]
            products = (gradient * towards).sum((1, 2, 3))
            if towards is gradient:
                lengths = slopes / products  # what was normalised away
            torch.testing.assert_close(products * lengths, slopes, rtol=1e-5, atol=0)


@torch.no_grad()
def test_the_length_of_the_gradient_has_a_limit(model, images):
    read = []
    model.encoder.corrector.step.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    for length in (0.0, 0.01, 0.1, 3.0, 1e6):
        gradient = torch.randn(2, 16, 16, 16)
        gradient *= length / rms(gradient)
        model.encoder.correction(images, images, torch.zeros(2, 8, 8), gradient)
        expected = torch.full((2, 1, 1, 1), GRADIENT_SCALE * min(length, LARGEST_ERROR))
        torch.testing.assert_close(rms(read[-1]), expected)
        assert torch.equal(read[-1].sign(), gradient.sign())


def test_what_is_compared_of_a_source():
    for channels, rendered, compared in ((3, 3, 3), (4, 3, 3), (1, 1, 1), (2, 1, 1), (3, 1, 3), (3, 4, 3), (5, 4, 4)):
        assert picture(torch.zeros(1, channels, 8, 8), rendered).shape[1] == compared


def test_codes_have_a_gradient_only_where_one_is_asked_for(model, images):
    trained(model)
    with torch.no_grad():
        assert not model.encode(images).features.requires_grad
    model.decode(model.encode(images)).square().mean().backward()
    for name in ("read", "step", "out"):
        assert getattr(model.encoder.corrector, name).weight.grad.abs().max() > 0
    assert model.encoder.latlayer1.weight.grad is None  # w_plus is of the pass before
    assert all(parameter.grad is None for parameter in model.generator.parameters())


def error_after_training(seed, reads_gradient):
    """Train the layer that maps the gradient to a step for 25 steps on noise, and return the mean squared error.

    Without the gradient, the layer reads zeros, so that only its bias learns.
    """
    torch.manual_seed(seed)
    images, generator = torch.rand(2, 3, 32, 32) * 2 - 1, generator_of()
    model = PSp(encoder_for(generator, "light_feature_gradient"), generator).eval().requires_grad_(False)
    step = model.encoder.corrector.step.requires_grad_(True)
    if not reads_gradient:
        step.register_forward_pre_hook(lambda _, inputs: (torch.zeros_like(inputs[0]),))
    optimizer = torch.optim.Adam(step.parameters(), lr=0.05)
    start = model.refine(images)
    for _ in range(25):
        loss = (model.decode(model.refine(images, start)) - images).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.parametrize("seed", [0, 1])
def test_it_learns_more_from_the_gradient_than_without(seed):
    assert error_after_training(seed, True) < 0.8 * error_after_training(seed, False)


def test_it_is_saved_and_loaded(model, images, tmp_path):
    psp.save_model(tmp_path / "model.safetensors", trained(model), {"task": "inversion"})
    loaded, metadata = loading.load(tmp_path / "model.safetensors")
    assert metadata["encoder"]["name"] == "light_feature_gradient"
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))


def test_a_source_may_be_larger_than_the_rendering_or_have_a_mask():
    generator = generator_of()
    sizes = {"num_ws": generator.num_ws, "w_dim": 8, "feature_side": 16, "feature_channels": 16}
    encoder = ENCODERS.build("light_feature_gradient", **sizes, input_size=64, input_channels=4)
    model = PSp(encoder, generator).eval()
    trained(model)
    with torch.no_grad():
        assert model(torch.rand(1, 4, 64, 64)).shape == (1, 3, 32, 32)


def test_a_source_of_fewer_channels_than_the_rendering():
    with pytest.raises(UserError, match="the source has 1 channels and the rendering 3: use the encoder type feature"):
        encoder_for(generator_of(), "light_feature_gradient", 1)
