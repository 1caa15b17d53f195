"""Cached labels of a data set: reading a million of them from dataset.json or folder names takes a minute."""

import os
import time
from pathlib import Path

import numpy as np

from datasets.cached_arrays import CachedArrays, as_text, read_cached, save_cached
from datasets.index import MIN_AGE_NS
from datasets.labels import DATASET_JSON, EncodedLabels
from stylegan2.runtime.errors import UserError

KIND = "labels"  # kind of the cached arrays
MAX_SENTENCES = 2


def save_cached_labels(path: Path, fingerprint: str | None, root: str | None, labels: EncodedLabels) -> None:
    """Write the labels of a folder or zip file to the cache.

    Args:
        path: The folder or zip file.
        fingerprint: Fingerprint of its index.
        root: The folder of dataset.json, with "/" at its end or "" for the top; None without that file.
        labels: The labels of all its images.
    """
    fingerprint_of_labels = _state(path, fingerprint, root, before=time.time_ns())
    if fingerprint_of_labels is not None:
        arrays = {"values": labels.values, "kept": labels.indices}
        save_cached(path, KIND, CachedArrays(fingerprint_of_labels, {"root": root, "said": labels.messages}, arrays))


def read_cached_labels(path: Path, fingerprint: str | None, count: int) -> EncodedLabels | None:
    """Return the cached labels of a folder or zip file of `count` images; None if there are none or they changed."""
    for cached in read_cached(path, KIND):
        try:
            root = cached.about["root"]
            if cached.fingerprint == _state(path, fingerprint, root if root is None else as_text(cached.about, "root")):
                return _checked(cached, count)
        except (UserError, OSError, KeyError, ValueError, TypeError):
            continue
    return None


def _checked(cached: CachedArrays, count: int) -> EncodedLabels:
    """Validate labels from a cache file. UserError: they are damaged or do not fit `count` images."""
    values, indices = cached.arrays["values"], cached.arrays["kept"]
    messages = dict(enumerate(cached.about["said"][:MAX_SENTENCES]))
    sentences = [as_text(messages, number) for number in messages]
    ascending = indices.dtype == np.int64 and indices.ndim == 1 and bool((np.diff(indices) > 0).all())
    within = len(indices) > 0 and indices[0] >= 0 and indices[-1] < count and len(values) == len(indices)
    if values.dtype == np.int64 and values.ndim == 1:
        right = bool(((values >= 0) & (values < count)).all())
    else:
        right = values.dtype == np.float32 and values.ndim == 2 and bool(np.isfinite(values).all())
    if not (ascending and within and right):
        raise UserError("the labels are damaged")
    return EncodedLabels(values, indices, sentences)


def _state(path: Path, fingerprint: str | None, root: str | None, before: int | None = None) -> str | None:
    """Compute the fingerprint of labels.

    The fingerprint of a zip file covers its dataset.json; that of a folder does not change when dataset.json is
    rewritten, so the state of that file is added.

    Args:
        path: The folder or zip file.
        fingerprint: Fingerprint of its index.
        root: The folder of dataset.json; None without that file.
        before: A time in ns. After a change shortly before or after it, a further change could have the same time.

    Returns:
        The fingerprint; None if dataset.json changed so recently that a further change could be missed.

    Raises:
        OSError: dataset.json does not exist any more.
    """
    if root is None or not path.is_dir():
        return f"{fingerprint} {root}"
    state = os.stat(path / (root + DATASET_JSON))
    if before is not None and max(state.st_mtime_ns, state.st_ctime_ns) > before - MIN_AGE_NS:
        return None
    return f"{fingerprint} {root} {state.st_ino} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"
