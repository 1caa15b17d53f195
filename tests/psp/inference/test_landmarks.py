"""Landmarks of the user's own: every form gives the same arrays, and every mistake one sentence."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psp.inference.landmarks import read_landmarks
from stylegan2.runtime.errors import UserError

FIVE = np.arange(10.0).reshape(5, 2)
MANY = np.arange(136.0).reshape(68, 2) / 3
BOX = np.array([1.0, 2.0, 30.5, 40.0])


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, faces in expected.items():
        assert len(found[name]) == len(faces)
        for a, b in zip(found[name], faces, strict=True):
            np.testing.assert_allclose(a, b)


def test_json_forms(tmp_path):
    path = tmp_path / "faces.json"
    content = {
        "box.jpg": BOX.tolist(),
        "five.jpg": FIVE.tolist(),
        "flat.jpg": FIVE.ravel().tolist(),
        "many.jpg": [MANY.tolist()],
        "a/mixed.jpg": [BOX.tolist(), FIVE.tolist(), MANY.ravel().tolist()],
        "boxes.jpg": [BOX.tolist(), (BOX * 2).tolist()],
        "none.jpg": [],
    }
    path.write_text(json.dumps(content))
    expected = {
        "box.jpg": [BOX],
        "five.jpg": [FIVE],
        "flat.jpg": [FIVE],
        "many.jpg": [MANY],
        "a/mixed.jpg": [BOX, FIVE, MANY],
    }
    expected |= {"boxes.jpg": [BOX, 2 * BOX]}
    found = read_landmarks(path)
    assert found.pop("none.jpg") == []
    same(found, expected)


@pytest.mark.parametrize("titles", ["", "file,x0,y0,x1,y1\n", "\ufefffile,x,y\n"])
def test_csv(tmp_path, titles):
    path = tmp_path / "faces.csv"
    rows = [("a.jpg", BOX), ("b, c.jpg", FIVE.ravel()), ("a.jpg", MANY.ravel())]
    text = "".join(f'"{name}",{",".join(map(str, numbers))},,\n' for name, numbers in rows)
    path.write_text(titles + text, encoding="utf-8")
    same(read_landmarks(path), {"a.jpg": [BOX, MANY], "b, c.jpg": [FIVE]})


def test_npz(tmp_path):
    path = tmp_path / "faces.npz"
    np.savez(path, files=["a.jpg", "b.jpg", "a.jpg"], landmarks=np.stack([FIVE, 2 * FIVE, 3 * FIVE]).astype(np.float32))
    same(read_landmarks(path), {"a.jpg": [FIVE, 3 * FIVE], "b.jpg": [2 * FIVE]})
    np.savez(path, files=["a.jpg"], boxes=BOX[None])
    same(read_landmarks(path), {"a.jpg": [BOX]})


@given(st.lists(st.sampled_from([4, 10, 136]), min_size=1, max_size=4), st.integers(0, 2**31))
def test_csv_and_json_agree(tmp_path_factory, sizes, seed):
    folder = tmp_path_factory.mktemp("faces")
    faces = [np.sort(np.random.default_rng(seed).uniform(-50, 2000, size)) for size in sizes]
    (folder / "f.json").write_text(json.dumps({"x.png": [face.tolist() for face in faces]}))
    (folder / "f.csv").write_text("".join(f"x.png,{','.join(map(repr, face.tolist()))}\n" for face in faces))
    same(read_landmarks(folder / "f.csv"), read_landmarks(folder / "f.json"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("f.txt", "", "landmarks are read from .json, .csv, .npz files"),
        ("f.json", "{", "its JSON is not valid"),
        ("f.json", "[1, 2]", "must be an object"),
        ("f.json", "{}", "contains no file names"),
        ("f.json", '{"a.jpg": [1, 2, 3]}', "a face of 'a.jpg' has 3 numbers"),
        ("f.json", '{"a.jpg": 5}', "is not a list of numbers or of faces"),
        ("f.json", '{"a.jpg": "eyes"}', "a.jpg"),
        ("f.json", '{"a.jpg": [1, 2, NaN, 4]}', "not finite"),
        ("f.json", '{"a.jpg": [1, 2, "x", 4]}', "values that are not numbers"),
        ("f.json", '{"a.jpg": [30, 2, 1, 4]}', "has an empty box"),
        ("f.csv", "a.jpg,1,2,3\n", "has 3 numbers"),
        ("f.csv", "file,x\na.jpg,1,two,3,4\n", "values that are not numbers"),
        ("f.csv", "", "contains no file names"),
        ("f.npz", "no zip", "not a file of landmarks"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=words) as raised:
        read_landmarks(tmp_path / name)
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


def test_npz_mistakes(tmp_path):
    path = tmp_path / "f.npz"
    np.savez(path, files=["a.jpg"], points=FIVE[None])
    with pytest.raises(UserError, match="arrays called files and landmarks or boxes"):
        read_landmarks(path)
    np.savez(path, files=["a.jpg"], boxes=np.stack([BOX, BOX]))
    with pytest.raises(UserError, match="1 files and 2 boxes"):
        read_landmarks(path)
    np.savez(path, files=np.array([{"run": "me"}]), boxes=BOX[None])
    with pytest.raises(UserError, match="array of object"):
        read_landmarks(path)


def test_there_is_no_such_file(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        read_landmarks(tmp_path / "absent.json")


GOOD = BOX.tolist()
ONE_BAD = {
    "null": (None, "not a list"),
    "a number": (3, "not a list"),
    "text": ("eyes", "not a list"),
    "an object": ({"box": GOOD}, "not a list"),
    "a null among numbers": ([1, 2, None, 4], "not finite"),
    "text among numbers": ([1, 2, "x", 4], "not numbers"),
    "too few": ([1, 2, 3], "has 3 numbers"),
    "an integer of 15 digits": ([1, 2, 10**14, 4], "not finite"),
    "empty": ([9, 9, 1, 1], "empty box"),
    "ragged": ([[1, 2], [3]], "numbers"),
    "too many": ([GOOD] * 501, "is one of 501"),
}


@pytest.mark.parametrize("kind", ONE_BAD)
def test_one_bad_entry_does_not_stop_the_others(tmp_path, kind):
    value, words = ONE_BAD[kind]
    (tmp_path / "f.json").write_text(json.dumps({"bad.jpg": value, "good.jpg": GOOD}))
    found = read_landmarks(tmp_path / "f.json")
    same({"good.jpg": found["good.jpg"]}, {"good.jpg": [BOX]})
    assert all(isinstance(face, str) for face in found["bad.jpg"])
    assert words in found["bad.jpg"][0]


def test_one_bad_face_of_a_photo_does_not_stop_its_others(tmp_path):
    (tmp_path / "f.json").write_text(json.dumps({"a.jpg": [GOOD, None, FIVE.tolist()]}))
    first, bad, last = read_landmarks(tmp_path / "f.json")["a.jpg"]
    same({"a.jpg": [first, last]}, {"a.jpg": [BOX, FIVE]})
    assert bad == "is null"


def test_one_bad_row_does_not_stop_the_others(tmp_path):
    (tmp_path / "f.csv").write_text("a.jpg,1,2,30,40\nb.jpg,1,two,3,4\n")
    found = read_landmarks(tmp_path / "f.csv")
    assert (len(found["a.jpg"]), found["b.jpg"]) == (1, ["has values that are not numbers"])
    np.savez(tmp_path / "f.npz", files=["a.jpg", "b.jpg"], boxes=np.stack([BOX, BOX * np.nan]))
    assert "not finite" in read_landmarks(tmp_path / "f.npz")["b.jpg"][0]
