"""The encoder loop where a number is NaN or infinite: nothing of the step stays, and good checkpoints are safe."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from psp.encoders import ENCODERS
from psp.evaluation.metrics import Metrics
from psp.loading import model_metadata
from psp.losses import WeightedLosses
from psp.losses.l2 import L2
from psp.losses.w_norm import WNorm
from psp.model import PSp
from psp.trainer import step, train
from psp.training_settings import TrainingSettings
from psp.training_state import buffers_of_step, build_state
from stylegan2 import losses as gan_losses
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.stats import Averages
from tests.training import difference, step_records

HEADS = {"widths": (16, 16, 16, 16), "units": (1, 1, 1, 1), "head_width": 8}
TYPES = {"gradual": HEADS, "e4e": HEADS, "restyle": {**HEADS, "iterations": 2}}
SETTINGS = TrainingSettings(
    max_steps=8,
    batch_size=2,
    test_batch_size=2,
    learning_rate=1e-3,
    w_pool_size=3,
    board_interval=1,
    image_interval=100,
    val_interval=8,
    save_interval=2,
    max_nonfinite_steps=3,
)


class Identity(nn.Module):
    """0.1 on finite pixels; otherwise NaN, for all samples."""

    name = "id_pixels"
    inputs = ("output", "target")

    def forward(self, output, target):
        return (output - output.detach()).mean([1, 2, 3]) + 0.1 + 0 * target.sum()  # [N]


def losses():
    return WeightedLosses({"w_norm": (WNorm(), 0.005), "id_pixels": (Identity(), 0.1), "l2": (L2(), 1.0)})


def tiny_model(name="gradual"):
    torch.manual_seed(0)
    generator = GENERATORS.build("stylegan2", 16, z_dim=8, w_dim=8, channel_base=128, channel_max=8, mapping_layers=2)
    return PSp(ENCODERS.build(name, num_ws=6, w_dim=8, input_size=32, **TYPES[name]), generator)


def batch(number, bad=None):
    """(source, target) that depend on the number alone; `bad` says which of them has a NaN."""
    draw = torch.Generator().manual_seed(number)
    source = torch.rand(2, 3, 32, 32, generator=draw) * 2 - 1
    target = nn.functional.avg_pool2d(source, 2)
    if bad is not None:
        (source if bad == "source" else target)[0, 1, 2, 3] = math.nan
    return source, target


def stream(bad):
    def batches(position):
        number = position // SETTINGS.batch_size
        while True:
            yield batch(number, "source" if number in bad else None)
            number += 1

    return batches


def run(run_dir, bad=(), name="gradual", **changes):
    model, settings = tiny_model(name), replace(SETTINGS, **changes)
    description = {"task": "inversion", **model_metadata(model)}
    return train(
        model=model,
        losses=losses(),
        batches=stream(bad),
        held_out=[batch(10**6)],
        metrics=Metrics(L2(), L2()),
        show_source=lambda x: x,
        description=description,
        run_dir=run_dir,
        settings=settings,
        device=torch.device("cpu"),
    )


def everything(state):
    """Copies of all tensors that a step may change."""
    found, optimizers = {f"model.{k}": v for k, v in state.model.state_dict().items()}, [state.optimizer]
    if state.adversary is not None:
        optimizers.append(state.adversary.optimizer)
        for part in ("network", "real_pool", "fake_pool"):
            found |= {f"{part}.{k}": v for k, v in getattr(state.adversary, part).state_dict().items()}
    for n, optimizer in enumerate(optimizers):
        for p, parameter in enumerate(optimizer.param_groups[0]["params"]):
            found |= {f"{n}.{p}.{k}": torch.as_tensor(v) for k, v in optimizer.state[parameter].items()}
    return {k: v.clone() for k, v in found.items()}


def guarded_step(state, pair, averages):
    guard = Guard(9, buffers_of_step(state))
    with guard.step():
        step(state, *pair, losses=losses(), settings=SETTINGS, guard=guard, averages=averages)
    return guard.pop()


# --- one step ---


@pytest.mark.parametrize(("bad", "term"), [("source", "loss_w_norm"), ("target", "loss_id_pixels")])
@pytest.mark.parametrize("name", TYPES)
def test_a_skipped_step_changes_nothing(capsys, name, bad, term):
    state, averages = build_state(tiny_model(name), SETTINGS), Averages()
    assert guarded_step(state, batch(0), averages) == 0
    before, means = everything(state), averages.pop()
    assert guarded_step(state, batch(1, bad), averages) == 1
    assert difference(before, everything(state)) == set()
    assert averages.pop() == {}
    assert state.cur_step == 2
    assert f"{term} was NaN or infinite" in capsys.readouterr().out
    assert guarded_step(state, batch(2), averages) == 0
    assert {key for key in difference(before, everything(state)) if key.endswith("running_mean")}
    assert averages.pop().keys() == means.keys() - {"train/loss_w_discriminator_r1"}


def test_a_gradient_is_named(capsys):
    state = build_state(tiny_model(), SETTINGS)
    next(state.model.encoder.parameters()).register_hook(lambda grad: grad * math.inf)
    before = everything(state)
    assert guarded_step(state, batch(0), Averages()) == 1
    assert difference(before, everything(state)) == set()
    assert "the gradient of loss was NaN or infinite" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "term"), [("logistic_d", "loss_w_discriminator_d"), ("logistic_g", "loss_w_discri")])
def test_the_latent_discriminator_and_its_pools_are_guarded(monkeypatch, capsys, name, term):
    state = build_state(tiny_model("e4e"), SETTINGS)
    guarded_step(state, batch(0), Averages())
    intact, before = getattr(gan_losses, name), everything(state)
    monkeypatch.setattr(gan_losses, name, lambda *logits: intact(*logits) * math.nan)
    assert guarded_step(state, batch(1), Averages()) == 1
    changed = difference(before, everything(state))
    assert not {key for key in changed if key.startswith(("network", "real_pool", "fake_pool", "1."))}
    assert bool(changed) == (name == "logistic_d")  # the encoder's own step came before and was good
    assert f"{term}" in capsys.readouterr().out


# --- a run ---


def test_training_goes_on_after_it_and_counts_it(tmp_path):
    last = run(tmp_path, bad=[2, 5])
    found = step_records(tmp_path)
    assert [record["train/skipped_steps"] for record in found] == [0, 0, 1, 0, 0, 1, 0, 0]
    assert ["train/loss" in record for record in found] == [True, True, False, True, True, False, True, True]
    assert all(math.isfinite(value) for record in found for value in record.values())
    tensors, metadata = checkpoint.read(last)
    assert metadata["cur_step"] == 8
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert tensors["encoder.input_layer.1.num_batches_tracked"] == 6


@pytest.mark.parametrize("name", ["gradual", "e4e"])
def test_resuming_is_exact_with_skipped_steps(tmp_path, name):
    whole = run(tmp_path / "whole", bad=[3, 4], name=name)
    run(tmp_path / "parts", bad=[3, 4], name=name, max_steps=4)  # ends between the two
    last = run(tmp_path / "parts", bad=[3, 4], name=name)
    assert difference(checkpoint.read(whole)[0], checkpoint.read(last)[0]) == set()


def test_too_many_end_it_and_good_checkpoints_stay(tmp_path):
    with pytest.raises(UserError, match="because loss_w_norm was NaN or infinite in 4 steps in a row") as caught:
        run(tmp_path, bad=range(3, 100), keep_checkpoints=1, max_nonfinite_steps=4)
    (good,) = tmp_path.glob("checkpoints/*")
    assert good.name == "iteration-000000002.safetensors"  # of the steps 4 and 6 nothing is written
    assert f"resumes from the last good checkpoint, {str(good)!r}" in str(caught.value)
    assert "\n" not in str(caught.value)
    before = good.read_bytes()
    last = run(tmp_path, keep_checkpoints=9)  # the data are mended
    assert good.read_bytes() == before
    assert checkpoint.read(last)[0]["encoder.input_layer.1.num_batches_tracked"] == 8


def test_checkpoints_wait_for_a_good_step_and_never_cost_a_good_one(tmp_path):
    run(tmp_path, bad=[3, 7], keep_checkpoints=2)
    numbers = [int(path.stem[10:]) for path in sorted(tmp_path.glob("checkpoints/iteration-*"))]
    assert numbers == [5, 6, 8]
