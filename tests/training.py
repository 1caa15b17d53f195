"""Functions that the tests of both trainers share."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType

import torch
from torch import Tensor

from stylegan2.networks.registry import GENERATORS
from stylegan2.networks.stylegan2 import Discriminator
from stylegan2.runtime import checkpoint


def records(run_dir: Path) -> list[dict[str, float]]:
    """Read the log of a run, without values that depend on the machine."""
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if not key.startswith("speed")} for line in lines]


def step_records(run_dir: Path) -> list[dict[str, float]]:
    """Read the log of the steps of a run, without the records of validations and sample grids."""
    return [record for record in records(run_dir) if "train/skipped_steps" in record]


def stopping(batches, after, stop):
    """The same batches; before the step after the next `after` ones, `stop()` is called."""

    def from_position(start):
        for count, batch in enumerate(batches(start)):
            if count == after:
                stop()
            yield batch

    return from_position


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def crash():
    raise RuntimeError("power cut")


def assert_equal_checkpoints(path, other):
    (tensors, metadata), (others, other_metadata) = checkpoint.read(path), checkpoint.read(other)
    assert tensors.keys() == others.keys()
    assert [name for name, tensor in tensors.items() if not torch.equal(tensor, others[name])] == []
    assert metadata == other_metadata


def difference(before, after):
    """Return the names of the tensors that differ."""
    assert before.keys() == after.keys()
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def networks(channel_max=8, d_architecture="residual"):
    """G, D and G_ema of 16 px, always with the same weights."""
    torch.manual_seed(0)
    sizes = {"channel_base": 128, "channel_max": channel_max}
    G, G_ema = (GENERATORS.build("stylegan2", 16, z_dim=8, w_dim=8, mapping_layers=2, **sizes) for _ in range(2))
    return G, Discriminator(16, architecture=d_architecture, **sizes), G_ema


def tensors_within(value: object, name: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Tensor]]:
    """Find each tensor that an object holds, however deep: in attributes, dicts, lists and tuples."""
    seen = set() if seen is None else seen
    if id(value) in seen or isinstance(value, type | FunctionType | ModuleType):
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        yield name, value
        inner: dict = {"grad": value.grad} if value.is_leaf else {}
    elif isinstance(value, dict):
        inner = value
    elif isinstance(value, list | tuple):
        inner = dict(enumerate(value))
    else:
        inner = getattr(value, "__dict__", {})
    for key, item in inner.items():
        label = f"{len(seen)}" if isinstance(key, Tensor) else key
        yield from tensors_within(item, f"{name}.{label}", seen)


def assert_all_on(device: str, value: object) -> list[str]:
    """Each tensor that an object holds is on the device. Return their names."""
    found = list(tensors_within(value))
    assert [(name, str(tensor.device)) for name, tensor in found if tensor.device.type != device] == []
    return [name for name, _ in found]
