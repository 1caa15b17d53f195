"""A batch that is worked through in rounds, to save memory, gives what it gives at once."""

import pytest
import torch

from stylegan2.networks.registry import DISCRIMINATORS, GENERATORS
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.randomness import draw_shard, normal_like, rehearsal, rounds, seed_step
from stylegan2.runtime.stats import Averages
from stylegan2.training_settings import TrainingSettings
from stylegan2.training_state import build_state, check_batches, number_of_rounds
from stylegan2.training_step import step

CPU = torch.device("cpu")
SIZES = {"img_resolution": 16, "z_dim": 8, "w_dim": 8, "mapping_layers": 2, "channel_base": 128, "channel_max": 8}
GROWING = {"grow_from": 8, "stable_nimg": 12, "fade_nimg": 48, "lazy_r1": False, "path_length_interval": 0}
LAZY = {"r1_interval": 2, "path_length_interval": 2}
SYSTEMS = {
    "pggan": ("pggan", 0, {**GROWING, "loss": "wgan", "style_mixing": 0.0}),
    "stylegan": ("stylegan", 0, GROWING),
    "stylegan2": ("stylegan2", 0, {**LAZY, "augment": "bgc", "augment_p": 0.5}),
    "conditional": ("stylegan2", 3, LAZY),
}


def train_steps(system, batch_gpu, dtype, batch=8, count=3):
    """(all tensors of the networks, logged means) after a few steps on random images."""
    arch, num_classes, own = SYSTEMS[system]
    settings = TrainingSettings(batch_size=batch, batch_gpu=batch_gpu, ema_nimg=40, **own)
    torch.manual_seed(0)
    G, G_ema = (GENERATORS.build_from(arch, {**SIZES, "num_classes": num_classes}).to(dtype) for _ in range(2))
    D = DISCRIMINATORS.build_from(arch, {**SIZES, "num_classes": num_classes}).to(dtype)
    with torch.no_grad():  # StyleGAN starts with a gradient that is 0 but for rounding, and noise without strength
        for name, parameter in G.named_parameters():
            if name.endswith(("const", "noise_strength")):
                parameter.copy_(torch.randn_like(parameter))
    state, averages = build_state(G, D, G_ema, settings), Averages()
    guard = Guard(9, [G.w_avg, state.path_length_mean])
    for _ in range(count):
        seed_step(0, 0, state.cur_nimg)
        real = torch.rand(batch, 3, 16, 16, dtype=dtype) * 2 - 1
        labels = torch.arange(batch) % 3 if num_classes else None
        with guard.step():
            step(state, real, labels, settings=settings, r1_gamma=1.0, averages=averages, guard=guard)
    tensors = {f"{n}.{k}": v for n in ("G", "D", "G_ema") for k, v in getattr(state, n).state_dict().items()}
    return tensors | {"path_length_mean": state.path_length_mean}, averages.pop()


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("system", SYSTEMS)
def test_rounds_are_as_one_batch(system):
    (at_once, means), (in_rounds, means_in_rounds) = (
        train_steps(system, batch_gpu, torch.float64) for batch_gpu in (None, 4)
    )
    for name, expected in at_once.items():
        torch.testing.assert_close(in_rounds[name], expected, atol=1e-9, rtol=1e-9, msg=name)
    assert means_in_rounds == pytest.approx(means, rel=1e-9)


def test_rounds_are_as_one_batch_in_float32():
    (at_once, _), (in_rounds, _) = (train_steps("stylegan2", k, torch.float32, count=1) for k in (None, 4))
    for name, expected in at_once.items():
        torch.testing.assert_close(in_rounds[name], expected, atol=1e-5, rtol=1e-5, msg=name)


def test_each_round_draws_its_rows_of_the_whole_batch():
    torch.manual_seed(5)
    whole = draw_shard(lambda n: torch.randn(n, 3), 6), normal_like(torch.zeros(6, 2))
    after = torch.rand(1)
    torch.manual_seed(5)
    for k in rounds(3, CPU):
        assert torch.equal(draw_shard(lambda n: torch.randn(n, 3), 2), whole[0][k::3])
        assert torch.equal(normal_like(torch.zeros(2, 2)), whole[1][k::3])
    assert torch.equal(torch.rand(1), after)
    assert draw_shard(lambda n: torch.randn(n, 3), 6).shape == (6, 3)  # whole batches again


def test_a_rehearsal_draws_the_same_numbers():
    with rehearsal(CPU):
        first = torch.rand(4)
    assert torch.equal(torch.rand(4), first)


@pytest.mark.parametrize(
    ("share", "batch_gpu", "group", "expected"),
    [(32, None, 4, 1), (32, 32, 4, 1), (32, 8, 4, 4), (32, 11, 4, 4), (12, 8, 4, 3), (6, 4, 1, 2), (7, 3, 1, 7)],
)
def test_rounds_are_equal_and_hold_whole_groups(share, batch_gpu, group, expected):
    assert number_of_rounds(share, batch_gpu, group) == expected


def test_rounds_that_tear_a_group_are_refused():
    with pytest.raises(UserError, match="32 images cannot be split into equal rounds of at most 2"):
        check_batches(TrainingSettings(batch_size=64, batch_gpu=2), 16, 4, processes=2)
