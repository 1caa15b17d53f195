"""Edits of codes whose correction of features was found for the unedited image.

A correction preserves what it has drawn, such as a closed mouth or the position of a chin. Therefore it must follow the
generator's own features under the edit, F(w') - F(w). StyleFeatureEditor (Bobkov et al. 2024, arXiv 2406.10601,
section 3.3) learns a network for this. Here the correction c is damped, without training, in each cell of the map where
the features change: c' = c / (1 + (k |F(w') - F(w)| / |c|)^2). Feature-Style Encoder (Yao et al. 2022, arXiv
2202.02183) keeps c unchanged, which is k = 0.
"""

from typing import cast

import torch
from torch import Tensor

from psp.model import Codes
from stylegan2.latents.sampling import at_once
from stylegan2.networks.protocols import CorrectableSynthesis, Generator

DAMPING = 2.0  # k, chosen on training photographs: a larger k changes attributes more and preserves the identity less


@torch.no_grad()
def edited_codes(generator: Generator, codes: Codes, w_plus: Tensor, damping: float = DAMPING) -> Codes:
    """Replace the w_plus of codes by edited ones, and damp the correction of features where these change.

    The opposite edit does not undo an edit, because the damping loses information: start from the unedited codes.

    Args:
        generator: The generator that renders the codes.
        codes: The unedited codes of N images, on any device.
        w_plus: The edited codes, [N, num_ws, w_dim].
        damping: k of the module's text.

    Returns:
        Edited codes on the device of `codes`. The features are exactly the given ones wherever the edit leaves the
        generator's features as they are.
    """
    if codes.features is None:
        return Codes(w_plus)
    size = at_once(generator)
    parts = zip(codes.split(size), w_plus.split(size), strict=True)
    return Codes(w_plus, torch.cat([_edited_features(generator, part, moved, damping) for part, moved in parts]))


def _edited_features(generator: Generator, codes: Codes, w_plus: Tensor, damping: float) -> Tensor:
    """Return the damped features [N, C, r, r] of one batch."""
    correction = cast(Tensor, codes.features)  # [N, C, r, r]
    side, device = correction.shape[-1], generator.w_avg.device
    synthesis = cast(CorrectableSynthesis, generator.synthesis)
    before, after = (synthesis.features_at(w.to(device), side).float() for w in (codes.w_plus, w_plus))
    return damped(correction, (after - before).to(correction.device), damping)


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
