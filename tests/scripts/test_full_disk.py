"""On a full disk, commands end with one sentence and leave no incomplete file under its final name."""

import builtins
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from stylegan2 import save_generator
from stylegan2.latents.directions import Directions, save_directions
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime import files
from stylegan2.runtime.images import write_image

COMMANDS = {
    "generate samples": ["generate.py", "samples", "--generator", "g.safetensors", "--seeds", "0", "--exp_dir", "out"],
    "generate interpolation": [
        "generate.py", "interpolation", "--generator", "g.safetensors", "--seeds", "0-1", "--steps", "2",
        "--exp_dir", "out",
    ],
    "convert to rosinality": ["convert.py", "to", "rosinality", "g.safetensors", "out/r.pt"],
    "convert to ours": ["convert.py", "to", "ours", "g.safetensors", "out/o.safetensors"],
    "export": ["export.py", "--checkpoint_path", "g.safetensors", "--out", "out/e.safetensors"],
    "blend": [
        "blend.py", "--base", "g.safetensors", "--style", "g.safetensors", "--swap_from", "8",
        "--out", "out/b.safetensors",
    ],
    "directions": [
        "directions.py", "pca", "--generator", "g.safetensors", "--num_samples", "50", "--count", "1", "--no_measure",
        "--exp_dir", "out",
    ],
    "draw_sketches": ["draw_sketches.py", "--data_path", "photos", "--edges", "lines", "--exp_dir", "out"],
    "prepare_data": ["prepare_data.py", "--data_path", "photos", "--resolution", "16", "--out", "out/a.zip"],
    "inference": [
        "inference.py", "--data_path", "photos", "--checkpoint_path", "MODEL", "--no_align", "--exp_dir", "out",
    ],
    "style_mixing": [
        "style_mixing.py", "--data_path", "photos", "--checkpoint_path", "MODEL", "--no_align", "--n_outputs", "2",
        "--exp_dir", "out",
    ],
    "align_faces": [
        "align_faces.py", "--data_path", "photos", "--landmarks", "landmarks.json", "--output_size", "16",
        "--exp_dir", "out",
    ],
    "project": [
        "project.py", "--target", "photos", "--generator", "g.safetensors", "--steps", "1", "--perceptual", "effnet",
        "--exp_dir", "out",
    ],
    "edit": [
        "edit.py", "--directions", "d.safetensors", "--generator", "g.safetensors", "--seeds", "0", "--exp_dir", "out",
    ],
    "evaluate_generator": [
        "evaluate_generator.py", "--generator", "g.safetensors", "--data", "photos",
        "--metrics", "resolution_usage", "--num_samples", "2",        "--out", "out/metrics.json",
    ],
    "evaluate": [
        "evaluate.py", "--checkpoint_path", "MODEL", "--data", "photos", "--num_images", "2", "--perceptual", "effnet",
        "--identity", "dlib", "--optimisation_steps", "0", "--refine_steps", "0", "--exp_dir", "out",
    ],
    "train_stylegan2": [
        "train_stylegan2.py", "--data", "photos", "--resolution", "16", "--total_nimg", "4", "--batch_size", "4",
        "--channel_base", "128", "--channel_max", "8", "--workers", "0", "--device", "cpu", "--exp_dir", "out",
    ],
    "train_psp": [
        "train_psp.py", "--data", "photos", "--stylegan_weights", "g.safetensors", "--encoder_type", "light",
        "--max_steps", "1", "--batch_size", "2", "--workers", "0", "--id_lambda", "0", "--device", "cpu",
        "--exp_dir", "out",
    ],
    "train_segmenter": [
        "train_segmenter.py", "--resolution", "32", "--max_steps", "1", "--num_images", "2", "--workers", "0",
        "--exp_dir", "out",
    ],
}  # fmt: skip
SLOW = ("evaluate", "train_psp", "train_segmenter")


class Full:
    """A file to which only a few bytes can be written."""

    def __init__(self, file, room: int) -> None:
        self.file, self.room = file, room

    def write(self, data) -> int:
        view = memoryview(data).cast("B")
        if view.nbytes > self.room:
            self.file.write(view[: self.room])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= view.nbytes
        return self.file.write(view)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


@pytest.fixture
def inputs(own_process):
    """Provide the inputs of the commands in the folder of the test."""
    sizes = {"z_dim": 8, "w_dim": 8, "channel_base": 128, "channel_max": 8, "mapping_layers": 1}
    save_generator(Path("g.safetensors"), GENERATORS.build("stylegan2", 16, **sizes), {})
    save_directions(Path("d.safetensors"), Directions(("a",), torch.eye(8)[:1], torch.ones(1), (0,)), {})
    for n in range(4):
        write_image(
            Path("photos") / f"{n}.png", np.random.default_rng(n).integers(0, 255, (16, 16, 3)).astype(np.uint8)
        )
    points = [[4, 5], [11, 5], [8, 8], [5, 11], [10, 11]]
    Path("landmarks.json").write_text(json.dumps({f"{n}.png": points for n in range(4)}))


def check_sentence(code: int, printed: str) -> None:
    assert code == 2, printed
    last = printed.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "No space left on device" in last
    assert "Traceback" not in printed


@pytest.mark.parametrize("room", [0, 100])
@pytest.mark.parametrize("files_before", [0, 1])
@pytest.mark.parametrize("command", [c if c not in SLOW else pytest.param(c, marks=pytest.mark.slow) for c in COMMANDS])
def test_a_full_disk_is_one_sentence(script, inputs, monkeypatch, model_file, command, files_before, room):
    """The disk is full from the start, or after the first file, which most commands use for the record of the run."""
    written = []

    def full(path, mode="r", *rest, **options):
        file = builtins.open(path, mode, *rest, **options)  # noqa: SIM115 (closed by who asked for it)
        if mode != "xb" or "out" not in Path(path).parts:
            return file
        written.append(path)
        return Full(file, room) if len(written) > files_before else file

    monkeypatch.setattr(files, "open", full, raising=False)
    code, _, printed = script(*[str(model_file) if word == "MODEL" else word for word in COMMANDS[command]])
    assert written, "the command wrote nothing in `out`"
    if len(written) <= files_before:  # its only file was the one that had room
        assert code == 0, printed
        return
    check_sentence(code, printed)
    left = [path for path in Path("out").rglob("*") if path.is_file() and path.name.startswith(files.PARTIAL_PREFIX)]
    assert left == [], "a torn file stays"
    if not files_before:
        kept = [path for path in Path("out").rglob("*") if path.is_file() and path.name != files.LOCK]
        assert [path for path in kept if path.stat().st_size] == [], "a torn file has its final name"


@pytest.fixture
def small_disk(request, own_process):
    """Provide a folder `out` on a disk of a few pages."""
    Path("out").mkdir()
    size = f"size={request.param}k"
    if sys.platform != "linux" or subprocess.run(["mount", "-t", "tmpfs", "-o", size, "psp", "out"]).returncode:
        pytest.skip("this system does not let the test mount a small disk")
    yield Path("out")
    subprocess.run(["umount", "--lazy", "out"], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("small_disk", [8, 16, 32], indirect=True)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_small_disk_fills(script, inputs, small_disk, model_file, command):
    """Files that grow, such as manifests and logs of a training, also reach the end of the disk."""
    code, _, printed = script(*[str(model_file) if word == "MODEL" else word for word in COMMANDS[command]])
    if code:
        check_sentence(code, printed)
    assert [path for path in small_disk.rglob("*") if path.name.startswith(files.PARTIAL_PREFIX)] == []
