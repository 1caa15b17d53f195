import numpy as np
import pytest
import torch

from datasets.examples import Example
from datasets.tasks import build_task
from datasets.tasks.inpainting import masked
from stylegan2.runtime.errors import ImageError, UserError
from stylegan2.runtime.images import resize, to_tensor, write_image
from stylegan2.runtime.pixels import to_planes
from tests.datasets.tasks.tensors import make_pair, read_source

PHOTO = resize(np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8), (48, 48))
HOLE = np.zeros((48, 48), bool)
HOLE[10:30, 8:20] = True


def test_the_source_is_the_masked_photo_and_the_mask():
    task = build_task("inpainting")
    for seed in range(12):
        source, target = make_pair(task, Example(PHOTO), 48, 48, np.random.default_rng(seed))
        hole = source[3].bool()
        assert source[3].unique().tolist() == [0, 1]
        assert source[:3, hole].abs().max() == 0
        assert torch.equal(source[:3, ~hole], target[:, ~hole])
        assert torch.equal(task.show_source(source[None])[0], source[:3])


def test_holes_are_of_the_kinds_asked_for():
    task = build_task("inpainting", mask_kinds=["halves"])
    pairs = [make_pair(task, Example(PHOTO), 32, 32, np.random.default_rng(n)) for n in range(20)]
    shares = {source[3].mean().item() for source, _ in pairs}
    assert shares == {0.5}
    kinds = ("halves", "triangles")
    mixed = [
        make_pair(build_task("inpainting", mask_kinds=kinds), Example(PHOTO), 32, 32, np.random.default_rng(n))[0]
        for n in range(40)
    ]
    assert 8 < sum(source[3].mean().item() == 0.5 for source in mixed) < 32
    with pytest.raises(UserError, match="there is no mask kind squares; there are rectangles, strokes, "):
        build_task("inpainting", mask_kinds=("squares",))


def test_masks_of_the_user_are_drawn_from_their_folder(tmp_path):
    other = np.zeros((24, 24), bool)
    other[:, 12:] = True
    for name, hole in (("a", HOLE), ("b", other)):
        write_image(tmp_path / f"{name}.png", hole * np.uint8(255))
    task = build_task("inpainting", mask_data=str(tmp_path))
    holes = [make_pair(task, Example(PHOTO), 48, 48, np.random.default_rng(n))[0][3].bool().numpy() for n in range(20)]
    expected = [HOLE, np.kron(other, np.ones((2, 2), bool))]
    which = [[np.array_equal(hole, mask) for mask in expected] for hole in holes]
    assert all(sum(row) == 1 for row in which)
    assert 0 < sum(row[0] for row in which) < 20
    assert "mask_data" not in task.config  # a path of one machine
    with pytest.raises(UserError, match="there is no folder or zip file 'nowhere'"):
        build_task("inpainting", mask_data="nowhere")


def test_a_mask_that_belongs_to_an_image_moves_with_it():
    mask = (HOLE * np.uint8(255))[..., None]
    for seed in range(6):
        source, target = make_pair(build_task("inpainting"), Example(PHOTO, mask), 48, 48, np.random.default_rng(seed))
        mirrored = not torch.equal(target, to_tensor(PHOTO))
        assert np.array_equal(source[3].bool().numpy(), HOLE[:, ::-1] if mirrored else HOLE)


def read(task, path, size=48):
    photo = task.read_file(path)
    return read_source(task, resize(photo, (48, 48)), size, 48.0)


def test_inference_takes_the_mask_of_the_photos_name_or_its_transparency(tmp_path):
    write_image(tmp_path / "photos" / "x.png", PHOTO)
    write_image(tmp_path / "masks" / "x.png", HOLE * np.uint8(255))
    write_image(tmp_path / "masks" / "y.png", ~HOLE * np.uint8(255))
    write_image(tmp_path / "cut.png", np.dstack([PHOTO, ~HOLE * np.uint8(255)]))
    task = build_task("inpainting", mask_data=str(tmp_path / "masks"))
    named, (cut, shown) = (
        read(task, tmp_path / "photos" / "x.png")[0],
        read(build_task("inpainting"), tmp_path / "cut.png"),
    )
    expected = torch.from_numpy(masked(to_planes(PHOTO), HOLE))
    for source in (named, cut):
        torch.testing.assert_close(source, expected, atol=0.005, rtol=0)
    assert np.array_equal(shown[~HOLE], PHOTO[~HOLE])
    assert (shown[HOLE] == 128).all()
    whole, _ = read(build_task("inpainting"), tmp_path / "photos" / "x.png")
    assert whole[3].max() == 0
    write_image(tmp_path / "photos" / "z.png", PHOTO)
    with pytest.raises(ImageError, match="z.png' has no mask of its name in "):
        read(task, tmp_path / "photos" / "z.png")
    (tmp_path / "masks" / "y.png").unlink()
    for one_for_all in (tmp_path / "masks", tmp_path / "masks" / "x.png"):
        task = build_task("inpainting", mask_data=str(one_for_all))
        assert torch.equal(read(task, tmp_path / "photos" / "z.png")[0], named)


def test_a_pixel_of_the_input_is_missing_where_any_part_of_it_is(tmp_path):
    hole = np.zeros((48, 48), bool)
    hole[20, 20] = True
    write_image(tmp_path / "a.png", np.dstack([PHOTO, ~hole * np.uint8(255)]))
    source, _ = read(build_task("inpainting"), tmp_path / "a.png", size=16)
    assert source[3, 6, 6] == 1
    assert 1 <= source[3].sum() <= 9


def test_the_gray_of_a_hole_does_not_reach_the_known_pixels_of_the_input(tmp_path):
    white = np.full_like(PHOTO, 255)
    write_image(tmp_path / "a.png", np.dstack([white, ~HOLE * np.uint8(255)]))
    source, shown = read(build_task("inpainting"), tmp_path / "a.png", size=16)
    assert (shown[HOLE] == 128).all()
    assert (source[:3, source[3] == 0] == 1).all()
    assert (source[:3, source[3] == 1] == 0).all()


def test_known_pixels_come_back_on_request(tmp_path):
    write_image(tmp_path / "a.png", np.dstack([PHOTO, ~HOLE * np.uint8(255)]))
    result = np.full((96, 96, 3), 7, np.uint8)
    for paste in (False, True):
        task = build_task("inpainting", paste_known=paste)
        source, shown = read(task, tmp_path / "a.png")
        finished = task.finish(result, shown, source.numpy())
        if not paste:
            assert (finished == 7).all()
        assert not np.array_equal(finished[24:56, 20:36], resize(shown, (96, 96))[24:56, 20:36])
        assert np.array_equal(finished[:, 50:], resize(shown, (96, 96))[:, 50:] if paste else result[:, 50:])
