"""Files of earlier versions of the package can be read, and their trainings can be resumed."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
import torch

import stylegan2
from psp import loading
from psp.encoders import ENCODERS
from stylegan2.latents.directions import load_directions
from stylegan2.runtime import checkpoint

BEFORE = Path(__file__).resolve().parents[1] / "golden" / "written_before"
SIZES = [
    "--resolution",
    "32",
    "--channel_base",
    "128",
    "--channel_max",
    "8",
    "--z_dim",
    "8",
    "--w_dim",
    "8",
    "--mapping_layers",
    "2",
]
RUN = ["--data", "synthetic", "--batch_size", "4", "--mbstd_group", "4", "--workers", "0", "--device", "cpu"]
ENCODER_FILES = json.loads(gzip.decompress((BEFORE / "encoders.json.gz").read_bytes()))
"""{encoder: metadata, and the type and shape of each tensor}: the tensors themselves would take gigabytes"""


def zeros(name):
    """The tensors of such a file, of the right shapes."""
    tensors = ENCODER_FILES[name]["tensors"].items()
    return {key: torch.zeros(shape, dtype=getattr(torch, dtype)) for key, (dtype, shape) in tensors}


@pytest.mark.parametrize("name", ["pggan", "stylegan", "stylegan2"])
def test_a_generator_draws_what_it_drew(name):
    generator, metadata = stylegan2.load(BEFORE / f"{name}.safetensors")
    assert metadata["generator"]["name"] == name
    with torch.no_grad():
        image = generator(torch.linspace(-1, 1, generator.z_dim)[None], noise_mode="const")  # [1, 3, 32, 32]
    wanted = torch.tensor(json.loads((BEFORE / "images.json").read_text())[name])
    torch.testing.assert_close(image.flatten()[::197], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["pggan", "stylegan", "stylegan2"])
def test_the_training_of_a_generator_goes_on(script, name):
    start = checkpoint.read(BEFORE / f"{name}.safetensors")[1]["cur_nimg"]
    path = checkpoint.checkpoint_path("run", "network", start)
    path.parent.mkdir(parents=True)
    shutil.copy(BEFORE / f"{name}.safetensors", path)
    growing = [] if name == "stylegan2" else ["--grow_from", "32"]
    end = start + (64 if name == "stylegan" else 4)  # a step of its published batch size
    arguments = ["--arch", name, *SIZES, *RUN, *growing, "--exp_dir", "run", "--total_nimg", end]
    code, out, err = script("train_stylegan2.py", *arguments)
    assert code == 0, err
    assert f"resuming from {path.name}" in out
    assert checkpoint.newest("run")[2]["cur_nimg"] == end


@pytest.mark.parametrize("name", sorted(ENCODER_FILES))
def test_an_encoder_has_the_parameters_that_it_had(name):
    config = dict(ENCODER_FILES[name]["metadata"]["encoder"])
    with torch.device("meta"):
        encoder = ENCODERS.build(config.pop("name"), **config)
    own = {f"encoder.{key}": list(tensor.shape) for key, tensor in encoder.state_dict().items()}
    tensors = ENCODER_FILES[name]["tensors"].items()
    assert own == {key: shape for key, (_, shape) in tensors if key.startswith("encoder.")}


def test_the_training_of_an_encoder_goes_on(script):
    path = checkpoint.checkpoint_path("run", "iteration", 1)
    checkpoint.save(path, zeros("light_w"), ENCODER_FILES["light_w"]["metadata"])
    model, metadata = loading.load("run")
    assert (metadata["cur_step"], model.generator.img_resolution) == (1, 32)
    stylegan2.save_generator("generator.safetensors", model.generator, {})
    arguments = [
        "--encoder_type",
        "light_w",
        "--stylegan_weights",
        "generator.safetensors",
        "--max_steps",
        "2",
        "--batch_size",
        "1",
    ]
    arguments += [
        "--test_batch_size",
        "1",
        "--workers",
        "0",
        "--device",
        "cpu",
        "--id_lambda",
        "0",
        "--lpips_lambda",
        "0",
        "--exp_dir",
        "run",
    ]
    code, out, err = script("train_psp.py", *arguments)
    assert code == 0, err
    assert f"resuming from {path.name}" in out
    assert checkpoint.newest("run")[2]["cur_step"] == 2


def test_directions_are_read():
    directions, metadata = load_directions(BEFORE / "directions.safetensors")
    assert directions.names == ("closed_form0", "closed_form1", "closed_form2", "closed_form3")
    assert directions.vectors.shape == (4, 8)
    assert metadata["kind"] == "directions"
