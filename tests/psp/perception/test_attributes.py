"""The attribute classifier on images whose attributes are plain to see."""

import math

import pytest
import torch

from psp.perception.attributes import AttributeClassifier, accuracies, as_float, classify, fit_attributes


def pictures(count, seed):
    """(uint8 [N, 3, 16, 16], labels [N, 2]): a bright upper half; a red left half."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.rand(count, 2, generator=draw) < 0.5
    images = torch.randint(60, 120, (count, 3, 16, 16), generator=draw)
    images[:, :, :8] += 60 * labels[:, 0, None, None, None]
    images[:, 0, :, :8] += 60 * labels[:, 1, None, None]
    return images.to(torch.uint8), labels


@pytest.fixture(scope="module")
def fitted():
    torch.manual_seed(0)
    classifier = AttributeClassifier(["bright", "red"], side=16, width=4)
    fit_attributes(classifier, *pictures(600, 0), epochs=6)
    return classifier


def test_it_learns_what_can_be_seen(fitted):
    found = accuracies(fitted, fitted.names, *pictures(200, 1))
    assert list(found) == ["bright", "red"]
    assert min(found.values()) > 0.95


def test_it_is_frozen_and_batches_do_not_matter(fitted):
    assert not fitted.training
    assert not any(p.requires_grad for p in fitted.parameters())
    images = as_float(pictures(7, 2)[0])
    torch.testing.assert_close(classify(fitted, images.split(3)), fitted(images))


def test_larger_images_are_resized(fitted):
    images, labels = pictures(20, 3)
    large = as_float(images).repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert ((fitted(large) > 0) == labels).double().mean() > 0.9


def test_accuracy_is_balanced():
    classifier = AttributeClassifier(["a"], side=8, width=2).eval()
    classifier.layers[-1].weight.data.zero_()
    classifier.layers[-1].bias.data.fill_(1)  # says yes to everything
    images, labels = torch.zeros(10, 3, 8, 8, dtype=torch.uint8), torch.tensor([[True]] * 9 + [[False]])
    assert accuracies(classifier, ["a"], images, labels) == {"a": 0.5}
    assert math.isnan(accuracies(classifier, ["a"], images[:9], labels[:9])["a"])


def test_a_seed_gives_the_same_classifier():
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        classifier = AttributeClassifier(["bright", "red"], side=16, width=2)
        fit_attributes(classifier, *pictures(65, 0), epochs=2, batch_size=64)  # the last batch is a single image
        found.append(classifier(as_float(pictures(3, 1)[0])))
    assert torch.equal(*found)
