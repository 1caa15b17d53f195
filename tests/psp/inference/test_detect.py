"""Detectors on the public-domain photos that scikit-image ships."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from skimage import data

from psp.inference.align import align, ffhq_crop
from psp.inference.detect import DlibDetector, Face, FallbackDetector, MtcnnDetector, build_detector, find_faces
from stylegan2.runtime.errors import UserError

EYES = np.array([[203.0, 101.0], [247.0, 103.0]])  # of the astronaut, read off the photo


@pytest.fixture(scope="module")
def astronaut():
    return data.astronaut()


@pytest.mark.parametrize("name", ["dlib", "mtcnn"])
def test_astronaut(astronaut, name):
    (face,) = find_faces(astronaut, name)
    points = face.landmarks
    eyes = points[:2] if len(points) == 5 else np.array([points[36:42].mean(0), points[42:48].mean(0)])
    np.testing.assert_allclose(eyes, EYES, atol=4)
    x0, y0, x1, y1 = face.box
    assert x0 < eyes[0, 0] < eyes[1, 0] < x1
    assert y0 < eyes[0, 1] < y1


def test_the_detectors_agree_on_the_crop_also_of_a_turned_head(astronaut):
    for degrees in (0, 30):
        photo = np.asarray(Image.fromarray(astronaut).rotate(degrees, Image.Resampling.BICUBIC))
        first, second = (ffhq_crop(find_faces(photo, name)[0].landmarks) for name in ("dlib", "mtcnn"))
        assert np.abs(np.subtract(first.quad, second.quad)).max() < 0.06 * first.side


@pytest.mark.parametrize("size", [40, 64, 96, 128])
def test_faces_of_small_pictures_are_found_where_they_are(astronaut, size):
    aligned, _ = align(astronaut, find_faces(astronaut, "dlib")[0].landmarks, 256)
    small = np.asarray(Image.fromarray(aligned).resize((size, size), Image.Resampling.LANCZOS))
    quad = np.array(ffhq_crop(find_faces(small, "dlib")[0].landmarks).quad)
    np.testing.assert_allclose(quad / size, [(0, 0), (0, 1), (1, 1), (1, 0)], atol=0.04)


def test_a_small_head_in_a_large_photo_is_found(astronaut):
    """The first, reduced copy shows no face; landmarks are of the photo's own scale."""
    photo = np.full((2400, 2400, 3), 90, np.uint8)
    photo[1000:1512, 1200:1712] = astronaut
    (face,) = find_faces(photo, DlibDetector())
    eyes = np.array([face.landmarks[36:42].mean(0), face.landmarks[42:48].mean(0)])
    np.testing.assert_allclose(eyes, EYES + np.array([1200, 1000]), atol=4)
    assert find_faces(photo, DlibDetector(sides=(768,))) == []


def test_auto_asks_mtcnn_where_dlib_finds_nothing():
    profile = np.repeat(data.camera()[..., None], 3, axis=2)
    assert find_faces(profile, "dlib") == []
    assert [len(face.landmarks) for face in find_faces(profile, "auto")] == [5]


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (3000, 2), (20, 20), (333, 500)])
def test_pictures_without_a_face_give_an_empty_list(shape):
    noise = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    assert find_faces(noise, "auto") == []


def test_faces_come_with_the_largest_first():
    small, large = (Face((0, 0, side, side), np.zeros((5, 2)), 1.0) for side in (10.0, 30.0))
    assert find_faces(np.zeros((4, 4, 3), np.uint8), lambda image: [small, large, small]) == [large, small, small]


def test_first_of_stops_at_the_first_success():
    asked = []

    def detector(name, result):
        return lambda image: asked.append(name) or result

    face = Face((0, 0, 1, 1), np.zeros((5, 2)), 1.0)
    both = FallbackDetector(detector("a", []), detector("b", [face]), detector("c", [face]))
    assert both(np.zeros((4, 4, 3), np.uint8)) == [face]
    assert asked == ["a", "b"]


def test_one_detector_serves_several_threads(astronaut):
    detector = build_detector("dlib")
    copies = [np.ascontiguousarray(np.roll(astronaut, 10 * i, axis=1)) for i in range(6)]
    alone = [detector(copy)[0].landmarks for copy in copies]
    with ThreadPoolExecutor(3) as pool:
        together = [faces[0].landmarks for faces in pool.map(detector, copies)]
    np.testing.assert_array_equal(alone, together)


def test_a_patch_that_hardly_looks_like_a_face_is_left_out(astronaut):
    """Her jacket scores 0.04 beside her own picture."""
    smaller = np.asarray(Image.fromarray(astronaut).resize((400, 400)))
    pair = np.concatenate([np.pad(smaller, ((0, 112), (0, 0), (0, 0)), mode="edge"), astronaut], axis=1)
    assert len(find_faces(pair, DlibDetector((1536,), threshold=0.0))) > 2
    assert len(find_faces(pair, DlibDetector((1536,)))) == 2


def test_improbable_faces_are_left_out(astronaut):
    assert MtcnnDetector(threshold=1.1)(astronaut) == []


def test_unknown_detector():
    with pytest.raises(UserError, match="auto, dlib, mtcnn"):
        find_faces(np.zeros((64, 64, 3), np.uint8), "haar")
