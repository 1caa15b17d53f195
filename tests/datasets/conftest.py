"""Shards as other programs write them, and a local web server that serves a folder."""

import functools
import http.server
import io
import threading

import numpy as np
import pytest
from PIL import Image


class Handler(http.server.SimpleHTTPRequestHandler):
    asked: list[str]

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def web(tmp_path):
    """Serve the folder `tmp_path / "web"`, and provide (address, list of requested paths)."""
    folder, asked = tmp_path / "web", []
    folder.mkdir(exist_ok=True)
    handler = functools.partial(type("Own", (Handler,), {"asked": asked}), directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Provide an empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "psp"


def picture(number, side=20):
    """Encode a PNG file whose first pixel contains its number."""
    pixels = np.full((side, side, 3), number % 251, np.uint8)
    pixels[:, :, 1:] = number // 251, 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def write_shards():
    """Write samples to shards with webdataset's own writer, and return the pattern that names the shards."""

    def call(folder, samples, per_shard):
        webdataset = pytest.importorskip("webdataset", reason="needs the extra `shards`")
        folder.mkdir(parents=True, exist_ok=True)
        with webdataset.ShardWriter(f"{folder}/%06d.tar", maxcount=per_shard, verbose=0, encoder=False) as writer:
            for sample in samples:
                writer.write(sample)
        last = -(-len(samples) // per_shard) - 1
        return f"{folder}/{{000000..{last:06d}}}.tar" if last else f"{folder}/000000.tar"

    return call


@pytest.fixture
def numbered_samples():
    """Make samples whose picture contains their number, with a class and metadata."""

    def call(count):
        return [
            {"__key__": f"{n:08d}", "png": picture(n), "cls": str(n % 3).encode(), "json": b'{"x": 1}', "txt": b"words"}
            for n in range(count)
        ]

    return call
