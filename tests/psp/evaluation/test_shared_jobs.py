"""Values that several processes measured: those of one, in order, also where a process was lost on the way."""

import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from psp.evaluation.per_image import PerImageValues
from psp.evaluation.shared_jobs import HeldOutSet, Job, evaluate_jobs, waits
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.work_group import WorkGroup
from tests.groups import in_group

COUNT, BATCH = 23, 4


class Numbered:
    """Pairs that are their numbers."""

    def batch(self, start, stop, source_size):
        numbers = torch.arange(start, stop, dtype=torch.float32)
        return numbers[:, None, None, None], numbers[:, None, None, None].expand(-1, 3, 2, 2) / 100


def squares(dies_at, source, target):
    numbers = source.flatten()
    if dies_at in numbers.tolist():
        raise SystemError
    return {"square": numbers.square(), "rows": torch.stack([numbers, -numbers], 1)}, target


def job(folder, dies_at=None):
    held_out = HeldOutSet("numbers", Numbered(), COUNT, {}, BATCH)
    return Job("squares", held_out, PerImageValues(folder, "squares", {}), 1, partial(squares, dies_at), shown=6)


def check(folder):
    values = PerImageValues(folder, "squares", {})
    np.testing.assert_array_equal(values.values["square"], np.arange(COUNT, dtype=np.float32) ** 2)
    np.testing.assert_array_equal(values.values["rows"][:, 1], -np.arange(COUNT, dtype=np.float32))
    assert values.pictures.shape == (6, 2, 2, 3)
    assert not waits([job(folder)])


def test_batches_are_joined_in_order(tmp_path):
    in_group(3, lambda group: evaluate_jobs([job(tmp_path)], group))
    check(tmp_path)
    in_group(2, lambda group: evaluate_jobs([job(tmp_path, dies_at=0)], group))  # nothing is measured twice


def test_what_was_lost_is_measured_by_the_next_run(tmp_path):
    dead = threading.Event()

    def evaluate(source, target):
        assert dead.wait(20)
        return squares(None, source, target)

    def die(source, target):
        dead.set()
        raise SystemError

    def work(group):
        evaluate_jobs([replace(job(tmp_path), evaluate=die if group.rank else evaluate)], group)

    with pytest.raises(UserError, match="process 1 was lost, and .* values of images are missing"):
        in_group(2, work, timeout=1.0)
    assert waits([job(tmp_path)])
    evaluate_jobs([job(tmp_path, dies_at=20)], WorkGroup())  # the first process had that batch
    check(tmp_path)


def test_damaged_parts_are_measured_again(tmp_path):
    with pytest.raises(SystemError):
        evaluate_jobs([job(tmp_path, dies_at=9)], WorkGroup())
    (lines,) = job(tmp_path).parts.glob("*.jsonl")
    first, second = lines.read_text().splitlines()
    lines.write_text(first.replace('"<f4"', '"|O"') + "\n" + second.replace('"blobs": [', '"blobs": [9') + "\n")
    evaluate_jobs([job(tmp_path)], WorkGroup())
    check(tmp_path)
