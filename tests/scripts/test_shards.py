"""Training from shards as a user runs it: here and by URL, resumed bit for bit, and shared by processes."""

import json

import pytest

from stylegan2.runtime import checkpoint
from tests.datasets.conftest import cache, numbered_samples, web, write_shards  # noqa: F401
from tests.groups import finish, torchrun
from tests.scripts.test_train_scripts import ENCODER, GAN

pytest.importorskip("webdataset", reason="needs the extra `shards`")
pytestmark = pytest.mark.usefixtures("own_process")


@pytest.fixture
def shards(tmp_path, write_shards, numbered_samples):  # noqa: F811
    return write_shards(tmp_path / "web" / "shards", numbered_samples(30), 5)


def tensors_of(path):
    tensors, metadata = checkpoint.read(path)
    return {name: tensor.tolist() for name, tensor in tensors.items()}, metadata


def train(script, shards, folder, total, *arguments):
    words = ["--data", shards, "--exp_dir", folder, *GAN, "--total_nimg", total, *arguments]
    code, out, err = script("train_stylegan2.py", *words)
    assert code == 0, err
    return out


def test_a_generator_of_shards_by_url_is_resumed_bit_for_bit(script, shards, tmp_path, web):  # noqa: F811
    pytest.importorskip("aiohttp", reason="needs the extra `remote`")
    address, _ = web
    url = f"{address}/shards/{{000000..000005}}.tar"
    out = train(script, shards, tmp_path / "whole", 40, "--conditional", "--workers", 0)
    assert f"30 images of {shards} at 16 px" in out
    train(script, url, tmp_path / "parts", 16, "--conditional", "--workers", 2)
    assert "resuming" in train(script, url, tmp_path / "parts", 40, "--conditional", "--workers", 1).lower()
    name = "checkpoints/network-000000040.safetensors"
    assert tensors_of(tmp_path / "whole" / name)[0] == tensors_of(tmp_path / "parts" / name)[0]


@pytest.mark.slow
def test_an_encoder_is_trained_and_resumed_bit_for_bit(script, shards, tmp_path):
    gan, run = tmp_path / "gan", tmp_path / "run"
    train(script, shards, gan, 8, "--workers", 0)
    words = ["--data", shards, "--stylegan_weights", gan, "--exp_dir", run, *ENCODER, "--max_steps", 3]
    words += ["--save_interval", 1, "--lpips_lambda", 0, "--id_lambda", 0]
    code, out, err = script("train_psp.py", *words)
    assert code == 0, err
    assert f"29 images of {shards} for training, 1 held out" in out
    last = run / "checkpoints" / "iteration-000000003.safetensors"
    whole = tensors_of(last)[0]
    last.unlink()
    code, out, err = script("train_psp.py", *words)
    assert code == 0, err
    assert "resuming from iteration-000000002.safetensors at step 2" in out
    assert tensors_of(last)[0] == whole


def test_sources_of_pairs_are_not_read_from_shards(script, shards, tmp_path):
    words = ["--data", shards, "--source_data", shards, "--exp_dir", tmp_path / "x", *ENCODER]
    code, _, err = script("train_psp.py", *words)
    assert code == 2
    assert "pairs are matched in folders and zip files, not in shards" in err


def losses_of(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [value for line in lines for name, value in sorted(line.items()) if "loss" in name]


@pytest.mark.slow
def test_two_processes_give_what_one_gives(script, shards, tmp_path):
    train(script, shards, tmp_path / "one", 16, "--workers", 1, "--batch_size", 8)
    words = ["--data", shards, "--exp_dir", tmp_path / "two", *GAN]
    words += ["--total_nimg", 16, "--workers", 1, "--batch_size", 8]
    code, printed = finish(torchrun(2, "train_stylegan2.py", *words))
    assert code == 0, printed
    one, two = losses_of(tmp_path / "one"), losses_of(tmp_path / "two")
    assert len(one) > 4
    assert one == pytest.approx(two, rel=1e-3, abs=1e-4)
