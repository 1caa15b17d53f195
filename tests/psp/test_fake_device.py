"""An encoder's training step on a GPU that is not there: every tensor on the right device, nothing waits for it.

See `tests.stylegan2.test_fake_device`, whose fixture this uses.
"""

import pytest
import torch

from psp.encoders import ENCODERS
from psp.losses import WeightedLosses
from psp.losses.delta_norm import DeltaNorm
from psp.losses.l2 import L2
from psp.losses.w_norm import WNorm
from psp.model import PSp
from psp.optimizers import Ranger
from psp.trainer import step
from psp.training_settings import TrainingSettings
from psp.training_state import buffers_of_step, build_state, schedule
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.stats import Averages
from tests.stylegan2.test_fake_device import fake_cuda  # noqa: F401

HEADS = {"widths": (16, 16, 16, 16), "units": (1, 1, 1, 1), "head_width": 8}
FORMS = {
    "gradual": ("gradual", {}),
    "gradual, generated samples": ("gradual", {"generated_share": 0.5}),
    "gradual, adam": ("gradual", {"optim_name": "adam", "train_decoder": True}),
    "e4e": ("e4e", {"progressive_start": 1}),
    "restyle_e4e": ("restyle_e4e", {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_step_never_waits_for_the_device(fake_cuda, monkeypatch, form):  # noqa: F811
    name, changes = FORMS[form]
    settings = TrainingSettings(batch_size=4, w_pool_size=3, **changes)
    remembered = []
    monkeypatch.setattr(Ranger, "_remember", lambda self, skip, moved: remembered.append(len(moved)))
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *_: self)  # fake parameters cannot move
    cuda = torch.device("cuda")
    with cuda:
        generator = GENERATORS.build("stylegan2", 16, z_dim=8, w_dim=8, channel_base=128, channel_max=8)
        state = build_state(PSp(ENCODERS.build(name, num_ws=6, w_dim=8, input_size=32, **HEADS), generator), settings)
    fake_cuda.extend(p for p in state.model.parameters() if p.requires_grad)
    if state.adversary is not None:
        fake_cuda.extend(state.adversary.network.parameters())
    losses = WeightedLosses({"l2": (L2(), 1.0), "w_norm": (WNorm(), 0.005), "delta_norm": (DeltaNorm(), 2e-4)})
    guard = Guard(1, buffers_of_step(state), device=cuda)
    source, target = torch.randn(4, 3, 32, 32, device=cuda), torch.randn(4, 3, 16, 16, device=cuda)
    for _ in range(6):  # the sixth looks ahead
        schedule(state, settings)
        with guard.step():
            step(state, source, target, losses=losses, settings=settings, guard=guard, averages=Averages())
    assert state.cur_nimg == 24
    assert len(remembered) == (6 if settings.optim_name == "ranger" else 0)
