import contextlib
import errno
import os
import shutil
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stylegan2.runtime.errors import UserError
from stylegan2.runtime.ranges import parse_reporters
from stylegan2.runtime.stats import Averages, StatsWriter
from tests.training import records


def test_averages_count_every_element_once():
    averages = Averages()
    averages.add("a", torch.tensor([1.0, 2.0, 3.0]))
    averages.add("a", torch.tensor(10.0, requires_grad=True))
    averages.add("b", torch.tensor([[2.0], [4.0]]))
    assert averages.pop() == {"a": 4.0, "b": 3.0}
    assert averages.pop() == {}


def test_averages_do_not_lose_small_terms():
    averages = Averages()
    averages.add("a", torch.tensor([2.0**24]))
    for _ in range(9):
        averages.add("a", torch.tensor([1.0]))
    assert averages.pop()["a"] == (2**24 + 9) / 10


def test_what_was_written_after_the_resumed_position_goes(tmp_path):
    writer = StatsWriter(tmp_path, "cur_nimg", 0)
    for at in (10, 20, 30):
        writer.scalars(at, {"loss": at / 10})
    writer.image(30, "samples", np.zeros((4, 4, 3), np.uint8))
    writer.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"cur_nimg": 40, "lo')  # a run that was killed while it wrote
    writer = StatsWriter(tmp_path, "cur_nimg", 20)
    writer.scalars(30, {"loss": 7.0})
    writer.close()
    assert records(tmp_path) == [{"cur_nimg": n, "loss": loss} for n, loss in ((10, 1.0), (20, 2.0), (30, 7.0))]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "metrics.jsonl"]

    board = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert [(event.step, event.value) for event in board.Scalars("loss")] == [(10, 1.0), (20, 2.0), (30, 7.0)]


def test_a_fresh_run_drops_everything(tmp_path):
    writer = StatsWriter(tmp_path, "cur_step", 0)
    writer.scalars(5, {"loss": 1.0})
    writer.close()
    StatsWriter(tmp_path, "cur_step", 0).close()
    assert records(tmp_path) == []


def test_a_file_in_place_of_the_folder_is_one_sentence(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="cannot write .*run'"):
        StatsWriter(tmp_path / "run", "cur_step", 0)


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    stats = StatsWriter(tmp_path / "run", "cur_step", 0)

    def full(text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(stats, "_jsonl", SimpleNamespace(write=full))
    with pytest.raises(UserError, match="cannot write .*run': No space left on device"):
        stats.scalars(1, {"loss": 1.0})


def test_texts_are_shown_line_by_line(tmp_path):
    writer = StatsWriter(tmp_path, "cur_step", 0)
    writer.text(0, "config", "batch_size: 8\nseed: 0\n")
    writer.close()
    board = EventAccumulator(str(tmp_path / "logs")).Reload()
    [event] = board.Tensors("config/text_summary")
    assert event.tensor_proto.string_val[0].decode() == "    batch_size: 8\n    seed: 0\n"


def test_notes_stand_beside_the_numbers(tmp_path):
    writer = StatsWriter(tmp_path, "cur_step", 0, report_to=())
    writer.scalars(5, {"val/perceptual": 0.5}, networks={"perceptual": "effnet"})
    writer.close()
    assert records(tmp_path) == [{"cur_step": 5, "val/perceptual": 0.5, "networks": {"perceptual": "effnet"}}]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.slow
def test_weights_and_biases_goes_on_with_a_resumed_run(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.chdir(tmp_path)
    for start in (0, 10):
        writer = StatsWriter(tmp_path / "mine", "cur_nimg", start, report_to=("tensorboard", "wandb"))
        writer.text(start, "config", "seed: 0")
        writer.scalars(start + 10, {"loss": 1.0})
        writer.image(start + 10, "samples", np.zeros((4, 4, 3), np.uint8))
        writer.close()
        time.sleep(1.1)  # the reporter names what it writes after the second
    name = (tmp_path / "mine" / "wandb_id.txt").read_text().strip()
    written = list((tmp_path / "mine" / "wandb").glob(f"offline-run-*-{name}/run-{name}.wandb"))
    assert len(written) == 2
    pictures = list((tmp_path / "mine" / "wandb").glob("offline-run-*/files/media/images/samples_*.png"))
    assert len(pictures) == 2


@pytest.mark.parametrize(("text", "names"), [("none", []), ("tensorboard, wandb", ["tensorboard", "wandb"])])
def test_reporters_are_read_from_a_list(text, names):
    assert parse_reporters(text) == names


def test_mistakes_with_reporters_are_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="report_to must be tensorboard, wandb or none, not 'mlflow'"):
        parse_reporters("wandb,mlflow")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="report_to wandb needs the package wandb: pip install wandb"):
        StatsWriter(tmp_path, "cur_step", 0, report_to=("wandb",))


def test_a_folder_that_is_removed_ends_in_a_sentence(tmp_path, capfd):
    writer = StatsWriter(tmp_path / "run", "cur_nimg", 0)
    writer.image(1, "samples", np.zeros((4, 4, 3), np.uint8))
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(UserError, match="cannot write '.*run': No such file or directory"):
        for at in range(2, 200):
            writer.image(at, "samples", np.zeros((4, 4, 3), np.uint8))
            time.sleep(0.05)
    with contextlib.suppress(UserError):
        writer.close()
    assert "Traceback" not in capfd.readouterr().err
