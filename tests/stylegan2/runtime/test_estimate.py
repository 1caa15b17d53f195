"""What a step keeps for its backward pass is known before the memory is taken."""

import pytest
import torch

from psp.encoders import encoder_for
from psp.model import PSp
from psp.trainer import bytes_per_image as bytes_of_encoder
from stylegan2.networks.registry import DISCRIMINATORS, GENERATORS
from stylegan2.runtime import memory
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.estimate import check_step, kept_bytes
from stylegan2.training_settings import TrainingSettings
from stylegan2.training_step import bytes_per_image

CPU = torch.device("cpu")
SIZES = {"channel_base": 256, "channel_max": 16}


def test_each_tensor_that_is_kept_counts_once_and_weights_do_not():
    weight = torch.ones(1_000, requires_grad=True)
    x = torch.ones(50, 1_000)
    assert kept_bytes(lambda: (x * weight).exp(), [weight]) == 2 * 4 * 50_000  # x, and the result of exp
    assert kept_bytes(lambda: x * weight + x * weight, [weight]) == 4 * 50_000


@pytest.mark.parametrize("num_classes", [0, 3])
def test_a_generator_keeps_more_at_a_higher_resolution(num_classes):
    kept = []
    for resolution in (16, 32, 64):
        G = GENERATORS.build("stylegan2", resolution, num_classes=num_classes, z_dim=8, w_dim=8, **SIZES)
        D = DISCRIMINATORS.build("stylegan2", resolution, num_classes=num_classes, **SIZES)
        kept.append(bytes_per_image(G, D, TrainingSettings(batch_size=4)))
    assert 100 * 3 * 16 * 16 < kept[0] < kept[1] / 2 < kept[2] / 4


def test_an_encoder_is_left_as_it_was():
    generator = GENERATORS.build("stylegan2", 32, z_dim=8, w_dim=8, **SIZES)
    model = PSp(encoder_for(generator, "light", 3), generator)
    model.encoder.train()
    before, state = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    assert bytes_of_encoder(model) > 100_000
    assert model.encoder.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_too_large_a_step_is_refused_before_it_is_taken(monkeypatch):
    monkeypatch.setattr(memory, "total_memory", lambda: 10**9)
    asked = []
    measure = lambda: asked.append(1) or 2_000_000  # noqa: E731
    check_step(measure, 3_000, 300, "use less", CPU)
    assert not asked  # such a step is taken for granted
    check_step(measure, 3_000, 500, "use less", CPU)
    assert asked
    check_step(measure, 3_000, 600, "use less", CPU)  # the memory may just suffice
    sentence = "has 1 GB of memory, which is enough for at most 500 images at a time, not for 601: use less"
    with pytest.raises(UserError, match=sentence):
        check_step(measure, 3_000, 601, "use less", CPU)
    check_step(measure, 3_000, 601, "use less", torch.device("cuda"))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(UserError, match="at most 500 images at a time, not for 1,204"):
        check_step(measure, 3_000, 301, "use less", CPU)
