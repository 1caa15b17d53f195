"""Labelled images for attributes, and the classifier that is trained on them once and then kept."""

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from datasets.faces.labels import attributes
from datasets.feature_cache import content_digest
from datasets.folder import ImageFolder
from datasets.pack import cache_folder
from datasets.sources import SYNTHETIC, open_images
from datasets.synthetic import HELD_OUT_SEED, RENDERER_VERSION, TRAINING_SEED, SyntheticFaces
from psp.perception.attributes import AttributeClassifier, accuracies, fit_attributes
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import CheckpointError, UserError

CLASSIFIER_VERSION = 1  # names kept classifiers: raise it whenever their training changes
KIND = "attributes"
SMALLEST_SIDE, LARGEST_SIDE = 32, 64
FACES, HELD_OUT_FACES = 10_000, 1_000  # procedural ones to train and to test on
HELD_OUT_EVERY = 10  # of the user's own images
YES, NO = ("1", "true", "yes"), ("0", "-1", "false", "no")


def classifier_side(img_resolution: int) -> int:
    """What a classifier for images of that size sees: attributes show at 64 px, and more would cost more."""
    return max(SMALLEST_SIDE, min(LARGEST_SIDE, img_resolution))


def face_attributes(faces: SyntheticFaces, index: int) -> dict[str, bool]:
    """The procedural truth of a face, without rendering it: what a tagger would say, and which way the head turns.

    "yaw": towards the image's right.
    """
    identity, nuisance = faces.identity(index), faces.nuisance(index)
    return {**attributes(identity, nuisance), "yaw": nuisance.yaw > 0}


def attribute_classifier(
    img_resolution: int,
    data: str = SYNTHETIC,
    labels: str | Path | None = None,
    device: torch.device | str = "cpu",
    faces: int = FACES,
) -> tuple[AttributeClassifier, dict[str, float]]:
    """(classifier, balanced accuracy of each attribute on held-out images), trained at the first call and then kept.

    Args:
        img_resolution: of the images that it will see.
        data: where the labelled images lie; the procedural faces bring their labels along.
        labels: a CSV file for images of one's own, see `read_labels`.
        faces: how many procedural ones to train on.

    Raises:
        UserError: labels are missing or cannot be read.
    """
    side = classifier_side(img_resolution)
    if data == SYNTHETIC:
        source: _Faces | _Labelled = _Faces(side, faces)
    elif labels is not None:
        source = _Labelled(side, data, labels)
    else:
        raise UserError("attributes of your own images need labels: give a CSV file with --labels")
    path = cache_folder() / f"attributes-{_digest(f'v{CLASSIFIER_VERSION} {side} px {source.key}')}.safetensors"
    try:
        tensors, metadata = checkpoint.read(path)
        classifier = AttributeClassifier(**metadata["classifier"])
        checkpoint.load_module(classifier, tensors, KIND)
    except CheckpointError:  # there is none yet, or a disk has damaged it
        classifier, found = _train(side, source, device)
        metadata = {"kind": KIND, "classifier": classifier.config, "accuracies": found, "data": data}
        checkpoint.save(path, checkpoint.module_tensors(KIND, classifier), metadata)
    return classifier.eval().requires_grad_(False).to(device), metadata["accuracies"]


def read_labels(path: str | Path) -> tuple[list[str], dict[str, list[bool]]]:
    """(names, {file: values}) of a CSV file: a header `file,NAME,...`, then a row for each image of 0/1, -1/1 or words.

    Files are named within their folder or zip, or by their name alone. UserError names the row that is wrong.
    """
    try:
        rows = list(csv.reader(Path(path).read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the labels {str(path)!r} cannot be read: {error}") from error
    if len(rows) < 2 or len(rows[0]) < 2:
        raise UserError(f"the labels {str(path)!r} need a header `file,NAME,...` and a row for each image")
    names, found = [name.strip() for name in rows[0][1:]], {}
    for number, row in enumerate(rows[1:], start=2):
        values = [value.strip().lower() for value in row[1:]]
        if len(values) != len(names) or not set(values) <= {*YES, *NO}:
            raise UserError(f"row {number} of {str(path)!r} is not a file and {len(names)} times 0 or 1")
        found[row[0].strip()] = [value in YES for value in values]
    return names, found


class _Faces:
    """The first procedural faces of the training, and others to test on."""

    def __init__(self, side: int, count: int) -> None:
        self.side, self.count, self.key = side, count, f"{count} faces v{RENDERER_VERSION}"

    def read(self) -> tuple[list[str], list[Tensor]]:
        """(names, [images, labels, held-out images, held-out labels]): uint8 [N, 3, side, side] and bool [N, A]."""
        sets = ((TRAINING_SEED, self.count), (HELD_OUT_SEED, min(HELD_OUT_FACES, self.count)))
        names, found = [], []
        for seed, count in sets:
            faces = SyntheticFaces(self.side, seed=seed)
            truth = [face_attributes(faces, i) for i in range(count)]
            names = list(truth[0])
            found += [_stack(open_images(SYNTHETIC, self.side, seed=seed), range(count))]
            found += [torch.tensor([list(t.values()) for t in truth])]
        return names, found


class _Labelled:
    """The images of a folder or zip that have labels; every tenth is held out."""

    def __init__(self, side: int, data: str, labels: str | Path) -> None:
        self.names, table = read_labels(labels)
        self.pixels = ImageFolder(data, side)
        files = self.pixels.files
        found = {i: _values(table, files.relative(i)) for i in range(len(files))}
        self.values = {i: value for i, value in found.items() if value is not None}
        if len(self.values) < 2 * HELD_OUT_EVERY:
            raise UserError(f"{str(labels)!r} names {len(self.values)} images of {data!r}, too few to learn from")
        self.key = f"{content_digest(self.pixels)} {_digest(repr((self.names, self.values)))}"

    def read(self) -> tuple[list[str], list[Tensor]]:
        order = np.random.default_rng(0).permutation(list(self.values)).tolist()
        images, labels = _stack(self.pixels, order), torch.tensor([self.values[i] for i in order])
        held_out = torch.arange(len(order)) % HELD_OUT_EVERY == 0
        return self.names, [images[~held_out], labels[~held_out], images[held_out], labels[held_out]]


def _train(
    side: int, source: _Faces | _Labelled, device: torch.device | str
) -> tuple[AttributeClassifier, dict[str, float]]:
    names, (images, labels, test_images, test_labels) = source.read()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = AttributeClassifier(names, side).to(device)
        fit_attributes(classifier, images, labels)
    return classifier, accuracies(classifier, test_images, test_labels)


def _values(table: dict[str, list[bool]], file: str) -> list[bool] | None:
    """The labels of a file, by its path within the folder or zip, or by its name alone."""
    return table.get(file, table.get(PurePosixPath(file).name))


def _stack(pixels: Sequence[np.ndarray], indices: Sequence[int]) -> Tensor:
    """uint8 [N, 3, side, side]"""
    found = [pixels[i] for i in tqdm(indices, desc="labelled images", unit="img", leave=False)]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).contiguous()  # [N, 3, side, side]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
