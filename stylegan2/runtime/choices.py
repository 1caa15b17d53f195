"""Choices of settings, in a module that can be imported without PyTorch."""

from stylegan2.runtime.errors import UserError

PRECISIONS = ("auto", "fp32", "tf32", "bf16", "fp16")
REPORTERS = ("tensorboard", "wandb")
FASTEST = 50  # frames per second of an animation: viewers play faster GIFs slowly


def check_precision(precision: str) -> None:
    """Raise a UserError unless a precision is one of PRECISIONS."""
    if precision not in PRECISIONS:
        raise UserError(f"there is no precision {precision!r}: choose one of {', '.join(PRECISIONS)}")


def parse_reporters(text: str) -> list[str]:
    """Split a comma-separated list of reporters; "none" gives an empty list. UserError: a reporter is unknown."""
    names = [] if text == "none" else [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in REPORTERS]:
        raise UserError(f"report_to must be {', '.join(REPORTERS)} or none, not {unknown[0]!r}")
    return names
