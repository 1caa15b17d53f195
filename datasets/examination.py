"""Examination of a data set before training: sizes, aspect ratios, colours, damaged files, duplicates and faces."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from datasets.folder import ImageFiles
from psp.inference.align import ffhq_crop
from psp.inference.detect import DlibDetector, Face, find_faces
from stylegan2.runtime import images
from stylegan2.runtime.errors import ImageError, UserError
from stylegan2.runtime.progress import track
from stylegan2.runtime.work_group import ordered_map

FACE_SHARE = 0.5
"""Smallest fraction of the searched images with a face at which a data set counts as images of faces."""
FRAME_TOLERANCE = 0.12
"""Largest distance, in sides of the image, between its corners and those of FFHQ's crop in an aligned image."""
HASH_SIDE, SAME_BITS, SAME_SHADE = 16, 12, 12
"""Two images count as duplicates if at most SAME_BITS of their 16 * 16 gradient bits differ (a difference hash), and
the mean colours of their quarters differ by at most SAME_SHADE of 255."""
BITS = np.array([bin(byte).count("1") for byte in range(256)])
SEARCHED_SIDE = 768


@dataclass(frozen=True)
class ExaminedImage:
    """What was found in one image; the fields after `name` keep their defaults if it cannot be read."""

    name: str
    height: int = 0
    width: int = 0
    gray: bool = False
    transparent: bool = False
    hash: np.ndarray | None = None
    """uint8 [32], the difference hash: images that look the same differ in few of its bits, at any size"""
    colours: np.ndarray | None = None
    """int64 [2, 2, 3], mean colours of the quarters, 0 to 255"""
    reason: str = ""
    """why the image cannot be read, or "" """


@dataclass(frozen=True)
class Examination:
    """What was found in a data set."""

    count: int
    """number of images in the data set"""
    examined_images: tuple[ExaminedImage, ...]
    """the images that were read"""
    searched: int
    """number of images that were searched for faces"""
    images_with_face: int
    """number of searched images that show a face"""
    aligned: int
    """number of searched images whose face is aligned as in FFHQ"""

    @property
    def readable(self) -> list[ExaminedImage]:
        return [image for image in self.examined_images if not image.reason]

    @property
    def broken(self) -> list[ExaminedImage]:
        return [image for image in self.examined_images if image.reason]

    @property
    def copies(self) -> list[tuple[str, str]]:
        """Return the pairs (image, earlier image that looks the same), by name."""
        examined_images, pairs = self.readable, []
        hashes = np.array([image.hash for image in examined_images])  # [N, 32]
        colours = np.array([image.colours for image in examined_images])  # [N, 2, 2, 3]
        for n in range(1, len(examined_images)):
            distance = BITS[hashes[:n] ^ hashes[n]].sum(1)  # [n]
            shade = np.abs(colours[:n] - colours[n]).max((1, 2, 3))  # [n]
            same = np.flatnonzero((distance <= SAME_BITS) & (shade <= SAME_SHADE))
            pairs += [(examined_images[n].name, examined_images[first].name) for first in same[:1]]
        return pairs

    @property
    def shows_faces(self) -> bool:
        return self.searched > 0 and self.images_with_face >= FACE_SHARE * self.searched

    @property
    def is_aligned(self) -> bool:
        return self.shows_faces and self.aligned >= FACE_SHARE * self.images_with_face

    @property
    def aspect(self) -> float:
        """Return the median of width / height."""
        return float(np.median([image.width / image.height for image in self.readable]))

    def side(self, quantile: float, longer: bool = False) -> int:
        """Return a quantile of the shorter sides, or of the longer sides, in pixels.

        Args:
            quantile: The quantile, from 0 to 1.
            longer: Whether to take the longer side of each image.
        """
        pick = max if longer else min
        return int(np.quantile([pick(image.width, image.height) for image in self.readable], quantile))

    def lines(self) -> list[str]:
        """Describe the data set in lines of text."""
        shapes = Counter(_shape(image) for image in self.readable)
        gray, transparent = (sum(getattr(image, what) for image in self.readable) for what in ("gray", "transparent"))
        read_count = "all" if len(self.examined_images) == self.count else f"{len(self.examined_images):,}"
        lines = [
            f"pictures: {self.count:,}, {read_count} read",
            f"shorter sides: {self.side(0)} to {self.side(1)} px, median {self.side(0.5)} px",
            f"shapes: {', '.join(f'{n:,} {shape}' for shape, n in shapes.most_common())}; median width / height"
            f" {self.aspect:.2f}",
            f"colours: {len(self.readable) - gray:,} in colour, {gray:,} gray; {transparent:,} with transparency",
            f"cannot be read: {_counted([f'{image.name} ({image.reason})' for image in self.broken])}",
            f"duplicates: {_counted([f'{name} of {earlier}' for name, earlier in self.copies])}",
        ]
        of_faces = f", {self.aligned} of them aligned as in FFHQ" if self.images_with_face else ""
        return [*lines, f"faces: in {self.images_with_face} of the {self.searched} pictures searched{of_faces}"]


def examine(files: ImageFiles, look_at: int, search: int, workers: int = 1) -> Examination:
    """Read images, and search some of them for faces; both selections are spread evenly over the data set.

    Args:
        files: The images.
        look_at: Largest number of images to read.
        search: Largest number of the read images to search for faces.
        workers: Number of threads that read.

    Raises:
        UserError: None of the images can be read.
    """
    indices = evenly_spaced(len(files), look_at)
    examined = ordered_map(partial(_examine_image, files), indices, workers)
    examined_images = tuple(track(examined, "reading", "picture", total=len(indices)))
    readable = [index for index, image in zip(indices, examined_images, strict=True) if not image.reason]
    if not readable:
        raise UserError(
            f"none of the {len(examined_images)} pictures can be read: "
            f"{examined_images[0].name} ({examined_images[0].reason})"
        )
    searched = [readable[place] for place in evenly_spaced(len(readable), search)]
    detect = DlibDetector((SEARCHED_SIDE,))
    shows = [face_in(files.read(index, "rgb"), detect) for index in track(searched, "searching faces", "picture")]
    return Examination(
        len(files), examined_images, len(searched), sum(map(any, shows)), sum(aligned for _, aligned in shows)
    )


def face_in(picture: np.ndarray, detect: Callable[[np.ndarray], list[Face]]) -> tuple[bool, bool]:
    """Return whether an image uint8 [H, W, 3] shows a face, and whether its largest face is aligned as in FFHQ."""
    faces = find_faces(picture, detect)
    return bool(faces), bool(faces) and _fills_frame(faces[0], *picture.shape[:2])


def any_face(pictures: Sequence[np.ndarray]) -> bool:
    """Return whether any of the images, uint8 [H, W, 3] each, shows a face."""
    detect = DlibDetector((SEARCHED_SIDE,))
    return any(face_in(picture, detect)[0] for picture in pictures)


def evenly_spaced(count: int, most: int) -> list[int]:
    """Return at most `most` of the indices below `count`, spread evenly."""
    return sorted({place * count // min(count, most) for place in range(min(count, most))})


def _examine_image(files: ImageFiles, index: int) -> ExaminedImage:
    name = files.relative(index)
    try:
        photo = files.read(index, "rgba")  # [H, W, 4]
    except ImageError as error:
        return ExaminedImage(name, reason=str(error))
    colours = photo[..., :3]
    small = images.resize(colours, (HASH_SIDE, HASH_SIDE + 1)).astype(np.int64).sum(2)  # [S, S + 1]
    bits = np.packbits(np.diff(small, axis=1) > 0)  # [S * S / 8]
    quarters = images.resize(colours, (2, 2)).astype(np.int64)  # [2, 2, 3]
    gray = bool((colours == colours[..., :1]).all())
    height, width, _ = photo.shape
    return ExaminedImage(name, height, width, gray, int(photo[..., 3].min()) < 255, bits, quarters)


def _fills_frame(face: Face, height: int, width: int) -> bool:
    try:
        quad = np.array(ffhq_crop(face.landmarks).quad)  # [4, 2]
    except UserError:  # the landmarks are not those of a face
        return False
    frame = np.array([(0, 0), (0, height), (width, height), (width, 0)])
    return bool(np.abs(quad - frame).max() < FRAME_TOLERANCE * max(height, width))


def _shape(image: ExaminedImage) -> str:
    aspect = math.log(image.width / image.height)
    return "square" if abs(aspect) < math.log(1.05) else "wide" if aspect > 0 else "tall"


def _counted(texts: Sequence[str], shown: int = 3) -> str:
    return f"{len(texts):,}" + (f", such as {', '.join(texts[:shown])}" if texts else "")
