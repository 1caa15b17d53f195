"""The crop losses see the face box of an aligned image and nothing outside it."""

import pytest
import torch

from psp.losses.l2 import L2, FaceCrop


@pytest.mark.parametrize(
    ("side", "top", "bottom", "left", "right"),
    [(64, 9, 56, 8, 55), (256, 35, 223, 32, 220), (1024, 140, 892, 128, 880)],
)
def test_face_crop_measures_the_face_alone(side, top, bottom, left, right):
    loss = FaceCrop(L2())
    a = torch.zeros(1, 3, side, side)
    b = torch.ones(1, 3, side, side)
    b[:, :, top:bottom, left:right] = 0
    assert loss(a, b) == 0
    for row, column in ((top, left), (bottom - 1, right - 1)):
        b[:, :, row, column] = 1
        assert loss(a, b) > 0
        b[:, :, row, column] = 0
    assert loss.name == "l2_crop"
