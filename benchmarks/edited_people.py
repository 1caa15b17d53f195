"""How much edits of photographs of people change the attribute and keep the person, for benchmarks/people.py."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from options.lists import parse_edits
from psp.evaluation.attributes import LabelledImages, attribute_classifier
from psp.inference.editing import move_codes, plan_moves
from psp.inference.translate import Refinement, translate
from psp.losses import build_losses
from psp.model import Codes, PSp
from psp.optimize import LAMBDAS
from psp.perception.crop import Box, crop_resize
from stylegan2.latents.directions import Directions
from stylegan2.latents.effects import Classifier

AT_ONCE = 16  # photographs in a batch


class Similarity(Protocol):
    """What measures identities."""

    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        """Say how similar the faces in two batches [N, 3, H, W] are: [N], 1 for the same person."""
        ...


class Cropped:
    """Labelled images of which a classifier sees a box alone.

    Args:
        images: The whole images.
        box: The part of them, in fractions.
    """

    def __init__(self, images: LabelledImages, box: Box) -> None:
        self.images, self.box = images, box
        self.side, self.key = images.side, f"{images.key} {box}"

    def read(self) -> tuple[list[str], list[Tensor]]:
        """Read the images, as `psp.evaluation.attributes.LabelledImages.read` specifies."""
        names, (images, labels, held_out, held_out_labels) = self.images.read()
        cropped = [self.crop(part.float()).round().byte() for part in (images, held_out)]
        return names, [cropped[0], labels, cropped[1], held_out_labels]

    def crop(self, images: Tensor) -> Tensor:
        """Crop images [N, 3, H, W] to the box: [N, 3, side, side]."""
        return crop_resize(images, self.box, self.side, self.side)  # [N, 3, side, side]


class RegionClassifier:
    """A classifier of attributes that sees a box of each image alone.

    Args:
        labelled: The images from which it learns.
        box: The part of them, in fractions.
    """

    def __init__(self, labelled: LabelledImages, box: Box) -> None:
        self.seen = Cropped(labelled, box)
        self.classifier, accuracies = attribute_classifier(self.seen)
        print("balanced accuracy on held-out images: " + ", ".join(f"{k} {v:.2f}" for k, v in accuracies.items()))

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Map images [N, 3, H, W] in [-1, 1] to {attribute: logits [N]}."""
        return self.classifier.by_name(self.seen.crop(images))


def encode(model: PSp, sources: list[Tensor], refine: int) -> Codes:
    """Encode N photographs [3, S, S], and refine the codes by that many steps."""
    refinement = Refinement(build_losses(LAMBDAS), refine) if refine else None
    codes = [batch.codes for batch in translate(model, sources, AT_ONCE, refinement=refinement)]
    features = [part.features for part in codes if part.features is not None]
    return Codes(torch.cat([part.w_plus for part in codes]), torch.cat(features) if features else None)


@torch.no_grad()
def render(model: PSp, codes: Codes) -> Tensor:
    """Render codes: [N, 3, R, R] in [-1, 1]."""
    return torch.cat([model.decode(part).clamp(-1, 1) for part in codes.split(AT_ONCE)])  # [N, 3, R, R]


@torch.no_grad()
def measure_edits(
    model: PSp,
    codes: Codes,
    photographs: Tensor,
    edits: Sequence[str],
    directions: Sequence[Directions],
    damping: float,
    judges: Similarity,
    classify: Classifier,
) -> list[str]:
    """Measure edits of codes, each in a cell "identity / kept / flipped (of how many)".

    Args:
        model: The model that renders the codes.
        codes: The unedited codes of N photographs.
        photographs: [N, 3, R, R] in [-1, 1].
        edits: NAME=STRENGTH each.
        directions: Sets of directions with these names.
        damping: How strongly the correction of features is damped by edits of w_plus.
        judges: Measures identities.
        classify: Classifier of attributes.

    Returns:
        A cell for each edit. `identity` is between the edited and the unedited rendering. `kept` is the identity of
        the edited renderings with the photographs, divided by that of the unedited ones. `flipped` is the share of the
        people without the attribute, by the classifier, who have it after the edit; for a negative strength that of
        those with it who lose it.
    """
    unedited = render(model, codes)  # [N, 3, R, R]
    before, likeness, cells = classify(unedited), judges.similarity(unedited, photographs).mean(), []
    for word in edits:
        (move,) = plan_moves(directions, parse_edits([word]))
        edited = render(model, move_codes(model.generator, codes, [move], damping))  # [N, 3, R, R]
        wanted = move.strength > 0
        eligible = (before[move.name] > 0) != wanted  # [N]
        flipped = ((classify(edited)[move.name] > 0) == wanted)[eligible].float().mean()
        identity = judges.similarity(edited, unedited).mean()
        kept = judges.similarity(edited, photographs).mean() / likeness
        cells.append(f"{identity:.2f} / {kept:.2f} / {flipped:.2f} ({int(eligible.sum())})")
    return cells
