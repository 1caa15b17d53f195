"""The segmenter: shapes, overlaps, learning, files, and the one that comes with the package."""

import itertools
import math

import numpy as np
import pytest
import torch

from datasets.faces.labels import LABELS
from datasets.synthetic import HELD_OUT_SEED, SyntheticFaces
from psp.perception.segmenter import (
    DEFAULT,
    Segmenter,
    balanced_cross_entropy,
    fit_segmenter,
    label_ious,
    load_segmenter,
    overlaps,
    save_segmenter,
    segmentation_ious,
)
from psp.pretrained_files import PRETRAINED
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import CheckpointError, UserError

SMALL = (8, 12, 12)


def test_logits_and_labels_have_the_shapes_promised():
    segmenter = Segmenter(5, 16, SMALL).eval()
    assert segmenter(torch.randn(2, 3, 16, 16)).shape == (2, 5, 16, 16)
    labels = segmenter.segment(torch.randn(2, 3, 40, 40).clamp(-1, 1))
    assert labels.shape == (2, 16, 16)
    assert labels.dtype == torch.int64
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(segmenter.segment(images), segmenter(images).argmax(1))


def test_the_default_is_small():
    assert sum(p.numel() for p in Segmenter(len(LABELS)).parameters()) <= 500_000


def test_a_size_that_cannot_be_halved_is_refused():
    with pytest.raises(UserError, match="of 3 levels cannot halve 18 px"):
        Segmenter(5, 18, SMALL)


def test_overlaps_are_those_of_a_naive_count():
    found, truth = torch.randint(0, 4, (3, 6, 6)), torch.randint(0, 3, (3, 6, 6))
    intersection, union = overlaps(found, truth, 4)
    for n, label in itertools.product(range(3), range(4)):
        a = {tuple(p) for p in (found[n] == label).nonzero().tolist()}
        b = {tuple(p) for p in (truth[n] == label).nonzero().tolist()}
        assert (intersection[n, label], union[n, label]) == (len(a & b), len(a | b))
    ious = label_ious(intersection, union)
    assert ious[1] == pytest.approx(float(intersection[:, 1].sum()) / float(union[:, 1].sum()))


def test_a_label_that_is_nowhere_does_not_count():
    ids = torch.zeros(1, 2, 2, dtype=torch.long)
    ious = label_ious(*overlaps(ids, ids, 3))
    assert ious[0] == 1
    assert ious[1:].isnan().all()
    assert float(ious.nanmean()) == 1


def test_rare_labels_weigh_more_than_their_pixels():
    logits = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    labels[0, 0, 0] = 1
    pixels = -logits.log_softmax(1).gather(1, labels[:, None])[0, 0]  # [4, 4]
    pixel_weights = torch.where(labels[0] == 1, (1 / 16) ** -0.25, (15 / 16) ** -0.25)
    expected = (pixels * pixel_weights).sum() / pixel_weights.sum()
    assert balanced_cross_entropy(logits.float(), labels).item() == pytest.approx(expected.item(), rel=1e-5)


def bright_and_dark(count):
    """Images of two gray values, and where the brighter one is."""
    labels = torch.randint(0, 2, (count, 2, 2)).repeat_interleave(8, 1).repeat_interleave(8, 2)  # [N, 16, 16]
    images = (labels.float() * 0.8 - 0.4 + 0.05 * torch.randn(count, 16, 16))[:, None].expand(-1, 3, -1, -1)
    return images, labels


def test_it_learns():
    segmenter, losses = Segmenter(3, 16, SMALL), []
    held_out = [bright_and_dark(8)]
    fit_segmenter(segmenter, (bright_and_dark(4) for _ in itertools.count()), 40, 0.01, losses.append)
    assert not segmenter.training
    assert len(losses) == 40
    assert losses[-1] < 0.3 * losses[0]
    ious = segmentation_ious(segmenter, held_out)
    assert ious[:2].min() > 0.95
    assert math.isnan(ious[2])


def test_a_file_gives_the_segmenter_back(tmp_path):
    segmenter = Segmenter(5, 16, SMALL)
    fit_segmenter(segmenter, [(torch.randn(2, 3, 16, 16), torch.randint(0, 5, (2, 16, 16)))], 1)
    path = tmp_path / "mine.safetensors"
    save_segmenter(path, segmenter, {"licence": "MIT"}, torch.float16)
    before = torch.get_rng_state()
    again = load_segmenter(path)
    assert torch.equal(torch.get_rng_state(), before)
    assert (again.name, again.label_nc, again.resolution) == ("mine", 5, 16)
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(again(images), segmenter(images), atol=0.02, rtol=0.02)
    assert checkpoint.read(path)[1]["licence"] == "MIT"


def test_what_is_no_segmenter_is_refused(tmp_path):
    checkpoint.save(tmp_path / "a.safetensors", {"x": torch.ones(1)}, {"kind": "psp"})
    with pytest.raises(CheckpointError, match="is a checkpoint of 'psp', not of a segmenter"):
        load_segmenter(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="there is no segmenter 'nowhere'"):
        load_segmenter("nowhere")


def test_the_shipped_one_knows_held_out_faces():
    segmenter = load_segmenter()
    assert segmenter.name == DEFAULT
    assert segmenter.label_nc == len(LABELS)
    path = PRETRAINED.locate(DEFAULT)
    assert path.with_suffix(".md").is_file()
    faces = [SyntheticFaces(64, HELD_OUT_SEED)[index] for index in range(500, 512)]
    images, labels = (
        torch.from_numpy(np.stack(part)) for part in zip(*((f.image, f.label_map) for f in faces), strict=True)
    )
    ious = segmentation_ious(segmenter, [(images, labels.long())])
    assert float(ious.nanmean()) > 0.7
    mirrored = segmentation_ious(segmenter, [(images.flip(3), labels.long())])
    assert float(mirrored.nanmean()) < 0.5
