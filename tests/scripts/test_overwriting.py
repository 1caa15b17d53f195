"""No command replaces the results of another one: each refuses a folder or a file that is not its own."""

from pathlib import Path

import pytest
import yaml

from tests.scripts.conftest import SCRIPTS

FOLDERS = {
    "align_faces.py": ["--data_path", "photos"],
    "directions.py": ["pca"],
    "draw_sketches.py": ["--data_path", "photos"],
    "edit.py": ["--directions", "d.safetensors"],
    "evaluate.py": [],
    "generate.py": ["samples"],
    "inference.py": ["--data_path", "photos"],
    "project.py": ["--target", "photos"],
    "style_mixing.py": ["--data_path", "photos"],
    "train_psp.py": [],
    "train_segmenter.py": [],
    "train_stylegan2.py": ["--preset", "tiny-cpu"],
}
WRITTEN = {  # what of a folder's files each would replace
    "align_faces.py": "a.png",
    "directions.py": "pca.safetensors",
    "draw_sketches.py": "a.png",
    "edit.py": "yaw.png",
    "evaluate.py": "metrics.json",
    "generate.py": "samples.png",
    "inference.py": "latents.npz",
    "project.py": "latents.npz",
    "style_mixing.py": "latents.npz",
    "train_psp.py": "metrics.jsonl",
    "train_segmenter.py": "metrics.json",
    "train_stylegan2.py": "metrics.jsonl",
}
FILES = {  # command -> (arguments, option of the file, its name)
    "blend.py": (["--base", "synthfaces64", "--style", "synthfaces64"], "--out", "taken.safetensors"),
    "convert.py": (["to", "official-psp", "source"], None, "taken.pt"),
    "evaluate_generator.py": ([], "--out", "taken.json"),
    "export.py": (["--checkpoint_path", "synthfaces64"], "--out", "taken.safetensors"),
    "prepare_data.py": (["--synthetic", "4", "--resolution", "32"], "--out", "taken.zip"),
}
# A folder of its own, nothing, weights, graphs (tests/scripts/test_export_onnx.py), nothing, nothing.
OTHERWISE = {"demo.py", "doctor.py", "download.py", "export_onnx.py", "models.py", "web.py"}


def test_every_command_is_here():
    commands = {path.name for path in SCRIPTS.glob("[!_]*.py")}
    assert commands - FOLDERS.keys() - FILES.keys() - OTHERWISE == set()


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_of_another_command_is_refused(script, name):
    Path("out").mkdir()
    Path("out/latents.npz").write_bytes(b"five people")
    Path("out/config.yaml").write_text(yaml.safe_dump({"command": "another"}))
    Path("photos").mkdir()
    code, _, err = script(name, *FOLDERS[name], "--exp_dir", "out")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("error: 'out' contains results of another, according to config.yaml: give another --exp_dir")
    assert sorted(path.name for path in Path("out").iterdir()) == ["config.yaml", "latents.npz"]
    assert Path("out/latents.npz").read_bytes() == b"five people"


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_of_a_users_files_is_refused(script, name):
    Path("out").mkdir()
    taken = Path("out", WRITTEN[name])
    taken.write_bytes(b"somebody's")
    Path("photos").mkdir()
    code, _, err = script(name, *FOLDERS[name], "--exp_dir", "out")
    assert (code, err.count("\n")) == (2, 1)
    assert f"'out' contains files that this command did not write, such as {taken.name!r}" in err
    assert list(Path("out").iterdir()) == [taken]
    assert taken.read_bytes() == b"somebody's"


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_kept(script, name):
    arguments, option, taken = FILES[name]
    for path in ("source", taken):
        Path(path).write_bytes(b"somebody's")
    code, _, err = script(name, *arguments, *([option] if option else []), taken)
    assert (code, err.count("\n")) == (2, 1)
    assert taken in err
    assert Path(taken).read_bytes() == b"somebody's"


def test_codes_of_other_people_stay(script, model_file, photos):
    """Projecting one picture into the folder of an inference once deleted the codes of five people."""
    generator = ["--checkpoint_path", model_file]
    for number, folder in enumerate(("one", "two")):
        Path(folder).mkdir()
        picture = sorted((photos / "portraits256").glob("*"))[number]
        (Path(folder) / f"{number}{picture.suffix}").write_bytes(picture.read_bytes())
    first = ["inference.py", "--data_path", "one", "--exp_dir", "out", "--no_align", *generator]
    assert script(*first)[0] == 0
    codes = Path("out/latents.npz").read_bytes()
    assert script("project.py", "--target", "two", "--exp_dir", "out", "--steps", 1)[0] == 2
    code, _, err = script("inference.py", "--data_path", "two", "--exp_dir", "out", "--no_align", *generator)
    assert code == 2
    assert "with another --data_path: give another --exp_dir, or --overwrite" in err
    assert Path("out/latents.npz").read_bytes() == codes
    assert script(*first)[0] == 0
    assert (
        script("inference.py", "--data_path", "two", "--exp_dir", "out", "--no_align", "--overwrite", *generator)[0]
        == 0
    )
    assert Path("out/latents.npz").read_bytes() != codes
