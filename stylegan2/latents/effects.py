"""Measure what a direction does to an image, with a classifier of attributes and a measure of identity."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stylegan2.latents.directions import Directions
from stylegan2.latents.sampling import at_once, render
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.progress import Progress

STRENGTHS = tuple(k / 4 for k in range(1, 33))  # up to 8 deviations
Classifier = Callable[[Tensor], dict[str, Tensor]]
"""maps images [N, C, R, R] in [-1, 1] to {attribute: scores [N]}, positive where the attribute is present"""
Similarity = Callable[[Tensor, Tensor], Tensor]
"""maps two batches [N, C, R, R] to [N], 1 for the same person"""


@dataclass(frozen=True)
class Flip:
    """How strongly samples must be moved until the classifier changes its decision about one attribute."""

    flipped: float
    """share of the samples whose decision changes at one of the strengths that were tried"""
    strength: float
    """mean over these samples of the smallest strength that changes it"""
    similarity: float
    """mean similarity between the image at that strength and the unchanged one"""


@torch.inference_mode()
def scores_of(
    generator: Generator, codes: Tensor, classifier: Classifier, progress: str | None = None
) -> dict[str, Tensor]:
    """Classify the renderings of codes [N, num_ws, w_dim], a few at a time: {attribute: [N]} on the CPU."""
    parts = []
    with Progress(len(codes), progress or "", "img", leave=False, hidden=progress is None) as bar:
        for part in codes.split(at_once(generator)):
            parts.append(classifier(render(generator, part).to(codes.device)))
            bar.update(len(part))
    return {name: torch.cat([part[name].float().cpu() for part in parts]) for name in parts[0]}


def changes(
    generator: Generator,
    directions: Directions,
    name: str,
    codes: Tensor,
    classifier: Classifier,
    deviations: dict[str, Tensor],
    strength: float = 2.0,
) -> dict[str, float]:
    """Measure how attributes change along one direction, averaged over samples, in standard deviations of their scores.

    The change is half of the difference between +strength and -strength, so that curvature cancels.

    Args:
        generator: Renders the codes.
        directions: Directions in the W of the generator.
        name: The name of the direction.
        codes: [N, num_ws, w_dim].
        classifier: Scores the images.
        deviations: {attribute: standard deviation of its score over samples of the generator}, scalars.
        strength: How far the codes are moved.

    Returns:
        {attribute: change}.
    """
    moved = directions.move(codes, name, [-strength, strength])  # [N, 2, num_ws, w_dim]
    scores = scores_of(generator, moved.flatten(0, 1), classifier, progress=name)
    halves = {attribute: score.reshape(-1, 2).diff(dim=1).mean() / 2 for attribute, score in scores.items()}
    return {attribute: float(half / deviations[attribute]) for attribute, half in halves.items()}


def selectivity(changes: dict[str, float], attribute: str) -> float:
    """Return the change of an attribute divided by the largest change among the other attributes."""
    others = [abs(change) for name, change in changes.items() if name != attribute]
    if attribute not in changes or not others:
        raise UserError(
            f"selectivity needs the changes of {attribute!r} and of another attribute, not only {', '.join(changes)}"
        )
    return abs(changes[attribute]) / max(max(others), torch.finfo(torch.float32).tiny)


@torch.inference_mode()
def flip(
    generator: Generator,
    directions: Directions,
    name: str,
    codes: Tensor,
    classifier: Classifier,
    similarity: Similarity,
    strengths: Sequence[float] = STRENGTHS,
) -> Flip:
    """Move each sample along a direction until the decision of the classifier changes.

    Args:
        generator: Renders the codes.
        directions: Directions in the W of the generator.
        name: The name both of a direction and of an attribute of the classifier.
        codes: [N, num_ws, w_dim].
        classifier: Scores the images.
        similarity: Compares the faces before and after.
        strengths: Strengths to try, positive and ascending; a sample that has the attribute is moved backwards.
    """
    before = render(generator, codes)  # [N, C, R, R]
    had = classifier(before)[name].cpu() > 0  # [N]
    away = torch.where(had, -1.0, 1.0).tolist()
    flips: list[tuple[float, float]] = []
    waiting = list(range(len(codes)))
    for strength in strengths:
        if not waiting:
            break
        moved = torch.cat([directions.move(codes[n : n + 1], name, [away[n] * strength])[:, 0] for n in waiting])
        images = render(generator, moved)  # [W, C, R, R]
        has = classifier(images)[name].cpu() > 0  # [W]
        turned = [k for k, n in enumerate(waiting) if bool(has[k]) != bool(had[n])]
        if turned:
            same = similarity(images[turned], before[[waiting[k] for k in turned]])  # [T]
            flips += [(strength, float(value)) for value in same]
        waiting = [n for k, n in enumerate(waiting) if k not in turned]
    if not flips:
        return Flip(0.0, float("nan"), float("nan"))
    taken, kept = torch.tensor(flips).mean(0).tolist()
    return Flip(len(flips) / len(codes), taken, kept)


@dataclass(frozen=True)
class Effect:
    """The measured effect of a direction."""

    strength: float
    """strength at which the changes were measured"""
    changes: dict[str, float]
    """{attribute: change}, as `changes` returns it"""
    share: float | None = None
    """share of the samples that have the attribute of the direction's name; None if no attribute has that name"""
    flip: Flip | None = None
    """how samples flip that attribute; None if no attribute has that name"""


def direction_effects(
    generator: Generator,
    directions: Directions,
    codes: Tensor,
    classifier: Classifier,
    similarity: Similarity,
    scores: dict[str, Tensor],
    strength: float = 2.0,
) -> dict[str, Effect]:
    """Measure the effects of all directions.

    A direction named after an attribute is measured at the strength that flips the attribute, any other at `strength`.

    Args:
        generator: Renders the codes.
        directions: Directions in the W of the generator.
        codes: [N, num_ws, w_dim], the codes to move.
        classifier: Scores the images.
        similarity: Compares faces.
        scores: {attribute: [M]}, scores of samples of the generator.
        strength: The strength for directions that are not named after an attribute.

    Returns:
        {direction: effect}.
    """
    deviations = {attribute: score.std() for attribute, score in scores.items()}
    effects = {}
    for name in directions.names:
        share, turned, at = None, None, strength
        if name in scores:
            share = float((scores[name] > 0).float().mean())
            turned = flip(generator, directions, name, codes, classifier, similarity)
            at = turned.strength if turned.flipped else strength
        changed = changes(generator, directions, name, codes, classifier, deviations, at)
        effects[name] = Effect(at, changed, share, turned)
    return effects


def table(effects: dict[str, Effect]) -> str:
    """Format a Markdown table of what each direction changes at which strength, and of how it flips its attribute."""
    attributes = list(next(iter(effects.values())).changes)
    titles = ["direction", *attributes, "strength", "selectivity", "share", "flipped", "similarity"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for name, effect in effects.items():
        cells = [name, *(f"{effect.changes[a]:+.2f}" for a in attributes), f"{effect.strength:.2f}"]
        if effect.flip is None or effect.share is None:
            cells += [""] * 4
        else:
            flip, ratio = effect.flip, selectivity(effect.changes, name)
            cells += [f"{ratio:.1f}", f"{effect.share:.3f}", f"{flip.flipped:.2f}", f"{flip.similarity:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
