"""Training that gives the same numbers at every run on a GPU too: which operators a step has, and that it resumes."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from psp.encoders import ENCODERS, corrected_features
from psp.losses import build_losses
from psp.model import PSp
from psp.training_settings import TrainingSettings
from psp.training_state import build_state
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime import checkpoint
from stylegan2.runtime.device import set_deterministic
from tests.psp import test_trainer_encoders as encoders

# What `torch.use_deterministic_algorithms` refuses on CUDA, by the names of PyTorch's operators: see its documentation.
REFUSED = {
    "_adaptive_avg_pool2d_backward",
    "adaptive_avg_pool2d_backward",
    "adaptive_max_pool2d_backward",
    "bincount",
    "grid_sampler_2d_backward",
    "histc",
    "kthvalue",
    "median",
    "nll_loss2d_backward",
    "nll_loss2d_forward",
    "nll_loss_backward",
    "nll_loss_forward",
    "put_",
    "reflection_pad2d_backward",
    "upsample_bicubic2d_backward",
    "upsample_bilinear2d_backward",
}


@pytest.fixture(autouse=True)
def _deterministic():
    set_deterministic(True)
    yield
    set_deterministic(False)


class Operators(TorchDispatchMode):
    """Collects the names of all operators that run within it, those of the backward pass included."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def operators_of_a_step(name, losses, **changes):
    torch.manual_seed(0)
    generator = GENERATORS.build("stylegan2", 64, z_dim=8, w_dim=8, channel_base=256, channel_max=8, mapping_layers=1)
    sizes = {"num_ws": generator.num_ws, "w_dim": 8, "input_channels": 3, "input_size": 32, "img_channels": 3}
    sizes |= {"widths": (16, 16, 16, 16), "units": (1, 1, 1, 1), "head_width": 8, **corrected_features(generator)}
    settings = TrainingSettings(batch_size=2, precision="fp32", **changes)
    state = build_state(PSp(ENCODERS.build_from(name, sizes), generator), settings)
    source, target = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)  # of half the generator's size
    with Operators() as operators:
        encoders.make_step(state, source, target, losses, settings=settings)
    assert {"convolution_backward", "avg_pool2d_backward"} <= operators.names
    return operators.names


@pytest.mark.parametrize("name", ENCODERS.names())
def test_a_step_has_no_operator_that_a_gpu_refuses(name):
    assert operators_of_a_step(name, encoders.losses()) & REFUSED == set()


@pytest.mark.filterwarnings("ignore:identity is measured on 32 px images")
def test_neither_losses_nor_a_generator_that_learns_have_one():
    losses = build_losses({"l2": 1.0, "perceptual": 0.8, "perceptual_crop": 0.1, "id": 0.1})
    assert operators_of_a_step("light", losses, generated_share=0.5, train_decoder=True) & REFUSED == set()


def test_the_operators_of_a_step_are_seen():
    set_deterministic(False)
    model = encoders.tiny_model("w_plus_naive")
    state = build_state(model, encoders.SETTINGS)
    source, target = encoders.batch(0, 3)
    with Operators() as operators:
        encoders.make_step(state, source, target, encoders.losses())
    assert operators.names & REFUSED == {"_adaptive_avg_pool2d_backward"}


@pytest.mark.parametrize("name", ["w_plus_naive", "e4e"])
def test_it_goes_on_where_it_stopped_bit_for_bit(tmp_path, name):
    settings = replace(encoders.SETTINGS, deterministic=True)
    whole = encoders.run(tmp_path / "whole", name, settings=settings)
    with pytest.raises(SystemExit):
        encoders.run(tmp_path / "parts", name, stop_after=4, settings=settings)
    assert torch.are_deterministic_algorithms_enabled()
    parts = encoders.run(tmp_path / "parts", name, settings=settings)
    (tensors, metadata), (others, other_metadata) = map(checkpoint.read, (whole, parts))
    assert metadata["settings"]["deterministic"]
    assert metadata == other_metadata
    assert [key for key, value in tensors.items() if not torch.equal(value, others[key])] == []
