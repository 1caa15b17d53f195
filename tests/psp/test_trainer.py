"""The encoder loop with a 16 px generator and a narrow encoder: what it learns, and that resuming changes nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from datasets.examples import Example
from datasets.loader import fixed_batches, stream_batches
from datasets.tasks import TASKS
from datasets.training_data import TaskPairs
from psp import loading
from psp.encoders import ENCODERS, encoder_for
from psp.evaluation.metrics import Metrics
from psp.loading import model_metadata, save_model
from psp.losses import WeightedLosses
from psp.losses.l2 import L2
from psp.losses.w_norm import WNorm
from psp.model import PSp
from psp.trainer import draw_rows, shrink, step, train
from psp.training_settings import TrainingSettings
from psp.training_state import buffers_of_step, build_state, check_batches, learning_rate
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.stats import Averages
from tests.training import assert_equal_checkpoints, crash, records, stopping, terminate

SETTINGS = TrainingSettings(
    max_steps=9,
    batch_size=4,
    test_batch_size=3,
    learning_rate=1e-3,
    decay_from=0.5,
    board_interval=1,
    image_interval=4,
    val_interval=3,
    save_interval=4,
)
CPU = torch.device("cpu")
TASK = TASKS["inversion"]()


class FakeIdentity(nn.Module):
    """1 - cosine of the pixels: cheap, and of an identity loss's form."""

    name = "id_pixels"
    inputs = ("output", "target")

    def forward(self, output, target):
        return 1 - torch.cosine_similarity(output.flatten(1), target.flatten(1))  # [N]


def fake_losses():
    return WeightedLosses({"l2": (L2(), 1.0), "id_pixels": (FakeIdentity(), 0.1), "w_norm": (WNorm(), 0.005)})


def tiny_model(head_width=8):
    torch.manual_seed(0)
    generator = GENERATORS.build("stylegan2", 16, z_dim=8, w_dim=8, channel_base=128, channel_max=8, mapping_layers=2)
    generator.mapping.w_avg.normal_()
    for layer in generator.synthesis.layers:
        layer.noise_strength.data.fill_(0.1)  # so that random noise shows
    encoder = ENCODERS.build(
        "gradual", num_ws=6, w_dim=8, input_size=32, widths=(16, 16, 16, 16), units=(1, 1, 1, 1), head_width=head_width
    )
    return PSp(encoder, generator)


def pixels(count):
    ramp = np.linspace(0, 255, 32)
    colours = np.random.default_rng(0).uniform(0, 1, (count, 1, 1, 3))
    images = (ramp[None, :, None, None] * colours * np.ones((1, 1, 32, 1))).astype(np.uint8)  # [N, 32, 32, 3]
    return [Example(image) for image in images]


def pair_batches(workers=0, batch_size=4):
    pairs = TaskPairs(pixels(10), TASK, 32, 16, seed=0)
    return stream_batches(pairs, len(pairs), batch_size, seed=0, workers=workers)


def run(run_dir, batches=None, model=None, settings=SETTINGS):
    model = model or tiny_model()
    description = {"task": "inversion", **model_metadata(model)}
    held_out = fixed_batches(TaskPairs(pixels(7), TASK, 32, 16, seed=1), settings.test_batch_size)
    return train(
        model=model,
        losses=fake_losses(),
        batches=batches or pair_batches(),
        held_out=held_out,
        metrics=Metrics(L2(), FakeIdentity()),
        show_source=TASK.show_source,
        description=description,
        run_dir=run_dir,
        settings=settings,
        device=CPU,
    )


def make_step(state, source, target, losses, averages=None, settings=SETTINGS):
    guard = Guard(9, buffers_of_step(state))
    with guard.step():
        step(state, source, target, losses=losses, settings=settings, guard=guard, averages=averages or Averages())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(folder, last checkpoint) of a run that nothing interrupted."""
    run_dir = tmp_path_factory.mktemp("uninterrupted")
    return run_dir, run(run_dir)


# --- resume ---


@pytest.mark.parametrize(("workers", "after"), [(0, 4), (2, 1)])
def test_interrupted_and_resumed_equals_uninterrupted(finished, tmp_path, workers, after):
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, stopping(pair_batches(workers), after, terminate))
    assert stopped.value.code == 143
    assert (tmp_path / "checkpoints" / f"iteration-{after + 1:09d}.safetensors").is_file()
    last = run(tmp_path, pair_batches(2 - workers))
    assert_equal_checkpoints(last, finished[1])
    assert records(tmp_path) == records(finished[0])
    best = "checkpoints/best_model.safetensors"
    assert_equal_checkpoints(tmp_path / best, finished[0] / best)


def test_the_log_tells_the_speed_and_the_share_of_time_that_waits_for_data(finished):
    lines = [json.loads(line) for line in (finished[0] / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "train/skipped_steps" in line]
    assert len(steps) == SETTINGS.max_steps
    assert all(0 < line["speed/waiting_for_data"] < 1 for line in steps)
    assert all(line["speed/images_per_second"] > 0 for line in steps)


@pytest.mark.parametrize("changes", [{"optim_name": "adam"}, {"train_decoder": True}])
def test_resuming_is_exact_in_every_mode(tmp_path, changes):
    settings = replace(SETTINGS, max_steps=5, val_interval=5, **changes)
    whole = run(tmp_path / "whole", settings=settings)
    with pytest.raises(SystemExit):
        run(tmp_path / "parts", stopping(pair_batches(), 2, terminate), settings=settings)
    assert_equal_checkpoints(run(tmp_path / "parts", settings=settings), whole)


def test_a_checkpoint_holds_the_whole_state(finished):
    tensors, metadata = checkpoint.read(finished[1])
    model = tiny_model()
    for name, value in model.encoder.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            assert not torch.equal(tensors[f"encoder.{name}"], value), f"{name} has not learned"
        if name.endswith("num_batches_tracked"):
            assert tensors[f"encoder.{name}"] == 9
    for name, _ in model.encoder.named_parameters():
        assert {f"optimizer.encoder.{name}.{key}" for key in ("exp_avg", "exp_avg_sq", "slow")} <= tensors.keys()
    assert not any(name.startswith("optimizer.generator") for name in tensors)
    assert (metadata["cur_step"], metadata["task"]) == (9, "inversion")
    assert metadata["best_loss"] == min(record["val/loss"] for record in records(finished[0]) if "val/loss" in record)


def test_a_crash_goes_back_to_the_last_checkpoint_and_arrives_at_the_same(finished, tmp_path):
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path, stopping(pair_batches(), 7, crash))
    assert records(tmp_path)[-1]["cur_step"] == 7
    assert_equal_checkpoints(run(tmp_path), finished[1])
    assert records(tmp_path) == records(finished[0])


def test_a_damaged_newest_checkpoint_is_passed_over(finished, tmp_path, capsys):
    with pytest.raises(RuntimeError):
        run(tmp_path, stopping(pair_batches(), 8, crash))
    newest = tmp_path / "checkpoints" / "iteration-000000008.safetensors"
    newest.write_bytes(newest.read_bytes()[:1000])
    capsys.readouterr()
    last = run(tmp_path)
    printed = capsys.readouterr().out
    assert f"{newest.name}' is damaged" in printed
    assert "resuming from iteration-000000004.safetensors at step 4" in printed
    assert_equal_checkpoints(last, finished[1])


def test_a_finished_run_stays_as_it_is(finished):
    before = finished[1].read_bytes()
    assert run(finished[0]) == finished[1]
    assert finished[1].read_bytes() == before


@pytest.mark.parametrize(
    ("model", "changes", "words"),
    [
        ({"head_width": 16}, {}, "was trained with another encoder than the one requested"),
        ({}, {"optim_name": "adam"}, "the state of Ranger, not of Adam"),
        ({}, {"train_decoder": True}, "built for other parameters"),
    ],
)
def test_a_checkpoint_of_something_else_is_one_sentence(finished, model, changes, words):
    with pytest.raises(UserError, match=words) as caught:
        run(finished[0], model=tiny_model(**model), settings=replace(SETTINGS, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("metadata", [{}, {"cur_step": 9, "settings": {"batch_size": 4}}])
def test_an_exported_model_cannot_go_on(tmp_path, metadata):
    save_model(tmp_path / "checkpoints" / "mine.safetensors", tiny_model(), {"task": "inversion", **metadata})
    with pytest.raises(
        UserError, match="mine.safetensors' contains a model but not the state of this training"
    ) as caught:
        run(tmp_path)
    assert "\n" not in str(caught.value)


# --- what a run leaves behind ---


def test_metrics(finished):
    found = records(finished[0])
    training = [record for record in found if "train/loss" in record]
    validation = [record for record in found if "val/loss" in record]
    assert [record["cur_step"] for record in found] == [1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9]
    assert [record["cur_step"] for record in training] == list(range(1, 10))
    assert [record["cur_step"] for record in validation] == [3, 6, 9]
    numbers = [[value for value in record.values() if not isinstance(value, dict)] for record in found]
    assert all(np.isfinite(values).all() for values in numbers)
    for record in training:
        total = record["train/loss_l2"] + 0.1 * record["train/loss_id_pixels"] + 0.005 * record["train/loss_w_norm"]
        assert record["train/loss"] == pytest.approx(total, rel=1e-5)
        assert record["train/similarity_id_pixels"] == pytest.approx(1 - record["train/loss_id_pixels"])
        assert record["train/learning_rate"] == learning_rate(record["cur_step"] - 1, SETTINGS)
    wanted = {"val/loss_l2", "val/mse", "val/perceptual", "val/identity"}
    assert all(wanted <= record.keys() for record in validation)
    assert all(record["networks"] == {"perceptual": "l2", "identity": "id_pixels"} for record in validation)


@torch.no_grad()
def test_validation_measures_the_model_in_evaluation_mode(finished):
    model, _ = loading.load(finished[0])
    held_out = fixed_batches(TaskPairs(pixels(7), TASK, 32, 16, seed=1), 7)
    ((source, target),) = held_out
    last = records(finished[0])[-1]
    assert last["val/loss_l2"] == pytest.approx((model(source) - target).square().mean().item(), rel=1e-4)
    assert last["val/mse"] == pytest.approx((model(source).clamp(-1, 1) - target).square().mean().item(), rel=1e-4)


def test_best_model_has_the_lowest_validation_loss(finished):
    _, metadata = loading.load(finished[0] / "checkpoints" / "best_model.safetensors")
    validation = {record["cur_step"]: record["val/loss"] for record in records(finished[0]) if "val/loss" in record}
    assert metadata["best_loss"] == min(validation.values()) == validation[metadata["cur_step"]]


def test_checkpoints_and_the_newest_loads(finished):
    run_dir, last = finished
    names = sorted(path.name for path in run_dir.glob("checkpoints/*"))
    assert names == ["best_model.safetensors", *(f"iteration-{n:09d}.safetensors" for n in (4, 8, 9))]
    model, metadata = loading.load(run_dir)
    assert metadata["cur_step"] == 9
    tensors, _ = checkpoint.read(last)
    assert all(torch.equal(value, tensors[name]) for name, value in model.state_dict().items())


def test_only_so_many_checkpoints_are_kept(tmp_path):
    last = run(tmp_path, settings=replace(SETTINGS, max_steps=4, save_interval=1, keep_checkpoints=2, val_interval=1))
    names = sorted(path.name for path in last.parent.glob("*"))
    assert names == ["best_model.safetensors", "iteration-000000003.safetensors", "iteration-000000004.safetensors"]


def test_image_rows_are_logged(finished):
    board = EventAccumulator(str(finished[0] / "logs")).Reload()
    assert [event.step for event in board.Images("train/source_output_target")] == [4, 8]
    assert [event.step for event in board.Images("val/source_output_target")] == [3, 6, 9]
    image = board.Images("train/source_output_target")[0]
    assert (image.height, image.width) == (4 * 16, 3 * 16)


def test_rows_show_source_output_target():
    model = tiny_model().train()
    source, target = torch.full((2, 3, 32, 32), -1.0), torch.ones(2, 3, 16, 16)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    picture = draw_rows(model, source, target, TASK.show_source)
    assert picture.shape == (2 * 16, 3 * 16, 3)
    assert (picture[:, :16] == 0).all()
    assert (picture[:, 32:] == 255).all()
    assert len(np.unique(picture[:, 16:32])) > 2
    assert model.encoder.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_psp_losses(golden, tmp_path):
    run(tmp_path, settings=replace(SETTINGS, max_steps=20, val_interval=20, save_interval=20))
    names = ("train/loss", "train/loss_l2", "train/loss_id_pixels", "train/loss_w_norm")
    found = [record for record in records(tmp_path) if "train/loss" in record]
    golden({name: [record[name] for record in found] for name in names}, rtol=1e-4)


@pytest.mark.parametrize(("optim_name", "rate"), [("ranger", 0.05), ("adam", 0.01)])
def test_it_learns(tmp_path, optim_name, rate):
    changes = {"max_steps": 24, "val_interval": 6, "save_interval": 24, "learning_rate": rate, "optim_name": optim_name}
    run(tmp_path, settings=replace(SETTINGS, **changes))
    losses = [record["val/loss_l2"] for record in records(tmp_path) if "val/loss" in record]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(("size", "there"), [(2, True), (4, False)])
def test_the_batch_size_may_change(finished, tmp_path, capsys, size, there):
    settings = replace(SETTINGS, max_steps=4, save_interval=4, val_interval=4)
    run(tmp_path, settings=settings)
    positions = []

    def batches(start):
        positions.append(start)
        return pair_batches(batch_size=size)(start)

    last = run(tmp_path, batches, settings=replace(settings, max_steps=6, batch_size=size))
    assert ("the batch size was 4 and is now 2, so the result will differ" in capsys.readouterr().out) == there
    assert positions == [16]  # images that it has seen do not come again
    assert checkpoint.read(last)[1]["cur_nimg"] == 16 + 2 * size


@pytest.mark.parametrize(
    ("changes", "processes", "words"),
    [
        ({"batch_size": 9}, 2, "a batch of 9 cannot be shared by 2 processes in 1 parts each: .* such as 8"),
        ({"batch_size": 8, "accumulate": 3}, 2, "by 2 processes in 3 parts each: .* such as 6"),
        ({"batch_size": 8, "generated_share": 0.1}, 2, "0.1 of a batch of 8 is 1 samples, which cannot"),
    ],
)
def test_batches_are_shared_equally(changes, processes, words):
    with pytest.raises(UserError, match=words):
        check_batches(TrainingSettings(**changes), processes)
    check_batches(TrainingSettings(), processes)


# --- one step ---


def one_step(settings):
    model = tiny_model()
    state = build_state(model, settings)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    make_step(state, torch.randn(4, 3, 32, 32), torch.randn(4, 3, 16, 16), fake_losses(), settings=settings)
    return state, [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]


def test_the_generator_is_frozen_by_default():
    state, changed = one_step(replace(SETTINGS, optim_name="adam"))
    assert all(name.startswith("encoder.") for name in changed)
    still = {name for name, _ in state.model.encoder.named_parameters()} - {name[8:] for name in changed}
    assert not still
    assert not any(parameter.requires_grad for parameter in state.model.generator.parameters())
    assert not state.model.generator.training
    assert state.model.encoder.training


def test_train_decoder_trains_the_synthesis_network_too():
    _, changed = one_step(replace(SETTINGS, train_decoder=True))
    assert "generator.synthesis.const" in changed
    assert not any(name.startswith("generator.mapping") for name in changed)
    assert "latent_avg" not in changed
    assert not any(name.endswith("noise_const") for name in changed)


def test_the_correction_alone_learns_from_a_frozen_w_plus():
    settings = replace(SETTINGS, optim_name="adam", learning_rate=0.003, freeze_w_plus=True)
    generator = tiny_model().generator
    state = build_state(PSp(encoder_for(generator, "light_feature"), generator), settings)
    before = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    make_step(
        state, torch.rand(4, 3, 32, 32), torch.rand(4, 3, 16, 16), WeightedLosses({"l2": (L2(), 1.0)}), None, settings
    )
    changed = {name for name, tensor in state.model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert all(name.startswith("encoder.corrector.") for name in changed)  # not even batch statistics
    with pytest.raises(UserError, match="which only feature encoders have"):
        build_state(tiny_model(), settings)


def still_statistics(model):
    """Batch normalization would see a part at a time."""
    for module in model.encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
            module.train = lambda mode=True: None


@pytest.mark.parametrize("changes", [{}, {"generated_share": 0.5, "latent_lambda": 0.3}])
def test_parts_of_a_batch_give_what_the_batch_gives(changes):
    found, means = {}, {}
    for parts in (1, 2, 4):
        settings = replace(SETTINGS, batch_size=8, accumulate=parts, **changes)
        model, averages = tiny_model(), Averages()
        state = build_state(model, settings)
        still_statistics(model)
        for number in range(3):
            torch.manual_seed(number)
            source, target = torch.rand(8, 3, 32, 32), torch.rand(8, 3, 16, 16)
            make_step(state, source, target, fake_losses(), averages, settings)
        found[parts], means[parts] = model.state_dict(), averages.pop()
    for parts in (2, 4):
        for name, value in found[1].items():
            torch.testing.assert_close(found[parts][name], value, rtol=1e-5, atol=1e-6)
        assert means[parts] == pytest.approx(means[1], rel=1e-5)
    assert ("train/loss_latent" in means[1]) == bool(changes)


@pytest.mark.parametrize("optim_name", ["ranger", "adam"])
def test_a_step_in_bfloat16_is_near_one_in_float32(optim_name):
    found = {}
    for precision in ("fp32", "bf16"):
        settings = replace(SETTINGS, optim_name=optim_name)
        state, averages = build_state(tiny_model(), settings), Averages()
        guard = Guard(9, buffers_of_step(state))
        torch.manual_seed(0)
        pair = torch.rand(4, 3, 32, 32), torch.rand(4, 3, 16, 16)
        with guard.step():
            step(
                state, *pair, losses=fake_losses(), settings=settings, guard=guard, averages=averages,
                precision=precision,
            )  # fmt: skip
        assert {p.dtype for p in state.model.parameters()} == {torch.float32}
        found[precision] = averages.pop()
    assert guard.pop() == 0
    assert found["bf16"] == pytest.approx(found["fp32"], rel=0.05)
    assert found["bf16"] != found["fp32"]


def test_known_codes_of_generated_samples_are_learned():
    settings = replace(SETTINGS, optim_name="adam", learning_rate=0.003, generated_share=1.0, latent_lambda=1.0)
    state = build_state(tiny_model(), settings)
    found = []
    for number in range(40):
        averages = Averages()
        torch.manual_seed(number)
        pair = torch.rand(4, 3, 32, 32), torch.rand(4, 3, 16, 16)
        make_step(state, *pair, WeightedLosses({"l2": (L2(), 0.0)}), averages, settings)
        found.append(averages.pop()["train/loss_latent"])
    assert np.mean(found[-8:]) < 0.8 * np.mean(found[:4])


def test_a_batch_of_the_target_size_is_compared_at_that_size():
    x = torch.randn(2, 3, 16, 16)
    expected = x.unflatten(3, (8, 2)).unflatten(2, (8, 2)).mean([3, 5])
    torch.testing.assert_close(shrink(x, 8), expected)
    assert shrink(x, 16) is x
    assert shrink(x, 32) is x


# --- settings ---


def test_learning_rate_is_constant_then_falls_linearly():
    settings = TrainingSettings(max_steps=100, learning_rate=1.0, decay_from=0.6)
    rates = [learning_rate(n, settings) for n in range(100)]
    assert rates[:60] == [1.0] * 60
    assert rates[60] == 1.0
    assert rates[80] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.025)
    constant = TrainingSettings(max_steps=100, learning_rate=1.0)
    assert {learning_rate(n, constant) for n in range(100)} == {1.0}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"val_interval": 0}, "val_interval must be at least 1"),
        ({"max_nonfinite_steps": 0}, "max_nonfinite_steps must be at least 1, not 0"),
        ({"optim_name": "sgd"}, "optim_name must be ranger or adam, not 'sgd'"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
        ({"seed": -1}, "seed must not be negative"),
        ({"accumulate": 0}, "accumulate must be at least 1"),
        ({"precision": "fp8"}, "there is no precision 'fp8': choose one of auto, fp32, tf32, bf16, fp16"),
        ({"generated_share": 1.5}, "generated_share must be from 0 to 1, not 1.5"),
        ({"latent_lambda": -1.0}, "latent_lambda must not be negative"),
    ],
)
def test_impossible_settings_are_refused(change, words):
    with pytest.raises(UserError, match=words):
        TrainingSettings(**change)
