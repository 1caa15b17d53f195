"""The photos of a folder, and names that never collide."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from psp.inference.names import Names, list_photos
from stylegan2.runtime.errors import UserError

segment = st.sampled_from(["a", "A", "b", "a_jpg", "a_png", "a_face1", "a_2", "a.png", "b.c"])


@given(
    st.sets(
        st.tuples(st.lists(segment, max_size=2), segment, st.sampled_from([".jpg", ".png", ".JPG"])).map(
            lambda parts: "/".join([*parts[0], parts[1] + parts[2]])
        ),
        min_size=1,
        max_size=12,
    )
)
def test_names_are_unique_and_writable(paths):
    """Every result is its own file on a disk that does not tell case, and no result is where a folder has to be."""
    root = Path("root")
    files = [root / path for path in sorted(paths)]
    names = Names(files, root)
    found = [names.of_face(file, index) for file in files for index in range(3)]
    results = [f"{name}.png".casefold() for name in found]
    assert len(set(results)) == len(results)
    folders = {str(parent).casefold() for name in found for parent in Path(name).parents}
    assert not folders & set(results)
    assert found == [again.of_face(f, i) for again in [Names(files, root)] for f in files for i in range(3)]
    assert [Path(name).parent for name in found[::3]] == [file.relative_to(root).parent for file in files]


def test_names_stay_plain_where_they_can():
    root = Path("r")
    names = Names([root / "a/x.jpg", root / "b/x.png", root / "y.v2.jpg", root / "z.jpg", root / "z.png"], root)
    assert list(names.of_file.values()) == ["a/x", "b/x", "y.v2", "z_jpg", "z_png"]
    assert names.of_face(root / "a/x.jpg", 2) == "a/x_face2"


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def test_list_photos(tmp_path):
    pixels = np.zeros((4, 4, 3), np.uint8)
    first = save(tmp_path / "in" / "a.png", pixels)
    second = save(tmp_path / "in" / "deep" / "b.JPG", pixels)
    save(tmp_path / "in" / "out" / "results" / "c.png", pixels)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    assert list_photos(tmp_path / "in", [tmp_path / "in" / "out"]) == [first, second]
    assert list_photos(first) == [first]
    with pytest.raises(UserError, match="no folder"):
        list_photos(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="contains no images"):
        list_photos(tmp_path / "empty")
