"""Condition networks as StyleGAN2-ADA does: an embedding beside z in the generator, a projection in the discriminator.

A label is a class, int64 [N], or a vector of attributes or measured values, float [N, num_classes]. Of vectors a
generator keeps a few of those that it was trained with, `label_rows`, since nobody could make up others.
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
    """Raise a UserError if labels are given to an unconditional network, or missing or of another size elsewhere.

    Args:
        labels: int64 [N], float [N, num_classes], or None.
        num_classes: Classes, or size of a label's vector, that the network is conditioned on; 0 for none.
    """
    if num_classes and labels is None:
        raise UserError(f"this network is conditioned on {num_classes} classes: give it the labels of the samples")
    if not num_classes and labels is not None:
        raise UserError("this network is not conditioned on classes: give it no labels")
    if labels is not None and labels.ndim == 2 and labels.shape[1] != num_classes:
        raise UserError(f"the labels have {labels.shape[1]} numbers each, but the network knows {num_classes}")


def one_hot(labels: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    """Turn classes int64 [N] into one-hot vectors [N, num_classes]; vectors [N, num_classes] only change their type."""
    return (labels if labels.ndim == 2 else F.one_hot(labels, num_classes)).to(dtype)


def number_of_labels(generator: Any) -> int:
    """Return how many labels a generator can be asked for: its classes, or the vectors that it keeps; 0 for none."""
    rows = getattr(generator, "label_rows", None)
    return int(getattr(generator, "num_classes", 0)) if rows is None else len(rows)


def labels_of(generator: Any, numbers: Tensor) -> Tensor | None:
    """Return the labels of samples.

    Args:
        generator: Any; one that is not conditioned has no labels.
        numbers: int64 [N]; their remainders are classes, or rows of the vectors that the generator keeps.

    Returns:
        int64 [N] classes or float32 [N, num_classes] vectors where `numbers` are, or None.
    """
    count, rows = number_of_labels(generator), getattr(generator, "label_rows", None)
    if not count:
        return None
    return numbers % count if rows is None else rows.to(numbers.device)[numbers % count]


def keep_label_rows(generator: Any, rows: Any) -> None:
    """Let a generator keep vectors of its data: [K, num_classes], also as lists from a file; None for classes.

    Raises:
        CheckpointError: They are other things than so many numbers each.
    """
    if rows is None:
        return
    sizes = {len(row) if isinstance(row, list) else -1 for row in rows} if isinstance(rows, list) else set()
    if not isinstance(rows, Tensor):
        numbers = [value for row in rows for value in row] if sizes == {generator.num_classes or -1} else [math.nan]
        if not all(type(value) in (int, float) and math.isfinite(value) for value in numbers):
            raise CheckpointError(f"its label_rows are no lists of {generator.num_classes} numbers each")
        rows = torch.tensor(rows, dtype=torch.float32)  # [K, num_classes]
    generator.label_rows = rows


def stored_label_rows(generator: Any) -> dict[str, list[list[float]]]:
    """Return what the metadata of a checkpoint say of the vectors that a generator keeps; nothing where it has none."""
    rows = getattr(generator, "label_rows", None)
    return {} if rows is None else {"label_rows": rows.tolist()}


class LabelEmbedding(nn.Module):
    """Embed a class or a label's vector as a learned vector of mean square 1, like the normalised z beside it.

    Args:
        num_classes: How many classes there are, or the size of a label's vector.
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
    """Project an image's features on those of its label to get a logit (Miyato and Koyama 2018, eq. 4).

    Args:
        num_classes: How many classes there are.
        features: Size of the features.
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
