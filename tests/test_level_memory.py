"""Memory stays level: a long run of inference, whose process holds hardly more at the end.

Growth is what the process holds at most after the first fifth of the photos, less what it held then: allocators and
caches have filled by that time.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.folders import write_model, write_photos

REPOSITORY = Path(__file__).resolve().parents[1]
PHOTOS = 5_000
GROWTH_MB = 100  # 0.025 MB a photo; what was mended grew by 0.06 to 0.23


def resident(pid):
    """MB that a process holds; 0 where it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the memory of a process in /proc")
def test_inference_holds_the_same_however_many_photos(tmp_path):
    photos, model = write_photos(tmp_path / "in", PHOTOS), write_model(tmp_path / "model.safetensors")
    words = [sys.executable, REPOSITORY / "scripts" / "inference.py", "--data_path", photos, "--exp_dir", "out"]
    words += ["--checkpoint_path", model, "--no_align", "--batch_size", 32, "--workers", 2, "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with (tmp_path / "printed.txt").open("w") as printed:
        streams = {"stdout": printed, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(list(map(str, words)), cwd=tmp_path, env=environment, **streams)
    held: list[tuple[int, float]] = []  # photos done, MB
    while process.poll() is None:
        done = sum(path.read_bytes().count(b"\n") for path in tmp_path.glob("out/.parts/*/*.jsonl"))
        held.append((done, resident(process.pid)))
        time.sleep(0.5)
    assert process.returncode == 0, (tmp_path / "printed.txt").read_text()[-2000:]
    assert len(list((tmp_path / "out" / "inference_results").iterdir())) == PHOTOS
    later = [memory for done, memory in held if done >= PHOTOS / 5]
    assert max(later) - later[0] < GROWTH_MB
