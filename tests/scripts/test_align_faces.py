"""scripts/align_faces.py: the files that it writes, resuming, and photos that fail."""

import json
import os

import numpy as np
import pytest
from PIL import Image
from skimage import data

from psp.inference.align import Crop, align, paste_back
from stylegan2.runtime import image_reader, images

FIVE = np.array([[180.0, 210.0], [240.0, 205.0], [212.0, 240.0], [190.0, 270.0], [235.0, 268.0]])


@pytest.fixture
def align_faces(script, tmp_path):
    """Provide a function that runs the script on tmp_path/in and returns (exit code, stdout, stderr)."""

    def call(*flags, source=tmp_path / "in", out=tmp_path / "out"):
        return script("align_faces.py", "--data_path", source, "--exp_dir", out, "--output_size", 64, *flags)

    return call


@pytest.fixture
def folder(tmp_path):
    """Provide three photos without faces, for which landmarks can be given."""
    rng = np.random.default_rng(0)
    for name in ("a.png", "deep/b.jpg", "a.bmp"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, (8, 7, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((420, 480), Image.Resampling.BICUBIC).save(path)
    return tmp_path / "in"


def write_landmarks(path, names, points=FIVE):
    path.write_text(json.dumps({name: points.tolist() for name in names}))
    return path


def manifest(out):
    return {entry["file"]: entry for entry in map(json.loads, (out / "manifest.jsonl").read_text().splitlines())}


def test_given_landmarks_give_the_library_s_crops(align_faces, folder, tmp_path):
    given = write_landmarks(tmp_path / "given.json", ["a.png", "a.bmp", "deep/b.jpg"])
    code, printed, _ = align_faces("--landmarks", given, "--workers", 2)
    assert code == 0
    assert "3 of 3 photos gave 3 aligned faces" in printed
    entries = manifest(tmp_path / "out")
    assert list(entries) == ["a.bmp", "a.png", "deep/b.jpg"]
    assert [entry["outputs"][0]["aligned"] for entry in entries.values()] == ["a_bmp.png", "a_png.png", "deep/b.png"]
    for name, entry in entries.items():
        photo = images.read_image(folder / name)
        expected, crop = align(photo, FIVE, 64)
        (output,) = entry["outputs"]
        np.testing.assert_array_equal(images.read_image(tmp_path / "out" / output["aligned"]), expected)
        np.testing.assert_allclose(output["quad"], crop.quad)
        stored = Crop(tuple(map(tuple, output["quad"])))
        np.testing.assert_array_equal(paste_back(photo, expected, stored), paste_back(photo, expected, crop))
        assert entry["photo"] == [420, 480]
    assert not (tmp_path / "out" / "failures.txt").exists()


def test_what_is_done_is_not_done_again(align_faces, folder, tmp_path):
    given = write_landmarks(tmp_path / "given.json", ["a.png", "a.bmp", "deep/b.jpg"])
    out = tmp_path / "out"
    align_faces("--landmarks", given)
    pictures = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    first = (out / "manifest.jsonl").read_text()

    def rewritten(*flags):
        """Return the pictures that a further run writes."""
        for path in pictures:
            if path.exists():
                os.utime(path, ns=(10**18, 10**18))
        _, printed, _ = align_faces("--landmarks", given, *flags)
        names = sorted(path.name for path in out.rglob("*.png") if path.stat().st_mtime_ns != 10**18)
        return names, printed

    names, printed = rewritten()
    assert names == []
    assert "3 of 3 photos are aligned already" in printed
    assert (out / "manifest.jsonl").read_text() == first
    (out / "a_png.png").unlink()
    assert rewritten()[0] == ["a_png.png"]
    os.utime(folder / "deep" / "b.jpg", ns=(5, 5))  # the photo was changed
    assert rewritten()[0] == ["b.png"]
    points = {"a.png": FIVE.tolist(), "a.bmp": (FIVE + 3).tolist(), "deep/b.jpg": FIVE.tolist()}
    given.write_text(json.dumps(points))  # other landmarks of one photo
    names, _ = rewritten()
    assert len(names) == 1
    assert len(rewritten("--output_size", 32)[0]) == 3


def test_a_killed_run_goes_on(align_faces, folder, tmp_path):
    """The manifest ends in the middle of a line, and a later photo must not take a name that is in use."""
    given = write_landmarks(tmp_path / "given.json", ["a.png", "a.bmp", "deep/b.jpg"])
    out = tmp_path / "out"
    align_faces("--landmarks", given)
    lines = (out / "manifest.jsonl").read_text().splitlines(keepends=True)
    (out / "manifest.jsonl").write_text(lines[0] + lines[1][: len(lines[1]) // 2])
    (out / "deep" / "b.png").unlink()
    _, printed, _ = align_faces("--landmarks", given)
    assert "1 of 3 photos are aligned already" in printed
    entries = manifest(out)
    assert len(entries) == 3
    assert len({output["aligned"] for entry in entries.values() for output in entry["outputs"]}) == 3
    assert all((out / output["aligned"]).is_file() for entry in entries.values() for output in entry["outputs"])


def test_failures_are_listed_with_their_reasons(align_faces, folder, tmp_path):
    (folder / "broken.png").write_bytes(b"no picture")
    given = tmp_path / "given.json"
    far = FIVE + 10_000
    given.write_text(
        json.dumps({"a.png": FIVE.tolist(), "a.bmp": far.tolist(), "broken.png": FIVE.tolist(), "z.png": [1, 1, 9, 9]})
    )
    code, printed, failures = align_faces("--landmarks", given)
    assert code == 1
    assert "1 files" in printed
    assert "z.png" in printed
    assert "1 of 4 photos gave 1 aligned faces" in printed
    lines = (tmp_path / "out" / "failures.txt").read_text().splitlines()
    assert lines[0].startswith("bad_landmarks: a.bmp: the face is outside of the picture")
    assert [line.split(": ")[0] for line in lines] == ["bad_landmarks", "unreadable", "not_listed"]
    assert all(line in failures for line in lines)
    write_landmarks(given, ["a.png", "a.bmp", "deep/b.jpg"])
    (folder / "broken.png").unlink()
    assert align_faces("--landmarks", given)[0] == 0  # failed files are tried again
    assert not (tmp_path / "out" / "failures.txt").exists()


def test_one_bad_entry_of_the_landmarks_does_not_end_the_run(align_faces, folder, tmp_path):
    given = tmp_path / "given.json"
    content = {"a.png": FIVE.tolist(), "a.bmp": None, "deep/b.jpg": [FIVE.tolist(), [1, 2, 3]]}
    given.write_text(json.dumps(content))
    code, printed, failures = align_faces("--landmarks", given)
    assert code == 1
    assert "gave 2 aligned faces" in printed
    assert "bad_landmarks: a.bmp: a face in the file of landmarks is not a list of numbers or of faces" in failures
    assert "bad_landmarks: deep/b.jpg: a face in the file of landmarks has 3 numbers" in failures
    content |= {"a.bmp": FIVE.tolist(), "deep/b.jpg": FIVE.tolist()}
    given.write_text(json.dumps(content))
    assert align_faces("--landmarks", given)[0] == 0  # they are tried again


def test_a_photo_of_a_very_long_name_with_two_faces_has_its_entry(align_faces, folder, tmp_path):
    long = "m" * 248 + ".png"
    (folder / "a.png").rename(folder / long)
    given = tmp_path / "given.json"
    given.write_text(json.dumps({long: [FIVE.tolist()] * 2, "a.bmp": FIVE.tolist(), "deep/b.jpg": FIVE.tolist()}))
    code, printed, failures = align_faces("--landmarks", given)
    assert code == 0, failures
    assert "3 of 3 photos gave 4 aligned faces" in printed
    assert len(manifest(tmp_path / "out")) == 3
    assert "3 of 3 photos are aligned already" in align_faces("--landmarks", given)[1]


@pytest.mark.slow
def test_a_picture_that_cannot_be_written_does_not_end_the_run(align_faces, folder, tmp_path):
    given = write_landmarks(tmp_path / "given.json", ["a.png", "a.bmp", "deep/b.jpg"])
    assert align_faces("--landmarks", given)[0] == 0
    blocked = tmp_path / "out" / "deep" / "b.png"
    blocked.unlink()
    blocked.mkdir()  # a folder is in its place
    (blocked / "x").write_text("")
    code, printed, errors = align_faces("--landmarks", given)
    assert code == 1, errors
    assert "2 of 3 photos gave 2 aligned faces" in printed
    assert "not_written: deep/b.jpg: cannot write" in errors
    assert manifest(tmp_path / "out")["deep/b.jpg"]["status"] == "not_written"
    (blocked / "x").unlink()
    blocked.rmdir()
    assert align_faces("--landmarks", given)[0] == 0  # what was lost is done


def test_landmarks_count_the_pixels_of_the_file(align_faces, folder, tmp_path, monkeypatch):
    """As a photo of a 200-megapixel phone is read at half its size or less, here one of 420 x 480 pixels."""
    given = write_landmarks(tmp_path / "given.json", ["a.png", "a.bmp", "deep/b.jpg"])
    assert align_faces("--landmarks", given, out=tmp_path / "whole")[0] == 0
    monkeypatch.setattr(image_reader, "MAX_DECODED_PIXELS", 420 * 480 // 3)
    assert align_faces("--landmarks", given, out=tmp_path / "halved")[0] == 0
    whole, halved = manifest(tmp_path / "whole"), manifest(tmp_path / "halved")
    assert len(whole) == 3
    for name in whole:
        (a,), (b,) = whole[name]["outputs"], halved[name]["outputs"]
        assert whole[name]["photo"] == halved[name]["photo"] == [420, 480]
        np.testing.assert_allclose(b["quad"], a["quad"], atol=0.02)
        np.testing.assert_allclose(b["landmarks"], a["landmarks"], atol=0.02)
        first, second = (images.read_image(tmp_path / out / a["aligned"]) for out in ("whole", "halved"))
        assert np.abs(first.astype(float) - second).mean() < 3  # the same square of the same photo


def test_found_faces_and_given_boxes(align_faces, tmp_path):
    """A photo has two faces; their boxes are then given, and dlib looks for landmarks in them."""
    astronaut = data.astronaut()
    pair = np.concatenate([astronaut, astronaut[:, ::-1]], axis=1)
    (tmp_path / "in").mkdir()
    Image.fromarray(pair).save(tmp_path / "in" / "pair.png")
    Image.fromarray(data.coffee()).save(tmp_path / "in" / "coffee.png")
    out = tmp_path / "out"
    code, _, failures = align_faces("--faces", "all", "--detector", "dlib")
    assert code == 1
    assert "no_face: coffee.png: no face was found" in failures
    entry = manifest(out)["pair.png"]
    assert [output["aligned"] for output in entry["outputs"]] == ["pair.png", "pair_face1.png"]
    given = tmp_path / "given.json"
    given.write_text(json.dumps({"pair.png": [output["box"] for output in entry["outputs"]]}))
    align_faces("--landmarks", given, out=tmp_path / "boxes")
    boxed = manifest(tmp_path / "boxes")["pair.png"]
    for a, b in zip(entry["outputs"], boxed["outputs"], strict=True):
        np.testing.assert_allclose(a["quad"], b["quad"], atol=2)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--landmarks", "absent.json"], "there is no file"),
        (["--output_size", 0], "--output_size must be from 1 to 16384"),
        (["--exp_dir", "in"], "--exp_dir must be another folder"),
    ],
)
def test_mistakes_are_one_sentence(align_faces, folder, tmp_path, monkeypatch, flags, words):
    monkeypatch.chdir(tmp_path)
    code, _, error = align_faces(*flags)
    assert code == 2
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_later_photo_takes_no_name_in_use(align_faces, folder, tmp_path):
    """Two faces of a.png are `a_png` and `a_png_face1`; a photo of that name comes later."""
    given, out = tmp_path / "given.json", tmp_path / "out"
    faces = {"a.png": [FIVE.tolist(), (FIVE + 20).tolist()], "a.bmp": FIVE.tolist(), "deep/b.jpg": FIVE.tolist()}
    given.write_text(json.dumps(faces))
    align_faces("--landmarks", given)
    second = (out / "a_png_face1.png").read_bytes()
    (folder / "a_png_face1.jpg").write_bytes((folder / "deep" / "b.jpg").read_bytes())
    given.write_text(json.dumps({**faces, "a_png_face1.jpg": FIVE.tolist()}))
    assert align_faces("--landmarks", given)[0] == 0
    assert (out / "a_png_face1.png").read_bytes() == second
    assert manifest(out)["a_png_face1.jpg"]["outputs"][0]["aligned"] == "a_png_face1_2.png"


def test_landmarks_of_other_photos(align_faces, folder, tmp_path):
    code, _, error = align_faces("--landmarks", write_landmarks(tmp_path / "given.json", ["x.png"]))
    assert code == 2
    assert "contains none of the photos: its names begin with 'x.png', those of the photos with 'a.bmp'" in error
