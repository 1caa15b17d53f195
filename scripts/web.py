"""Serve a web page to invert, edit, mix, restore and toonify photographs: python scripts/web.py"""

import _start  # noqa: F401

# isort: split

import os
import sys

from options.commands.web import Web
from options.parse import run
from psp.web.server import free_port, require_gradio, serve


def main(o: Web) -> None:
    device = o.prepare()
    require_gradio()
    from psp.web import studio

    port = free_port(o.host, o.port)
    names = studio.shipped_models(o.family)
    print(f"loading {', '.join(sorted(names.values()))}", flush=True)
    models = studio.load_models(names, str(device))
    serve(models, names, o.host, port, o.upload_megabytes, o.queue_size, o.open_browser, started)
    sys.stdout.flush()
    os._exit(0)  # a regular exit ends threads that still compute for a visitor, which aborts the process


def started(address: str) -> None:
    """Print the address of the page."""
    print(f"the page is at {address} (Ctrl-C ends it)", flush=True)


if __name__ == "__main__":
    run(main, Web)
