"""The settings of scripts/web.py."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from options.machine import Machine
from stylegan2.runtime.ranges import Count, Positive


@dataclass(frozen=True)
class Web(Machine):
    """Open a page in the browser: invert, edit, mix, restore and toonify photographs, and generate people.

    The page is served to this machine alone and needs no network; Ctrl-C ends it.
    """

    family: str = "portraits64"
    """the models: those that come with the package as FAMILY_inversion, FAMILY_inpainting and so on"""
    host: str = "127.0.0.1"
    """address to listen on; 0.0.0.0 serves the page to every machine that can reach this one"""
    port: Annotated[int, Interval(ge=0, le=65535)] = 7860
    """port to listen on; 0 takes one that is free"""
    upload_megabytes: Positive = 30.0
    """a larger file is refused"""
    queue_size: Count = 50
    """requests that may wait; further ones are refused with a sentence"""
    open_browser: bool = False
    """open the page in this machine's browser"""
