"""The encoder loop with each kind of encoder: what is particular to it, and that resuming changes nothing."""

import os
import signal
from dataclasses import replace

import pytest
import torch

from psp import loading
from psp.encoders import ENCODERS
from psp.evaluation.metrics import Metrics
from psp.loading import model_metadata
from psp.losses import WeightedLosses
from psp.losses.delta_norm import DeltaNorm
from psp.losses.l2 import L2
from psp.losses.w_norm import WNorm
from psp.model import PSp
from psp.trainer import step, train
from psp.training_settings import TrainingSettings
from psp.training_state import buffers_of_step, build_state, resume, schedule
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.stats import Averages
from tests.training import assert_all_on, records

CPU = torch.device("cpu")
SMALL = {"widths": (16, 16, 16, 16), "units": (1, 1, 1, 1)}
HEADS = {**SMALL, "head_width": 8}
TYPES = {
    "w": SMALL,
    "w_plus_naive": SMALL,
    "e4e": HEADS,
    "restyle": {**HEADS, "iterations": 3},
    "restyle_e4e": {**HEADS, "iterations": 2},
    "restyle_resnet": {**HEADS, "iterations": 2},
}
SETTINGS = TrainingSettings(
    max_steps=8,
    batch_size=3,
    test_batch_size=2,
    learning_rate=1e-3,
    progressive_start=1,
    progressive_step_every=2,
    w_pool_size=5,  # full before the interruption, so that what is in it counts
    w_discriminator_lr=1e-3,
    board_interval=1,
    image_interval=4,
    val_interval=4,
    save_interval=8,
)


def losses():
    return WeightedLosses({"l2": (L2(), 1.0), "w_norm": (WNorm(), 0.005), "delta_norm": (DeltaNorm(), 2e-4)})


def tiny_model(name):
    torch.manual_seed(0)
    generator = GENERATORS.build("stylegan2", 16, z_dim=8, w_dim=8, channel_base=128, channel_max=8, mapping_layers=2)
    generator.mapping.w_avg.normal_()
    for layer in generator.synthesis.layers:
        layer.noise_strength.data.fill_(0.1)
    return PSp(ENCODERS.build(name, num_ws=6, w_dim=8, input_size=32, **TYPES[name]), generator)


def batch(position, count):
    """The images of a stream from a position on, whatever was drawn before."""
    draw = [torch.Generator().manual_seed(position + n) for n in range(count)]
    target = torch.stack([torch.rand(3, 4, 4, generator=g) * 2 - 1 for g in draw]).repeat(1, 1, 4, 4)
    return torch.nn.functional.interpolate(target, 32), target  # [N, 3, 32, 32], [N, 3, 16, 16]


def stream(stop_after=None):
    def batches(position):
        while True:
            if stop_after is not None and position == stop_after * SETTINGS.batch_size:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch(position, SETTINGS.batch_size)
            position += SETTINGS.batch_size

    return batches


def run(run_dir, name, stop_after=None, settings=SETTINGS):
    model = tiny_model(name)
    description = {"task": "inversion", **model_metadata(model)}
    held_out = [batch(10**6, 2)]
    metrics = Metrics(L2(), L2())
    return train(
        model=model,
        losses=losses(),
        batches=stream(stop_after),
        held_out=held_out,
        metrics=metrics,
        show_source=lambda x: x,
        description=description,
        run_dir=run_dir,
        settings=settings,
        device=CPU,
    )


def make_step(state, source, target, losses, averages=None, settings=SETTINGS):
    guard = Guard(9, buffers_of_step(state))
    with guard.step():
        step(state, source, target, losses=losses, settings=settings, guard=guard, averages=averages or Averages())


@pytest.mark.filterwarnings("ignore:for .*:UserWarning")  # PyTorch reports that copies to the meta device do nothing
@pytest.mark.parametrize(
    ("name", "changes"),
    [*((name, {}) for name in TYPES), ("e4e", {"optim_name": "adam"}), ("w", {"train_decoder": True})],
)
def test_every_restored_tensor_is_on_the_device_of_the_model(tmp_path, name, changes):
    settings = replace(SETTINGS, max_steps=7, **changes)  # Ranger looks ahead in the sixth
    run(tmp_path, name, settings=settings)
    with torch.device("meta"):
        model = tiny_model(name)
    state = build_state(model, settings)
    resume(state, tmp_path, settings, {"task": "inversion", **model_metadata(state.model)})
    assert state.cur_step == 7
    names = assert_all_on("meta", state)
    assert any(name.startswith(".optimizer.state.") for name in names)
    assert any("adversary.optimizer.state." in name for name in names) == (state.adversary is not None)
    assert_all_on("meta", buffers_of_step(state))


@pytest.mark.parametrize("name", TYPES)
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, name):
    whole = run(tmp_path / "whole", name)
    with pytest.raises(SystemExit):
        run(tmp_path / "parts", name, stop_after=4)
    assert (tmp_path / "parts" / "checkpoints" / "iteration-000000005.safetensors").is_file()
    (tensors, metadata), (others, other_metadata) = (
        checkpoint.read(path) for path in (whole, run(tmp_path / "parts", name))
    )
    assert tensors.keys() == others.keys()
    assert [key for key, value in tensors.items() if not torch.equal(value, others[key])] == []
    assert metadata == other_metadata
    assert records(tmp_path / "whole") == records(tmp_path / "parts")
    adversary = {"w_discriminator.fake_pool.codes", "w_discriminator.network.mlp.0.weight"}
    assert (adversary <= tensors.keys()) == (tiny_model(name).encoder.unlocked is not None)


@pytest.mark.parametrize("name", TYPES)
def test_what_was_trained_loads_and_gives_the_same(tmp_path, name):
    last = run(tmp_path, name, settings=replace(SETTINGS, max_steps=2, val_interval=2))
    model, metadata = loading.load(last)
    assert metadata["encoder"]["name"] == name
    source, target = batch(10**6, 2)
    with torch.no_grad():
        expected = (model(source) - target).square().mean().item()
    assert records(tmp_path)[-1]["val/loss_l2"] == pytest.approx(expected, rel=1e-4)


# --- e4e ---


def test_deltas_learn_one_after_the_other():
    state = build_state(tiny_model("e4e"), replace(SETTINGS, progressive_start=2, progressive_step_every=1))
    learned = []
    for number in range(5):
        before = [head.linear.weight.clone() for head in state.model.encoder.styles]
        schedule(state, replace(SETTINGS, progressive_start=2, progressive_step_every=1))
        make_step(state, *batch(3 * number, 3), losses())
        heads = zip(state.model.encoder.styles, before, strict=True)
        learned.append([not torch.equal(head.linear.weight, old) for head, old in heads])
    assert learned == [[row <= rows for row in range(6)] for rows in (0, 0, 1, 2, 3)]


def test_codes_stay_in_w_until_the_first_delta_learns():
    state = build_state(tiny_model("e4e"), SETTINGS)
    settings = replace(SETTINGS, progressive_start=2)
    for number in range(4):
        schedule(state, settings)
        make_step(state, *batch(3 * number, 3), losses())
        with torch.no_grad():
            codes = state.model.encode(batch(0, 2)[0]).w_plus - state.model.latent_avg
        deviation = (codes - codes[:, :1]).abs().amax(dim=(0, 2))
        assert (deviation > 0).tolist() == [False, number >= 2, number >= 4, False, False, False]


def test_the_encoder_is_pushed_by_the_discriminator():
    with_it, without = (
        build_state(tiny_model("e4e"), replace(SETTINGS, w_discriminator_lambda=weight, optim_name="adam"))
        for weight in (10.0, 0.0)
    )
    assert without.adversary is None
    averages = Averages()
    for state in (with_it, without):
        torch.manual_seed(1)
        state.model.encoder.unlocked = 0
        make_step(state, *batch(0, 3), losses(), averages if state is with_it else None)
    weights = [state.model.encoder.styles[0].linear.weight for state in (with_it, without)]
    assert not torch.equal(*weights)
    means = averages.pop()
    assert {f"train/loss_w_discriminator{end}" for end in ("", "_d", "_r1")} <= means.keys()
    expected = means["train/loss_l2"] + 0.005 * means["train/loss_w_norm"] + 2e-4 * means["train/loss_delta_norm"]
    assert means["train/loss"] == pytest.approx(expected + 10 * means["train/loss_w_discriminator"], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "weight", "there"), [("e4e", None, True), ("e4e", 0.0, False), ("w", None, False), ("w", 0.1, True)]
)
def test_who_gets_a_discriminator(name, weight, there):
    state = build_state(tiny_model(name), replace(SETTINGS, w_discriminator_lambda=weight))
    assert (state.adversary is not None) == there
    if state.adversary is not None:
        assert state.adversary.weight == (0.1 if weight is None else weight)
        assert state.adversary.network.mlp[0].weight.shape == (8, 8)


def test_going_on_with_a_discriminator_that_was_not_there_is_one_sentence(tmp_path):
    settings = replace(SETTINGS, max_steps=2, val_interval=2)
    run(tmp_path, "e4e", settings=replace(settings, w_discriminator_lambda=0.0))
    with pytest.raises(UserError, match="trained without a latent discriminator"):
        run(tmp_path, "e4e", settings=settings)


@pytest.mark.parametrize(
    "change",
    [{"progressive_start": -1}, {"progressive_step_every": -1}, {"w_discriminator_lambda": -0.1}, {"w_pool_size": -1}],
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(UserError, match=f"{next(iter(change))} must not be negative"):
        TrainingSettings(**change)
    with pytest.raises(UserError, match="w_discriminator_lr must be positive"):
        TrainingSettings(w_discriminator_lr=0.0)


# --- ReStyle ---


def test_every_pass_is_compared_and_gradients_add_up():
    settings = replace(SETTINGS, optim_name="adam")
    state = build_state(tiny_model("restyle"), settings)
    source, target = batch(0, 3)
    encoder = state.model.encoder.eval()  # batch statistics would change from pass to pass
    expected = {name: torch.zeros_like(p) for name, p in encoder.named_parameters()}
    torch.manual_seed(5)
    codes = rendering = None
    found_losses = []
    for _ in range(3):
        codes = state.model.refine(source, codes, rendering)
        rendering = state.model.decode(codes, noise_mode="random")
        loss = (rendering - target).square().mean()
        for name, grad in zip(expected, torch.autograd.grad(loss, list(encoder.parameters())), strict=True):
            expected[name] += grad
        found_losses.append(loss.item())
    averages = Averages()
    torch.manual_seed(5)
    make_step(state, source, target, WeightedLosses({"l2": (L2(), 1.0)}), averages)
    for name, parameter in encoder.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6)
    assert averages.pop()["train/loss"] == pytest.approx(sum(found_losses) / 3, rel=1e-5)
    assert state.cur_step == 1


@pytest.mark.parametrize("name", ["e4e", "restyle", "w", "w_plus_naive"])
def test_it_learns(name):
    settings = replace(SETTINGS, optim_name="adam", learning_rate=0.01, progressive_start=0, w_discriminator_lambda=0.0)
    state, averages, means = build_state(tiny_model(name), settings), Averages(), []
    for number in range(24):
        schedule(state, replace(settings, max_steps=1000))
        make_step(state, *batch(0, 3), WeightedLosses({"l2": (L2(), 1.0)}), averages)
        if number % 6 == 5:
            means.append(averages.pop()["train/loss"])
    assert means[-1] < 0.8 * means[0]
