import pytest
import torch
import torch.nn.functional as F
from torch import nn

from psp.encoders.irse import IRSE, Bottleneck, PReLU
from stylegan2.runtime.errors import UserError


@pytest.mark.parametrize(("depth", "channels"), [(50, 3), (50, 19), (100, 1), (152, 3)])
def test_keys_and_shapes_are_the_published_ones(layouts, depth, channels):
    with torch.device("meta"):
        trunk = IRSE(depth, channels)
    assert {key: tuple(value.shape) for key, value in trunk.state_dict().items()} == layouts["trunk"](depth, channels)


def test_published_size():
    with torch.device("meta"):
        trunk = IRSE()
    size = sum(p.numel() for p in trunk.parameters())
    assert 30.9e6 < size < 31.0e6
    # The ArcFace network of 43.8 million is this trunk, a batch norm, a linear layer from 512 x 7 x 7 and another norm.
    assert round((size + 2 * 512 + (512 * 7 * 7 + 1) * 512 + 2 * 512) / 1e6, 1) == 43.8
    projected = [i for i, block in enumerate(trunk.body) if block.shortcut_layer is not None]
    assert projected == [3, 7, 21]


@pytest.mark.parametrize("size", [64, 112])
def test_one_feature_map_a_stage(size):
    trunk = IRSE(widths=(16, 32, 48, 64), units=(1, 2, 1, 1)).eval()
    shapes = [tuple(x.shape) for x in trunk.features(torch.zeros(2, 3, size, size))]
    assert shapes == [(2, width, size >> i, size >> i) for i, width in enumerate((16, 32, 48, 64), start=1)]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [8, 7])
def test_sliced_shortcut_equals_max_pooling(stride, size):
    x = torch.randn(2, 16, size, size)
    assert torch.equal(Bottleneck(16, 16, stride).shortcut(x), F.max_pool2d(x, 1, stride))


def test_channels_last_gives_the_same_numbers():
    trunk = IRSE(widths=(16, 32, 48, 64), units=(1, 1, 1, 1)).double().eval()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    expected = trunk.features(images)
    trunk.to(memory_format=torch.channels_last)
    for x, y in zip(trunk.features(images.contiguous(memory_format=torch.channels_last)), expected, strict=True):
        assert x.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(x, y)


def test_unknown_depth_is_refused():
    with pytest.raises(UserError, match="50, 100, 152, not 34"):
        IRSE(34)


@pytest.mark.parametrize("channels", [1, 3])
def test_values_and_derivatives_are_pytorch_s(channels):
    own, other = PReLU(channels).double(), nn.PReLU(channels).double()
    own.weight.data = torch.randn(channels, dtype=torch.float64)
    other.load_state_dict(own.state_dict())
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    x[0, :, 0, 0] = 0
    x.requires_grad_()
    weight = torch.randn(x.shape, dtype=torch.float64)
    found, expected = (torch.autograd.grad((layer(x) * weight).sum(), [x, layer.weight]) for layer in (own, other))
    torch.testing.assert_close(own(x), other(x))
    for one, right in zip(found, expected, strict=True):
        torch.testing.assert_close(one, right)
    with torch.no_grad():
        torch.testing.assert_close(own(x), other(x))
    x = (x + 0.1 * x.sign()).detach().requires_grad_()[1:]  # away from the kink
    assert torch.autograd.gradgradcheck(lambda x, w: torch.func.functional_call(own, {"weight": w}, x), (x, own.weight))
