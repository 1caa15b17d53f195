"""A training step on a GPU that is not there: every tensor on the right device, and nothing that waits for the device.

Fake tensors have a device and a shape but no values: an operator on tensors of two devices fails, and so does whatever
asks for a value, which on a GPU would wait until all kernels before it have run. So would a copy between host and
device that is not explicitly non-blocking, such as that of `torch.tensor(numbers, device="cuda")`. Autograd's engine
asks for a driver, so what it would compute is replaced: gradients of the right shape on the right device.
"""

from dataclasses import replace
from typing import NamedTuple
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from options.networks import chosen_settings
from options.parse import parse
from scripts.train_stylegan2 import TrainStyleGAN2
from stylegan2 import augment, training_step
from stylegan2.networks.precision import set_precision
from stylegan2.ops import fir
from stylegan2.runtime import randomness
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.stats import Averages
from stylegan2.training_state import build_state

aten = torch.ops.aten
SIZES = ["--resolution", "16", "--channel_base", "128", "--channel_max", "16", "--z_dim", "8", "--w_dim", "8"]


def settings_of(*flags):
    return parse(TrainStyleGAN2, chosen_settings, args=[*SIZES, "--batch_size", "4", *flags])


def gradients(outputs, inputs, *_, **__):
    inputs = [inputs] if isinstance(inputs, Tensor) else inputs
    return tuple((x * 0.5).clone() for x in inputs)


class BlockingCopyError(Exception):
    """Raised by a copy between host and device that waits for all kernels before it."""


class NoBlockingCopy(TorchDispatchMode):
    """Within it, a copy between host and device must be non-blocking, once `checks` is set."""

    checks = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if self.checks and func in (aten._to_copy.default, aten.copy_.default):
            waits = not (kwargs or {}).get("non_blocking") and not (len(args) > 2 and args[2])
            source = args[0] if func is aten._to_copy.default else args[1]
            if waits and (source.device.type == "cuda") != (result.device.type == "cuda"):
                raise BlockingCopyError(f"from {source.device} to {result.device}")
        elif self.checks and func is aten.index.Tensor and args[0].device.type == "cuda":
            for index in args[1]:
                if index is not None and index.device.type != "cuda":
                    raise BlockingCopyError("of an index")
        return result


class FakeCuda(NamedTuple):
    learning: list[nn.Parameter]
    """what gets gradients"""
    copies: NoBlockingCopy


@pytest.fixture
def fake_cuda(monkeypatch):
    """Within it tensors have no values, and autograd needs no driver."""

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
    monkeypatch.setattr(fir, "fir_kernel", unknown_filter)
    monkeypatch.setattr(randomness, "_generator_states", lambda device: [device])
    monkeypatch.setattr(randomness, "_set_generator_states", lambda device, states: None)
    with FakeTensorMode(), NoBlockingCopy() as copies:
        yield FakeCuda(learning, copies)


def unknown_filter(channels, gain, like, taps):
    """As large as a filter, which is copied to a device once and then kept."""
    return torch.empty(channels, 1, len(taps), len(taps), dtype=like.dtype, device=like.device)


computed = augment._resampling.__wrapped__


def constants(resolution, dtype, device):
    """As large as augmentation's filter matrices, which are computed on the CPU, once, from values."""
    with unset_fake_temporarily():
        matrices = computed(resolution, dtype, torch.device("cpu"))
    return tuple(torch.empty(matrix.shape, dtype=dtype, device=device) for matrix in matrices)


FORMS = {
    "stylegan2": ["--arch", "stylegan2", "--style_mixing", "0.9"],
    "stylegan": ["--arch", "stylegan", "--style_mixing", "0.9"],
    "pggan": ["--arch", "pggan"],
    "growing": ["--arch", "stylegan", "--grow_from", "8", "--stable_nimg", "4", "--fade_nimg", "16"],
    "residual": ["--g_architecture", "residual", "--d_architecture", "skip", "--loss", "hinge"],
    "augmented": ["--augment", "bgc"],
    "gray": ["--augment", "bgc", "--channels", "1"],
    "conditional": ["--conditional"],
    "in rounds": ["--batch_gpu", "2", "--mbstd_group", "2"],
}


@pytest.mark.parametrize(("form", "dtype"), [("stylegan2", torch.float32), *((form, torch.float16) for form in FORMS)])
def test_a_step_never_waits_for_the_device(fake_cuda, monkeypatch, form, dtype):
    settings = settings_of(*FORMS[form])
    s = replace(settings.training, r1_interval=1, path_length_interval=min(1, settings.training.path_length_interval))
    with torch.device("cuda"), mock.patch.object(nn.Module, "load_state_dict"):  # building may read values
        state = build_state(*settings.network.build(num_classes=3 * ("--conditional" in FORMS[form])), s)
    for network in (state.G, state.D):
        set_precision(network, dtype)
    state.control = replace(state.control, p=0.5)
    fake_cuda.learning.extend([*state.G.parameters(), *state.D.parameters()])
    monkeypatch.setattr(augment, "_resampling", constants)
    averages, guard = Averages(), Guard(1, [state.G.w_avg, state.path_length_mean], device=torch.device("cuda"))
    real = torch.randn(4, state.G.img_channels, 16, 16, device="cuda")
    labels = torch.zeros(4, dtype=torch.int64, device="cuda") if state.G.num_classes else None
    fake_cuda.copies.checks = True
    for _ in range(2):  # the second step has the optimizers' state
        with guard.step():
            training_step.step(state, real, labels, settings=s, r1_gamma=1.0, averages=averages, guard=guard)
    assert state.cur_nimg == 8


def test_asking_for_a_value_is_noticed(fake_cuda):
    with pytest.raises(DataDependentOutputException):
        float(torch.randn(3, device="cuda").sum())
    with pytest.raises(Exception, match="at least two devices"):
        torch.randn(3, device="cuda") + torch.randn(3)


def test_a_copy_that_waits_is_noticed(fake_cuda):
    x, host = torch.randn(3, device="cuda"), torch.randn(3)
    fake_cuda.copies.checks = True
    host.to(x, non_blocking=True)
    x.copy_(host, non_blocking=True)
    for copy in (
        lambda: host.to("cuda"),
        lambda: x.copy_(host),
        lambda: x.cpu(),
        lambda: x.new_tensor([1.0, 2.0, 3.0]),
        lambda: x[torch.tensor([0, 2])],
    ):
        with pytest.raises(BlockingCopyError):
            copy()
