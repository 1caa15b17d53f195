"""Shards as a sequence of pictures: samples as in webdataset, labels, the index, and damaged files."""

import io
import json
import pickle
import re
import tarfile

import numpy as np
import pytest

from datasets import shard_index
from datasets.folder import ImageFolder
from datasets.shard_cache import ShardCache
from datasets.shard_index import open_index, write_index
from datasets.shards import ShardFiles, expand, is_shards
from datasets.sources import open_labels, open_split, sampler_of
from datasets.tasks import build_task
from stylegan2.runtime import remote
from stylegan2.runtime.errors import UserError
from tests.remote import web_server

pytest.importorskip("webdataset", reason="needs the extra `shards`")
pytestmark = pytest.mark.usefixtures("cache")


def numbers(images):
    return [int(images[n][0, 0, 0]) for n in range(len(images))]


def write_tar(path, entries):
    with tarfile.open(path, "w") as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_which_data_are_shards():
    assert is_shards("a/{000..010}.tar")
    assert is_shards("s3://bucket/{000..010}.tar::more/x.tar")
    assert is_shards("https://host/a.tar?key=1")
    assert not any(map(is_shards, ("a.zip", "folder", "a.tar/b", "a.tar::b.zip", "a.tar.gz")))


def test_pictures_come_in_order_with_their_classes(tmp_path, write_shards, numbered_samples):
    images = ImageFolder(write_shards(tmp_path / "s", numbered_samples(25), 10), 20)
    assert numbers(images) == list(range(25))
    assert images[3].shape == (20, 20, 3)
    assert images.files.relative(13) == "000001.tar/00000013.png"
    assert open_labels(images, "s").tolist() == [n % 3 for n in range(25)]


def test_samples_are_those_of_webdataset(tmp_path, write_shards, numbered_samples):
    from webdataset import WebDataset

    pattern = write_shards(tmp_path / "s", numbered_samples(12), 5)
    write_tar(
        tmp_path / "s" / "000000.tar",
        [
            ("./__index__", b"notes"),
            ("x/a.b.seg.png", b"seg"),
            ("x/a.jpg", b"one"),
            ("x/a.cls", b"7"),
            ("x.y/c.JPG", b"two"),
            ("d.txt", b"no picture"),
            ("e.png", b"three"),
            ("e.png", b"again"),
        ],
    )
    files = ShardFiles(pattern)
    theirs = [
        (sample.get("jpg") or sample.get("png") or sample.get("b.seg.png"), sample.get("cls"))
        for sample in WebDataset(expand(pattern), shardshuffle=False, empty_check=False, handler=lambda _: True)
    ]
    ours = []
    for n, (shard, start, size) in enumerate(zip(files.shard_of, files.starts, files.sizes, strict=True)):
        with files.shards.open(shard) as file:
            file.seek(start)
            label = files.labels()[n]
            ours.append((file.read(size), None if label is None else str(label).encode()))
    assert ours == [sample for sample in theirs if sample[0] is not None]
    assert len(ours) == 3 + 7


@pytest.mark.parametrize(
    ("member", "contents", "expected"),
    [
        ("cls", [b"cat", b"dog\n", b"cat"], [0, 1, 0]),
        ("cls", [b"4", b"1", b"4"], [1, 0, 1]),
        ("json", [b'{"label": 0}', b'{"label": 2}', b'{"label": 1}'], [0, 2, 1]),
        ("json", [b'{"label": [0, 1]}', b'{"label": [1, 0.5]}', b'{"label": [0, 0]}'], [[0, 1], [1, 0.5], [0, 0]]),
        ("json", [b'{"label": 0.5}', b'{"label": 1}', b'{"label": 2.0}'], [[0.5], [1.0], [2.0]]),
    ],
)
def test_labels(tmp_path, write_shards, numbered_samples, member, contents, expected):
    samples = [
        {"__key__": sample["__key__"], "png": sample["png"], member: content}
        for sample, content in zip(numbered_samples(3), contents, strict=True)
    ]
    pattern = write_shards(tmp_path / "s", samples, 2)
    for _ in range(2):  # the second time from the cached index
        assert open_labels(ImageFolder(pattern, 16), pattern).tolist() == expected


def test_what_is_no_label_is_counted_and_left_out(tmp_path, write_shards, numbered_samples, capsys):
    samples = numbered_samples(5)
    samples[1]["cls"], samples[2]["cls"], samples[3]["cls"] = b"\xff\xfe", b"", b"1" * 70_000
    images = ImageFolder(write_shards(tmp_path / "s", samples, 5), 16)
    assert images.labels().tolist() == [0, 1]
    assert numbers(images) == [0, 4]
    assert "3 .cls and .json members that are not labels" in capsys.readouterr().out


def test_one_bad_picture_is_counted_and_replaced_by_its_neighbour(tmp_path, write_shards, numbered_samples):
    samples = numbered_samples(200)
    samples[7]["png"] = b"no picture"
    images = ImageFolder(write_shards(tmp_path / "s", samples, 50), 16)
    with pytest.warns(UserWarning, match=r"left out: the picture at byte [\d,]+ of 000000.tar: .*is not a PNG"):
        assert images[7][0, 0, 0] == 8
    for sample in samples[:10]:
        sample["png"] = b"no picture"
    images = ImageFolder(write_shards(tmp_path / "t", samples, 50), 16)
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(UserError, match=r"3 of 200 images of .* cannot be read"),
    ):
        images[0]


def test_a_shard_that_ends_early_gives_what_it_has(tmp_path, write_shards, numbered_samples, capsys):
    pattern = write_shards(tmp_path / "s", numbered_samples(20), 10)
    shard = tmp_path / "s" / "000000.tar"
    shard.write_bytes(shard.read_bytes()[:9000])
    images = ImageFolder(pattern, 20)
    assert "000000.tar: it is truncated" in capsys.readouterr().out
    assert 0 < len(images) - 10 < 10
    assert numbers(images)[-10:] == list(range(10, 20))


def test_the_index_is_written_once(tmp_path, write_shards, numbered_samples, monkeypatch, cache):
    pattern = write_shards(tmp_path / "s", numbered_samples(20), 10)
    first = ShardFiles(pattern)
    monkeypatch.setattr(shard_index, "scan", lambda *_: pytest.fail("the shards were looked through again"))
    again = ShardFiles(pattern)
    assert first.digest() == again.digest()
    assert first.labels() == again.labels()
    assert np.array_equal(first.starts, again.starts)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
    write_shards(tmp_path / "s", numbered_samples(21)[::-1], 10)  # other files of these names
    assert numbers(ImageFolder(pattern, 20))[0] == 20


def test_an_index_beside_shards_is_taken_while_it_fits(tmp_path, write_shards, numbered_samples, monkeypatch, capsys):
    pattern = write_shards(tmp_path / "s", numbered_samples(30), 10)
    all_shards = ShardCache(expand(pattern))
    write_index(tmp_path / "s" / "shards.npz", all_shards.names(), all_shards.sizes(), shard_index.scan(all_shards))
    with monkeypatch.context() as patch:
        patch.setattr(shard_index, "scan", lambda *_: pytest.fail("the shards were looked through"))
        assert numbers(ImageFolder(pattern, 20)) == list(range(30))
        assert numbers(ImageFolder(str(tmp_path / "s" / "{000002,000000}.tar"), 20)) == [*range(20, 30), *range(10)]
    capsys.readouterr()
    write_shards(tmp_path / "s", numbered_samples(25), 10)
    assert numbers(ImageFolder(pattern, 20)) == list(range(25))
    assert "shards.npz beside the shards is ignored: it belongs to other shards" in capsys.readouterr().out
    (tmp_path / "s" / "shards.npz").write_bytes(b"damaged")
    assert len(ShardFiles(pattern)) == 25
    assert "is damaged or not an index of shards" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["starts", "counts", "sizes", "labels", "kind"])
def test_a_hostile_index_is_passed_over(tmp_path, write_shards, numbered_samples, change, capsys):
    pattern = write_shards(tmp_path / "s", numbered_samples(6), 3)
    index = open_index(ShardCache(expand(pattern)))
    if change == "starts":
        index.starts = np.full(6, 2**62)
    elif change == "counts":
        index.counts = np.array([2**62, 2**62])
    elif change == "sizes":
        index.sizes = np.full(6, -5)
    elif change == "labels":
        index.labels = [{"a": 1}] * 6
    else:
        index.starts = np.zeros(6)
    write_index(tmp_path / "s" / "shards.npz", ["000000.tar", "000001.tar"],
                [(tmp_path / "s" / f"00000{n}.tar").stat().st_size for n in (0, 1)], index)  # fmt: skip
    images = ImageFolder(pattern, 16)
    assert re.search(r"shards.npz beside the shards is ignored: '.*/shards.npz': ", capsys.readouterr().out)
    assert numbers(images) == list(range(6))


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("{0..3}.tar", "there is no shard '0.tar' (No such file or directory): check the pattern"),
        ("{0..99999999}.tar", "stands for more than 100,000 shards"),
        ("{0..3.tar", "is not a pattern of shards"),
        ("x.tar::x.tar", "contains some of them twice"),
        ("x.tar", "x.tar: it is compressed, so pictures"),
        ("y.tar", "contains no pictures"),
    ],
)
def test_mistakes(tmp_path, monkeypatch, pattern, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.tar").write_bytes(b"\x1f\x8b" + bytes(2000))
    write_tar(tmp_path / "y.tar", [("a.txt", b"words")])
    with pytest.raises(UserError) as raised:
        ShardFiles(pattern)
    assert words in str(raised.value)


def test_without_webdataset_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "webdataset.shardlists", None)
    with pytest.raises(UserError, match=r'pip install "psp-translate\[shards\]"'):
        ShardFiles(str(tmp_path / "a.tar"))


# ------------------------------------------------------------------------------------------------- by URL


def test_shards_by_url_are_those_of_the_folder(tmp_path, write_shards, numbered_samples, web):
    pytest.importorskip("aiohttp", reason="needs the extra `remote`")
    address, asked = web
    pattern = write_shards(tmp_path / "web" / "s", numbered_samples(30), 5)
    here = ImageFolder(pattern, 20)
    there = ImageFolder(f"{address}/s/{{000000..000005}}.tar", 20)
    assert np.array_equal(here.files.starts, there.files.starts)
    assert numbers(there) == list(range(30))
    order_here, order_there = (sampler_of(images)(30, 3) for images in (here, there))
    assert [key for key, _ in zip(order_here, range(70), strict=False)] == [
        key for key, _ in zip(order_there, range(70), strict=False)
    ]
    fetched = [path for path in asked if path.endswith(".tar")]
    assert sorted(fetched) == [f"/s/{n:06d}.tar" for n in range(6)]  # each once
    worker = pickle.loads(pickle.dumps(there))
    assert numbers(worker) == list(range(30))


def test_only_shards_that_are_needed_are_fetched_where_an_index_lies_beside(
    tmp_path, write_shards, numbered_samples, web
):
    pytest.importorskip("aiohttp", reason="needs the extra `remote`")
    address, asked = web
    pattern = write_shards(tmp_path / "web" / "s", numbered_samples(400), 10)
    everything = ShardCache(expand(pattern))
    write_index(
        tmp_path / "web" / "s" / "shards.npz", everything.names(), everything.sizes(), shard_index.scan(everything)
    )
    url = f"{address}/s/{{000000..000039}}.tar"
    training, held_out = open_split(build_task("inversion"), url, 16)
    assert len(training) + len(held_out) == 400
    assert [path for path in asked if path.endswith(".tar")] == []
    assert len({training[index].target[0, 0, 0] for index, _ in zip(range(3), range(3), strict=True)}) == 3
    for n in range(len(held_out)):
        held_out[n]
    assert len({path for path in asked if path.endswith(".tar")}) <= 1 + 3


def test_the_cache_keeps_to_its_limit(tmp_path, write_shards, numbered_samples, web, cache, monkeypatch):
    pytest.importorskip("aiohttp", reason="needs the extra `remote`")
    address, asked = web
    write_shards(tmp_path / "web" / "s", numbered_samples(60), 5)
    size = (tmp_path / "web" / "s" / "000000.tar").stat().st_size
    monkeypatch.setenv("PSP_SHARD_CACHE_GB", str(8.5 * size / 1e9))
    images = ImageFolder(f"{address}/s/{{000000..000011}}.tar", 20)
    assert numbers(images) == list(range(60))
    assert len(list((cache / "shards").glob("*/*.tar"))) <= 8
    assert len([path for path in asked if path.endswith(".tar")]) >= 12 + 4  # looked through, then read
    monkeypatch.setenv("PSP_SHARD_CACHE_GB", "much")
    with pytest.raises(UserError, match="PSP_SHARD_CACHE_GB must be a number of gigabytes"):
        numbers(ImageFolder(f"{address}/s/{{000000..000011}}.tar", 20))


def test_a_shard_that_is_not_there_is_one_sentence(web):
    pytest.importorskip("aiohttp", reason="needs the extra `remote`")
    address, _ = web
    with pytest.raises(UserError, match=r"there is nothing at http://127.0.0.1:\d+/none.tar") as raised:
        ShardFiles(f"{address}/none.tar")
    assert len(str(raised.value).splitlines()) == 1


def test_a_network_that_is_lost_is_one_sentence(tmp_path, write_shards, numbered_samples, monkeypatch):
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.01)
    pattern = write_shards(tmp_path / "s", numbered_samples(20), 10)
    everything = ShardCache(expand(pattern))
    write_index(tmp_path / "s" / "shards.npz", everything.names(), everything.sizes(), shard_index.scan(everything))
    with web_server(tmp_path / "s") as server:
        images = ImageFolder(f"{server.address}/{{000000..000001}}.tar", 20)
        assert images[3][0, 0, 0] == 3
    with pytest.raises(UserError, match=r"cannot read http://.*/000001.tar after 4 attempts") as raised:
        images[13]
    assert len(str(raised.value).splitlines()) == 1
    assert images[4][0, 0, 0] == 4  # what was fetched is there


def test_samples_without_pictures_are_counted(tmp_path, capsys):
    png = b"looked at when it is read"
    path = write_tar(
        tmp_path / "a.tar",
        [("a.jpg", png), ("a.png", png), ("b.json", json.dumps({"label": 3}).encode()), ("c.jpg", png)],
    )
    assert len(ShardFiles(str(path))) == 2
    said = capsys.readouterr().out
    assert "1 samples without a picture" in said
    assert "1 further pictures of samples that have several" in said
