from unittest import mock

import pytest
import torch

from stylegan2.runtime.errors import UserError
from stylegan2.runtime.randomness import derive_seed, rehearsal, rounds, seed_step, seeded_normal


def test_seeds_differ_in_every_coordinate_and_fit_torch():
    seeds = {derive_seed(a, b, c) for a in range(8) for b in range(8) for c in range(0, 256, 32)}
    assert len(seeds) == 8 * 8 * 8
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(1, 2) != derive_seed(2, 1)


def test_a_step_draws_the_same_whatever_came_before():
    seed_step(3, 0, 640)
    first = torch.randn(5)
    torch.randn(17)
    seed_step(3, 0, 640)
    assert torch.equal(torch.randn(5), first)
    seed_step(3, 0, 672)
    assert not torch.equal(torch.randn(5), first)


def test_a_negative_seed_is_refused():
    with pytest.raises(UserError, match="must not be negative, but is -1"):
        seed_step(-1, 0, 0)


def test_seeded_latents_leave_the_global_generator_alone():
    state = torch.random.get_rng_state()
    z = seeded_normal((4, 8), seed=2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(z, seeded_normal((4, 8), seed=2))
    assert not torch.equal(z, seeded_normal((4, 8), seed=3))
    assert abs(seeded_normal((10_000,), seed=0).std().item() - 1) < 0.05


@pytest.mark.parametrize("device", [torch.device("cuda", 1), torch.device("cuda"), torch.device("mps")])
def test_rounds_keep_the_state_of_their_own_device(monkeypatch, device):
    """Another GPU may be the current one; there is only one device of type mps, whose functions take no argument."""
    module, which = mock.Mock(), [] if device.type == "mps" else [device]
    monkeypatch.setattr(torch, "get_device_module", lambda _: module)
    with rehearsal(device):
        assert list(rounds(2, device)) == [0, 1]
    assert module.get_rng_state.call_args_list == [mock.call(*which)] * 2
    assert module.set_rng_state.call_args_list == [mock.call(module.get_rng_state.return_value, *which)] * 3
