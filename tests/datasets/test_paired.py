"""Two folders or zips whose files belong together by name."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from datasets.paired import PairedFolders
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import write_image


def write(folder, names, start=0, size=(8, 8), channels=(3,)):
    for n, name in enumerate(names):
        write_image(folder / name, np.full((*size, *channels), start + n, np.uint8))
    return str(folder)


def shades(paired):
    examples = [paired[i] for i in range(len(paired))]
    return [(int(e.target.flat[0]), int(e.source.flat[0])) for e in examples]


def test_partners_are_found_by_name_and_not_by_order(tmp_path):
    data = write(tmp_path / "data", ["b.jpg", "a.png", "deep/c.png"])
    sources = write(tmp_path / "sources", ["a.jpg", "deep/c.jpg", "b.png"], 100)
    paired = PairedFolders(data, sources, 8, "rgb")
    assert shades(paired) == [(1, 100), (0, 102), (2, 101)]
    assert paired[0].source.shape == (8, 8, 3)
    assert paired[0].name.endswith("a.jpg")


def test_a_zip_pairs_with_a_folder_whatever_folder_is_inside(tmp_path):
    data = write(tmp_path / "data", ["a.png", "b.png"])
    write(tmp_path / "maps", ["a.png", "b.png"], 100)
    with zipfile.ZipFile(tmp_path / "maps.zip", "w") as archive:
        for name in ("a.png", "b.png"):
            archive.write(tmp_path / "maps" / name, f"some/where/{name}")
    assert shades(PairedFolders(data, str(tmp_path / "maps.zip"), 8, "rgb")) == [(0, 100), (1, 101)]


def test_orphans_are_an_error_that_lists_the_first_five(tmp_path):
    data = write(tmp_path / "data", [f"{n}.png" for n in range(9)])
    sources = write(tmp_path / "sources", ["0.png", "x.png"])
    with pytest.raises(UserError) as caught:
        PairedFolders(data, sources, 8, "rgb")
    assert "8 without a partner in" in str(caught.value)
    assert "(1, 2, 3, 4, 5, ...)" in str(caught.value)
    assert "1 without a partner in" in str(caught.value)
    assert "(x)" in str(caught.value)


def test_one_name_twice_is_an_error(tmp_path):
    data = write(tmp_path / "data", ["a.png", "a.jpg"])
    with pytest.raises(UserError, match="have the same name"):
        PairedFolders(data, write(tmp_path / "sources", ["a.png"]), 8, "rgb")


def test_pictures_of_other_proportions_are_an_error(tmp_path):
    data = write(tmp_path / "data", ["a.png"], size=(80, 100))
    PairedFolders(data, write(tmp_path / "half", ["a.png"], size=(40, 50)), 8, "rgb")[0]
    with pytest.raises(UserError, match=r"a.png has 80 x 80 pixels but its target 100 x 80"):
        PairedFolders(data, write(tmp_path / "sources", ["a.png"], size=(80, 80)), 8, "rgb")[0]


def test_label_maps_keep_their_ids(tmp_path):
    """Bilinear enlargement would put a 7 between labels 1 and 13."""
    data = write(tmp_path / "data", ["a.png"], size=(40, 40))
    labels = np.where(np.arange(20) < 9, 1, 13).astype(np.uint8)[None].repeat(20, 0)
    image = Image.fromarray(labels)
    image.putpalette([value for n in range(256) for value in (255 - n, n, n)])
    (tmp_path / "sources").mkdir()
    image.save(tmp_path / "sources" / "a.png")
    for resolution in (7, 16, 40):
        source = PairedFolders(data, str(tmp_path / "sources"), resolution, "labels")[0].source
        assert source.shape == (resolution, resolution)
        assert set(np.unique(source)) == {1, 13}


def test_a_pair_that_cannot_be_read_is_left_out_as_a_pair(tmp_path):
    names = [f"{n:03d}.png" for n in range(4)]
    data, sources = write(tmp_path / "data", names), write(tmp_path / "sources", names, 100)
    (tmp_path / "sources" / "002.png").write_text("no image")
    with pytest.warns(UserWarning, match=r"left out: .*002\.png"):
        assert shades(PairedFolders(data, sources, 8, "rgb")) == [(0, 100), (1, 101), (3, 103), (3, 103)]
    (tmp_path / "data" / "000.png").write_text("no image")
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(UserError, match="2 of 4 images of .* cannot be read"),
    ):
        shades(PairedFolders(data, sources, 8, "rgb"))
