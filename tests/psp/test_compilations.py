"""How often Triton compiles in the training of an encoder on a GPU; see `tests.stylegan2.test_compilations`."""

import sys
from contextlib import nullcontext

import pytest
import torch

pytest.importorskip("triton", reason="Triton, which compiles the CUDA kernels, is not installed")
if sys.platform != "linux":
    pytest.skip("Triton's compiler for CUDA comes for Linux alone", allow_module_level=True)

from psp import trainer
from psp.encoders import ENCODERS
from psp.losses import build_losses
from psp.model import PSp
from psp.training_settings import TrainingSettings
from psp.training_state import build_state
from stylegan2.networks.precision import set_precision
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.stats import Averages
from tests.launches import record_launches

SIDE = 32
HEADS = {"widths": (16, 16, 16, 16), "units": (1, 1, 1, 1), "head_width": 8}
CORRECTOR = {"feature_side": 8, "feature_channels": 512, "corrector_width": 32}
ENCODERS_AND_SIZES = {
    "gradual": HEADS,
    "feature": {**HEADS, **CORRECTOR},
}
MOST = 20
"""compilations of a training with a generator of 32 px"""


@pytest.fixture
def keys(monkeypatch):
    """The keys of all kernels that were launched."""
    monkeypatch.setattr(trainer, "rounds", lambda count, _: range(count))  # no random numbers to keep
    monkeypatch.setattr(trainer, "autocast", lambda *_: nullcontext())  # the meta device has none
    return record_launches(monkeypatch)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("encoder", ENCODERS_AND_SIZES)
def test_no_kernel_is_compiled_after_the_first_step(keys, encoder, dtype):
    with torch.device("meta"):
        G = GENERATORS.build_from("stylegan2", {"img_resolution": SIDE, "channel_base": 8192, "mapping_layers": 1})
        model = PSp(ENCODERS.build(encoder, G.num_ws, G.w_dim, input_size=SIDE, **ENCODERS_AND_SIZES[encoder]), G)
    set_precision(model.generator, dtype)
    settings = TrainingSettings(batch_size=4, optim_name="adam")
    state, losses = build_state(model, settings), build_losses({"l2": 1.0})
    guard = Guard(1, [], device=torch.device("meta"))
    counts = []
    for batch in (4, 6):  # the last batch may be of another size
        images = torch.empty(batch, 3, SIDE, SIDE, device="meta")
        with guard.step():
            trainer.step(state, images, images, losses=losses, settings=settings, guard=guard, averages=Averages())
        counts.append(len(keys))
    assert 0 < counts[0] <= MOST
    assert counts == counts[:1] * 2
