"""What the page does with photographs, without the page."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from skimage import data

import psp
from psp.pretrained_files import PRETRAINED
from psp.web import studio
from stylegan2.runtime.errors import ImageError, UserError


@pytest.fixture(scope="module")
def models():
    return studio.load_models(studio.shipped_models("portraits64"), "cpu")


@pytest.fixture(scope="module")
def photograph(tmp_path_factory):
    path = tmp_path_factory.mktemp("web") / "astronaut.png"
    Image.fromarray(data.astronaut()).save(path)
    return studio.open_photograph(path)


@pytest.fixture(scope="module")
def face(models, photograph):
    return studio.invert(models["inversion"], photograph, 0)


def differs(image, other):
    """Where two images are not the same, bool [H, W]."""
    return (np.asarray(image) != np.asarray(other)).any(2)


def test_the_models_are_those_that_are_shipped(monkeypatch):
    names = studio.shipped_models("portraits64")
    assert names == {
        task: f"portraits64_{task}"
        for task in ("inversion", "super_resolution", "inpainting", "toonify")
        if f"portraits64_{task}" in PRETRAINED.shipped
    }
    assert set(names) >= {"inversion", "inpainting", "toonify"}
    assert studio.shipped_models("synthfaces64") == {"inversion": "synthfaces64_inversion"}
    with pytest.raises(UserError, match="choose portraits64 or synthfaces64"):
        studio.shipped_models("cats")
    shipped = [*PRETRAINED.shipped, "synthfaces64_super_resolution"]
    monkeypatch.setattr(type(PRETRAINED), "shipped", property(lambda self: shipped))
    assert list(studio.shipped_models("synthfaces64")) == ["inversion", "super_resolution"]


def test_a_photograph_is_opened_and_its_face_found(photograph):
    assert (photograph.image.size, photograph.notice) == ((512, 512), "")
    assert len(photograph.crops) == 1
    [thumbnail] = studio.thumbnails(photograph)
    assert thumbnail.size == (studio.THUMBNAIL, studio.THUMBNAIL)


def test_a_large_photograph_is_reduced(tmp_path):
    Image.new("RGB", (5000, 1000), "gray").save(tmp_path / "wide.png")
    assert studio.open_photograph(tmp_path / "wide.png").image.size == (studio.LONGEST, 410)


def test_without_a_face_the_middle_is_taken(models, tmp_path):
    Image.fromarray(data.astronaut()).resize((30, 20)).save(tmp_path / "small.png")
    photograph = studio.open_photograph(tmp_path / "small.png")
    assert photograph.notice == "No face was found, so the middle of the picture is used."
    assert photograph.crops[0].quad == ((5, 0), (5, 20), (25, 20), (25, 0))
    assert studio.invert(models["inversion"], photograph, 0).paste_back().size == (30, 20)


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe0 cut off"])
def test_a_broken_file_is_one_sentence_that_tells_no_folder(tmp_path, content):
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match="broken.jpg") as raised:
        studio.open_photograph(path)
    assert "\n" not in str(raised.value)
    assert str(tmp_path) not in str(raised.value)


def test_a_face_is_edited_and_the_range_is_warned_of(models, face):
    same, warnings = studio.edit(models["inversion"], face, {"smile": 0.0})
    assert not differs(same.image, face.image).any()
    assert warnings == []
    smiling, _ = studio.edit(models["inversion"], face, {"smile": 2.0, "yaw": 0.0})
    assert differs(smiling.image, face.image).mean() > 0.3
    _, warnings = studio.edit(models["inversion"], face, {"smile": 9.0})
    assert len(warnings) == 1
    assert warnings[0].startswith("smile changes the features by +9.0")


def test_two_people_are_mixed_in_three_ways(models, face):
    other = models["inversion"].invert(models["inversion"].generate(5), align=False)
    mixed = studio.mix(models["inversion"], face, other)
    assert len(mixed) == len(studio.ROWS) == 3
    for one in mixed:
        rows = [bool((one.w_plus[row] != face.w_plus[row]).any()) for row in range(10)]
        assert 0 < sum(rows) < 10
        assert differs(one.image, face.image).any()


def test_a_hole_is_filled_and_nothing_else_changes(models, photograph, face):
    hole = Image.new("L", (studio.SHOWN, studio.SHOWN))
    ImageDraw.Draw(hole).rectangle((200, 220, 320, 300), fill=255)
    filled, whole = studio.fill(models["inpainting"], photograph, face.crop, hole)
    before = studio.cut_out(photograph, face.crop)
    changed = differs(filled, before)
    assert changed[220:300, 200:320].mean() > 0.9
    assert not changed[:190].any()
    assert not changed[:, :170].any()
    touched = differs(whole, photograph.image)
    assert 0.001 < touched.mean() < 0.05  # the hole is a small part of the photograph
    with pytest.raises(UserError, match="nothing is marked"):
        studio.fill(models["inpainting"], photograph, face.crop, Image.new("L", (studio.SHOWN, studio.SHOWN)))


def test_a_shrunken_face_is_restored(face, models):
    # Any model of photographs does here; the trained one is the family's, where it is shipped.
    model = models.get("super_resolution", models["toonify"])
    small, restored = studio.sharpen(model, face, 8)
    assert (small.size, restored.size) == ((8, 8), (64, 64))


def test_people_are_generated_by_their_seeds(models):
    first, second = (studio.people(models["inversion"], seed, 2, 0.7) for seed in (4, 5))
    assert first[0].size == (studio.SHOWN, studio.SHOWN)
    np.testing.assert_array_equal(np.asarray(first[1]), np.asarray(second[0]))


def test_examples_have_the_faces_that_they_promise(models, tmp_path):
    files = studio.write_examples(models["inversion"], tmp_path)
    faces = [len(psp.find_faces(file)) for file in files]
    assert faces == [1] * (len(files) - 1) + [2]
