"""Training an encoder on a GPU: steps that wait for nothing, resume, 16-bit numbers, and the optimizer's arithmetic."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from psp.encoders import ENCODERS
from psp.evaluation.metrics import Metrics
from psp.loading import model_metadata
from psp.losses import WeightedLosses
from psp.losses.delta_norm import DeltaNorm
from psp.losses.l2 import L2
from psp.losses.w_norm import WNorm
from psp.model import PSp
from psp.optimizers import Ranger
from psp.trainer import step, train
from psp.training_settings import TrainingSettings
from psp.training_state import buffers_of_step, build_state, schedule
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime import checkpoint
from stylegan2.runtime.device import place, set_deterministic
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.randomness import seed_step
from stylegan2.runtime.stats import Averages

HEADS = {"widths": (16, 16, 32, 32), "units": (1, 1, 1, 1), "head_width": 16}
TYPES = {
    "light": {},
    "e4e": HEADS,
    "restyle": {**HEADS, "iterations": 2},
    "w_plus_naive": {k: HEADS[k] for k in HEADS if k != "head_width"},
}
SETTINGS = TrainingSettings(
    max_steps=3,
    batch_size=4,
    test_batch_size=4,
    learning_rate=1e-3,
    progressive_start=1,
    progressive_step_every=1,
    w_pool_size=6,
    precision="fp32",
    board_interval=1,
    image_interval=3,
    val_interval=3,
    save_interval=100,
)


def tiny_model(name):
    torch.manual_seed(0)
    generator = GENERATORS.build(
        "stylegan2", 32, z_dim=16, w_dim=16, channel_base=512, channel_max=16, mapping_layers=2
    )
    return PSp(ENCODERS.build(name, num_ws=8, w_dim=16, input_size=32, **TYPES[name]), generator)


def losses():
    return WeightedLosses({"w_norm": (WNorm(), 0.005), "delta_norm": (DeltaNorm(), 2e-4), "l2": (L2(), 1.0)})


def batch(number):
    draw = torch.Generator().manual_seed(number)
    source = torch.rand(4, 3, 32, 32, generator=draw) * 2 - 1
    return source, source


def batches(position):
    while True:
        yield batch(position)
        position += 4


def run(run_dir, name, device, settings=SETTINGS):
    model = tiny_model(name)
    return train(
        model=model,
        losses=losses(),
        batches=batches,
        held_out=[batch(10**6)],
        metrics=Metrics(L2(), L2()),
        show_source=lambda x: x,
        description={"task": "inversion", **model_metadata(model)},
        run_dir=run_dir,
        settings=settings,
        device=device,
    )


@pytest.mark.parametrize("name", TYPES)
def test_it_trains_and_goes_on_where_it_stopped(device, tmp_path, name):
    settings = replace(SETTINGS, max_steps=6)
    whole = checkpoint.read(run(tmp_path / "whole", name, device, settings))[0]
    again = checkpoint.read(run(tmp_path / "again", name, device, settings))[0]
    run(tmp_path / "parts", name, device)
    parts = checkpoint.read(run(tmp_path / "parts", name, device, settings))[0]
    assert parts.keys() == whole.keys()
    for key, value in whole.items():
        spread = (again[key].double() - value.double()).abs().max() if value.numel() else 0  # of two equal runs
        if value.numel():
            allowed = 10 * spread + 2e-3 * value.double().abs().max() + 1e-5
            assert (parts[key].double() - value.double()).abs().max() <= allowed, key


@pytest.fixture(autouse=True)
def _not_deterministic():
    yield
    set_deterministic(False)


@pytest.mark.parametrize(("name", "precision"), [("light", "bf16"), *((name, "fp32") for name in TYPES)])
def test_a_resumed_training_is_the_uninterrupted_one_bit_for_bit(device, tmp_path, name, precision):
    settings = replace(SETTINGS, max_steps=6, deterministic=True, precision=precision)
    whole = checkpoint.read(run(tmp_path / "whole", name, device, settings))[0]
    run(tmp_path / "parts", name, device, replace(settings, max_steps=3))
    parts = checkpoint.read(run(tmp_path / "parts", name, device, settings))[0]
    assert [key for key, value in parts.items() if not torch.equal(value, whole[key])] == []


@pytest.mark.parametrize("name", ["light", "e4e", "restyle"])
def test_a_run_goes_on_on_the_other_device(device, tmp_path, name):
    run(tmp_path, name, device)
    last = run(tmp_path, name, torch.device("cpu"), replace(SETTINGS, max_steps=5))
    last = run(tmp_path, name, device, replace(SETTINGS, max_steps=7))
    tensors, metadata = checkpoint.read(last)
    assert metadata["cur_step"] == 7
    assert all(tensor.isfinite().all() for tensor in tensors.values() if tensor.is_floating_point())


def steps(name, device, count, settings, precision="fp32", bad=()):
    """(state, averages, guard) after so many steps; in each after the second, waiting for the device is an error."""
    model, terms = tiny_model(name), losses()
    place(model, device)
    state = build_state(model, settings)
    guard, averages = Guard(9, buffers_of_step(state), device=device), Averages()
    pairs = [tuple(x.to(device) for x in batch(number)) for number in range(count)]
    for number, (source, target) in enumerate(pairs):
        if number in bad:
            source = source * math.nan
        seed_step(settings.seed, 0, number)
        schedule(state, settings)
        torch.cuda.synchronize(device)
        torch.cuda.set_sync_debug_mode("error" if number >= 2 and device.type == "cuda" else "default")
        try:
            with guard.step():
                step(
                    state, source, target, losses=terms, settings=settings, guard=guard, averages=averages,
                    precision=precision,
                )  # fmt: skip
        finally:
            torch.cuda.set_sync_debug_mode("default")
    if isinstance(state.optimizer, Ranger):
        state.optimizer.settle()
    return state, averages, guard


@pytest.mark.parametrize("optim_name", ["ranger", "adam"])
@pytest.mark.parametrize("changes", [{}, {"accumulate": 2}, {"generated_share": 0.5}], ids=str)
@pytest.mark.parametrize("name", ["light", "e4e", "restyle"])
def test_a_step_waits_for_nothing(device, name, optim_name, changes):
    settings = replace(SETTINGS, optim_name=optim_name, **changes)
    state, averages, guard = steps(name, device, 8, settings)  # Ranger looks ahead in the sixth
    assert guard.pop() == 0
    assert all(math.isfinite(value) for value in averages.pop().values())
    assert all(p.isfinite().all() for p in state.model.parameters())


@pytest.mark.parametrize("precision", ["bf16", "fp16", "tf32"])
@pytest.mark.parametrize("name", ["light", "e4e", "restyle"])
def test_steps_in_16_bit_numbers_are_finite_and_near(device, name, precision):
    expected = steps(name, device, 3, SETTINGS)[1].pop()
    state, averages, guard = steps(name, device, 3, SETTINGS, precision)
    assert guard.pop() == 0
    assert {p.dtype for p in state.model.parameters()} == {torch.float32}
    assert all(p.isfinite().all() for p in state.model.parameters())
    losses = averages.pop()
    for term in ("train/loss", "train/loss_l2", "train/loss_w_norm"):
        assert losses[term] == pytest.approx(expected[term], rel=0.1), term


@pytest.mark.parametrize("optim_name", ["ranger", "adam"])
def test_a_step_that_is_not_finite_changes_nothing(device, optim_name):
    settings = replace(SETTINGS, optim_name=optim_name)
    before, *_ = steps("e4e", device, 3, settings)
    after, averages, guard = steps("e4e", device, 4, settings, bad=(3,))
    assert guard.pop() == 1
    assert all(math.isfinite(value) for value in averages.pop().values())
    for name, value in before.model.state_dict().items():
        torch.testing.assert_close(after.model.state_dict()[name], value, rtol=1e-3, atol=1e-4, msg=name)
    counts = [{float(values["step"]) for values in state.optimizer.state.values()} for state in (before, after)]
    assert counts[0] == counts[1] - {0.0}  # Adam starts the state of a delta whose turn has come


def test_ranger_computes_what_it_computes_on_a_cpu(device):
    torch.manual_seed(0)
    shapes = [(5,), (4, 3), (8, 2, 3, 3), (300, 40)]
    own = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    placed = [torch.nn.Parameter(copy.deepcopy(p.detach()).to(device)) for p in own]
    optimizers = Ranger(own, lr=0.03), Ranger(placed, lr=0.03)
    for number in range(24):
        bad = number in (3, 11, 12, 17)
        for p, q in zip(own, placed, strict=True):
            p.grad = torch.randn_like(p) * (math.nan if bad else 1)
            q.grad = p.grad.to(device)
        for optimizer, at in zip(optimizers, (torch.device("cpu"), device), strict=True):
            optimizer.found_inf = torch.tensor(float(bad), device=at)
            optimizer.step()
    optimizers[1].settle()
    for p, q in zip(own, placed, strict=True):
        torch.testing.assert_close(q.detach().cpu(), p.detach(), rtol=1e-5, atol=1e-5)
        assert optimizers[0].state[p]["step"] == optimizers[1].state[q]["step"] == 20
