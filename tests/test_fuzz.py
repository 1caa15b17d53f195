"""Readers of randomly changed files of every kind return or give one sentence, during two minutes, with a seed."""

import json
import pickle
import tarfile
import time
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import psp
import stylegan2
from datasets.folder import ImageFiles
from datasets.labels import read_labels
from datasets.shard_cache import ShardCache
from datasets.shard_index import ShardIndex, read_index, scan_shard, write_index
from options.results import read_config
from psp.convert import inspect
from psp.encoders import ENCODERS
from psp.inference.landmarks import read_landmarks
from stylegan2.convert.rosinality import file_content, store
from stylegan2.convert.safe import read_numpy_pickle, read_persistence_pickle, read_torch
from stylegan2.latents.codes import load_codes, save_codes
from stylegan2.latents.directions import Directions, load_directions, save_directions
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.images import write_image
from tests.hostile import answer

AT_LEAST = 10  # changed files for each reader, on a machine however busy
SECONDS = 8  # for each reader
TOKENS = [b"\0", b"\xff\xff\xff\xff", b"[" * 200, b"]", b"{", b'"', b"-1", b"1e999", b"NaN", b"9" * 50, b"PK\x05\x06"]
TOKENS += [b".", b"(", b"\x85" * 300, b"}", b"K\x01s", b"r\xff\xff\xff\x7f", b"\x8a\x08" + b"\x7f" * 8, b"../", b","]


def labels_of_zip(path):
    return ImageFiles(path).labels()


def codes(path):
    return load_codes(path, 4, 8)


def labels(path):
    return read_labels(str(path), ["0.png"])


def shard(path):
    return scan_shard(ShardCache([str(path)]), 0)


def index_of_shards(path):
    return read_index(path, ["s.tar"], [4096])


READERS = {
    "g.safetensors": stylegan2.load,
    "m.safetensors": psp.load,
    "i.safetensors": inspect,
    "d.safetensors": load_directions,
    "g.pt": read_torch,
    "old.pt": read_torch,
    "n.pkl": read_persistence_pickle,
    "a.pkl": read_numpy_pickle,
    "c.npz": codes,
    "l.json": read_landmarks,
    "k.json": labels,
    "z.zip": labels_of_zip,
    "s.yaml": read_config,
    "s.tar": shard,
    "s.npz": index_of_shards,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A good file for each reader: {name: bytes}."""
    folder = tmp_path_factory.mktemp("good")
    torch.manual_seed(0)
    sizes = {"z_dim": 8, "w_dim": 8, "channel_base": 64, "channel_max": 8, "mapping_layers": 1}
    generator = GENERATORS.build("stylegan2", 8, **sizes)
    encoder = ENCODERS.build("light", num_ws=generator.num_ws, w_dim=8, input_size=32)
    stylegan2.save_generator(folder / "g.safetensors", generator, {})
    psp.save_model(folder / "m.safetensors", psp.PSp(encoder, generator, torch.zeros(8)), {})
    (folder / "i.safetensors").write_bytes((folder / "g.safetensors").read_bytes())
    directions = Directions(("a", "b"), torch.eye(2, 8), torch.ones(2), (0, 1))
    save_directions(folder / "d.safetensors", directions, {})
    torch.save(file_content(store(generator)), folder / "g.pt")
    torch.save({"a": torch.ones(3), "b": [1, "x"]}, folder / "old.pt", _use_new_zipfile_serialization=False)
    (folder / "n.pkl").write_bytes(pickle.dumps({"G_ema": {"a": [1, 2.5, None, "x"]}, "b": (1, {3: 4})}, 4))
    (folder / "a.pkl").write_bytes(pickle.dumps({"lat_comp": np.ones((2, 1, 8), np.float32)}, 2))
    save_codes(folder / "c.npz", ["a", "b"], torch.zeros(2, 4, 8))
    (folder / "l.json").write_text(json.dumps({"0.png": [[0, 0, 5, 5]], "1.png": [1.5] * 10}))
    (folder / "k.json").write_text(json.dumps({"labels": [["0.png", 1], ["1.png", 0]]}))
    write_image(folder / "0.png", np.zeros((4, 4, 3), np.uint8))
    with zipfile.ZipFile(folder / "z.zip", "w") as archive:
        archive.write(folder / "0.png", "0.png")
        archive.writestr("dataset.json", json.dumps({"labels": [["0.png", 1]]}))
    (folder / "s.yaml").write_text("seed: 1\ncommand: train\nlist: [1, 2]\n")
    with tarfile.open(folder / "s.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("0.png", "k.json", "a" * 120 + ".txt"):
            (folder / name).touch()
            archive.add(folder / name, name)
    places = ShardIndex(np.array([2]), np.array([512, 1024]), np.array([5, 6]), [0, [0.5, 1.0]])
    write_index(folder / "s.npz", ["s.tar"], [4096], places)
    contents = {name: (folder / name).read_bytes() for name in READERS}
    answer(read_config, folder / "s.yaml")  # the server of processes is there before time is taken
    for name, reader in READERS.items():  # and what they import is there for all children
        reader(folder / name) if name != "n.pkl" else None
    return contents


change = st.tuples(st.sampled_from(["flip", "cut", "insert", "repeat", "zero"]), st.floats(0, 1), st.integers(0, 2**16))


def changed(content, changes):
    """Apply changes, most of them near the beginning, where headers are, or the end, where zips list their members."""
    data = bytearray(content)
    for kind, share, number in changes:
        at = int(share**3 * len(data)) if number % 3 else len(data) - 1 - int(share**3 * (len(data) - 1))
        at = max(0, min(at, len(data) - 1))
        if kind == "flip" and data:
            data[at] ^= 1 << number % 8
        elif kind == "cut":
            del data[at : at + 1 + number % 64]
        elif kind == "insert":
            data[at:at] = TOKENS[number % len(TOKENS)]
        elif kind == "repeat":
            data[at:at] = data[at : at + number % 256] * (1 + number % 20)
        else:
            data[at : at + 4] = b"\0" * 4
    return bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_changed_files_are_read_or_refused(files, tmp_path, name):
    tried, end = [], time.monotonic() + SECONDS

    @seed(20261127)
    @settings(
        max_examples=500,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(change, min_size=1, max_size=6))
    def examples(changes):
        if len(tried) < AT_LEAST or time.monotonic() < end:  # each starts a process
            tried.append(changes)
            (tmp_path / name).write_bytes(changed(files[name], changes))
            answer(READERS[name], tmp_path / name)

    examples()


@pytest.mark.parametrize("name", READERS)
def test_the_files_are_good_before_they_are_changed(files, tmp_path, name):
    (tmp_path / name).write_bytes(files[name])
    assert answer(READERS[name], tmp_path / name) == ""
