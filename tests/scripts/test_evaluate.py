"""scripts/evaluate.py and scripts/train_segmenter.py as a user runs them, with small random models."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import psp
from psp.encoders import encoder_for
from psp.model import PSp
from psp.perception.segmenter import Segmenter, load_segmenter, save_segmenter
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.images import read_image, resize, write_image

FLAGS = ["--batch_size", 2, "--device", "cpu", "--perceptual", "effnet", "--identity", "dlib"]
QUICK = ["--optimisation_steps", 0, "--refine_steps", 0]
METRICS = ["mse", "perceptual", "identity", "ms_ssim", "seconds_per_image"]


pytestmark = pytest.mark.usefixtures("own_process")


def save(path, task, name="light", channels=3, seed=0, resolution=32, **settings):
    torch.manual_seed(seed)
    generator = GENERATORS.build(
        "stylegan2", resolution, z_dim=8, w_dim=8, channel_base=128, channel_max=8, mapping_layers=2
    )
    model = PSp(encoder_for(generator, name, channels), generator)
    psp.save_model(path, model, {"task": task, "task_settings": settings} if settings else {"task": task})
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "pictures"
    for n in range(5):
        small = np.random.default_rng(n).integers(0, 256, (6, 6, 3), np.uint8)
        write_image(folder / f"{n}.png", resize(small, (40, 40)))
    return folder


def read(folder):
    return json.loads(Path(folder, "metrics.json").read_text())


def test_encoders_are_measured_beside_one_another(script, pictures):
    save("a.safetensors", "inversion")
    save("b.safetensors", "inversion", "light_restyle", seed=1)
    flags = ["--data", pictures, "--optimisation_steps", 2, "--refine_steps", 3, "--exp_dir", "out", *FLAGS]
    with pytest.warns(UserWarning, match="identity is measured on 32 px images"):
        code, out, err = script("evaluate.py", "--checkpoint_path", "a.safetensors", "b.safetensors", *flags)
    assert code == 0, err
    report = read("out")
    rows = ["mean face", "pSp (light)", "ReStyle (light_restyle), 5 steps", "pSp (light) + refinement, 3 steps"]
    rows.append("W+ optimisation, 2 steps")
    assert list(report["results"]) == rows
    for values in report["results"].values():
        assert list(values) == METRICS
        assert np.isfinite(list(values.values())).all()
    assert report["images"] == 5
    assert report["networks"] == {"perceptual": "effnet", "identity": "id_dlib"}
    assert report["checkpoints"]["pSp (light)"] == {"path": "a.safetensors", "encoder": "light", "cur_step": None}
    table = Path("out/table.md").read_text()
    assert table in out
    assert "| MS-SSIM (2 of 5 scales) |" in table
    assert read_image("out/comparison.png").shape[0] == 6 * 128  # the rows, and the target
    assert "\r" not in err  # no bar, as nobody looks at a terminal

    # Again, with another row: what was measured is taken from its file.
    files = {path: path.stat().st_mtime_ns for path in Path("out/per_image").rglob("*.npz")}
    assert len(files) == 5
    save("c.safetensors", "inversion", seed=2)
    models = ["--checkpoint_path", "a.safetensors", "b.safetensors", "third=c.safetensors"]
    assert script("evaluate.py", *models, *flags)[0] == 0
    again = read("out")["results"]
    assert [again[name] for name in rows] == list(report["results"].values())
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert len(list(Path("out/per_image").rglob("*.npz"))) == 6
    assert "third" in again


def test_no_more_images_than_there_are(script, pictures):
    save("a.safetensors", "inversion")
    code, _, err = script("evaluate.py", "--checkpoint_path", "a.safetensors", "--data", pictures, "--num_images", 6)
    assert (code, err) == (
        2,
        f"error: --num_images is 6, but {pictures} has only 5 images: give a smaller number, or leave it out\n",
    )


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"task": "inversion", "resolution": 64}, "a.safetensors renders 32 px and b.safetensors 64 px"),
        (
            {"task": "inversion"},
            "a.safetensors and b.safetensors are both called 'pSp (light)': give them different names",
        ),
        ({"task": "toonify", "name": "light_w"}, "pSp (light) was trained for inversion and W (light_w) for toonify"),
    ],
)
def test_models_that_cannot_stand_in_one_table(script, second, words):
    save("a.safetensors", "inversion")
    save("b.safetensors", **second)
    code, _, err = script("evaluate.py", "--checkpoint_path", "a.safetensors", "b.safetensors")
    assert code == 2
    assert words in err
    assert err.count("\n") == 1
    assert not Path("runs").exists()


def test_a_folder_that_is_a_file(script, pictures):
    save("a.safetensors", "inversion")
    Path("out").write_text("")
    arguments = ["--checkpoint_path", "a.safetensors", "--data", pictures, "--optimisation_steps", 0, *FLAGS]
    code, _, err = script("evaluate.py", *arguments, "--refine_steps", 0, "--exp_dir", "out")
    assert code == 2
    assert err.splitlines()[-1] == "error: --exp_dir cannot be 'out': 'out' is a file, not a folder"


TASKS = {
    "frontalization": ({}, ["yaw 0", "yaw 30", "yaw 45", "yaw 60"], ["turned source", "pSp (light)"]),
    "super_resolution": (
        {"resize_factors": [2, 8]},
        ["factor 2", "factor 8"],
        ["bicubic enlargement", "pSp (light)"],
    ),
    "inpainting": (
        {"mask_kinds": ["halves"]},
        ["halves", "quarter"],
        ["mean fill", "pSp (light)", "pSp (light), known pixels kept"],
    ),
}


@pytest.mark.parametrize("task", sorted(TASKS))
@pytest.mark.filterwarnings("ignore:identity is measured on 32 px images")
def test_a_task_is_measured_against_the_truth_in_groups(script, task):
    settings, groups, rows = TASKS[task]
    save("a.safetensors", task, channels=4 if task == "inpainting" else 3, **settings)
    flags = ["--num_images", 2, "--n_outputs", 3, "--exp_dir", "out", *FLAGS]
    code, _, err = script("evaluate.py", "--checkpoint_path", "a.safetensors", *flags)
    assert code == 0, err
    report = read("out")
    assert report["task"] == task
    assert list(report["groups"]) == groups
    for results in (report["results"], *report["groups"].values()):
        assert list(results) == ["mean face", *rows]
    for metric in METRICS:
        parts = [report["groups"][group][rows[0]][metric] for group in groups]
        assert report["results"][rows[0]][metric] == pytest.approx(np.mean(parts), rel=1e-5)
    shown = len(rows) + 2 + (task != "frontalization")  # mean face and target, and the source
    assert read_image("out/comparison.png").shape[0] == len(groups) * shown * 128
    if task == "super_resolution":
        assert report["diversity"]["outputs"] == 3
        assert list(report["diversity"]["results"]["pSp (light)"]) == groups
        assert all(value > 0 for value in report["diversity"]["results"]["pSp (light)"].values())
        assert "diversity of 3 outputs, rows fine (effnet)" in Path("out/table.md").read_text()
        assert read_image("out/diversity.png").shape[0] == 2 * 2 * 128
    else:
        assert "diversity" not in report
        assert not Path("out/diversity.png").exists()


@pytest.mark.filterwarnings("ignore:identity is measured on 32 px images")
def test_segmentation_has_the_miou_of_its_outputs(script):
    save("a.safetensors", "segmentation", channels=19, label_nc=19)
    save_segmenter("mine.safetensors", Segmenter(19, 16, (4, 4)), {})
    flags = ["--num_images", 2, "--n_outputs", 0, "--exp_dir", "out", *FLAGS, "--checkpoint_path", "a.safetensors"]
    code, _, err = script("evaluate.py", *flags, "--segmenter", "mine.safetensors", "--optimisation_steps", 2)
    assert code == 0, err
    report = read("out")
    assert report["networks"]["segmenter"] == "mine"
    assert list(report["results"]) == ["mean face", "true image", "pSp (light)", "W+ optimisation, 2 steps"]
    assert all(0 <= values["miou"] <= 1 for values in report["results"].values())
    assert report["results"]["true image"]["mse"] == 0
    assert "mIoU (mine)" in Path("out/table.md").read_text()


@pytest.mark.filterwarnings("ignore:identity is measured on 32 px images")
def test_files_of_the_user_as_sources(script, pictures, tmp_path):
    for path in pictures.iterdir():
        write_image(tmp_path / "maps" / path.name, np.eye(40, dtype=np.uint8) * 2)
    save("a.safetensors", "segmentation", channels=3, label_nc=3)
    flags = ["--data", pictures, "--source_data", "maps", "--n_outputs", 2, "--exp_dir", "out", *FLAGS]
    code, _, err = script("evaluate.py", "--checkpoint_path", "a.safetensors", *flags)
    assert code == 0, err
    report = read("out")
    assert report["source_data"] == "maps"
    assert "miou" not in report["results"]["pSp (light)"]  # the shipped segmenter knows procedural faces alone
    assert list(report["diversity"]["results"]["pSp (light)"]) == ["all"]


def test_a_mask_that_does_not_fit_is_said_before_the_work(script, pictures):
    save("a.safetensors", "sketch", channels=1)
    arguments = ["--checkpoint_path", "a.safetensors", "--data", pictures, "--latent_mask", "8-17"]
    code, _, err = script("evaluate.py", *arguments)
    assert code == 2
    assert "contains row 17, but the rows of this generator are 0 to 7" in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_a_segmenter_is_trained(script):
    sizes = ["--resolution", 32, "--batch_size", 2, "--num_images", 4, "--workers", 0, "--device", "cpu"]
    code, out, err = script("train_segmenter.py", "--max_steps", 3, "--exp_dir", "out", *sizes)
    assert code == 0, err
    report = read("out")
    assert report["images"] == 4
    assert 0 <= report["miou"] <= 1
    assert json.dumps(report, indent=2) in out
    segmenter = load_segmenter("out/segmenter.safetensors")
    assert (segmenter.resolution, segmenter.label_nc) == (32, 19)
    assert read_image("out/segmentation.png").shape[2] == 3


def test_a_file_that_cannot_be_read_is_named_at_the_end(script, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "in")
    for name in ("1.png", "2.png"):
        (tmp_path / "in" / name).write_bytes(b"no picture")
    save("a.safetensors", "inversion")
    with pytest.warns(UserWarning, match="left out"):
        code, _, err = script(
            "evaluate.py", "--checkpoint_path", "a.safetensors", "--data", "in", "--exp_dir", "out", *QUICK, *FLAGS
        )
    assert code == 1
    assert "2 files could not be read, see out/left_out.txt" in err
    named = Path("out/left_out.txt").read_text().splitlines()
    assert ["1.png' cannot be read" in named[0], "2.png' cannot be read" in named[1]] == [True, True]
    assert "pSp (light)" in read("out")["results"]
