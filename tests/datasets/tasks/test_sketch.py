import numpy as np
import pytest
import torch

from datasets.examples import Example
from datasets.synthetic import SyntheticFaces
from datasets.tasks import build_task
from datasets.tasks.sketch import draw, outlines
from stylegan2.runtime.images import resize, to_tensor
from tests.datasets.tasks.tensors import make_pair, read_source

TASK, FACES = build_task("sketch"), SyntheticFaces(64)


def disc(size=64, dark=40, bright=180):
    y, x = np.mgrid[:size, :size] + 0.5 - size / 2
    inside = np.hypot(x, y) < size / 4
    return np.repeat(np.where(inside, dark, bright).astype(np.uint8)[..., None], 3, axis=2), np.hypot(x, y)


@pytest.mark.parametrize(("dark", "bright", "ink"), [(40, 180, 20), (180, 40, 20), (20, 40, 60), (120, 140, 130)])
def test_lines_are_where_the_edges_are_in_light_and_shade(dark, bright, ink):
    drawing = draw(disc(64, dark, bright)[0])
    radius = disc()[1]
    assert drawing[np.abs(radius - 16) < 1.5].min() < ink  # a faint edge gives a faint line
    assert (drawing[np.abs(radius - 16) > 5] == 255).all()


def test_an_even_picture_has_no_lines_and_neither_has_a_soft_shade():
    assert (draw(np.full((32, 32, 3), 90, np.uint8)) == 255).all()
    shade = np.rint(np.linspace(60, 200, 64))[None, :, None] * np.ones((64, 1, 3))
    assert draw(shade.astype(np.uint8))[:, 4:-4].min() > 200


def test_lines_are_as_wide_in_the_picture_at_every_resolution():
    shares = [(draw(disc(size)[0]) < 128).mean() for size in (128, 256, 512)]
    assert max(shares) < 1.35 * min(shares)


def test_outlines_are_the_borders_between_labels():
    labels = np.zeros((6, 6), np.uint8)
    labels[2:4, 2:4] = 5
    assert np.argwhere(outlines(labels)).tolist() == [[1, 2], [1, 3], [2, 1], [2, 3], [3, 1], [3, 2], [3, 3]]
    assert not outlines(np.full((4, 4), 3, np.uint8)).any()


def test_half_of_the_drawings_have_the_outlines_and_the_others_are_those_of_inference():
    example = TASK.render(FACES, 3)
    read = read_source(TASK, example.target, 64, 64.0)[0]
    with_outlines = 0
    for seed in range(40):
        source, target = make_pair(TASK, example, 64, 64, np.random.default_rng(seed))
        if not torch.equal(target, to_tensor(example.target)):
            source, target = source.flip(2), target.flip(2)
        assert torch.equal(target, to_tensor(example.target))
        assert (source - read).max() < 0.2  # never fewer lines than the photo has
        with_outlines += (read - source).mean().item() > 0.01
    assert 10 < with_outlines < 30


def test_a_drawing_is_read_as_it_is():
    photo = FACES.image(4)
    drawing = draw(photo)
    source, shown = read_source(TASK, np.repeat(drawing[..., None], 3, axis=2), 64, 64.0)
    assert torch.equal(source, torch.from_numpy(drawing / np.float32(255))[None])
    assert np.array_equal(shown[..., 0], drawing)
    from_photo, _ = read_source(TASK, photo, 64, 64.0)
    torch.testing.assert_close(from_photo, source)


def test_drawings_of_ones_own_replace_ours():
    photo, own = FACES.image(0), np.full((64, 64, 1), 255, np.uint8)
    own[:20] = 0
    source, _ = make_pair(TASK, Example(photo, own), 32, 32, np.random.default_rng(0))
    assert torch.equal(source, torch.from_numpy(resize(own, (32, 32))[..., 0] / np.float32(255))[None])


def test_white_paper_is_1_and_is_shown_white():
    source = torch.ones(2, 1, 8, 8)
    source[0] = 0
    shown = TASK.show_source(source)
    assert shown.shape == (2, 3, 8, 8)
    assert shown[0].unique().tolist() == [-1]
    assert shown[1].unique().tolist() == [1]
