"""Other machines for tests: an object store by moto, and a web server that can fail on request."""

import http.server
import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stylegan2.runtime import remote


class Handler(http.server.SimpleHTTPRequestHandler):
    server: "Server"

    def do_GET(self):
        self.server.asked.append(self.path)
        status = self.server.failing.get(self.path, [])
        if status:
            self.send_error(status.pop(0))
        elif self.path in self.server.cut:
            content = (self.server.folder / self.path.lstrip("/")).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.server.cut.remove(self.path)
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    """Hands out a folder.

    asked: The paths of all requests. failing: {path: answers in place of the next ones}. cut: Paths that are answered
    by half once.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), lambda *request: Handler(*request, directory=str(folder)))
        self.folder, self.asked, self.failing, self.cut = folder, [], {}, set()
        self.address = f"http://127.0.0.1:{self.server_port}"


@contextmanager
def web_server(folder: Path) -> Iterator[Server]:
    pytest.importorskip("aiohttp", reason="needs the extra `remote`")
    with Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextmanager
def object_store(patch: pytest.MonkeyPatch) -> Iterator[object]:
    """Provide a local S3 with a bucket `bucket` as boto3's client sees it; commands find it in the environment."""
    pytest.importorskip("s3fs", reason="needs the extra `remote`")
    server_module = pytest.importorskip("moto.server", reason="needs moto, of the extra `dev`")
    import boto3
    import requests

    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        patch.setenv(name, value)
    remote._file_system.cache_clear()  # of an earlier address
    importlib.import_module("s3fs").S3FileSystem.clear_instance_cache()
    requests.post(f"http://{host}:{port}/moto-api/reset", timeout=30)  # moto keeps the buckets of earlier tests
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    yield client
    server.stop()
