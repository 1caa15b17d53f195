"""How much the outputs for one source differ."""

import pytest
import torch

from psp.evaluation import diversity, encode_and_render
from psp.evaluation.diversity import pairwise
from psp.losses.l2 import L2
from psp.mixing import Mixing
from stylegan2.runtime.errors import UserError


def test_the_mean_over_all_pairs():
    images = torch.rand(2, 4, 3, 8, 8)
    distances = [[(images[n, a] - images[n, b]).square().mean() for a in range(4) for b in range(a)] for n in range(2)]
    torch.testing.assert_close(pairwise(images, L2()), torch.tensor(distances).mean(1))


@torch.no_grad()
def test_more_rows_differ_more_and_none_not_at_all(model, images):
    row, source, target = encode_and_render(model, "a"), images(2, 32), images(2)

    def value(**mixing):
        values, pictures = diversity(model, row, L2(), Mixing(outputs=3, **mixing)).run(source, target, None)
        assert pictures.shape == (2, 3, 16, 3 * 16)
        return values["diversity"]

    few, all_rows = value(mask="5"), value(mask="0-5")
    assert (few > 0).all()
    assert (all_rows > few).all()
    assert torch.equal(value(mask="5", alpha=0.0), torch.zeros(2))


@torch.no_grad()
def test_pictures_are_the_outputs_in_order(model, images):
    source, target = images(1, 32), images(1)
    measurement = diversity(model, encode_and_render(model, "a"), L2(), Mixing(mask="0-5", outputs=2, seed=3))
    _, pictures = measurement.run(source, target, None)
    measurement = diversity(model, encode_and_render(model, "a"), L2(), Mixing(mask="0-5", outputs=3, seed=3))
    _, more = measurement.run(source, target, None)
    torch.testing.assert_close(pictures, more[..., :32])
    assert not torch.allclose(pictures[..., :16], pictures[..., 16:])


def test_the_key_changes_with_the_mixing(model):
    row = encode_and_render(model, "a")
    settings = [Mixing(), Mixing(seed=1), Mixing(outputs=4), Mixing(mask="coarse"), Mixing(alpha=0.5)]
    assert len({str(diversity(model, row, L2(), mixing).key) for mixing in settings}) == 5


def test_one_output_has_no_diversity(model):
    with pytest.raises(UserError, match="among 2 outputs or more, not 1"):
        diversity(model, encode_and_render(model, "a"), L2(), Mixing(outputs=1))
