"""Labels of procedural faces and of the user's own images, and classifiers that are trained once."""

import numpy as np
import pytest
import torch

from datasets import attributes
from datasets.attributes import attribute_classifier, classifier_side, face_attributes, read_labels
from datasets.synthetic import SyntheticFaces
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import write_image


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def own_images(tmp_path):
    """(folder, labels file): 60 pictures, bright or dark, in two subfolders."""
    rng, rows = np.random.default_rng(0), ["file,bright,never"]
    for i in range(60):
        name = f"{'ab'[i % 2]}/{i:02d}.png"
        base = 150 if i % 3 == 0 else 40
        write_image(tmp_path / "images" / name, rng.integers(base, base + 60, (32, 32, 3)).astype(np.uint8))
        rows.append(f"{name},{int(i % 3 == 0)},0")
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path / "images", labels


def test_the_truth_of_a_face_is_its_samples():
    faces = SyntheticFaces(32, seed=1)
    for index in range(20):
        truth = face_attributes(faces, index)
        sample = faces[index]
        assert {name: truth[name] for name in sample.attributes} == sample.attributes
        assert truth["yaw"] == (sample.pose[0] > 0)


def test_a_classifier_of_ones_own_images_is_trained_once(own_images, monkeypatch):
    folder, labels = own_images
    classifier, accuracies = attribute_classifier(32, str(folder), labels)
    assert classifier.names == ("bright", "never")
    assert accuracies["bright"] == 1
    monkeypatch.setattr(attributes, "fit_attributes", None)  # it would fail if it were called
    again, kept = attribute_classifier(32, str(folder), labels)
    images = torch.rand(3, 3, 32, 32)
    assert torch.equal(again(images), classifier(images))
    assert kept["bright"] == accuracies["bright"]


def test_other_labels_are_another_classifier(own_images, monkeypatch):
    folder, labels = own_images
    attribute_classifier(32, str(folder), labels)
    calls = []
    monkeypatch.setattr(attributes, "fit_attributes", lambda classifier, *args: calls.append(classifier))
    labels.write_text(labels.read_text().replace("never", "seldom"), encoding="utf-8")
    attribute_classifier(32, str(folder), labels)
    assert calls[0].names == ("bright", "seldom")


def test_a_damaged_file_is_made_again(own_images, tmp_path):
    folder, labels = own_images
    first, _ = attribute_classifier(32, str(folder), labels)
    (kept,) = (tmp_path / "cache" / "psp").glob("attributes-*.safetensors")
    kept.write_bytes(kept.read_bytes()[:1000])
    again, _ = attribute_classifier(32, str(folder), labels)
    images = torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(again(images), first(images))


def test_labels_in_the_usual_notations(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("file,smile, hat\na.png,1,-1\nb/c.png,true,No\n", encoding="utf-8")
    assert read_labels(path) == (["smile", "hat"], {"a.png": [True, False], "b/c.png": [True, False]})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("file,smile\na.png,2\n", "row 2 of .* is not a file and 1 times 0 or 1"),
        ("file,smile,hat\na.png,1,0\nb.png,1\n", "row 3"),
        ("file\na.png\n", "need a header"),
        ("", "need a header"),
    ],
)
def test_bad_labels_are_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        read_labels(path)


def test_missing_labels_are_one_sentence(own_images, tmp_path):
    folder, labels = own_images
    with pytest.raises(UserError, match="--labels"):
        attribute_classifier(32, str(folder))
    with pytest.raises(UserError, match="cannot be read"):
        attribute_classifier(32, str(folder), tmp_path / "none.csv")
    labels.write_text("file,a\nx.png,1\ny.png,0\n", encoding="utf-8")
    with pytest.raises(UserError, match="names 0 images"):
        attribute_classifier(32, str(folder), labels)


@pytest.mark.parametrize(("resolution", "side"), [(16, 32), (32, 32), (64, 64), (1024, 64)])
def test_classifiers_see_64_px_at_most(resolution, side):
    assert classifier_side(resolution) == side


@pytest.mark.slow
def test_the_procedural_attributes_can_be_learnt():
    _, accuracies = attribute_classifier(32, faces=400)
    assert accuracies["yaw"] > 0.8
    assert accuracies["dark_skin"] > 0.8
