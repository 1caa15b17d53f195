"""The commands of the README run one after the other, in one folder, as they are typed, at reduced sizes."""

import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

import psp
from stylegan2.convert import rosinality
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.images import read_image, write_image

ROOT = Path(__file__).resolve().parents[1]
SHORT = ["--max_steps", "2", "--batch_size", "2", "--test_batch_size", "2", "--workers", "0"]
GAN = ["--total_nimg", "8", "--batch_size", "8", "--channel_base", "512", "--channel_max", "16", "--z_dim", "16",
       "--w_dim", "16", "--mapping_layers", "2", "--workers", "0"]  # fmt: skip
OF_THE_PAPER = ["--encoder_type", "w", "--optim_name", "adam"]  # of its encoders, the one of the smallest checkpoints
REDUCED = {
    # what is appended to a command that begins with these words, so that it ends soon; the longest beginning counts
    "psp train": SHORT,
    "psp train --task inversion --data faces/ --stylegan_weights": [*SHORT, *OF_THE_PAPER],
    "psp train-gan": GAN,
    "psp prepare": ["--resolution", "64"],
    "psp prepare --synthetic": ["--synthetic", "4", "--resolution", "64"],
    "psp train-gan --data images.zip": [*GAN, "--resolution", "64", "--conv_clamp", "None"],
    "psp invert --data_path photos/ --exp_dir refined/": ["--refine", "2"],
    "psp invert --data_path photos/ --exp_dir tuned/": ["--pivotal", "2"],
    "psp doctor": ["--no_estimate", "--search", "2"],
    "psp evaluate": ["--optimisation_steps", "2", "--refine_steps", "2"],
    "psp evaluate-generator": ["--num_samples", "16"],
    "psp generate": ["--seeds", "0-1", "--styles", "2,3"],
    "psp project": ["--steps", "3", "--frames", "2"],
    "psp directions": ["--labels", "seeds.csv", "--attributes", "all", "--num_samples", "64", "--no_measure"],
    "psp edit": ["--strengths", "0,1"],
    "psp edit me.jpg": ["--pivotal", "2"],
}
ELSEWHERE = ("make ", "source ")  # tests of their own, and the shell that is left to its user
SECONDS = 240


def blocks(text):
    """List (language, code) of the blocks of the README."""
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def typed(code):
    """List the commands of a block as they are typed, without comments."""
    return [line for line in (line.partition(" #")[0].strip() for line in code.splitlines()) if line]


def reduced(command):
    beginnings = [words for words in REDUCED if command.startswith(words + " ") or command == words]
    return [*shlex.split(command), *REDUCED[max(beginnings, key=len)]] if beginnings else shlex.split(command)


def lay_out(folder, photos):
    """Put what a reader brings along into the folder: photographs, label maps, masks and a generator's file."""
    portraits = sorted((photos / "portraits256").glob("*.jpg"))
    for name, chosen in (("photos", portraits[:5]), ("held_out", portraits[5:7])):
        (folder / name).mkdir()
        for file in chosen:
            (folder / name / file.name).write_bytes(file.read_bytes())
    write_image(folder / "photo.png", read_image(portraits[0]))
    (folder / "me.jpg").write_bytes(sorted((photos / "photos").glob("*.jpg"))[0].read_bytes())
    rows = "".join(f"{seed},{seed % 7},{seed % 2}\n" for seed in range(40))
    (folder / "seeds.csv").write_text("seed,size,hat\n" + rows)  # what the classifier of faces would say, in minutes
    generator = GENERATORS.build("stylegan2", 64)  # of the published widths, as the published encoders need them
    torch.save(rosinality.file_content(rosinality.store(generator)), folder / "generator.pt")
    mask = np.zeros((64, 64, 1), np.uint8)
    mask[20:40, 20:40] = 255
    labels = np.zeros((64, 64, 1), np.uint8)
    labels[16:48, 16:48] = 1
    for file in portraits[:5]:
        write_image(folder / "masks" / f"{file.stem}.png", mask)
        write_image(folder / "labels" / f"{file.stem}.png", labels)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_readme_runs_as_it_is_typed(shell, photos):
    lay_out(shell.folder, photos)
    count = 0
    for language, code in blocks((ROOT / "README.md").read_text(encoding="utf-8")):
        if language == "python":
            (shell.folder / "example.py").write_text(code)
            commands = [["python", "example.py"]]
        else:
            commands = [reduced(line) for line in typed(code) if not line.startswith(ELSEWHERE)]
        for words in commands:
            done = shell(words)
            assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
            count += 1
            for file in shell.folder.glob("runs/*/checkpoints/best_model.safetensors"):
                file.unlink()  # no command reads it: the newest checkpoint beside it is as large
    assert count > 25


def test_commands_of_a_block_are_found():
    text = "```\npsp invert --data_path a/   # all\n\nmake test\n```\nand\n```python\nimport psp  # it\n```\n"
    (_, shell_code), (language, _) = blocks(text)
    assert typed(shell_code) == ["psp invert --data_path a/", "make test"]
    assert language == "python"


def test_the_longest_beginning_says_what_is_appended():
    assert reduced("psp invert --data_path photos/ --exp_dir out/")[-1] == "out/"
    assert reduced("psp invert --data_path photos/ --exp_dir tuned/ --pivotal 350")[-2:] == ["--pivotal", "2"]
    assert reduced("psp prepare --synthetic 50000 --out f.zip")[-4:-2] == ["--synthetic", "4"]
    assert reduced("psp train-gan --preset tiny-cpu")[-len(GAN) :] == GAN


def test_a_machine_without_a_gpu_installs_the_wheels_for_a_cpu():
    planned = [
        subprocess.run(["make", "-n", "-B", "install", *more], cwd=ROOT, capture_output=True, text=True).stdout
        for more in ([], ["CPU=1"])
    ]
    assert ["whl/cpu" in plan for plan in planned] == [False, True]


def test_the_shell_has_the_environment_of_this_checkout(shell):
    for command in ("psp --version", "python -c 'import psp; print(psp.__version__)'"):
        assert shell(["sh", "-c", command]).stdout.strip() == psp.__version__  # as the shell finds them
        assert shell(shlex.split(command)).stdout.strip() == psp.__version__
