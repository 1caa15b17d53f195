"""The server of the page, which limits uploads and requests, and neither sends nor loads anything elsewhere."""

import os
import signal
import socket
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from psp.inference.predictor import Predictor
from psp.web import studio
from stylegan2.runtime.errors import UserError

INSTALL = "the page needs Gradio: install it with `pip install 'psp-translate[web]'`"
VISITORS = 20  # number of visitors whose photographs are kept at a time
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'; "
    "object-src 'none'; base-uri 'self'"
)
"""The Content-Security-Policy of the page: browsers may load nothing from other machines."""
QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "GRADIO_SSR_MODE": "False",
}


def require_gradio() -> None:
    """Import Gradio with telemetry switched off. UserError: Gradio is not installed or cannot be imported."""
    os.environ.update(QUIET)  # Gradio reads these variables when it is imported
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        missing = error.name == "gradio"
        raise UserError(INSTALL if missing else f"Gradio cannot be imported ({error}): {INSTALL}") from error


def serve(
    models: Mapping[str, Predictor],
    names: Mapping[str, str],
    host: str,
    port: int,
    upload_megabytes: float,
    queue_size: int,
    open_browser: bool,
    started: Callable[[str], None],
) -> None:
    """Serve the page until the process is interrupted.

    Args:
        models: {task: model}.
        names: {task: name of the model}.
        host: Address to listen on.
        port: Port to listen on, as returned by `free_port`.
        upload_megabytes: Largest size of an uploaded file in megabytes.
        queue_size: Largest number of waiting requests; further ones are rejected.
        open_browser: Whether to open the page in the browser of this machine.
        started: Called with the address of the page before it blocks.

    Raises:
        UserError: Gradio is not installed.
    """
    require_gradio()
    from psp.web import look, page

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as after Ctrl-C, temporary images are deleted
    with tempfile.TemporaryDirectory(prefix="psp-web-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder, "pictures"))
        examples = studio.write_examples(models[studio.INVERSION], Path(folder))
        blocks = page.build_page(models, sorted(names.values()), examples)
        blocks.queue(max_size=queue_size, default_concurrency_limit=1, api_open=False)
        _, address, _ = blocks.launch(
            server_name=host, server_port=port, inbrowser=open_browser, share=False, quiet=True,
            prevent_thread_lock=True, max_file_size=int(upload_megabytes * 1e6), ssr_mode=False, pwa=False,
            footer_links=[], run_history=False, state_session_capacity=VISITORS, enable_monitoring=False,
            mcp_server=False, app_kwargs=guarded(), theme=look.theme(), css=look.CSS,
        )  # fmt: skip
        started(address)
        blocks.block_thread()


def free_port(host: str, port: int) -> int:
    """Return a port on which the page can listen.

    Args:
        host: Address to listen on.
        port: The desired port; 0 for any free one.

    Raises:
        UserError: The address does not belong to this machine, or another program uses the port.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            if os.name == "posix":  # on other systems, this would share a port that is in use
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return probe.getsockname()[1]
    except OSError as error:
        raise UserError(f"port {port} of {host} is not available: choose another port or host") from error


def guarded() -> dict[str, Any]:
    """Return settings of the web application that add the Content-Security-Policy and disable its API pages."""
    from starlette.middleware import Middleware

    return {"middleware": [Middleware(WithPolicy)], "docs_url": None, "redoc_url": None}


class WithPolicy:
    """ASGI middleware that adds the Content-Security-Policy to every response.

    Args:
        app: The ASGI application that creates the responses.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = [(b"content-security-policy", POLICY.encode()), (b"referrer-policy", b"no-referrer")]
                message = {**message, "headers": [*message.get("headers", ()), *headers]}
            await send(message)

        await self.app(scope, receive, send_with_policy)
