"""ReStyle: the encoder and the passes that the model makes with it."""

import pytest
import torch
import torch.nn.functional as F

from psp.encoders.e4e import Deltas
from psp.encoders.irse import start_trunk
from psp.encoders.restyle import (
    ReStyleE4EEncoder,
    ReStyleEncoder,
    ReStyleResNetE4EEncoder,
    ReStyleResNetEncoder,
)
from psp.model import Codes, PSp, fit
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import UserError

SMALL = {"widths": (16, 16, 32, 32), "units": (1, 1, 1, 1), "head_width": 16}
ALL = [ReStyleEncoder, ReStyleE4EEncoder, ReStyleResNetEncoder, ReStyleResNetE4EEncoder]


def generator(resolution=64):
    generator = GENERATORS.build(
        "stylegan2", resolution, z_dim=8, w_dim=8, channel_base=512, channel_max=16, mapping_layers=2
    )
    generator.w_avg.normal_()
    for layer in generator.synthesis.layers:
        torch.nn.init.constant_(layer.noise_strength, 0.3)
    return generator


def encoder_of(cls, **settings):
    encoder = cls(10, 8, input_size=32, **SMALL, **settings)
    for head in encoder.styles:
        torch.nn.init.normal_(head.linear.weight)
    return encoder


@pytest.fixture
def model():
    return PSp(encoder_of(ReStyleEncoder, iterations=3), generator(), torch.randn(10, 8)).eval()


@pytest.mark.parametrize("cls", ALL)
def test_keys_and_shapes_are_the_published_ones(layouts, cls):
    layout = layouts["resnet" if "ResNet" in cls.__name__ else "restyle"]
    with torch.device("meta"):
        encoder = cls(16)
    assert {key: tuple(value.shape) for key, value in encoder.state_dict().items()} == layout(16)


def test_the_resnet_is_torchvisions(layouts):
    """The published trunk is torchvision's ResNet-34 between its first layers and its pooling."""
    torchvision = pytest.importorskip("torchvision")
    theirs = torchvision.models.resnet34(weights=None).eval()
    blocks = torch.nn.Sequential(*(block for i in (1, 2, 3, 4) for block in getattr(theirs, f"layer{i}")))
    ours = ReStyleResNetEncoder(1, 8, input_size=64, head_width=8).eval()
    ours.body.load_state_dict(blocks.state_dict())
    x = torch.randn(1, 64, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(ours.body(x), blocks(x))
        assert ours.body(x).shape == (1, 512, 2, 2)


@pytest.mark.parametrize("cls", ALL)
def test_every_head_reads_the_last_map(cls):
    encoder = encoder_of(cls).eval()
    images, rendering = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32)
    seen = []
    encoder.styles[0].register_forward_hook(lambda module, args, output: seen.append(args[0]))
    with torch.no_grad():
        codes = encoder(images, rendering)
        heads = torch.stack([head(seen[0]) for head in encoder.styles], 1)
    assert seen[0].shape == (2, 32, 2, 2)
    expected = torch.cat([heads[:, :1], heads[:, :1] + heads[:, 1:]], 1) if isinstance(encoder, Deltas) else heads
    torch.testing.assert_close(codes, expected)
    with torch.no_grad():
        assert not torch.allclose(codes, encoder(images, images))


def test_passes_start_from_the_average_and_add_up(model):
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        w_plus = model.latent_avg.repeat(2, 1, 1)
        for _ in range(3):
            rendering = (
                model.generator.synthesis(w_plus, noise_mode="const").unflatten(3, (32, 2)).unflatten(2, (32, 2))
            )
            w_plus = w_plus + model.encoder(images, rendering.mean([3, 5]))
        assert torch.allclose(model.encode(images).w_plus, w_plus, atol=1e-5)
        model.iterations = 2
        assert not torch.allclose(model.encode(images).w_plus, w_plus, atol=1e-2)


def test_there_is_at_least_one_pass(model):
    with pytest.raises(UserError, match="at least 1 pass over an image, not 0"):
        model.iterations = 0
    assert model.iterations == 3


def test_no_gradient_goes_from_one_pass_into_another(model):
    images, start = torch.randn(2, 3, 32, 32), torch.randn(2, 10, 8, requires_grad=True)
    rendering = model.decode(start)
    model.refine(images, Codes(start), rendering).w_plus.sum().backward()
    assert start.grad is None
    alone = [p.grad.clone() for p in model.encoder.parameters()]
    model.zero_grad()
    model.refine(images, Codes(start.detach()), rendering.detach()).w_plus.sum().backward()
    assert all(torch.equal(p.grad, grad) for p, grad in zip(model.encoder.parameters(), alone, strict=True))


def test_the_last_pass_can_be_differentiated(model):
    model.encode(torch.randn(2, 3, 32, 32)).w_plus.square().sum().backward()
    assert all(p.grad is not None for p in model.encoder.parameters())
    assert all(p.grad is None for p in model.generator.parameters())


def test_an_encoder_of_a_single_pass_ignores_where_it_starts():
    from psp.encoders import ENCODERS

    model = PSp(ENCODERS.build("light", num_ws=10, w_dim=8, input_size=32), generator()).eval()
    images = torch.randn(1, 3, 32, 32)
    assert model.iterations == 1
    with pytest.raises(UserError, match="makes one pass over an image, so the number of passes cannot be chosen"):
        model.iterations = 1
    with torch.no_grad():
        again = model.refine(images, Codes(torch.randn(1, 10, 8)), torch.randn(1, 3, 64, 64)).w_plus
        assert torch.equal(model.encode(images).w_plus, again)


def test_renderings_of_every_size_are_fitted():
    x = torch.randn(2, 3, 16, 16)
    assert fit(x, 16) is x
    torch.testing.assert_close(fit(x, 8), x.unflatten(3, (8, 2)).unflatten(2, (8, 2)).mean([3, 5]))
    torch.testing.assert_close(fit(x, 32), F.interpolate(x, scale_factor=2.0, mode="bilinear"))


@pytest.mark.parametrize("cls", ALL)
def test_wrong_input_is_refused(cls):
    encoder = encoder_of(cls)
    good, bad = torch.randn(1, 3, 32, 32), torch.randn(1, 3, 64, 64)
    for images, rendering in ((bad, good), (good, bad), (good, good[:, :1])):
        with pytest.raises(UserError, match="the encoder reads images"):
            encoder(images, rendering)
    with pytest.raises(UserError, match="power of two"):
        cls(10, input_size=48)


def test_an_arcface_trunk_starts_the_filters_of_the_photograph(tmp_path, layouts):
    encoder = ReStyleEncoder(10, 8, input_size=32, widths=(16, 16, 32, 32), head_width=8)
    trunk = layouts["fill"](layouts["trunk"](widths=(16, 16, 32, 32)))
    torch.save(trunk | {"output_layer.0.weight": torch.ones(3)}, tmp_path / "ir_se50.pth")
    before = encoder.input_layer[0].weight.detach().clone()
    start_trunk(encoder, tmp_path / "ir_se50.pth")
    stem = encoder.input_layer[0].weight
    assert torch.equal(stem[:, :3], trunk["input_layer.0.weight"])
    assert torch.equal(stem[:, 3:], before[:, 3:])
    assert torch.equal(encoder.body[5].res_layer[1].weight, trunk["body.5.res_layer.1.weight"])
