"""Estimate what the training of an encoder needs by timing a few of its steps."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from psp.losses import WeightedLosses
from psp.model import PSp
from psp.precision import pick_precision
from psp.trainer import step
from psp.training_settings import TrainingSettings
from psp.training_state import buffers_of_step, build_state, check_batches, schedule
from stylegan2.networks.precision import set_precision
from stylegan2.runtime.device import place
from stylegan2.runtime.estimate import Estimate, time_steps
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.randomness import seed_step
from stylegan2.runtime.stats import Averages

MAX_STEPS = 20


def estimate(
    model: PSp,
    losses: WeightedLosses,
    batches: Callable[[int], Iterator[tuple[Tensor, Tensor]]],
    settings: TrainingSettings,
    device: torch.device,
) -> Estimate:
    """Time a few steps as `psp.trainer.train` takes them, with the same arguments, in one process.

    The model is changed, and nothing is saved.
    """
    s, precision = settings, pick_precision(settings.precision, device)
    check_batches(s, processes=1)
    for module in (model, losses):
        place(module, device)
    if precision == "fp16":
        set_precision(model.generator, torch.float16)
    state, averages = build_state(model, s), Averages()
    guard, stream = Guard(s.max_nonfinite_steps, buffers_of_step(state), None, device), batches(0)

    def take() -> int:
        source, target = (batch.to(device) for batch in next(stream))
        seed_step(s.seed, 0, state.cur_step)
        schedule(state, s)
        with guard.step():
            step(state, source, target, losses=losses, settings=s, guard=guard, averages=averages, precision=precision)
        return len(source)

    return time_steps(take, device, MAX_STEPS)
