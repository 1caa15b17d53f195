"""Tests of this folder run where a GPU is; elsewhere each is skipped and says so. `make test-gpu` runs them alone."""

import os
from pathlib import Path

import pytest
import torch

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as scripts do, before CUDA starts: for --deterministic

FOLDER = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items):
    for item in items:
        if FOLDER in Path(item.path).parents:
            item.add_marker(pytest.mark.cuda)
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="there is no GPU that PyTorch can use here"))


@pytest.fixture(scope="session", autouse=True)
def _all_threads(_one_thread):
    """The CPU's side of a comparison has large networks to run."""
    torch.set_num_threads(os.cpu_count() or 1)


@pytest.fixture(autouse=True)
def _float32_is_float32():
    """Products of float32 are not rounded to TF32, and no test inherits another's memory."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
    torch.cuda.empty_cache()


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device("cuda")
