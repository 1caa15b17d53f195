"""scripts/evaluate_generator.py on a tiny generator and a small folder."""

import json
import sys

import numpy as np
import pytest

import stylegan2
from options.parse import parse
from scripts import evaluate_generator
from scripts.evaluate_generator import EvaluateGenerator
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import read_image, write_image


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Provide a folder with generator.safetensors and images/."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    generator = GENERATORS.build("stylegan2", 32, z_dim=8, w_dim=8, channel_base=128, channel_max=8, mapping_layers=1)
    stylegan2.save_generator(tmp_path / "generator.safetensors", generator, {})
    rng, rows = np.random.default_rng(0), ["file,bright"]
    for i in range(24):
        level = 40 + 120 * (i % 2)
        write_image(tmp_path / "images" / f"{i}.png", rng.integers(level, level + 60, (32, 32, 3)).astype(np.uint8))
        rows.append(f"{i}.png,{i % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path


def run(folder, *flags):
    args = ["--generator", str(folder / "generator.safetensors"), "--data", str(folder / "images")]
    args += ["--out", str(folder / "out" / "metrics.json"), "--device", "cpu", *flags]
    evaluate_generator.main(parse(EvaluateGenerator, args=args))
    return json.loads((folder / "out" / "metrics.json").read_text(encoding="utf-8"))


def test_numbers_table_and_sheet(folder):
    report = run(folder, "--metrics", "fd_dlib,kd_dlib,ppl_w_end,resolution_usage", "--num_samples", "6", "--seed", "3")
    assert report["seed"] == 3
    assert list(report["results"]) == ["fd_dlib", "kd_dlib", "ppl_w_end", "resolution_usage"]
    assert report["results"]["fd_dlib"]["details"]["real_images"] == 24
    assert report["results"]["fd_dlib"]["values"]["fd_dlib"] > 0
    assert "| fd_dlib |" in (folder / "out" / "metrics.md").read_text(encoding="utf-8")
    assert read_image(folder / "out" / "metrics.png").shape == (8 * 32, 8 * 32, 3)
    assert list((folder / "cache" / "psp").glob("features-*.safetensors"))


def test_separability_of_ones_own_labels_and_attribution(folder):
    flags = ["--labels", str(folder / "labels.csv"), "--attribution_images", "2", "--projection_steps", "2"]
    results = run(folder, "--metrics", "separability,attribution", "--num_samples", "40", *flags)["results"]
    assert list(results["separability"]["details"]["entropies"]["w"]) == ["bright"]
    assert results["separability"]["values"]["separability_w"] >= 1
    assert results["attribution"]["num_samples"] == 2
    assert results["attribution"]["details"]["roc"][-1] == [1, 1]


def test_the_same_seed_gives_the_same_numbers(folder):
    flags = ["--metrics", "ppl_z_full", "--num_samples", "4", "--perceptual", "effnet"]
    first, again = (run(folder, *flags, *more)["results"]["ppl_z_full"]["values"] for more in ([], ["--overwrite"]))
    assert first == again


def test_sixteen_bits_are_named_in_the_report(folder):
    flags = ["--metrics", "ppl_w_end", "--num_samples", "4", "--perceptual", "effnet"]
    full, half = (run(folder, *flags, "--precision", *more) for more in (["fp32"], ["bf16", "--overwrite"]))
    assert (full["precision"], half["precision"]) == ("fp32", "bf16")
    lengths = [report["results"]["ppl_w_end"]["values"]["ppl_w_end"] for report in (full, half)]
    assert lengths[0] != lengths[1]
    assert np.isfinite(lengths).all()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--metrics", "fd_inception"], "there is no metric 'fd_inception'"),
        (["--num_samples", "0"], "--num_samples must be at least 1"),
        (["--num_real", "0"], "--num_real must be at least 1"),
        (["--seed", "-1"], "--seed must not be negative"),
        (["--out", "metrics.txt"], "--out must be a .json file"),
    ],
)
def test_mistakes_show_before_work_starts(flags, sentence):
    with pytest.raises(UserError, match=sentence):
        parse(EvaluateGenerator, args=flags)


def test_fid_without_its_network_says_what_works(folder, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    with pytest.raises(UserError, match="fd_effnet"):
        run(folder, "--metrics", "fid", "--num_samples", "4")


def test_the_script_runs_as_a_program(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["evaluate_generator.py", "--generator", "nowhere"])
    with pytest.raises(SystemExit) as stop:
        evaluate_generator.run(evaluate_generator.main, EvaluateGenerator)
    assert stop.value.code == 2
    assert "there is no generator 'nowhere'" in capsys.readouterr().err
