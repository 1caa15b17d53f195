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


@pytest.fixture(scope="module")
def moco_file(module_path):
    """A file as MoCo v2 writes it, with random weights: query and key encoders with a head of two layers, a queue."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.resnet50(weights=None)
        network.fc = torch.nn.Sequential(torch.nn.Linear(2048, 64), torch.nn.ReLU(), torch.nn.Linear(64, 8))
    own = network.state_dict()
    state = {f"module.encoder_q.{key}": value for key, value in own.items()}
    state |= {f"module.encoder_k.{key}": value + 1 for key, value in own.items() if value.is_floating_point()}
    state |= {"module.queue": torch.zeros(8, 16), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    path = module_path / "moco.pth.tar"
    torch.save({"epoch": 800, "arch": "resnet50", "state_dict": state, "optimizer": {"state": {}}}, path)
    return path
