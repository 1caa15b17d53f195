"""A small U-Net that segments faces, to measure how well generated images match a label map (mIoU).

The network is a U-Net (Ronneberger et al. 2015, arXiv 1505.04597) with batch normalisation and padded convolutions. The
weights that are part of this package were trained on the exact labels of the procedural faces
(`scripts/train_segmenter.py`); on other images the results mean little.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psp.perception.crop import WHOLE, crop_resize
from psp.pretrained_files import PRETRAINED
from stylegan2.loading import cast
from stylegan2.runtime import checkpoint
from stylegan2.runtime.bounded import reading
from stylegan2.runtime.checkpoint import Metadata
from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.registry import validated
from stylegan2.runtime.tensors import check_module, load_module, module_tensors

KIND = "segmenter"
DEFAULT = "synthfaces64_segmenter"
WIDTHS = (24, 40, 80, 80)  # channels at 1, 1/2, 1/4 and 1/8 of the resolution
RANGES = {"label_nc": (1, 255), "resolution": (1, 2048), "widths": (1, 4096)}
"""{setting: (smallest, largest)} of segmenters that files may describe"""


class Segmenter(nn.Module):
    """A network from images of any size to label ids at its own resolution.

    Args:
        label_nc: Number of labels.
        resolution: Side, in pixels, to which images are resized: a multiple of 2 ** (len(widths) - 1).
        widths: Channels of each level. Each level has half the resolution of the one before.

    Raises:
        UserError: The resolution is not such a multiple.
    """

    def __init__(self, label_nc: int, resolution: int = 64, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        if resolution % 2 ** (len(widths) - 1):
            raise UserError(f"a segmenter of {len(widths)} levels cannot halve {resolution} px that often")
        self.config = {"label_nc": label_nc, "resolution": resolution, "widths": list(widths)}
        self.label_nc, self.resolution, self.name = label_nc, resolution, KIND
        self.down = nn.ModuleList(_block(a, b) for a, b in zip((3, *widths), widths, strict=False))
        pairs = list(zip(widths[1:], widths, strict=False))  # (channels from the level below, channels of the skip)
        self.up = nn.ModuleList(_block(below + beside, beside) for below, beside in reversed(pairs))
        self.head = nn.Conv2d(widths[0], label_nc, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, 3, S, S] in [-1, 1], where S is the resolution, to logits [N, label_nc, S, S]."""
        x, beside = images, []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)  # [N, widths[level], S / 2 ** level, .]
            beside.append(x)
        for block, skip in zip(self.up, reversed(beside[:-1]), strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")  # [N, C, 2 s, 2 s]
            x = block(torch.cat([x, skip], dim=1))  # [N, C', 2 s, 2 s]
        return self.head(x)  # [N, label_nc, S, S]

    @torch.no_grad()
    def segment(self, images: Tensor) -> Tensor:
        """Map images [N, 3, H, W] in [-1, 1] to label ids, int64 [N, S, S], where S is the resolution."""
        return self(crop_resize(images, WHOLE, self.resolution, self.resolution)).argmax(1)  # [N, S, S]


def _block(width_in: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (width_in, width):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


# --- intersection over union ---


def overlaps(predicted: Tensor, truth: Tensor, label_nc: int) -> tuple[Tensor, Tensor]:
    """Count the pixels of the intersection and the union of two label maps, for each label.

    Args:
        predicted, truth: Label ids, int64 [N, S, S].
        label_nc: Number of labels.

    Returns:
        Intersection and union in pixels, each int64 [N, label_nc].
    """
    masks = [F.one_hot(ids, label_nc).flatten(1, 2).bool() for ids in (predicted, truth)]  # 2 x [N, S * S, label_nc]
    return (masks[0] & masks[1]).sum(1), (masks[0] | masks[1]).sum(1)  # [N, label_nc] each


def label_ious(intersection: Tensor, union: Tensor) -> Tensor:
    """Compute the intersection over union of each label, over all images together.

    Args:
        intersection, union: Numbers of pixels, int64 [N, label_nc].

    Returns:
        float64 [label_nc], NaN for a label that occurs nowhere. The mean over the other labels is the mIoU.
    """
    return intersection.sum(0).double() / union.sum(0).double()


# --- training ---


def balanced_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the cross entropy with more weight on pixels of rare labels, such as those of the eyes.

    The weight of a pixel is (share of its label in the batch) ** -0.25.

    Args:
        logits: Logits [N, label_nc, S, S].
        labels: Label ids, int64 [N, S, S].

    Returns:
        The weighted mean over all pixels, a scalar.
    """
    share = torch.bincount(labels.flatten(), minlength=logits.shape[1]).float() / labels.numel()  # [label_nc]
    return F.cross_entropy(logits, labels, weight=share.clamp(min=1e-6) ** -0.25)


def fit_segmenter(
    segmenter: Segmenter,
    batches: Iterable[tuple[Tensor, Tensor]],
    steps: int,
    learning_rate: float = 4e-3,
    on_step: Callable[[float], object] = lambda loss: None,
) -> None:
    """Train a segmenter with Adam and a learning rate that falls to 0 along a cosine.

    Args:
        segmenter: The segmenter that is trained.
        batches: At least `steps` pairs of images [N, 3, S, S] in [-1, 1] and label ids, int64 [N, S, S], on the device
            of the segmenter.
        steps: Number of batches that are used.
        learning_rate: Learning rate of the first step, which is the largest one.
        on_step: A function that is called after each step with the loss.
    """
    segmenter.train()
    optimizer = torch.optim.Adam(segmenter.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _, (images, labels) in zip(range(steps), batches, strict=False):
        loss = balanced_cross_entropy(segmenter(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        on_step(loss.item())
    segmenter.eval()


@torch.no_grad()
def segmentation_ious(segmenter: Segmenter, batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Compute the intersection over union of each label over pairs of images and labels.

    Args:
        segmenter: A segmenter.
        batches: Pairs of images [N, 3, S, S] in [-1, 1] and label ids, int64 [N, S, S].

    Returns:
        float64 [label_nc], as from `label_ious`.
    """
    counts = [overlaps(segmenter.segment(images), labels, segmenter.label_nc) for images, labels in batches]
    return label_ious(*(torch.cat(part) for part in zip(*counts, strict=True)))


# --- files ---


def save_segmenter(
    path: str | Path, segmenter: Segmenter, metadata: Metadata, dtype: torch.dtype | None = None
) -> None:
    """Write a file for `load_segmenter`, with `metadata` stored as JSON and the weights stored as `dtype`."""
    tensors = cast(module_tensors(KIND, segmenter), dtype)
    checkpoint.save(path, tensors, {**metadata, "kind": KIND, "segmenter": segmenter.config})


def load_segmenter(path_or_name: str | Path = DEFAULT) -> Segmenter:
    """Load a frozen segmenter in evaluation mode.

    Its attribute `name` is that of the file, for reports.

    Args:
        path_or_name: A file, or the name of a segmenter that is part of this package.

    Raises:
        UserError: There is no such file or name.
        CheckpointError: The file is damaged, or does not contain a segmenter.
    """
    path = Path(path_or_name).expanduser()
    if not path.is_file():
        if str(path_or_name) not in PRETRAINED.shipped:
            raise UserError(f"there is no segmenter {str(path_or_name)!r}: give a file of train_segmenter.py")
        path = PRETRAINED.locate(str(path_or_name))
    tensors, metadata = checkpoint.read(path)
    if metadata.get("kind") != KIND:
        raise CheckpointError(f"{str(path)!r} is a checkpoint of {metadata.get('kind')!r}, not of a segmenter")
    with reading(path, "a segmenter", CheckpointError):
        settings = validated("the segmenter", Segmenter, metadata["segmenter"], RANGES)
        with torch.device("meta"):
            check_module(Segmenter(**settings), tensors, KIND)
        with torch.random.fork_rng(devices=[]):  # the random state of the caller must not change
            segmenter = Segmenter(**settings)
        real = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
        load_module(segmenter, real, KIND)
    segmenter.name = path.stem
    return segmenter.requires_grad_(False).eval()
