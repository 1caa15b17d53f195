"""Edits of codes whose correction of features was found for the unedited image.

A correction preserves what it has drawn, such as a closed mouth or the position of a chin. Therefore it must follow the
generator's own features under the edit, F(w') - F(w). StyleFeatureEditor (Bobkov et al. 2024, arXiv 2406.10601,
section 3.3) learns a network for this. Here the correction c is damped, without training, in each cell of the map where
the features change: c' = c / (1 + (k |F(w') - F(w)| / |c|)^2). Feature-Style Encoder (Yao et al. 2022, arXiv
2202.02183) keeps c unchanged, which is k = 0.

An edit of an attribute is local: cells that change much less than others keep more of F(w) + c.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from psp.model import Codes
from stylegan2.latents.sampling import at_once
from stylegan2.networks.protocols import CorrectableSynthesis, Generator

DAMPING = 2.0  # k, chosen on training photographs: a larger k changes attributes more and preserves the identity less
LARGE = 0.95  # quantile of the cells' changes that counts as a large change
FULL = 0.7  # share of a large change from which on a local edit changes a cell fully


@torch.no_grad()
def edited_codes(
    generator: Generator, codes: Codes, w_plus: Tensor, damping: float = DAMPING, local: bool = False
) -> Codes:
    """Replace the w_plus of codes by edited ones, and damp the correction of features where these change.

    The opposite edit does not undo an edit, because the damping loses information: start from the unedited codes.

    Args:
        generator: The generator that renders the codes.
        codes: The unedited codes of N images, on any device.
        w_plus: The edited codes, [N, num_ws, w_dim].
        damping: k of the module's text.
        local: Whether cells that change much less than others keep more of the unedited features F(w) + c. A turned
            head then keeps more of its face, and long hair leaves the face as it is.

    Returns:
        Edited codes on the device of `codes`. The features are exactly the given ones wherever the edit leaves the
        generator's features as they are.
    """
    if codes.features is None:
        return Codes(w_plus)
    size = at_once(generator)
    parts = zip(codes.split(size), w_plus.split(size), strict=True)
    return Codes(w_plus, torch.cat([_edited_features(generator, part, moved, damping, local) for part, moved in parts]))


def _edited_features(generator: Generator, codes: Codes, w_plus: Tensor, damping: float, local: bool) -> Tensor:
    """Return the edited features [N, C, r, r] of one batch."""
    correction = cast(Tensor, codes.features)  # [N, C, r, r]
    side, device = correction.shape[-1], generator.w_avg.device
    synthesis = cast(CorrectableSynthesis, generator.synthesis)
    before, after = (synthesis.features_at(w.to(device), side).float() for w in (codes.w_plus, w_plus))
    change = (after - before).to(correction.device)  # [N, C, r, r]
    left = damped(correction, change, damping)
    if not local:
        return left
    share = share_of_edit(change)  # [N, 1, r, r]
    return share * left + (1 - share) * (correction - change)  # [N, C, r, r]


def damped(correction: Tensor, change: Tensor, damping: float = DAMPING) -> Tensor:
    """Damp a correction of features in the cells where the features change.

    Args:
        correction: c, [N, C, r, r].
        change: Change of the generator's own features, [N, C, r, r].
        damping: k. At a change of |c| / k half of a cell's correction is left.

    Returns:
        [N, C, r, r]: c unchanged in cells without a change, and almost zero where |c| is far below the change.
    """
    own = correction.square().sum(1, keepdim=True)  # [N, 1, r, r]
    changed = (damping * change).square().sum(1, keepdim=True)  # [N, 1, r, r]
    return correction * (own / (own + changed).clamp(min=torch.finfo(own.dtype).tiny))  # [N, C, r, r]


def share_of_edit(change: Tensor) -> Tensor:
    """Return the share of a local edit in each cell, from 0 where features do not change to 1 where they change most.

    Args:
        change: Change of the generator's own features, [N, C, r, r].

    Returns:
        [N, 1, r, r], smooth in space.
    """
    squared = change.square().sum(1, keepdim=True)  # [N, 1, r, r]
    size = F.avg_pool2d(squared, 3, stride=1, padding=1, count_include_pad=False).sqrt()  # [N, 1, r, r]
    large = size.flatten(1).quantile(LARGE, dim=1)[:, None, None, None]  # [N, 1, 1, 1]
    return (size / (FULL * large).clamp(min=torch.finfo(size.dtype).tiny)).clamp(max=1)  # [N, 1, r, r]
