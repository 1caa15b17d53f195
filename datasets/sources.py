"""Opening images and examples from any source: procedural faces, a folder, a zip file, or shards."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np

from datasets.disk_cache import DiskCache
from datasets.examples import Example, Indexed
from datasets.folder import ImageFolder
from datasets.paired import PairedFolders
from datasets.sampler import ShardSampler, StreamSampler
from datasets.shards import ShardFiles, is_shards
from datasets.synthetic import HELD_OUT_SEED, RENDERER_VERSION, SYNTHETIC_LENGTH, SyntheticFaces, SyntheticPixels
from datasets.tasks import Task
from stylegan2.runtime.errors import UserError

SYNTHETIC = "synthetic"
Item = TypeVar("Item")
HELD_OUT_MAX = 128  # largest number of images for validation
HELD_OUT_SHARE = 0.05


# --- images, as a generator is trained on ---


def open_images(data: str, resolution: int, channels: int = 3, seed: int = 0) -> Indexed[np.ndarray]:
    """Open images by index, each uint8 [R, R, C].

    Args:
        data: `synthetic` for procedural faces, or a folder, zip file or shards, as a local path or a URL.
        resolution: Side R of the images in pixels.
        channels: Number of channels C: 1, 3 or 4; procedural faces have 3.
        seed: Seed of the procedural faces.

    Raises:
        UserError: The data do not exist, hold no images, or cannot have this number of channels.
    """
    if data != SYNTHETIC:
        return ImageFolder(data, resolution, channels)
    if channels != 3:
        raise UserError(f"procedural faces have 3 channels, not {channels}: use a folder of images")
    return DiskCache(SyntheticPixels(resolution, seed), (resolution, resolution, 3), _cache_key(resolution, seed))


def images_key(data: str, pixels: Indexed[np.ndarray], resolution: int, channels: int = 3) -> str:
    """Return a text that identifies the content of `open_images`, from file digests or the renderer's version."""
    content = pixels.files.digest() if isinstance(pixels, ImageFolder) else f"faces v{RENDERER_VERSION}"
    return f"{content} {resolution} px {channels} channels"


def open_labels(pixels: Indexed[np.ndarray], data: str) -> np.ndarray:
    """Read the label of each image from dataset.json, subfolders or shards.

    Images without a label are removed from `pixels`, so that N = len(pixels) afterwards.

    Args:
        pixels: The images, as returned by `open_images`.
        data: Name of the data set, for messages.

    Returns:
        Classes as int64 [N], or vectors as float32 [N, K].

    Raises:
        UserError: There are no labels, or all labels are the same.
    """
    labels = pixels.labels() if isinstance(pixels, ImageFolder) else None
    if labels is not None and len(labels) > 1 and len(np.unique(labels, axis=0)) == 1:
        raise UserError(f"all images of {data} have the same label: train without labels")
    if labels is None or len(labels) < 2:
        raise UserError(
            f"{data} has no labels: give a folder or zip with a subfolder for each class, or one that was packed with"
            " its labels"
        )
    return labels  # [len(pixels)]


def sampler_of(items: Any) -> Callable[..., StreamSampler]:
    """Return the constructor of a sampler for images or examples; for shards, it is one that needs few at a time."""
    files = shards_of(items)
    if files is None:
        return StreamSampler
    indices = np.arange(len(items))
    while isinstance(items, Subset):
        items, indices = items.items, np.asarray(items.indices)[indices]
    return partial(ShardSampler, files.shards, files.shard_of[indices])


def shards_of(items: object) -> ShardFiles | None:
    """Return the shards that images or examples are read from; None if they are not read from shards."""
    while isinstance(items, Subset | PlainExamples):
        items = items.items if isinstance(items, Subset) else items.pixels
    return items.files if isinstance(items, ImageFolder) and isinstance(items.files, ShardFiles) else None


def _cache_key(resolution: int, seed: int, rendering: str = "") -> str:
    return f"faces v{RENDERER_VERSION} {resolution} px seed {seed}" + (f" {rendering}" if rendering else "")


# --- examples, as a task makes pairs of ---


def open_split(
    task: Task,
    data: str,
    resolution: int,
    source_data: str | None = None,
    test_data: str | None = None,
    test_source_data: str | None = None,
) -> tuple[Indexed[Example], Indexed[Example]]:
    """Open the training examples and the held-out examples of a task.

    The held-out examples are the test data if given, else other procedural faces or a fraction of the data.

    Args:
        task: The task.
        data: `synthetic` for procedural faces, or a folder, zip file or shards.
        resolution: Side of targets and sources in pixels.
        source_data: Folder or zip file of the sources of `data`.
        test_data: Folder, zip file or shards of held-out images.
        test_source_data: Folder or zip file of the sources of `test_data`.

    Returns:
        (training examples, held-out examples).

    Raises:
        UserError: `test_source_data` is given without `test_data`, or the data cannot be opened (`open_examples`).
    """
    if test_source_data is not None and test_data is None:
        raise UserError("test_source_data needs its images: give test_data too")
    training = open_examples(task, data, resolution, source_data)
    if test_data is not None:
        return training, open_examples(task, test_data, resolution, test_source_data, HELD_OUT_SEED)
    if data == SYNTHETIC:
        return training, open_examples(task, data, resolution, seed=HELD_OUT_SEED)
    files = shards_of(training)
    return split(training, pool=None if files is None else files.of_few_shards(held_out_count(len(training))))


def open_examples(
    task: Task, data: str, resolution: int, source_data: str | None = None, seed: int = 0
) -> Indexed[Example]:
    """Open examples for a task, from images, from images and sources that are matched by name, or procedural faces.

    Args:
        task: The task, which renders procedural faces and determines whether images need source files.
        data: `synthetic` for procedural faces, or a folder, zip file or shards.
        resolution: Side of targets and sources in pixels.
        source_data: Folder or zip file of the sources of `data`.
        seed: Seed of the procedural faces; HELD_OUT_SEED gives people that are never used for training.

    Raises:
        UserError: The task needs sources and none are given, or sources are given for procedural faces or shards.
    """
    if data == SYNTHETIC:
        if source_data is not None:
            raise UserError(
                "procedural faces include their sources: give source_data only for images of your own in `data`"
            )
        return RenderedExamples(task, resolution, seed)
    if source_data is not None:
        if is_shards(data) or is_shards(source_data):
            raise UserError("pairs are matched in folders and zip files, not in shards: unpack them")
        return PairedFolders(data, source_data, resolution, task.source_mode)
    if task.needs_source:
        raise UserError(
            f"the task {task.registered_name} cannot derive its sources from images: give a folder of them as"
            " source_data, with one file for each image, of the same name"
        )
    return PlainExamples(ImageFolder(data, resolution))


class PlainExamples:
    """Examples without sources, for tasks that derive the sources from the images."""

    def __init__(self, pixels: Indexed[np.ndarray]) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Example:
        return Example(self.pixels[index])


class RenderedExamples:
    """The examples that a task renders of procedural faces, cached on disk.

    The cache stores target and source as one array [R, R, 3 + C]. Tasks with the same `rendering` share it, and tasks
    that use the plain image share it with the training of generators.

    Args:
        task: The task.
        resolution: Side R of the images in pixels.
        seed: Seed of the faces.
    """

    def __init__(self, task: Task, resolution: int, seed: int) -> None:
        packed = _Packed(task, SyntheticFaces(resolution, seed=seed))
        source = task.render(packed.faces, 0).source if task.rendering else None
        self.source_shape = None if source is None else source.shape
        channels = 3 + (0 if source is None else source[0, 0].size)
        key = _cache_key(resolution, seed, task.rendering)
        self.cache = DiskCache(packed, (resolution, resolution, channels), key)

    def __len__(self) -> int:
        return len(self.cache)

    def __getitem__(self, index: int) -> Example:
        array = self.cache[index]  # [R, R, 3 + C]
        if self.source_shape is None:
            return Example(array)
        return Example(np.ascontiguousarray(array[..., :3]), array[..., 3:].reshape(self.source_shape))


class _Packed:
    """Rendered examples: `[index]` returns target and source in one array, uint8 [R, R, 3 + C]."""

    def __init__(self, task: Task, faces: SyntheticFaces) -> None:
        self.task, self.faces = task, faces

    def __len__(self) -> int:
        return SYNTHETIC_LENGTH

    def __getitem__(self, index: int) -> np.ndarray:
        example = self.task.render(self.faces, index)
        if example.source is None:
            return example.target
        return np.concatenate([example.target, np.atleast_3d(example.source)], axis=2)  # [R, R, 3 + C]


# --- held-out items ---


class Subset(Generic[Item]):
    """A subset of indexable items."""

    def __init__(self, items: Indexed[Item], indices: Sequence[int]) -> None:
        self.items, self.indices = items, np.asarray(indices, np.int64)  # processes share the memory of arrays

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Item:
        return self.items[int(self.indices[index])]


def held_out_count(length: int) -> int:
    """Return the number of items to hold out from `length` items: 5 %, but at least 1 and at most 128."""
    return min(HELD_OUT_MAX, max(1, int(length * HELD_OUT_SHARE)))


def split(items: Indexed[Item], seed: int = 0, pool: np.ndarray | None = None) -> tuple[Subset[Item], Subset[Item]]:
    """Split items into training and held-out items: the last ones of a fixed random order are held out.

    Args:
        items: The items.
        seed: Seed of the order.
        pool: Indices of the items from which to hold out first; by default all.

    Returns:
        The training items and the held-out items, each in the order of indices.
    """
    count = held_out_count(len(items))
    order = np.random.default_rng(seed).permutation(len(items))
    if pool is not None:
        order = np.concatenate([order[~np.isin(order, pool)], order[np.isin(order, pool)]])
    kept, held_out = order[:-count].tolist() or order.tolist(), order[-count:].tolist()
    return Subset(items, sorted(kept)), Subset(items, sorted(held_out))
