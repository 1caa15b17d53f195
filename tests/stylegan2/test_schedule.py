import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylegan2 import schedule

batch_sizes = st.integers(1, 300)


@given(batch_sizes, st.floats(1, 1e6), st.integers(0, 10**8))
def test_after_the_half_life_half_is_left(batch_size, half_life, cur_nimg):
    decay = schedule.ema_decay(cur_nimg, batch_size, half_life, rampup=None)
    assert 0 <= decay < 1
    if decay > 1e-3:
        assert decay ** (half_life / batch_size) == pytest.approx(0.5)


def test_the_average_keeps_up_early():
    decays = [schedule.ema_decay(nimg, 32, 10_000, rampup=0.05) for nimg in range(0, 400_000, 32)]
    assert decays[0] == 0.0  # nothing seen yet: a plain copy
    assert decays == sorted(decays)
    assert schedule.ema_decay(20_000, 32, 10_000, 0.05) == pytest.approx(0.5 ** (32 / 1000))
    assert schedule.ema_decay(200_000, 32, 10_000, 0.05) == schedule.ema_decay(10**9, 32, 10_000, 0.05)
    assert schedule.ema_decay(20_000, 32, 10_000, None) == schedule.ema_decay(10**9, 32, 10_000, None)


@given(batch_sizes, st.integers(1, 40), st.integers(1, 200))
def test_a_lazy_phase_runs_every_interval_steps(batch_size, interval, steps):
    due = [step for step in range(steps) if schedule.is_due(step * batch_size, batch_size, interval)]
    assert due == list(range(0, steps, interval))


@given(batch_sizes, st.integers(0, 10**6))
def test_interval_zero_never_runs(batch_size, cur_nimg):
    assert not schedule.is_due(cur_nimg, batch_size, 0)
    assert not schedule.passed(cur_nimg, batch_size, 0)


@given(st.integers(1, 50), st.integers(1, 400), st.integers(1, 60))
def test_passed_fires_in_the_step_that_shows_the_images(batch_size, interval, steps):
    for step in range(1, steps + 1):
        shown = range((step - 1) * batch_size + 1, step * batch_size + 1)  # the images of this step, counted from 1
        assert schedule.passed(step * batch_size, batch_size, interval) == any(n % interval == 0 for n in shown)


def test_lazy_adam_is_the_papers():
    learning_rate, (beta1, beta2) = schedule.lazy_adam(0.002, (0.0, 0.99), 16)
    assert learning_rate == pytest.approx(0.002 * 16 / 17)
    assert beta1 == 0.0
    assert isinstance(beta1, float)  # Adam refuses a pair of an int and a float
    assert beta2 == pytest.approx(0.99 ** (16 / 17))
    assert schedule.lazy_adam(0.002, (0.0, 0.99), 0) == (0.002, (0.0, 0.99))


@given(st.integers(1, 64), st.floats(0.5, 0.9999))
def test_lazy_adam_forgets_as_much_in_more_steps(interval, beta):
    """interval + 1 updates now stand where interval stood before, and both together decay and move alike."""
    learning_rate, (lazy, _) = schedule.lazy_adam(1.0, (beta, beta), interval)
    assert lazy ** (interval + 1) == pytest.approx(beta**interval)
    assert learning_rate * (interval + 1) == pytest.approx(interval)


@pytest.mark.parametrize(("resolution", "batch", "gamma"), [(256, 64, 0.2048), (1024, 32, 6.5536)])
def test_r1_gamma_is_the_heuristic(resolution, batch, gamma):
    assert math.isclose(schedule.r1_gamma(resolution, batch), gamma)
