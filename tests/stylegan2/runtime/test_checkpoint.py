"""Checkpoints: exact, atomic, verified; and the state of modules and optimizers through them."""

import copy
import errno
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import CheckpointError
from stylegan2.runtime.tensors import load_module, load_optimizer, module_tensors, optimizer_tensors

METADATA = {"cur_nimg": 123, "loss": 0.1, "name": "é", "nested": {"list": [1, None, True, "a"]}, "inf": float("inf")}


def sample_tensors() -> dict[str, torch.Tensor]:
    shared = torch.arange(12.0)
    return {
        "bf16": torch.randn(3, 5).bfloat16(),
        "fp16": torch.randn(7).half(),
        "fp64": torch.randn(2, 2, 2, dtype=torch.float64),
        "nan": torch.tensor([float("nan"), float("inf"), -0.0]),
        "int": torch.tensor([2**62, -1]),
        "int8": torch.tensor([-128, 127], dtype=torch.int8),
        "byte": torch.arange(5, dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]),
        "scalar": torch.tensor(3.5),
        "scalar_int": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "shared": shared,
        "shared_too": shared,
        "view": shared[4:8],
        "transposed": shared.reshape(3, 4).T,
        "expanded": torch.ones(1, 3).expand(4, 3),
        "channels_last": torch.randn(1, 3, 2, 2).to(memory_format=torch.channels_last),
        "gradient": torch.randn(2, requires_grad=True),
        "unicode é\n": torch.ones(1),
    }


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal in dtype, shape and every bit (so NaN equals NaN and 0 differs from -0)."""
    bits = [t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (a, b)]
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*bits)


def assert_same(got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert sorted(got) == sorted(expected)
    assert [name for name in expected if not same(got[name], expected[name])] == []


# ------------------------------------------------------------------------------------------- one file


def test_everything_survives(tmp_path):
    path = tmp_path / "runs" / "a.safetensors"
    tensors = sample_tensors()
    checkpoint.save(path, tensors, METADATA)
    got, metadata = checkpoint.read(path)
    assert_same(got, tensors)
    assert metadata == METADATA
    assert [entry.name for entry in path.parent.iterdir()] == ["a.safetensors"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_it_is_a_safetensors_file(tmp_path):
    tensors = sample_tensors()
    checkpoint.save(tmp_path / "a.safetensors", tensors, METADATA)
    assert_same(safetensors.torch.load_file(tmp_path / "a.safetensors"), tensors)
    header_bytes = int.from_bytes((tmp_path / "a.safetensors").read_bytes()[:8], "little")
    assert header_bytes % 8 == 0  # the payload is aligned


def test_the_hash_is_the_documented_one(tmp_path):
    checkpoint.save(tmp_path / "a.safetensors", {"b": torch.tensor([1, 2], dtype=torch.int16), "a": torch.ones(())}, {})
    by_hand = hashlib.sha256(b'{}["a", "F32", []]\x00\x00\x80?["b", "I16", [2]]\x01\x00\x02\x00').hexdigest()
    with safetensors.safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata()["sha256"] == by_hand


def test_nothing_and_read_tensors_do_not_hang_on_the_file(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, {}, {})
    assert checkpoint.read(path) == ({}, {})
    checkpoint.save(path, {"a": torch.zeros(1000)}, {})
    tensors, _ = checkpoint.read(path)
    path.write_bytes(b"")  # a memory map of the file would now crash the process
    assert tensors["a"].sum() == 0


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(st.text(max_size=5), st.lists(st.floats(width=32), max_size=5), max_size=4),
    st.dictionaries(
        st.text(max_size=5),
        st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text() | st.none(),
        max_size=4,
    ),
)
def test_any_names_values_and_metadata_survive(tmp_path_factory, values, metadata):
    path = tmp_path_factory.mktemp("any") / "a.safetensors"
    tensors = {name: torch.tensor(numbers, dtype=torch.float32) for name, numbers in values.items()}
    checkpoint.save(path, tensors, metadata)
    got, got_metadata = checkpoint.read(path)
    assert_same(got, tensors)
    assert got_metadata == metadata


def test_what_cannot_be_held_is_refused(tmp_path):
    bad = {"c": torch.zeros(2, dtype=torch.complex64), "s": torch.eye(2).to_sparse(), "__metadata__": torch.zeros(1)}
    for name, tensor in bad.items():
        with pytest.raises(CheckpointError, match=name):
            checkpoint.save(tmp_path / "a.safetensors", {name: tensor}, {})
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------------------- damage


def sentence_of(path) -> str:
    with pytest.raises(CheckpointError) as caught:
        checkpoint.read(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


def small_checkpoint(path) -> bytes:
    checkpoint.save(path, {"w": torch.randn(6, 4), "step": torch.tensor(3)}, {"cur_nimg": 1000, "note": "aa"})
    return path.read_bytes()


def test_truncation_at_any_length_is_found(tmp_path):
    path = tmp_path / "a.safetensors"
    data = small_checkpoint(path)
    for length in range(len(data)):
        path.write_bytes(data[:length])
        assert "damaged" in sentence_of(path)
    path.write_bytes(data + b"\0")
    sentence_of(path)


def test_any_changed_byte_is_found(tmp_path):
    """Every byte of header and payload, changed in two ways; blanks that pad the header mean nothing."""
    path = tmp_path / "a.safetensors"
    data = small_checkpoint(path)
    tensors, metadata = checkpoint.read(path)
    unnoticed = []
    for offset in range(len(data)):
        for change in (1, 0xA0):
            changed = bytearray(data)
            changed[offset] ^= change
            path.write_bytes(changed)
            try:
                got = checkpoint.read(path)
            except CheckpointError as error:
                assert "\n" not in str(error)  # noqa: PT017 (both outcomes are looked at)
            else:
                unnoticed.append(offset)
                assert_same(got[0], tensors)
                assert got[1] == metadata
    assert len(unnoticed) < 8


@pytest.fixture(scope="module")
def intact(tmp_path_factory) -> tuple[Path, bytes, dict, dict]:
    """(a path to write to, the bytes of a whole checkpoint, its tensors and metadata)."""
    path = tmp_path_factory.mktemp("damage") / "a.safetensors"
    return path, small_checkpoint(path), *checkpoint.read(path)


@settings(max_examples=100, deadline=None)
@given(edits=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), min_size=1, max_size=4))
def test_any_damage_gives_the_content_or_one_sentence(intact, edits):
    path, data, expected, expected_metadata = intact
    changed = bytearray(data)
    for offset, value in edits:
        changed[offset % len(data)] = value
    path.write_bytes(changed)
    try:
        tensors, metadata = checkpoint.read(path)
    except CheckpointError:
        return
    assert_same(tensors, expected)
    assert metadata == expected_metadata


def test_foreign_files_are_named_for_what_they_are(tmp_path):
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(2)}, path)
    assert "not a checkpoint of this package" in sentence_of(path)
    torch.save({"a": torch.zeros(2)}, path)
    assert "not a checkpoint of this package" in sentence_of(path)
    path.write_text("hello")
    assert "not a checkpoint of this package" in sentence_of(path)
    assert "no checkpoint file" in sentence_of(tmp_path / "missing.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    assert "no checkpoint file" in sentence_of(tmp_path / "folder.safetensors")


def test_another_format_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", "2")
    small_checkpoint(tmp_path / "a.safetensors")
    monkeypatch.undo()
    assert "format '2'" in sentence_of(tmp_path / "a.safetensors")


# ---------------------------------------------------------------------------------- a disk that refuses


@pytest.mark.parametrize(("call", "code"), [("fsync", errno.ENOSPC), ("replace", errno.EACCES)])
def test_a_refusing_disk_keeps_the_old_file(tmp_path, monkeypatch, call, code):
    path = tmp_path / "a.safetensors"
    before = small_checkpoint(path)

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(CheckpointError, match=os.strerror(code)) as caught:
        checkpoint.save(path, {"w": torch.zeros(9)}, {})
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are a POSIX thing")
def test_a_disk_that_fills_up_in_the_middle_of_a_write(tmp_path):
    import resource

    path = tmp_path / "a.safetensors"
    before = small_checkpoint(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(CheckpointError, match=r"cannot save checkpoint .* File too large"):
            checkpoint.save(path, {"w": torch.zeros(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path):
    path = tmp_path / "a.safetensors"
    before = small_checkpoint(path)
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(CheckpointError, match="Permission denied"):
            checkpoint.save(path, {}, {})
    finally:
        tmp_path.chmod(0o700)
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot save checkpoint"):
        checkpoint.save(tmp_path / "file" / "a.safetensors", {}, {})
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="cannot save checkpoint"):
        checkpoint.save(tmp_path / "a.safetensors", {}, {})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.safetensors", "file"]


def test_the_data_reach_the_disk_before_the_name_and_the_name_after(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor):
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
    small_checkpoint(tmp_path / "a.safetensors")
    assert [call for call in calls if call != "folder"] == ["file", "replace"]
    if os.path.isdir("/proc/self/fd"):
        assert calls == ["file", "replace", "folder"]


def save_back_to_back(folder, saved) -> None:
    while True:
        step = saved.value + 1
        path = checkpoint.checkpoint_path(folder, "g", step % 3)
        checkpoint.save(path, {"w": torch.full((300_000,), step)}, {"step": step})
        saved.value = step


@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has loaded PyTorch")
def test_a_killed_process_never_leaves_an_unreadable_checkpoint(tmp_path):
    """Three names in turn, so that a kill hits both new and overwritten files."""
    context = multiprocessing.get_context("fork")
    saved = context.Value("l", 0, lock=False)
    for kill in range(8):
        start = saved.value
        process = context.Process(target=save_back_to_back, args=(tmp_path, saved))
        process.start()
        while saved.value < start + 2 + kill % 3 and process.is_alive():
            time.sleep(0.001)
        time.sleep(0.0007 * kill)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        found = list((tmp_path / "checkpoints").glob("*.safetensors"))
        assert found
        for path in found:
            tensors, metadata = checkpoint.read(path)
            assert (tensors["w"] == metadata["step"]).all()
        assert checkpoint.newest(tmp_path) is not None
    checkpoint.prune(tmp_path, keep=1)
    assert [entry.name for entry in (tmp_path / "checkpoints").iterdir()] == ["g-000000002.safetensors"]


# ----------------------------------------------------------------------------------- a folder of files


def save_numbers(folder, numbers) -> list:
    paths = [checkpoint.checkpoint_path(folder, "g", number) for number in numbers]
    for path, number in zip(paths, numbers, strict=True):
        checkpoint.save(path, {"w": torch.full((4,), number)}, {"cur_nimg": number})
    return paths


def test_newest_goes_by_number_then_by_time(tmp_path, capsys):
    assert checkpoint.newest(tmp_path) is None
    assert checkpoint.newest(tmp_path / "missing") is None
    paths = save_numbers(tmp_path, [3_000, 1_000_000, 20_000])
    assert paths[0].name == "g-000003000.safetensors"
    path, tensors, metadata = checkpoint.newest(tmp_path)
    assert (path, metadata["cur_nimg"], int(tensors["w"][0])) == (paths[1], 1_000_000, 1_000_000)
    assert checkpoint.newest(tmp_path / "checkpoints")[0] == paths[1]
    twin = checkpoint.checkpoint_path(tmp_path, "a", 1_000_000)
    checkpoint.save(twin, {}, {})
    os.utime(twin, (1, 1))
    assert checkpoint.newest(tmp_path)[0] == paths[1]
    os.utime(paths[1], (0, 0))
    assert checkpoint.newest(tmp_path)[0] == twin
    beyond = checkpoint.checkpoint_path(tmp_path, "g", 1_000_000_000)  # ten digits
    checkpoint.save(beyond, {}, {})
    assert checkpoint.newest(tmp_path)[0] == beyond
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("part", range(10))
def test_a_damaged_newest_is_passed_over_and_said(tmp_path, capsys, part):
    old, new = save_numbers(tmp_path, [1000, 2000])
    data = new.read_bytes()
    new.write_bytes(data[: len(data) * part // 10])
    assert checkpoint.newest(tmp_path)[0] == old
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert new.name in lines[0]
    assert old.name in lines[0]


def test_when_all_are_damaged_training_does_not_start_afresh(tmp_path):
    for path in save_numbers(tmp_path, [1000, 2000]):
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"no checkpoint .* can be read"):
        checkpoint.newest(tmp_path)
    assert checkpoint.prune(tmp_path, keep=1) == []


def test_prune_keeps_the_newest_the_users_own_and_removes_leftovers(tmp_path):
    paths = save_numbers(tmp_path, [5, 4, 3, 2, 1])
    folder = tmp_path / "checkpoints"
    checkpoint.save(folder / "best.safetensors", {}, {})
    (folder / ".partial-0123").write_bytes(b"half a checkpoint")
    assert checkpoint.prune(tmp_path, keep=7) == []
    assert not (folder / ".partial-0123").exists()
    assert checkpoint.prune(tmp_path, keep=2) == paths[2:]
    assert sorted(folder.iterdir()) == sorted([folder / "best.safetensors", *paths[:2]])
    with pytest.raises(ValueError, match="at least 1"):
        checkpoint.prune(tmp_path, keep=0)


def test_prune_never_deletes_the_newest_intact_one(tmp_path):
    paths = save_numbers(tmp_path, [5, 4, 3, 2])
    for path in paths[:2]:
        path.write_bytes(b"damaged")
    assert checkpoint.prune(tmp_path, keep=1) == [paths[1], paths[3]]
    assert checkpoint.newest(tmp_path)[0] == paths[2]


# --------------------------------------------------------------------------------------------- modules


def small_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))


def test_a_module_returns_exactly(tmp_path):
    source, target = small_network(), small_network()
    source(torch.randn(8, 3, 4, 4))  # moves the running statistics
    checkpoint.save(tmp_path / "a.safetensors", module_tensors("g", source), {})
    kept = target[0].weight
    tensors, _ = checkpoint.read(tmp_path / "a.safetensors")
    load_module(target, {**tensors, "g_ema.other": torch.zeros(1)}, "g")
    assert_same(target.state_dict(), source.state_dict())
    assert target[0].weight is kept  # an optimizer still holds the same parameter


def test_a_module_that_does_not_fit_is_named_and_unchanged():
    source, target = small_network(), small_network()
    tensors = module_tensors("g", source)
    del tensors["g.0.bias"]
    tensors["g.new"] = torch.zeros(1)
    tensors["g.4.weight"] = torch.zeros(2, 63)
    before = copy.deepcopy(target.state_dict())
    with pytest.raises(CheckpointError) as caught:
        load_module(target, tensors, "g")
    for part in ("Sequential", "1 missing: 0.bias", "1 extra: new", "4.weight [2, 63] instead of [2, 64]"):
        assert part in str(caught.value)
    assert_same(target.state_dict(), before)
    with pytest.raises(CheckpointError, match=r"9 missing: .*\.\.\."):
        load_module(target, {}, "g")


# ------------------------------------------------------------------------------------------ optimizers


class SlowWeights(torch.optim.Optimizer):
    """Lookahead in short: float32 slow weights, a Python step count, and a list, a tuple and None in the state."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr, "betas": (0.9, 0.99), "extra": None})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state.update(step=0, slow=parameter.float().clone(), buffer=[None] * 3, pair=(1, parameter.clone()))
                state["step"] += 1
                state["buffer"][state["step"] % 3] = parameter.grad.clone()
                for old in filter(torch.is_tensor, state["buffer"]):
                    parameter -= group["lr"] * old
                state["slow"].lerp_(parameter.float(), 0.3)
                if state["step"] % 2 == 0:
                    parameter.copy_(state["slow"])


OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.002, betas=(0.0, 0.99), eps=1e-8),
    "adam_amsgrad_capturable_lr": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01), amsgrad=True, foreach=False),
    "adam_fused": lambda p: torch.optim.Adam(p, lr=0.002, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True, momentum=0.5),
    "radam": lambda p: torch.optim.RAdam(p, lr=0.01),
    "slow_weights": SlowWeights,
}


def train(module: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    dtype = next(module.parameters()).dtype
    for step in steps:
        inputs = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(step)).to(dtype)
        optimizer.zero_grad()
        module(inputs).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", sorted(OPTIMIZERS))
def test_resuming_is_bitwise_the_uninterrupted_run(tmp_path, kind, dtype):
    whole = small_network().to(dtype)
    part, fresh = copy.deepcopy(whole), small_network().to(dtype)
    whole_optimizer = OPTIMIZERS[kind](whole.parameters())
    train(whole, whole_optimizer, range(9))

    optimizer = OPTIMIZERS[kind](part.parameters())
    train(part, optimizer, range(4))
    tensors, state = optimizer_tensors("g_opt", optimizer, part.named_parameters())
    checkpoint.save(tmp_path / "a.safetensors", {**module_tensors("g", part), **tensors}, {"g_opt": state})

    tensors, metadata = checkpoint.read(tmp_path / "a.safetensors")
    resumed = OPTIMIZERS[kind](fresh.parameters())
    load_module(fresh, tensors, "g")
    load_optimizer(resumed, fresh.named_parameters(), tensors, metadata["g_opt"])
    assert repr(resumed.state_dict()) == repr(optimizer.state_dict())
    train(fresh, resumed, range(4, 9))
    assert_same(fresh.state_dict(), whole.state_dict())
    assert repr(resumed.state_dict()) == repr(whole_optimizer.state_dict())


def test_lbfgs_with_its_lists_of_tensors():
    weight = nn.Parameter(torch.randn(5))
    optimizer = torch.optim.LBFGS([weight], max_iter=3)

    def closure():
        optimizer.zero_grad()
        loss = (weight**4).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    tensors, state = optimizer_tensors("o", optimizer, [("w", weight)])
    fresh = torch.optim.LBFGS([weight], max_iter=3)
    load_optimizer(fresh, [("w", weight)], tensors, json.loads(json.dumps(state)))
    assert len(optimizer.state[weight]["old_dirs"]) > 0
    assert repr(fresh.state_dict()) == repr(optimizer.state_dict())


def test_state_follows_the_name_not_the_position():
    """Parameters that change places within a group are refused; parameters never stepped have no state."""
    a, b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.Adam([a, b])
    a.grad = torch.ones(2)
    optimizer.step()
    tensors, state = optimizer_tensors("o", optimizer, [("a", a), ("b", b)])
    assert sorted(tensors) == ["o.a.exp_avg", "o.a.exp_avg_sq", "o.a.step"]
    fresh = torch.optim.Adam([a, b], lr=9.0)
    fresh.state[b]["junk"] = torch.zeros(1)
    load_optimizer(fresh, [("b", b), ("a", a)], tensors, state)
    assert list(fresh.state) == [a]
    assert fresh.param_groups[0]["lr"] == 1e-3
    for key, value in tensors.items():
        assert fresh.state[a][key.removeprefix("o.a.")].data_ptr() != value.data_ptr()
    with pytest.raises(CheckpointError, match="other parameters or in other groups"):
        load_optimizer(torch.optim.Adam([b, a]), [("a", a), ("b", b)], tensors, state)


def test_groups_keep_their_options(tmp_path):
    a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([{"params": [a], "lr": 0.5}, {"params": [b], "betas": (0.1, 0.2)}])
    named = [("a", a), ("b", b)]
    tensors, state = optimizer_tensors("o", optimizer, named)
    fresh = torch.optim.Adam([{"params": [a]}, {"params": [b]}])
    load_optimizer(fresh, named, tensors, json.loads(json.dumps(state)))
    assert fresh.param_groups == optimizer.param_groups
    assert isinstance(fresh.param_groups[1]["betas"], tuple)


@pytest.mark.parametrize("on_device", [False, True])
def test_state_goes_to_the_device_of_its_parameter(on_device):
    """The meta device stands for a GPU. A parameter without dimensions has moments without dimensions."""
    module = small_network()
    module.strength = nn.Parameter(torch.zeros([]))
    optimizer = torch.optim.Adam(module.parameters(), amsgrad=True, foreach=False)
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    tensors, state = optimizer_tensors("o", optimizer, module.named_parameters())
    moved = copy.deepcopy(module).to("meta")
    fresh = torch.optim.Adam(moved.parameters(), amsgrad=True, capturable=on_device)
    load_optimizer(fresh, moved.named_parameters(), tensors, json.loads(json.dumps(state)))
    assert len(fresh.state) == 7
    for restored in fresh.state.values():
        places = {key: value.device.type for key, value in restored.items()}
        assert places.pop("step") == ("meta" if on_device else "cpu")
        assert places == dict.fromkeys(("exp_avg", "exp_avg_sq", "max_exp_avg_sq"), "meta")


def test_how_an_optimizer_computes_is_not_restored():
    """What was written on a CPU goes on with the fused optimizer of a GPU, and the reverse."""
    a = nn.Parameter(torch.ones(2))
    a.grad = torch.ones(2)
    optimizer = torch.optim.Adam([a], lr=0.5, foreach=True)
    optimizer.step()
    tensors, state = optimizer_tensors("o", optimizer, [("a", a)])
    fresh = torch.optim.Adam([a], lr=0.1, fused=True)
    load_optimizer(fresh, [("a", a)], tensors, state)
    (group,) = fresh.param_groups
    assert (group["lr"], group["fused"], group["foreach"]) == (0.5, True, None)
    fresh.step()
    assert fresh.state[a]["step"] == 2


def test_an_optimizer_that_does_not_fit_is_one_sentence_and_unchanged():
    a, b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.Adam([a])
    a.grad = torch.ones(2)
    optimizer.step()
    tensors, state = optimizer_tensors("o", optimizer, [("a", a)])
    with pytest.raises(CheckpointError, match="Adam, not of SGD"):
        load_optimizer(torch.optim.SGD([a]), [("a", a)], tensors, state)
    fresh = torch.optim.Adam([a], lr=9.0)
    del tensors["o.a.exp_avg"]
    with pytest.raises(CheckpointError, match=r"lacks 'o\.a\.exp_avg'"):
        load_optimizer(fresh, [("a", a)], tensors, state)
    assert not fresh.state
    assert fresh.param_groups[0]["lr"] == 9.0
    with pytest.raises(ValueError, match="share a name"):
        optimizer_tensors("o", torch.optim.Adam([a, b]), [("same", a), ("same", b)])
    optimizer.state[a]["odd"] = {1, 2}
    with pytest.raises(TypeError, match=r"o\.a\.odd is a set"):
        optimizer_tensors("o", optimizer, [("a", a)])


@pytest.mark.parametrize(
    ("metadata", "words"),
    [({"n": 2**64}, "an integer of 20 digits"), ({"text": "x" * 2**24}, "longer than the limit of 16,777,216 bytes")],
)
def test_what_could_not_be_read_is_not_written(tmp_path, metadata, words):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, {"a": torch.ones(1)}, {"n": 2**62})
    with pytest.raises(CheckpointError, match=f"cannot be saved: .*{words}"):
        checkpoint.save(path, {"a": torch.zeros(1)}, metadata)
    assert checkpoint.read(path)[1] == {"n": 2**62}


def test_names_longer_than_can_be_read_are_not_written(tmp_path):
    tensors = {f"{n}{'x' * 100_000}": torch.ones(1) for n in range(170)}
    with pytest.raises(CheckpointError, match="its names and metadata are longer than allowed"):
        checkpoint.save(tmp_path / "a.safetensors", tensors, {})
