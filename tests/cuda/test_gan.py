"""GAN training on a GPU: it resumes, waits for nothing within a step, and computes what the CPU computes."""

import copy
import json
import math
from dataclasses import replace

import pytest
import torch

from stylegan2.networks.precision import set_precision
from stylegan2.networks.registry import DISCRIMINATORS, GENERATORS
from stylegan2.runtime import checkpoint
from stylegan2.runtime.device import place, set_deterministic
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.randomness import seed_step
from stylegan2.runtime.stats import Averages
from stylegan2.trainer import train
from stylegan2.training_settings import TrainingSettings
from stylegan2.training_state import build_state
from stylegan2.training_step import step

BATCH, SIZE = 4, 32
SIZES = {"img_resolution": SIZE, "z_dim": 16, "w_dim": 16, "mapping_layers": 2, "channel_base": 512, "channel_max": 32}
GROWING = {"grow_from": 16, "stable_nimg": 4, "fade_nimg": 8, "lazy_r1": False, "path_length_interval": 0}
LAZY = {"r1_interval": 2, "path_length_interval": 2}
SYSTEMS = {
    "pggan": ("pggan", {**GROWING, "loss": "wgan", "style_mixing": 0.0}),
    "stylegan": ("stylegan", GROWING),
    "stylegan2": ("stylegan2", LAZY),
    "augmented": ("stylegan2", {**LAZY, "augment": "bgc", "ada_nimg": 16, "ada_target": -1.1}),
}
BASE = {"batch_size": BATCH, "ema_nimg": 40, "log_interval": BATCH, "image_interval": 1000, "r1_gamma": 1.0}


def networks(system):
    torch.manual_seed(0)
    arch = SYSTEMS[system][0]
    G, G_ema = (GENERATORS.build_from(arch, SIZES) for _ in range(2))
    return G, DISCRIMINATORS.build_from(arch, SIZES), G_ema


def batches(cur_nimg):
    """Images that depend on their position alone."""
    for number in range(cur_nimg // BATCH, 1000):
        generator = torch.Generator().manual_seed(number)
        yield (torch.rand(BATCH, 3, SIZE, SIZE, generator=generator) * 2 - 1).pin_memory()


def run(system, run_dir, steps, device, **changes):
    """The last checkpoint of a training of so many steps."""
    settings = TrainingSettings(**{**BASE, **SYSTEMS[system][1], "total_nimg": steps * BATCH, **changes})
    G, D, G_ema = networks(system)
    last = train(G=G, D=D, G_ema=G_ema, batches=batches, run_dir=run_dir, settings=settings, device=device)
    return checkpoint.read(last)


def prepared(system, device, precision=torch.float32, **changes):
    """(state, settings, guard) on the GPU, before the first step."""
    settings = TrainingSettings(**{**BASE, **SYSTEMS[system][1], **changes})
    nets = networks(system)
    for module in nets:
        place(module, device)
        set_precision(module, precision)
    state = build_state(*nets, settings)
    state.control = replace(state.control, p=0.5)  # without it nothing is augmented in the first steps
    return state, settings, Guard(9, [state.G.w_avg, state.path_length_mean], device=device)


def steps(prepared, count, device, averages):
    state, settings, guard = prepared
    stream = batches(0)
    for _ in range(count):
        seed_step(0, 0, state.cur_nimg)
        real = next(stream).to(device, non_blocking=True)
        with guard.step():
            step(state, real, settings=settings, r1_gamma=1.0, averages=averages, guard=guard)


@pytest.fixture(autouse=True)
def _not_deterministic():
    yield
    set_deterministic(False)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_resumed_training_is_the_uninterrupted_one_bit_for_bit(device, tmp_path, system):
    whole, _ = run(system, tmp_path / "whole", 4, device, deterministic=True)
    run(system, tmp_path / "parts", 2, device, deterministic=True)
    parts, metadata = run(system, tmp_path / "parts", 4, device, deterministic=True)
    assert metadata["cur_nimg"] == 4 * BATCH
    assert [name for name, value in parts.items() if not torch.equal(value, whole[name])] == []
    records = [json.loads(line) for line in (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()]
    assert [record["train/skipped_steps"] for record in records] == [0] * 4
    assert all(math.isfinite(value) for record in records for value in record.values())
    assert all(record["speed/peak_memory_mb"] > 0 for record in records)


@pytest.mark.parametrize(
    ("system", "precision"),
    [*((system, torch.float16) for system in SYSTEMS), ("stylegan2", torch.float32), ("stylegan2", torch.bfloat16)],
)
def test_a_step_waits_for_nothing_and_is_finite(device, system, precision):
    ready, averages = prepared(system, device, precision), Averages()
    steps(ready, 2, device, Averages())  # searches kernels, fills caches, and has phases of all kinds
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        steps(ready, 2, device, averages)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    state, _, guard = ready
    guard.look()
    assert guard.pop() == 0
    assert all(math.isfinite(value) for value in averages.pop().values())
    for module in (state.G, state.D, state.G_ema):
        assert all(value.isfinite().all() for value in module.state_dict().values())


def test_a_bad_step_changes_nothing(device):
    ready = state, settings, guard = prepared("augmented", device)
    steps(ready, 1, device, Averages())
    before = copy.deepcopy([state.G.state_dict(), state.D.state_dict(), state.G_ema.state_dict()])
    moments = copy.deepcopy([state.opt_G.state_dict(), state.opt_D.state_dict()])
    averages, mean = Averages(), state.path_length_mean.clone()
    with guard.step():
        real = torch.full((BATCH, 3, SIZE, SIZE), math.nan, device=device)
        step(state, real, settings=settings, r1_gamma=1.0, averages=averages, guard=guard)
    assert guard.failing
    assert guard.pop() == 1
    assert averages.pop() == {}
    assert torch.equal(state.path_length_mean, mean)
    for module, values in zip((state.G, state.D, state.G_ema), before, strict=True):
        assert all(torch.equal(value, values[name]) for name, value in module.state_dict().items())
    for optimizer, values in zip((state.opt_G, state.opt_D), moments, strict=True):
        for number, kept in values["state"].items():
            now = optimizer.state_dict()["state"][number]
            assert all(torch.equal(now[key], value) for key, value in kept.items())


def test_rounds_are_as_one_batch(device):
    """One step of Adam moves by the sign of a gradient, so what is compared is where its moments are."""
    moments = []
    for batch_gpu in (None, 2):
        state, settings, guard = prepared("stylegan2", device, batch_gpu=batch_gpu)
        state.D.mbstd_group = 2
        steps((state, settings, guard), 1, device, Averages())
        moments.append([value["exp_avg"] for value in state.opt_D.state.values()])
    largest = max(float(value.abs().max()) for value in moments[0])
    for at_once, in_rounds in zip(*moments, strict=True):
        assert (at_once - in_rounds).abs().max() < 1e-4 * largest


@pytest.mark.parametrize("system", SYSTEMS)
def test_networks_agree_with_the_cpu(device, system):
    """Without TF32, after their weights have moved from the singular start."""
    G, D, _ = networks(system)
    with torch.no_grad():
        for parameter in (*G.parameters(), *D.parameters()):
            if parameter.ndim < 2:
                parameter.add_(0.1 * torch.randn_like(parameter))
        z = torch.randn(BATCH, G.z_dim)
        images = G(z)
        logits = D(images)
        found_G, found_D = copy.deepcopy(G), copy.deepcopy(D)
        for module in (found_G, found_D):
            place(module, device)
        images_on_gpu = found_G(z.to(device)).cpu()
        assert (images_on_gpu - images).abs().max() < 1e-4 * images.abs().max()
        assert (found_D(images.to(device)).cpu() - logits).abs().max() < 1e-4 * logits.abs().max()
