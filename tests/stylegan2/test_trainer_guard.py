"""The GAN loop where a number is NaN or infinite: nothing of the step stays, and good checkpoints are safe."""

import math

import pytest
import torch

from stylegan2 import losses, trainer
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.stats import Averages
from stylegan2.trainer import train
from stylegan2.training_settings import TrainingSettings
from stylegan2.training_state import build_state
from stylegan2.training_step import step
from tests.training import difference, networks, records

BATCH = 4
SETTINGS = {
    "total_nimg": 8 * BATCH,
    "batch_size": BATCH,
    "r1_gamma": 1.0,
    "r1_interval": 1,
    "path_length_interval": 1,
    "log_interval": BATCH,
    "image_interval": 1000 * BATCH,
    "save_interval": 2 * BATCH,
    "max_nonfinite_steps": 3,
}


def stream(bad=()):
    """Images that depend on their position alone; those of the steps `bad` have a NaN."""

    def batches(cur_nimg):
        number = cur_nimg // BATCH
        while True:
            real = torch.rand(BATCH, 3, 16, 16, generator=torch.Generator().manual_seed(number)) * 2 - 1
            if number in bad:
                real[1, 2, 3, 4] = math.nan
            yield real
            number += 1

    return batches


def run(run_dir, bad=(), **changes):
    settings = TrainingSettings(**{**SETTINGS, **changes})
    G, D, G_ema = networks()
    return train(
        G=G,
        D=D,
        G_ema=G_ema,
        batches=stream(bad),
        run_dir=run_dir,
        settings=settings,
        device=torch.device("cpu"),
    )


def everything(state):
    """Copies of all tensors that a step may change."""
    found = {f"{n}.{k}": v for n in ("G", "D", "G_ema") for k, v in getattr(state, n).state_dict().items()}
    for name in ("opt_G", "opt_D"):
        optimizer = getattr(state, name)
        for number, parameter in enumerate(optimizer.param_groups[0]["params"]):
            found |= {f"{name}.{number}.{k}": v for k, v in optimizer.state[parameter].items()}
    return {k: v.clone() for k, v in (found | {"path_length_mean": state.path_length_mean}).items()}


# --- one step ---


@pytest.fixture
def prepared():
    """(state after a good step, settings)"""
    settings = TrainingSettings(**SETTINGS)
    state = build_state(*networks(), settings)
    step(state, next(stream()(0)), settings=settings, r1_gamma=1.0, averages=Averages(), guard=Guard(9))
    return state, settings


BROKEN = {"logistic_d": "loss_D", "r1": "r1", "logistic_g": "loss_G", "path_lengths": "path_length"}
MOVED = {
    "loss_D": set(),
    "r1": {"D", "opt_D"},
    "loss_G": {"D", "opt_D"},
    "path_length": {"D", "opt_D", "G", "opt_G"},
}


def guarded_step(state, settings, averages):
    """A step with images of the position; its guard."""
    guard = Guard(9, [state.G.w_avg, state.path_length_mean])
    with guard.step():
        step(state, next(stream()(BATCH)), settings=settings, r1_gamma=1.0, averages=averages, guard=guard)
    return guard


@pytest.mark.parametrize("name", BROKEN)
def test_the_term_is_named_and_nothing_moves_from_there_on(prepared, monkeypatch, capsys, name):
    state, settings = prepared
    intact = getattr(losses, name)

    def broken(*args):
        return intact(*args) * math.inf

    monkeypatch.setattr(losses, name, broken)
    for table in (losses.D_LOSSES, losses.G_LOSSES):
        if table["logistic"] is intact:
            monkeypatch.setitem(table, "logistic", broken)
    before, averages = everything(state), Averages()
    guard = guarded_step(state, settings, averages)
    assert f"a step was skipped: {BROKEN[name]} was NaN or infinite" in capsys.readouterr().out
    assert guard.found_inf == 1
    assert {key.split(".")[0] for key in difference(before, everything(state))} == MOVED[BROKEN[name]]
    assert averages.pop() == {}
    assert state.cur_nimg == 2 * BATCH
    assert all(parameter.requires_grad for parameter in state.D.parameters())


def test_a_gradient_is_named(prepared, capsys):
    state, settings = prepared
    state.G.synthesis.const.register_hook(lambda grad: grad * math.nan)
    guarded_step(state, settings, Averages())
    assert "a step was skipped: the gradient of loss_G was NaN or infinite" in capsys.readouterr().out


def test_what_ada_saw_in_a_skipped_step_does_not_count(prepared, monkeypatch):
    state, _ = prepared
    settings = TrainingSettings(**SETTINGS, augment="b")
    guarded_step(state, settings, Averages())
    assert (float(state.control.shown), state.control.batches) == (BATCH, 1)
    signs = float(state.control.sign_sum)
    monkeypatch.setattr(losses, "r1", lambda logits, images: logits[:, 0] * math.nan)
    guarded_step(state, settings, Averages())
    assert (float(state.control.shown), float(state.control.sign_sum)) == (BATCH, signs)


# --- a run ---


def test_a_step_with_bad_data_changes_nothing(tmp_path):
    run(tmp_path / "skipped", bad=[2], total_nimg=3 * BATCH, save_interval=BATCH)
    (tensors, metadata), (before, _) = (
        checkpoint.read(tmp_path / "skipped" / "checkpoints" / f"network-{n * BATCH:09d}.safetensors") for n in (3, 2)
    )
    assert difference(before, tensors) == set()
    assert metadata["cur_nimg"] == 3 * BATCH


def test_means_are_as_before_where_the_path_length_is_bad(tmp_path, monkeypatch):
    intact = losses.path_lengths
    calls = iter([1.0, 1.0, math.inf])
    monkeypatch.setattr(losses, "path_lengths", lambda *args: intact(*args) * next(calls))
    run(tmp_path, total_nimg=3 * BATCH, save_interval=BATCH)
    (tensors, _), (before, _) = (
        checkpoint.read(tmp_path / "checkpoints" / f"network-{n * BATCH:09d}.safetensors") for n in (3, 2)
    )
    changed = {name.split(".")[0] for name in difference(before, tensors)}
    assert changed == {"D", "opt_D", "G", "opt_G"}  # their own losses were good; the moving average of G waits
    assert torch.equal(tensors["G.mapping.w_avg"], before["G.mapping.w_avg"])


def test_training_goes_on_after_it_and_counts_it(tmp_path):
    last = run(tmp_path, bad=[2, 5])
    found = records(tmp_path)
    assert [record["train/skipped_steps"] for record in found] == [0, 0, 1, 0, 0, 1, 0, 0]
    assert ["loss/G" in record for record in found] == [True, True, False, True, True, False, True, True]
    assert all(math.isfinite(value) for record in found for value in record.values())
    tensors, metadata = checkpoint.read(last)
    assert metadata["cur_nimg"] == 8 * BATCH
    assert tensors["opt_G.synthesis.const.step"] == 2 * 6  # with the path length's, which is due in every step
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_resuming_is_exact_with_skipped_steps(tmp_path):
    whole = run(tmp_path / "whole", bad=[3, 4])
    run(tmp_path / "parts", bad=[3, 4], total_nimg=4 * BATCH)  # ends between the two
    last = run(tmp_path / "parts", bad=[3, 4])
    assert difference(checkpoint.read(whole)[0], checkpoint.read(last)[0]) == set()


def test_too_many_end_it_and_good_checkpoints_stay(tmp_path):
    with pytest.raises(UserError, match="because loss_D was NaN or infinite in 5 steps in a row") as caught:
        run(tmp_path, bad=range(3, 100), keep_checkpoints=1, max_nonfinite_steps=5)
    (good,) = tmp_path.glob("checkpoints/*")
    assert good.name == f"network-{2 * BATCH:09d}.safetensors"  # of the steps 4, 6 and 8 nothing is written
    assert f"resumes from the last good checkpoint, {str(good)!r}" in str(caught.value)
    before = good.read_bytes()
    last = run(tmp_path, keep_checkpoints=9)  # the data are mended
    assert good.read_bytes() == before
    tensors, _ = checkpoint.read(last)
    assert tensors["opt_D.out.weight.step"] == 8 * 2


def test_a_checkpoint_that_is_due_is_written_after_the_next_good_step(tmp_path):
    run(tmp_path, bad=[3], keep_checkpoints=9)
    numbers = [int(path.stem[8:]) // BATCH for path in sorted(tmp_path.glob("checkpoints/*"))]
    assert numbers == [2, 5, 6, 8]


def test_a_state_that_may_be_bad_takes_no_good_ones_place(tmp_path):
    run(tmp_path, bad=[7], keep_checkpoints=1)
    numbers = [int(path.stem[8:]) // BATCH for path in sorted(tmp_path.glob("checkpoints/*"))]
    assert numbers == [6, 8]


def test_a_learning_rate_that_explodes_ends_it(tmp_path):
    with pytest.raises(UserError, match=r"was NaN or infinite in 3 steps in a row: lower learning_rate"):
        run(tmp_path, learning_rate=1e30, total_nimg=100 * BATCH)


def test_a_batch_that_does_not_fit_says_which_one_to_try(tmp_path, monkeypatch):
    run(tmp_path, total_nimg=2 * BATCH)

    def starving(*_, **__):
        torch.empty(2**60)

    monkeypatch.setattr(trainer, "step", starving)
    with pytest.raises(UserError, match="too little memory for 4 images at a time: use a batch_size below 4"):
        run(tmp_path)
    assert checkpoint.newest(tmp_path) is not None  # the state before it is there to go on from
