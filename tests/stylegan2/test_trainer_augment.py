"""Adaptive discriminator augmentation in the GAN loop."""

import itertools
import json

import pytest
import torch

from stylegan2 import training_step
from stylegan2.augment import Controller
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.randomness import seed_step
from stylegan2.runtime.stats import Averages
from stylegan2.trainer import train
from stylegan2.training_settings import TrainingSettings, check_fit
from stylegan2.training_state import build_state
from stylegan2.training_step import step
from tests.training import networks

BATCH, DEVICE = 4, torch.device("cpu")
SETTINGS = {
    "batch_size": BATCH,
    "total_nimg": 12 * BATCH,
    "save_interval": 6 * BATCH,
    "log_interval": BATCH,
    "r1_gamma": 1.0,
    "r1_interval": 4,
    "augment": "bgc",
    "ada_nimg": 64,
    "ada_target": -1.1,  # never met: p rises at every decision
}


def batches(start):
    for n in itertools.count(start // BATCH):
        yield torch.rand(BATCH, 3, 16, 16, generator=torch.Generator().manual_seed(n)) * 2 - 1


def run(folder, **changes):
    G, D, G_ema = networks()
    settings = TrainingSettings(**{**SETTINGS, **changes})
    return train(G=G, D=D, G_ema=G_ema, batches=batches, run_dir=folder, settings=settings, device=DEVICE)


def test_p_follows_the_signs_and_is_logged_and_kept(tmp_path):
    _, metadata = checkpoint.read(run(tmp_path))
    assert metadata["augmentation"] == {"p": 0.75, "sign_sum": 0.0, "shown": 0, "batches": 0}  # 3 times 16 / 64
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["augment/p"] for line in lines] == [0, 0, 0, 0.25, 0.25, 0.25, 0.25, 0.5, 0.5, 0.5, 0.5, 0.75]


def test_resumed_between_two_decisions_equals_uninterrupted(tmp_path):
    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", total_nimg=6 * BATCH)
    assert checkpoint.newest(tmp_path / "parts")[2]["augmentation"]["batches"] == 2
    (tensors, _), (expected, _) = checkpoint.read(run(tmp_path / "parts")), checkpoint.read(whole)
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in tensors)


def test_a_fixed_p_stays(tmp_path):
    _, metadata = checkpoint.read(run(tmp_path, augment_p=0.3))
    assert metadata["augmentation"]["p"] == 0.3


def test_the_discriminator_sees_nothing_unaugmented(monkeypatch):
    """In each phase: D, R1 and G; two batches at once in the first."""
    seen = []
    monkeypatch.setattr(training_step, "augment", lambda images, p, transforms: seen.append(len(images)) or images)
    s = TrainingSettings(**SETTINGS)
    state = build_state(*networks(), s)
    state.control = Controller(0.5)
    seed_step(0, 0, 0)
    step(state, next(batches(0)), settings=s, r1_gamma=1.0, averages=Averages(), guard=Guard(9))
    assert seen == [2 * BATCH, BATCH, BATCH]


def test_it_changes_what_is_learned(tmp_path):
    with_it, without = (checkpoint.read(run(tmp_path / how, augment=how, augment_p=1.0)) for how in ("bgc", "none"))
    assert any(not torch.equal(with_it[0][name], without[0][name]) for name in with_it[0] if name.startswith("D."))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"augment": "abc"}, "augment must be none, b or bg or bgc, not 'abc'"),
        ({"augment_p": 1.5}, "augment_p must be from 0 to 1, not 1.5"),
        ({"loss": "wgan"}, "give a fixed probability augment_p"),
        ({"ada_nimg": 0}, "ada_nimg must be at least 1, not 0"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        TrainingSettings(**{**SETTINGS, **settings})


def test_growing_begins_at_what_can_be_augmented():
    with pytest.raises(UserError, match=r"augment needs images of 16 px or more: use grow_from 16 or none"):
        check_fit(TrainingSettings(**{**SETTINGS, "grow_from": 8, "style_mixing": 0.0}), 64, True, False)
