"""Promises that every registered loss keeps, and the weighted sum."""

import numpy as np
import pytest
import torch
from torch import nn

from psp.losses import LOSSES, WeightedLosses, build_losses, register_loss
from psp.losses.l2 import L2
from psp.losses.w_norm import WNorm
from stylegan2.runtime.errors import UserError

N, NUM_WS, W_DIM, SIDE = 3, 10, 32, 64


@pytest.fixture
def available() -> dict[str, torch.Tensor]:
    """Everything a loss may ask for, with gradients wherever one could go."""
    images = {name: torch.rand(N, 3, SIDE, SIDE) * 2 - 1 for name in ("output", "target", "source")}
    tensors = images | {"w_plus": torch.randn(N, NUM_WS, W_DIM), "latent_avg": torch.randn(W_DIM)}
    tensors["features"] = torch.randn(N, 4, 8, 8)
    return {name: tensor.requires_grad_() for name, tensor in tensors.items()}


@pytest.fixture(params=LOSSES.names())
def loss(request, no_downloads, backbone, moco_file) -> nn.Module:
    options = {"perceptual": {"path": backbone("alexnet")}, "moco": {"path": moco_file}}
    return LOSSES.build(request.param, **options.get(request.param, {}))


def test_one_value_per_sample_that_no_neighbour_changes(loss, available):
    arguments = {name: available[name] for name in loss.inputs}
    values = loss(**arguments)
    assert values.shape == (N,)
    assert values.isfinite().all()
    assert (values > 0).all()
    for i in range(N):
        one = {name: t if name == "latent_avg" else t[i : i + 1] for name, t in arguments.items()}
        torch.testing.assert_close(loss(**one), values[i : i + 1], rtol=1e-4, atol=1e-5)


def test_gradient_reaches_what_is_trained_alone(loss, available):
    loss(**{name: available[name] for name in loss.inputs}).sum().backward()
    trained = "features" if "features" in loss.inputs else loss.inputs[0]
    for name, tensor in available.items():
        if name == trained:
            assert tensor.grad is not None
            assert tensor.grad.isfinite().all()
            assert (tensor.grad.flatten(1).norm(dim=1) > 0).all()
        else:
            assert tensor.grad is None, name
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    assert not any(module.training for module in loss.modules() if isinstance(module, nn.BatchNorm2d | nn.Dropout))


def test_l2_is_the_mean_squared_difference(available):
    a, b = (available[name].detach().double().numpy() for name in ("output", "target"))
    expected = [((x - y) ** 2).mean() for x, y in zip(a, b, strict=True)]
    torch.testing.assert_close(L2()(available["output"], available["target"]).double(), torch.tensor(expected))


@pytest.mark.parametrize("shape", [(W_DIM,), (1, W_DIM), (NUM_WS, W_DIM)])
def test_w_norm_is_over_all_styles_jointly(available, shape):
    w_plus, average = available["w_plus"].detach(), torch.randn(shape)
    squares = np.square(w_plus.double().numpy() - average.double().numpy()).reshape(N, -1).sum(1)
    torch.testing.assert_close(WNorm()(w_plus, average).double(), torch.tensor(np.sqrt(squares)))


def test_w_norm_has_a_gradient_at_the_average():
    w_plus = torch.zeros(1, NUM_WS, W_DIM, requires_grad=True)
    WNorm()(w_plus, torch.zeros(W_DIM)).sum().backward()
    assert w_plus.grad.isfinite().all()


def test_the_total_is_the_mean_of_the_weighted_sum(available):
    losses = build_losses({"l2": 2.0, "w_norm": 0.005})
    values = losses(**available)
    assert set(values) == {"l2", "w_norm"}
    pairs = zip(values["l2"].tolist(), values["w_norm"].tolist(), strict=True)
    total = losses.total(values)
    assert total.item() == pytest.approx(sum(2.0 * a + 0.005 * b for a, b in pairs) / N, rel=1e-6)
    total.backward()
    torch.testing.assert_close(
        available["output"].grad, 4 * (available["output"] - available["target"]).detach() / (N * 3 * SIDE**2)
    )


def test_a_term_of_weight_zero_is_not_built(no_downloads):
    losses = build_losses({"l2": 1.0, "moco": 0.0, "id": 0})  # moco could not be built here
    assert list(losses.losses) == ["l2"]
    assert losses.inputs == {"output", "target"}


def test_terms_have_the_names_of_losses_and_tell_what_measures(no_downloads, available):
    losses = build_losses({"l2": 1, "perceptual": 0.8, "id": 0.1}, id={"network": "dlib"})
    assert set(losses(**available)) == {"l2", "perceptual", "id"}
    assert losses.weights == {"l2": 1.0, "perceptual": 0.8, "id": 0.1}
    assert losses.networks == {"perceptual": "effnet", "id": "id_dlib"}
    assert losses.weights_by_network == {"l2": 1.0, "effnet": 0.8, "id_dlib": 0.1}


def test_building_leaves_the_random_stream_alone(no_downloads):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    build_losses({"perceptual": 1.0, "id": 1.0}, id={"network": "dlib"})
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_training_mode_does_not_reach_the_networks():
    losses = WeightedLosses({"l2": (nn.Sequential(nn.BatchNorm2d(3)), 1.0)})
    nn.Sequential(losses).train()
    assert not any(module.training for module in losses.modules())


@pytest.mark.parametrize(
    ("lambdas", "options", "word"),
    [
        ({"l3": 1.0}, {}, "no loss called 'l3'; there are .*w_norm"),
        ({"l2": 1.0}, {"lpip": {}}, "no loss called 'lpip'"),
        ({"l2": -1.0}, {}, "weight of the loss l2"),
        ({"l2": float("nan")}, {}, "weight of the loss l2"),
        ({"l2": float("inf")}, {}, "weight of the loss l2"),
        ({"l2": 0.0}, {}, "at least one"),
        ({}, {}, "at least one"),
        (
            {"id": 1.0},
            {"id": {"net": "dlib"}},
            "the loss id .*'net'; its settings are network, path",
        ),
    ],
)
def test_mistakes_are_one_sentence(lambdas, options, word):
    with pytest.raises(UserError, match=word):
        build_losses(lambdas, **options)


def test_a_missing_input_is_named(available):
    with pytest.raises(ValueError, match="latent_avg"):
        build_losses({"w_norm": 1.0})(w_plus=available["w_plus"])


def test_one_measure_is_not_weighted_twice(monkeypatch):
    monkeypatch.setitem(LOSSES._builders, "twin", L2)
    with pytest.raises(UserError, match="l2 was given twice"):
        build_losses({"l2": 1.0, "twin": 1.0})


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="the loss 'l2' is registered twice"):
        register_loss("l2")(L2)
    assert LOSSES["l2"] is L2
