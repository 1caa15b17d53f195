"""Several outputs, refinement and paste-back through scripts/inference.py and scripts/style_mixing.py."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import stylegan2
from psp.inference.align import Crop, paste_back
from psp.loading import model_metadata
from psp.mixing import mask_rows, random_styles
from stylegan2.runtime import checkpoint, images

RESOLUTION = 32


@pytest.fixture
def script(script, model_file, tmp_path):
    """Provide a function that runs a script on the pictures and returns (exit code, stderr)."""

    def call(name, *flags, out=tmp_path / "out", model=model_file):
        common = ["--data_path", tmp_path / "in", "--exp_dir", out, "--checkpoint_path", model, "--device", "cpu"]
        code, _, errors = script(name, *common, *flags)
        return code, errors

    return call


@pytest.fixture
def pictures(tmp_path):
    """Provide two aligned pictures."""
    (tmp_path / "in").mkdir()
    for i in range(2):
        corners = np.random.default_rng(i).integers(0, 255, (3, 2, 3), dtype=np.uint8)
        path = tmp_path / "in" / f"{i}.png"
        Image.fromarray(corners).resize((RESOLUTION, RESOLUTION), Image.Resampling.BICUBIC).save(path)
    return tmp_path / "in"


def latents(out):
    with np.load(out / "latents.npz") as stored:
        return stored["names"].tolist(), stored["w_plus"]


def manifest(out):
    return json.loads((out / "manifest.json").read_text())


# ------------------------------------------------------------------------------------ several outputs


def test_style_mixing(script, pictures, tmp_path, build_model):
    out = tmp_path / "out"
    assert script("style_mixing.py", "--no_align", "--n_outputs", 7, "--mix_alpha", 0.6, "--seed", 3)[0] == 0
    names, w_plus = latents(out)
    assert names == [f"{i}_mix{k}" for i in range(2) for k in range(7)]
    model = build_model()
    rows, styles = mask_rows("fine", 8), random_styles(model.generator, 7, 3).numpy()
    plain_rows = [row for row in range(8) if row not in rows]
    with torch.no_grad():
        for i in range(2):
            picture = images.read_image(pictures / f"{i}.png")
            code = model.encode(images.to_tensor(picture)[None]).w_plus[0].numpy()
            written = []
            for k in range(7):
                mixed = w_plus[7 * i + k]
                np.testing.assert_allclose(mixed[plain_rows], code[plain_rows], atol=1e-5)
                np.testing.assert_allclose(mixed[rows], 0.6 * styles[k] + 0.4 * code[rows], atol=1e-5)
                rendered = images.to_uint8(model.decode(torch.from_numpy(mixed)[None]))[0]
                written.append(images.read_image(out / "inference_results" / f"{i}_mix{k}.png"))
                assert np.abs(written[-1].astype(int) - rendered).max() <= 1
            grid = images.read_image(out / "inference_coupled" / f"{i}.png")  # 8 cells, 6 in a row
            cells = [picture, *written, *[np.zeros_like(picture)] * 4]
            np.testing.assert_array_equal(
                grid, np.concatenate([np.concatenate(cells[start : start + 6], 1) for start in (0, 6)])
            )
    assert [len(entry["outputs"]) for entry in manifest(out)] == [7, 7]


def test_outputs_depend_on_the_seed_alone(script, pictures, tmp_path):
    flags = ["--no_align", "--n_outputs", 3, "--latent_mask", "coarse,7"]
    script("inference.py", *flags, "--batch_size", 1, out=tmp_path / "one")
    script("style_mixing.py", *flags, "--batch_size", 50, out=tmp_path / "two")
    script("inference.py", *flags, "--seed", 1, out=tmp_path / "three")
    (_, one), (_, two), (_, three) = (latents(tmp_path / name) for name in ("one", "two", "three"))
    np.testing.assert_allclose(one, two, atol=1e-5)
    assert np.abs(one - three)[:, [0, 1, 7]].max() > 1e-2
    np.testing.assert_allclose(one[:, 2:7], three[:, 2:7], atol=1e-5)


def test_one_output_without_a_mask_is_plain_inference(script, pictures, tmp_path, build_model):
    script("inference.py", "--no_align", "--n_outputs", 1, out=tmp_path / "one")
    names, w_plus = latents(tmp_path / "one")
    assert names == ["0", "1"]
    with torch.no_grad():
        codes = [
            build_model().encode(images.to_tensor(images.read_image(p))[None]).w_plus[0]
            for p in sorted(pictures.iterdir())
        ]
    np.testing.assert_allclose(w_plus, torch.stack(codes).numpy(), atol=1e-5)
    script("inference.py", "--no_align", "--latent_mask", "fine", out=tmp_path / "masked")
    names, masked = latents(tmp_path / "masked")
    assert names == ["0", "1"]
    assert np.abs(masked - w_plus)[:, mask_rows("fine", 8)].max() > 1e-2


# ------------------------------------------------------------------------------------ refinement


def difference(out, name, folder):
    written = images.read_image(out / "inference_results" / f"{name}.png").astype(float)
    return np.square(written - images.read_image(folder / f"{name}.png")).mean()


@pytest.mark.slow
def test_refine_and_pivotal(script, pictures, tmp_path):
    script("inference.py", "--no_align", out=tmp_path / "plain")
    flags = ["--no_align", "--perceptual", "effnet"]
    assert script("inference.py", *flags, "--refine", 12, out=tmp_path / "refined")[0] == 0
    assert script("inference.py", *flags, "--pivotal", 25, "--save_generators", out=tmp_path / "tuned")[0] == 0
    for name in ("0", "1"):
        plain = difference(tmp_path / "plain", name, pictures)
        assert difference(tmp_path / "refined", name, pictures) < plain
        assert difference(tmp_path / "tuned", name, pictures) < plain
    _, codes = latents(tmp_path / "plain")
    _, refined = latents(tmp_path / "refined")
    names, tuned = latents(tmp_path / "tuned")
    assert np.abs(refined - codes).max() > 1e-2
    np.testing.assert_allclose(tuned, codes, atol=1e-5)
    for name, code in zip(names, tuned, strict=True):
        generator, metadata = stylegan2.load(tmp_path / "tuned" / "generators" / f"{name}.safetensors")
        assert metadata["pivotal_steps"] == 25
        with torch.no_grad():
            rendered = images.to_uint8(generator.synthesis(torch.from_numpy(code)[None]))[0]
        written = images.read_image(tmp_path / "tuned" / "inference_results" / f"{name}.png")
        assert np.abs(written.astype(int) - rendered).max() <= 1


def test_bf16(script, pictures, tmp_path):
    script("inference.py", "--no_align", out=tmp_path / "fp32")
    assert script("inference.py", "--no_align", "--precision", "bf16", out=tmp_path / "bf16")[0] == 0
    for name in ("0", "1"):
        a, b = (images.read_image(tmp_path / p / "inference_results" / f"{name}.png") for p in ("fp32", "bf16"))
        assert np.abs(a.astype(int) - b).mean() < 2


# ------------------------------------------------------------------------------------ paste-back


def two_faces(folder):
    astronaut = data.astronaut()
    smaller = np.asarray(Image.fromarray(astronaut).resize((400, 400)))
    pair = np.concatenate([np.pad(smaller, ((0, 112), (0, 0), (0, 0)), mode="edge"), astronaut], axis=1)
    folder.mkdir()
    Image.fromarray(pair).save(folder / "pair.png")
    return pair


@pytest.mark.parametrize("outputs", [1, 2])
def test_paste_back_with_two_faces_in_a_photo(script, tmp_path, outputs):
    photo, out = two_faces(tmp_path / "in"), tmp_path / "out"
    flags = ["--paste_back", "--faces", "all", "--detector", "dlib", "--n_outputs", outputs, "--batch_size", 1]
    assert script("inference.py", *flags)[0] == 0
    (entry,) = manifest(out)
    suffixes = [""] if outputs == 1 else ["_mix0", "_mix1"]
    assert entry["pasted"] == [f"inference_pasted/pair{suffix}.png" for suffix in suffixes]
    for k, pasted in enumerate(entry["pasted"]):
        expected = photo
        for output in entry["outputs"][k::outputs]:
            result = images.read_image(out / output["result"])
            expected = paste_back(expected, result, Crop(tuple(map(tuple, output["quad"]))))
        picture = images.read_image(out / pasted)
        np.testing.assert_array_equal(picture, expected)
        changed = (picture != photo).any(2)
        assert changed[:, :400].any()
        assert changed[:, 400:].any()
        assert not changed.all()
    assert len(entry["outputs"]) == 2 * outputs


def test_an_exif_rotated_photo_is_pasted_upright(script, tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # shown turned by a quarter clockwise
    (tmp_path / "in").mkdir()
    Image.fromarray(np.rot90(data.astronaut())).save(tmp_path / "in" / "turned.png", exif=exif)
    assert script("inference.py", "--paste_back", "--detector", "dlib")[0] == 0
    result = images.read_image(tmp_path / "out" / "inference_pasted" / "turned.png")
    changed = (result != data.astronaut()).any(2)
    assert changed[101, 225]
    assert 0 < changed.mean() < 0.5


# ------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--latent_mask", "8-17"], "the rows of this generator are 0 to 7"),
        (["--latent_mask", "rough"], "the latent mask must be"),
        (["--n_outputs", "0"], "--n_outputs must be at least 1"),
        (["--mix_alpha", "2", "--n_outputs", "2"], "from 0 to 1"),
        (["--paste_back"], "--paste_back needs faces that are cut out"),
        (["--refine", "-1"], "--refine must not be negative"),
        (["--save_generators"], "give --pivotal STEPS too"),
        (["--precision", "fp8"], "fp8"),
        (["--seed", "-1", "--n_outputs", "2"], "seed must not be negative"),
    ],
)
def test_mistakes_are_said_before_anything_is_written(script, pictures, tmp_path, flags, words):
    code, error = script("inference.py", "--no_align", *flags)
    assert code == 2
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_refinement_needs_an_encoder_of_photos(script, pictures, tmp_path, build_model):
    model = build_model(5)
    path = tmp_path / "labels.safetensors"
    checkpoint.save(path, dict(model.state_dict()), model_metadata(model))
    code, error = script("inference.py", "--no_align", "--refine", 5, model=path)
    assert code == 2
    assert "inversion" in error
