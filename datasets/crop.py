"""Choice of the square that is cropped from an image."""

CROPS = ("center", "top", "none")


def square_box(height: int, width: int, crop: str) -> tuple[int, int, int] | None:
    """Choose the largest square of an image.

    Args:
        height, width: Size of the image in pixels.
        crop: "center" for the centre; "top" for the upper end of tall images, where portraits show the face; "none" to
            accept square images only.

    Returns:
        (top, left, side) in pixels, or None if `crop` is "none" and the image is not square.
    """
    if crop == "none" and height != width:
        return None
    side = min(height, width)
    top = 0 if crop == "top" else (height - side) // 2
    return top, (width - side) // 2, side
