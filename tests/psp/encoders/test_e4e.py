"""e4e: one w and deltas that learn one after the other."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from psp.encoders.baselines import WEncoder
from psp.encoders.e4e import Encoder4Editing, unlocked_deltas
from psp.encoders.encoder import with_defaults
from psp.encoders.gradual import GradualStyleEncoder

SMALL = {"widths": (16, 16, 32, 32), "units": (1, 1, 1, 1), "head_width": 16}


@pytest.fixture
def encoder():
    encoder = Encoder4Editing(10, 8, input_size=32, **SMALL)
    for head in encoder.styles:
        torch.nn.init.normal_(head.linear.weight)
    return encoder


def test_keys_and_shapes_are_those_of_the_psp_encoder(layouts):
    with torch.device("meta"):
        encoder = Encoder4Editing(18)
    found = {key: tuple(value.shape) for key, value in encoder.state_dict().items()}
    assert len(found) == 621
    assert found == layouts["encoder"](18)


def test_heads_are_deltas_on_the_first(encoder):
    plain = GradualStyleEncoder(10, 8, input_size=32, **SMALL)
    plain.load_state_dict(encoder.state_dict())
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        codes, heads = encoder.eval()(images), plain.eval()(images)
    assert torch.equal(codes[:, 0], heads[:, 0])
    for row in range(1, 10):
        torch.testing.assert_close(codes[:, row], heads[:, 0] + heads[:, row])
        assert not torch.allclose(codes[:, row], heads[:, row], atol=0.01)


def test_a_fresh_encoder_answers_in_w():
    codes = Encoder4Editing(10, 8, input_size=32, **SMALL)(torch.randn(2, 3, 32, 32))
    assert (codes == codes[:, :1]).all()
    assert codes.std() > 0


@pytest.mark.parametrize("unlocked", [0, 1, 4, 9])
def test_only_unlocked_deltas_learn_and_the_others_count(encoder, unlocked):
    images = torch.randn(2, 3, 32, 32)
    encoder.eval()
    with torch.no_grad():
        whole = encoder(images)
    encoder.unlocked = unlocked
    codes = encoder(images)
    assert torch.equal(codes, whole)
    codes.square().sum().backward()
    learned = [any(p.grad is not None for p in head.parameters()) for head in encoder.styles]
    assert learned == [row <= unlocked for row in range(10)]


def test_locked_deltas_leave_no_gradient_in_the_trunk(encoder):
    encoder.unlocked = 0
    encoder.eval()
    codes = encoder(torch.randn(2, 3, 32, 32))
    (codes[:, 5] - codes[:, 0]).sum().backward()
    assert encoder.input_layer[0].weight.grad.abs().max() < 1e-6


def test_the_published_schedule():
    steps = [0, 19_999, 20_000, 21_999, 22_000, 51_999, 52_000, 200_000]
    assert [unlocked_deltas(step, 20_000, 2_000, 17) for step in steps] == [0, 0, 1, 1, 2, 16, 17, 17]
    assert unlocked_deltas(0, 0, 0, 17) == 17
    assert [unlocked_deltas(step, 5, 0, 9) for step in (4, 5)] == [0, 9]


@given(st.integers(0, 10**6), st.integers(0, 10**5), st.integers(0, 10**4), st.integers(1, 17))
def test_deltas_are_unlocked_one_after_the_other_and_stay(step, start, every, deltas):
    before, after = (unlocked_deltas(s, start, every, deltas) for s in (step, step + 1))
    assert 0 <= before <= after <= deltas
    assert after - before <= (deltas if every == 0 else 1)


def test_who_has_deltas(encoder):
    assert with_defaults(encoder).unlocked == 9
    assert encoder.default_lambdas == {"delta_norm": 2e-4}
    with torch.device("meta"):
        assert with_defaults(GradualStyleEncoder(10, 8, input_size=32, **SMALL)).unlocked is None
        assert with_defaults(WEncoder(10)).default_lambdas == {}
