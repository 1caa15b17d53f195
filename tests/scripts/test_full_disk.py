"""A disk that is full: commands that write say so in one sentence and leave no torn file under its final name."""

import builtins
import errno
import os
from pathlib import Path

import numpy as np
import pytest

from stylegan2 import save_generator
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
}  # fmt: skip


class Full:
    """A file that takes a few bytes before the disk is full."""

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


@pytest.mark.parametrize("room", [0, 100])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_one_sentence(script, monkeypatch, model_file, command, room):
    sizes = {"z_dim": 8, "w_dim": 8, "channel_base": 128, "channel_max": 8, "mapping_layers": 1}
    save_generator(Path("g.safetensors"), GENERATORS.build("stylegan2", 16, **sizes), {})
    for n in range(2):
        write_image(
            Path("photos") / f"{n}.png", np.random.default_rng(n).integers(0, 255, (16, 16, 3)).astype(np.uint8)
        )

    def full(path, mode="r", *rest, **options):
        file = builtins.open(path, mode, *rest, **options)  # noqa: SIM115 (closed by who asked for it)
        return Full(file, room) if mode == "xb" else file

    monkeypatch.setattr(files, "open", full, raising=False)
    code, _, printed = script(*[str(model_file) if word == "MODEL" else word for word in COMMANDS[command]])
    assert code == 2, printed
    last = printed.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "No space left on device" in last
    assert "Traceback" not in printed
    left = [path for path in Path("out").rglob("*") if path.is_file() and path.name != files.LOCK]
    assert left == [], "a torn file stays"
