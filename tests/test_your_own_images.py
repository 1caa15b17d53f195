"""docs/your_own_images.md from end to end, on drawn cars: pictures that are not square and show no face."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from stylegan2.runtime.images import read_image
from tests.test_readme import blocks, typed

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT = 96, 64
GAN = ["--total_nimg", "16", "--batch_size", "8", "--workers", "0"]
SHORT = ["--max_steps", "2", "--batch_size", "2", "--test_batch_size", "2", "--workers", "0"]
REDUCED = {
    "psp doctor": ["--search", "4", "--no_estimate"],
    "psp train-gan": GAN,
    "psp train": SHORT,
    "psp evaluate": ["--optimisation_steps", "2", "--refine_steps", "2", "--num_images", "4"],
    "psp generate": ["--seeds", "0-3"],
    "psp directions": ["--num_samples", "64", "--count", "2"],
    "psp edit": ["--strengths", "0,1"],
}


def drawn_car(rng):
    """Draw a car before hills, uint8 [64, 96, 3]: colour, length, height of the roof and place differ."""
    sky, ground, paint = (tuple(int(v) for v in rng.integers(low, 256, 3)) for low in (150, 40, 0))
    picture = Image.new("RGB", (2 * WIDTH, 2 * HEIGHT), sky)
    draw = ImageDraw.Draw(picture)
    horizon = int(rng.integers(60, 90))
    draw.rectangle([0, horizon, 2 * WIDTH, 2 * HEIGHT], fill=ground)
    left, length, roof = int(rng.integers(10, 40)), int(rng.integers(110, 140)), int(rng.integers(20, 34))
    right, floor = left + length, 104
    draw.polygon(
        [
            (left + 25, floor - 28),
            (left + 42, floor - 28 - roof),
            (right - 40, floor - 28 - roof),
            (right - 15, floor - 28),
        ],
        fill=tuple(v // 2 for v in paint),
    )
    draw.rounded_rectangle([left, floor - 30, right, floor], radius=10, fill=paint)
    for x in (left + 28, right - 28):
        draw.ellipse([x - 13, floor - 12, x + 13, floor + 14], fill=(20, 20, 20))
        draw.ellipse([x - 6, floor - 5, x + 6, floor + 7], fill=(170, 170, 170))
    picture = picture.resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    noisy = np.asarray(picture).astype(int) + rng.integers(-6, 7, (HEIGHT, WIDTH, 3))
    return noisy.clip(0, 255).astype(np.uint8)


@pytest.fixture
def cars(shell):
    """The shell, in whose folder are 48 drawn cars, a copy and a broken file."""
    rng, folder = np.random.default_rng(0), shell.folder / "cars"
    folder.mkdir()
    for number in range(48):
        Image.fromarray(drawn_car(rng)).save(folder / f"{number:02d}.png")
    (folder / "copy.png").write_bytes((folder / "07.png").read_bytes())
    (folder / "broken.png").write_bytes((folder / "08.png").read_bytes()[:900])
    return shell


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_recipe_runs_from_pictures_to_edits(cars):
    printed = {}
    for _, code in blocks((ROOT / "docs" / "your_own_images.md").read_text(encoding="utf-8")):
        for line in typed(code):
            beginnings = [words for words in REDUCED if line.startswith(words + " ")]
            words = [*shlex.split(line), *(REDUCED[max(beginnings, key=len)] if beginnings else [])]
            words = ["2" if word == "350" else word for word in words]
            done = cars(words)
            code = int(words[1] in ("prepare", "invert"))  # 1, as they name the broken file
            assert done.returncode == code, f"{shlex.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
            printed[words[1]] = done.stdout

    proposed = printed["doctor"]
    assert "duplicates: 1, such as copy.png of 07.png" in proposed
    assert "cannot be read: 1, such as broken.png" in proposed
    assert "faces: in 0 of the 4 pictures" in proposed
    assert "--id_lambda 0" in proposed
    assert "--crop pad" in proposed
    assert "psp align" not in proposed

    manifest = json.loads((cars.folder / "inverted" / "manifest.json").read_text())
    [output] = next(entry["outputs"] for entry in manifest if entry["file"] == "07.png")
    assert output["region"] == pytest.approx([0, 1 / 6, 1, 5 / 6], abs=0.01)
    height, width, _ = read_image(cars.folder / "inverted" / output["result"]).shape
    assert (height, width) == (42, 64)
    logged = (cars.folder / "runs" / "cars-encoder" / "metrics.jsonl").read_text()
    assert "val/loss_perceptual" in logged
    assert "loss_id" not in logged
    assert list((cars.folder / "edited").glob("closed_form0*.png"))


def test_a_drawn_car_is_wide_and_differs_from_the_next():
    rng = np.random.default_rng(1)
    one, other = drawn_car(rng), drawn_car(rng)
    assert one.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(one.astype(int) - other).mean() > 10
