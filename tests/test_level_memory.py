"""The memory of processes that work for long hardly grows after their warm-up.

What a process holds is its resident set (VmRSS). In a warm-up allocators and caches fill, which is no leak.
"""

import json
import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.folders import write_model, write_photos
from stylegan2.loading import save_generator
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.progress import listening
from tests.forks import PROGRAMS

REPOSITORY = Path(__file__).resolve().parents[1]
PHOTOS = 5_000
GROWTH_MB = 100  # 0.025 MB a photo; what was mended grew by 0.06 to 0.23
STEPS, EVERY = 5_000, 100  # the first fifth is the warm-up
TRAINING_GROWTH_MB = 8  # 2 KB a step
GAN = (
    "train_stylegan2.py --data DATA --resolution 8 --channel_base 32 --channel_max 4 --z_dim 8 --batch_size 2 "
    "--mbstd_group 2 --log_interval 200 --image_interval 1000000 --save_interval 5000"
)
STYLES = "--w_dim 8 --mapping_layers 1"
TRAININGS = {
    "pggan": f"{GAN} --arch pggan --total_nimg 10000",
    "stylegan": f"{GAN} --arch stylegan {STYLES} --total_nimg 10000",
    "stylegan2": f"{GAN} --arch stylegan2 {STYLES} --augment bg --total_nimg 10000",
    "psp": "train_psp.py --data DATA --stylegan_weights GENERATOR --encoder_type light --max_steps 5000 --batch_size 1 "
    "--board_interval 50 --image_interval 1000000 --val_interval 500 --save_interval 500 --test_batch_size 2 "
    "--lpips_lambda 0 --id_lambda 0",
    "segmenter": "train_segmenter.py --resolution 32 --max_steps 5000 --batch_size 1 --num_images 8",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the memory of a process in /proc"),
]


def resident(pid):
    """Return the resident memory of a process in MB; 0 if it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def workers_of(pid):
    """Return the processes that a process has started, directly or indirectly."""
    children = [int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()]
    return children + [further for child in children for further in workers_of(child)]


def record_training(script, out, *words):
    """Run a training in this process; write [step, MB of this process, MB of its workers] as JSON to `out`."""
    held = []

    def listen(desc, done, total):
        step = done * STEPS // total
        if desc == "training" and step // EVERY > len(held):
            held.append((step, resident("self"), sum(map(resident, workers_of("self")))))

    sys.argv = [script, *words]
    with listening(listen):
        try:
            runpy.run_path(script, run_name="__main__")
        finally:  # a script exits
            Path(out).write_text(json.dumps(held))


def start(words, folder):
    """Start a Python process on one thread of the CPU, whose output goes to printed.txt."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(REPOSITORY)}
    with (folder / "printed.txt").open("w") as printed:
        return PROGRAMS.popen(words, cwd=folder, env=environment, out=printed, err=subprocess.STDOUT)


def test_inference_holds_the_same_however_many_photos(tmp_path):
    photos, model = write_photos(tmp_path / "in", PHOTOS), write_model(tmp_path / "model.safetensors")
    words = [REPOSITORY / "scripts" / "inference.py", "--data_path", photos, "--exp_dir", "out"]
    words += ["--checkpoint_path", model, "--no_align", "--batch_size", 32, "--workers", 2, "--device", "cpu"]
    process = start(words, tmp_path)
    held: list[tuple[int, float]] = []  # photos done, MB
    while process.poll() is None:
        done = sum(path.read_bytes().count(b"\n") for path in tmp_path.glob("out/.parts/*/*.jsonl"))
        held.append((done, resident(process.pid)))
        time.sleep(0.5)
    assert process.returncode == 0, (tmp_path / "printed.txt").read_text()[-2000:]
    assert len(list((tmp_path / "out" / "inference_results").iterdir())) == PHOTOS
    later = [memory for done, memory in held if done >= PHOTOS / 5]
    assert max(later) - later[0] < GROWTH_MB


@pytest.mark.parametrize("training", TRAININGS)
def test_a_training_holds_the_same_however_many_steps(training, tmp_path):
    photos, generator = write_photos(tmp_path / "in", 64), tmp_path / "generator.safetensors"
    sizes = {"z_dim": 8, "w_dim": 8, "channel_base": 32, "channel_max": 4, "mapping_layers": 1}
    save_generator(generator, GENERATORS.build("stylegan2", 8, **sizes), {})
    script, *words = TRAININGS[training].replace("DATA", str(photos)).replace("GENERATOR", str(generator)).split()
    words += ["--workers", "1", "--device", "cpu", "--exp_dir", "run"]
    program = "import sys; from tests.test_level_memory import record_training; record_training(*sys.argv[1:])"
    process = start(["-c", program, REPOSITORY / "scripts" / script, "held.json", *words], tmp_path)
    assert process.wait() == 0, (tmp_path / "printed.txt").read_text()[-2000:]
    held = [row for row in json.loads((tmp_path / "held.json").read_text()) if row[0] >= STEPS / 5]
    assert held[-1][0] >= STEPS  # a training that grows counts its last images in whole phases
    for place, name in ((1, "the training"), (2, "its workers")):
        memory = [row[place] for row in held]
        assert memory[0] > 20, f"{name} were not measured"
        growth = max(memory[-5:]) - max(memory[:5])
        print(f"{training}: {name} hold {memory[0]:.0f} MB after the warm-up and {growth:+.1f} MB at the end")
        assert growth < TRAINING_GROWTH_MB, f"{name}: {memory}"
