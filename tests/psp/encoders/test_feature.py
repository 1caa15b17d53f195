"""The feature encoder: codes in W+, and a correction of the generator's features on top of them."""

import pytest
import torch

import psp
from psp import loading
from psp.encoders import ENCODERS, encoder_for, started_from
from psp.losses import build_losses
from psp.model import Codes, PSp
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import UserError


@pytest.fixture
def generator():
    return GENERATORS.build(
        "stylegan2", 32, z_dim=8, w_dim=8, channel_base=512, channel_max=16, mapping_layers=1
    ).requires_grad_(False)


@pytest.fixture
def model(generator):
    return PSp(encoder_for(generator, "light_feature"), generator).eval()


@pytest.fixture
def images():
    return torch.rand(2, 3, 32, 32) * 2 - 1


def test_its_sizes_are_the_generators(model):
    with torch.no_grad():
        codes = model.encode(torch.zeros(2, 3, 32, 32))
    assert codes.w_plus.shape == (2, 8, 8)
    assert codes.features.shape == (2, 16, 16, 16)


@torch.no_grad()
def test_a_fresh_one_corrects_nothing(model, images):
    codes = model.encode(images)
    assert torch.equal(codes.features, torch.zeros_like(codes.features))
    torch.testing.assert_close(model(images), model.decode(codes.w_plus))


@torch.no_grad()
def test_corrections_change_the_image_and_w_plus_stays(model, images):
    before = model.encode(images)
    torch.nn.init.normal_(model.encoder.corrector.out.weight)
    after = model.encode(images)
    assert torch.equal(after.w_plus, before.w_plus)
    assert (model.decode(after) - model.decode(before)).abs().mean() > 1e-2


def test_each_pass_trains_its_own_part(model, images):
    codes = model.refine(images)
    rendering = model.decode(codes)
    rendering.square().mean().backward()
    assert model.encoder.latlayer1.weight.grad is not None
    assert model.encoder.corrector.out.weight.grad is None
    model.zero_grad()
    model.decode(model.refine(images, codes, rendering)).square().mean().backward()
    assert model.encoder.latlayer1.weight.grad is None
    assert model.encoder.corrector.out.weight.grad.abs().max() > 0


def test_it_learns_what_w_plus_cannot_hold(model, images):
    """A hundred steps on noise, which no code of so small a generator renders."""
    model.encoder.requires_grad_(False)
    model.encoder.corrector.requires_grad_(True)
    optimizer = torch.optim.Adam(model.encoder.corrector.parameters(), lr=5e-4)
    with torch.no_grad():
        codes = model.refine(images)
        rendering = model.decode(codes)
    for _ in range(100):
        loss = (model.decode(model.refine(images, codes, rendering)) - images).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.5 * (rendering - images).square().mean()


def test_it_is_saved_and_loaded(model, images, tmp_path):
    torch.nn.init.normal_(model.encoder.corrector.out.weight)
    psp.save_model(tmp_path / "model.safetensors", model, {"task": "inversion"})
    loaded, metadata = loading.load(tmp_path / "model.safetensors")
    assert metadata["encoder"]["name"] == "light_feature"
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))


def test_corrections_are_kept_small_by_a_loss():
    losses = build_losses({"feature_norm": 0.5})
    codes = Codes(torch.zeros(2, 8, 8), torch.full((2, 4, 3, 3), 3.0))
    values = losses(**codes._asdict())
    torch.testing.assert_close(values["feature_norm"], torch.full((2,), 9.0))
    assert losses(**Codes(codes.w_plus)._asdict())["feature_norm"].tolist() == [0.0, 0.0]
    assert dict(ENCODERS["feature"].default_lambdas) == {"feature_norm": 0.01}


def test_a_generator_that_takes_no_corrections_is_refused(generator):
    del generator.synthesis.feature_channels
    with pytest.raises(UserError, match="takes no corrections of its features"):
        encoder_for(generator, "light_feature")


def test_it_starts_from_an_encoder_of_w_plus(generator):
    start = encoder_for(generator, "light")
    fresh, sentence = started_from(start, encoder_for(generator, "light_feature"))
    assert "without corrector" in sentence
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(fresh.eval()(images), start.eval()(images))
    back, sentence = started_from(fresh, encoder_for(generator, "light"))
    assert "without" not in sentence
    with torch.no_grad():
        torch.testing.assert_close(back.eval()(images), start(images))


def test_encoders_that_share_little_do_not_start_each_other(generator):
    with pytest.raises(UserError, match="share less than half"):
        started_from(encoder_for(generator, "light_w"), encoder_for(generator, "gradual"))


@torch.no_grad()
def test_each_further_pass_adds_to_the_correction(model, images):
    torch.nn.init.normal_(model.encoder.corrector.out.weight, std=0.1)
    first = model.refine(images)
    passes = [first]
    for _ in range(model.iterations - 1):
        passes.append(model.refine(images, passes[-1], model.decode(passes[-1])))
    before, last = passes[-2:]
    assert len(passes) == 4
    assert torch.equal(last.w_plus, first.w_plus)
    added = model.encoder.correction(images, model.decode(before), first.w_plus - model.latent_avg)
    torch.testing.assert_close(last.features, before.features + added)
    torch.testing.assert_close(model.encode(images).features, last.features)
