"""The sheets have the shape they should, and each cell is the picture that it says."""

import numpy as np
import pytest
import torch

from stylegan2.latents.mixing import mask_rows, slerp
from stylegan2.latents.pictures import codes_between, mixing_sheet, noise_sheet, truncation_sheet
from stylegan2.latents.sampling import render, seeded_w, seeded_z
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import to_uint8

SIDE = 16


def holds(sheet, picture, column):
    """Whether the column shows the picture somewhere."""
    strip = sheet[:, column * SIDE : (column + 1) * SIDE]
    tops = range(strip.shape[0] - SIDE + 1)
    return any(np.abs(strip[y : y + SIDE].astype(int) - picture).max() <= 1 for y in tops)


def pictures(generator, codes):
    return to_uint8(render(generator, codes))


def test_truncation(generator):
    sheet = truncation_sheet(generator, [3, 4], [1.0, 0.0, -1.0])
    assert sheet.shape[1] == 3 * SIDE
    for column, psi in enumerate([1.0, 0.0, -1.0]):
        for picture in pictures(generator, seeded_w(generator, [3, 4], psi)):
            assert holds(sheet, picture, column)
    mean = pictures(generator, generator.w_avg.expand(1, 6, -1))[0]
    assert holds(sheet, mean, 1)
    assert not holds(sheet, mean, 0)


@pytest.mark.parametrize("mask", ["coarse", "medium", "fine"])
def test_mixing(generator, mask):
    codes, styles = seeded_w(generator, [0, 1]), seeded_w(generator, [2, 3, 4])
    rows = mask_rows(mask, generator.num_ws)
    sheet = mixing_sheet(generator, codes, styles, rows)
    assert sheet.shape[1] == 4 * SIDE
    for n in range(2):
        assert holds(sheet, pictures(generator, codes)[n], 0)
        for k in range(3):
            mixed = codes[n].clone()
            mixed[rows] = styles[k, 0]
            assert holds(sheet, pictures(generator, mixed[None])[0], k + 1)
    for k in range(3):
        assert holds(sheet, pictures(generator, styles)[k], k + 1)


def test_noise(generator):
    codes = seeded_w(generator, [0, 1, 2])
    sheet, white = noise_sheet(generator, codes, 12, seed=0)
    again, _ = noise_sheet(generator, codes, 12, seed=0)
    assert np.array_equal(sheet, again)
    assert sheet.shape[1] == 4 * SIDE
    deviation = sheet[:, 3 * SIDE :]
    assert deviation[..., 0].max() == 255
    assert 0 < white < 1
    for layer in generator.synthesis.layers:
        torch.nn.init.zeros_(layer.noise_strength)
    _, white = noise_sheet(generator, codes, 4, seed=0)
    assert white < 1e-5


def test_paths_pass_through_the_seeds(generator):
    for space in ("w", "z"):
        codes = codes_between(generator, [5, 6, 7], 4, space, 0.8, 3)
        assert codes.shape == (12, 6, 8)
        torch.testing.assert_close(codes[::4], seeded_w(generator, [5, 6, 7], 0.8, 3))
    z = seeded_z(generator, [5, 6])
    between = generator.mapping(slerp(z[0], z[1], 0.5)[None])
    torch.testing.assert_close(codes_between(generator, [5, 6], 2, "z")[1:2], between)
    straight = seeded_w(generator, [5, 6]).mean(0)
    torch.testing.assert_close(codes_between(generator, [5, 6], 2, "w")[1], straight)
    assert (straight - between[0]).abs().max() > 1e-2


def test_generators_with_classes():
    torch.manual_seed(0)
    sizes = {"z_dim": 8, "w_dim": 8, "channel_base": 128, "channel_max": 8, "mapping_layers": 1}
    generator = GENERATORS.build("stylegan2", 16, num_classes=3, **sizes).eval()
    codes = seeded_w(generator, [0, 1, 2, 4])
    labels = torch.tensor([0, 1, 2, 1])
    with torch.no_grad():
        torch.testing.assert_close(codes, generator.mapping(seeded_z(generator, [0, 1, 2, 4]), labels=labels))
        second = generator.mapping(seeded_z(generator, [0]), labels=torch.tensor([2]))
    torch.testing.assert_close(seeded_w(generator, [0], label=2), second)
    torch.testing.assert_close(codes_between(generator, [0, 1], 3, "z", label=2)[:1], second)
    with pytest.raises(UserError, match="there is no class 3: the classes of this generator are 0 to 2"):
        seeded_w(generator, [0], label=3)


def test_a_class_of_a_generator_without_any_is_one_sentence(generator):
    with pytest.raises(UserError, match="there is no class 0: this generator has no classes"):
        seeded_w(generator, [1], label=0)
