import copy
import math
import warnings

import numpy as np
import pytest
import torch

from psp.optimizers import Ranger, _have_equal_strides, with_strides_of
from stylegan2.runtime import checkpoint
from stylegan2.runtime.tensors import load_optimizer, optimizer_tensors

SHAPES = [(5,), (4, 3), (3, 2, 3, 3), ()]


def naive_ranger(weights, gradients, lr, beta1=0.95, beta2=0.999, eps=1e-5, threshold=5, k=6, alpha=0.5):
    """The three papers' algorithms for one parameter, in float64 NumPy; returns the weights after every step."""
    fast, slow = weights.copy(), weights.copy()
    m, v = np.zeros_like(weights), np.zeros_like(weights)
    trajectory = []
    rho_max = 2 / (1 - beta2) - 1
    for t, gradient in enumerate(gradients, start=1):
        if gradient.ndim > 1:
            means = gradient.reshape(len(gradient), -1).mean(1)
            gradient = gradient - means.reshape(-1, *[1] * (gradient.ndim - 1))
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        m_hat = m / (1 - beta1**t)
        rho = rho_max - 2 * t * beta2**t / (1 - beta2**t)
        if rho > threshold:
            r = math.sqrt((rho - 4) * (rho - 2) * rho_max / ((rho_max - 4) * (rho_max - 2) * rho))
            fast = fast - lr * r * m_hat * math.sqrt(1 - beta2**t) / (np.sqrt(v) + eps)
        else:
            fast = fast - lr * m_hat
        if t % k == 0:
            slow = slow + alpha * (fast - slow)
            fast = slow.copy()
        trajectory.append(fast.copy())
    return trajectory


def make(seed=0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    parameters = [torch.nn.Parameter(torch.randn(shape, generator=draw, dtype=dtype)) for shape in SHAPES]
    gradients = [[torch.randn(shape, generator=draw, dtype=dtype) for shape in SHAPES] for _ in range(30)]
    return parameters, gradients


def run(optimizer, parameters, gradients):
    for step in gradients:
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()


def test_equals_the_papers_over_both_phases_and_five_lookaheads():
    parameters, gradients = make()
    starts = [p.detach().numpy().copy() for p in parameters]
    optimizer = Ranger(parameters, lr=0.03)
    for t in range(30):
        run(optimizer, parameters, gradients[t : t + 1])
        for i, parameter in enumerate(parameters):
            expected = naive_ranger(starts[i], [step[i].numpy() for step in gradients[: t + 1]], 0.03)[-1]
            np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("cut", [4, 6, 15])
def test_resumes_exactly_from_its_state_dict(cut):
    parameters, gradients = make(dtype=torch.float32)
    optimizer = Ranger(parameters, lr=0.03)
    run(optimizer, parameters, gradients[:cut])
    restored = [torch.nn.Parameter(p.detach().clone()) for p in parameters]
    again = Ranger(restored, lr=1.0)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(optimizer, parameters, gradients[cut:])
    run(again, restored, gradients[cut:])
    assert all(torch.equal(p, q) for p, q in zip(parameters, restored, strict=True))


def test_resumes_exactly_from_a_checkpoint(tmp_path):
    parameters, gradients = make(dtype=torch.float32)
    optimizer = Ranger(parameters, lr=0.03)
    run(optimizer, parameters, gradients[:9])
    names = [f"p{i}" for i in range(len(SHAPES))]
    tensors, settings = optimizer_tensors("optimizer", optimizer, zip(names, parameters, strict=True))
    checkpoint.save(tmp_path / "a.safetensors", tensors, settings)
    tensors, settings = checkpoint.read(tmp_path / "a.safetensors")

    restored = [torch.nn.Parameter(p.detach().clone()) for p in parameters]
    again = Ranger(restored, lr=1.0)
    load_optimizer(again, zip(names, restored, strict=True), tensors, settings)
    run(optimizer, parameters, gradients[9:])
    run(again, restored, gradients[9:])
    assert all(torch.equal(p, q) for p, q in zip(parameters, restored, strict=True))


def test_a_parameter_without_gradient_stays():
    used, idle = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    optimizer = Ranger([{"params": [used], "lr": 0.1}, {"params": [idle]}])
    used.grad = torch.ones(3)
    optimizer.step()
    assert torch.equal(idle, torch.ones(3))
    torch.testing.assert_close(used.detach(), torch.full([3], 0.9))  # the first steps are not adaptive


def test_closure_runs_with_gradients_and_nothing_warns():
    parameter = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    optimizer = Ranger([parameter], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = parameter.square().sum()
        loss.backward()
        return loss

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses = [optimizer.step(closure).item() for _ in range(200)]
    assert losses[0] == 13.0
    assert losses[-1] < 1.0


# --- where a gradient is not finite ---


def states(optimizer, parameters):
    found = [p.detach().clone() for p in parameters]
    return found + [torch.as_tensor(value).clone() for p in parameters for value in optimizer.state[p].values()]


@pytest.mark.parametrize("before", [0, 4, 5, 11])
def test_a_skipped_step_changes_nothing(before):
    """After 5 and 11 steps the next one looks ahead; after 0 and 4 it is not adaptive."""
    parameters, gradients = make()
    optimizer = Ranger(parameters, lr=0.03)
    run(optimizer, parameters, gradients[: before + 1])
    kept = states(optimizer, parameters)
    optimizer.found_inf = torch.ones([])
    run(optimizer, parameters, [[g * math.nan for g in gradients[before]]])
    assert all(torch.equal(a, b) for a, b in zip(states(optimizer, parameters), kept, strict=True))


@pytest.mark.parametrize("skipped", [False, True])
@pytest.mark.parametrize("before", [0, 1, 4, 5, 11])
def test_what_a_gpu_computes(monkeypatch, before, skipped):
    """There `found_inf` is not looked at: its arithmetic has to give what looking gives. Here on the CPU."""
    monkeypatch.setattr(Ranger, "_remember", lambda *_: None)
    parameters, gradients = make()
    optimizer = Ranger(parameters, lr=0.03)
    run(optimizer, parameters, gradients[:before])
    bad = torch.tensor(float(skipped))
    for parameter, gradient in zip(parameters, gradients[before], strict=True):
        parameter.grad = gradient * (math.nan if skipped else 1)
        optimizer._state(parameter)
    kept = states(optimizer, parameters)
    with torch.no_grad():
        optimizer._update(parameters, before + 1, optimizer.param_groups[0], bad)
    if skipped:  # but for the count, which `settle` takes back
        changed = [not torch.equal(a, b) for a, b in zip(states(optimizer, parameters), kept, strict=True)]
        assert changed == [False] * len(parameters) + [True, False, False, False] * len(parameters)
        return
    expected, _ = make()
    run(Ranger(expected, lr=0.03), expected, gradients[: before + 1])
    for found, wanted in zip(parameters, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-7)


def test_gradients_get_the_layout_of_their_parameters():
    own = torch.nn.Parameter(torch.randn(4, 3, 1, 1).to(memory_format=torch.channels_last))
    other = torch.nn.Parameter(own.detach().clone())
    gradient = torch.randn(4, 3, 1, 1)
    assert gradient.stride() != own.stride()
    found = with_strides_of(gradient, own)
    assert found.stride() == own.stride()
    assert torch.equal(found, gradient)
    assert with_strides_of(found, own) is found
    run(Ranger([own], lr=0.03), [own], [[gradient]] * 7)
    run(Ranger([other], lr=0.03), [other], [[found]] * 7)
    assert torch.equal(own, other)


def test_parameters_that_start_later_have_their_own_count():
    parameters, gradients = make()
    late, alone = parameters[1], torch.nn.Parameter(parameters[1].detach().clone())
    optimizer = Ranger(parameters, lr=0.03)
    for number, step in enumerate(gradients[:12]):
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = None if parameter is late and number < 4 else gradient.clone()
        optimizer.step()
    run(Ranger([alone], lr=0.03), [alone], [[step[1]] for step in gradients[4:12]])
    assert torch.equal(late, alone)


def test_moments_of_another_layout_are_updated_in_theirs():
    """As of a checkpoint that another program wrote: only where all tensors lie alike is a step a single pass."""
    own = torch.nn.Parameter(torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last))
    other = torch.nn.Parameter(own.detach().clone())
    gradients = [[torch.randn(4, 3, 2, 2)] for _ in range(12)]
    optimizers = Ranger([own], lr=0.03), Ranger([other], lr=0.03)
    for optimizer, parameter in zip(optimizers, (own, other), strict=True):
        run(optimizer, [parameter], gradients[:3])
    for key in ("exp_avg", "exp_avg_sq"):
        optimizers[1].state[other][key] = optimizers[1].state[other][key].contiguous()
    assert not _have_equal_strides([other], [optimizers[1].state[other]["exp_avg"]])
    for optimizer, parameter in zip(optimizers, (own, other), strict=True):
        run(optimizer, [parameter], gradients[3:])
    torch.testing.assert_close(own, other)
