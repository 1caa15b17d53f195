"""What the README promises: a new part is one file. Each is dropped into a copy of the checkout and used from there."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PARTS = Path(__file__).with_name("one_file")
PACKAGES = ("datasets", "options", "psp", "scripts", "stylegan2")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """Copy the packages, without tests."""
    folder = tmp_path_factory.mktemp("checkout")
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def run(checkout, folder, script, *arguments):
    command = [sys.executable, checkout / "scripts" / script, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)


def succeeds(*command):
    done = run(*command)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_generator(checkout, tmp_path):
    shutil.copy(PARTS / "generator.py", checkout / "stylegan2" / "networks" / "dcgan.py")
    train = ("train_stylegan2.py", "--preset", "dcgan-tiny", "--slope", 0.1, "--workers", 0, "--exp_dir", "run")
    succeeds(checkout, tmp_path, *train, "--total_nimg", 8)
    resumed = succeeds(checkout, tmp_path, *train, "--total_nimg", 16)
    assert "resuming from network-000000008.safetensors at 8 images" in resumed
    pictures = ("--generator", "run", "--seeds", "0-3", "--exp_dir", "pictures", "--truncation_psi", 1)
    succeeds(checkout, tmp_path, "generate.py", "samples", *pictures)
    assert len(list((tmp_path / "pictures").rglob("*.png"))) >= 4
    helped = succeeds(checkout, tmp_path, "train_stylegan2.py", "--help")
    assert "slope of the leaky ReLU below 0 (dcgan)" in " ".join(helped.replace("│", " ").split())
    mistaken = run(checkout, tmp_path, *train, "--slop", 1)
    assert (mistaken.returncode, mistaken.stderr) == (2, "error: there is no option --slop: did you mean --slope?\n")
