"""One step of GAN training on 16 px random images: what it moves, by which losses, and what its parts give."""

import pytest
import torch

from stylegan2 import training_step
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.stats import Averages
from stylegan2.training_settings import TrainingSettings
from stylegan2.training_state import build_state
from stylegan2.training_step import map_with_mixing, step, track_w_avg, update_ema
from tests.training import networks

BATCH = 4
SETTINGS = {"batch_size": BATCH, "r1_gamma": 1.0, "r1_interval": 4, "path_length_interval": 3, "ema_nimg": 40}


@pytest.fixture
def state():
    settings = TrainingSettings(**SETTINGS)
    return build_state(*networks(), settings), settings


def copies(*modules):
    return [{name: value.clone() for name, value in module.state_dict().items()} for module in modules]


def changed(module, before):
    return [name for name, value in module.state_dict().items() if not torch.equal(value, before[name])]


def real_images(count=BATCH):
    return torch.rand(count, 3, 16, 16) * 2 - 1


def test_one_step_changes_every_weight_but_stored_noise(state):
    state, settings = state
    before_G, before_D, before_ema = copies(state.G, state.D, state.G_ema)
    step(state, real_images(), settings=settings, r1_gamma=1.0, averages=Averages(), guard=Guard(9))
    still = {name for name in before_G if name.endswith("noise_const")}
    assert set(changed(state.G, before_G)) == before_G.keys() - still
    assert set(changed(state.D, before_D)) == before_D.keys()
    assert set(changed(state.G_ema, before_ema)) == before_G.keys() - still
    assert state.cur_nimg == BATCH
    assert all(parameter.requires_grad for parameter in state.D.parameters())
    assert not any(parameter.requires_grad for parameter in state.G_ema.parameters())


def test_each_optimizer_moves_its_own_network(state):
    state, settings = state
    for still, optimizer in ((state.G, state.opt_G), (state.D, state.opt_D)):
        for group in optimizer.param_groups:
            group["lr"], kept = 0.0, group["lr"]
        before_G, before_D = copies(state.G, state.D)
        step(state, real_images(), settings=settings, r1_gamma=1.0, averages=Averages(), guard=Guard(9))
        moved = changed(state.G, before_G), changed(state.D, before_D)
        assert [name for name in moved[0] if name != "mapping.w_avg"] == [] or still is not state.G
        assert (moved[1] == []) == (still is state.D)
        assert (len(moved[0]) > 1) == (still is state.D)
        for group in optimizer.param_groups:
            group["lr"] = kept


def test_lazy_terms_carry_their_weights(state, monkeypatch):
    state, settings = state
    minimised = []
    monkeypatch.setattr(
        training_step,
        "update",
        lambda optimizer, term, parts, guard: minimised.append((optimizer, torch.stack(parts).sum().item())),
    )
    averages = Averages()
    step(state, real_images(), settings=settings, r1_gamma=3.0, averages=averages, guard=Guard(9))
    means = averages.pop()
    assert [optimizer for optimizer, _ in minimised] == [state.opt_D, state.opt_D, state.opt_G, state.opt_G]
    expected = [
        means["loss/D"],
        means["loss/r1"] * 3.0 / 2 * settings.r1_interval,
        means["loss/G"],
        means["path_length/penalty"] * settings.path_length_weight * settings.path_length_interval,
    ]
    assert [loss for _, loss in minimised] == pytest.approx(expected, rel=1e-5)
    # The mean path length starts at 0 and moves by 1 % towards this batch's before it is subtracted.
    assert state.path_length_mean.item() == pytest.approx(0.01 * means["path_length/length"], rel=1e-5)

    minimised.clear()
    step(state, real_images(), settings=settings, r1_gamma=3.0, averages=averages, guard=Guard(9))
    assert len(minimised) == 2  # the second step has no lazy phase


def test_optimizers_are_corrected_for_lazy_phases(state):
    state, _ = state
    (G,), (D,) = state.opt_G.param_groups, state.opt_D.param_groups
    assert (G["lr"], D["lr"]) == pytest.approx((0.002 * 3 / 4, 0.002 * 4 / 5))
    assert (G["betas"][1], D["betas"][1]) == pytest.approx((0.99 ** (3 / 4), 0.99 ** (4 / 5)))


def test_the_average_follows_with_its_decay(state):
    state, settings = state
    state.cur_nimg = 10_000  # far behind the ramp-up, with a half-life of 40 images
    before = copies(state.G_ema)[0]
    step(state, real_images(), settings=settings, r1_gamma=1.0, averages=Averages(), guard=Guard(9))
    decay = 0.5 ** (BATCH / 40)
    for name, parameter in state.G.named_parameters():
        expected = decay * before[name] + (1 - decay) * parameter.detach()
        torch.testing.assert_close(state.G_ema.get_parameter(name), expected)


def test_buffers_are_copied_to_the_average():
    G, _, G_ema = networks()
    G.mapping.w_avg.fill_(7.0)
    update_ema(G_ema, G, decay=0.9, skip=torch.tensor(1.0))
    assert (G_ema.w_avg == 0).all()
    update_ema(G_ema, G, decay=0.9, skip=torch.tensor(0.0))
    assert (G_ema.w_avg == 7).all()


def test_rounds_add_up_to_the_gradient_of_the_mean():
    layer, inputs = torch.nn.Linear(3, 1), torch.randn(6, 3)
    parts = [training_step.accumulate(layer(inputs[k::3])[:, 0], 6) for k in range(3)]
    gradient = layer.weight.grad.clone()
    layer.zero_grad()
    loss = layer(inputs).mean()
    loss.backward()
    torch.testing.assert_close(gradient, layer.weight.grad)
    torch.testing.assert_close(torch.stack(parts).sum(), loss.detach())


# --- style mixing and the mean of W ---


def test_no_mixing_gives_one_w_to_all_layers():
    G = networks()[0]
    z = torch.randn(5, 8)
    assert torch.equal(map_with_mixing(G, z, 0.0), G.mapping(z))


def test_mixing_takes_the_later_layers_from_another_latent():
    G = networks()[0]
    z = torch.randn(400, 8)
    ws, own = map_with_mixing(G, z, 1.0), G.mapping(z)
    is_own = (ws == own).all(2)  # [N, num_ws]
    assert is_own[:, 0].all()
    assert not is_own[:, -1].any()
    crossovers = is_own.sum(1)
    assert (is_own[:, :-1] >= is_own[:, 1:]).all()  # own layers first, then the other's
    assert set(crossovers.tolist()) == set(range(1, G.num_ws))
    assert torch.bincount(crossovers)[1:].min() > 400 / (G.num_ws - 1) / 2  # each about equally often
    last = ws[torch.arange(400), crossovers]  # the first layer of the other latent
    assert (ws[:, -1] == last).all()


def test_a_share_of_the_samples_is_mixed():
    G = networks()[0]
    z = torch.randn(2000, 8)
    mixed = (map_with_mixing(G, z, 0.3) != G.mapping(z)).any(2).any(1)
    assert mixed.float().mean().item() == pytest.approx(0.3, abs=0.04)


@torch.no_grad()
def test_w_avg_is_the_mean_of_w():
    G = networks()[0]
    w = G.mapping(torch.randn(50_000, 8))[:, 0]
    for _ in range(1500):
        track_w_avg(G, [map_with_mixing(G, torch.randn(32, 8), 0.9)[:, 0]])
    standard_error = w.std(0) / (32 * 1.995 / 0.005) ** 0.5  # of a moving average of means of 32
    assert ((G.w_avg - w.mean(0)).abs() < 5 * standard_error).all()
