"""Shards that `prepare_data.py` writes can be read here and by webdataset, and are complete or absent."""

import json

import numpy as np
import pytest

from datasets import shard_index
from datasets.folder import ImageFiles, ImageFolder
from datasets.prepare import Recipe, prepare_faces, prepare_folder
from datasets.shard_writer import open_shards
from datasets.synthetic import SyntheticFaces
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import write_image

pytest.importorskip("webdataset", reason="needs the extra `shards`")
pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for n in range(7):
        write_image(tmp_path / "photos" / "abc"[n % 3] / f"{n}.jpg.png", rng.integers(0, 256, (32, 40, 3), np.uint8))
    return ImageFiles(tmp_path / "photos")


def test_what_is_written_is_what_is_read(photos, tmp_path, monkeypatch):
    labels = {photos.relative(n): photos.relative(n)[0] for n in range(7)}
    outcome = prepare_folder(photos, tmp_path / "s", Recipe(16), labels, per_shard=3)
    prepare_folder(photos, tmp_path / "zip.zip", Recipe(16), labels)
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == [
        "000000.tar",
        "000001.tar",
        "000002.tar",
        "classes.json",
        "shards.npz",
    ]
    monkeypatch.setattr(shard_index, "scan", lambda *_: pytest.fail("the index beside the shards was not taken"))
    ours, zipped = ImageFolder(str(tmp_path / "s" / "{000000..000002}.tar"), 16), ImageFolder(tmp_path / "zip.zip", 16)
    assert len(ours) == len(zipped) == len(outcome.kept) == 7
    assert all(np.array_equal(ours[n], zipped[n]) for n in range(7))
    assert ours.labels().tolist() == zipped.labels().tolist()
    assert json.loads((tmp_path / "s" / "classes.json").read_text()) == ["a", "b", "c"]


def test_webdataset_reads_them(photos, tmp_path):
    from webdataset import WebDataset

    vectors = {photos.relative(n): (n, 0.5) for n in range(7)}
    prepare_folder(photos, tmp_path / "s", Recipe(16), vectors, per_shard=4)
    samples = list(
        WebDataset(str(tmp_path / "s" / "{000000..000001}.tar"), shardshuffle=False, empty_check=False).decode("rgb8")
    )
    assert [sample["png"].shape for sample in samples] == [(16, 16, 3)] * 7
    assert samples[3]["json"]["label"][1] == 0.5
    assert ImageFolder(str(tmp_path / "s" / "{000000..000001}.tar"), 16).labels().shape == (7, 2)


def test_a_class_without_pictures_keeps_its_number(photos, tmp_path, capsys):
    labels = {photos.relative(n): photos.relative(n)[0] for n in range(7)}
    for name, label in labels.items():
        if label == "b":
            (tmp_path / "photos" / name).write_bytes(b"damaged")
    outcome = prepare_folder(photos, tmp_path / "s", Recipe(16), labels, per_shard=3)
    assert outcome.classes == {"a": 3, "b": 0, "c": 2}
    classes = ImageFolder(str(tmp_path / "s" / "{000000..000001}.tar"), 16).labels()
    assert sorted(set(classes.tolist())) == [0, 2]


def test_equal_pictures_make_equal_shards(tmp_path):
    for name in ("one", "two"):
        prepare_faces(SyntheticFaces(32, 0, 5), tmp_path / name, 1, per_shard=2)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / n).glob("*.tar")} for n in ("one", "two"))
    assert len(one) == 3
    assert one == two


def test_nothing_stays_of_what_was_interrupted(tmp_path):
    with pytest.raises(KeyboardInterrupt), open_shards(tmp_path / "s", 2, {}) as archive:
        archive("a.png", b"one")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "other").touch()
    with pytest.raises(UserError, match="is a folder that holds files: remove it"), open_shards(tmp_path / "s", 2, {}):
        pass
