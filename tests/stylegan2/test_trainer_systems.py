"""Each system of the family in the one loop: growing, its losses, exact resume, classes, and starting from a file."""

from itertools import islice

import numpy as np
import pytest
import torch

from datasets.loader import stream_batches
from datasets.training_data import MirroredImages
from stylegan2 import load, save_generator, training_step, transfer
from stylegan2.networks.growing import fade_real
from stylegan2.networks.registry import DISCRIMINATORS, GENERATORS
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.images import grid, read_image, to_tensor
from stylegan2.runtime.randomness import seeded_normal
from stylegan2.runtime.registry import built_as
from stylegan2.runtime.stats import Averages
from stylegan2.trainer import sample_sheet, train
from stylegan2.training_settings import TrainingSettings
from stylegan2.training_state import build_state, resume
from stylegan2.training_step import step
from tests.training import assert_all_on, assert_equal_checkpoints, crash, records, stopping

# 4 px: a step of 8 images; 8 px fades in over 8 (2 steps of 4) and stays for 8; 16 px fades in over 8 (4 steps of 2).
BASE = {
    "total_nimg": 36,
    "batch_size": 4,
    "batch_sizes": {4: 8, 16: 2},
    "r1_gamma": 1.0,
    "fade_nimg": 8,
    "stable_nimg": 8,
    "ema_nimg": 40,
    "log_interval": 2,
    "image_interval": 36,
    "save_interval": 36,
    "keep_checkpoints": 9,
}
EAGER = {"lazy_r1": False, "path_length_interval": 0}
SIZES = {"z_dim": 8, "channel_base": 128, "channel_max": 8}
STYLED = {**SIZES, "w_dim": 8, "mapping_layers": 2}
DEMODULATED = {**STYLED, "normalization": "demodulation"}
SYSTEMS = {
    "pggan-wgan": ("pggan", SIZES, {"grow_from": 4, "loss": "wgan", "style_mixing": 0.0, **EAGER}),
    "pggan-logistic": ("pggan", SIZES, {"grow_from": 4, "style_mixing": 0.0, **EAGER}),
    "config-a": ("stylegan", STYLED, {"grow_from": 4, **EAGER}),
    "config-b": ("stylegan", DEMODULATED, {"grow_from": 4, **EAGER}),
    "config-c": ("stylegan", DEMODULATED, {"grow_from": 4, "r1_interval": 3, "path_length_interval": 0}),
    "config-d": ("stylegan", DEMODULATED, {"grow_from": 4, "r1_interval": 3, "path_length_interval": 2}),
    "config-f": ("stylegan2", STYLED, {"r1_interval": 3, "path_length_interval": 2, "batch_sizes": {}}),
}
GROWING = sorted(name for name in SYSTEMS if name != "config-f")
PIXELS = list(np.random.default_rng(0).integers(0, 256, (10, 16, 16, 3), np.uint8))
LABELS = np.arange(10) % 3


def networks(system, num_classes=0):
    arch, sizes, _ = SYSTEMS[system]
    torch.manual_seed(0)
    settings = {"img_resolution": 16, "num_classes": num_classes, **sizes}
    G, G_ema = (GENERATORS.build_from(arch, settings) for _ in range(2))
    return G, DISCRIMINATORS.build_from(arch, settings), G_ema


def settings_of(system, **changes):
    return TrainingSettings(**{**BASE, **SYSTEMS[system][2], **changes})


def batches(settings, labels=None, workers=0):
    images = MirroredImages(PIXELS, mirror=True, seed=0, labels=labels)
    return stream_batches(images, len(PIXELS), lambda nimg: settings.batch_size_at(nimg, 16), 0, workers)


def run(system, run_dir, nets=None, stop_after=None, labels=None, initial=None, workers=0, **changes):
    settings = settings_of(system, **changes)
    stream = batches(settings, labels, workers)
    if stop_after is not None:
        stream = stopping(stream, stop_after, crash)
    nets = nets or networks(system, num_classes=0 if labels is None else 3)
    G, D, G_ema = nets
    return train(
        G=G,
        D=D,
        G_ema=G_ema,
        batches=stream,
        run_dir=run_dir,
        settings=settings,
        device=torch.device("cpu"),
        initial=initial,
    )


# --- growing and resuming ---


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Runs that nothing interrupted: {system: (folder, last checkpoint)}, made when they are asked for."""
    made = {}

    def of(system):
        if system not in made:
            run_dir = tmp_path_factory.mktemp(system)
            made[system] = run_dir, run(system, run_dir)
        return made[system]

    return of


@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_crashes_within_two_fades_change_nothing(finished, tmp_path, system):
    for steps, reached in ((2, 12), (5, 28)) if system != "config-f" else ((3, 12), (4, 28)):
        with pytest.raises(RuntimeError, match="power cut"):
            run(system, tmp_path, stop_after=steps, save_interval=4)
        newest = max(tmp_path.glob("checkpoints/*"))
        assert checkpoint.read(newest)[1]["cur_nimg"] == reached
        assert settings_of(system).stage(reached, 16).alpha == (1.0 if system == "config-f" else 0.5)
    last = run(system, tmp_path, workers=2 if system == "pggan-wgan" else 0)
    assert_equal_checkpoints(last, finished(system)[1])
    assert records(tmp_path) == records(finished(system)[0])


@pytest.mark.filterwarnings("ignore:for .*:UserWarning")  # PyTorch reports that copies to the meta device do nothing
@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_every_restored_tensor_is_on_the_device_of_the_networks(finished, system):
    run_dir, _ = finished(system)
    settings = settings_of(system)
    with torch.device("meta"):
        nets = networks(system)
    state = build_state(*nets, settings)
    resume(state, run_dir, settings)
    assert state.cur_nimg == 36
    names = assert_all_on("meta", state)
    for optimizer in ("opt_G", "opt_D"):
        assert any(name.startswith(f".{optimizer}.state.") and name.endswith(".exp_avg_sq") for name in names)


GROWN = [(8, 4, 1), (12, 8, 0), (16, 8, 0.5), (20, 8, 1), (24, 8, 1)]
GROWN += [(26, 16, 0), (28, 16, 0.25), (30, 16, 0.5), (32, 16, 0.75), (34, 16, 1), (36, 16, 1)]


@pytest.mark.parametrize("system", GROWING)
def test_a_run_grows_as_its_schedule_says(finished, system):
    found = records(finished(system)[0])
    assert [(r["cur_nimg"], r["growing/resolution"], r["growing/alpha"]) for r in found] == GROWN
    assert np.isfinite([value for record in found for value in record.values()]).all()


@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_its_last_checkpoint_loads_fully_grown(finished, system):
    run_dir, last = finished(system)
    generator, metadata = load(last)
    assert metadata["generator"]["name"] == SYSTEMS[system][0]
    assert generator(torch.randn(2, 8)).shape == (2, 3, 16, 16)
    for name, tensor in checkpoint.read(last)[0].items():
        if name.startswith("G_ema."):
            torch.testing.assert_close(generator.state_dict()[name.removeprefix("G_ema.")], tensor, check_dtype=False)
    if hasattr(generator.synthesis, "growth"):
        assert generator.synthesis.growth.reached == (16, 1.0)
    assert read_image(run_dir / "samples" / "000000036.png").shape == (128, 128, 3)


@pytest.mark.parametrize("system", ["pggan-wgan", "config-d"])
def test_a_checkpoint_of_a_fade_shows_what_was_trained(tmp_path, system):
    last = run(system, tmp_path, total_nimg=16)
    generator, _ = load(last)
    assert generator.synthesis.growth.reached == (8, 0.5)  # of the step that began at 12 images
    images = generator(torch.randn(2, 8))  # [2, 3, 16, 16]
    assert torch.equal(images[..., ::2, ::2], images[..., 1::2, 1::2])  # 8 px, enlarged
    with pytest.raises(UserError, match="has grown to 8 of its 16 px only: train it further"):
        transfer.read(last)


def test_the_terms_of_each_system_are_logged(finished):
    found = {system: set().union(*(record.keys() for record in records(finished(system)[0]))) for system in SYSTEMS}
    terms = ("loss/r1", "loss/gradient_penalty", "path_length/penalty", "growing/alpha")
    assert {system: [term in keys for term in terms] for system, keys in found.items()} == {
        "pggan-wgan": [False, True, False, True],
        "pggan-logistic": [True, False, False, True],
        "config-a": [True, False, False, True],
        "config-b": [True, False, False, True],
        "config-c": [True, False, False, True],
        "config-d": [True, False, True, True],
        "config-f": [True, False, True, False],
    }


def test_a_run_may_not_change_its_schedule(finished, tmp_path):
    run_dir = finished("config-a")[0]
    for change, words in (
        ({"fade_nimg": 13}, "was trained with fade nimg 8: keep it"),
        ({"grow_from": None}, "was trained with grow from 4: keep it"),
    ):
        with pytest.raises(UserError, match=words):
            run("config-a", run_dir, **change)
    with pytest.raises(UserError, match="has another architecture than the one requested"):
        run("config-b", run_dir)
    with pytest.raises(UserError, match="has another architecture than the one requested"):
        run("pggan-logistic", run_dir)


# --- one step ---


def new_state(system, **changes):
    settings = settings_of(system, **changes)
    return build_state(*networks(system), settings), settings


def minimised(monkeypatch, state, settings, labels=None):
    """(loss minimised, mean of each term) of one step."""
    losses, averages = [], Averages()
    monkeypatch.setattr(training_step, "update", lambda _, term, parts, guard: losses.append(sum(parts).item()))
    step(
        state,
        torch.rand(4, 3, 16, 16) * 2 - 1,
        labels,
        settings=settings,
        r1_gamma=3.0,
        averages=averages,
        guard=Guard(9),
    )
    return losses, averages.pop()


def test_penalties_that_are_not_lazy_join_the_discriminators_loss(monkeypatch):
    state, settings = new_state("config-a")
    losses, means = minimised(monkeypatch, state, settings)
    assert losses == pytest.approx([means["loss/D"] + 3.0 / 2 * means["loss/r1"], means["loss/G"]], rel=1e-5)


def test_wgan_minimises_its_penalty_and_drift(monkeypatch):
    state, settings = new_state("pggan-wgan", drift=5.0)
    real_logits = []
    monkeypatch.setattr(
        training_step.losses, "drift", lambda logits: real_logits.append(logits) or logits[:, 0].square()
    )
    losses, means = minimised(monkeypatch, state, settings)
    drift = real_logits[0].square().mean().item()
    expected = means["loss/D"] + 10 * means["loss/gradient_penalty"] + 5 * drift
    assert losses == pytest.approx([expected, means["loss/G"]], rel=1e-5)


def test_the_learning_rate_follows_the_resolution(tmp_path):
    for total, expected in ((8, 0.002), (12, 0.0003)):  # a step at 4 px, then one at 8 px
        _, metadata = checkpoint.read(run("config-a", tmp_path, learning_rates={8: 0.0003}, total_nimg=total))
        for optimizer in metadata["optimizers"].values():
            assert optimizer["groups"][0]["options"]["dict"]["lr"] == expected


def test_intervals_count_images_whatever_the_minibatch(tmp_path):
    run("config-a", tmp_path, total_nimg=28, log_interval=8, save_interval=8)
    assert [record["cur_nimg"] for record in records(tmp_path)] == [8, 16, 24]
    assert [int(path.stem[-9:]) for path in sorted(tmp_path.glob("checkpoints/*"))] == [8, 16, 24, 28]


def test_mixing_stays_within_the_rows_in_use():
    state, settings = new_state("config-a", style_mixing=1.0)
    for nimg, in_use in ((0, 2), (12, 4), (32, 6)):
        state.cur_nimg = nimg
        _, ws = training_step.run_G(state.G, 200, None, settings.stage(nimg, 16), settings)
        crossover = (ws == ws[:, :1]).all(2).sum(1)  # [N], the first row of the other latent
        assert set(crossover.tolist()) == set(range(1, in_use))


@pytest.mark.parametrize("system", ["pggan-wgan", "config-a"])
def test_fakes_reals_and_discriminator_stand_at_the_same_stage(monkeypatch, system):
    state, settings = new_state(system)
    state.cur_nimg = 12  # 8 px, half faded in
    judged, rendered = [], []
    judge, render = state.D.forward, state.G.synthesis.forward
    monkeypatch.setattr(state.D, "forward", lambda x, *a, **k: judged.append((x, k["alpha"])) or judge(x, *a, **k))
    monkeypatch.setattr(state.G.synthesis, "forward", lambda *a, **k: rendered.append(k) or render(*a, **k))
    real = torch.rand(4, 3, 16, 16)
    step(state, real, settings=settings, r1_gamma=1.0, averages=Averages(), guard=Guard(9))
    assert {alpha for _, alpha in judged} == {0.5}
    assert {images.shape[2] for images, _ in judged} == {8}
    assert rendered
    assert all(k == {"noise_mode": "random", "resolution": 8, "alpha": 0.5} for k in rendered)
    torch.testing.assert_close(judged[0][0][4:], fade_real(real, 8, 0.5))  # the second half of the first pass


@pytest.mark.parametrize("system", GROWING)
def test_layers_that_are_not_shown_do_not_learn(system):
    state, settings = new_state(system)
    before = {name: value.clone() for name, value in state.G.named_parameters()}
    step(state, torch.rand(8, 3, 16, 16) * 2 - 1, settings=settings, r1_gamma=1.0, averages=Averages(), guard=Guard(9))
    moved = {name for name, value in state.G.named_parameters() if not torch.equal(value, before[name])}
    assert any(name.startswith("synthesis.to_rgbs.0") for name in moved)
    assert not any(
        name.startswith(("synthesis.to_rgbs.1", "synthesis.to_rgbs.2", "synthesis.blocks.1")) for name in moved
    )


# --- classes ---


@pytest.mark.parametrize("system", ["pggan-wgan", "config-a", "config-f"])
def test_a_conditional_run_resumes_exactly(tmp_path, system):
    whole = run(system, tmp_path / "whole", labels=LABELS, total_nimg=20)
    with pytest.raises(RuntimeError):
        run(system, tmp_path / "cut", labels=LABELS, total_nimg=20, stop_after=3, save_interval=4)
    assert_equal_checkpoints(run(system, tmp_path / "cut", labels=LABELS, total_nimg=20), whole)
    generator, _ = load(whole)
    assert generator.num_classes == 3
    names = [name for name in checkpoint.read(whole)[0] if name.startswith(("G.mapping.emb", "D.projection"))]
    assert len(names) == 2 + 2 + 2 * 8


def test_images_and_their_labels_stay_together():
    for images, labels in islice(batches(settings_of("config-f"), LABELS)(0), 5):
        assert labels.dtype == torch.int64
        for image, label in zip(images, labels.tolist(), strict=True):
            found = {n for n in range(10) for side in (image, image.flip(2)) if torch.equal(side, to_tensor(PIXELS[n]))}
            assert {LABELS[n] for n in found} == {label}


def test_a_sheet_has_a_class_a_row():
    G = networks("config-f", 3)[0].eval()
    sheet = sample_sheet(G, torch.device("cpu"), columns=4, rows=5)
    z = seeded_normal((20, 8), seed=0)[12:16]
    with torch.no_grad():
        expected = G(z, labels=torch.zeros(4, dtype=torch.int64))
    assert np.array_equal(sheet[48:64], grid(expected, 4))


def test_the_discriminator_learns_which_label_belongs(monkeypatch):
    state, settings = build_state(*networks("config-f", 3), settings_of("config-f")), settings_of("config-f")
    seen = []
    forward = state.D.forward
    monkeypatch.setattr(state.D, "forward", lambda *a, **k: seen.append(k["labels"].tolist()) or forward(*a, **k))
    step(
        state,
        torch.rand(4, 3, 16, 16),
        torch.tensor([2, 0, 1, 1]),
        settings=settings,
        r1_gamma=1.0,
        averages=Averages(),
        guard=Guard(9),
    )
    assert seen[0] == [2, 0, 1, 1] * 2  # fakes, reals
    assert seen[1:] == [[2, 0, 1, 1]] * 2  # R1, G


# --- starting from a file ---


@pytest.mark.parametrize("system", ["pggan-wgan", "config-a", "config-d", "config-f"])
def test_a_training_starts_from_another(finished, tmp_path, system):
    source = finished(system)[1]
    generator, initial = transfer.read(source, freeze_d=1)
    last = run(system, tmp_path, initial=initial, grow_from=None, freeze_d=3, total_nimg=4, save_interval=4)
    (tensors, _), (before, _) = checkpoint.read(last), checkpoint.read(source)
    frozen = {name for name in tensors if name.startswith("D.") and torch.equal(tensors[name], before[name])}
    expected = {
        f"D.{part}.{p}" for part in ("from_rgbs.0", "blocks.0.conv0", "blocks.0.conv1") for p in ("weight", "bias")
    }
    lower = {name for name in tensors if name.startswith("D.from_rgbs.")}  # of lower resolutions: nothing shows them
    assert frozen | lower == expected | lower
    assert not any(name.startswith("opt_D.blocks.0.conv") for name in tensors)
    key = "G.synthesis.to_rgbs.0.bias" if system == "config-f" else "G.synthesis.to_rgbs.2.bias"
    assert 0 < (tensors[key] - before[key]).abs().max() < 0.05
    assert not torch.equal(tensors["G_ema." + key[2:]], tensors[key])
    assert generator.img_resolution == 16


def test_a_frozen_run_resumes_exactly(finished, tmp_path):
    _, initial = transfer.read(finished("config-f")[0])
    more = {"initial": initial, "freeze_d": 2, "total_nimg": 16}
    whole = run("config-f", tmp_path / "whole", **more)
    with pytest.raises(RuntimeError):
        run("config-f", tmp_path / "cut", stop_after=2, save_interval=4, **more)
    assert_equal_checkpoints(run("config-f", tmp_path / "cut", **more), whole)
    with pytest.raises(CheckpointError, match="for other parameters"):
        run("config-f", tmp_path / "cut", **{**more, "freeze_d": 3})


@pytest.mark.parametrize("system", ["config-a", "config-d", "config-f"])
def test_the_mapping_network_trains_alone_and_resumes_exactly(finished, tmp_path, system):
    source = finished(system)[1]
    _, initial = transfer.read(source)
    more = {"initial": initial, "grow_from": None, "batch_sizes": {}, "freeze_synthesis": True, "total_nimg": 16}
    whole = run(system, tmp_path / "whole", **more)
    with pytest.raises(RuntimeError):
        run(system, tmp_path / "cut", stop_after=2, save_interval=4, **more)
    with pytest.raises(UserError, match="was trained with freeze synthesis True: keep it"):
        run(system, tmp_path / "cut", **{**more, "freeze_synthesis": False})
    assert_equal_checkpoints(run(system, tmp_path / "cut", **more), whole)
    (before, _), (after, _) = checkpoint.read(source), checkpoint.read(whole)
    assert not torch.equal(before["G.synthesis.to_rgbs.2.bias"], before["G_ema.synthesis.to_rgbs.2.bias"])
    for name in ("G", "G_ema"):  # both have the synthesis network of the average, which encoders know
        changed = {
            key.removeprefix("G_ema.")
            for key in before
            if key.startswith("G_ema.") and not torch.equal(before[key], after[name + key.removeprefix("G_ema")])
        }
        assert changed == {f"mapping.layers.{layer}.{part}" for layer in range(2) for part in ("weight", "bias")}
    assert before["G_ema.mapping.w_avg"].any()
    assert not any(key.startswith("opt_G.synthesis") for key in after)
    codes = seeded_normal((2, load(whole)[0].num_ws, 8), seed=0)
    assert torch.equal(load(whole)[0].synthesis(codes), load(source)[0].synthesis(codes))


def test_the_generator_may_have_a_learning_rate_of_its_own(tmp_path):
    last = run("config-f", tmp_path, g_learning_rate=1e-9, total_nimg=4, save_interval=4, path_length_interval=0)
    tensors, _ = checkpoint.read(last)
    G, D, _ = networks("config-f")
    torch.testing.assert_close(tensors["G.synthesis.const"], G.synthesis.const)
    weight = "blocks.0.conv0.weight"
    assert (tensors[f"D.{weight}"] - D.state_dict()[weight]).abs().max() > 1e-4


def test_a_generator_alone_is_a_start_too(tmp_path):
    G = networks("config-f")[0]
    save_generator(tmp_path / "g.safetensors", G, {})
    generator, initial = transfer.read(tmp_path / "g.safetensors")
    assert built_as(generator) == built_as(G)
    last = run("config-f", tmp_path / "run", initial=initial, total_nimg=4, learning_rate=1e-9)
    torch.testing.assert_close(load(last)[0].synthesis.const, G.synthesis.const)
    with pytest.raises(UserError, match="contains no discriminator, so freeze_d has nothing to freeze"):
        transfer.read(tmp_path / "g.safetensors", freeze_d=1)
