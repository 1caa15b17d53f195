"""Classifiers of attributes, trained once for each set of labelled images."""

import pytest
import torch

from datasets.labelled import LabelledFaces, open_labelled
from psp.evaluation import attributes
from psp.evaluation.attributes import attribute_classifier, classifier_side

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_classifier_of_ones_own_images_is_trained_once(own_images, monkeypatch):
    folder, labels = own_images
    classifier, accuracies = attribute_classifier(open_labelled(str(folder), 32, labels))
    assert classifier.names == ("bright", "never")
    assert accuracies["bright"] == 1
    monkeypatch.setattr(attributes, "fit_probe", None)  # it would fail if it were called
    again, kept = attribute_classifier(open_labelled(str(folder), 32, labels))
    images = torch.rand(3, 3, 32, 32)
    assert torch.equal(again(images), classifier(images))
    assert kept["bright"] == accuracies["bright"]


def test_other_labels_are_another_classifier(own_images, monkeypatch):
    folder, labels = own_images
    attribute_classifier(open_labelled(str(folder), 32, labels))
    calls = []
    monkeypatch.setattr(attributes, "fit_probe", lambda classifier, *args: calls.append(classifier))
    labels.write_text(labels.read_text().replace("never", "seldom"), encoding="utf-8")
    attribute_classifier(open_labelled(str(folder), 32, labels))
    assert calls[0].names == ("bright", "seldom")


def test_a_damaged_file_is_made_again(own_images, tmp_path):
    folder, labels = own_images
    first, _ = attribute_classifier(open_labelled(str(folder), 32, labels))
    (kept,) = (tmp_path / "cache" / "psp").glob("attributes-*.safetensors")
    kept.write_bytes(kept.read_bytes()[:1000])
    again, _ = attribute_classifier(open_labelled(str(folder), 32, labels))
    images = torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(again(images), first(images))


@pytest.mark.parametrize(("resolution", "side"), [(16, 32), (32, 32), (64, 64), (1024, 64)])
def test_classifiers_see_64_px_at_most(resolution, side):
    assert classifier_side(resolution) == side


@pytest.mark.slow
@pytest.mark.parametrize(("below", "kind"), [(1, "AttributeClassifier"), (5_000, "AttributeProbe")])
def test_the_procedural_attributes_can_be_learnt(below, kind, monkeypatch):
    monkeypatch.setattr(attributes, "PROBE_BELOW", below)
    classifier, accuracies = attribute_classifier(LabelledFaces(32, 400))
    assert type(classifier).__name__ == kind
    assert accuracies["yaw"] > 0.8
    assert accuracies["dark_skin"] > 0.8
