"""The wheel in an empty environment: its command, its Python interface, and other packages that it must not replace.

The environment has what this one has installed, except this package, which comes from the wheel.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import psp
from scripts.demo import write_sample_photos

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("psp", "stylegan2", "datasets", "options", "scripts", "docs", "setup.py", "pyproject.toml", "MANIFEST.in")
TEXTS = ("README.md", "LICENSE", "CHANGELOG.md")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def wheel(module_path):
    """Build the wheel from a copy of the sources, so that it contains nothing of an earlier build."""
    folder = module_path / "build"
    folder.mkdir()
    for name in (*SOURCES, *TEXTS):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    build = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--wheel-dir", "dist"]
    done = subprocess.run(build, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = (folder / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def environment(wheel, module_path):
    """Run a command of a new environment, in an empty folder of its own: environment("psp", ...) -> what it prints."""
    folder = module_path / "environment"
    folder.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    binaries = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        binaries / "python",
        "install",
        "--no-deps",
        "--no-index",
        wheel,
    ]
    subprocess.run(install, check=True, capture_output=True)
    [site] = (folder / "venv").rglob("site-packages")
    # A path in a .pth file is searched, and its own .pth files are not read: an editable installation of this package
    # there does not count.
    (site / "reused.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    (folder / "work").mkdir()
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    variables |= {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache")}

    def call(command, *words, code=0):
        done = subprocess.run(
            [binaries / command, *map(str, words)],
            cwd=folder / "work", env=variables, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    call.site, call.work = site, folder / "work"
    return call


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """Provide a photo with a face."""
    folder = tmp_path_factory.mktemp("photos")
    write_sample_photos(folder)
    return next(path for path in sorted(folder.glob("*.jpg")))


def test_what_is_in_it(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"psp", "stylegan2"}
    application = {name.split("/")[2] for name in names if name.startswith("psp/_application/")}
    assert application == {"datasets", "options", "scripts"}
    wanted = ["psp/py.typed", "stylegan2/py.typed", "psp/pretrained/synthfaces64_inversion.safetensors"]
    assert set(wanted) <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]


def test_the_index_page_shows_pictures(wheel):
    files = zipfile.ZipFile(wheel)
    [name] = [name for name in files.namelist() if name.endswith(".dist-info/METADATA")]
    page = files.read(name).decode()
    links = re.findall(r"\]\(([^)#]+)", page)
    assert "Name: psp-translate" in page
    assert [link for link in links if not link.startswith("https://")] == []
    assert any(link.endswith("/raw/main/docs/people.jpg") for link in links)


def test_the_command_is_there(environment):
    assert environment("psp", "--version") == psp.__version__ + "\n"
    assert "usage: psp invert" in environment("psp", "invert", "--help")
    where = environment("python", "-c", "import psp; print(psp.__file__)")
    assert Path(where.strip()).is_relative_to(environment.site)


def test_a_photo_is_inverted(environment, photo):
    printed = environment("psp", "invert", photo, "--exp_dir", "out", "--device", "cpu")
    [result] = (environment.work / "out" / "inference_results").iterdir()
    assert Image.open(result).size == (64, 64), printed


def test_an_encoder_is_trained(environment):
    small = "--preset demo --max_steps 2 --batch_size 2 --workers 0 --val_interval 2 --save_interval 2 --device cpu"
    environment("psp", "train", *small.split(), "--exp_dir", "run", "--id_lambda", "0", "--lpips_lambda", "0")
    assert list((environment.work / "run" / "checkpoints").glob("*.safetensors"))


def test_hugging_face_datasets_goes_on_working(environment):
    (environment.site / "datasets").mkdir(exist_ok=True)
    (environment.site / "datasets" / "__init__.py").write_text(
        "def load_dataset(name):\n    return f'theirs: {name}'\n"
    )
    code = "import psp, stylegan2, datasets; psp.load; print(datasets.load_dataset('faces'))"
    assert environment("python", "-c", code) == "theirs: faces\n"
    environment("psp", "prepare", "--synthetic", "2", "--resolution", "32", "--out", "faces.zip")
    assert len(zipfile.ZipFile(environment.work / "faces.zip").namelist()) >= 2


def test_photos_are_edited_from_python(environment, photo):
    code = f"""
import psp
model = psp.load("synthfaces64_inversion", device="cpu")
face = model.invert({str(photo)!r})
print(face.image.size, sorted(model.directions)[:1], model.edit(face, smile=1.0).paste_back().size)
"""
    with Image.open(photo) as opened:
        assert environment("python", "-c", code).strip().endswith(str(opened.size))
