"""Feature networks by name."""

import pytest
import torch

from psp.evaluation.features import effnet_side, feature_network
from psp.perception.dlib_resnet import load_dlib
from psp.perception.efficientnet_lite0 import load_efficientnet_lite0
from stylegan2.runtime.errors import UserError


def test_effnet_is_what_the_classifier_sees():
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    network = feature_network("effnet")
    with torch.no_grad():
        expected = load_efficientnet_lite0().pooled(images)
    assert expected.shape == (2, 1280)
    torch.testing.assert_close(network(images), expected)
    torch.testing.assert_close(network(images[:, :1]), network(images[:, :1].repeat(1, 3, 1, 1)))


def test_dlib_is_its_descriptor():
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    network = feature_network("dlib")
    with torch.no_grad():
        torch.testing.assert_close(network(images), load_dlib().embed(images))
    assert network.key != feature_network("effnet").key


@pytest.mark.parametrize(("side", "fed"), [(16, 64), (32, 64), (64, 64), (128, 128), (256, 224), (1024, 224)])
def test_effnet_is_fed_multiples_of_32(side, fed):
    assert effnet_side(side) == fed
    assert feature_network("effnet")(torch.zeros(1, 3, side, side)).shape == (1, 1280)


def test_an_unknown_network_is_refused():
    with pytest.raises(UserError, match="choose one of effnet, dlib, inception"):
        feature_network("vgg")
