"""Attributes of procedural faces and of the user's own images."""

import math

import pytest

from datasets.labelled import face_attributes, open_labelled, read_attributes
from datasets.synthetic import SyntheticFaces
from stylegan2.runtime.errors import UserError

pytestmark = pytest.mark.usefixtures("own_cache")


def test_the_truth_of_a_face_is_its_samples():
    faces = SyntheticFaces(32, seed=1)
    for index in range(20):
        truth = face_attributes(faces, index)
        sample = faces[index]
        assert {name: truth[name] for name in sample.attributes} == sample.attributes
        assert truth["yaw"] == (sample.pose[0] > 0)


def test_labels_in_the_usual_notations(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("file,smile, hat\na.png,1,-1\nb/c.png,true,No\n", encoding="utf-8")
    assert read_attributes(path) == (["smile", "hat"], {"a.png": [1, 0], "b/c.png": [1, 0]})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("file,smile\na.png,2\n", "row 2 of .* is not a file and 1 times 0 or 1"),
        ("file,smile,hat\na.png,1,0\nb.png,1\n", "row 3"),
        ("file\na.png\n", "needs a header"),
        ("", "needs a header"),
    ],
)
def test_bad_labels_are_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        read_attributes(path)


def test_missing_labels_are_one_sentence(own_images, tmp_path):
    folder, labels = own_images
    with pytest.raises(UserError, match="as `labels`"):
        open_labelled(str(folder), 32)
    with pytest.raises(UserError, match="cannot be read"):
        open_labelled(str(folder), 32, tmp_path / "none.csv")
    labels.write_text("file,a\nx.png,1\ny.png,0\n", encoding="utf-8")
    with pytest.raises(UserError, match="names 0 images"):
        open_labelled(str(folder), 32, labels)


def test_an_empty_cell_is_what_nobody_said(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("file,smile,hat\na.png,,1\n", encoding="utf-8")
    _, attributes = read_attributes(path)
    assert math.isnan(attributes["a.png"][0])
    assert attributes["a.png"][1] == 1
