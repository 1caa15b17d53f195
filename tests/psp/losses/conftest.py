"""What the tests of the losses share: a machine without downloads, and a stand-in for one of them."""

import pytest
import torch
import torchvision

from stylegan2.runtime import weights


@pytest.fixture
def no_downloads(tmp_path, monkeypatch):
    """A machine with the installed packages alone: no cached downloads, no folder of the user."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv(weights.FOLDER_VARIABLE, raising=False)


@pytest.fixture(scope="session")
def backbone(tmp_path_factory):
    """backbone(name) -> path of a file in torchvision's layout with random weights, without most of the classifier."""
    folder = tmp_path_factory.mktemp("backbones")

    def make(name: str):
        path = folder / f"{name}.pth"
        if not path.exists():
            with torch.random.fork_rng():
                torch.manual_seed(3)
                features = getattr(torchvision.models, name)(weights=None).features.state_dict()
            tensors = {f"features.{key}": value for key, value in features.items()}
            torch.save(tensors | {"classifier.1.bias": torch.zeros(10)}, path)
        return path

    return make
