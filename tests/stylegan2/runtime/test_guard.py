"""Steps that are not finite: what finds them, what they leave as it was, and when they end a training."""

import math
from pathlib import Path

import pytest
import torch

from stylegan2.runtime.errors import UserError
from stylegan2.runtime.guard import Guard

BAD = [math.nan, math.inf, -math.inf]


@pytest.fixture
def optimizer():
    """Adam of two layers with gradients and one without."""
    layers = [torch.nn.Linear(40, 30), torch.nn.Linear(5, 3), torch.nn.Linear(2, 2)]
    for layer in layers[:2]:
        for parameter in layer.parameters():
            parameter.grad = torch.randn_like(parameter)
    return torch.optim.Adam([p for layer in layers for p in layer.parameters()])


def fail(guard, term="loss"):
    with guard.step():
        guard.check(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))]), {term: torch.tensor(math.nan)})


def work(guard):
    with guard.step():
        pass


# --- what is found ---


def test_finite_numbers_let_the_optimizer_move(optimizer):
    guard = Guard(5)
    with guard.step():
        assert guard.check(optimizer, {"loss_l2": torch.tensor([-1e30, 1e30]), "loss": torch.tensor(0.0)}) == 0
    assert guard.pop() == 0


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("bad", ["loss_l2", "loss_id", "the gradient of loss"])
def test_the_first_term_that_is_not_finite_is_named(optimizer, capsys, value, bad):
    terms = {"loss_l2": torch.ones(4), "loss_id": torch.ones(4), "loss": torch.tensor(1.0)}
    if bad in terms:
        terms[bad][2] = value
        terms["loss"].fill_(value)
    else:
        optimizer.param_groups[0]["params"][1].grad[7] = value
    guard = Guard(5)
    with guard.step():
        assert guard.check(optimizer, {"earlier": torch.tensor(1.0)} if bad in terms else terms) == (bad not in terms)
        assert guard.check(optimizer, terms) == 1
        assert guard.check(optimizer, {"later": torch.tensor(math.nan)}) == 1
    assert capsys.readouterr().out == f"a step was skipped: {bad} was NaN or infinite\n"
    with guard.step():
        assert guard.found_inf == 0


@pytest.mark.parametrize("value", BAD)
def test_one_bad_number_in_any_gradient_is_found(optimizer, value):
    guard = Guard(5)
    for parameter in optimizer.param_groups[0]["params"][:4]:
        for position in (0, parameter.numel() // 2, parameter.numel() - 1):
            kept = parameter.grad.clone()
            parameter.grad.view(-1)[position] = value
            guard.found_inf.zero_()
            assert guard.check(optimizer, {"loss_G": torch.tensor(1.0)}) == 1
            parameter.grad.copy_(kept)
    guard.found_inf.zero_()
    assert guard.check(optimizer, {"loss_G": torch.tensor(1.0)}) == 0


def test_opposite_infinities_do_not_cancel(optimizer):
    assert Guard(5).check(optimizer, {"loss": torch.tensor([math.inf, -math.inf])}) == 1


def test_gradients_whose_squares_overflow_in_adam_are_refused(optimizer):
    optimizer.param_groups[0]["params"][0].grad[0, 0] = 1e25
    assert Guard(5).check(optimizer, {"loss": torch.tensor(1.0)}) == 1


def test_nothing_moves_after_the_first_term_that_is_not_finite(optimizer):
    guard = Guard(5)
    with guard.step():
        guard.check(optimizer, {"loss": torch.tensor(math.nan)})
        assert guard.check(optimizer, {"another": torch.tensor(1.0)}) == 1


def test_a_fused_optimizer_stays_as_it_is():
    layer = torch.nn.Linear(5, 3)
    optimizer = torch.optim.Adam(layer.parameters(), fused=True)
    guard, history = Guard(5), []
    for scale in (1.0, math.nan, 1.0):
        optimizer.zero_grad()
        loss = layer(torch.ones(2, 5)).sum() * scale
        loss.backward()
        with guard.step():
            optimizer.found_inf = guard.check(optimizer, {"loss": loss})
            optimizer.step()
        state = optimizer.state[layer.weight]
        history.append([value.clone() for value in (layer.weight.detach(), state["exp_avg"], state["step"])])
    assert all(torch.equal(a, b) for a, b in zip(history[0], history[1], strict=True))
    assert [int(step) for *_, step in history] == [1, 1, 2]
    assert not torch.equal(history[1][0], history[2][0])


def test_on_a_device_it_counts_until_it_is_asked(monkeypatch, optimizer, capsys):
    """As on a GPU, where nothing is fetched within a step."""
    guard = Guard(4)
    guard.device = torch.device("cuda")  # what it is told; the tensors are here
    monkeypatch.setattr(torch, "zeros", lambda *size, device, zeros=torch.zeros, **kwargs: zeros(*size, **kwargs))
    monkeypatch.setattr(torch.Tensor, "tolist", None)
    for value in (1.0, math.nan, math.nan, 1.0):
        with guard.step():
            guard.check(optimizer, {"loss": torch.tensor(value)})
    monkeypatch.undo()
    assert not guard.failing
    guard.look()
    assert capsys.readouterr().out == "2 steps were skipped: loss was NaN or infinite\n"
    assert guard.pop() == 2


# --- what a skipped step leaves ---


def test_what_the_step_wrote_is_put_back():
    mean, count = torch.tensor([1.0, 2.0]), torch.tensor(3)
    guard = Guard(5, [mean, count])
    with guard.step():
        mean.mul_(math.nan)
        count.add_(1)
        guard.check(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))]), {"loss": torch.tensor(math.nan)})
    assert mean.tolist() == [1.0, 2.0]
    assert count == 3
    with guard.step():
        mean.add_(1)
    assert mean.tolist() == [2.0, 3.0]


def test_skipped_steps_are_counted_since_the_last_question(capsys):
    guard = Guard(5, [])
    for happens in (fail, work, fail, fail, work):
        happens(guard)
    assert (guard.pop(), guard.pop()) == (3, 0)
    fail(guard)
    assert guard.pop() == 1
    assert capsys.readouterr().out.count("a step was skipped: loss was NaN or infinite\n") == 3  # once a row


def test_other_errors_go_through():
    guard = Guard(5, [])
    with pytest.raises(ZeroDivisionError), guard.step():
        _ = 1 / 0
    assert guard.pop() == 0


# --- too many ---


def test_only_a_row_of_skipped_steps_ends_the_training():
    guard = Guard(3, [])
    for _ in range(10):
        fail(guard)
        assert guard.failing
        fail(guard)
        work(guard)
        assert not guard.failing
    fail(guard)
    fail(guard)
    with pytest.raises(UserError, match="because r1 was NaN or infinite in 3 steps in a row"):
        fail(guard, "r1")


@pytest.mark.parametrize(
    ("happens", "words"),
    [
        ([], "there is no checkpoint yet, so the same command starts again from the beginning"),
        (
            ["save", work, "save"],
            "checkpoint, 'b.safetensors'; if this happens again, move it away to resume from an earlier one$",
        ),
        (["save", work], "the same command resumes from the last good checkpoint, 'a.safetensors'$"),
    ],
)
def test_the_sentence_names_the_way_back(happens, words):
    guard, names = Guard(1, []), iter(["a.safetensors", "b.safetensors"])
    for event in happens:
        guard.saved(Path(next(names))) if event == "save" else event(guard)
    with pytest.raises(UserError, match=words) as caught:
        fail(guard)
    assert "in a step: lower learning_rate or check the data; " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_that_goes_on_knows_where_from():
    with pytest.raises(UserError, match="'a.safetensors'; if this happens again"):
        fail(Guard(1, [], Path("a.safetensors")))
