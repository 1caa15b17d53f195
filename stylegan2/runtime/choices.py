"""What settings choose among, for those who check them before PyTorch is imported."""

from stylegan2.runtime.errors import UserError

PRECISIONS = ("auto", "fp32", "tf32", "bf16", "fp16")
REPORTERS = ("tensorboard", "wandb")
FASTEST = 50  # frames a second of a moving picture: viewers show faster GIFs slowly


def check_precision(precision: str) -> None:
    """Raise a UserError unless the name is one of PRECISIONS."""
    if precision not in PRECISIONS:
        raise UserError(f"there is no precision {precision!r}: choose one of {', '.join(PRECISIONS)}")


def parse_reporters(text: str) -> list[str]:
    """Return the names in a list with commas; `none` names no one. UserError: there is no such reporter."""
    names = [] if text == "none" else [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in REPORTERS]:
        raise UserError(f"report_to names {', '.join(REPORTERS)} or none, not {unknown[0]!r}")
    return names
