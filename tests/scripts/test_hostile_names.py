"""Commands write nothing outside their folder, whatever names their input files contain."""

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylegan2.latents.codes import save_codes
from stylegan2.latents.directions import Directions, save_directions
from stylegan2.loading import save_generator
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.bounded import LONGEST_NAME
from stylegan2.runtime.images import find_images, write_image
from tests.hostile import NAMES

# What a POSIX file system itself can hold.
FILES = [
    name
    for name in NAMES
    if "/" not in name and "\0" not in name and name not in ("", ".", "..") and not name.startswith(".")
]
FILES = [name for name in FILES if len(os.fsencode(name)) < 250] + ["x" * 250, "X" * 250, "x" * 249 + "y"]


def listing(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """Run the test in a deep folder, and check afterwards that nothing outside `out` was written or changed."""
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    before: dict[Path, int] = {}

    def done():
        now = {path: when for path, when in listing(tmp_path).items() if deep / "out" not in path.parents}
        assert {path: now.get(path) for path in before} == before
        assert [path for path in now if path not in before and "cache" not in path.parts] == []
        return {path for path in listing(deep / "out") if path.name not in ("config.yaml", ".lock")}

    def start():
        before.update(listing(tmp_path))
        return done

    return start


def picture(k=0):
    return np.random.default_rng(k).integers(0, 255, (32, 32, 3), dtype=np.uint8)


@pytest.fixture
def photos(tmp_path):
    """Provide (a folder with every file name that this disk can store, number of files)."""
    folder = tmp_path / "photos"
    count = 0
    for k, name in enumerate(FILES):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            Image.fromarray(picture(k)).save(file, "PNG")
        count += 1
    return folder, count


def test_edit(script, outside):
    generator = GENERATORS.build("stylegan2", 16, z_dim=8, w_dim=8, channel_base=64, channel_max=8, mapping_layers=1)
    save_generator("g.safetensors", generator, {})
    directions, count = [name for name in NAMES if len(name) <= LONGEST_NAME], len(NAMES)
    vectors = torch.nn.functional.normalize(torch.randn(len(directions), 8), dim=1)
    built = Directions(tuple(directions), vectors, torch.ones(len(directions)), (0, 1))
    save_directions(Path("d.safetensors"), built, {"generator": "../../g.safetensors"})
    names = [name.replace("\0", "\1").replace("\udce9", "e") for name in NAMES]  # NumPy's text cannot hold these
    save_codes("c.npz", names, torch.randn(count, 6, 8))
    save_directions(
        Path("one.safetensors"), Directions((NAMES[0],), vectors[:1], torch.ones(1), (0,)), {"generator": "x"}
    )
    done = outside()
    common = ["--generator", "g.safetensors", "--exp_dir", "out", "--strengths", "0,1", "--device", "cpu"]
    code, _, err = script("edit.py", "--directions", "d.safetensors", "--seeds", "0", *common)
    assert code == 0, err
    assert len(done()) == 3 * len(directions)  # a sheet and two pictures for each direction
    code, _, err = script(
        "edit.py", "--directions", "one.safetensors", "--latents", "c.npz", *common, "--exp_dir", "out/2"
    )
    assert code == 0, err
    assert len([path for path in done() if path.is_relative_to(Path("out/2/_etc_passwd").resolve())]) == 2 * count


def zipped(path, names):
    with zipfile.ZipFile(path, "w") as archive:
        for k, name in enumerate(names):
            file = io.BytesIO()
            Image.fromarray(picture(k)).save(file, "PNG")
            archive.writestr(zipfile.ZipInfo(f"{name}.png"), file.getvalue())
        labels = [[f"{name}.png", k % 2] for k, name in enumerate(names)]
        archive.writestr("dataset.json", json.dumps({"labels": labels}))


@pytest.mark.parametrize("out", ["out/p.zip", "out/p"])
def test_prepare_data(script, outside, out):
    names = [name for name in NAMES if len(name.encode("utf-8", "replace")) < 60_000 and "\udce9" not in name]
    zipped("d.zip", names)
    done = outside()
    flags = ["--resolution", "32", "--min_side", "1", "--workers", "1"]
    code, _, err = script("prepare_data.py", "--data_path", "d.zip", "--out", out, *flags)
    assert code in (0, 1), err
    assert done()
    if out.endswith("zip"):
        with zipfile.ZipFile(out) as archive:
            for name in archive.namelist():
                assert not name.startswith(("/", "\\"))
                assert not {"..", "."} & set(name.split("/"))


def test_inference(script, outside, photos, model_file):
    folder, count = photos
    done = outside()
    flags = ["--no_align", "--exp_dir", "out", "--device", "cpu", "--workers", "1", "--checkpoint_path", model_file]
    code, _, err = script("inference.py", "--data_path", folder, *flags)
    assert code == 0, err
    assert len([path for path in done() if "inference_results" in path.parts]) == count
    assert len([path for path in done() if "inference_coupled" in path.parts]) == count


def test_alignment(script, outside, photos, tmp_path):
    folder, count = photos
    box = np.array([[10.0, 12], [20, 12], [15, 16], [11, 20], [19, 20]])
    files = [path.relative_to(folder).as_posix() for path in find_images(folder)]
    (tmp_path / "l.json").write_text(json.dumps({file: box.tolist() for file in files}))
    done = outside()
    flags = ["--exp_dir", "out", "--workers", "1", "--landmarks", tmp_path / "l.json", "--output_size", "32"]
    assert script("align_faces.py", "--data_path", folder, *flags)[0] == 0
    assert len([path for path in done() if path.suffix == ".png"]) == count
    assert script("align_faces.py", "--data_path", folder, *flags)[1].startswith(f"{count} of {count} photos are")
    # A manifest that names pictures elsewhere, or is of another form, is no reason to leave a photo out.
    manifest = next(path for path in Path("out").iterdir() if path.name.startswith("manifest"))
    entries = [json.loads(line) for line in manifest.read_text().splitlines()]
    entries[0]["outputs"][0]["aligned"] = os.path.relpath(folder / files[0], "out")
    entries[1]["outputs"] = 5
    entries[2] = [entries[2]]
    manifest.write_text("\n".join(json.dumps(entry) for entry in entries) + "\n" + "[" * 100_000 + "\n")
    assert script("align_faces.py", "--data_path", folder, *flags)[1].startswith(f"{count - 3} of {count} photos are")
    done()


def test_projection_and_sketches(script, outside, photos, tmp_path):
    folder, count = photos
    generator = GENERATORS.build("stylegan2", 16, z_dim=8, w_dim=8, channel_base=64, channel_max=8, mapping_layers=1)
    save_generator("g.safetensors", generator, {})
    done = outside()
    flags = ["--steps", "1", "--frames", "1", "--generator", "g.safetensors", "--exp_dir", "out/1", "--device", "cpu"]
    code, _, err = script("project.py", "--target", folder, *flags, "--perceptual", "effnet")
    assert code == 0, err
    assert len([path for path in done() if "projected" in path.parts]) == count
    flags = ["--exp_dir", "out/sketches", "--device", "cpu", "--size", "32", "--edges", "lines"]
    assert script("draw_sketches.py", "--data_path", folder, *flags)[0] == 0
    assert len([path for path in done() if "sketches" in path.parts]) == count


def test_sheets_of_long_captions(tmp_path):
    from stylegan2.runtime.images import labelled_sheet

    sheet = labelled_sheet([[picture()]], ["t" * 10**6], ["c" * 10**6])
    write_image(tmp_path / "s.png", sheet)
    assert sheet.shape[1] < 1000
