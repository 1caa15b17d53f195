"""FFHQ alignment: geometry against the published formula, pixels against a naive warp, and its inverse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from scipy.ndimage import map_coordinates

from psp.inference.align import Crop, align, extract, ffhq_crop, paste_back
from psp.inference.detect import find_faces
from stylegan2.runtime.errors import UserError

FIVE = np.array([[40.0, 50.0], [60.0, 50.0], [50.0, 62.0], [43.0, 72.0], [57.0, 72.0]])
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))  # left eye, right eye, mouth corners


def similarity(points, scale=1.0, degrees=0.0, shift=(0.0, 0.0)):
    """Scales, turns and moves points [K, 2] about the origin."""
    turn = np.exp(1j * np.radians(degrees)) * scale
    moved = (points[:, 0] + 1j * points[:, 1]) * turn
    return np.stack([moved.real, moved.imag], axis=1) + shift


def draw_face(landmarks, size, radius):
    """A gray picture with a coloured disc on each landmark but the nose."""
    image = Image.new("RGB", size, (128, 128, 128))
    for (x, y), colour in zip(landmarks[[0, 1, 3, 4]], COLOURS, strict=True):
        ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return np.asarray(image)


def disc_centres(image):
    """Where the discs of `draw_face` are: [4, 2]."""
    centres = []
    for colour in COLOURS:
        near = np.abs(image.astype(int) - colour).sum(2) < 150
        y, x = np.nonzero(near)
        centres.append((x.mean(), y.mean()))
    return np.array(centres)


def published_quad(left_eye, right_eye, mouth):
    """The FFHQ recipe in complex numbers; corners: upper left, lower left, lower right, upper right."""
    left_eye, right_eye, mouth = (complex(*p) for p in (left_eye, right_eye, mouth))
    eyes = (left_eye + right_eye) / 2
    x = (right_eye - left_eye) - 1j * (mouth - eyes)
    x *= max(2 * abs(right_eye - left_eye), 1.8 * abs(mouth - eyes)) / abs(x)
    y = 1j * x
    centre = eyes + 0.1 * (mouth - eyes)
    return [centre - x - y, centre - x + y, centre + x + y, centre + x - y]


@given(st.floats(0.2, 20), st.floats(-180, 180), st.floats(-500, 500), st.floats(0.5, 2), st.integers(0, 2**31))
def test_crop_follows_the_published_formula(scale, degrees, shift, stretch, seed):
    points = FIVE * (1, stretch) + np.random.default_rng(seed).normal(0, 2, (5, 2))
    points = similarity(points, scale, degrees, (shift, -shift))
    expected = published_quad(points[0], points[1], (points[3] + points[4]) / 2)
    found = [complex(*corner) - (0.5 + 0.5j) for corner in ffhq_crop(points).quad]
    np.testing.assert_allclose(found, expected, atol=1e-6 * scale * 1000)


def test_68_landmarks_give_the_crop_of_their_eyes_and_mouth():
    rng = np.random.default_rng(3)
    points = rng.uniform(0, 100, (68, 2))
    points[36:42] = FIVE[0] + rng.normal(0, 1, (6, 2))
    points[42:48] = FIVE[1] + rng.normal(0, 1, (6, 2))
    points[48], points[54] = FIVE[3:] + rng.normal(0, 1, (2, 2))
    five = np.array([points[36:42].mean(0), points[42:48].mean(0), (0, 0), points[48], points[54]])
    np.testing.assert_allclose(ffhq_crop(points).quad, ffhq_crop(five).quad)


@pytest.mark.parametrize(("scale", "degrees"), [(2, 0), (3, 30), (3, -75), (8, 160), (2.3, 181)])
def test_eyes_and_mouth_come_to_the_same_places(scale, degrees):
    upright = disc_centres(align(draw_face(FIVE * 4, (400, 500), 12), FIVE * 4, 256)[0])
    centred = similarity(FIVE - (50, 60), scale, degrees) + np.array([100, 100]) * scale
    aligned, _ = align(draw_face(centred, (int(200 * scale),) * 2, 3 * scale), centred, 256)
    np.testing.assert_allclose(disc_centres(aligned), upright, atol=1.5)
    left_eye, right_eye, *mouth = upright
    assert abs(left_eye[1] - right_eye[1]) < 1
    assert left_eye[0] + right_eye[0] == pytest.approx(255, abs=1)
    assert np.mean(mouth, axis=0)[0] == pytest.approx(127.5, abs=1)


@pytest.mark.parametrize(("scale", "size"), [(3, 256), (6, 64), (10, 40)])
def test_pixels_are_those_of_a_naive_dense_warp(scale, size):
    """Bilinear samples at least as dense as the photo, averaged; also where `align` reduces the photo first."""
    height, width = 160 * scale, 150 * scale
    y, x = np.mgrid[:height, :width] / scale
    photo = np.stack([np.sin(x / 5) * 90, np.cos(y / 4) * 90, np.sin((x + y) / 7) * 90], axis=2) + 128
    photo = np.rint(photo).astype(np.uint8)
    landmarks = similarity(FIVE - (50, 60), scale, 12) + np.array([75.0, 75.0]) * scale
    aligned, crop = align(photo, landmarks, size)
    dense = size * max(4, int(np.ceil(crop.side / size)))
    u = (np.arange(dense) + 0.5) / dense
    a, b, _, d = np.array(crop.quad)
    points = a + u[None, :, None] * (d - a) + u[:, None, None] * (b - a) - 0.5
    channels = [map_coordinates(photo[..., c].astype(float), points.T[::-1].swapaxes(1, 2), order=1) for c in range(3)]
    expected = np.stack(channels, 2).reshape(size, dense // size, size, dense // size, 3).mean((1, 3))
    difference = np.abs(aligned - expected)
    assert difference.mean() < 1.5
    assert difference.max() < 16


@pytest.mark.parametrize("reduction", [1.7, 3.5, 9.0])
def test_fine_texture_becomes_gray_not_moire(reduction):
    y, x = np.mgrid[:700, :700]
    photo = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)
    landmarks = similarity(FIVE - (50, 60), 4.5, 20) + np.array([350, 350])
    aligned, _ = align(photo, landmarks, round(ffhq_crop(landmarks).side / reduction))
    assert np.abs(aligned[2:-2, 2:-2].astype(int) - 127.5).max() < 40


def test_outside_of_the_photo_is_soft_and_inside_is_untouched():
    rng = np.random.default_rng(0)
    photo = np.kron(rng.integers(0, 255, (25, 25, 3)), np.ones((8, 8, 1))).astype(np.uint8)  # [200, 200, 3]
    landmarks = (FIVE - FIVE.mean(0)) * 2 + (20, 100)  # the crop leaves the photo on the left
    aligned, crop = align(photo, landmarks, 128)
    left_part = -crop.quad[0][0] / crop.side
    assert left_part > 0.2
    column = int(128 * left_part)
    roughness = np.abs(np.diff(aligned.astype(int), axis=0)).mean((0, 2))  # per column
    assert roughness[: column // 3].mean() < 0.3 * roughness[column + 20 :].mean()
    wide = np.pad(photo, ((200, 200), (200, 200), (0, 0)))
    plain = extract(wide, crop.moved(-200, -200), 128)
    fade = int((left_part + 0.1) / 3 * 128)  # the blur begins at a third of the padding's width
    inner = slice(column + fade + 3, 110)
    assert np.abs(aligned[20:108, inner].astype(int) - plain[20:108, inner]).max() <= 2


@pytest.mark.parametrize("degrees", [0, 25, -140])
@pytest.mark.parametrize("size", [128, 400, 1024])
def test_paste_back_undoes_align(degrees, size):
    y, x = np.mgrid[:300, :280]
    photo = np.stack([128 + 100 * np.sin(x / 17), 128 + 100 * np.cos(y / 13), (x + y) / 3], axis=2).astype(np.uint8)
    landmarks = similarity(FIVE - (50, 60), 2.2, degrees) + np.array([140, 150])
    aligned, crop = align(photo, landmarks, size)
    again = paste_back(photo, aligned, crop)
    assert np.abs(again.astype(int) - photo).mean() < (0.5 if size > crop.side else 1.5)
    assert np.abs(again.astype(int) - photo).max() <= 12
    assert again is not photo


@pytest.mark.parametrize(("feather", "inner"), [(0.0, 0.02), (0.1, 0.12), (0.3, 0.35)])
def test_paste_back_covers_the_crop_and_nothing_else(feather, inner):
    photo = np.zeros((240, 260, 3), np.uint8)
    crop = ffhq_crop(similarity(FIVE - (50, 60), 1.5, 20) + np.array([110, 120]))
    result = paste_back(photo, np.full((64, 64, 3), 200, np.uint8), crop, feather)
    a, b, _, d = np.array(crop.quad)
    y, x = np.mgrid[:240, :260] + 0.5
    u = ((x - a[0]) * (d - a)[0] + (y - a[1]) * (d - a)[1]) / crop.side**2
    v = ((x - a[0]) * (b - a)[0] + (y - a[1]) * (b - a)[1]) / crop.side**2
    depth = np.minimum(np.minimum(u, 1 - u), np.minimum(v, 1 - v))
    assert (result[depth < -1e-6] == 0).all()
    assert (result[depth > inner] == 200).all()
    assert (photo == 0).all()


def test_paste_back_of_a_crop_outside_of_the_photo_changes_nothing():
    photo = np.full((50, 50, 3), 7, np.uint8)
    crop = Crop(((200.0, 200.0), (200.0, 260.0), (260.0, 260.0), (260.0, 200.0)))
    assert (paste_back(photo, np.zeros((8, 8, 3), np.uint8), crop) == 7).all()
    with pytest.raises(UserError, match="outside"):
        extract(photo, crop, 16)


@pytest.mark.parametrize(
    ("landmarks", "words"),
    [
        (np.zeros((5, 2)), "at the same point"),
        (np.zeros((4, 2)), "68 or 5"),
        (np.full((68, 2), np.nan), "at the same point"),
        (np.array([[40.0, 20], [20, 20], [30, 30], [38, 40], [22, 40]]), "mirrored: the eye and the mouth corner on"),
    ],
)
def test_impossible_landmarks_are_a_sentence(landmarks, words):
    with pytest.raises(UserError, match=words):
        align(np.zeros((64, 64, 3), np.uint8), landmarks)


@pytest.mark.slow
def test_all_photos_are_aligned(photos):
    """The eyes of every aligned face, found anew, are level and where the recipe puts them."""
    files = sorted((photos / "photos").glob("*.jpg"))
    assert len(files) == 24
    for file in files:
        photo = np.asarray(Image.open(file).convert("RGB"))
        faces = find_faces(photo, "dlib")
        assert faces, file.name
        aligned, crop = align(photo, faces[0].landmarks, 256)
        points = find_faces(aligned, "dlib")[0].landmarks
        eyes = np.array([points[36:42].mean(0), points[42:48].mean(0)])
        # Turned heads have their eyes off the middle; the mean of eyes and mouth is near it in every face.
        assert np.abs(np.diff(eyes[:, 1])) < 14, file.name
        assert np.abs(eyes.mean(0) - (127.5, 117)).max() < 14, file.name
        assert np.abs(np.array(ffhq_crop(points).quad) - [(0, 0), (0, 256), (256, 256), (256, 0)]).max() < 12, file.name
        assert np.abs(paste_back(photo, aligned, crop).astype(int) - photo).mean() < 5
