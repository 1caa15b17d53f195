"""Every script that runs models does so on the GPU, and every training goes on from its checkpoint, also on a CPU."""

import os
import runpy
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from options.shared import Machine
from stylegan2.runtime.images import resize, write_image

REPOSITORY = Path(__file__).resolve().parents[2]
AT_ONCE = 8
SECONDS = 200  # after which a command is ended
Table = Mapping[str, tuple[tuple[str, ...], list[list[str]]]]
"""{name: (names of others that must have ended before, commands to run in turn)}"""


def script(name, text):
    return [str(REPOSITORY / "scripts" / name), *text.split()]


SIZES = "--resolution 32 --z_dim 8 --w_dim 8 --channel_base 256 --channel_max 16 --mapping_layers 2 --batch_size 4"
EVERY = "--workers 0 --log_interval 4 --image_interval 8 --save_interval 8"
GAN = f"--data pictures {SIZES} {EVERY}"
GROW = "--batch_sizes 8 4 --grow_from 8 --stable_nimg 4 --fade_nimg 4"
PSP = (
    "--data pictures --stylegan_weights gan --workers 0 --batch_size 2 --test_batch_size 2 --board_interval 1 "
    "--val_interval 2 --save_interval 2 --perceptual effnet --identity dlib"
)


def train_gan(folder, more="", device="cuda", total=(8, 16)):
    text = f"{GAN} --exp_dir {folder} {more} --device {device}"
    return [script("train_stylegan2.py", f"{text} --total_nimg {each}") for each in total]


def train_psp(folder, more="", device="cuda", steps=(2, 4)):
    text = f"{PSP} --exp_dir {folder} {more} --device {device}"
    return [script("train_psp.py", f"{text} --max_steps {each}") for each in steps]


def on_cuda(name, text):
    return [script(name, f"{text} --device cuda")]


RESUMED = {
    "gan": ((), train_gan("gan")),
    "stylegan": ((), train_gan("stylegan", f"--arch stylegan {GROW}")),
    "pggan": ((), train_gan("pggan", f"--arch pggan {GROW}")),
    "augmented": ((), train_gan("augmented", "--augment bgc")),
    "projected": ((), train_gan("projected", "--d projected")),
    "from cpu": ((), [*train_gan("from_cpu", device="cpu", total=(8,)), *train_gan("from_cpu", total=(16,))]),
    "to cpu": ((), [*train_gan("to_cpu", total=(8,)), *train_gan("to_cpu", device="cpu", total=(16,))]),
    "psp": (("gan",), train_psp("psp")),
    "e4e": (("gan",), train_psp("e4e", "--encoder_type light_e4e --progressive_start 1 --progressive_step_every 1")),
    "restyle": (("gan",), train_psp("restyle", "--encoder_type light_restyle")),
    "feature": (("gan",), train_psp("feature", "--encoder_type light_feature_gradient")),
    "decoder too": (("gan",), train_psp("decoder", "--train_decoder --optim_name adam")),
    "psp from cpu": (("gan",), [*train_psp("p_cpu", device="cpu", steps=(2,)), *train_psp("p_cpu", steps=(4,))]),
    "psp to cpu": (("gan",), [*train_psp("p_cuda", steps=(2,)), *train_psp("p_cuda", device="cpu", steps=(4,))]),
}
INFER = "--data_path pictures --checkpoint_path psp --no_align --batch_size 4 --workers 1 --perceptual effnet"
LATENT = "--generator gan"
OTHERS = {
    "without tensor cores": ((), train_gan("fp32", "--precision fp32", total=(8,))),
    "bfloat16": ((), train_gan("bfloat16", "--precision bf16", total=(8,))),
    "conditional": ((), train_gan("conditional", "--conditional --data classes", total=(8,))),
    "one process of torchrun": (
        (),
        [["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1", *train_gan("torchrun", total=(8,))[0]]],
    ),
    "inference": (("psp",), on_cuda("inference.py", f"{INFER} --exp_dir inferred")),
    "refined": (("psp",), on_cuda("inference.py", f"{INFER} --exp_dir refined --refine 3")),
    "tuned": (("psp",), on_cuda("inference.py", f"{INFER} --exp_dir tuned --pivotal 3")),
    "restyled": (
        ("restyle",),
        on_cuda("inference.py", f"{INFER.replace('path psp', 'path restyle')} --exp_dir restyled"),
    ),
    "features refined": (
        ("feature",),
        on_cuda(
            "inference.py", f"{INFER.replace('path psp', 'path feature')} --exp_dir features --refine 2 --pivotal 2"
        ),
    ),
    "measured on the way": (
        (),
        train_gan("measured", "--metrics fd_effnet --metrics_interval 8 --metrics_samples 8", total=(8,)),
    ),
    "bf16": (("psp",), on_cuda("inference.py", f"{INFER} --exp_dir bf16 --precision bf16")),
    "style_mixing": (("psp",), on_cuda("style_mixing.py", f"{INFER} --exp_dir mixed --n_outputs 3")),
    "evaluate": (
        ("psp",),
        on_cuda(
            "evaluate.py",
            "--checkpoint_path psp --data pictures --optimisation_steps 2 --refine_steps 2 --batch_size 2 "
            "--perceptual effnet --identity dlib --exp_dir evaluated",
        ),
    ),
    "evaluate_generator": (
        ("gan",),
        on_cuda(
            "evaluate_generator.py",
            f"{LATENT} --data pictures --num_samples 8 --batch_size 4 --metrics fd_effnet,ppl_w_end,resolution_usage "
            "--perceptual effnet --out generator.json",
        ),
    ),
    "generate": (("gan",), on_cuda("generate.py", f"samples {LATENT} --seeds 0-3 --exp_dir generated")),
    "project": (
        ("gan",),
        on_cuda(
            "project.py", f"--target pictures/0.png {LATENT} --steps 3 --frames 0 --perceptual effnet --exp_dir pr"
        ),
    ),
    "directions": (
        ("gan",),
        on_cuda("directions.py", f"pca {LATENT} --num_samples 50 --count 2 --no_measure --exp_dir directions"),
    ),
    "edit": (
        ("directions",),
        on_cuda("edit.py", f"--directions directions/pca.safetensors {LATENT} --seeds 0-1 --exp_dir edited"),
    ),
    "train_segmenter": (
        (),
        on_cuda("train_segmenter.py", "--max_steps 2 --batch_size 2 --num_images 2 --workers 0 --exp_dir segmenter"),
    ),
    "draw_sketches": ((), on_cuda("draw_sketches.py", "--data_path pictures --edges lines --size 32 --exp_dir drawn")),
}
TABLE = {**RESUMED, **OTHERS}


class Commands:
    """Runs commands in one folder, several at once, each after those that it needs.

    A process that has to start CUDA takes seconds before it begins, which is why they do not wait for one another.

    """

    def __init__(self, folder: Path, table: Table) -> None:
        self.folder, self.table = folder, table
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._futures: dict[str, Future[str]] = {}

    def start(self, name: str) -> Future[str]:
        """Begins a command, and those that it needs before it, unless they were begun already."""
        if name not in self._futures:
            before = [self.start(other) for other in self.table[name][0]]  # begun first, so no thread waits for ever
            self._futures[name] = self._pool.submit(self._run, name, before)
        return self._futures[name]

    def output(self, name: str) -> str:
        """What a command printed. AssertionError: it, or one that it needs, has failed."""
        return self.start(name).result()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _run(self, name: str, before: list[Future[str]]) -> str:
        for future in before:
            future.result()
        printed = []
        for command in self.table[name][1]:
            done = subprocess.run(
                [sys.executable, *command],
                cwd=self.folder,
                env=os.environ | {"OMP_NUM_THREADS": "2", "XDG_CACHE_HOME": str(self.folder / "cache")},
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
            assert done.returncode == 0, f"{' '.join(command)}\nended with {done.returncode}:\n{done.stderr[-3000:]}"
            printed.append(done.stdout)
        return "".join(printed)


def write_data(folder):
    """Pictures of noise, and the same ones in two classes."""
    for n in range(6):
        small = np.random.default_rng(n).integers(0, 256, (6, 6, 3), np.uint8)
        for path in (folder / "pictures", folder / "classes" / ("left", "right")[n % 2]):
            write_image(path / f"{n}.png", resize(small, (40, 40)))


@pytest.fixture(scope="module")
def output(request, tmp_path_factory):
    """What a command of the table printed; all those that selected tests ask for start at once."""
    folder = tmp_path_factory.mktemp("commands")
    write_data(folder)
    commands = Commands(folder, TABLE)
    for item in request.session.items:
        if item.module is request.module and hasattr(item, "callspec"):
            commands.start(item.callspec.params["name"])
    yield commands.output
    commands.close()


@pytest.mark.parametrize("name", RESUMED)
def test_a_training_goes_on(output, name):
    assert output(name).count("resuming from") == 1


@pytest.mark.parametrize("name", OTHERS)
def test_a_script_runs(output, name):
    output(name)


def test_no_script_that_takes_a_device_is_left_out(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "scripts")  # as it is for a script that is run
    takes = {
        path.stem
        for path in (REPOSITORY / "scripts").glob("[!_]*.py")
        if any(
            isinstance(value, type) and issubclass(value, Machine) and value is not Machine
            for value in runpy.run_path(str(path), run_name="imported").values()
        )
    }
    run = {Path(command[0]).stem for _, turns in TABLE.values() for command in turns if command[0].endswith(".py")}
    assert {"train_stylegan2", "train_psp", "inference"} <= takes <= run
