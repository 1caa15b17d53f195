"""Which square of a picture is kept."""

CROPS = ("center", "top", "none")


def square_box(height: int, width: int, crop: str) -> tuple[int, int, int] | None:
    """Return the largest square of a picture: (top, left, side) in pixels.

    Args:
        crop: "center"; "top" takes the upper end of tall pictures, as portraits have their faces there; "none" takes
            square pictures only, and gives None for others.
    """
    if crop == "none" and height != width:
        return None
    side = min(height, width)
    top = 0 if crop == "top" else (height - side) // 2
    return top, (width - side) // 2, side
