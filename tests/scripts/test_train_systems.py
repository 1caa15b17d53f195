"""scripts/train_stylegan2.py for each generation of the family, with classes, and from a trained file."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import stylegan2
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import write_image


def flags(**values):
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


SIZES = flags(resolution=16, z_dim=8, w_dim=8, channel_base=128, channel_max=8, mapping_layers=2)
RUN = flags(device="cpu", workers=0, batch_size=4, log_interval=4, image_interval=100, save_interval=100)
GROW = ["--batch_sizes", "8", "4", "--grow_from", "8", "--stable_nimg", "4", "--fade_nimg", "8"]


pytestmark = pytest.mark.usefixtures("own_process")


@pytest.fixture
def training(script):
    return lambda *arguments: script("train_stylegan2.py", *RUN, *arguments)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Provide noise images of two classes."""
    path = tmp_path_factory.mktemp("data") / "pictures"
    for n, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (6, 20, 20, 3), np.uint8)):
        write_image(path / ("left", "right")[n % 2] / f"{n}.png", pixels)
    return path


@pytest.mark.parametrize("arch", ["pggan", "stylegan"])
def test_a_system_that_grows_is_trained_and_resumed(training, pictures, arch):
    common = ["--arch", arch, "--data", pictures, *SIZES, *GROW]
    assert training(*common, "--exp_dir", "run", "--total_nimg", 8)[0] == 0
    code, out, _ = training(*common, "--exp_dir", "run", "--total_nimg", 16)
    assert code == 0
    assert "resuming from network-000000008.safetensors at 8 images" in out
    records = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [(r["growing/resolution"], r["growing/alpha"]) for r in records] == [(8, 1), (16, 0), (16, 0.5), (16, 1)]
    generator, metadata = stylegan2.load("run")
    assert (metadata["generator"]["name"], generator.img_resolution, generator.z_dim) == (arch, 16, 8)


def test_classes_are_the_subfolders(training, pictures):
    code, _, _ = training("--data", pictures, "--conditional", *SIZES, "--exp_dir", "run", "--total_nimg", 4)
    assert code == 0
    generator, _ = stylegan2.load("run")
    assert generator.num_classes == 2
    with torch.no_grad():
        assert generator(torch.randn(2, 8), labels=torch.tensor([0, 1])).shape == (2, 3, 16, 16)
    code, _, err = training("--data", pictures / "left", "--conditional", *SIZES)
    assert (code, err.count("\n")) == (2, 1)
    assert "left has no labels: give a folder or zip with a subfolder for each class" in err
    code, out, err = training("--data", pictures, "--init_from", "run", "--exp_dir", "other", "--total_nimg", 4)
    assert code == 0, err
    assert "not used: G.mapping.embedding.linear.weight" in out
    assert stylegan2.load("other")[0].num_classes == 0


def test_labels_may_be_vectors(training, pictures, tmp_path):
    pictures = shutil.copytree(pictures, tmp_path / "labelled")
    names = sorted(path.relative_to(pictures).as_posix() for path in pictures.rglob("*.png"))
    vectors = [[name, [k / 4, k % 2, 1]] for k, name in enumerate(names)]
    (pictures / "dataset.json").write_text(json.dumps({"labels": vectors}))
    code, _, err = training("--data", pictures, "--conditional", *SIZES, "--exp_dir", "run", "--total_nimg", 4)
    assert code == 0, err
    generator, _ = stylegan2.load("run")
    with torch.no_grad():
        assert generator(torch.randn(2, 8), labels=torch.rand(2, 3)).shape == (2, 3, 16, 16)
    with pytest.raises(UserError, match="the labels have 2 numbers each, but the network has 3 classes"):
        generator(torch.randn(2, 8), labels=torch.rand(2, 2))


def test_a_flag_beside_a_start_is_followed_or_an_error(training, pictures):
    assert training("--data", pictures, *SIZES, "--exp_dir", "first", "--total_nimg", 4)[0] == 0
    common = ["--data", pictures, "--init_from", "first", "--total_nimg", 4]
    code, _, err = training(*common, "--w_dim", 16, "--exp_dir", "second")
    assert (code, err.count("\n")) == (2, 1)
    assert "--w_dim 16 contradicts the generator to start from, which has 8: leave it out" in err
    code, out, err = training(*common, "--resolution", 32, "--channels", 1, "--exp_dir", "third")
    assert code == 0, err
    assert "at 32 px" in out
    generator, _ = stylegan2.load("third")
    assert (generator.img_resolution, generator.img_channels) == (32, 1)


@pytest.mark.parametrize("arch", ["pggan", "stylegan", "stylegan2"])
def test_a_trained_file_is_a_start_and_gives_the_sizes(training, pictures, arch):
    common = ["--data", pictures, "--arch", arch, "--batch_sizes", 16, 4, "--total_nimg", 4]
    grown = [] if arch == "stylegan2" else ["--grow_from", "None"]
    assert training(*common, *SIZES, *grown, "--exp_dir", "first")[0] == 0
    other = "stylegan" if arch == "pggan" else "pggan"
    code, _, err = training("--data", pictures, "--arch", other, "--init_from", "first")
    assert (code, f"start from is a {arch}: give --arch {arch}" in err) == (2, True)
    code, out, err = training(*common, "--init_from", "first", "--freeze_d", 3, "--exp_dir", "second")
    assert code == 0, err
    assert "6 images of" in out
    assert "at 16 px" in out
    paths = [f"{folder}/checkpoints/network-000000004.safetensors" for folder in ("first", "second")]
    (first, _), (second, metadata) = map(checkpoint.read, paths)
    assert metadata["generator"]["name"] == arch
    assert torch.equal(first["D.blocks.0.conv0.weight"], second["D.blocks.0.conv0.weight"])
    assert not torch.equal(first["D.blocks.1.conv0.weight"], second["D.blocks.1.conv0.weight"])
    name = "G.synthesis.to_rgbs.2.weight"
    assert 0 < (first[name] - second[name]).abs().max() < 0.1


def test_the_mapping_network_alone_trains_by_a_flag(training, pictures):
    assert training("--data", pictures, *SIZES, "--exp_dir", "first", "--total_nimg", 4)[0] == 0
    more = ["--data", pictures, "--init_from", "first", "--freeze_synthesis", "--exp_dir", "second", "--total_nimg", 8]
    code, _, err = training(*more)
    assert code == 0, err
    (first, _), (second, _) = stylegan2.load("first"), stylegan2.load("second")
    assert all(
        torch.equal(value, second.synthesis.state_dict()[key]) for key, value in first.synthesis.state_dict().items()
    )
    assert torch.equal(first.w_avg, second.w_avg)
    assert not torch.equal(first.mapping.layers[0].weight, second.mapping.layers[0].weight)


def test_a_generator_without_a_mapping_network_cannot_train_it_alone(training, pictures):
    sizes = ["--arch", "pggan", "--data", pictures, "--batch_sizes", 16, 4, "--total_nimg", 4, "--grow_from", "None"]
    assert training(*sizes, *SIZES, "--exp_dir", "first")[0] == 0
    code, _, err = training(*sizes, "--init_from", "first", "--freeze_synthesis", "--exp_dir", "second")
    assert (code, err.count("\n")) == (2, 1)
    assert "has no mapping network that could be trained alone: leave out --freeze_synthesis" in err


def test_a_start_that_is_not_there_is_one_sentence(training, pictures):
    code, _, err = training("--data", pictures, "--init_from", "nowhere")
    assert (code, err.count("\n")) == (2, 1)
    assert "there is no generator 'nowhere'" in err
