import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from datasets.examples import Example
from datasets.synthetic import SyntheticFaces
from datasets.tasks import build_task
from datasets.tasks.segmentation import one_hot, out_of_range, palette
from stylegan2.runtime.errors import ImageError, UserError
from stylegan2.runtime.images import resize, write_image
from tests.datasets.tasks.tensors import make_pair, read_source

TASK = build_task("segmentation")


@given(arrays(np.uint8, st.tuples(*[st.integers(4, 12)] * 2), elements=st.integers(0, 6)), st.integers(1, 20))
def test_one_channel_is_1_in_every_pixel_and_it_names_a_label_that_was_there(labels, size):
    source = one_hot(labels, 7, size)
    assert source.shape == (7, size, size)
    assert source.dtype == np.float32
    assert np.array_equal(source.sum(0), np.ones((size, size)))
    assert np.array_equal(source, source**2)
    assert set(np.unique(source.argmax(0)).tolist()) <= set(np.unique(labels).tolist())


def test_faces_have_the_19_labels_of_celebamask_hq_where_they_are():
    faces = SyntheticFaces(64)
    example = TASK.render(faces, 3)
    assert np.array_equal(example.target, faces.image(3))
    assert np.array_equal(example.source, faces.sample(3).label_map)
    source, target = make_pair(TASK, example, 64, 64, np.random.default_rng(0))
    assert source.shape == (19, 64, 64)
    assert np.array_equal(source.argmax(0).numpy(), example.source)
    mirrored = [make_pair(TASK, example, 64, 64, np.random.default_rng(n))[1] for n in range(8)]
    assert all(torch.equal(other, target) for other in mirrored)  # left and right have labels of their own


def test_a_label_out_of_range_is_one_sentence_with_a_histogram(tmp_path):
    labels = np.zeros((10, 10), np.uint8)
    labels[:2], labels[5] = 3, 32
    photo = np.zeros((10, 10, 3), np.uint8)
    with pytest.raises(UserError, match="maps/7.png has label 32, but labels go from 0 to 18 here") as caught:
        make_pair(TASK, Example(photo, labels, "maps/7.png"), 8, 8, np.random.default_rng(0))
    assert "label_nc 33" in str(caught.value)
    assert "(labels in it: 0: 70 %, 3: 20 %, 32: 10 %)" in str(caught.value)
    write_image(tmp_path / "a.png", labels)
    with pytest.raises(ImageError, match="a.png' has label 32"):
        TASK.read_file(tmp_path / "a.png")
    assert out_of_range(labels, 33) is None
    assert make_pair(build_task("segmentation", label_nc=33), Example(photo, labels), 8, 8, None)[0].shape[0] == 33


def test_labels_are_shown_in_colours_that_differ():
    for label_nc in (2, 19, 60):
        colours = palette(label_nc).astype(int)
        distance = np.abs(colours[:, None] - colours[None]).sum(2) + 999 * np.eye(label_nc, dtype=int)
        assert distance.min() >= 6, label_nc
    labels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    source, shown = read_source(TASK, labels, 4, 4.0)
    assert np.array_equal(shown, palette(19)[labels])
    np.testing.assert_allclose((TASK.show_source(source[None])[0].permute(1, 2, 0) + 1) * 127.5, shown, atol=1e-4)


def test_the_encoder_has_a_channel_for_each_label():
    assert TASK.source_channels == 19
    assert build_task("segmentation", label_nc=5).source_channels == 5
    for label_nc in (1, 257):
        with pytest.raises(UserError, match=f"label_nc must be a number from 2 to 256, not {label_nc}"):
            build_task("segmentation", label_nc=label_nc)


def test_images_without_label_maps_are_one_sentence():
    with pytest.raises(UserError, match="source_data"):
        make_pair(TASK, Example(np.zeros((8, 8, 3), np.uint8)), 8, 8, np.random.default_rng(0))


def test_enlarged_labels_stay_in_place():
    labels = np.array([[0, 1], [2, 3]], np.uint8)
    assert np.array_equal(one_hot(labels, 4, 8).argmax(0), np.kron(labels, np.ones((4, 4), int)))
    assert np.array_equal(resize(labels, (8, 8)), np.kron(labels, np.ones((4, 4), int)))
