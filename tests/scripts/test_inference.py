"""scripts/inference.py from folder to results, with a random model: files, reports and exit codes."""

import io
import json
import os
import runpy
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from options.parse import parse
from psp import PSp, loading
from psp.encoders import ENCODERS
from psp.inference.translate import prepare
from psp.model import Codes
from scripts.inference import Inference, main
from stylegan2.runtime import image_reader, images
from stylegan2.runtime.errors import UserError
from tests.forks import PROGRAMS

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "inference.py"
RESOLUTION = 32


@pytest.fixture
def infer(model_file, tmp_path):
    """Provide a function that runs the command in this process and returns its exit code."""

    def call(source, *flags, out=tmp_path / "out", model=model_file):
        arguments = ["--data_path", source, "--exp_dir", out, "--checkpoint_path", model, *flags]
        return main(parse(Inference, args=list(map(str, arguments))))

    return call


def read_manifest(out):
    return json.loads((out / "manifest.json").read_text())


def statuses(out):
    return {entry["file"]: entry["status"] for entry in read_manifest(out)}


def picture(size=40, seed=0):
    """Make a smooth picture that differs in each corner."""
    corners = np.random.default_rng(seed).integers(0, 255, (3, 2, 3), dtype=np.uint8)
    return Image.fromarray(corners).resize((size, size), Image.Resampling.BICUBIC)


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


# ------------------------------------------------------------------------------------ the whole program


@pytest.mark.slow
def test_a_folder_from_another_working_directory(tmp_path, model_file):
    """As a user runs it: a face, a picture without one and a file that is no image."""
    save(tmp_path / "in" / "astronaut.png", Image.fromarray(data.astronaut()))
    save(tmp_path / "in" / "deep" / "coffee.jpg", Image.fromarray(data.coffee()))
    (tmp_path / "in" / "text.png").write_text("no image at all")
    out = tmp_path / "out"
    command = [SCRIPT, "--data_path", "in", "--exp-dir", "out", "--checkpoint_path", model_file]
    done = PROGRAMS.run(command, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "1 of 3 files gave 1 images" in done.stdout
    assert "images/s" in done.stdout
    assert "no_face: deep/coffee.jpg: no face was found" in done.stderr
    assert "unreadable: text.png: " in done.stderr
    assert "Traceback" not in done.stderr

    face, coffee, text = read_manifest(out)
    assert (face["status"], coffee["status"], text["status"]) == ("ok", "no_face", "unreadable")
    assert (coffee["box"], text["box"]) == (None, None)
    assert text["reason"]
    x0, y0, x1, y1 = face["box"]
    assert x0 < 203 < 247 < x1
    assert y0 < 101 < y1
    assert face["seconds"] > 0
    (output,) = face["outputs"]
    assert images.read_image(out / output["result"]).shape == (RESOLUTION, RESOLUTION, 3)
    assert images.read_image(out / output["coupled"]).shape == (RESOLUTION, 2 * RESOLUTION, 3)
    with np.load(out / "latents.npz") as latents:
        assert latents["names"].tolist() == ["astronaut"]
        assert latents["w_plus"].dtype == np.float32
        assert latents["w_plus"].shape == (1, 8, 16)
    assert images.read_image(out / "contact_sheet.jpg").shape[2] == 3


# -------------------------------------------------------------------------------- pixels and latents


def test_outputs_are_those_of_the_model(infer, tmp_path, build_model):
    files = [save(tmp_path / "in" / f"{i}.png", picture(RESOLUTION, i)) for i in range(5)]
    assert infer(tmp_path / "in", "--no-align", "--batch_size", 2, "--workers", 3) == 0
    model, out = build_model(), tmp_path / "out"
    with np.load(out / "latents.npz") as latents:
        names, w_plus = latents["names"].tolist(), latents["w_plus"]
    assert names == [file.stem for file in files]
    for file, code in zip(files, w_plus, strict=True):
        pixels = images.read_image(file)
        with torch.no_grad():
            expected = model.encode(prepare(images.to_tensor(pixels), 3, 32)[None]).w_plus
            rendered = images.to_uint8(model.decode(expected))[0]
        np.testing.assert_allclose(code, expected[0], atol=1e-5)
        written = images.read_image(out / "inference_results" / file.name)
        assert np.abs(written.astype(int) - rendered).max() <= 1
        coupled = images.read_image(out / "inference_coupled" / file.name)
        np.testing.assert_array_equal(coupled, np.concatenate([pixels, written], axis=1))


def test_the_number_of_passes_of_a_model_that_corrects_itself(infer, tmp_path, build_model, save_model):
    encoder = ENCODERS.build("light_restyle", num_ws=8, w_dim=16, input_size=32, iterations=3)
    model = PSp(encoder, build_model().generator, torch.randn(16)).eval()
    path = save_model(tmp_path / "restyle.safetensors", model)
    file = save(tmp_path / "in" / "a.png", picture(RESOLUTION))
    image = prepare(images.to_tensor(images.read_image(file)), 3, 32)[None]
    for flags, passes in (([], 3), (["--iterations", 1], 1), (["--n_iters_per_batch", 4], 4)):
        assert infer(tmp_path / "in", "--no_align", *flags, model=path, out=tmp_path / str(passes)) == 0
        model.iterations = passes
        with np.load(tmp_path / str(passes) / "latents.npz") as latents, torch.no_grad():
            np.testing.assert_allclose(latents["w_plus"], model.encode(image).w_plus, atol=1e-4)


def test_steps_of_conjugate_gradients(infer, tmp_path, build_model, save_model):
    encoder = ENCODERS.build(
        "light_feature_gradient", num_ws=8, w_dim=16, input_size=32, feature_channels=16, conjugate_steps=2
    )
    model = PSp(encoder, build_model().generator).eval()
    path = save_model(tmp_path / "feature.safetensors", model)
    file = save(tmp_path / "in" / "a.png", picture(RESOLUTION))
    image = prepare(images.to_tensor(images.read_image(file)), 3, 32)[None]
    errors = []
    for flags, steps in (([], 2), (["--conjugate_steps", 0], 0), (["--conjugate_steps", 5], 5)):
        assert infer(tmp_path / "in", "--no_align", *flags, model=path, out=tmp_path / str(steps)) == 0
        model.conjugate_steps = steps
        with np.load(tmp_path / str(steps) / "latents.npz") as latents, torch.no_grad():
            codes = Codes(*(torch.from_numpy(latents[name]).float() for name in ("w_plus", "features")))
            errors.append((model.decode(codes) - image).square().mean().item())
            expected = (model(image) - image).square().mean().item()
        assert errors[-1] == pytest.approx(expected, rel=0.01)
    assert errors[1] > 1.05 * errors[0]
    assert errors[0] > 1.05 * errors[2]
    enlarging = save_model(tmp_path / "enlarging.safetensors", model, task="super_resolution")
    with pytest.raises(UserError, match="needs a model of the inversion task"):
        infer(tmp_path / "in", "--no_align", "--conjugate_steps", 5, model=enlarging, out=tmp_path / "enlarged")


@pytest.mark.parametrize(
    ("count", "words"), [(2, "makes one pass over an image, so the number of passes"), (0, "at least 1, not 0")]
)
def test_passes_that_cannot_be(infer, tmp_path, count, words):
    save(tmp_path / "in" / "a.png", picture())
    with pytest.raises(UserError, match=words):
        infer(tmp_path / "in", "--no_align", "--n_iters_per_batch", count)
    assert not (tmp_path / "out" / "inference_results").exists()


def test_latents_render_to_the_results_again(infer, tmp_path, build_model):
    save(tmp_path / "in" / "a.png", picture())
    infer(tmp_path / "in", "--no_align")
    with np.load(tmp_path / "out" / "latents.npz") as latents, torch.no_grad():
        rendered = images.to_uint8(build_model().decode(torch.from_numpy(latents["w_plus"])))[0]
    written = images.read_image(tmp_path / "out" / "inference_results" / "a.png")
    assert np.abs(written.astype(int) - rendered).max() <= 1


def test_the_results_do_not_depend_on_workers_and_batches(infer, tmp_path):
    for i in range(7):
        save(tmp_path / "in" / f"{i}.png", picture(50, i))
    infer(tmp_path / "in", "--no_align", "--workers", 1, "--test_batch_size", 1, out=tmp_path / "one")
    infer(tmp_path / "in", "--no_align", "--workers", 4, "--test_batch_size", 5, out=tmp_path / "two")
    one, two = (
        [np.load(tmp_path / name / "latents.npz")[key] for key in ("names", "w_plus")] for name in ("one", "two")
    )
    assert one[0].tolist() == two[0].tolist()
    np.testing.assert_allclose(one[1], two[1], atol=1e-5)


def test_all_faces_of_a_photo(infer, tmp_path):
    astronaut = data.astronaut()
    smaller = np.asarray(Image.fromarray(astronaut).resize((400, 400)))
    pair = np.concatenate([np.pad(smaller, ((0, 112), (0, 0), (0, 0)), mode="edge"), astronaut], axis=1)
    save(tmp_path / "in" / "pair.png", Image.fromarray(pair))
    assert infer(tmp_path / "in", "--faces", "all") == 0
    (entry,) = read_manifest(tmp_path / "out")
    assert [output["name"] for output in entry["outputs"]] == ["pair", "pair_face1"]
    first, second = (output["box"] for output in entry["outputs"])
    assert first[0] > 400 > second[2]
    assert entry["box"] == first
    assert infer(tmp_path / "in", out=tmp_path / "largest") == 0
    (entry,) = read_manifest(tmp_path / "largest")
    assert len(entry["outputs"]) == 1
    assert entry["box"][0] > 400


def test_the_manifest_counts_the_pixels_of_the_file(infer, tmp_path, monkeypatch):
    """As a photo of a 200-megapixel phone is read at half its size or less, here one of 512 x 512 pixels."""
    save(tmp_path / "in" / "astronaut.png", Image.fromarray(data.astronaut()))
    assert infer(tmp_path / "in", out=tmp_path / "whole") == 0
    monkeypatch.setattr(image_reader, "MAX_DECODED_PIXELS", 512 * 512 // 3)
    assert infer(tmp_path / "in", out=tmp_path / "halved") == 0
    (whole,), (halved,) = (read_manifest(tmp_path / name)[0]["outputs"] for name in ("whole", "halved"))
    for name in ("box", "quad"):
        np.testing.assert_allclose(halved[name], whole[name], atol=25)  # what is found differs by some pixels


def test_a_gray_encoder_and_a_segmentation_encoder(infer, tmp_path, build_model, save_model):
    save(tmp_path / "in" / "a.png", Image.fromarray(np.kron(np.eye(8, dtype=np.uint8), np.ones((8, 8), np.uint8)) * 4))
    for channels in (1, 5):
        file = save_model(tmp_path / f"model{channels}.safetensors", build_model(channels))
        assert infer(tmp_path / "in", "--no_align", model=file, out=tmp_path / str(channels)) == 0
        assert (tmp_path / str(channels) / "inference_results" / "a.png").is_file()


# ---------------------------------------------------------------------------------- files and folders


def test_names_do_not_collide(infer, tmp_path):
    for name in ("x.jpg", "x.png", "a/x.png", "b/x.bmp", "b.jpg", "x_jpg.png"):
        save(tmp_path / "in" / name, picture())
    assert infer(tmp_path / "in", "--no_align") == 0
    outputs = [output["result"] for entry in read_manifest(tmp_path / "out") for output in entry["outputs"]]
    assert len(set(outputs)) == 6
    assert all((tmp_path / "out" / output).is_file() for output in outputs)


def test_a_second_run_replaces_and_does_not_eat_its_own_results(infer, tmp_path):
    """The results lie among the photos, and the second run has other photos."""
    first = save(tmp_path / "a.png", picture())
    assert infer(tmp_path, "--no_align", out=tmp_path) == 0
    save(tmp_path / "b.png", picture(seed=1))
    assert infer(tmp_path, "--no_align", out=tmp_path) == 0
    assert list(statuses(tmp_path)) == ["a.png", "b.png"]
    first.unlink()
    assert infer(tmp_path, "--no_align", "--no_couple_outputs", out=tmp_path) == 0
    assert list(statuses(tmp_path)) == ["b.png"]
    assert "coupled" not in read_manifest(tmp_path)[0]["outputs"][0]
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".") and name != ".lock"]


def test_contact_sheets_have_pages(infer, tmp_path):
    for i in range(45):
        save(tmp_path / "in" / f"{i:02}.png", picture(8))
    infer(tmp_path / "in", "--no_align", "--no_couple_outputs")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.jpg")) == [
        "contact_sheet.jpg",
        "contact_sheet_2.jpg",
    ]
    first, second = (
        images.read_image(tmp_path / "out" / name) for name in ("contact_sheet.jpg", "contact_sheet_2.jpg")
    )
    assert first.shape[1] > 3 * second.shape[1]
    infer(tmp_path / "in" / "07.png", "--no_align", "--overwrite")
    assert [path.name for path in (tmp_path / "out").glob("*.jpg")] == ["contact_sheet.jpg"]


def png_bomb():
    """The header of a PNG of 100,000 x 100,000 pixels, and hardly any data."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def hostile_folder(folder):
    """Good pictures in odd forms (stem `good*`), all of the same content, and broken ones (stem `bad*`)."""
    colours = picture(RESOLUTION)
    gray = colours.convert("L")
    exif = Image.Exif()
    exif[274] = 6  # shown turned by a quarter clockwise
    save(folder / "good_exif.png", colours.transpose(Image.Transpose.ROTATE_90), exif=exif)
    opaque = colours.copy()
    opaque.putalpha(255)
    save(folder / "good_rgba.png", opaque)
    save(folder / "good_plain.png", colours)
    save(folder / "good_named_wrongly.jpg", colours, format="PNG")
    save(folder / "good_gray.png", gray)
    save(folder / "good_gray16.png", Image.fromarray(np.asarray(gray).astype(np.uint16) * 257))
    save(folder / "good_palette.png", gray.convert("P"))
    save(folder / "good_cmyk.jpg", colours.convert("CMYK"), quality=95, subsampling=0)
    buffer = io.BytesIO()
    picture(200).save(buffer, "JPEG")
    (folder / "bad_truncated.jpg").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    (folder / "bad_empty.png").write_bytes(b"")
    (folder / "bad_bomb.png").write_bytes(png_bomb())
    (folder / "bad_text.jpg").write_text("not a picture")


def test_a_hostile_folder(infer, tmp_path, capsys):
    """Each file gives the correct pixels or one clear line."""
    hostile_folder(tmp_path / "in")
    assert infer(tmp_path / "in", "--no_align") == 1
    status_of = statuses(tmp_path / "out")
    assert len(status_of) == 12
    for name, status in status_of.items():
        assert status == ("ok" if name.startswith("good") else "unreadable"), name
    coupled = {path.stem: images.read_image(path) for path in (tmp_path / "out" / "inference_coupled").iterdir()}
    plain = np.asarray(picture(RESOLUTION)).astype(int)
    gray = np.repeat(np.asarray(picture(RESOLUTION).convert("L"))[..., None], 3, axis=2).astype(int)
    for stem, image in coupled.items():
        expected = gray if "gray" in stem or "palette" in stem else plain
        assert np.abs(image[:, :RESOLUTION] - expected).max() <= (12 if "cmyk" in stem else 1), stem
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("unreadable: ")]
    assert sorted(line.split(": ")[1] for line in lines) == [
        "bad_bomb.png", "bad_empty.png", "bad_text.jpg", "bad_truncated.jpg",
    ]  # fmt: skip


def test_file_names_that_are_no_text(infer, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    try:
        save(tmp_path / "a.png", picture()).rename(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png"))
    except OSError:
        pytest.skip("this disk takes text names only")
    (folder / "line\nbreak.png").write_bytes(b"")
    assert infer(folder, "--no_align") == 1
    assert sorted(statuses(tmp_path / "out").values()) == ["ok", "unreadable"]
    assert np.load(tmp_path / "out" / "latents.npz")["names"].shape == (1,)


# ------------------------------------------------------------------------------------------- mistakes


def run_script(*flags):
    """Run a script in this process, with the exit codes of a program."""
    argv = sys.argv
    sys.argv = [str(SCRIPT), *map(str, flags)]
    try:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    except SystemExit as stop:
        return stop.code
    finally:
        sys.argv = argv


def test_mistakes_are_one_sentence_and_exit_code_2(tmp_path, model_file, capsys):
    save(tmp_path / "in" / "a.png", picture())
    (tmp_path / "empty").mkdir()
    (tmp_path / "blocked").write_text("a file where the results should go")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(model_file.read_bytes()[:1000])
    out, good = tmp_path / "out", model_file
    cases = {
        "contains no images": (tmp_path / "empty", out, good),
        "there is no folder": (tmp_path / "absent", out, good),
        "broken.safetensors": (tmp_path / "in", out, broken),
        "no_such_model": (tmp_path / "in", out, "no_such_model"),
        "is a file, not a folder": (tmp_path / "in", tmp_path / "blocked" / "out", good),
    }
    for words, (source, exp_dir, model) in cases.items():
        code = run_script("--data_path", source, "--exp_dir", exp_dir, "--checkpoint_path", model, "--no_align")
        output = capsys.readouterr()
        assert code == 2, words
        assert output.err.startswith("error: ")
        assert output.err.count("\n") == 1
        assert words in output.err
        assert not out.exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--chekpoint_path", "x"], "did you mean --checkpoint_path?"),
        (["--batch_size", "0"], "--test_batch_size must be at least 1"),
        (["--detector", "haar"], "haar"),
        (["--device", "tpu"], "tpu"),
    ],
)
def test_flags_are_checked_first(tmp_path, flags, words, capsys):
    assert run_script("--data_path", tmp_path, "--exp_dir", tmp_path / "out", *flags) == 2
    assert words in capsys.readouterr().err


def test_an_interrupted_run_lists_what_it_did(infer, tmp_path, monkeypatch):
    for i in range(6):
        save(tmp_path / "in" / f"{i}.png", picture(seed=i))
    written, original = [], images.write_image

    def interrupted(path, array):
        written.append(path)
        if len(written) == 4:
            raise KeyboardInterrupt
        original(path, array)

    monkeypatch.setattr(images, "write_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        infer(tmp_path / "in", "--no_align", "--no_couple_outputs", "--batch_size", 1, "--workers", 1)
    monkeypatch.undo()
    listed = read_manifest(tmp_path / "out")
    assert [len(entry["outputs"]) for entry in listed][:3] == [1, 1, 1]
    assert np.load(tmp_path / "out" / "latents.npz")["names"].tolist() == ["0", "1", "2"]


def test_photos_of_people(photos, infer, tmp_path):
    """Four photos give their faces, and a second run gives the same results."""
    for file in sorted((photos / "photos").glob("*.jpg"))[:4]:
        save(tmp_path / "in" / file.name, Image.open(file))
    assert infer(tmp_path / "in") == 0
    first = np.load(tmp_path / "out" / "latents.npz")["w_plus"]
    assert infer(tmp_path / "in", "--workers", "1") == 0
    np.testing.assert_array_equal(first, np.load(tmp_path / "out" / "latents.npz")["w_plus"])


def test_a_wide_picture_is_padded_and_comes_back_as_wide(infer, tmp_path):
    images.write_image(tmp_path / "in" / "car.png", np.asarray(picture(60).convert("RGB"))[:30])
    assert infer(tmp_path / "in", "--no_align", "--crop", "pad") == 0
    output = read_manifest(tmp_path / "out")[0]["outputs"][0]
    assert output["region"] == [0.0, 0.25, 1.0, 0.75]
    assert images.read_image(tmp_path / "out" / output["result"]).shape == (RESOLUTION // 2, RESOLUTION, 3)
    assert images.read_image(tmp_path / "out" / output["coupled"]).shape == (RESOLUTION // 2, 2 * RESOLUTION, 3)


def test_a_model_of_cars_renders_them_as_wide(infer, build_model, tmp_path, capsys):
    model = build_model()
    model.encoder.aspect = 0.75  # as published encoders of cars are read
    loading.save_model(tmp_path / "cars.safetensors", model, {"faces": False})
    images.write_image(tmp_path / "in" / "car.png", np.asarray(picture(64).convert("RGB"))[:40])
    assert infer(tmp_path / "in", model=tmp_path / "cars.safetensors") == 0
    assert "the middle part, 0.75 as high as wide, of each photo is used" in capsys.readouterr().out
    output = read_manifest(tmp_path / "out")[0]["outputs"][0]
    result = images.read_image(tmp_path / "out" / output["result"])
    assert result.shape == (24, 32, 3)  # of the generator's 32 x 32
    seen = np.asarray(picture(64).convert("RGB"))[:40, 5:58]  # 4 to 3
    square = images.resize(images.pad_square(seen)[0], (32, 32))
    with torch.no_grad():
        expected = images.to_uint8(model(images.to_tensor(square)[None]))[0, 4:28]
    assert np.abs(result.astype(int) - expected).max() <= 1


def test_a_result_that_cannot_be_written_does_not_end_the_run(infer, tmp_path, capsys):
    for number in range(3):
        save(tmp_path / "in" / f"{number}.png", picture(seed=number))
    (tmp_path / "out" / "inference_results" / "1.png").mkdir(parents=True)  # a folder is in its place
    (tmp_path / "out" / "inference_results" / "1.png" / "x").write_text("")
    assert infer(tmp_path / "in", "--no_align", "--batch_size", 2, "--overwrite") == 1
    assert "not_written: 1.png: cannot write" in capsys.readouterr().err
    assert statuses(tmp_path / "out") == {"0.png": "ok", "1.png": "not_written", "2.png": "ok"}
    assert np.load(tmp_path / "out" / "latents.npz")["names"].tolist() == ["0", "2"]
    assert (tmp_path / "out" / "inference_results" / "2.png").is_file()


def test_pictures_without_faces_are_said_at_once(infer, tmp_path, capsys):
    for number in range(4):
        save(tmp_path / "in" / f"{number}.png", picture(64))
    assert infer(tmp_path / "in", "--detector", "dlib") == 1
    assert capsys.readouterr().out.count("the first 3 photos show no face: give --no_align") == 1
