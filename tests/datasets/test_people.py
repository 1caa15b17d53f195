"""Holding out a tenth of the people, by their names."""

import pytest
from PIL import Image

from datasets.folder import ImageFiles
from datasets.people import is_held_out, keep_part, person_of
from stylegan2.runtime.errors import UserError


@pytest.mark.parametrize(
    ("name", "person"),
    [
        ("faces/london/001_neutral.jpg", "london/001"),
        ("london/001_smiling.jpg", "london/001"),
        ("portraits/female_1.jpg", "portraits/female_1"),
        ("A000014.jpg", "congress/A000014"),
    ],
)
def test_a_person_is_a_folder_and_a_name(name, person):
    assert person_of(name, "congress") == person


def test_a_tenth_of_the_people_is_held_out_for_ever():
    people = [f"london/{k:03d}" for k in range(2_000)]
    held_out = [person for person in people if is_held_out(person)]
    assert held_out[:4] == ["london/012", "london/013", "london/017", "london/022"]
    assert 160 < len(held_out) < 240


def folder(path, count=60):
    (path / "london").mkdir(parents=True)
    for k in range(count):
        for expression in ("neutral", "smiling"):
            Image.new("RGB", (8, 8), (k, k, k)).save(path / "london" / f"{k:03d}_{expression}.png")
    return path


def names(path, part):
    files = ImageFiles(path)
    keep_part(files, part)
    return [files.relative(index) for index in range(len(files))]


def test_parts_share_nobody_and_miss_nobody(tmp_path):
    path = folder(tmp_path / "faces")
    parts = {part: names(path, part) for part in ("all", "train", "held_out")}
    assert sorted(parts["train"] + parts["held_out"]) == parts["all"]
    people = [{person_of(name) for name in parts[part]} for part in ("train", "held_out")]
    assert not people[0] & people[1]
    assert len(parts["held_out"]) == 2 * len(people[1]) > 0


def test_a_part_without_anybody(tmp_path):
    path = folder(tmp_path / "faces", 1)
    empty = "train" if is_held_out("london/000") else "held_out"
    with pytest.raises(UserError, match=f"shows no person of the part {empty}"):
        names(path, empty)
    with pytest.raises(UserError, match="choose one of all, train, held_out"):
        names(path, "test")
