"""A training step on a GPU that is not there: every tensor on the right device, and nothing that waits for the device.

Fake tensors have a device and a shape but no values: an operator on tensors of two devices fails, and so does whatever
asks for a value, which on a GPU would wait until all kernels before it have run. Autograd's engine asks for a driver,
so what it would compute is replaced: gradients of the right shape on the right device.
"""

from dataclasses import replace
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode, unset_fake_temporarily

from options.networks import chosen_settings
from options.parse import parse
from scripts.train_stylegan2 import TrainStyleGAN2
from stylegan2 import augment, training_step
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.stats import Averages
from stylegan2.training_state import build_state

SIZES = ["--resolution", "32", "--channel_base", "256", "--channel_max", "16", "--z_dim", "8", "--w_dim", "8"]


def settings_of(*flags):
    return parse(TrainStyleGAN2, chosen_settings, args=[*SIZES, "--batch_size", "4", *flags])


def gradients(outputs, inputs, *_, **__):
    inputs = [inputs] if isinstance(inputs, Tensor) else inputs
    return tuple((x * 0.5).clone() for x in inputs)


@pytest.fixture
def fake_cuda(monkeypatch):
    """Within it tensors have no values and autograd needs no driver; it yields the list of what gets gradients."""

    def backward(loss, *_, **__):
        assert loss.device.type == "cuda"
        assert loss.requires_grad
        for parameter in learning:
            if parameter.requires_grad:
                parameter.grad = torch.empty_like(parameter)

    learning = []
    monkeypatch.setattr(Tensor, "backward", backward)
    monkeypatch.setattr(torch.autograd, "grad", gradients)
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    with FakeTensorMode():
        yield learning


computed = augment._resampling.__wrapped__


def constants(resolution, dtype, device):
    """As large as augmentation's filter matrices, which are computed on the CPU, once, from values."""
    with unset_fake_temporarily():
        matrices = computed(resolution, dtype, torch.device("cpu"))
    return tuple(torch.empty(matrix.shape, dtype=dtype, device=device) for matrix in matrices)


@pytest.mark.parametrize(
    "flags",
    [
        ["--arch", "stylegan2"],
        ["--arch", "stylegan", "--style_mixing", "0.9"],
        ["--arch", "pggan"],
        ["--augment", "bgc"],
    ],
    ids=lambda flags: flags[1],
)
def test_a_step_never_waits_for_the_device(fake_cuda, monkeypatch, flags):
    settings = settings_of(*flags)
    s = replace(settings.training, r1_interval=1, path_length_interval=min(1, settings.training.path_length_interval))
    with torch.device("cuda"), mock.patch.object(nn.Module, "load_state_dict"):  # building may read values
        state = build_state(*settings.network.build(), s)
    fake_cuda.extend([*state.G.parameters(), *state.D.parameters()])
    monkeypatch.setattr(augment, "_resampling", constants)
    averages, guard = Averages(), Guard(1, [state.G.w_avg, state.path_length_mean], device=torch.device("cuda"))
    real = torch.randn(4, 3, 32, 32, device="cuda")
    for _ in range(2):  # the second step has the optimizers' state
        with guard.step():
            training_step.step(state, real, settings=s, r1_gamma=1.0, averages=averages, guard=guard)
    assert state.cur_nimg == 8


def test_asking_for_a_value_is_noticed(fake_cuda):
    with pytest.raises(DataDependentOutputException):
        float(torch.randn(3, device="cuda").sum())
    with pytest.raises(Exception, match="at least two devices"):
        torch.randn(3, device="cuda") + torch.randn(3)
