"""What every test may rely on: one thread, a fixed seed, and the photographs where a machine has them."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
SEED = 20


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded():
    """The same random numbers for each test, whichever others run before it."""
    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of photos/, portraits256/ and faces128/: PSP_TEST_DATA, or shared/data beside the checkout."""
    folder = Path(os.environ.get("PSP_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"test photographs are not at {folder}; set PSP_TEST_DATA to their folder")
    return folder
