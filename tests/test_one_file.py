"""A loss, a task, an encoder and a generator are one file each: docs/examples, used through the command line."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from stylegan2.runtime.images import read_image, write_image
from tests.forks import PROGRAMS

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("stylegan2", "psp", "datasets", "options", "scripts")
COMMON = "--device cpu --workers 0 --data pictures"
GAN = f"--arch plain --preset small {COMMON} --exp_dir gan --save_interval 16 --image_interval 16 --log_interval 8"
MEASURES = "--perceptual effnet --identity dlib"
ENCODER = (
    f"--task deblurring --sigma 0.5 --encoder_type plain --hinge_lambda 0.5 --hinge_margin 0.02 {MEASURES} {COMMON} "
    "--stylegan_weights gan --exp_dir psp --id_lambda 0 --lpips_lambda 0 --optim_name adam --batch_size 2 "
    "--test_batch_size 2 --board_interval 1 --val_interval 2 --save_interval 2"
)

pytestmark = pytest.mark.slow


def link_weights(source, copy):
    """Copy a file, or link to it where it is large."""
    return os.symlink(source, copy) if source.endswith(".safetensors") else shutil.copy2(source, copy)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A copy of the checkout with one more loss, task, encoder and generator: run(command) -> what it prints."""
    folder = tmp_path_factory.mktemp("one_file")
    for package in PACKAGES:
        skip = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / "checkout" / package, ignore=skip, copy_function=link_weights)
    before = {path.relative_to(folder) for path in folder.rglob("*.py")}
    shutil.copytree(ROOT / "docs" / "examples", folder / "checkout", dirs_exist_ok=True)
    added = {path.relative_to(folder) for path in folder.rglob("*.py")} - before
    assert len(added) == 4  # and nothing was overwritten
    shades = np.linspace(0, 1, 40)[:, None, None]
    for n, colour in enumerate(np.random.default_rng(0).integers(0, 256, (6, 1, 3))):
        write_image(folder / "pictures" / f"{n}.png", np.broadcast_to(colour * shades, (40, 40, 3)).astype(np.uint8))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache")}

    def call(command, code=0):
        script, *flags = command.split()
        path = folder / "checkout" / "scripts" / f"{script}.py"
        done = PROGRAMS.run([path, *flags], cwd=folder, env=environment)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    call.folder = folder
    return call


@pytest.fixture(scope="module")
def gan(run):
    """The generator, trained and resumed."""
    run(f"train_stylegan2 {GAN} --total_nimg 16")
    assert "resuming from network-000000016.safetensors" in run(f"train_stylegan2 {GAN} --total_nimg 32")
    return run.folder / "gan"


@pytest.fixture(scope="module")
def encoder(run, gan):
    """The encoder, trained for the task with the loss, and resumed."""
    assert "loss_hinge" in run(f"train_psp {ENCODER} --max_steps 2")
    assert "resuming from iteration-000000002.safetensors" in run(f"train_psp {ENCODER} --max_steps 4")
    return run.folder / "psp"


@pytest.mark.usefixtures("gan")
def test_a_generator_is_one_file(run):
    run("generate --generator gan --seeds 0-3 --exp_dir samples --device cpu")
    pictures = [read_image(run.folder / "samples" / "samples" / f"seed000{seed}.png") for seed in range(4)]
    assert {picture.shape for picture in pictures} == {(16, 16, 3)}  # the size is the preset's
    assert len({picture.tobytes() for picture in pictures}) == 4


@pytest.mark.usefixtures("encoder")
def test_a_task_and_an_encoder_are_one_file(run):
    common = "--data_path pictures --checkpoint_path psp --no_align --workers 1 --device cpu"
    for name, sigma in (("stored", ""), ("same", "--sigma 0.5"), ("other", "--sigma 4")):
        run(f"inference {common} --exp_dir {name} {sigma}")
    outputs = {
        name: [read_image(path) for path in sorted((run.folder / name / "inference_results").glob("*.png"))]
        for name in ("stored", "same", "other")
    }
    assert len(outputs["stored"]) == 6
    assert all(map(np.array_equal, outputs["stored"], outputs["same"]))  # the checkpoint keeps the setting
    assert not all(map(np.array_equal, outputs["stored"], outputs["other"]))
    refused = run("inference --data_path pictures --exp_dir refused --sigma 1 --device cpu", code=2)
    assert "the task inversion has no setting sigma: it has none" in refused


@pytest.mark.usefixtures("encoder")
def test_they_are_measured(run):
    run(f"evaluate --checkpoint_path psp --data pictures --exp_dir measured --num_images 2 --device cpu {MEASURES}")
    report = json.loads((run.folder / "measured" / "metrics.json").read_text())
    assert report["task"] == "deblurring"
    assert np.isfinite(report["results"]["plain"]["mse"])


def test_their_settings_are_in_the_help(run):
    text = " ".join(run("train_psp --help").replace("│", " ").split())
    assert "weight of the loss hinge: mean absolute difference of two images beyond a margin" in text
    assert "difference that costs nothing, of images in [-1, 1] (default: 0.05)" in text
    assert "deblurring: standard deviation of the blur, in pixels of the encoder's input (default: 1.0)" in text
    assert "sigma must be positive" in run("train_psp --task deblurring --sigma 0", code=2)
    assert "no preset 'large'" in run("train_stylegan2 --arch plain --preset large", code=2)
