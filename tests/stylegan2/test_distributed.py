"""Several processes train as one: the same weights, one writer, one decision about stopping and about bad steps."""

import math
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datasets.loader import stream_batches
from datasets.sampler import StreamBatches, StreamSampler
from datasets.training_data import MirroredImages
from stylegan2.augment import draw
from stylegan2.networks.layers import minibatch_stddev
from stylegan2.networks.registry import DISCRIMINATORS, GENERATORS
from stylegan2.runtime import checkpoint, distributed
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import write_image
from stylegan2.runtime.randomness import draw_shard, normal_like
from stylegan2.trainer import train
from stylegan2.training_settings import TrainingSettings
from stylegan2.training_state import check_batches
from tests.forks import CALLS
from tests.training import step_records

REPOSITORY = Path(__file__).resolve().parents[2]
BATCH, STEPS = 16, 5  # 16: a minibatch stddev group of 4 in each of 4 processes
BASE = {
    "total_nimg": STEPS * BATCH,
    "batch_size": BATCH,
    "r1_gamma": 1.0,
    "ema_nimg": 40,
    "log_interval": BATCH,
    "image_interval": 2 * BATCH,
    "save_interval": 2 * BATCH,
}
SIZES = {"img_resolution": 16, "z_dim": 8, "channel_base": 128, "channel_max": 8}
STYLED = {**SIZES, "w_dim": 8, "mapping_layers": 2}
GROWING = {"grow_from": 8, "batch_sizes": {8: 32}, "stable_nimg": 32, "fade_nimg": 64}  # 8 px, then two steps of fading
EAGER = {"lazy_r1": False, "path_length_interval": 0}
ADAPTING = {"augment": "bgc", "ada_nimg": 100, "ada_target": -0.9}  # raises p after the fourth step
SYSTEMS = {
    "pggan": ("pggan", SIZES, {"style_mixing": 0.0, "loss": "wgan", **GROWING, **EAGER}),
    "stylegan": ("stylegan", STYLED, {**GROWING, **EAGER}),
    "stylegan2": ("stylegan2", STYLED, {"r1_interval": 2, "path_length_interval": 2, **ADAPTING}),
    "conditional": ("stylegan2", {**STYLED, "num_classes": 3}, {"r1_interval": 2, "path_length_interval": 2}),
}

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this PyTorch is built without distributed training"
)


# --- running several processes ---


def in_processes(count, work, *args, timeout=200):
    """Runs work(*args) in processes that are set up as torchrun sets them up; their exit codes.

    The last argument is a folder, where a process that ends with a UserError leaves its sentence.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [CALLS.start(_enter, k, count, port, work, args, out=sys.__stdout__, err=sys.__stderr__)
               for k in range(count)]  # fmt: skip
    try:
        return [process.wait(timeout) for process in started]
    finally:
        for process in started:
            process.kill()


def _enter(rank, count, port, work, args):
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count}
    os.environ.update({name: str(value) for name, value in where.items()})
    torch.set_num_threads(1)
    try:
        distributed.setup(torch.device("cpu"))
        work(*args)
    except UserError as error:
        (args[-1] / f"sentence{rank}").write_text(str(error))
        sys.exit(2)


def train_tiny(system, dtype, marks, run_dir):
    """Trains and leaves this process's networks in run_dir, and how many checkpoints there were when it was done.

    marks: {"bad" | "stop": (rank, number of the batch it gets)}: a NaN in its images, or a signal, when saving is slow.
    """
    torch.set_default_dtype(dtype)
    arch, sizes, own = SYSTEMS[system]
    settings = TrainingSettings(**{**BASE, **own})
    labels = np.arange(50) % 3 if "num_classes" in sizes else None
    torch.manual_seed(1 + distributed.rank())  # the first one's networks count
    G, G_ema = (GENERATORS.build_from(arch, sizes) for _ in range(2))
    D = DISCRIMINATORS.build_from(arch, sizes)
    leave_the_singular_start(G)
    pixels = list(np.random.default_rng(0).integers(0, 256, (50, 16, 16, 3), np.uint8))
    stream = stream_batches(
        MirroredImages(pixels, True, 0, labels), 50, lambda nimg: settings.batch_size_at(nimg, 16), 0, workers=0
    )

    if "stop" in marks:
        save = checkpoint.save
        checkpoint.save = lambda *args: time.sleep(0.5) or save(*args)

    def batches(cur_nimg):
        for number, batch in enumerate(stream(cur_nimg)):
            images, *rest = [batch] if labels is None else batch
            images = images.to(dtype)
            if marks.get("bad") == (distributed.rank(), number):
                images[0, 0, 3, 5] = math.nan
            if marks.get("stop") == (distributed.rank(), number):
                os.kill(os.getpid(), signal.SIGTERM)
            yield [images, *rest] if rest else images

    try:
        train(
            G=G,
            D=D,
            G_ema=G_ema,
            batches=batches,
            run_dir=run_dir,
            settings=settings,
            device=torch.device("cpu"),
        )
    finally:
        nets = {"G": G, "D": D, "G_ema": G_ema}
        tensors = {f"{n}.{k}": v for n, net in nets.items() for k, v in net.state_dict().items()}
        tensors["checkpoints"] = torch.tensor(len(list(run_dir.glob("checkpoints/*"))))
        torch.save(tensors, run_dir / f"process{distributed.rank()}.pt")


@torch.no_grad()
def leave_the_singular_start(G):
    """StyleGAN starts with a first layer that is constant over the image, which AdaIN takes away.

    The gradient of its bias is then 0 but for rounding, which Adam makes as large as any other.
    """
    for name, parameter in G.named_parameters():
        if name.endswith(("const", "noise_strength")):
            parameter.copy_(torch.randn_like(parameter))


def weights(run_dir, process=0):
    return torch.load(run_dir / f"process{process}.pt")


def assert_close(found, expected, tolerance):
    assert found.keys() == expected.keys()
    far = {name: float((found[name] - expected[name]).abs().max()) for name in expected}
    assert {name: distance for name, distance in far.items() if not distance <= tolerance} == {}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run, made when it is asked for."""
    made = {}

    def run(system, count, dtype=torch.float64, **marks):
        key = system, count, dtype, *sorted(marks.items())
        if key not in made:
            made[key] = tmp_path_factory.mktemp(f"{system}{count}")
            assert in_processes(count, train_tiny, system, dtype, marks, made[key]) == [0] * count
        return made[key]

    return run


# --- the same as one process ---


def test_two_processes_are_as_one(trained):
    one, two = trained("stylegan2", 1), trained("stylegan2", 2)
    assert_close(weights(two), weights(one), 1e-10)
    assert_close(weights(two, process=1), weights(two), 0.0)
    (tensors, metadata), (expected, expected_metadata) = (
        checkpoint.read(folder / "checkpoints" / f"network-{BATCH * STEPS:09d}.safetensors") for folder in (two, one)
    )
    assert_close(tensors, expected, 1e-10)
    assert metadata["augmentation"] == expected_metadata["augmentation"]
    assert metadata["augmentation"]["p"] > 0
    assert tensors["path_length_mean"] > 0
    assert tensors["G.mapping.w_avg"].abs().min() > 0


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)], ids=["f32", "f64"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_any_number_of_processes_is_as_one(trained, system, dtype, tolerance, count):
    one, several = trained(system, 1, dtype), trained(system, count, dtype)
    assert_close(weights(several), weights(one), tolerance)
    for process in range(1, count):
        assert_close(weights(several, process), weights(several), 0.0)


def test_losses_are_means_over_all_and_one_process_writes(trained):
    one, two = trained("stylegan2", 1), trained("stylegan2", 2)
    assert [record["cur_nimg"] for record in step_records(two)] == [BATCH * (k + 1) for k in range(STEPS)]
    for record, expected in zip(step_records(two), step_records(one), strict=True):
        assert record.keys() == expected.keys()
        for name in [name for name in record if not name.startswith("speed/")]:
            assert record[name] == pytest.approx(expected[name], rel=1e-9, abs=1e-12), name
    files = [{str(path.relative_to(run)) for path in run.rglob("*.png")} for run in (one, two)]
    assert files[0] == files[1]
    assert len(list(two.glob("logs/*"))) == 1


# --- deciding together ---


@pytest.mark.slow
def test_a_nan_in_one_process_skips_the_step_in_all(trained):
    one, two = trained("stylegan2", 1, bad=(0, 1)), trained("stylegan2", 2, bad=(1, 1))
    assert [record["train/skipped_steps"] for record in step_records(two)] == [0, 1, 0, 0, 0]
    assert_close(weights(two, process=1), weights(two), 0.0)
    assert_close(weights(two), weights(one), 1e-10)  # whichever image of the batch has it


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_signal_to_one_process_stops_all_at_one_step(trained, tmp_path):
    stop = {"stop": (1, 2)}  # before the third step, which is finished
    assert in_processes(2, train_tiny, "stylegan2", torch.float64, stop, tmp_path) == [143, 143]
    assert_close(weights(tmp_path, process=1), weights(tmp_path), 0.0)
    assert sorted(path.stem for path in tmp_path.glob("checkpoints/*"))[-1] == f"network-{3 * BATCH:09d}"
    assert in_processes(1, train_tiny, "stylegan2", torch.float64, {}, tmp_path) == [0]  # any number goes on
    assert_close(weights(tmp_path), weights(trained("stylegan2", 1)), 1e-10)


def disagree(_):
    distributed.check_equal(distributed.rank(), "they differ")


def leave_alone(_):
    if distributed.rank() == 1:
        raise UserError("one image is damaged")
    for _ in range(3):
        distributed.all_reduce_mean(torch.zeros(2))


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (disagree, ["they differ", "they differ"]),
        (leave_alone, ["process 0 stops because it cannot reach another process", "one image is damaged"]),
    ],
)
def test_processes_end_together_with_a_sentence(work, words, tmp_path):
    assert in_processes(2, work, tmp_path) == [2, 2]
    sentences = [(tmp_path / f"sentence{rank}").read_text() for rank in range(2)]
    assert [sentence[: len(start)] for sentence, start in zip(sentences, words, strict=True)] == words
    assert not any("\n" in sentence for sentence in sentences)


# --- shares ---


@given(st.integers(1, 48), st.integers(1, 8), st.integers(1, 6))
def test_groups_stay_whole_in_the_shares_that_are_accepted(batch, group, processes):
    settings = TrainingSettings(batch_size=batch, path_length_interval=0)
    x = torch.randn(batch, 2, 4, 4, dtype=torch.float64)
    whole = minibatch_stddev(x, group)
    equal = batch % processes == 0 and all(
        torch.allclose(minibatch_stddev(x[k::processes], group), whole[k::processes], rtol=1e-12)
        for k in range(processes)
    )
    try:
        check_batches(settings, 16, group, processes)
    except UserError:
        assert not equal
    else:
        assert equal


@pytest.mark.parametrize(
    ("changes", "group", "processes", "words"),
    [
        ({"batch_size": 9}, 1, 2, "a batch of 9 cannot be shared by 2 processes .* use batch_size 4 or"),
        ({"batch_size": 8}, 4, 4, "a batch of 8 cannot be shared by 4 processes .* use batch_size 16 or"),
        ({"batch_size": 6}, 1, 2, "a batch of 6 cannot .* use batch_size 4 or"),  # the path length's 3
        ({"grow_from": 8, "batch_sizes": {8: 64, 16: 4}, "batch_size": 64}, 4, 2, "a batch of 4 cannot be shared"),
    ],
)
def test_a_batch_that_cannot_be_shared_is_one_sentence(changes, group, processes, words):
    settings = TrainingSettings(**changes)
    with pytest.raises(UserError, match=words) as caught:
        check_batches(settings, 16, group, processes)
    assert "\n" not in str(caught.value)
    check_batches(settings, 16, group, 1)


def test_the_batch_size_that_is_recommended_is_accepted():
    for group in range(1, 9):
        for processes in range(1, 9):
            for interval in (0, 4):
                settings = TrainingSettings(batch_size=7 * 31, path_length_interval=interval)
                try:
                    check_batches(settings, 16, group, processes)
                except UserError as error:
                    size = int(str(error).split("batch_size ")[1].split()[0])
                    for multiple in (size, 3 * size):
                        fitting = TrainingSettings(batch_size=multiple, path_length_interval=interval)
                        check_batches(fitting, 16, group, processes)


@pytest.mark.parametrize("count", [2, 3])
def test_draws_are_dealt_out_like_cards(monkeypatch, count):
    like = torch.empty(12, 3, 4, 4).contiguous(memory_format=torch.channels_last)

    def drawn(rows):
        torch.manual_seed(0)
        noise = draw_shard(lambda n: torch.randn(n, 5), rows)
        augmentation = draw_shard(lambda n: draw(n, 16, 0.5), rows)
        return noise, normal_like(like[:rows]), augmentation.place, augmentation.colour

    whole = drawn(12)
    monkeypatch.setattr(distributed, "world_size", lambda: count)
    for rank in range(count):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        for own, all_rows in zip(drawn(12 // count), whole, strict=True):
            assert torch.equal(own, all_rows[rank::count])


def test_batches_are_dealt_out_like_cards():
    def first(rank, count):
        keys = StreamSampler(50, 0, 24, rank, count)
        batches = iter(StreamBatches(keys, 24, lambda position: 8 if position < 40 else 12, count))
        return [next(batches) for _ in range(5)]

    for rank in range(4):
        assert first(rank, 4) == [batch[rank::4] for batch in first(0, 1)]


# --- starting ---


def launch(monkeypatch, rank=1):
    for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize(("kind", "backend"), [("cpu", "gloo"), ("cuda", "cpu:gloo,cuda:nccl")])
def test_processes_wait_for_hours_while_the_first_one_measures(monkeypatch, kind, backend):
    """On a GPU each process has its own, and what stays on the host is exchanged there."""
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    begun, chosen = [], []
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *a, **k: begun.append((*a, k["timeout"])))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(distributed, "_start_heartbeat", lambda _: None)
    monkeypatch.setattr(distributed, "is_first", lambda: True)  # the output of the tests stays
    monkeypatch.setattr(distributed.atexit, "register", lambda _: None)
    device = distributed.setup(torch.device(kind))
    assert (str(device), chosen) == (("cuda:1", [device]) if kind == "cuda" else ("cpu", []))
    ((name, timeout),) = begun
    assert name == backend
    assert timeout >= timedelta(hours=1)


def test_one_process_joins_nothing(monkeypatch):
    assert distributed.setup(torch.device("cpu")) == torch.device("cpu")
    launch(monkeypatch, rank=0)
    monkeypatch.setenv("WORLD_SIZE", "1")  # torchrun --nproc_per_node=1
    assert distributed.setup(torch.device("cpu")) == torch.device("cpu")
    assert (distributed.world_size(), distributed.rank(), distributed.is_first()) == (1, 0, True)


def test_where_several_processes_cannot_train_is_one_sentence(monkeypatch):
    launch(monkeypatch)
    with pytest.raises(UserError, match="not on mps: start the training without torchrun"):
        distributed.setup(torch.device("mps"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="a GPU of its own, but there are 1: use --nproc_per_node=1"):
        distributed.setup(torch.device("cuda"))


@pytest.mark.slow
def test_torchrun_trains_and_prints_once(tmp_path):
    for number in range(12):
        image = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
        write_image(tmp_path / "data" / f"{number}.png", image)
    flags = {"data": tmp_path / "data", "exp_dir": tmp_path / "run", "resolution": 16, "device": "cpu"}
    flags |= {"batch_size": 8, "total_nimg": 24, "log_interval": 8, "channel_max": 8, "w_dim": 8, "z_dim": 8}
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += [str(REPOSITORY / "scripts" / "train_stylegan2.py"), *words]
    result = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, result.stderr
    assert [line.split(":")[0] for line in result.stdout.splitlines()][-1] == "done"
    assert result.stdout.count("done: ") == 1
    assert [record["cur_nimg"] for record in step_records(tmp_path / "run")] == [8, 16, 24]
    assert (tmp_path / "run" / "checkpoints" / "network-000000024.safetensors").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_a_stopped_process_ends_the_others_with_a_sentence(tmp_path):
    """As when its machine hangs: its connections stay open, so that nothing but the time tells."""
    log = tmp_path / "log"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += [str(REPOSITORY / "scripts" / "train_stylegan2.py"), "--resolution", "32", "--channel_base", "128"]
    command += ["--channel_max", "8", "--batch_size", "4", "--mbstd_group", "2", "--total_nimg", "1000000"]
    command += ["--log_interval", "4", "--workers", "0", "--device", "cpu", "--process_timeout", "20"]
    command += ["--exp_dir", str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    with open(log, "wb") as output:
        launcher = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    stopped = None
    try:
        metrics, end = tmp_path / "run" / "metrics.jsonl", time.monotonic() + 300
        while not (metrics.exists() and metrics.read_text().count("\n") > 1):
            assert launcher.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.5)
        stopped = next(pid for pid in children(launcher.pid) if b"RANK=1" in environment_of(pid))
        os.kill(stopped, signal.SIGSTOP)
        begun = time.monotonic()
        assert launcher.wait(240) != 0
        assert time.monotonic() - begun < 120
    finally:
        for pid in [stopped] if stopped else []:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGKILL)
        launcher.kill()
    text = log.read_text()
    sentence = "process 1 has not answered for 20 s, so process 0 ends"
    assert f"error: {sentence}" in text
    assert sentence in "".join(text.splitlines(keepends=True)[-8:])  # ours comes last
    assert "the same command resumes from the last checkpoint" in text


def children(pid):
    """The processes that another one has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        found += [int(stat.parent.name)] if int(fields[1]) == pid else []
    return found


def environment_of(pid):
    """The variables of a process, as NAME=value."""
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
