"""The index of a data set is cached, and validated when it is read."""

import contextlib
import io
import json
import os
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import cached_arrays, index
from datasets.cached_arrays import CachedArrays, read_cached, save_cached
from datasets.folder import ImageFiles, ImageFolder
from datasets.index import CACHED_FROM, Names, open_index
from stylegan2.runtime.errors import ImageError

pytestmark = pytest.mark.usefixtures("own_cache")

COUNT = CACHED_FROM + 20
LONG_AGO = time.time() - 3600


def png(value):
    file = io.BytesIO()
    Image.fromarray(np.full((2, 2, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


PICTURES = [png(value) for value in range(4)]


@pytest.fixture
def listed(monkeypatch):
    """Record the paths that are listed instead of being read from an index."""
    calls = []
    original = index.list_pictures
    monkeypatch.setattr(index, "list_pictures", lambda path: calls.append(path) or original(path))
    return calls


@pytest.fixture
def settled(monkeypatch):
    """Accept folders that have changed within the last two seconds."""
    monkeypatch.setattr(index, "MIN_AGE_NS", -(10**12))
    monkeypatch.setattr("datasets.cached_labels.MIN_AGE_NS", -(10**12))


def names(count=COUNT, classes=("cat", "dog")):
    return [f"{classes[n % len(classes)]}/{n:05d}.png" for n in range(count)]


def as_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(files):
            archive.writestr(name, PICTURES[number % 4] if name.endswith(".png") else b"{}")
    return path


def as_folder(path, files):
    for number, name in enumerate(files):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(PICTURES[number % 4])
    return path


def make(kind, path, files):
    return as_zip(path / "faces.zip", files) if kind == "zip" else as_folder(path / "faces", files)


def same(one, other):
    assert list(one.names) == list(other.names)
    assert (one.members is None) == (other.members is None)
    assert one.members is None or np.array_equal(one.members, other.members)
    assert (one.labels_files, one.file_kinds, one.fingerprint) == (
        other.labels_files,
        other.file_kinds,
        other.fingerprint,
    )


# ------------------------------------------------------------------------------------------------------ kept


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_a_data_set_is_listed_once(tmp_path, listed, settled, kind):
    data = make(kind, tmp_path, [*names(), "ä b.png"])
    first = open_index(data)
    assert (tmp_path / f".{data.name}.index").exists()
    same(first, open_index(data))
    assert len(listed) == 1
    assert list(first.names) == sorted([*names(), "ä b.png"])


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_pictures_and_labels_are_those_of_a_fresh_list(tmp_path, listed, settled, kind, capsys):
    data = make(kind, tmp_path, [*names(), "stray.png"])
    readings, texts = [], []
    for _ in range(2):
        images = ImageFolder(data, 2)
        labels = images.labels()
        readings.append((labels.tolist(), [images[n].tolist() for n in (0, 7, COUNT - 1)], images.files.names))
        texts.append(capsys.readouterr().out)
    assert readings[0] == readings[1]
    assert texts[0] == texts[1]
    assert f"1 of {COUNT + 1:,} images" in texts[0]
    assert len(listed) == 1
    assert (tmp_path / f".{data.name}.labels").exists()


def test_a_small_set_leaves_nothing_behind(tmp_path, settled):
    open_index(as_folder(tmp_path / "faces", names(CACHED_FROM - 1)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces"]


def test_where_nothing_can_be_written_beside_it_the_users_cache_is_used(tmp_path, listed, monkeypatch):
    data = as_zip(tmp_path / "faces.zip", names())
    original = cached_arrays.atomic_file

    def refuses(path, durable=True):
        if Path(path).parent == tmp_path:
            raise PermissionError(13, "Permission denied")
        return original(path, durable)

    monkeypatch.setattr(cached_arrays, "atomic_file", refuses)
    first = open_index(data)
    assert len(list((tmp_path / "cache" / "psp").iterdir())) == 1
    same(first, open_index(data))
    assert len(listed) == 1


def test_where_nothing_can_be_written_it_is_listed_each_time(tmp_path, listed, monkeypatch):
    data = as_zip(tmp_path / "faces.zip", names())
    monkeypatch.setattr(cached_arrays, "cache_paths", lambda data, kind: [tmp_path / "no file" / "x" / "\0"][:0])
    same(open_index(data), open_index(data))
    assert len(listed) == 2


# ----------------------------------------------------------------------------------------------------- stale


def test_a_folder_that_changed_a_moment_ago_may_change_again(tmp_path, listed):
    data = as_folder(tmp_path / "faces", names())
    open_index(data)
    assert not (tmp_path / ".faces.index").exists()


def change_file_of_class(data):
    (data / "cat" / "new.png").write_bytes(PICTURES[0])


def remove_file(data):
    (data / names()[0]).unlink()


def rename_folder(data):
    (data / "dog").rename(data / "horse")


def as_many_others(data):
    """Add one file, remove another, and restore the time of the folder."""
    state = (data / "cat").stat()
    remove_file(data)
    change_file_of_class(data)
    os.utime(data / "cat", ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.parametrize("change", [change_file_of_class, remove_file, rename_folder, as_many_others])
def test_a_folder_that_changed_is_listed_again(tmp_path, listed, settled, change):
    data = as_folder(tmp_path / "faces", names())
    open_index(data)
    change(data)
    again = open_index(data)
    assert len(listed) == 2
    assert list(again.names) == sorted(path.relative_to(data).as_posix() for path in data.rglob("*.png"))


def test_a_file_that_tells_only_inside_what_it_is_is_looked_at_again(tmp_path, listed, settled):
    data = as_folder(tmp_path / "faces", [*names(), "README"])
    (data / "README").write_text("no picture")
    assert "README" not in open_index(data).names
    (data / "README").write_bytes(PICTURES[0])
    assert "README" in open_index(data).names


def test_a_zip_of_the_same_size_and_time_is_another(tmp_path, listed):
    data = as_zip(tmp_path / "faces.zip", names())
    os.utime(data, (LONG_AGO, LONG_AGO))
    first = open_index(data)
    size = data.stat().st_size
    as_zip(data, names(classes=("cow", "pig")))
    os.utime(data, (LONG_AGO, LONG_AGO))
    assert data.stat().st_size == size
    second = open_index(data)
    assert len(listed) == 2
    assert first.names[0] == "cat/00000.png"
    assert second.names[0] == "cow/00000.png"


def test_labels_follow_a_dataset_json_that_is_rewritten(tmp_path, settled):
    data = as_folder(tmp_path / "faces", [f"{n:05d}.png" for n in range(COUNT)])
    for factor in (1, 2):
        content = {"labels": [[f"{n:05d}.png", factor * (n % 3)] for n in range(COUNT)]}
        (data / "dataset.json").write_text(json.dumps(content))
        os.utime(data, (LONG_AGO, LONG_AGO))
        for _ in range(2):
            assert ImageFolder(data, 2).labels().max() == 2 * factor


# ------------------------------------------------------------------------------------------- damaged, hostile


def truncated(content):
    return content[: len(content) // 2]


def flipped(content):
    return content[:-40] + bytes([content[-40] ^ 1]) + content[-39:]


def longer(content):
    return content + b"x"


def emptied(content):
    return b""


def noise(content):
    return np.random.default_rng(0).bytes(5000)


def huge_header(content):
    return cached_arrays.MAGIC + b"[" * 2_000_000


def deep_header(content):
    return cached_arrays.MAGIC + b"[" * 100_000 + b"\n"


def claims_much(content):
    return (
        cached_arrays.MAGIC
        + json.dumps({"fingerprint": "", "about": {}, "arrays": [["names", "|u1", [2**29]]]}).encode()
    )


def objects(content):
    return content.replace(b'"<i8"', b'"|O8"').replace(b'"|u1"', b'"|O1"')


DAMAGES = [truncated, flipped, longer, emptied, noise, huge_header, deep_header, claims_much, objects]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("suffix", ["index", "labels"])
def test_a_damaged_file_is_made_anew(tmp_path, damage, suffix):
    data = as_zip(tmp_path / "faces.zip", names())
    expected = ImageFolder(data, 2).labels()
    kept = tmp_path / f".faces.zip.{suffix}"
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    images = ImageFolder(data, 2)
    assert np.array_equal(images.labels(), expected)
    assert images[0].shape == (2, 2, 3)
    assert kept.read_bytes() == whole


def test_a_pipe_in_its_place_is_not_waited_for(tmp_path):
    data = as_zip(tmp_path / "faces.zip", names())
    os.mkfifo(tmp_path / ".faces.zip.index")
    assert len(open_index(data).names) == COUNT


def forged(original, **arrays):
    return CachedArrays(original.fingerprint, original.about, original.arrays | arrays)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "cat/../../secret.png"])
def test_no_name_leads_out_of_a_folder(tmp_path, settled, name):
    data = as_folder(tmp_path / "faces", names())
    (tmp_path / "secret.png").write_bytes(PICTURES[3])
    expected = list(open_index(data).names)
    (kept,) = read_cached(data, "index")
    save_cached(data, "index", forged(kept, names=Names.of([name] * COUNT).text))
    assert list(open_index(data).names) == expected


@pytest.mark.parametrize("column", range(6))
@pytest.mark.parametrize("number", [-1, 2**40, 2**62])
def test_members_that_cannot_be_are_not_believed_or_not_read(tmp_path, column, number):
    data = as_zip(tmp_path / "faces.zip", names())
    open_index(data)
    (kept,) = read_cached(data, "index")
    members = kept.arrays["members"].copy()
    members[:, column] = number
    save_cached(data, "index", forged(kept, members=members))
    files = ImageFiles(data)
    with contextlib.suppress(ImageError):
        assert files.read(0, "rgb").shape == (2, 2, 3)


@pytest.mark.parametrize(
    "arrays",
    [
        {"values": np.full(COUNT, 2**60)},
        {"values": np.full(COUNT, -1)},
        {"values": np.full((COUNT, 3), np.nan, np.float32)},
        {"kept": np.full(COUNT, 5)},
        {"kept": np.arange(COUNT) + 1},
        {"kept": np.arange(COUNT - 1)},
        {"kept": np.zeros((COUNT, 2), np.int64)},
    ],
)
def test_labels_that_cannot_be_are_not_believed(tmp_path, arrays):
    data = as_zip(tmp_path / "faces.zip", names())
    expected = ImageFolder(data, 2).labels()
    (kept,) = read_cached(data, "labels")
    save_cached(data, "labels", forged(kept, **arrays))
    assert np.array_equal(ImageFolder(data, 2).labels(), expected)


# ------------------------------------------------------------------------------------------------- several


def test_processes_may_write_it_at_once(tmp_path):
    data = as_zip(tmp_path / "faces.zip", names())
    expected, indices = open_index(data), []

    def work():
        for _ in range(10):
            (kept,) = read_cached(data, "index")
            save_cached(data, "index", kept)
            indices.append(open_index(data))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(indices) == 40
    for each in indices:
        same(each, expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".faces.zip.index", "faces.zip"]


def test_names_are_a_sequence():
    texts = ["a.png", "b/ä.png", "", "\udc80raw"]
    names = Names.of(texts)
    assert list(names) == texts == [names[n] for n in range(4)]
    assert (len(names), names[-1], names[1:3]) == (4, texts[-1], texts[1:3])
    assert list(Names(names.text, "x/")) == [f"x/{text}" for text in texts]
    with pytest.raises(IndexError):
        names[4]


def test_files_that_are_kept_keep_their_order(tmp_path):
    files = ImageFiles(as_zip(tmp_path / "faces.zip", names(8)))
    everything = files.names
    files.keep([6, 1, 3])
    files.keep([2, 0])
    assert files.names == [everything[3], everything[6]]
    assert [files.relative(n) for n in range(2)] == files.names == files.relatives()
    assert len(files) == 2
