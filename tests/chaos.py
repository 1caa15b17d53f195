"""Kill trainings at random moments and compare what they end with, bit for bit: python tests/chaos.py --kills 30

Each kind of training runs once undisturbed. Then it is started again and again in another folder and killed, by SIGKILL
or SIGTERM, at a random moment or while it writes a checkpoint, until its share of the kills is reached; a last start
finishes it. Every time it ends, its last checkpoint must hold what that of the undisturbed run holds. Linux.

A training of one process is forked from this one, which has imported what it needs: a kill then costs seconds, and none
falls among imports.
"""

import argparse
import importlib
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}  # before PyTorch starts threads, which no fork takes

import torch

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"
sys.path[:0] = [str(SCRIPTS), str(ROOT)]

from stylegan2.runtime import checkpoint  # noqa: E402
from stylegan2.runtime.files import PARTIAL_PREFIX  # noqa: E402
from tests import forks  # noqa: E402
from tests.groups import torchrun  # noqa: E402

STARTS = 4.0  # seconds that torchrun takes to its first step
GAN = (
    "train_stylegan2.py --resolution 32 --channel_base 128 --channel_max 8 --z_dim 8 --batch_size 4 --total_nimg 240 "
    "--save_interval 24 --log_interval 24 --image_interval 120 --workers 1 --device cpu"
)
PSP = (
    "train_psp.py --max_steps 40 --batch_size 2 --save_interval 4 --board_interval 4 --image_interval 20 "
    "--val_interval 18 --test_batch_size 16 --workers 1 --device cpu --lpips_lambda 0 --id_lambda 0 "
    "--stylegan_weights GENERATOR"
)
STYLES = "--w_dim 8 --mapping_layers 1"
TRAININGS = {
    "pggan": f"{GAN} --arch pggan",
    "stylegan": f"{GAN} --arch stylegan {STYLES}",
    "stylegan2": f"{GAN} --arch stylegan2 {STYLES}",
    "stylegan2-torchrun": f"2 {GAN} --arch stylegan2 {STYLES} --mbstd_group 2",
    "psp": f"{PSP} --encoder_type light",
    "e4e": f"{PSP} --encoder_type light_e4e --progressive_start 10 --progressive_step_every 5",
    "psp-torchrun": f"2 {PSP} --encoder_type light",
    "segmenter": "train_segmenter.py --resolution 32 --max_steps 40 --num_images 8 --workers 1",
}


class Forked:
    """A training in a process forked from this one, with the methods of `subprocess.Popen` that are used here."""

    def __init__(self, script: str, words: list[str], log: Path) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(output, 1)
                os.dup2(output, 2)
                sys.argv = [str(SCRIPTS / script), *words]
                runpy.run_path(sys.argv[0], run_name="__main__")
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)

    def poll(self) -> int | None:
        return self.returncode if self.returncode is not None else self._waited(os.WNOHANG)

    def wait(self) -> int | None:
        return self.returncode if self.returncode is not None else self._waited(0)

    def _waited(self, options: int) -> int | None:
        pid, status = os.waitpid(self.pid, options)
        self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


def start(training: str, folder: Path) -> Forked | forks.Forked:
    """Start a training; one whose words begin with a number runs in so many processes of torchrun."""
    command = TRAININGS[training].replace("GENERATOR", str(folder.with_name("generator")))
    words = [*command.split(), "--exp_dir", str(folder)]
    folder.mkdir(parents=True, exist_ok=True)
    log = folder.with_suffix(".log")
    if not words[0].isdigit():
        return Forked(words[0], words[1:], log)
    with open(log, "ab") as output:
        return torchrun(int(words[0]), words[1], *words[2:], out=output)


def finish(training: str, folder: Path) -> float:
    """Run a training to its end: the seconds it took. RuntimeError: it fails."""
    began = time.monotonic()
    if start(training, folder).wait() != 0:
        raise failure(training, folder)
    return time.monotonic() - began


def failure(training: str, folder: Path) -> RuntimeError:
    """Say what a training that nobody has killed printed before it failed."""
    log = folder.with_suffix(".log").read_text(encoding="utf-8", errors="replace")
    return RuntimeError(f"{training} failed:\n{log[-3000:]}")


def descendants(pid: int) -> list[int]:
    """List the processes below one, those of torchrun and of data loading."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended meanwhile
            continue
        parents.setdefault(parent, []).append(int(stat.parent.name))
    below = parents.get(pid, [])
    return below + [grandchild for child in below for grandchild in descendants(child)]


def kill(training: str, folder: Path, draw: random.Random, longest: float) -> str | None:
    """Start a training and kill it, within so many seconds: how; None where it was done before."""
    process, in_a_save = start(training, folder), draw.random() < 0.5
    signum = draw.choice([signal.SIGKILL, signal.SIGTERM])
    end = time.monotonic() + (longest if in_a_save else draw.uniform(0, longest))
    while time.monotonic() < end and process.poll() is None:
        if in_a_save and any((folder / "checkpoints").glob(f"{PARTIAL_PREFIX}*")):
            break
        time.sleep(0.0005 if in_a_save else 0.05)
    if process.poll() is not None:
        if process.returncode != 0:
            raise failure(training, folder)
        return None
    for pid in [process.pid, *descendants(process.pid)] if signum == signal.SIGKILL else [process.pid]:
        try:
            os.kill(pid, signum)
        except ProcessLookupError:
            continue
    process.wait()
    return f"{signum.name} {'in a save' if in_a_save else 'at a random moment'}"


def result(folder: Path) -> dict[str, torch.Tensor]:
    """Return the tensors that a training ended with."""
    newest = checkpoint.newest(folder)
    return newest[1] if newest is not None else checkpoint.read(folder / "segmenter.safetensors")[0]


def differences(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """List the tensors that are not the same bit for bit."""
    if one.keys() != other.keys():
        return sorted(one.keys() ^ other.keys())
    return [name for name in one if not torch.equal(one[name], other[name])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="of all trainings together")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and signals")
    parser.add_argument("--only", help="names of trainings, with commas between")
    o = parser.parse_args()
    importlib.import_module("torch._dynamo")  # which optimizers need at their first step
    for script in {word for words in TRAININGS.values() for word in words.split() if word.endswith(".py")}:
        importlib.import_module(script.removesuffix(".py"))
    chosen = o.only.split(",") if o.only else list(TRAININGS)
    draw, work, failed = random.Random(o.seed), Path(tempfile.mkdtemp(prefix="chaos-")), []
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="temporary-", dir=work)  # of killed processes
    finish("stylegan2", work / "generator")  # whose codes the encoders learn
    for number, training in enumerate(chosen):
        calm, disturbed = work / f"{number}-calm", work / f"{number}-disturbed"
        took = finish(training, calm)
        # Every start gets on, and few end.
        longest = STARTS + took / 4 if TRAININGS[training][0].isdigit() else took / 2
        kills = o.kills // len(chosen) + (number < o.kills % len(chosen))
        done, ends, wrong = 0, 0, []
        while done < kills and not wrong:
            how = kill(training, disturbed, draw, longest)
            done += how is not None
            print(f"{training}: {how or 'was done before the kill, and begins again'}", flush=True)
            if how is None:
                ends, wrong = ends + 1, differences(result(calm), result(disturbed))
                if not wrong:
                    shutil.rmtree(disturbed)
        if not wrong:
            finish(training, disturbed)
            ends, wrong = ends + 1, differences(result(calm), result(disturbed))
        failed += [training] if wrong else []
        outcome = f"{len(wrong)} tensors differ, such as {wrong[0]}" if wrong else "equal bit for bit"
        print(f"{training}: {done} kills in {ends} runs, {outcome}", flush=True)
    if not failed:
        shutil.rmtree(work)
    outcome = f"not equal: {', '.join(failed)}; see {work}" if failed else "all ended bit for bit as undisturbed"
    print(f"{o.kills} kills: {outcome}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
