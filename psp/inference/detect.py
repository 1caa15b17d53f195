"""Detection of faces and their landmarks by dlib (68 points) and MTCNN (5 points), both without a download."""

import pickle
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MethodType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from psp.pretrained_files import PRETRAINED
from stylegan2.runtime.errors import UserError

# Longer sides of the copies of a photo that are searched until a face is found. dlib finds faces from about 80 px, so
# in the first copy it finds faces of at least a ninth of the photo; the second copy takes four times as long.
SEARCH_SIDES = (768, 1536)
SMALL = 100  # px; smaller photos are enlarged, because faces in them are near the smallest size that detectors find
ENLARGED = 256


@dataclass(frozen=True)
class Face:
    """A face in a photo. Coordinates are in pixels, with the origin at the centre of the first pixel."""

    box: tuple[float, float, float, float]
    """x0, y0, x1, y1"""
    landmarks: np.ndarray
    """(x, y), [68, 2] or [5, 2]"""
    score: float
    """score of the detector: dlib's margin (above 0) or MTCNN's probability"""

    @property
    def area(self) -> float:
        """Return the area of the box in square pixels."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)


Detector = Callable[[np.ndarray], list[Face]]


def find_faces(image: np.ndarray, detector: str | Detector = "auto") -> list[Face]:
    """Find the faces in a photo.

    Args:
        image: uint8 [H, W, 3].
        detector: "dlib", "mtcnn", "auto" (dlib, then MTCNN if dlib finds nothing), or a detector.

    Returns:
        The faces, sorted from the largest to the smallest.

    Raises:
        UserError: There is no such detector, or it is not installed.
    """
    if isinstance(detector, str):
        detector = build_detector(detector)
    return sorted(detector(image), key=lambda face: -face.area)


@lru_cache(maxsize=8)
def build_detector(name: str, sides: Sequence[int] = SEARCH_SIDES) -> Detector:
    """Build a detector, which several threads may use.

    Args:
        name: "dlib", "mtcnn" or "auto", as for `find_faces`.
        sides: Longer sides, in pixels, of the copies of a photo that are searched (see `DlibDetector`).

    Raises:
        UserError: There is no such detector, or it is not installed.
    """
    if name == "dlib":
        return DlibDetector(sides)
    if name == "mtcnn":
        return MtcnnDetector(max(sides))
    if name == "auto":
        return FallbackDetector(DlibDetector(sides), lambda image: build_detector("mtcnn", sides)(image))
    raise UserError(f"there is no face detector {name!r}: choose one of auto, dlib, mtcnn")


class FallbackDetector:
    """A detector that tries several detectors in order until one finds a face."""

    def __init__(self, *detectors: Detector) -> None:
        self.detectors = detectors

    def __call__(self, image: np.ndarray) -> list[Face]:
        return next((faces for detector in self.detectors if (faces := detector(image))), [])


class DlibDetector:
    """A detector of frontal faces by dlib's HOG detector, and of their 68 landmarks by dlib's predictor.

    Args:
        sides: Longer sides, in pixels, of the copies of a photo that are searched in order until a face is found.
        threshold: Smallest margin of a detection. In 144 portraits, faces have at least 0.66 and false detections less
            than 0.05.

    Raises:
        UserError: dlib is not installed.
    """

    def __init__(self, sides: Sequence[int] = SEARCH_SIDES, threshold: float = 0.2) -> None:
        self.dlib = _import("dlib", "dlib-bin")
        self.sides, self.threshold = sides, threshold
        self.predictor = self.dlib.shape_predictor(str(PRETRAINED.locate("dlib_landmarks_68")))
        # The detector stores the current picture, so each thread needs one. A copy takes 2 ms, a new one 0.7 s.
        self._prototype = pickle.dumps(self.dlib.get_frontal_face_detector())
        self._of_thread = threading.local()

    def __call__(self, image: np.ndarray) -> list[Face]:
        for side in _distinct_sides(image, self.sides):
            if faces := self._search(image, side):
                return faces
        return []

    def _search(self, image: np.ndarray, side: int) -> list[Face]:
        picture, scale = _resized(image, side)
        if not hasattr(self._of_thread, "detector"):
            self._of_thread.detector = pickle.loads(self._prototype)
        boxes, scores, _ = self._of_thread.detector.run(picture, 0, self.threshold)
        return [self._face(image, picture, box, scale, score) for box, score in zip(boxes, scores, strict=True)]

    def _face(self, image: np.ndarray, picture: np.ndarray, box: Any, scale: float, score: float) -> Face:
        """Find the landmarks of a box in the larger of the photo and its copy, because they are whole pixels."""
        edges = tuple((v + 0.5) / scale - 0.5 for v in (box.left(), box.top(), box.right(), box.bottom()))
        x0, y0, x1, y1 = edges
        if scale < 1:
            return Face((x0, y0, x1, y1), self.landmarks(image, (x0, y0, x1, y1)), float(score))
        return Face((x0, y0, x1, y1), (self._landmarks(picture, box) + 0.5) / scale - 0.5, float(score))

    def landmarks(self, image: np.ndarray, box: Sequence[float]) -> np.ndarray:
        """Find the landmarks [68, 2] of the face in a box (x0, y0, x1, y1) of an image, uint8 [H, W, 3]."""
        return self._landmarks(image, self.dlib.rectangle(*(round(v) for v in box)))

    def _landmarks(self, picture: np.ndarray, rectangle: object) -> np.ndarray:
        return np.array([(p.x, p.y) for p in self.predictor(picture, rectangle).parts()], np.float64)  # [68, 2]


class MtcnnDetector:
    """A detector of faces, including turned ones, and of 5 landmarks by MTCNN (arXiv 1604.02878).

    The package facenet-pytorch contains the network and its weights.

    Args:
        side: Longer side, in pixels, to which larger photos are reduced.
        threshold: Smallest probability of a detection.

    Raises:
        UserError: facenet-pytorch is not installed.
    """

    def __init__(self, side: int = max(SEARCH_SIDES), threshold: float = 0.9) -> None:
        self.network = _import("facenet_pytorch", "facenet-pytorch").MTCNN(keep_all=True, device="cpu")
        for layer in self.network.modules():
            if isinstance(layer, nn.Conv2d):
                layer._conv_forward = MethodType(_plain_convolution, layer)
        self.side, self.threshold = side, threshold

    def __call__(self, image: np.ndarray) -> list[Face]:
        picture, scale = _resized(image, _distinct_sides(image, (self.side,))[0])
        if min(picture.shape[:2]) < self.network.min_face_size:  # the network raises an error for such small pictures
            return []
        boxes, scores, points = self.network.detect(picture, landmarks=True)
        if boxes is None:
            return []
        faces = []
        for box, score, five in zip(boxes, scores, points, strict=True):
            if score >= self.threshold:
                x0, y0, x1, y1 = (float((v + 0.5) / scale - 0.5) for v in box)
                faces.append(Face((x0, y0, x1, y1), (np.asarray(five, np.float64) + 0.5) / scale - 0.5, float(score)))
        return faces


def _plain_convolution(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve without oneDNN, which caches compiled code for each input shape and is not faster here.

    The network processes an image pyramid of each photo and any number of candidates, so that there are always new
    shapes. With oneDNN, the memory of a process grew by 0.1 to 0.2 MB per photo.
    """
    return torch.ops.aten.thnn_conv2d(x, weight, layer.kernel_size, bias, layer.stride, layer.padding)


def _distinct_sides(image: np.ndarray, sides: Sequence[int]) -> list[int]:
    """Return the longer sides of the copies to search; only small pictures are enlarged."""
    longer, shorter = max(image.shape[:2]), min(image.shape[:2])
    if shorter < SMALL:
        longer = round(longer * ENLARGED / shorter)
    return sorted({min(side, longer) for side in sides})


def _resized(image: np.ndarray, side: int) -> tuple[np.ndarray, float]:
    """Resize a picture to a longer side, without a copy if it has this side already, and return it and the scale."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale == 1:
        return np.ascontiguousarray(image), 1.0
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)), scale


def _import(module: str, distribution: str) -> Any:
    """Import an optional module.

    Raises:
        UserError: The module cannot be imported. The message says how to install it.
    """
    try:
        return __import__(module)
    except ImportError as error:
        raise UserError(
            f"the face detector needs {module}, which cannot be imported ({error}): pip install {distribution}, "
            "or leave out the alignment (no_align) if the pictures are aligned already"
        ) from error
