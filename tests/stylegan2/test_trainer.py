"""The GAN loop on 16 px random images: what it optimises, and that stopping and resuming changes nothing."""

import json
import random
import shutil
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.loader import stream_batches
from datasets.training_data import MirroredImages
from stylegan2 import load, save_generator
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import read_image
from stylegan2.trainer import train
from stylegan2.training_settings import TrainingSettings
from stylegan2.training_state import build_state, resume, schedule_learning_rate
from tests.training import assert_equal_checkpoints, crash, networks, records, stopping, terminate

BATCH, CPU = 4, torch.device("cpu")
SIZES = {"channel_base": 128, "channel_max": 8}
SETTINGS = {
    "total_nimg": 12 * BATCH,
    "batch_size": BATCH,
    "r1_gamma": 1.0,
    "r1_interval": 4,
    "path_length_interval": 3,
    "ema_nimg": 40,
    "log_interval": BATCH,
    "image_interval": 6 * BATCH,
    "save_interval": 5 * BATCH,
}


def image_batches(workers=0, batch=BATCH):
    pixels = list(np.random.default_rng(0).integers(0, 256, (10, 16, 16, 3), np.uint8))
    return stream_batches(MirroredImages(pixels, mirror=True, seed=0), len(pixels), batch, seed=0, workers=workers)


def run(run_dir, batches=None, nets=None, evaluate=None, **changes):
    settings = TrainingSettings(**{**SETTINGS, **changes})
    G, D, G_ema = nets or networks()
    return train(
        G=G,
        D=D,
        G_ema=G_ema,
        batches=batches or image_batches(),
        run_dir=run_dir,
        settings=settings,
        device=CPU,
        evaluate=evaluate,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(folder, last checkpoint) of a run that nothing interrupted."""
    run_dir = tmp_path_factory.mktemp("uninterrupted")
    torch.manual_seed(0)
    return run_dir, run(run_dir)


# --- resume ---


@pytest.mark.parametrize(("workers", "after"), [(0, 7), (2, 1)])
def test_interrupted_and_resumed_equals_uninterrupted(finished, tmp_path, workers, after):
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, stopping(image_batches(workers), after, terminate))
    assert stopped.value.code == 143
    steps = after + 1  # the signal arrives before a step, which is finished
    assert [path.name for path in tmp_path.glob("checkpoints/*")][-1] == f"network-{steps * BATCH:09d}.safetensors"
    last = run(tmp_path, image_batches(2 - workers))  # any number of workers may go on
    assert_equal_checkpoints(last, finished[1])
    assert records(tmp_path) == records(finished[0])


def test_a_checkpoint_holds_the_whole_state(finished):
    tensors, metadata = checkpoint.read(finished[1])
    G, D, _ = networks()
    for name, module in (("opt_G", G), ("opt_D", D)):
        for parameter, _ in module.named_parameters():
            for key in ("step", "exp_avg", "exp_avg_sq"):
                assert f"{name}.{parameter}.{key}" in tensors
    assert tensors["path_length_mean"] > 0
    assert tensors["opt_G.synthesis.const.step"] == 12 + 4  # a step each, and every third the path length's
    assert tensors["opt_D.out.weight.step"] == 12 + 3
    assert metadata["cur_nimg"] == 12 * BATCH
    assert metadata["settings"]["batch_size"] == BATCH


def test_a_crash_goes_back_to_the_last_checkpoint_and_arrives_at_the_same(finished, tmp_path):
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path, stopping(image_batches(), 8, crash))
    assert [path.name for path in tmp_path.glob("checkpoints/*")] == [f"network-{5 * BATCH:09d}.safetensors"]
    assert records(tmp_path)[-1]["cur_nimg"] == 8 * BATCH  # ahead of the checkpoint; dropped when it resumes
    assert_equal_checkpoints(run(tmp_path), finished[1])
    assert [record["cur_nimg"] for record in records(tmp_path)] == [n * BATCH for n in range(1, 13)]


def test_a_damaged_newest_checkpoint_is_passed_over(finished, tmp_path, capsys):
    run(tmp_path, total_nimg=10 * BATCH)
    newest = tmp_path / "checkpoints" / f"network-{10 * BATCH:09d}.safetensors"
    newest.write_bytes(newest.read_bytes()[:-5000])
    capsys.readouterr()
    last = run(tmp_path)
    printed = capsys.readouterr().out
    assert f"{newest.name}' is damaged" in printed
    assert f"resuming from network-{5 * BATCH:09d}.safetensors at {5 * BATCH}" in printed
    assert_equal_checkpoints(last, finished[1])


def test_a_finished_run_stays_as_it_is(finished):
    before = finished[1].read_bytes()
    assert run(finished[0]) == finished[1]
    assert finished[1].read_bytes() == before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_killed_at_any_moment_and_resumed_equals_uninterrupted(finished, tmp_path):
    code = f"""
import importlib.util, sys, time
from pathlib import Path
from stylegan2.networks.registry import GENERATORS
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
spec = importlib.util.spec_from_file_location("test_trainer", {__file__!r})
test_trainer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(test_trainer)
test_trainer.torch.set_num_threads(1)
print("ready", flush=True)
test_trainer.run(Path({str(tmp_path)!r}), save_interval={BATCH})
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == b"ready\n"
    time.sleep(random.SystemRandom().uniform(0, 1.0))
    process.kill()
    process.communicate(timeout=60)
    last = run(tmp_path, save_interval=BATCH)
    (tensors, _), (expected, _) = checkpoint.read(last), checkpoint.read(finished[1])
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    assert [record["cur_nimg"] for record in records(tmp_path)] == [n * BATCH for n in range(1, 13)]
    assert not list(tmp_path.glob("checkpoints/.*"))  # no half-written file stays


@pytest.mark.parametrize(
    ("nets", "changes", "words"),
    [
        ({"channel_max": 4}, {}, "has another architecture than the one requested"),
        ({"d_architecture": "skip"}, {}, "the checkpoint's 'D' does not fit this Discriminator"),
        ({}, {"grow_from": None, "fade_nimg": 7}, "was trained with fade nimg 600000: keep it"),
    ],
)
def test_a_checkpoint_of_something_else_is_one_sentence(finished, nets, changes, words):
    with pytest.raises(UserError, match=words) as caught:
        run(finished[0], nets=networks(**nets), **changes)
    assert "\n" not in str(caught.value)


def test_the_batch_size_may_change(finished, tmp_path, capsys):
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    last = run(tmp_path, image_batches(batch=8), batch_size=8, batch_gpu=4, total_nimg=16 * BATCH)
    assert "batch_size changed since the checkpoint, so the result will differ from that" in capsys.readouterr().out
    assert checkpoint.read(last)[1]["cur_nimg"] == 16 * BATCH
    assert [record["cur_nimg"] for record in records(tmp_path)][-3:] == [12 * BATCH, 14 * BATCH, 16 * BATCH]


# --- what a run leaves behind ---


def test_metrics_are_monotone_finite_and_complete(finished):
    found = records(finished[0])
    assert [record["cur_nimg"] for record in found] == [n * BATCH for n in range(1, 13)]
    assert all(np.isfinite(list(record.values())).all() for record in found)
    for index, record in enumerate(found):
        assert {"loss/G", "loss/D", "logits/sign_real", "logits/sign_fake"} <= record.keys()
        assert ("loss/r1" in record) == (index % 4 == 0)
        assert ("path_length/penalty" in record) == (index % 3 == 0)


def test_samples_and_checkpoints_are_kept(finished):
    run_dir = finished[0]
    names = [path.name for path in sorted(run_dir.glob("checkpoints/*"))]
    assert names == [f"network-{n * BATCH:09d}.safetensors" for n in (5, 10, 12)]
    samples = sorted(run_dir.glob("samples/*"))
    assert [path.name for path in samples] == [f"{n * BATCH:09d}.png" for n in (6, 12)]
    assert read_image(samples[0]).shape == (8 * 16, 8 * 16, 3)
    assert not np.array_equal(*map(read_image, samples))
    assert list(run_dir.glob("logs/events*"))


def test_the_oldest_checkpoints_go(tmp_path):
    last = run(tmp_path, save_interval=BATCH, keep_checkpoints=2, total_nimg=5 * BATCH)
    assert [path.name[8:-12] for path in sorted(last.parent.glob("*"))] == ["000000016", "000000020"]


def test_the_generator_that_loads_is_the_average(finished):
    generator, metadata = load(finished[0])
    tensors, _ = checkpoint.read(finished[1])
    assert metadata["cur_nimg"] == 12 * BATCH
    for name, value in generator.state_dict().items():
        assert torch.equal(value, tensors[f"G_ema.{name}"])
    assert torch.equal(tensors["G_ema.mapping.w_avg"], tensors["G.mapping.w_avg"])
    assert not torch.equal(tensors["G_ema.synthesis.const"], tensors["G.synthesis.const"])


def test_resuming_takes_the_learning_rate_that_is_asked_for(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    G, D, G_ema = networks()
    settings = TrainingSettings(**SETTINGS, learning_rate=1e-4)
    state = build_state(G, D, G_ema, settings)
    expected = [optimizer.param_groups[0]["lr"] for optimizer in (state.opt_G, state.opt_D)]
    assert resume(state, tmp_path, settings) == tmp_path / "checkpoints" / finished[1].name
    schedule_learning_rate(state, settings)
    assert [optimizer.param_groups[0]["lr"] for optimizer in (state.opt_G, state.opt_D)] == expected
    assert state.opt_G.state[G.synthesis.const]["step"] == 12 + 4


@pytest.mark.parametrize("metadata", [{}, {"cur_nimg": 48, "settings": {"batch_size": BATCH}}])
def test_an_exported_generator_cannot_go_on(tmp_path, metadata):
    save_generator(tmp_path / "checkpoints" / "mine.safetensors", networks()[0], metadata)
    with pytest.raises(
        UserError, match="mine.safetensors' contains a model but not the state of this training"
    ) as caught:
        run(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_the_best_snapshot_is_kept(tmp_path):
    values, seen = iter([3.0, 1.0, 2.0, 0.5]), []

    def evaluate(G_ema):
        seen.append(G_ema)
        return {"distance": next(values), "other": -9.0}

    nets = networks()
    run(tmp_path, nets=nets, evaluate=evaluate, metrics_interval=4 * BATCH)
    assert seen == [nets[2]] * 3
    assert checkpoint.read(tmp_path / "checkpoints" / "best_model.safetensors")[1]["cur_nimg"] == 8 * BATCH
    run(tmp_path, evaluate=evaluate, metrics_interval=4 * BATCH, total_nimg=16 * BATCH)  # knows the best after a resume
    _, metadata = checkpoint.read(tmp_path / "checkpoints" / "best_model.safetensors")
    assert (metadata["cur_nimg"], metadata["best_metric"]) == (16 * BATCH, 0.5)
    found = [record["metrics/distance"] for record in records(tmp_path) if "metrics/distance" in record]
    assert found == [3.0, 1.0, 2.0, 0.5]


def test_time_spent_waiting_for_data_is_logged(tmp_path):
    def slow(start):
        for batch in image_batches()(start):
            time.sleep(0.2)
            yield batch

    run(tmp_path, slow, total_nimg=3 * BATCH)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(0 < line["speed/waiting_for_data"] < 1 for line in lines)
    assert max(line["speed/waiting_for_data"] for line in lines) > 0.1  # a busy machine has slow steps too


def test_stylegan2_losses(golden, tmp_path):
    run(tmp_path, total_nimg=20 * BATCH, r1_interval=1, path_length_interval=1)
    names = ("loss/G", "loss/D", "loss/r1", "path_length/length", "path_length/penalty")
    found = records(tmp_path)
    golden({name: [record[name] for record in found] for name in names}, rtol=1e-4)


# --- settings ---


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"save_interval": 0}, "save_interval must be at least 1"),
        ({"max_nonfinite_steps": 0}, "max_nonfinite_steps must be at least 1, not 0"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"r1_interval": -1}, "r1_interval must not be negative, but is -1"),
        ({"path_length_interval": -2}, "path_length_interval must not be negative"),
        ({"seed": -1}, "seed must not be negative"),
    ],
)
def test_impossible_settings_are_refused(change, words):
    with pytest.raises(UserError, match=words):
        TrainingSettings(**change)


def test_regularization_can_be_turned_off(tmp_path):
    run(tmp_path, r1_interval=0, path_length_interval=0, style_mixing=0.0, total_nimg=2 * BATCH)
    first, second = records(tmp_path)
    assert first.keys().isdisjoint({"loss/r1", "path_length/length"})
    assert second.keys() == first.keys()


def test_batches_are_the_streams_from_where_a_run_stands():
    whole = list(islice(image_batches()(0), 6))
    later = list(islice(image_batches()(3 * BATCH), 3))
    assert all(torch.equal(a, b) for a, b in zip(whole[3:], later, strict=True))
