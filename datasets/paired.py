"""Pairs from two folders or zip files: a target image and the source image of the same name."""

import os
from pathlib import PurePosixPath

import numpy as np

from datasets.examples import Example
from datasets.folder import ImageFiles, UnreadableItems, square
from stylegan2.runtime.errors import ImageError, UserError

SHOWN_ORPHANS = 5
MAX_STRETCH = 1.02  # largest ratio of the aspect ratios of a pair; more than 1 because sizes are rounded to pixels


class PairedFolders:
    """Pairs of square images: `[index]` returns an `Example`.

    A pair that cannot be read is counted and replaced by the next one.

    Args:
        data: Folder or zip file of the targets.
        source_data: Folder or zip file of the sources. A source belongs to the target with the same path and name; file
            extensions, and the folders that contain all files of one side, are ignored.
        resolution: Side of both images in pixels. Label ids are resized to the nearest neighbour, so that no new labels
            appear.
        source_mode: How sources are read: "rgb", "gray" or "labels"; see `images.read_image`.

    Raises:
        UserError: Files have no partner (the first five are listed), or two files have the same name.
    """

    def __init__(self, data: str, source_data: str, resolution: int, source_mode: str) -> None:
        self.targets, self.sources = ImageFiles(data), ImageFiles(source_data)
        self.resolution, self.source_mode = resolution, source_mode
        by_name = by_stem(self.targets), by_stem(self.sources)
        _check_orphans(*by_name, data, source_data)
        self.pairs = np.array([(by_name[0][stem], by_name[1][stem]) for stem in by_name[0]], np.int64)  # [N, 2]
        self.left_out = UnreadableItems(len(self.pairs), f"{data} and {source_data}")

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Example:
        for candidate in range(index, index + len(self)):
            try:
                return self._read(*self.pairs[candidate % len(self)].tolist())
            except ImageError as error:
                self.left_out.add(candidate % len(self), error)
        raise UserError(f"no pair of {self.left_out.where} can be read")

    def _read(self, target_index: int, source_index: int) -> Example:
        name = self.sources.name(source_index)
        target = self.targets.read(target_index, "rgb")  # [H, W, 3]
        source = self.sources.read(source_index, self.source_mode)  # [h, w, C] or [h, w]
        _check_shapes(target, source, name)
        return Example(square(target, self.resolution), square(source, self.resolution), name)


def by_stem(files: ImageFiles) -> dict[str, int]:
    """Index files by their path without extension, relative to the deepest folder that contains all of them.

    Returns:
        {path without extension: index}.

    Raises:
        UserError: Two files have the same path without extension.
    """
    paths = [PurePosixPath(name.replace(os.sep, "/")) for name in files.names]
    common = os.path.commonpath([str(path.parent) for path in paths])
    indices: dict[str, int] = {}
    for index, path in enumerate(paths):
        stem = str(path.with_suffix("").relative_to(common))
        if stem in indices:
            first, second = files.name(indices[stem]), files.name(index)
            raise UserError(f"{first} and {second} have the same name, so their partner is not clear: rename one")
        indices[stem] = index
    return indices


def _check_orphans(targets: dict[str, int], sources: dict[str, int], data: str, source_data: str) -> None:
    parts = []
    for own, other, where in ((targets, sources, source_data), (sources, targets, data)):
        orphans = sorted(own.keys() - other.keys())
        if orphans:
            shown = ", ".join(orphans[:SHOWN_ORPHANS]) + (", ..." if len(orphans) > SHOWN_ORPHANS else "")
            parts.append(f"{len(orphans)} without a partner in {where} ({shown})")
    if parts:
        raise UserError(
            f"the files of {data} ({len(targets)}) and {source_data} ({len(sources)}) do not match by name: "
            + " and ".join(parts)
        )


def _check_shapes(target: np.ndarray, source: np.ndarray, name: str) -> None:
    """Check that two images have the same aspect ratio, since otherwise their centre squares show different parts."""
    (height, width), (h, w) = target.shape[:2], source.shape[:2]
    if max(width * h, w * height) > MAX_STRETCH * min(width * h, w * height):
        raise UserError(f"{name} has {w} x {h} pixels but its target {width} x {height}: crop both in the same way")
