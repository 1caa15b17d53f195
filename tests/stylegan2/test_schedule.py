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


# --- growing ---

GROWING = {"img_resolution": 64, "grow_from": 8, "fade_nimg": 30, "stable_nimg": 50}


@pytest.mark.parametrize(
    ("cur_nimg", "expected"),
    [
        (0, (8, 1.0)),
        (49, (8, 1.0)),
        (50, (16, 0.0)),
        (65, (16, 0.5)),
        (79, (16, 29 / 30)),
        (80, (16, 1.0)),
        (129, (16, 1.0)),
        (130, (32, 0.0)),
        (160, (32, 1.0)),
        (210, (64, 0.0)),
        (239, (64, 29 / 30)),
        (240, (64, 1.0)),
        (10**12, (64, 1.0)),
    ],
)
def test_growing_at_its_borders(cur_nimg, expected):
    assert schedule.stage(cur_nimg, **GROWING) == pytest.approx(expected)


@given(st.integers(2, 10), st.integers(0, 3), st.integers(0, 50), st.integers(1, 50), st.integers(0, 1000))
def test_growing_never_goes_back(log2, doublings, fade, stable, cur_nimg):
    """What has faded in stays: resolution times the part of it that is shown only grows."""
    start, end = 2**log2, 2 ** (log2 + doublings)

    def shown(nimg):
        resolution, alpha = schedule.stage(nimg, end, start, fade, stable)
        assert start <= resolution <= end
        assert 0 <= alpha <= 1
        return resolution / 2 * (1 + alpha)

    assert shown(0) == start
    assert shown(cur_nimg) <= shown(cur_nimg + 1)
    assert shown(doublings * (fade + stable)) == end


def test_without_growing_the_networks_are_whole():
    assert schedule.stage(0, 256, None, 600, 600) == (256, 1.0)
    assert schedule.stage(5, 16, 16, 600, 600) == (16, 1.0)


def test_settings_of_a_resolution():
    assert schedule.at_resolution({8: 256, 16: 128}, 16, 32) == 128
    assert schedule.at_resolution({8: 256, 16: 128}, 64, 32) == 32
