"""LPIPS: right with the network's weights, refused without them. The weights are random, in torchvision's layout."""

from pathlib import Path

import lpips
import pytest
import torch
import torch.nn.functional as F
import torchvision

from psp.losses.lpips import BACKBONES, LPIPS, build_perceptual, perceptual_loss
from psp.pretrained_files import PRETRAINED
from stylegan2.runtime.distributed import print_once
from stylegan2.runtime.errors import CheckpointError, UserError

TAPS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29), "squeeze": (1, 4, 7, 9, 10, 11, 12)}
SLOW_VGG = pytest.param("vgg", marks=pytest.mark.slow)


def naive(network: str, path: Path, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Eq. 1 of the paper in float64, on torchvision's own module: [N]."""
    model = getattr(torchvision.models, BACKBONES[network])(weights=None).features
    state = torch.load(path, weights_only=True)
    model.load_state_dict({key[9:]: value for key, value in state.items() if key.startswith("features.")})
    heads = torch.load(Path(lpips.__file__).parent / "weights" / "v0.1" / f"{network}.pth", "cpu", weights_only=True)
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).double()[:, :, None, None]
    x = torch.cat([((image.double() + 1) / 2 - mean) / std for image in (a, b)])
    total, head = 0, 0
    for i, layer in enumerate(model.double().eval()):
        x = layer(x)
        if i in TAPS[network]:
            unit_a, unit_b = F.normalize(x).chunk(2)
            total = total + F.conv2d((unit_a - unit_b).square(), heads[f"lin{head}.model.1.weight"].double()).mean(
                [1, 2, 3]
            )
            head += 1
    return total


@pytest.mark.parametrize("network", ["alex", "squeeze", SLOW_VGG])
def test_equal_to_the_paper(network, backbone):
    path = backbone(BACKBONES[network])
    a, b = torch.rand(2, 3, 3, 64, 64) * 2 - 1
    loss = LPIPS(network, path)
    assert loss.name == f"lpips_{network}"
    expected = naive(network, path, a, b)
    torch.testing.assert_close(loss(a, b).double(), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("network", BACKBONES)
def test_missing_weights_are_one_sentence(network, no_downloads):
    with pytest.raises(UserError, match=r"is not on this machine: .* run `torchvision.*, or use .* effnet") as raised:
        LPIPS(network)
    assert PRETRAINED.entries[BACKBONES[network]].file in str(raised.value)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"features.8.bias": None}, "missing: slice4.8.bias"),
        ({"features.30.bias": torch.ones(3)}, "extra: 30.bias"),
        ({"features.0.weight": torch.ones(3)}, "another shape: slice1.0.weight"),
    ],
)
def test_loading_is_strict(change, word, backbone, tmp_path):
    tensors = torch.load(backbone("alexnet"), weights_only=True) | change
    torch.save({key: value for key, value in tensors.items() if value is not None}, tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match=word):
        LPIPS("alex", tmp_path / "file.pth")


def test_another_networks_file_is_refused(backbone):
    with pytest.raises(CheckpointError, match="does not fit"):
        LPIPS("alex", backbone("squeezenet1_1"))


def test_auto_says_what_it_takes(no_downloads, backbone, capsys):
    print_once.cache_clear()
    name, loss = perceptual_loss()
    assert (name, loss.name) == ("effnet", "effnet")
    assert "effnet, because the AlexNet file of LPIPS is not on this machine" in capsys.readouterr().out
    perceptual_loss()
    name, loss = perceptual_loss(path=backbone("alexnet"))
    assert (name, loss.name) == ("lpips_alex", "lpips_alex")
    assert capsys.readouterr().out == "perceptual network: alex\n"


def test_unknown_networks_are_refused():
    with pytest.raises(UserError, match="alex, vgg, squeeze, effnet"):
        build_perceptual("alexnet")
    with pytest.raises(UserError, match="alex, vgg, squeeze"):
        LPIPS("effnet")
