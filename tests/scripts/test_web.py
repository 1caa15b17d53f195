"""psp web, as a user starts it. The page: tests/psp/web."""

import socket
import sys

import pytest

from psp.web.server import INSTALL, free_port


def test_without_gradio_one_sentence_says_how_to_install_it(script, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)  # as if it were not installed
    code, out, err = script("web.py")
    assert code == 2
    assert err == f"error: {INSTALL}\n"
    assert "psp-translate[web]" in err
    assert out == ""  # before the models are loaded


def test_mistakes_are_one_sentence(script):
    pytest.importorskip("gradio", reason="the page needs Gradio")
    for arguments, words in (
        (("--family", "cats"), "no models of the family 'cats' come with the package: choose portraits64"),
        (("--port", "70000"), "--port"),
        (("--queue_size", "0"), "--queue_size"),
        (("--upload_megabytes", "0"), "--upload_megabytes"),
        (("--family", "synthfaces64", "--host", "256.1.1.1"), "is not available"),
    ):
        code, _, err = script("web.py", "--device", "cpu", *arguments)
        assert code == 2
        assert words in err
        assert err.count("\n") == 1


def test_a_port_that_is_taken_is_said(script):
    pytest.importorskip("gradio", reason="the page needs Gradio")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = script("web.py", "--family", "synthfaces64", "--device", "cpu", "--port", port)
    assert code == 2
    assert f"port {port} of 127.0.0.1 is not available: choose another port or host" in err


def test_a_free_port_is_found():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port("127.0.0.1", 0)))
