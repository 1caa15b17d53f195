"""FFHQ alignment (Karras et al. 2018, arXiv 1812.04948, appendix A) and its inverse.

The centres of the eyes and the corners of the mouth determine a square, which is resampled upright. Landmarks are
(x, y) in pixels with the origin at the centre of the first pixel, as detectors report them. The corners of a `Crop`
have their origin at the outer corner of the first pixel, so they are independent of pixel centres.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from stylegan2.runtime.errors import UserError

LEFT_EYE, RIGHT_EYE, MOUTH_CORNERS = slice(36, 42), slice(42, 48), [48, 54]  # among 68 landmarks; left in the image
MIRRORED = -0.5  # sine of the angle from the eyes to the mouth; below it, left and right are exchanged for certain
LARGEST_FACE = 32  # largest side of a crop, in sides of the photo
Point = tuple[float, float]


@dataclass(frozen=True)
class Crop:
    """The position of an aligned picture in its photo, as the corners of a square.

    Attributes:
        quad: Upper left, lower left, lower right and upper right corner of the aligned picture, (x, y) in pixels of the
            photo.
    """

    quad: tuple[Point, Point, Point, Point]

    @property
    def side(self) -> float:
        """Return the length of the square's side in pixels of the photo."""
        return float(np.hypot(*np.subtract(self.quad[1], self.quad[0])))

    def moved(self, x: float, y: float, scale: float = 1.0) -> "Crop":
        """Return the crop in a photo from which x columns and y rows were cut off and which was then scaled."""
        return Crop(_corners((np.array(self.quad) - (x, y)) * scale))


def align(photo: np.ndarray, landmarks: np.ndarray, size: int = 256) -> tuple[np.ndarray, Crop]:
    """Crop and align a face of a photo as in FFHQ.

    Parts of the crop that lie outside the photo are filled with the mirrored photo, which is blurred and fades to the
    median colour.

    Args:
        photo: uint8 [H, W, 3], or [H, W, 4] with transparency.
        landmarks: (x, y) in pixels, [68, 2] in iBUG order or [5, 2] (eyes, nose, mouth corners) as from MTCNN.
        size: Side of the result in pixels.

    Returns:
        The aligned picture, uint8 [size, size, C], and its crop, which `paste_back` takes.

    Raises:
        UserError: The number of landmarks is not 68 or 5, they are not finite or coincide, or the face lies outside the
            photo or is much larger than it.
    """
    crop = ffhq_crop(landmarks)
    return extract(photo, crop, size), crop


def ffhq_crop(landmarks: np.ndarray) -> Crop:
    """Compute the FFHQ crop of a face.

    Args:
        landmarks: (x, y) in pixels, [68, 2] or [5, 2], as for `align`.

    Raises:
        UserError: The number of landmarks is not 68 or 5, they are not finite, they coincide, or left and right are
            exchanged.
    """
    left_eye, right_eye, mouth = _eyes_and_mouth(np.asarray(landmarks, np.float64))
    eyes = (left_eye + right_eye) / 2
    across, down = right_eye - left_eye, mouth - eyes
    if across[0] * down[1] - across[1] * down[0] < MIRRORED * np.hypot(*across) * np.hypot(*down):
        raise UserError("the landmarks are mirrored: the eye and the mouth corner on the left in the photo come first")
    # Half of the upper side. Its direction is the mean of that between the eyes and of the perpendicular to the axis of
    # the face. Its length is the larger of twice the eye distance and 1.8 times the distance from eyes to mouth.
    half = across + np.array([down[1], -down[0]])
    length = np.hypot(*half)
    if not np.isfinite(length) or length < 1e-6:
        raise UserError("all landmarks are at the same point, so there is no face to align")
    half = half / length * max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down))
    lower = np.array([-half[1], half[0]])  # the same vector, rotated to point down
    centre = eyes + 0.1 * down + 0.5  # + 0.5 moves the origin from the centre of a pixel to its outer corner
    return Crop(_corners([centre - half - lower, centre - half + lower, centre + half + lower, centre + half - lower]))


def extract(photo: np.ndarray, crop: Crop, size: int) -> np.ndarray:
    """Resample a crop of a photo upright, with antialiasing.

    Args:
        photo: uint8 [H, W, C].
        crop: The square to resample.
        size: Side of the result in pixels.

    Returns:
        uint8 [size, size, C].

    Raises:
        UserError: The crop lies outside the photo or is much larger than it.
    """
    image, crop = _neighbourhood(photo, crop, size)
    # Pillow samples at points, without antialiasing, so the square is sampled more densely first and then reduced.
    dense = size * max(2, int(np.ceil(crop.side / size)))
    corners = tuple(np.ravel(crop.quad))
    warped = image.transform((dense, dense), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)
    return np.asarray(warped.resize((size, size), Image.Resampling.LANCZOS))  # [size, size, C]


def paste_back(photo: np.ndarray, aligned: np.ndarray, crop: Crop, feather: float = 0.1) -> np.ndarray:
    """Paste an aligned face into the photo from which it was cropped, as the inverse of `align`.

    Args:
        photo: uint8 [H, W, 3].
        aligned: The aligned face or its translation, uint8 [S, S, 3], for any S.
        crop: The crop that `align` returned.
        feather: Width of the soft seam as a fraction of the crop's side; 0 gives a hard edge.

    Returns:
        A new photo, uint8 [H, W, 3], which is unchanged outside of the crop.
    """
    left, upper, right, lower = _bounding_box(crop, margin=1, photo=photo)
    if left >= right or upper >= lower:
        return photo.copy()  # the crop is outside of the photo
    side = max(1, round(crop.side))
    face = Image.fromarray(aligned)
    if side < face.width:  # antialias, because the rotation below samples at points
        face = face.resize((side, side), Image.Resampling.LANCZOS)
    to_unit = _photo_to_unit(crop.moved(left, upper))  # [2, 3]
    rotation = tuple((to_unit * face.width).ravel())
    box = (right - left, lower - upper)
    # The edge is repeated by one pixel, so that interpolation at the border does not mix in black.
    face = Image.fromarray(np.pad(np.asarray(face), ((1, 1), (1, 1), (0, 0)), mode="edge"))  # [S + 2, S + 2, 3]
    rotation = (*rotation[:2], rotation[2] + 1, *rotation[3:5], rotation[5] + 1)
    warped = np.asarray(face.transform(box, Image.Transform.AFFINE, rotation, Image.Resampling.BICUBIC), np.float32)
    opacity = _seam(to_unit, box, feather)[..., None]  # [h, w, 1]
    result = photo.copy()
    under = result[upper:lower, left:right]
    under[...] = np.rint(under + (warped - under) * opacity).clip(0, 255)
    return result


def _eyes_and_mouth(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the centres of the left eye, of the right eye and of the mouth, [2] each."""
    if points.shape == (68, 2):
        return points[LEFT_EYE].mean(0), points[RIGHT_EYE].mean(0), points[MOUTH_CORNERS].mean(0)
    if points.shape == (5, 2):
        return points[0], points[1], points[3:5].mean(0)
    raise UserError(f"alignment takes 68 or 5 landmarks (x, y), not an array of shape {list(points.shape)}")


def _corners(points) -> tuple[Point, Point, Point, Point]:
    a, b, c, d = ((float(x), float(y)) for x, y in points)
    return a, b, c, d


def _bounding_box(crop: Crop, margin: float, photo: np.ndarray | None = None) -> tuple[int, int, int, int]:
    """Return the (left, upper, right, lower) pixels that contain a crop, clipped to the photo if one is given."""
    quad = np.array(crop.quad)
    left, upper = (int(v) for v in np.floor(quad.min(0) - margin))
    right, lower = (int(v) for v in np.ceil(quad.max(0) + margin))
    if photo is None:
        return left, upper, right, lower
    height, width = photo.shape[:2]
    return max(left, 0), max(upper, 0), min(right, width), min(lower, height)


def _neighbourhood(photo: np.ndarray, crop: Crop, size: int) -> tuple[Image.Image, Crop]:
    """Return the part of a photo around a crop, and the crop within this part.

    The part is reduced if it is much larger than needed, and padded if the crop extends beyond the photo.
    """
    if crop.side > LARGEST_FACE * max(photo.shape):
        raise UserError("the face is many times larger than the picture")
    border = max(round(0.1 * crop.side), 3)
    wanted = _bounding_box(crop, border)
    left, upper, right, lower = _bounding_box(crop, border, photo)
    if left >= right or upper >= lower:
        raise UserError("the face is outside of the picture")
    part = Image.fromarray(photo[upper:lower, left:right])
    missing = [left - wanted[0], upper - wanted[1], wanted[2] - right, wanted[3] - lower]
    shrink = max(int(crop.side / size / 2), 1)
    if shrink > 1:
        part = part.resize((max(1, part.width // shrink), max(1, part.height // shrink)), Image.Resampling.LANCZOS)
    scale = part.width / (right - left)
    crop = crop.moved(left, upper, scale)
    if max(missing) <= border - 4:
        return part, crop
    widths = [max(round(m * scale), round(0.3 * crop.side)) for m in missing]  # left, upper, right, lower
    return Image.fromarray(_soft_padding(np.asarray(part), widths, crop.side)), crop.moved(-widths[0], -widths[1])


def _soft_padding(image: np.ndarray, widths: list[int], side: float) -> np.ndarray:
    """Pad uint8 [h, w, 3] by its mirror image, which is blurred and fades to the median colour: uint8 [H, W, 3]."""
    left, upper, right, lower = widths
    mirrored = np.pad(image, ((upper, lower), (left, right), (0, 0)), mode="reflect")  # [H, W, 3]
    height, width = mirrored.shape[:2]
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    # 1 at the outer edge, 0 at the border of the picture, negative inside.
    outside = np.maximum(
        1 - np.minimum(x / left, (width - 1 - x) / right), 1 - np.minimum(y / upper, (height - 1 - y) / lower)
    )[..., None]  # [H, W, 1]
    blurred = np.asarray(Image.fromarray(mirrored).filter(ImageFilter.GaussianBlur(0.02 * side)), np.float32)
    result = mirrored + (blurred - mirrored) * np.clip(3 * outside + 1, 0, 1)
    median = np.median(result, axis=(0, 1))  # [3]
    return np.rint(result + (median - result) * np.clip(outside, 0, 1)).astype(np.uint8)


def _photo_to_unit(crop: Crop) -> np.ndarray:
    """Return the matrix [2, 3] that maps (x, y, 1) in the photo to (u, v) in the crop, which are from 0 to 1 inside."""
    upper_left, lower_left, _, upper_right = np.array(crop.quad)
    axes = np.stack([upper_right - upper_left, lower_left - upper_left], axis=1)  # [2, 2]
    inverse = np.linalg.inv(axes)
    return np.concatenate([inverse, (-inverse @ upper_left)[:, None]], axis=1)  # [2, 3]


def _seam(to_unit: np.ndarray, box: tuple[int, int], feather: float) -> np.ndarray:
    """Return the opacity [h, w] of the pasted face: 0 outside, and a smooth step of width `feather` to 1 inside."""
    x, y = np.arange(box[0]) + 0.5, (np.arange(box[1]) + 0.5)[:, None]
    u, v = (a * x + b * y + c for a, b, c in to_unit)  # [h, w]
    depth = np.minimum(np.minimum(u, 1 - u), np.minimum(v, 1 - v))
    t = np.clip(depth / max(feather, 1e-9), 0, 1)
    return t * t * (3 - 2 * t)
