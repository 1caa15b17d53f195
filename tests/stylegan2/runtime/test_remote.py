"""Files elsewhere: fetched once, again when they change, tried again when the network fails, and never out of place."""

import importlib
import sys
from pathlib import Path

import pytest

from stylegan2.runtime import remote
from stylegan2.runtime.errors import UserError
from tests.remote import object_store, web_server


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.01)
    remote._file_system.cache_clear()
    return tmp_path / "cache" / "psp"


@pytest.fixture
def web(tmp_path):
    folder = tmp_path / "web"
    (folder / "photos" / "deep").mkdir(parents=True)
    for name in ("a.jpg", "deep/b.png", "notes.txt", "deep/dataset.json"):
        (folder / "photos" / name).write_bytes(name.encode())
    with web_server(folder) as server:
        yield server


@pytest.fixture
def store(monkeypatch):
    with object_store(monkeypatch) as client:
        yield client


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("s3://bucket/key", "s3://bucket/key"),
        (Path("s3://bucket/key"), "s3://bucket/key"),
        (Path("https://host:80/a/b.jpg"), "https://host:80/a/b.jpg"),
        ("C:/folder", None),
        (Path("/folder/a:b"), None),
        ("folder", None),
        ("s3:", None),
    ],
)
def test_what_is_a_url(path, url):
    assert remote.url_of(path) == url
    assert url is not None or remote.local(path) == remote.local_model(path) == Path(path)


def test_a_file_of_a_web_server_is_fetched_once_and_again_when_it_changes(web):
    url = f"{web.address}/photos/a.jpg"
    path = remote.local(url)
    assert (path.name, path.read_bytes()) == ("a.jpg", b"a.jpg")
    assert remote.local(url) == path
    assert web.asked.count("/photos/a.jpg") == 1
    (web.folder / "photos" / "a.jpg").write_bytes(b"another")
    assert remote.local(url).read_bytes() == b"another"


def test_a_folder_of_a_web_server(web, capsys):
    folder = remote.local(Path(f"{web.address}/photos"))
    assert files_in(folder) == {
        "a.jpg": b"a.jpg",
        "deep/b.png": b"deep/b.png",
        "deep/dataset.json": b"deep/dataset.json",
    }
    assert "1 .jpg, 1 .png; skipped: 1 .txt" in capsys.readouterr().out
    asked = len(web.asked)
    (web.folder / "photos" / "a.jpg").unlink()
    (web.folder / "photos" / "c.jpg").write_bytes(b"new")
    assert remote.local(f"{web.address}/photos/") == remote.local(f"{web.address}/photos/") == folder
    assert sorted(files_in(folder)) == ["c.jpg", "deep/b.png", "deep/dataset.json"]
    assert "/photos/deep/b.png" not in web.asked[asked:]


def test_an_object_store(store):
    pictures = ("faces/a.jpg", "faces/deep/b.png", "faces/../../c.jpg", "faces/d|e.jpg")
    run = ("run/checkpoints/network-9.safetensors", "run/checkpoints/network-10.safetensors", "run/metrics.jsonl")
    for name in (*pictures, *run):
        store.put_object(Bucket="bucket", Key=name, Body=name.encode())
    assert remote.local("s3://bucket/faces/a.jpg").read_bytes() == b"faces/a.jpg"
    folder = remote.local(Path("s3://bucket/faces"))
    assert files_in(folder) == {"a.jpg": b"faces/a.jpg", "deep/b.png": b"faces/deep/b.png"}
    assert remote.local_model("s3://bucket/run").read_bytes() == b"run/checkpoints/network-10.safetensors"
    with pytest.raises(UserError, match="there is no checkpoint in s3://bucket/faces"):
        remote.local_model("s3://bucket/faces")
    with pytest.raises(UserError, match="there is nothing at s3://bucket/none"):
        remote.local("s3://bucket/none")
    with pytest.raises(UserError, match=r"contains no images: skipped: 2 .safetensors, 1 .jsonl"):
        remote.local("s3://bucket/run")


def test_a_server_that_fails_is_asked_again(web):
    web.failing["/photos/a.jpg"] = [503, 500]
    web.cut.add("/photos/deep/b.png")
    assert remote.local(f"{web.address}/photos/a.jpg").read_bytes() == b"a.jpg"
    assert remote.local(f"{web.address}/photos/deep/b.png").read_bytes() == b"deep/b.png"
    web.failing["/photos/notes.txt"] = [503] * 10
    with pytest.raises(UserError, match=r"cannot read http://.* after 4 attempts \(503.*\)") as raised:
        remote.local(f"{web.address}/photos/notes.txt")
    assert len(str(raised.value).splitlines()) == 1
    assert not list(remote.cache_folder().rglob(".partial-*"))


def test_a_picture_that_is_refused_does_not_end_the_others(web, capsys):
    web.failing["/photos/a.jpg"] = [403]
    folder = remote.local(f"{web.address}/photos/")
    assert files_in(folder)["a.jpg"] == b""
    assert files_in(folder)["deep/b.png"] == b"deep/b.png"
    assert "cannot read http" in capsys.readouterr().out
    assert files_in(remote.local(f"{web.address}/photos/"))["a.jpg"] == b"a.jpg"  # the next run asks again


def test_no_network_is_one_sentence():
    with pytest.raises(UserError, match=r"cannot read http://127.0.0.1:9/a.jpg after 4 attempts \(.+\)") as raised:
        remote.local("http://127.0.0.1:9/a.jpg")
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("missing", "url"), [("fsspec", "s3://b/k"), ("aiohttp", "https://host/a"), ("s3fs", "s3://b/k")]
)
def test_without_the_extra_it_is_named(monkeypatch, missing, url):
    monkeypatch.setitem(sys.modules, missing, None)
    if missing != "fsspec":
        for scheme in ("s3", "http", "https"):
            monkeypatch.delitem(importlib.import_module("fsspec.registry")._registry, scheme, raising=False)
    with pytest.raises(UserError, match=r'pip install "psp-translate\[remote\]"'):
        remote.local(url)


def test_an_unknown_kind_of_place():
    with pytest.raises(UserError, match=r"cannot read nowhere:// \(Protocol not known: nowhere"):
        remote.local("nowhere://a/b")


def test_results_stay_here():
    with pytest.raises(UserError, match="exp_dir must be a folder or file of this machine, not 's3://b/run'"):
        remote.check_local("exp_dir", Path("s3://b/run"))
    remote.check_local("exp_dir", Path("run"))
