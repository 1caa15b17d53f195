"""The settings of scripts/web.py."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from options.shared import Machine
from stylegan2.runtime.ranges import Count, Positive


@dataclass(frozen=True)
class Web(Machine):
    """Serve a web page to invert, edit, mix, restore and toonify photographs, and to generate people.

    The page is available only on this machine and needs no network connection. Ctrl-C ends the server.
    """

    family: str = "portraits64"
    """name of the shipped models, which are called FAMILY_inversion, FAMILY_inpainting and so on"""
    host: str = "127.0.0.1"
    """address to listen on; 0.0.0.0 serves the page to every machine that can reach this one"""
    port: Annotated[int, Interval(ge=0, le=65535)] = 7860
    """port to listen on; 0 selects a free port"""
    upload_megabytes: Positive = 30.0
    """largest size of an uploaded file"""
    queue_size: Count = 50
    """number of requests that may wait; further requests are rejected with a message"""
    open_browser: bool = False
    """open the page in the browser of this machine"""
