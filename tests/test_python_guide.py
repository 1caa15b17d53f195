"""The code of docs/python.md runs, block after block, in one folder, with fewer steps of optimisation."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import psp
from psp.encoders import ENCODERS
from psp.model import PSp
from stylegan2.networks.registry import GENERATORS

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "python.md"
FEWER = {"pivotal=350": "pivotal=2", "refine=100": "refine=2"}

pytestmark = pytest.mark.slow


def save_tiny(path, task, channels):
    sizes = {"z_dim": 8, "w_dim": 8, "channel_base": 128, "channel_max": 8, "mapping_layers": 1}
    generator = GENERATORS.build("stylegan2", 32, **sizes)
    encoder = ENCODERS.build("light", num_ws=generator.num_ws, w_dim=8, input_channels=channels, input_size=32)
    psp.save_model(path / "checkpoints" / "iteration-000000001.safetensors", PSp(encoder, generator), {"task": task})


@pytest.fixture
def _files(tmp_path, monkeypatch):
    """What a reader has: photos, and an experiment folder for each task."""
    monkeypatch.chdir(tmp_path)
    for name in ("me.jpg", "a.jpg", "b.jpg", "small.jpg"):
        Image.fromarray(data.astronaut()).save(name)
    Image.fromarray(data.astronaut()).resize((64, 64)).save("aligned.png")
    Image.fromarray(np.zeros((16, 16), np.uint8)).save("labels.png")
    hole = Image.fromarray(data.astronaut()).convert("RGBA")
    hole.paste((0, 0, 0, 0), (230, 150, 260, 170))
    hole.save("photo_with_transparent_hole.png")
    for task, channels in (("segmentation", 5), ("inpainting", 4), ("super_resolution", 3)):
        save_tiny(tmp_path / "runs" / task, task, channels)


@pytest.mark.usefixtures("_files")
def test_the_guide_runs():
    blocks = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    names = {"photos": torch.zeros(2, 3, 64, 64)}
    for block in blocks:
        for few, fewer in FEWER.items():
            block = block.replace(few, fewer)
        exec(compile(block, str(GUIDE), "exec"), names)
    assert Image.open("me_smiling.jpg").size == (512, 512)
    assert names["renderings"].shape == (2, 3, 64, 64)
