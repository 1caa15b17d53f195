"""e4e's discriminator of codes: its formulas, its pool, and that it learns to tell codes apart."""

import pytest
import torch
import torch.nn.functional as F

from psp.latent_discriminator import (
    LatentDiscriminator,
    LatentPool,
    adversary_tensors,
    build_adversary,
    deception_loss,
    load_adversary,
    train_discriminator,
)
from stylegan2 import losses
from stylegan2.runtime.errors import CheckpointError
from stylegan2.runtime.guard import Guard

CPU = torch.device("cpu")


def adversary(pool_size=6, learning_rate=1e-3, w_dim=8):
    torch.manual_seed(0)
    return build_adversary(w_dim, 0.1, learning_rate, pool_size, CPU)


def test_keys_and_shapes_are_the_published_ones():
    shapes = {key: tuple(value.shape) for key, value in LatentDiscriminator(512).state_dict().items()}
    expected = {f"mlp.{i}.weight": (512, 512) for i in (0, 2, 4)} | {"mlp.6.weight": (1, 512)}
    assert shapes == expected | {f"mlp.{i}.bias": (512,) for i in (0, 2, 4)} | {"mlp.6.bias": (1,)}


def test_the_network_is_a_perceptron_with_slope_0_2():
    network = LatentDiscriminator(8).double()
    w = x = torch.randn(5, 8, dtype=torch.float64)
    p = network.state_dict()
    for i in (0, 2, 4):
        x = x @ p[f"mlp.{i}.weight"].T + p[f"mlp.{i}.bias"]
        x = torch.where(x > 0, x, 0.2 * x)
    torch.testing.assert_close(network(w), x @ p["mlp.6.weight"].T + p["mlp.6.bias"])


def test_deception_is_the_mean_over_rows_and_leaves_the_discriminator_alone():
    network, rows = LatentDiscriminator(8), torch.randn(3, 4, 8, requires_grad=True)
    loss = deception_loss(network, rows)
    expected = torch.stack([F.softplus(-network(rows[:, i])).squeeze(1) for i in range(4)]).mean(0)
    torch.testing.assert_close(loss, expected)
    loss.sum().backward()
    assert rows.grad.abs().min() > 0
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


def test_r1_is_the_squared_gradient_of_each_sample():
    network, w = LatentDiscriminator(8).double(), torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    expected = []
    for n in range(3):
        jacobian = torch.autograd.functional.jacobian(lambda x: network(x[None])[0, 0], w[n].detach())
        expected.append(jacobian.square().sum())
    torch.testing.assert_close(losses.r1(network(w), w), torch.stack(expected))


def test_it_learns_to_tell_codes_apart():
    own, shift = adversary(learning_rate=3e-3), torch.ones(8)
    for step in range(150):
        train_discriminator(own, torch.randn(16, 8) - shift, torch.randn(16, 5, 8) + shift, step + 1, Guard(9))
    with torch.no_grad():
        real, fake = own.network(torch.randn(200, 8) - shift), own.network(torch.randn(200, 8) + shift)
    assert (real > 0).float().mean() > 0.9
    assert (fake < 0).float().mean() > 0.9


def test_r1_is_lazy_and_in_the_first_step():
    own = adversary()
    due = [
        step
        for step in range(40)
        if "w_discriminator_r1" in train_discriminator(own, torch.randn(4, 8), torch.randn(4, 5, 8), step, Guard(9))
    ]
    assert due == [0, 16, 32]


# --- the pool ---


def test_a_pool_fills_first_and_then_exchanges_half():
    pool = LatentPool(20, 2)
    first = torch.arange(40.0).reshape(20, 2)
    assert torch.equal(pool.exchange(first), first)
    assert torch.equal(pool.codes, first)
    replaced = 0
    for _ in range(50):
        new = torch.randn(20, 2)
        before = torch.cat([pool.codes, new])
        given = pool.exchange(new)
        after = torch.cat([pool.codes, given])
        assert torch.equal(before.sort(0).values, after.sort(0).values)  # nothing is lost or doubled
        replaced += int((given != new).any(1).sum())
    assert 400 < replaced < 600


def test_a_batch_larger_than_the_pool_and_a_pool_of_none():
    codes = torch.randn(7, 2)
    assert torch.equal(LatentPool(0, 2).exchange(codes), codes)
    pool = LatentPool(3, 2)
    assert pool.exchange(codes).shape == (7, 2)
    assert int(pool.count) == 3


# --- checkpoints ---


def run(own, steps):
    for step in steps:
        torch.manual_seed(step)
        train_discriminator(own, torch.randn(4, 8), torch.randn(4, 5, 8), step, Guard(9))
    return own


def test_stored_and_restored_it_goes_on_exactly():
    whole = run(adversary(), range(20))
    half = run(adversary(), range(9))
    tensors, settings = adversary_tensors(half)
    restored = adversary()
    load_adversary(restored, {name: tensor.clone() for name, tensor in tensors.items()}, settings)
    expected, settings = adversary_tensors(whole)
    found, found_settings = adversary_tensors(run(restored, range(9, 20)))
    assert settings == found_settings
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    assert any(".fake_pool.codes" in name for name in found)


def test_a_checkpoint_without_one_is_said():
    with pytest.raises(CheckpointError, match="trained without a latent discriminator"):
        load_adversary(adversary(), {}, None)
