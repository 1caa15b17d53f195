"""What settings choose among, for those who check them before PyTorch is imported."""

from stylegan2.runtime.errors import UserError

PRECISIONS = ("auto", "fp32", "tf32", "bf16", "fp16")
FASTEST = 50  # frames a second of a moving picture: viewers show faster GIFs slowly


def check_precision(precision: str) -> None:
    """Raise a UserError unless the name is one of PRECISIONS."""
    if precision not in PRECISIONS:
        raise UserError(f"there is no precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
