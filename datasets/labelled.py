"""Images with known attributes: procedural faces with their true attributes, or the user's images with a CSV file."""

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from datasets.examples import Indexed
from datasets.faces.labels import true_attributes
from datasets.folder import ImageFolder
from datasets.sources import SYNTHETIC, open_images
from datasets.synthetic import HELD_OUT_SEED, RENDERER_VERSION, TRAINING_SEED, SyntheticFaces
from psp.evaluation.attributes import LabelledImages
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.progress import track

FACES, HELD_OUT_FACES = 10_000, 1_000  # procedural faces to train and to test on
HELD_OUT_EVERY = 10  # one of this many images of the user is held out
VALUES = {
    **dict.fromkeys(("1", "true", "yes"), 1.0),
    **dict.fromkeys(("0", "-1", "false", "no"), 0.0),
    "": float("nan"),
}


def open_labelled(data: str, side: int, labels: str | Path | None = None) -> LabelledImages:
    """Open images whose attributes are known.

    Args:
        data: `synthetic` for procedural faces, whose attributes are known, or a folder or zip file.
        side: Side of the images in pixels.
        labels: A CSV file with the attributes of the user's images; see `read_attributes`.

    Raises:
        UserError: The attributes are missing or cannot be read.
    """
    if data == SYNTHETIC:
        return LabelledFaces(side)
    if labels is None:
        raise UserError("the attributes of your own images are not known: give a CSV file of them as `labels`")
    return LabelledFolder(side, data, labels)


def face_attributes(faces: SyntheticFaces, index: int) -> dict[str, bool]:
    """Return the true attributes of a procedural face without rendering it.

    The attribute "yaw" says whether the head is turned to the right of the image.
    """
    identity, nuisance = faces.identity(index), faces.nuisance(index)
    return {**true_attributes(identity, nuisance), "yaw": nuisance.yaw > 0}


class LabelledFaces:
    """Procedural faces: the first `count` faces of the training set, and held-out faces to test on.

    Args:
        side: Side of the images in pixels.
        count: Number of faces to train on.
    """

    def __init__(self, side: int, count: int = FACES) -> None:
        self.side, self.count, self.key = side, count, f"{count} faces v{RENDERER_VERSION}"

    def read(self) -> tuple[list[str], list[Tensor]]:
        """Render the faces, as `psp.evaluation.attributes.LabelledImages.read` specifies."""
        sets = ((TRAINING_SEED, self.count), (HELD_OUT_SEED, min(HELD_OUT_FACES, self.count)))
        names, tensors = [], []
        for seed, count in sets:
            faces = SyntheticFaces(self.side, seed=seed)
            truth = [face_attributes(faces, i) for i in range(count)]
            names = list(truth[0])
            tensors += [_stack(open_images(SYNTHETIC, self.side, seed=seed), range(count))]
            tensors += [torch.tensor([list(t.values()) for t in truth], dtype=torch.float32)]
        return names, tensors


class LabelledFolder:
    """The images of a folder or zip file that a CSV file lists; every tenth is held out.

    Args:
        side: Side of the images in pixels.
        data: The folder or zip file.
        labels: The CSV file; see `read_attributes`.

    Raises:
        UserError: The CSV file cannot be read or lists too few of the images.
    """

    def __init__(self, side: int, data: str, labels: str | Path) -> None:
        self.side = side
        self.names, table = read_attributes(labels)
        self.pixels = ImageFolder(data, side)
        files = self.pixels.files
        values = {i: _values(table, name) for i, name in enumerate(map(files.relative, range(len(files))))}
        self.values = {i: value for i, value in values.items() if value is not None}
        if len(self.values) < 2 * HELD_OUT_EVERY:
            raise UserError(
                f"{str(labels)!r} names {len(self.values)} images of {data!r}, which are too few to learn from"
            )
        labels_digest = hashlib.sha256(repr((self.names, self.values)).encode()).hexdigest()[:16]
        self.key = f"{files.digest()} {labels_digest}"

    def read(self) -> tuple[list[str], list[Tensor]]:
        """Read the images, as `psp.evaluation.attributes.LabelledImages.read` specifies."""
        order = np.random.default_rng(0).permutation(list(self.values)).tolist()
        images, labels = _stack(self.pixels, order), torch.tensor([self.values[i] for i in order])
        held_out = torch.arange(len(order)) % HELD_OUT_EVERY == 0
        return self.names, [images[~held_out], labels[~held_out], images[held_out], labels[held_out]]


def read_attributes(path: str | Path) -> tuple[list[str], dict[str, list[float]]]:
    """Read the attributes of images from a CSV file.

    The file has a header `file,NAME,...` and one row per image, with values 0/1, -1/1, yes/no or true/false. An empty
    cell stands for an unknown value, from which the classifier does not learn. Images are given by their path within
    the folder or zip file, or by their file name alone.

    Returns:
        The names of the attributes, and {image: values}, where 1 is yes, 0 is no and NaN is unknown.

    Raises:
        UserError: The file cannot be read, or a row is malformed; the message gives its number.
    """
    try:
        rows = list(csv.reader(Path(path).read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the file of labels {str(path)!r} cannot be read: {error}") from error
    if len(rows) < 2 or len(rows[0]) < 2:
        raise UserError(f"the file of labels {str(path)!r} needs a header `file,NAME,...` and a row for each image")
    names, table = [name.strip() for name in rows[0][1:]], {}
    for number, row in enumerate(rows[1:], start=2):
        values = [value.strip().lower() for value in row[1:]]
        if len(values) != len(names) or not set(values) <= set(VALUES):
            raise UserError(f"row {number} of {str(path)!r} is not a file and {len(names)} times 0 or 1")
        table[row[0].strip()] = [VALUES[value] for value in values]
    return names, table


def _values(table: dict[str, list[float]], file: str) -> list[float] | None:
    """Look up the values of a file by its path within the folder or zip file, or else by its file name."""
    return table.get(file, table.get(PurePosixPath(file).name))


def _stack(pixels: Indexed[np.ndarray], indices: Sequence[int]) -> Tensor:
    """Read images as uint8 [N, 3, side, side]."""
    images = [pixels[i] for i in track(indices, "labelled images", "img", leave=False)]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()  # [N, 3, side, side]
