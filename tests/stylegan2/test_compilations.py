"""How often Triton compiles in a training on a GPU: a fixed set of kernels in the first steps, and nothing later.

No GPU is needed: Triton's own code computes the key under which it keeps a compiled kernel from the arguments of a
launch. Launches are recorded instead of run, and their results are zeros.
"""

import sys
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

pytest.importorskip("triton", reason="Triton, which compiles the CUDA kernels, is not installed")
if sys.platform != "linux":
    pytest.skip("Triton's compiler for CUDA comes for Linux alone", allow_module_level=True)

from stylegan2 import ops, training_step
from stylegan2.networks.precision import set_precision
from stylegan2.networks.registry import DISCRIMINATORS, GENERATORS
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.stats import Averages
from stylegan2.training_settings import TrainingSettings
from stylegan2.training_state import build_state
from tests.launches import record_launches

SIDE = 128
SIZES = {"img_resolution": SIDE, "channel_base": 8192, "channel_max": 512}
GROWING = {"grow_from": 8, "fade_nimg": 8, "stable_nimg": 8, "lazy_r1": False, "path_length_interval": 0}
SYSTEMS = {
    "pggan": {**GROWING, "loss": "wgan", "style_mixing": 0.0},
    "stylegan": GROWING,
    "stylegan2": {"r1_interval": 16, "path_length_interval": 8},
}
MOST = {"pggan": 10, "stylegan": 12, "stylegan2": 30}
"""compilations of a training with four resolutions in float16"""


@pytest.fixture
def keys(monkeypatch):
    """The keys of all kernels that were launched."""
    monkeypatch.setattr(training_step, "rounds", lambda count, _: range(count))  # no random numbers to keep
    monkeypatch.setattr(training_step, "rehearsal", lambda _: nullcontext())
    return record_launches(monkeypatch)


def prepared(system, dtype):
    with torch.device("meta"):
        G, G_ema = (GENERATORS.build_from(system, SIZES) for _ in range(2))
        D = DISCRIMINATORS.build_from(system, SIZES)
    for network in (G, D, G_ema):
        set_precision(network, dtype)
    settings = TrainingSettings(batch_size=4, r1_gamma=1.0, **SYSTEMS[system])
    return build_state(G, D, G_ema, settings), settings


def take_step(state, settings, batch=4):
    guard, real = Guard(1, [state.G.w_avg]), torch.empty(batch, 3, SIDE, SIDE, device="meta")
    with guard.step():
        training_step.step(state, real, settings=settings, r1_gamma=1.0, averages=Averages(), guard=guard)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("system", SYSTEMS)
def test_no_kernel_is_compiled_after_the_first_steps(keys, system, dtype):
    state, settings = prepared(system, dtype)
    all_phases = replace(settings, r1_interval=1, path_length_interval=min(1, settings.path_length_interval))
    take_step(state, all_phases)
    if "grow_from" in SYSTEMS[system]:  # until it has grown, higher resolutions may bring other types
        state.cur_nimg = 10**6
        take_step(state, settings)
    first = len(keys)
    assert 0 < first <= MOST[system]
    for batch in (4, 6):  # with other phases, and at another batch size
        take_step(state, settings, batch)
    take_step(state, replace(all_phases, batch_gpu=4), 8)
    assert len(keys) == first


def test_another_width_may_compile_but_another_size_of_the_image_does_not(keys):
    """The key has what the code depends on, or the tests above could not fail."""
    for channels, side in ((64, 8), (64, 31), (8, 8)):
        before = len(keys)
        ops.downsample2x(torch.randn(2, channels, side, side))
        assert (len(keys) > before) == ((channels, side) in ((64, 8), (8, 8)))
