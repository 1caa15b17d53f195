"""psp models and psp download: their output and their questions. tests/stylegan2/runtime tests the transfer."""

import http.server
import io
import sys
import threading
from dataclasses import replace
from functools import partial

import pytest
import torch

import stylegan2
from psp import loading
from psp.loading import save_model as save_psp
from psp.pretrained_files import PRETRAINED
from stylegan2.loading import PRETRAINED as GENERATORS
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.weights import Download


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("PSP_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture
def published(tmp_path, build_model, monkeypatch):
    """Publish a small model as psp_ffhq_encode on a server of this machine."""
    folder = tmp_path / "server"
    folder.mkdir()
    save_psp(folder / "psp_ffhq_encode.safetensors", build_model(), {"task": "inversion"})
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    entry = PRETRAINED.entries["psp_ffhq_encode"]
    url = f"http://127.0.0.1:{running.server_port}/psp_ffhq_encode.safetensors"
    ours = replace(entry, file="psp_ffhq_encode.safetensors", download=Download(url, entry.download.page, 1))
    monkeypatch.setitem(PRETRAINED.entries, "psp_ffhq_encode", ours)
    yield ours
    running.shutdown()
    running.server_close()
    thread.join()


def test_models_are_listed_with_where_they_are(script, tmp_path):
    code, out, _ = script("models.py")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert lines.keys() >= {*PRETRAINED.entries, *GENERATORS.entries}
    assert "shipped" in lines["synthfaces64_inversion"]
    assert "inversion" in lines["synthfaces64_inversion"]
    assert "installed" in lines["dlib_resnet"]
    assert "to download" in lines["stylegan2_ffhq_1024"]
    assert "NVIDIA Source Code License" in out
    assert str(tmp_path / "weights") in out
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / PRETRAINED.entries["moco_v2"].file).write_bytes(b"weights")
    (tmp_path / "weights" / PRETRAINED.entries["vgg16"].file).write_bytes(b"not these")
    _, out, _ = script("models.py", "--kind", "network")
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert " here " in lines["moco_v2"]
    assert " damaged " in lines["vgg16"]
    assert "stylegan2_ffhq_1024" not in lines


def test_a_word_selects(script):
    code, out, _ = script("models.py", "cars")
    assert code == 0
    assert "e4e_cars_encode" in out
    assert "church" not in out
    code, _, err = script("models.py", "spaceships")
    assert code == 2
    assert "no model matches 'spaceships'" in err


def test_every_published_file_is_complete():
    for table in (PRETRAINED, GENERATORS):
        for entry in table.entries.values():
            if entry.download is not None:
                assert entry.download.url.startswith("https://")
                assert entry.download.page.startswith("https://")
                assert "/" not in entry.file
            if entry.kind != "network" and not entry.location.startswith("shipped"):
                assert entry.download
                assert entry.domain
                assert entry.resolution in (256, 512, 1024)
    addresses = [e.download.url for t in (PRETRAINED, GENERATORS) for e in t.entries.values() if e.download]
    assert len(set(addresses)) == len(addresses)


def test_a_download_asks_and_the_name_then_loads(script, published, monkeypatch, tmp_path):
    with pytest.raises(UserError, match=r"not on this machine: run `psp download psp_ffhq_encode`,"):
        loading.load("psp_ffhq_encode")
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    code, out, err = script("download.py", "psp_ffhq_encode")
    assert code == 1
    for words in (published.download.url, published.download.page, published.licence, "about 1 MB"):
        assert words in out
    assert "nothing was downloaded" in err
    assert not (tmp_path / "weights").exists()
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    code, _, err = script("download.py", "psp_ffhq_encode")
    assert code == 2
    assert "give --yes" in err
    code, out, _ = script("download.py", "psp_ffhq_encode", "--yes")
    assert code == 0
    assert "is recorded in SHA256SUMS" in out
    assert loading.load("psp_ffhq_encode")[1]["task"] == "inversion"
    code, out, _ = script("download.py", "psp_ffhq_encode")  # asks nothing, because nothing is to be done
    assert code == 0
    assert "is here and intact" in out
    assert " here " in script("models.py", "psp_ffhq_encode")[1]


def test_another_folder_is_taken_when_it_is_given(script, published, tmp_path):
    assert script("download.py", "psp_ffhq_encode", "--yes", "--folder", tmp_path / "other")[0] == 0
    assert (tmp_path / "other" / published.file).is_file()
    assert not (tmp_path / "weights").exists()


def test_a_downloaded_generator_loads_by_its_name(tmp_path, build_model):
    with pytest.raises(UserError, match="psp download stylegan2_ffhq_256"):
        stylegan2.load("stylegan2_ffhq_256")
    (tmp_path / "weights").mkdir()
    entry = GENERATORS.entries["stylegan2_ffhq_256"]
    stylegan2.save_generator(tmp_path / "weights" / entry.file, build_model().generator, {})
    generator, _ = stylegan2.load("stylegan2_ffhq_256")
    assert torch.equal(generator.w_avg, build_model().generator.w_avg)


def test_mistakes_are_one_sentence(script):
    for arguments, words in (
        (("psp_ffhq_encoder",), "did you mean psp_ffhq_encode?"),
        ((), "give the name of a model to download"),
        (("hed", "--yes"), "cannot be downloaded here: install it with"),
    ):
        code, _, err = script("download.py", *arguments)
        assert code == 2
        assert words in err
        assert err.count("\n") == 1
