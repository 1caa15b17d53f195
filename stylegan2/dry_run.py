"""Estimate what the training of a generator needs by timing a few of its steps."""

from collections.abc import Callable, Iterator

import torch

from stylegan2 import schedule
from stylegan2.networks.precision import set_precision
from stylegan2.networks.protocols import Discriminator, Generator
from stylegan2.runtime.device import place, set_precision_flags
from stylegan2.runtime.estimate import Estimate, time_steps
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.randomness import seed_step
from stylegan2.runtime.stats import Averages
from stylegan2.trainer import Batch, on_device
from stylegan2.training_settings import TrainingSettings, check_fit
from stylegan2.training_state import build_state, check_batches
from stylegan2.training_step import step


def estimate(
    G: Generator,
    D: Discriminator,
    G_ema: Generator,
    batches: Callable[[int], Iterator[Batch]],
    settings: TrainingSettings,
    device: torch.device,
) -> Estimate:
    """Time a few steps as `stylegan2.trainer.train` takes them, with the same arguments, in one process.

    The networks are changed, and nothing is saved. A training that grows is timed at its first and lowest resolution.
    """
    s, dtype = settings, set_precision_flags(settings.precision, device, auto="fp16")
    check_fit(s, G.img_resolution, G.grows, G.has_styles)
    check_batches(s, G.img_resolution, D.mbstd_group, processes=1)
    for module in (G, D, G_ema):
        place(module, device)
    for module in (G, D):
        set_precision(module, dtype)
    state, averages = build_state(G, D, G_ema, s), Averages()
    guard, stream = Guard(s.max_nonfinite_steps, [G.w_avg, state.path_length_mean], None, device), batches(0)
    r1_gamma = schedule.r1_gamma(G.img_resolution, s.batch_size) if s.r1_gamma is None else s.r1_gamma

    def take() -> int:
        real, labels = on_device(next(stream), device)  # [N, C, R, R], [N]
        seed_step(s.seed, 0, state.cur_nimg)
        with guard.step():
            step(state, real, labels, settings=s, r1_gamma=r1_gamma, averages=averages, guard=guard)
        return len(real)

    return time_steps(take, device, most_steps=max(s.lazy_r1_interval, s.path_length_interval, 1))
