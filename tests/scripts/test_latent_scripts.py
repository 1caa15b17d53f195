"""scripts/generate.py, project.py, directions.py and edit.py as a user runs them, on a tiny generator."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import psp
import stylegan2
from psp import PSp
from psp.encoders import ENCODERS
from psp.evaluation import attributes
from psp.perception.attributes import AttributeClassifier
from stylegan2.latents.codes import load_codes, save_codes
from stylegan2.latents.directions import load_directions
from stylegan2.latents.sampling import random_w, render, seeded_w
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.images import read_image, to_uint8, write_image

SIDE = 16


@pytest.fixture
def script(script):
    return lambda name, *arguments: script(name, *arguments, "--device", "cpu")


@pytest.fixture
def generator(tmp_path):
    """Provide a generator, which is also stored in tmp_path/g.safetensors."""
    torch.manual_seed(0)
    network = GENERATORS.build(
        "stylegan2", SIDE, z_dim=8, w_dim=8, channel_base=256, channel_max=16, mapping_layers=2
    ).eval()
    network.requires_grad_(False)
    for layer in network.synthesis.layers:
        layer.noise_strength.fill_(0.02)
    network.mapping.track_average(network.mapping(torch.randn(500, 8))[:, 0], decay=0.0)
    stylegan2.save_generator(tmp_path / "g.safetensors", network, {})
    return network


def picture(generator, code):
    return to_uint8(render(generator, code[None]))[0]


# --------------------------------------------------------------------------------------------- generate


def test_a_seed_is_the_same_image_in_every_run(script, generator, tmp_path):
    command = ["generate.py", "samples", "--generator", "g.safetensors", "--truncation_psi", 0.8]
    assert script(*command, "--seeds", "0-9", "--exp_dir", "a")[0] == 0
    assert script(*command, "--seeds", "0-9", "--exp_dir", "b")[0] == 0
    assert script(*command, "--seeds", "7,3", "--exp_dir", "c")[0] == 0
    names = sorted(path.name for path in Path("a/samples").iterdir() if path.name != ".lock")
    assert names == [f"seed{seed:04d}.png" for seed in range(10)]
    for name in names:
        assert Path("a/samples", name).read_bytes() == Path("b/samples", name).read_bytes()
    alone = read_image("c/samples/seed0007.png").astype(int)
    assert np.abs(alone - read_image("a/samples/seed0007.png")).max() <= 1  # rounding depends on the batch
    assert np.abs(alone - picture(generator, seeded_w(generator, [7], 0.8)[0])).max() <= 1
    for folder, rows, columns in (("a", 2, 8), ("c", 1, 2)):  # with a caption at the left
        height, width, _ = read_image(f"{folder}/samples.png").shape
        assert height == rows * SIDE
        assert columns * SIDE < width <= (columns + 2) * SIDE


def test_every_kind_of_picture(script, generator):
    common = ["--generator", "g.safetensors", "--exp_dir", "out", "--seeds", "0-2"]
    kinds = {
        "truncation": [],
        "mixing": ["--styles", "5,6"],
        "noise": ["--noise_draws", 5],
        "interpolation": ["--steps", 3, "--space", "z", "--format", "webp"],
    }
    for kind, flags in kinds.items():
        code, _, err = script("generate.py", kind, *common, *flags)
        assert code == 0, err
    names = sorted(path.name for path in Path("out").iterdir() if path.name != ".lock")
    configs = [f"config_{kind}.yaml" for kind in sorted(kinds)]
    mixed = [f"mixing_{rows}.png" for rows in ("coarse", "fine", "medium")]
    assert names == [*configs, "interpolation_z.webp", *mixed, "noise.png", "truncation.png"]
    for name, columns in (("truncation", 6), ("mixing_fine", 3), ("noise", 4)):  # beside the captions
        assert columns * SIDE < read_image(f"out/{name}.png").shape[1] <= (columns + 2) * SIDE
    with Image.open("out/interpolation_z.webp") as moving:
        assert (moving.n_frames, moving.size) == (9, (SIDE, SIDE))
    assert script("generate.py", "mixing", *common, "--rows", "0-1,5", "--overwrite")[0] == 0
    assert Path("out/mixing_0-1_5.png").is_file()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["movie"], "invalid choice 'movie'"),
        (["samples", "--seeds", "9-1"], "--seeds must be whole numbers of at most 18 digits or ranges"),
        (["mixing", "--rows", "0-9"], "contains row 9, but the rows of this generator are 0 to 5"),
        (["interpolation", "--fps", "0"], "--fps must be above 0 and at most 50"),
        (["noise", "--noise_draws", "1"], "--noise_draws must be at least 2"),
        (["truncation", "--psis", "a"], "--psis must be numbers"),
        (["samples", "--label", "1"], "there is no class 1: this generator has no classes"),
    ],
)
def test_mistakes_in_generate_are_one_sentence(script, generator, flags, words):
    code, _, err = script("generate.py", *flags, "--generator", "g.safetensors")
    assert code == 2
    assert words in err
    assert err.count("\n") == 1


# ---------------------------------------------------------------------------------------------- project


def test_projection(script, generator, tmp_path, monkeypatch):
    class Pixels(torch.nn.Module):
        def forward(self, output, target):
            return (output - target).square().mean([1, 2, 3])

    monkeypatch.setattr("psp.losses.lpips.perceptual_loss", lambda network, path: (f"pixels for {network}", Pixels()))
    for seed in (1, 2):
        write_image(tmp_path / "in" / f"{seed}.png", picture(generator, seeded_w(generator, [seed])[0]))
    command = ["project.py", "--generator", "g.safetensors", "--perceptual", "effnet", "--batch_size", 1]
    code, out, err = script(*command, "--target", "in/1.png", "in", "--exp_dir", "out", "--steps", 30, "--frames", 4)
    assert code == 0, err
    assert "mean distance (pixels for effnet)" in out
    names, w_plus, _ = load_codes("out/latents.npz", 6, 8)
    assert names == ["1", "2"]
    assert torch.equal(w_plus[:, :1].expand_as(w_plus), w_plus)
    report = json.loads(Path("out/projections.json").read_text())
    assert (report["network"], report["space"], list(report["distances"])) == ("pixels for effnet", "w", names)
    mean = random_w(generator, 1000, 0).mean(0).expand(6, -1)
    for k, name in enumerate(names):
        target, projected = (read_image(f"{folder}/{name}.png").astype(int) for folder in ("in", "out/projected"))
        assert np.abs(projected - target).mean() < 0.8 * np.abs(picture(generator, mean) - target).mean()
        assert np.abs(picture(generator, w_plus[k]) - projected).mean() < 12  # the noise is the generator's own again
        with Image.open(f"out/videos/{name}.gif") as moving:
            assert (moving.n_frames, moving.size) == (5, (2 * SIDE, SIDE))
    assert read_image("out/sheet.png").shape[0] >= 2 * SIDE

    flags = ["--target", "in/1.png", "--space", "w_plus", "--steps", 3, "--frames", 0, "--exp_dir", "plus"]
    assert script(*command, *flags)[0] == 0
    _, w_plus, _ = load_codes("plus/latents.npz", 6, 8)
    assert (w_plus[:, 0] - w_plus[:, 1]).abs().max() > 1e-4
    assert not Path("plus/videos").exists()

    assert script(*command, *flags, "--precision", "bf16", "--overwrite")[0] == 0
    _, in_16_bits, _ = load_codes("plus/latents.npz", 6, 8)
    assert not torch.equal(in_16_bits, w_plus)
    torch.testing.assert_close(in_16_bits, w_plus, atol=0.5, rtol=0)
    assert json.loads(Path("plus/projections.json").read_text())["precision"] == "bf16"


def test_one_bad_picture_does_not_end_a_projection(script, generator, tmp_path):
    for name in ("a", "c", "d"):
        write_image(tmp_path / "in" / f"{name}.png", picture(generator, seeded_w(generator, [1])[0]))
    (tmp_path / "in" / "b.png").write_bytes(b"no picture")
    command = ["project.py", "--generator", "g.safetensors", "--perceptual", "effnet", "--target", "in", "--steps", 1]
    assert script(*command, "--exp_dir", "out")[0] == 1
    blocked = tmp_path / "out" / "projected" / "c.png"
    blocked.unlink()
    blocked.mkdir()  # a folder is in its place
    code, _, err = script(*command, "--exp_dir", "out", "--overwrite")
    assert code == 1
    assert "failed: 'in/b.png' cannot be read as an image" in err
    assert "failed: cannot write 'out/projected/c.png': Is a directory" in err
    report = json.loads(Path("out/projections.json").read_text())
    assert list(report["failed"]) == ["b", "c"]
    assert load_codes("out/latents.npz", 6, 8)[0] == list(report["distances"]) == ["a", "c", "d"]


def test_one_picture_that_cannot_be_written_does_not_end_an_edit(script, generator, tmp_path):
    flags = ["--generator", "g.safetensors", "--exp_dir", "d", "--num_samples", 200, "--count", 1, "--no_measure"]
    assert script("directions.py", "pca", *flags)[0] == 0
    of = ["--directions", "d/pca.safetensors", "--generator", "g.safetensors", "--seeds", "0-1", "--strengths=-2,2"]
    assert script("edit.py", *of, "--exp_dir", "e")[0] == 0
    lost = Path("e/pca0/seed0000_-2.png")
    lost.unlink()
    lost.mkdir()
    code, _, err = script("edit.py", *of, "--exp_dir", "e", "--overwrite")
    assert code == 1
    assert f"failed: cannot write '{lost}': Is a directory" in err
    assert Path("e/pca0/seed0001_+2.png").is_file()


def test_mistakes_in_project_are_one_sentence(script, generator, tmp_path):
    for flags, words in (
        (["--target", "nowhere"], "there is no folder 'nowhere'"),
        ([], "--target must be given"),
        (["--target", "g.safetensors"], "cannot be read as an image"),
        (["--target", "in", "--steps", "0"], "--steps must be at least 1"),
        (["--target", "in", "--batch_size", "0"], "--batch_size must be at least 1"),
    ):
        code, _, err = script("project.py", *flags, "--generator", "g.safetensors", "--perceptual", "effnet")
        assert code == 2, flags
        assert words in err
        assert err.count("\n") == 1


# ---------------------------------------------------------------------------------- directions and edits


class Brightness(AttributeClassifier):
    """A classifier of which part of the picture is bright: yaw is left against right."""

    def __init__(self):
        super().__init__(("yaw", "smile", "light"), 8)

    def forward(self, images):
        left, right = images[..., : SIDE // 2].mean([1, 2, 3]), images[..., SIDE // 2 :].mean([1, 2, 3])
        top, bottom = images[:, :, : SIDE // 2].mean([1, 2, 3]), images[:, :, SIDE // 2 :].mean([1, 2, 3])
        return torch.stack([right - left, bottom - top, left + right], 1)


@pytest.fixture
def classifier(monkeypatch):
    monkeypatch.setattr(attributes, "attribute_classifier", lambda faces, device: (Brightness(), {}))
    return Brightness()


def test_boundaries_change_their_attributes(script, generator, classifier):
    flags = ["--generator", "g.safetensors", "--exp_dir", "d", "--num_samples", 400, "--measure_samples", 8]
    command = [
        "directions.py",
        "boundary",
        *flags,
        "--attributes",
        "yaw,light",
        "--condition_on",
        "yaw",
        "--identity",
        "dlib",
    ]
    with pytest.warns(UserWarning, match="identity is measured on 16 px images"):
        code, out, err = script(*command)
    assert code == 0, err
    directions, metadata = load_directions(Path("d/boundary.safetensors"))
    assert (directions.names, directions.rows) == (("yaw", "light"), tuple(range(6)))
    assert (metadata["method"], metadata["generator"]) == ("boundary", "g.safetensors")
    report = json.loads(Path("d/boundary.json").read_text())
    codes, w = seeded_w(generator, range(8), 0.7), random_w(generator, 400, 0)
    deviations = classifier(render(generator, w[:, None].expand(-1, 6, -1))).std(0)
    for name in directions.names:
        strength = report["effects"][name]["strength"]
        down, up = (
            classifier(render(generator, directions.move(codes, name, [s])[:, 0])) for s in (-strength, strength)
        )
        expected = ((up - down).mean(0) / 2 / deviations).tolist()
        assert list(report["effects"][name]["changes"].values()) == pytest.approx(expected, abs=1e-4)
        assert report["effects"][name]["changes"][name] > 0.1
    assert list(report["effects"]["yaw"]["changes"]) == ["yaw", "smile", "light"]
    assert report["similarity"] == "id_dlib"
    assert Path("d/boundary.md").read_text() in out
    assert ("light: " in out) == (not 0.01 <= report["effects"]["light"]["share"] <= 0.99)
    torch.testing.assert_close(directions.scales, (w @ directions.vectors.T).std(0, correction=0))


@pytest.mark.parametrize("method", ["pca", "closed_form"])
def test_directions_without_labels(script, generator, method):
    flags = ["--generator", "g.safetensors", "--exp_dir", "d", "--num_samples", 200, "--count", 3, "--no_measure"]
    code, _, err = script("directions.py", method, *flags, "--rows", "0-2")
    assert code == 0, err
    directions, _ = load_directions(Path(f"d/{method}.safetensors"))
    assert (directions.names, directions.rows) == (tuple(f"{method}{k}" for k in range(3)), (0, 1, 2))
    torch.testing.assert_close(directions.vectors @ directions.vectors.T, torch.eye(3), atol=1e-5, rtol=0)
    assert not Path(f"d/{method}.json").exists()


def test_directions_from_a_users_labels(script, generator, tmp_path):
    w = seeded_w(generator, range(60))[:, 0]
    rows = [f"{seed},{float(w[seed, 2])},{int(w[seed, 5] > 0)}" for seed in range(60)]
    (tmp_path / "labels.csv").write_text("seed,size,hat\n" + "\n".join(rows) + "\n")
    flags = ["--generator", "g.safetensors", "--exp_dir", "d", "--num_samples", 100, "--no_measure"]
    command = ["directions.py", *flags, "--attributes", "all", "--labels", "labels.csv", "--keep", 1]
    code, _, err = script(*command, "--condition_on", "none")
    assert code == 0, err
    directions, _ = load_directions(Path("d/boundary.safetensors"))
    assert directions.names == ("size", "hat")
    ways = torch.nn.functional.normalize(torch.cov(random_w(generator, 100, 0).T)[[2, 5]], dim=1)
    assert ((directions.vectors * ways).sum(1) > 0.8).all()
    code, _, err = script(*command[:-2], "--attributes", "age", "--labels", "labels.csv", "--overwrite")
    assert code == 2
    assert "--attributes contains age, but the labels are of size, hat" in err


def test_edits_of_samples_and_of_photos(script, generator, tmp_path):
    flags = ["--generator", "g.safetensors", "--exp_dir", "d", "--num_samples", 200, "--count", 2, "--no_measure"]
    assert script("directions.py", "pca", *flags)[0] == 0
    directions, _ = load_directions(Path("d/pca.safetensors"))
    of = ["--directions", "d/pca.safetensors", "--generator", "g.safetensors"]
    code, _, err = script("edit.py", *of, "--seeds", "0-2", "--strengths=-2,0,2")
    assert code == 0, err
    names = sorted(path.name for path in Path("runs/edited-pca").iterdir() if path.name != ".lock")
    assert names == ["config.yaml", "pca0", "pca0.png", "pca1", "pca1.png"]
    codes = seeded_w(generator, range(3), 0.7)
    moved = directions.move(codes, "pca1", [2.0])[1, 0]
    written = read_image("runs/edited-pca/pca1/seed0001_+2.png").astype(int)
    assert np.abs(written - picture(generator, moved)).max() <= 1
    assert np.abs(read_image("runs/edited-pca/pca1/seed0001_+0.png") - written).max() > 3

    encoder = ENCODERS.build("light", num_ws=6, w_dim=8, input_channels=3, input_size=32)
    psp.save_model("m.safetensors", PSp(encoder, generator, torch.zeros(8)), {})
    save_codes("latents.npz", ["a/x", "y"], codes[:2])
    flags = ["--generator", "m.safetensors", "--latents", "latents.npz", "--photos", "y", "--names", "pca0"]
    code, _, err = script(
        "edit.py", "--directions", "d/pca.safetensors", *flags, "--rows", "fine", "--strengths", "1", "--exp_dir", "e"
    )
    assert code == 0, err
    assert [path.name for path in Path("e/pca0").iterdir()] == ["y_+1.png"]
    fine = codes[1].clone()
    fine[3:] += directions.scales[0] * directions.vectors[0]
    assert np.abs(read_image("e/pca0/y_+1.png").astype(int) - picture(generator, fine)).max() <= 1

    codes[1, 0, 0] = torch.nan  # one bad code does not stop the others
    save_codes("latents.npz", ["x", "y", "z"], codes)
    flags = ["--directions", "d/pca.safetensors", "--generator", "m.safetensors", "--latents", "latents.npz"]
    code, _, err = script("edit.py", *flags, "--names", "pca0", "--strengths", "1", "--exp_dir", "f")
    assert code == 1
    assert "the codes of 'y' in 'latents.npz' are not finite" in err
    assert sorted(path.name for path in Path("f/pca0").iterdir()) == ["x_+1.png", "z_+1.png"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--names", "beard"], "there is no direction 'beard'; there are pca0"),
        (["--photos", "x"], "--photos selects names in a file of codes: give --latents too"),
        (["--latents", "no.npz"], "there is no file 'no.npz'"),
        (["--strengths", "strong"], "--strengths must be numbers separated by commas"),
        (["--generator", "nothing"], "there is no generator 'nothing'"),
    ],
)
def test_mistakes_in_edit_are_one_sentence(script, generator, flags, words):
    common = ["--generator", "g.safetensors", "--exp_dir", "d", "--num_samples", 50, "--count", 1, "--no_measure"]
    assert script("directions.py", "pca", *common)[0] == 0
    flags = flags if "--generator" in flags else [*flags, "--generator", "g.safetensors"]
    code, _, err = script("edit.py", "--directions", "d/pca.safetensors", *flags)
    assert code == 2
    assert words in err
    assert err.count("\n") == 1


def test_the_generator_that_a_file_names_is_shown_and_not_opened(script, generator):
    flags = ["--generator", "g.safetensors", "--exp_dir", "d", "--num_samples", 50, "--count", 1, "--no_measure"]
    assert script("directions.py", "pca", *flags)[0] == 0
    code, _, err = script("edit.py", "--directions", "d/pca.safetensors", "--seeds", "0")
    assert code == 2
    assert "were found for 'g.safetensors': give the generator to use with --generator" in err
    assert not Path("runs/edited").exists()


def test_mistakes_in_directions_are_one_sentence(script, generator):
    for flags, words in (
        (["--keep", "0"], "--keep must be above 0"),
        (["--latents", "x.npz"], "give --labels too"),
        (["--count", "0"], "--count must be at least 1"),
        (
            ["pca", "--count", "9", "--num_samples", "50", "--no_measure"],
            "the number of principal components must be from 1 to 8, not 9",
        ),
        (["--labels", "no.csv", "--no_measure", "--num_samples", "50"], "the file of labels 'no.csv' cannot be read"),
    ):
        code, _, err = script("directions.py", *flags, "--generator", "g.safetensors")
        assert code == 2, flags
        assert words in err
        assert err.count("\n") == 1
