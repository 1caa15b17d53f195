"""Every command that the tests on a GPU run, on a simulated one: no tensor is on the wrong device."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cuda.test_scripts import RESUMED, TABLE, write_data

SIMULATED = Path(__file__).resolve().parents[1] / "simulated_gpu.py"
NAMES = [name for name in TABLE if "torchrun" not in name]


def run(command, folder):
    return subprocess.run(
        [sys.executable, str(SIMULATED), *command],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Return a function for what a command of the table prints, after those that it needs."""
    folder, printed = tmp_path_factory.mktemp("simulated"), {}
    write_data(folder)

    def of(name):
        if name not in printed:
            before, commands = TABLE[name]
            for other in before:
                of(other)
            results = [run(command, folder) for command in commands]
            for result in results:
                assert result.returncode == 0, result.stderr[-3000:]
            printed[name] = "".join(result.stdout for result in results)
        return printed[name]

    return of


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_script_runs(output, name):
    assert output(name).count("resuming from") == (name in RESUMED)


def test_a_tensor_on_the_wrong_device_is_noticed(tmp_path):
    """In what a script computes, and in what it hands to NumPy; a value and a copy are no fault."""
    faults = {
        "x * 2 + x.cpu().to(x)": None,
        "print(float((x * x).sum()), x.tolist(), x.cpu().numpy())": None,
        "x + torch.ones(3)": "aten.add.Tensor of tensors on the CPU and the GPU",
        "torch.randn(3, device=x.device, generator=torch.Generator())": "with a generator of cpu",
        "x.numpy()": "cannot become an array",
    }
    lines = ["import torch", "x = torch.ones(3).to('cuda')", "assert x.device.type == 'cuda'"]
    for line, fault in faults.items():
        lines += ["try:", f"    {line}", "    found = None", "except RuntimeError as error:", "    found = str(error)"]
        lines += [f"assert ({fault!r} in found) if {fault!r} else found is None, found"]
    (script := tmp_path / "script.py").write_text("\n".join(lines))
    result = run([str(script)], tmp_path)
    assert result.returncode == 0, result.stderr
