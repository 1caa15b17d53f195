"""Cropping and resizing against Pillow, which resamples with the same filter."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from psp.perception.crop import FACE, WHOLE, crop_resize, resample_matrix

FRACTION = st.floats(0, 0.5)


def pillow(image: torch.Tensor, box, height: int, width: int) -> torch.Tensor:
    """image [C, H, W] -> [C, height, width] in Pillow's 32-bit float mode."""
    rows, columns = image.shape[1:]
    top, left, box_height, box_width = box
    pixels = (left * columns, top * rows, (left + box_width) * columns, (top + box_height) * rows)
    channels = [
        np.asarray(Image.fromarray(c.numpy()).resize((width, height), Image.Resampling.BILINEAR, box=pixels))
        for c in image
    ]
    return torch.tensor(np.stack(channels))


@settings(max_examples=50, deadline=None)
@given(
    st.tuples(st.integers(8, 70), st.integers(8, 70)),
    st.tuples(st.integers(4, 90), st.integers(4, 90)),
    st.tuples(FRACTION, FRACTION, st.floats(0.3, 0.5), st.floats(0.3, 0.5)),
)
def test_any_box_as_pillow(size, out_size, box):
    image = torch.rand(2, *size)
    ours = crop_resize(image[None], box, *out_size)[0]
    torch.testing.assert_close(ours, pillow(image, box, *out_size), atol=2e-4, rtol=0)


def test_a_whole_image_of_the_right_size_is_itself():
    images = torch.rand(2, 3, 20, 30)
    assert crop_resize(images, WHOLE, 20, 30) is images


def test_whole_pixels_are_cut_exactly():
    images = torch.rand(1, 3, 256, 256)
    torch.testing.assert_close(crop_resize(images, FACE, 188, 188), images[:, :, 35:223, 32:220])


def test_the_gradient_is_that_of_a_linear_map():
    images = torch.rand(1, 1, 9, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: crop_resize(x, (0.1, 0.2, 0.6, 0.7), 4, 11), images)


def test_a_matrix_first_used_in_inference_serves_training():
    resample_matrix.cache_clear()
    images = torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        crop_resize(images, FACE, 5, 5)
    images.requires_grad_()
    crop_resize(images, FACE, 5, 5).sum().backward()
    assert images.grad is not None
