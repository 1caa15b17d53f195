"""A fixture that runs a script as a user does, but in this process."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

from psp import PSp
from psp.encoders import ENCODERS
from psp.loading import model_metadata
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime import checkpoint, device

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def own_process(monkeypatch, tmp_path):
    """Run the test in another folder, and undo what a script changes in its process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(device, "tune_process", lambda *_: None)


@pytest.fixture
def script(own_process, monkeypatch, capsys):
    """Provide a function that runs a script and returns (exit code, stdout, stderr)."""

    def call(name, *arguments):
        monkeypatch.setattr(sys, "argv", [str(SCRIPTS / name), *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(SCRIPTS / name), run_name="__main__")
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return call


@pytest.fixture(scope="session")
def build_model():
    """Build a small pSp model at 32 px, the same at every call."""

    def call(input_channels=3):
        torch.manual_seed(0)
        sizes = {"z_dim": 16, "w_dim": 16, "channel_base": 256, "channel_max": 16, "mapping_layers": 1}
        generator = GENERATORS.build("stylegan2", 32, **sizes)
        sizes = {"num_ws": generator.num_ws, "w_dim": 16, "input_channels": input_channels, "input_size": 32}
        return PSp(ENCODERS.build("light", **sizes), generator, torch.randn(16)).eval()

    return call


@pytest.fixture(scope="session")
def save_model():
    """Write a model to a file that scripts can load, and return its path."""

    def call(path, model, **metadata):
        checkpoint.save(path, dict(model.state_dict()), {**model_metadata(model), **metadata})
        return path

    return call


@pytest.fixture(scope="session")
def model_file(tmp_path_factory, build_model, save_model):
    return save_model(tmp_path_factory.mktemp("model") / "model.safetensors", build_model())
