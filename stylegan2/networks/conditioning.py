"""Condition networks as StyleGAN2-ADA does: an embedding beside z in the generator, a projection in the discriminator.

Labels are classes, int64 [N], or vectors of attributes or continuous values, float [N, num_classes]. If labels are
vectors, the generator stores some of those of its training data in `label_rows`, from which samples take their labels.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan2.networks.layers import EqualLinear, normalize_2nd_moment
from stylegan2.runtime.errors import CheckpointError, UserError

PROJECTION_LAYERS = 8  # as many as the mapping network has in the paper
PROJECTION_LR_MULTIPLIER = 0.01


def check_labels(labels: Tensor | None, num_classes: int) -> None:
    """Check that labels match a network.

    Args:
        labels: int64 [N], float [N, num_classes], or None.
        num_classes: Number of classes, or size of a label vector; 0 for an unconditional network.

    Raises:
        UserError: Labels are given to an unconditional network, or are missing or of another size.
    """
    if num_classes and labels is None:
        raise UserError(f"this network is conditioned on {num_classes} classes: give it the labels of the samples")
    if not num_classes and labels is not None:
        raise UserError("this network is not conditioned on classes: give it no labels")
    if labels is not None and labels.ndim == 2 and labels.shape[1] != num_classes:
        raise UserError(f"the labels have {labels.shape[1]} numbers each, but the network has {num_classes} classes")


def one_hot(labels: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    """Convert classes int64 [N] to one-hot vectors [N, num_classes]; only the type of label vectors is converted."""
    return (labels if labels.ndim == 2 else F.one_hot(labels, num_classes)).to(dtype)


def number_of_labels(generator: object) -> int:
    """Return the number of labels of a generator: its classes or stored label vectors; 0 if it is unconditional."""
    rows = getattr(generator, "label_rows", None)
    return int(getattr(generator, "num_classes", 0)) if rows is None else len(rows)


def labels_of(generator: object, numbers: Tensor) -> Tensor | None:
    """Return labels for samples.

    Args:
        generator: The generator.
        numbers: int64 [N]; modulo the number of labels, they are classes, or rows of the stored label vectors.

    Returns:
        Classes int64 [N] or vectors float32 [N, num_classes] on the device of `numbers`; None for an unconditional
        generator.
    """
    count, rows = number_of_labels(generator), getattr(generator, "label_rows", None)
    if not count:
        return None
    return numbers % count if rows is None else rows.to(numbers.device)[numbers % count]


def keep_label_rows(generator: Any, rows: Any) -> None:
    """Store label vectors of the training data in a generator.

    Args:
        generator: The generator, which is changed in place.
        rows: Label vectors [K, num_classes], also as nested lists from a file; None for classes.

    Raises:
        CheckpointError: The vectors have another size, or are not numbers.
    """
    if rows is None:
        return
    sizes = {len(row) if isinstance(row, list) else -1 for row in rows} if isinstance(rows, list) else set()
    if not isinstance(rows, Tensor):
        numbers = [value for row in rows for value in row] if sizes == {generator.num_classes or -1} else [math.nan]
        if not all(type(value) in (int, float) and math.isfinite(value) for value in numbers):
            raise CheckpointError(f"its label_rows are not lists of {generator.num_classes} numbers each")
        rows = torch.tensor(rows, dtype=torch.float32)  # [K, num_classes]
    generator.label_rows = rows


def stored_label_rows(generator: object) -> dict[str, list[list[float]]]:
    """Return the entry for label vectors in the metadata of a checkpoint; empty if the generator stores none."""
    rows = getattr(generator, "label_rows", None)
    return {} if rows is None else {"label_rows": rows.tolist()}


class LabelEmbedding(nn.Module):
    """Embed a class or a label vector as a learned vector of mean square 1, like the normalised z.

    Args:
        num_classes: Number of classes, or size of a label vector.
        features: Size of the embedding.
    """

    def __init__(self, num_classes: int, features: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.linear = EqualLinear(num_classes, features)

    def forward(self, labels: Tensor) -> Tensor:
        """Embed labels, int64 [N] or float [N, num_classes], as [N, features]."""
        vectors = one_hot(labels, self.num_classes, self.linear.weight.dtype)  # [N, num_classes]
        return normalize_2nd_moment(self.linear(vectors))  # [N, features]


class Projection(nn.Module):
    """Compute a logit by projecting the features of an image on those of its label (Miyato and Koyama 2018, eq. 4).

    Args:
        num_classes: Number of classes, or size of a label vector.
        features: Number of features.
    """

    def __init__(self, num_classes: int, features: int) -> None:
        super().__init__()
        self.embedding = LabelEmbedding(num_classes, features)
        self.layers = nn.Sequential(
            *(
                EqualLinear(features, features, lr_multiplier=PROJECTION_LR_MULTIPLIER, activate=True)
                for _ in range(PROJECTION_LAYERS)
            )
        )

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the logits [N, 1] of features [N, F] and labels, int64 [N] or float [N, num_classes]."""
        wanted = self.layers(self.embedding(labels))  # [N, F]
        return (features * wanted).sum(1, keepdim=True) / math.sqrt(features.shape[1])  # [N, 1]
