"""A small U-Net that finds the parts of a face: it measures how well an output keeps to a label map (mIoU).

A U-Net (Ronneberger et al. 2015, arXiv 1505.04597) with batch normalisation and padded convolutions. The one that comes
with the package was trained on the exact labels of the procedural faces (`scripts/train_segmenter.py`); on other
pictures its answers mean little.
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
from stylegan2.runtime.settings import validated
from stylegan2.runtime.tensors import check_module, load_module, module_tensors

KIND = "segmenter"
DEFAULT = "synthfaces64_segmenter"
WIDTHS = (24, 40, 80, 80)  # channels at full, half, quarter and eighth of the resolution
RANGES = {"label_nc": (1, 255), "resolution": (1, 2048), "widths": (1, 4096)}
"""{setting: (smallest, largest)} of segmenters that files describe."""


class Segmenter(nn.Module):
    """Images of any size -> label ids at the network's own resolution.

    Args:
        label_nc: How many labels there are.
        resolution: Side at which images are looked at; a multiple of 2 ** (len(widths) - 1).
        widths: Channels of each level, each at half the side of the one before.
    """

    def __init__(self, label_nc: int, resolution: int = 64, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        if resolution % 2 ** (len(widths) - 1):
            raise UserError(f"a segmenter of {len(widths)} levels cannot halve {resolution} px that often")
        self.config = {"label_nc": label_nc, "resolution": resolution, "widths": list(widths)}
        self.label_nc, self.resolution, self.name = label_nc, resolution, KIND
        self.down = nn.ModuleList(_block(a, b) for a, b in zip((3, *widths), widths, strict=False))
        pairs = list(zip(widths[1:], widths, strict=False))  # (from below, beside it)
        self.up = nn.ModuleList(_block(below + beside, beside) for below, beside in reversed(pairs))
        self.head = nn.Conv2d(widths[0], label_nc, 1)

    def forward(self, images: Tensor) -> Tensor:
        """images [N, 3, S, S] in [-1, 1], S the resolution -> logits [N, label_nc, S, S]."""
        x, beside = images, []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)  # [N, widths[level], S / 2 ** level, .]
            beside.append(x)
        for block, skip in zip(self.up, reversed(beside[:-1]), strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")  # [N, C, 2 s, 2 s]
            x = block(torch.cat([x, skip], dim=1))  # [N, C', 2 s, 2 s]
        return self.head(x)

    @torch.no_grad()
    def segment(self, images: Tensor) -> Tensor:
        """images [N, 3, H, W] in [-1, 1] -> label ids int64 [N, S, S]."""
        return self(crop_resize(images, WHOLE, self.resolution, self.resolution)).argmax(1)


def _block(width_in: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (width_in, width):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


# --- intersection over union ---


def overlaps(found: Tensor, truth: Tensor, label_nc: int) -> tuple[Tensor, Tensor]:
    """Count the pixels of each label's intersection and union: ids [N, S, S] twice -> two of int64 [N, label_nc]."""
    masks = [F.one_hot(ids, label_nc).flatten(1, 2).bool() for ids in (found, truth)]  # 2 x [N, S * S, label_nc]
    return (masks[0] & masks[1]).sum(1), (masks[0] | masks[1]).sum(1)


def label_ious(intersection: Tensor, union: Tensor) -> Tensor:
    """Return the intersection over union of each label over all images.

    Args:
        intersection, union: Pixels, int64 [N, label_nc].

    Returns:
        float64 [label_nc]. A label that neither side has anywhere is NaN; the mean over the others is the mIoU.
    """
    return intersection.sum(0).double() / union.sum(0).double()


# --- training ---


def balanced_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over pixels, each weighted by (share of its label in the batch) ** -0.25: eyes count more.

    Args:
        logits: [N, label_nc, S, S].
        labels: int64 [N, S, S].

    Returns:
        A scalar.
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
    """Train a segmenter by Adam, with a learning rate that falls to 0 along a cosine.

    Args:
        segmenter: What is trained.
        batches: Images [N, 3, S, S] and labels int64 [N, S, S] on the segmenter's device, at least `steps` of them.
        steps: How many batches are used.
        learning_rate: The largest, at the start.
        on_step: Called after each step with its loss.
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
def measure_segmenter(segmenter: Segmenter, batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Return `label_ious` over batches of images [N, 3, S, S] and labels [N, S, S]: float64 [label_nc]."""
    counts = [overlaps(segmenter.segment(images), labels, segmenter.label_nc) for images, labels in batches]
    return label_ious(*(torch.cat(part) for part in zip(*counts, strict=True)))


# --- files ---


def save_segmenter(
    path: str | Path, segmenter: Segmenter, metadata: Metadata, dtype: torch.dtype | None = None
) -> None:
    """Write a segmenter as `load_segmenter` reads it, with JSON `metadata` and its weights stored as `dtype`."""
    tensors = cast(module_tensors(KIND, segmenter), dtype)
    checkpoint.save(path, tensors, {**metadata, "kind": KIND, "segmenter": segmenter.config})


def load_segmenter(path_or_name: str | Path = DEFAULT) -> Segmenter:
    """Return a segmenter in evaluation mode; its attribute `name`, the file's, is reported beside its numbers.

    Args:
        path_or_name: A file, or the name of one that comes with the package.

    Raises:
        UserError: There is no such file or name.
        CheckpointError: The file is damaged, or does not hold a segmenter.
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
        with torch.random.fork_rng(devices=[]):  # reading a file leaves the caller's randomness alone
            segmenter = Segmenter(**settings)
        real = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
        load_module(segmenter, real, KIND)
    segmenter.name = path.stem
    return segmenter.requires_grad_(False).eval()
