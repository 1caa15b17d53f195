"""MoCo similarity against torchvision's network by hand."""

import pytest
import torch
import torch.nn.functional as F
import torchvision

from psp.losses import build_losses
from stylegan2.runtime.errors import CheckpointError, UserError


def smooth(count, size=224):
    return F.interpolate(torch.rand(count, 3, 8, 8) * 2 - 1, (size, size), mode="bilinear")


def test_it_is_1_minus_the_cosine_of_the_pooled_features(moco_file):
    losses = build_losses({"moco": 0.5}, moco={"path": moco_file})
    network = torchvision.models.resnet50(weights=None).eval()
    network.fc = torch.nn.Identity()
    stored = torch.load(moco_file, weights_only=True)["state_dict"]
    network.load_state_dict({key: stored[f"module.encoder_q.{key}"] for key in network.state_dict()})
    output, target = smooth(2), smooth(2)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        a, b = (
            network(((x + 1) / 2 - mean[:, None, None]) / deviation[:, None, None]).double() for x in (output, target)
        )
        values = losses(output=output, target=target)["moco"]
    expected = 1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    torch.testing.assert_close(values, expected.float(), atol=1e-5, rtol=1e-3)
    assert losses.weights == {"moco": 0.5}


def test_equal_images_have_none_and_the_gradient_reaches_the_output(moco_file):
    (loss,) = build_losses({"moco": 1.0}, moco={"path": moco_file}).losses.values()
    output, target = smooth(1, 40).requires_grad_(), smooth(1, 40)
    assert loss(target, target).abs().max() < 1e-5
    value = loss(output, target)
    assert value.shape == (1,)
    value.sum().backward()
    assert output.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in loss.parameters())
    assert not loss.training


def test_a_missing_file_is_one_sentence(no_downloads):
    with pytest.raises(UserError, match=r"moco_v2_800ep_pretrain.pth.tar .* is not on this machine"):
        build_losses({"moco": 0.5})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"epoch": 3}, "it has no tensor called encoder_q.conv1.weight or conv1.weight"),
        ({"state_dict": {"conv1.weight": torch.zeros(2)}}, "bn1"),
        ({"conv1.weight": torch.zeros(2), "fc.weight": torch.zeros(2)}, "is not a MoCo file, but a classifier"),
        ({"state_dict": {"module.encoder_q.conv1.weight": torch.zeros(64, 3, 7, 7)}}, "bn1"),
    ],
)
def test_another_file_is_one_sentence(tmp_path, content, words):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=words):
        build_losses({"moco": 0.5}, moco={"path": tmp_path / "x.pth"})


def test_identity_and_moco_exclude_each_other():
    with pytest.raises(UserError, match="id_lambda 0"):
        build_losses({"id": 0.1, "moco": 0.5})
