"""Several processes train one encoder: the weights that one process reaches, whatever the encoder."""

import math
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from psp.encoders import ENCODERS
from psp.evaluation.metrics import Metrics
from psp.loading import model_metadata
from psp.losses import WeightedLosses
from psp.losses.delta_norm import DeltaNorm
from psp.losses.l2 import L2
from psp.losses.w_norm import WNorm
from psp.model import PSp
from psp.trainer import train
from psp.training_settings import TrainingSettings
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime import checkpoint, distributed
from tests.groups import finish, torchrun
from tests.stylegan2.test_distributed import assert_close, in_processes
from tests.training import step_records

REPOSITORY = Path(__file__).resolve().parents[2]
BATCH, STEPS = 8, 5
TRUNK = {"widths": (16, 16, 16, 16), "units": (1, 1, 1, 1)}
TYPES = {
    "gradual": {**TRUNK, "head_width": 8},
    "e4e": {**TRUNK, "head_width": 8},
    "w": TRUNK,
    "w_plus_naive": TRUNK,
    "restyle": {**TRUNK, "head_width": 8, "iterations": 2},
    "restyle_e4e": {**TRUNK, "head_width": 8, "iterations": 2},
    "restyle_resnet": {**TRUNK, "head_width": 8, "iterations": 2},
    "light": {},
    "feature": {**TRUNK, "head_width": 8, "feature_side": 8, "feature_channels": 8, "corrector_width": 16},
}
SETTINGS = TrainingSettings(
    max_steps=STEPS,
    batch_size=BATCH,
    test_batch_size=2,
    learning_rate=1e-3,
    progressive_start=1,
    progressive_step_every=1,
    w_pool_size=11,
    precision="fp32",
    generated_share=0.5,
    board_interval=1,
    image_interval=2,
    val_interval=3,
    save_interval=2,
)
FORMS = {
    **{name: (name, {}) for name in TYPES},
    "adam": ("e4e", {"optim_name": "adam", "train_decoder": True}),
}

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this PyTorch is built without distributed training"
)


def tiny_model(name):
    generator = GENERATORS.build("stylegan2", 16, z_dim=8, w_dim=8, channel_base=128, channel_max=8, mapping_layers=2)
    for layer in generator.synthesis.layers:
        layer.noise_strength.data.fill_(0.1)  # so that random noise shows
    return PSp(ENCODERS.build(name, num_ws=6, w_dim=8, input_size=32, **TYPES[name]), generator)


def share(number):
    """This process's images of a batch, in a type of its own."""
    draw = torch.Generator().manual_seed(number)
    source = torch.rand(BATCH, 3, 32, 32, generator=draw, dtype=torch.float32) * 2 - 1
    source = source[distributed.rank() :: distributed.world_size()].to(torch.get_default_dtype())
    return source, torch.nn.functional.avg_pool2d(source, 2)


def train_tiny(form, dtype, marks, run_dir):
    """Train and leave this process's model in run_dir.

    marks: {"bad" | "stop" | "die": (rank, number of the batch)}: a NaN in its images, a signal, or a sudden end.
    """
    torch.set_default_dtype(dtype)
    name, changes = FORMS[form]
    settings = replace(SETTINGS, **changes)
    torch.manual_seed(1 + distributed.rank())  # the first one's weights count
    model = tiny_model(name)

    def batches(position):
        number = position // BATCH
        while True:
            here = distributed.rank(), number
            source, target = share(number)
            if marks.get("bad") == here:
                source[-1, 0, 3, 5] = math.nan  # the first ones give way to generated samples
            if marks.get("stop") == here:
                os.kill(os.getpid(), signal.SIGTERM)
            if marks.get("die") == here:
                os._exit(9)
            yield source, target
            number += 1

    try:
        train(
            model=model,
            losses=WeightedLosses({"l2": (L2(), 1.0), "w": (WNorm(), 0.005), "delta_norm": (DeltaNorm(), 2e-4)}),
            batches=batches,
            held_out=[tuple(x[:2] for x in share(10**6))],
            metrics=Metrics(L2(), L2()),
            show_source=lambda x: x,
            description={"task": "inversion", **model_metadata(model)},
            run_dir=run_dir,
            settings=settings,
            device=torch.device("cpu"),
        )
    finally:
        torch.save(model.state_dict(), run_dir / f"process{distributed.rank()}.pt")


def weights(run_dir, process=0):
    return torch.load(run_dir / f"process{process}.pt")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run, made when it is asked for."""
    made = {}

    def run(form, count, dtype=torch.float64, **marks):
        key = form, count, dtype, *sorted(marks.items())
        if key not in made:
            made[key] = tmp_path_factory.mktemp(f"run{count}")
            assert in_processes(count, train_tiny, form, dtype, marks, made[key]) == [0] * count
        return made[key]

    return run


# --- the same as one process ---


@pytest.mark.parametrize("form", ["e4e"])
def test_two_processes_are_as_one(trained, form):
    one, two = trained(form, 1), trained(form, 2)
    assert_close(weights(two), weights(one), 1e-9)
    assert_close(weights(two, process=1), weights(two), 0.0)
    path = f"checkpoints/iteration-{STEPS:09d}.safetensors"
    (tensors, metadata), (expected, expected_metadata) = (checkpoint.read(folder / path) for folder in (two, one))
    assert_close(tensors, expected, 1e-9)  # the optimizers' states and the pools of codes, too
    assert metadata["cur_nimg"] == expected_metadata["cur_nimg"] == BATCH * STEPS
    assert tensors["w_discriminator.real_pool.count"] == 11


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "dtype", "tolerance"),
    [*((form, torch.float64, 1e-9) for form in FORMS), ("e4e", torch.float32, 1e-4)],
    ids=str,
)
def test_four_processes_are_as_one(trained, form, dtype, tolerance):
    one, four = trained(form, 1, dtype), trained(form, 4, dtype)
    assert_close(weights(four), weights(one), tolerance)
    for process in range(1, 4):
        assert_close(weights(four, process), weights(four), 0.0)


def test_losses_are_means_over_all_and_one_process_writes(trained):
    one, two = trained("e4e", 1), trained("e4e", 2)
    assert [record["cur_step"] for record in step_records(two)] == list(range(1, STEPS + 1))
    for record, expected in zip(step_records(two), step_records(one), strict=True):
        assert record.keys() == expected.keys()
        for name in record:
            if not name.startswith("speed"):
                assert record[name] == pytest.approx(expected[name], rel=1e-7, abs=1e-10), name
    assert len(list(two.glob("logs/*"))) == 1


# --- deciding together ---


@pytest.mark.slow
def test_a_nan_in_one_process_skips_the_step_in_all(trained):
    one, two = trained("e4e", 1, bad=(0, 1)), trained("e4e", 2, bad=(1, 1))
    assert [record["train/skipped_steps"] for record in step_records(two)] == [0, 1, 0, 0, 0]
    assert_close(weights(two, process=1), weights(two), 0.0)
    assert_close(weights(two), weights(one), 1e-9)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_any_number_goes_on_where_others_stopped(trained, tmp_path):
    stop = {"stop": (1, 2)}  # before the third step, which is finished
    assert in_processes(2, train_tiny, "e4e", torch.float64, stop, tmp_path) == [143, 143]
    assert sorted(path.stem for path in tmp_path.glob("checkpoints/iter*"))[-1] == "iteration-000000003"
    assert in_processes(1, train_tiny, "e4e", torch.float64, {}, tmp_path) == [0]
    assert_close(weights(tmp_path), weights(trained("e4e", 1)), 1e-9)


def test_a_process_that_dies_ends_the_others_with_a_sentence(tmp_path):
    started = time.monotonic()
    assert in_processes(2, train_tiny, "gradual", torch.float32, {"die": (1, 1)}, tmp_path) == [2, 9]
    assert time.monotonic() - started < 60
    sentence = (tmp_path / "sentence0").read_text()
    assert sentence.startswith("process 0 stops because it cannot reach another process")
    assert "\n" not in sentence


def share_unequally(run_dir):
    train_tiny_of_nine = replace(SETTINGS, batch_size=9)
    model = tiny_model("gradual")
    train(
        model=model,
        losses=WeightedLosses({"l2": (L2(), 1.0)}),
        batches=lambda position: iter(()),
        held_out=[],
        metrics=Metrics(L2(), L2()),
        show_source=lambda x: x,
        description=model_metadata(model),
        run_dir=run_dir,
        settings=train_tiny_of_nine,
        device=torch.device("cpu"),
    )


def test_a_batch_that_cannot_be_shared_is_one_sentence(tmp_path):
    assert in_processes(2, share_unequally, tmp_path) == [2, 2]
    for rank in range(2):
        assert "a batch of 9 cannot be shared by 2 processes" in (tmp_path / f"sentence{rank}").read_text()


@pytest.mark.slow
def test_torchrun_trains_and_prints_once(tmp_path):
    flags = {"exp_dir": tmp_path / "run", "device": "cpu", "encoder_type": "light_e4e", "workers": 0, "max_steps": 2}
    flags |= {"batch_size": 4, "accumulate": 2, "test_batch_size": 2, "board_interval": 1, "w_pool_size": 4}
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    code, printed = finish(torchrun(2, "train_psp.py", *words, "--lpips_lambda", "0", "--id_lambda", "0"))
    assert code == 0, printed
    assert printed.count("done: ") == 1
    assert [record["cur_step"] for record in step_records(tmp_path / "run")] == [1, 2]
    assert (tmp_path / "run" / "checkpoints" / "iteration-000000002.safetensors").exists()
    assert (tmp_path / "run" / "pairs.png").exists()
