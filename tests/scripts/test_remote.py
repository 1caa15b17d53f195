"""Commands on data and models of other machines, as a user runs them."""

import json

import numpy as np
import pytest

from psp.loading import load
from stylegan2.runtime.images import write_image
from tests.remote import object_store, web_server

pytestmark = pytest.mark.usefixtures("own_process")


@pytest.fixture
def store(monkeypatch):
    with object_store(monkeypatch) as client:
        yield client


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a.png", "deep/b.png"):
        write_image(tmp_path / "web" / "photos" / name, rng.integers(0, 256, (40, 40, 3), np.uint8))
    (tmp_path / "web" / "photos" / "c.png").write_bytes(b"no picture")
    return tmp_path / "web" / "photos"


def test_photos_and_a_model_of_an_object_store(script, store, photos, model_file, tmp_path):
    for path in photos.rglob("*.png"):
        store.upload_file(str(path), "bucket", f"photos/{path.relative_to(photos).as_posix()}")
    store.upload_file(str(model_file), "bucket", "run/checkpoints/iteration-000000003.safetensors")
    words = ["--data_path", "s3://bucket/photos", "--checkpoint_path", "s3://bucket/run", "--no_align"]
    code, _, err = script("inference.py", *words, "--exp_dir", tmp_path / "there", "--device", "cpu")
    assert code == 1, err  # one of the files is no picture
    assert "c.png" in err
    words[1], words[3] = photos, model_file
    assert script("inference.py", *words, "--exp_dir", tmp_path / "here", "--device", "cpu")[0] == 1
    for name in ("a.png", "deep/b.png"):
        there, here = (tmp_path / folder / "inference_results" / name for folder in ("there", "here"))
        assert there.read_bytes() == here.read_bytes()
    files = json.loads((tmp_path / "there" / "manifest.json").read_text())
    assert "c.png" in json.dumps(files)


def test_preparation_of_a_web_server(script, photos, tmp_path):
    with web_server(tmp_path / "web") as server:
        words = ["--resolution", 32, "--workers", 1]
        code, out, _ = script("prepare_data.py", "--data", f"{server.address}/photos/", "--out", "there.zip", *words)
        assert code == 1
        assert "2 of 3 images at 32 px" in out
        assert script("prepare_data.py", "--data", photos, "--out", "here.zip", *words)[0] == 1
        assert (tmp_path / "there.zip").read_bytes() == (tmp_path / "here.zip").read_bytes()
        code, out, _ = script("prepare_data.py", "--data", f"{server.address}/here.zip", "--out", "x.zip", *words)
        assert code == 2  # the server does not have it


def test_a_generator_of_a_web_server(script, model_file, tmp_path):
    with web_server(model_file.parent) as server:
        model, _ = load(f"{server.address}/{model_file.name}")
        assert model.generator.img_resolution == 32
        code, _, err = script("generate.py", "samples", "--generator", f"{server.address}/none.pt", "--exp_dir", "x")
        assert code == 2
        assert f"there is nothing at {server.address}/none.pt" in err
        assert err.count("\n") == 1


def test_results_stay_on_this_machine(script, photos):
    code, _, err = script("inference.py", "--data_path", photos, "--exp_dir", "s3://bucket/out", "--device", "cpu")
    assert code == 2
    assert "--exp_dir must be a folder or file of this machine, not 's3://bucket/out'" in err
