"""An encoder's training step on a GPU that is not there: every tensor on the right device, nothing waits for it.

See `tests.stylegan2.test_fake_device`, whose fixture this uses.
"""

from functools import partial

import pytest
import torch

from psp.encoders import ENCODERS
from psp.losses import WeightedLosses, build_losses, identity, lpips
from psp.losses.delta_norm import DeltaNorm
from psp.losses.l2 import L2
from psp.losses.w_norm import WNorm
from psp.model import PSp
from psp.optimizers import Ranger
from psp.perception import crop
from psp.perception.dlib_resnet import DlibResNet
from psp.perception.efficientnet_lite0 import EfficientNetLite0
from psp.trainer import step
from psp.training_settings import TrainingSettings
from psp.training_state import buffers_of_step, build_state, schedule
from stylegan2.networks.precision import set_precision
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.stats import Averages
from tests.stylegan2.test_fake_device import fake_cuda  # noqa: F401

HEADS = {"widths": (16, 16, 16, 16), "units": (1, 1, 1, 1), "head_width": 8}
CORRECTOR = {"feature_side": 8, "feature_channels": 8, "corrector_width": 32}
FORMS = {  # name: encoder, its sizes, settings of the training
    "gradual": ("gradual", HEADS, {}),
    "gradual, generated samples": ("gradual", HEADS, {"generated_share": 0.5}),
    "gradual, adam": ("gradual", HEADS, {"optim_name": "adam", "train_decoder": True}),
    "gradual, in parts": ("gradual", HEADS, {"accumulate": 2}),
    "e4e": ("e4e", HEADS, {"progressive_start": 1}),
    "restyle_e4e": ("restyle_e4e", {**HEADS, "iterations": 2}, {}),
    "feature": ("feature", {**HEADS, **CORRECTOR}, {}),
    "feature, its corrector": ("feature_gradient", {**HEADS, **CORRECTOR}, {"freeze_w_plus": True}),
    "w_plus_naive": ("w_plus_naive", {k: HEADS[k] for k in HEADS if k != "head_width"}, {}),
}


def unknown_matrix(size, start, length, out_size, device, dtype):
    """As large as a matrix that resizes, which is copied to a device once and then kept."""
    return torch.empty(out_size, size, dtype=dtype, device=device)


@pytest.fixture
def all_losses(monkeypatch):
    """Return losses with the real networks, whose weights no file holds here."""
    monkeypatch.setattr(lpips, "load_efficientnet_lite0", lambda _: EfficientNetLite0())
    monkeypatch.setitem(identity.LOADERS, "dlib", lambda _: DlibResNet())
    monkeypatch.setattr(crop, "resample_matrix", unknown_matrix)
    names = ("l2", "l2_crop", "perceptual", "id", "w_norm", "delta_norm")
    settings = {"perceptual": {"network": "effnet"}, "id": {"network": "dlib"}}
    return partial(build_losses, dict.fromkeys(names, 1.0), **settings)


@pytest.fixture
def take_steps(fake_cuda, monkeypatch):  # noqa: F811
    """Return a function that trains an encoder for some steps, in none of which anything waits for the device."""
    remembered = []
    monkeypatch.setattr(Ranger, "_remember", lambda self, skip, moved: remembered.append(len(moved)))
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *_: self)  # fake parameters cannot move

    def take(encoder, sizes, losses, changes, steps=2, img_channels=3, precision="fp32"):
        settings, cuda = TrainingSettings(batch_size=4, w_pool_size=3, **changes), torch.device("cuda")
        with cuda:
            sizes_of_generator = {"z_dim": 8, "w_dim": 8, "channel_base": 128, "channel_max": 8}
            generator = GENERATORS.build("stylegan2", 16, img_channels=img_channels, **sizes_of_generator)
            built = ENCODERS.build(encoder, num_ws=6, w_dim=8, input_size=32, **sizes)
            state, losses = build_state(PSp(built, generator), settings), losses()
        fake_cuda.learning.extend(p for p in state.model.parameters() if p.requires_grad)
        if state.adversary is not None:
            fake_cuda.learning.extend(state.adversary.network.parameters())
        if precision == "fp16":
            set_precision(generator, torch.float16)
        guard = Guard(1, buffers_of_step(state), device=cuda)
        pair = torch.randn(4, 3, 32, 32, device=cuda), torch.randn(4, 3, 16, 16, device=cuda)
        fake_cuda.copies.checks = True
        for _ in range(steps):
            schedule(state, settings)
            with guard.step():
                step(
                    state,
                    *pair,
                    losses=losses,
                    settings=settings,
                    guard=guard,
                    averages=Averages(),
                    precision=precision,
                )
        assert state.cur_nimg == 4 * steps
        assert len(remembered) == (steps if settings.optim_name == "ranger" else 0)

    return take


@pytest.mark.parametrize("form", FORMS)
def test_a_step_never_waits_for_the_device(take_steps, form):
    encoder, sizes, changes = FORMS[form]
    terms = {"l2": (L2(), 1.0), "w_norm": (WNorm(), 0.005), "delta_norm": (DeltaNorm(), 2e-4)}
    steps = 6 if form == "gradual" else 2  # Ranger looks ahead in the sixth
    take_steps(encoder, sizes, lambda: WeightedLosses(terms), changes, steps)


@pytest.mark.parametrize(("img_channels", "precision"), [(1, "fp16"), (3, "bf16")])
def test_nor_do_the_networks_of_the_losses(take_steps, all_losses, monkeypatch, img_channels, precision):
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)  # or it does nothing
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    take_steps("gradual", HEADS, all_losses, {}, img_channels=img_channels, precision=precision)
