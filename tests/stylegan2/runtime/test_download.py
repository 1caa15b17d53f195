"""Downloads from a server on this machine that behaves as servers do: well, badly, and as Google Drive."""

import hashlib
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stylegan2.runtime import download as module
from stylegan2.runtime import weights
from stylegan2.runtime.download import SUMS, check_present, download, recorded
from stylegan2.runtime.errors import CheckpointError, UserError

CONTENT = bytes(range(256)) * 12000  # 3 MB
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Files and faults, and what was asked for."""

    def __init__(self):
        self.content, self.etag = CONTENT, '"one"'
        self.breaks_after = None  # bytes of an answer
        self.status, self.kind = None, "application/octet-stream"
        self.ranges = True
        self.asked = []  # the Range of each request

    def answer(self, handler):
        asked = handler.headers.get("Range")
        self.asked.append(asked)
        if self.status:
            handler.send_error(self.status)
            return
        start = 0
        if asked and self.ranges and handler.headers.get("If-Range") in (None, self.etag):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(self.content):
                handler.send_error(416)
                return
        handler.send_response(206 if start else 200)
        body = self.content[start:]
        for name, value in (("Content-Type", self.kind), ("Content-Length", str(len(body))), ("ETag", self.etag)):
            handler.send_header(name, value)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        handler.end_headers()
        handler.wfile.write(body if self.breaks_after is None else body[: self.breaks_after])


@pytest.fixture
def server():
    behaviour = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            behaviour.answer(self)

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    behaviour.url = f"http://127.0.0.1:{running.server_port}/network.pt"
    yield behaviour
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.fixture
def entry(server):
    def build(sha256=None):
        source = weights.Download(server.url, "https://example.org/page", 3)
        texts = ("MIT", "get it from https://example.org/page", "do without")
        return weights.PretrainedFile("network", "network.pt", "a network", "user:", sha256, *texts, download=source)

    return build


def test_a_file_arrives_and_its_digest_is_recorded(tmp_path, entry):
    seen = []
    path, digest = download(entry(), tmp_path, lambda done, size: seen.append((done, size)))
    assert path == tmp_path / "network.pt"
    assert path.read_bytes() == CONTENT
    assert digest == DIGEST == recorded(path)
    assert (tmp_path / SUMS).read_text() == f"{DIGEST}  network.pt\n"  # as sha256sum --check reads it
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert {file.name for file in tmp_path.iterdir()} == {"network.pt", SUMS}


def test_files_go_where_the_variable_says_and_are_found_there(tmp_path, entry, monkeypatch):
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path / "mine"))
    path, _ = download(entry())
    assert path == tmp_path / "mine" / "network.pt"
    assert weights.PretrainedFiles("no_such_package", [entry(DIGEST)]).find("network") == path
    monkeypatch.delenv(weights.FOLDER_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert weights.weights_folder() == tmp_path / "cache" / "psp" / "weights"


def test_a_broken_download_is_gone_on_with(tmp_path, server, entry):
    server.breaks_after = 1 << 20
    with pytest.raises(
        UserError, match=r"only 1\.0 MB of network\.pt arrived .*run the same command again to continue"
    ):
        download(entry(), tmp_path)
    assert not (tmp_path / "network.pt").exists()
    server.breaks_after = None
    assert download(entry(), tmp_path)[1] == DIGEST
    assert server.asked == [None, "bytes=1048576-"]


@pytest.mark.parametrize("change", ["the file has changed", "ranges are not known", "no version"])
def test_two_states_of_a_file_are_never_joined(tmp_path, server, entry, change):
    server.breaks_after, server.content = 1 << 20, b"\1" * len(CONTENT)
    with pytest.raises(UserError, match="to continue"):
        download(entry(), tmp_path)
    server.breaks_after, server.content = None, CONTENT
    if change == "the file has changed":
        server.etag = '"two"'
    elif change == "ranges are not known":
        server.ranges = False
    else:
        (tmp_path / "network.pt.part.version").unlink()
    assert download(entry(), tmp_path)[1] == DIGEST
    assert (tmp_path / "network.pt").read_bytes() == CONTENT


def test_a_part_that_is_the_whole_is_taken(tmp_path, entry, server):
    (tmp_path / "network.pt.part").write_bytes(CONTENT)
    (tmp_path / "network.pt.part.version").write_text(server.etag)
    assert download(entry(), tmp_path)[1] == DIGEST


@pytest.mark.parametrize("known", [DIGEST, DIGEST[:8]])
def test_a_known_digest_is_checked(tmp_path, server, entry, known):
    assert download(entry(known), tmp_path)[1] == DIGEST
    (tmp_path / "network.pt").unlink()
    (tmp_path / SUMS).unlink()
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(CheckpointError, match=rf"damaged or a different file .*not {known[:16]}\), and was deleted"):
        download(entry(known), tmp_path)
    assert list(tmp_path.iterdir()) == []  # nothing wrong stays, under any name


def test_a_recorded_digest_is_expected_the_next_time(tmp_path, server, entry):
    path, _ = download(entry(), tmp_path)
    assert check_present(entry(), path) == DIGEST
    path.unlink()
    server.content = CONTENT[::-1]
    with pytest.raises(CheckpointError, match="damaged or a different file"):
        download(entry(), tmp_path)
    path.write_bytes(b"something else")
    with pytest.raises(CheckpointError, match="damaged or a different file"):
        check_present(entry(), path)


def test_a_file_that_has_moved_is_said(tmp_path, server, entry):
    server.status = 404
    with pytest.raises(
        UserError, match=r"^127\.0\.0\.1 answered 404 Not Found for network\.pt: get network\.pt from"
    ) as e:
        download(entry(), tmp_path)
    assert "https://example.org/page" in str(e.value)
    assert str(tmp_path / "network.pt") in str(e.value)
    assert list(tmp_path.iterdir()) == []


def test_a_web_page_is_not_taken_for_the_file(tmp_path, server, entry):
    server.kind, server.content = "text/html; charset=utf-8", b"<html>Quota exceeded</html>"
    with pytest.raises(UserError, match="answered with a web page instead of network.pt") as e:
        download(entry(), tmp_path)
    assert "put it at" in str(e.value)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_noticed_before_and_while_it_fills(tmp_path, entry, monkeypatch):
    (tmp_path / "network.pt.part").symlink_to("/dev/full")  # every write: no space left on device
    with pytest.raises(UserError, match=r"cannot write '.*network\.pt': No space left on device"):
        download(entry(), tmp_path)
    (tmp_path / "network.pt.part").unlink()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(UserError, match=r"network\.pt needs 3 MB more, but the disk of .* has only 1 MB left"):
        download(entry(), tmp_path)
    assert not (tmp_path / "network.pt").exists()


def test_without_a_network_the_sentence_says_where_to_put_which_file(tmp_path, entry):
    address = weights.Download("http://127.0.0.1:9/network.pt", "https://example.org/page")
    alone = weights.PretrainedFile("network", "network.pt", "a network", "user:", None, "MIT", "", "", download=address)
    with pytest.raises(
        UserError, match=r"nothing of network\.pt arrived from 127\.0\.0\.1 \(the connection was refused"
    ):
        download(alone, tmp_path)
    with pytest.raises(UserError, match="cannot be downloaded here: ask them"):
        texts = ("a network", "user:", None, "MIT", "ask them", "")
        download(weights.PretrainedFile("network", "network.pt", *texts), tmp_path)


def test_a_folder_that_cannot_be_written_is_said(tmp_path, entry, server):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        download(entry(), tmp_path / "file" / "folder")
    assert server.asked == []
