"""EfficientNet-Lite0: the network itself (it recognises things) and the distance in its features."""

import pytest
import torch
import torch.nn.functional as F
from skimage.data import astronaut, chelsea, coffee

from psp.losses.lpips import TAPS, EffNet
from psp.perception.crop import WHOLE, crop_resize
from psp.perception.efficientnet_lite0 import load_efficientnet_lite0
from psp.pretrained_files import PRETRAINED
from stylegan2.runtime.errors import CheckpointError

TABBY, TIGER_CAT, EGYPTIAN_CAT, ESPRESSO = 281, 282, 285, 967  # ImageNet classes


@pytest.fixture(scope="module")
def loss():
    return EffNet()


def square(photo, side: int) -> torch.Tensor:
    """The middle of a photograph, uint8 [H, W, 3], as [1, 3, side, side] in [-1, 1]."""
    height, width = photo.shape[:2]
    size = min(height, width)
    y, x = (height - size) // 2, (width - size) // 2
    image = torch.tensor(photo[y : y + size, x : x + size]).permute(2, 0, 1)[None] / 127.5 - 1
    return crop_resize(image, WHOLE, side, side)


def blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur with reflected borders. images [N, C, H, W]."""
    radius = round(4 * sigma)
    kernel = torch.exp(-torch.arange(-radius, radius + 1).square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, 1, -1)  # [C, 1, 1, K]
    padded = F.pad(images, [radius] * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.transpose(2, 3), groups=3)


def shift(images: torch.Tensor, pixels: int) -> torch.Tensor:
    """Moves the content down and to the right, with reflected borders."""
    padded = F.pad(images, [pixels] * 4, mode="reflect")
    return padded[:, :, : images.shape[2], : images.shape[3]]


def test_recognises_photographs(loss):
    probabilities = loss.network(torch.cat([square(coffee(), 224), square(chelsea(), 224)])).softmax(1)  # [2, 1000]
    assert probabilities[0, ESPRESSO] > 0.8
    assert probabilities[1, [TABBY, TIGER_CAT, EGYPTIAN_CAT]].sum() > 0.8


def test_folding_the_normalisation_changes_nothing():
    """The first block, unfolded, in float64, from the tensors of the file."""
    file = torch.load(PRETRAINED.locate("efficientnet_lite0"), weights_only=True)
    t = {key: value.double() for key, value in file.items()}

    def normalised(x, norm):
        statistics = t[f"{norm}.running_mean"], t[f"{norm}.running_var"]
        return F.batch_norm(x, *statistics, t[f"{norm}.weight"], t[f"{norm}.bias"], eps=1e-3)

    images = torch.rand(1, 3, 64, 96) * 2 - 1
    x = ((images.double() + 1) * 127.5 - 127) / 128
    x = F.conv2d(F.pad(x, (0, 1, 0, 1)), t["_conv_stem.weight"], stride=2)
    x = normalised(x, "_bn0").clamp(0, 6)
    x = F.conv2d(x, t["_blocks.0._depthwise_conv.weight"], padding=1, groups=32)
    x = normalised(x, "_blocks.0._bn1").clamp(0, 6)
    x = normalised(F.conv2d(x, t["_blocks.0._project_conv.weight"]), "_blocks.0._bn2")
    torch.testing.assert_close(load_efficientnet_lite0().features(images)[1].double(), x, atol=1e-4, rtol=1e-4)


def test_shapes_of_the_taps(loss):
    maps = loss.network.features(torch.zeros(1, 3, 128, 192))
    shapes = [tuple(maps[tap].shape[1:]) for tap in TAPS]
    assert shapes == [(32, 64, 96), (16, 64, 96), (24, 32, 48), (40, 16, 24), (112, 8, 12), (320, 4, 6)]


@pytest.mark.parametrize("photo", [astronaut, chelsea, coffee])
@pytest.mark.parametrize("side", [128, 256])
def test_a_small_shift_is_nearer_than_a_blur(loss, photo, side):
    image = square(photo(), side)
    assert loss(shift(image, 2), image) < loss(blur(image, 2), image)
    assert (shift(image, 2) - image).square().mean() > (blur(image, 2) - image).square().mean()  # L2 has it backwards


def test_values_are_of_the_size_of_lpips(loss):
    image = square(astronaut(), 128)
    assert loss(image, image) == 0
    assert 0.1 < loss(blur(image, 2), image) < 0.7
    assert 0.3 < loss(square(coffee(), 128), image) < 1.0


@pytest.mark.parametrize("size", [(20, 20), (64, 64), (100, 130), (192, 256)])
def test_any_size_is_taken(loss, size):
    distance = loss(torch.rand(2, 3, *size), torch.rand(2, 3, *size))
    assert distance.shape == (2,)
    assert (distance > 0).all()


def test_sides_that_are_no_multiples_are_refused_by_the_network(loss):
    with pytest.raises(ValueError, match="multiples of 32"):
        loss.network.features(torch.zeros(1, 3, 64, 65))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"_blocks.7._bn1.running_var": None}, "missing: blocks.7.depthwise"),
        ({"_fc.bias": None}, "missing: fc.bias"),
        ({"_blocks.16._bn0.weight": torch.ones(3)}, "extra: blocks.16"),
        ({"_conv_head.weight": torch.ones(1280, 3, 1, 1)}, "another shape: head.weight"),
    ],
)
def test_loading_is_strict(tmp_path, change, word):
    tensors = torch.load(PRETRAINED.locate("efficientnet_lite0"), weights_only=True) | change
    torch.save({key: value for key, value in tensors.items() if value is not None}, tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match=word):
        load_efficientnet_lite0(tmp_path / "file.pth")
