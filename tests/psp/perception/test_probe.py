"""The linear probe: it learns from few images, and from what is labelled only."""

import pytest
import torch

from psp.perception.probe import AttributeProbe, fit_probe, mirrored

NAMES = ["bright", "yaw", "unsaid"]


def pictures(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise whose top is bright or whose left side is red; the third attribute is told of every fourth image only."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (count, 3), generator=draw).float()
    images = torch.randint(60, 120, (count, 3, 32, 32), generator=draw)
    images[:, :, :16] += (60 * labels[:, 0, None, None, None]).long()
    for i in range(count):
        side = slice(0, 16) if labels[i, 1] else slice(16, 32)
        images[i, 0, :, side] += 60
    labels[:, 2] = torch.where(torch.arange(count) % 4 == 0, labels[:, 0], torch.nan)
    return images.to(torch.uint8), labels


@pytest.fixture(scope="module")
def fitted():
    probe = AttributeProbe(NAMES, side=32)
    fit_probe(probe, *pictures(64, 0))
    return probe


def test_sixty_images_are_enough_and_a_mirror_turns_the_head(fitted):
    images, labels = pictures(60, 1)
    found = fitted(images.float() / 127.5 - 1) > 0
    assert ((found == labels.bool())[:, :2].double().mean(0) > 0.9).all()
    assert (found[:, 2] == labels[:, 0].bool()).double().mean() > 0.8  # learned from a quarter of the labels
    turned = fitted(images.flip(3).float() / 127.5 - 1) > 0
    assert (turned[:, 1] != found[:, 1]).double().mean() > 0.9


def test_the_features_are_not_its_own_to_save(fitted):
    assert sum(t.numel() for t in fitted.state_dict().values()) < 30_000
    again = AttributeProbe(**fitted.config)
    again.load_state_dict(fitted.state_dict())
    images = torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(again(images), fitted(images))
    assert set(fitted.by_name(images)) == set(NAMES)


def test_labels_of_mirror_images():
    labels = torch.tensor([[1.0, 1.0, torch.nan], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(
        mirrored(NAMES, labels), torch.tensor([[1.0, 0.0, torch.nan], [0.0, 1.0, 1.0]]), equal_nan=True
    )
