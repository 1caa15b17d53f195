"""Messages that a process prints once, however often they apply."""

from functools import cache

from stylegan2.runtime import distributed


@cache
def print_once(text: str) -> None:
    """Print a line unless this process has printed it before; of several processes only the first one prints."""
    if distributed.is_first():
        print(text)
