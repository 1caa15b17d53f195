"""What attributes change in the feature maps of photographs: directions for codes with features.

The corrections of a feature encoder hold most of what a generator's W lacks, so a direction of W moves only the rest of
a picture. Deep Feature Interpolation (Upchurch et al. 2017, arXiv 1611.05507, eq. 1) adds the difference between the
mean features of images with and without an attribute. Here these are the generator's own feature maps F(w) + c of
aligned photographs, and the difference is a coefficient of a linear regression, which also reads the other attributes,
the colours and the identity: people who smile before a blue background then change the smile alone.
"""

import torch
from torch import Tensor

from psp.perception.crop import Box, crop_resize

RIDGE = 10.0  # penalty of the squared coefficients of standardised regressors
IDENTITY_COMPONENTS = 24  # principal components of identity embeddings that are held fixed
PLACES: tuple[Box, ...] = ((0.0, 0.0, 0.16, 0.16), (0.0, 0.84, 0.16, 0.16), (0.44, 0.34, 0.25, 0.31))
"""Upper corners and middle of a portrait, whose mean colours are held fixed: background and skin."""


def attribute_changes(features: Tensor, labels: Tensor, fixed: Tensor) -> Tensor:
    """Find how feature maps change with each attribute while all else that is known stays the same.

    Args:
        features: Feature maps of N images, [N, C, r, r].
        labels: [N, A], 1 or 0, or NaN where an attribute is unknown. Unknown labels of the other attributes count as
            their mean.
        fixed: [N, M], other properties of the images that are held fixed, such as `colours` and `identity_components`.

    Returns:
        [A, C, r, r]: half of the change from an image without an attribute to one with it. This is one standard
        deviation of a label that is as often 0 as 1.
    """
    known, means = ~labels.isnan(), labels.nanmean(0)  # [N, A], [A]
    filled = torch.where(known, labels, means)  # [N, A]
    changes = []
    for own in range(labels.shape[1]):
        rows = known[:, own]
        others = torch.cat([filled[:, :own], filled[:, own + 1 :], fixed], dim=1)  # [N, A - 1 + M]
        changes.append(_coefficient(features[rows], filled[rows, own], others[rows]) / 2)
    return torch.stack(changes)  # [A, C, r, r]


def _coefficient(features: Tensor, label: Tensor, others: Tensor) -> Tensor:
    """Return the coefficient [C, r, r] of a label [n] in the ridge regression of features on it and others [n, K]."""
    x = torch.cat([label[:, None], others], dim=1)  # [n, 1 + K]
    deviations = x.std(0).clamp(min=torch.finfo(x.dtype).tiny)  # [1 + K]
    x = (x - x.mean(0)) / deviations
    y = features.flatten(1)  # [n, C r^2]
    penalised = x.T @ x + RIDGE * torch.eye(x.shape[1], dtype=x.dtype)  # [1 + K, 1 + K]
    weights = torch.linalg.solve(penalised, x.T)[0]  # [n]; x is centred, so y need not be
    return (weights @ y / deviations[0]).unflatten(0, features.shape[1:])  # [C, r, r]


def colours(images: Tensor) -> Tensor:
    """Return the mean colours of images [N, 3, H, W] at `PLACES`: [N, 9]."""
    return torch.cat([crop_resize(images, place, 1, 1).flatten(1) for place in PLACES], dim=1)


def identity_components(embeddings: Tensor) -> Tensor:
    """Return the principal components [N, at most 24] of identity embeddings [N, D]."""
    left, _, _ = torch.linalg.svd(embeddings - embeddings.mean(0), full_matrices=False)
    return left[:, :IDENTITY_COMPONENTS]
