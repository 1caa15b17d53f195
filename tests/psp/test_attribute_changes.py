"""Changes of feature maps with an attribute: the planted change is found, whatever comes along with the attribute."""

import pytest
import torch

from psp.attribute_changes import attribute_changes, colours, identity_components

N = 5000


@pytest.fixture
def planted():
    """Features that an attribute changes by `change`, and a background, which often comes along, by far more."""
    random = torch.Generator().manual_seed(0)
    label = (torch.rand(N, generator=random) > 0.5).float()
    background = label + 0.5 * torch.randn(N, generator=random)
    change, other = torch.randn(2, 4, 3, 3, generator=random)
    noise = 0.1 * torch.randn(N, 4, 3, 3, generator=random)
    features = 5 + label[:, None, None, None] * change + 3 * background[:, None, None, None] * other + noise
    return features, label, background, change


def test_what_comes_along_is_left_out(planted):
    features, label, background, change = planted
    [found] = attribute_changes(features, label[:, None], background[:, None])
    assert (2 * found - change).norm() < 0.1 * change.norm()
    [alone] = attribute_changes(features, label[:, None], torch.zeros(N, 1))
    assert (2 * alone - change).norm() > 2 * change.norm()


def test_other_attributes_are_held_fixed(planted):
    features, label, background, change = planted
    both = torch.stack([label, (background > 0.5).float()], dim=1)  # [N, 2]
    found = attribute_changes(features, both, background[:, None])
    assert found.shape == (2, 4, 3, 3)
    assert (2 * found[0] - change).norm() < 0.15 * change.norm()


def test_unknown_labels_are_left_out(planted):
    features, label, background, _ = planted
    unknown = torch.where(torch.arange(N) < N // 2, label, torch.nan)
    [found] = attribute_changes(features, unknown[:, None], background[:, None])
    half = slice(0, N // 2)
    [expected] = attribute_changes(features[half], label[half, None], background[half, None])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_colours_are_those_of_corners_and_middle():
    images = torch.zeros(2, 3, 64, 64)
    images[0, 0, :10, :10] = 1.0  # a red left corner
    images[1, 2, 28:44, 22:42] = 1.0  # a blue face
    found = colours(images)
    assert found.shape == (2, 9)
    assert found[0, 0] > 0.6
    assert found[1, 8] > 0.5
    assert found[0, 1:].abs().max() < 0.05


def test_identity_components_are_few_and_uncorrelated():
    found = identity_components(torch.randn(100, 50, generator=torch.Generator().manual_seed(0)))
    assert found.shape == (100, 24)
    torch.testing.assert_close(found.T @ found, torch.eye(24), atol=1e-5, rtol=0)
