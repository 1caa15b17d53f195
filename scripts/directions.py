"""Directions of W: python scripts/directions.py boundary --attributes yaw,glasses,smile (or: pca, closed_form)"""

import _start  # noqa: F401

# isort: split

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from torch import Tensor

import stylegan2
from datasets.labelled import open_labelled
from datasets.sources import SYNTHETIC
from options.machine import Machine
from options.parse import run
from options.results import Results, label, record_for, with_folder
from psp.evaluation.attributes import attribute_classifier, classifier_side
from psp.evaluation.similarity import FaceSimilarity
from stylegan2.latents.directions import (
    Directions,
    boundaries,
    closed_form,
    measured,
    principal_components,
    save_directions,
)
from stylegan2.latents.effects import Classifier, direction_effects, scores_of, table
from stylegan2.latents.mixing import mask_rows
from stylegan2.latents.sampling import random_w, seeded_w
from stylegan2.latents.scores import scored_latents
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.device import place
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import write_text

RARE = 0.01  # share of the samples below which the generator hardly knows an attribute
SCORED = 1000  # samples for the deviation of the classifier's scores, where nothing else needs them


@dataclass(frozen=True)
class FindDirections(Machine, Results):
    """Find directions of W along which images change in one way, and measure what else they change.

    boundary: the normal of the plane between samples with and without an attribute (InterFaceGAN). pca: where W spreads
    most (GANSpace). closed_form: what changes the styles most, from the weights alone (SeFa).
    """

    method: tyro.conf.Positional[Literal["boundary", "pca", "closed_form"]] = "boundary"
    """how to find them"""
    generator: Annotated[str, tyro.conf.arg(aliases=["--stylegan_weights"])] = "synthfaces64"
    """a shipped name, an experiment folder or a generator's file"""
    exp_dir: Path | None = None
    """gets METHOD.safetensors and, with --measure, METHOD.md and METHOD.json; by default runs/directions-GENERATOR"""
    attributes: str = "yaw,glasses,smile"
    """boundary: names of the attributes to find directions for, or `all`"""
    labels: Path | None = None
    """boundary: a CSV file with a header `seed,ATTRIBUTE,...` for seeds of the generator, or `name,ATTRIBUTE,...` for
    the codes of --latents; by default samples are labelled by a classifier trained on the procedural faces' truth"""
    latents: Path | None = None
    """boundary: codes with the names of --labels, a latents.npz of inference or of scripts/project.py"""
    attribute_data: str = SYNTHETIC
    """images that teach the classifier of attributes: `synthetic`, procedural faces with their truth, or a folder or
    zip of yours with --attribute_labels; a few hundred are enough"""
    attribute_labels: Path | None = None
    """a CSV file with a header `file,ATTRIBUTE,...`, then 0, 1 or nothing for each image of --attribute_data"""
    condition_on: str = "all"
    """boundary: attributes that a direction is to leave alone: all the others with labels, none, or their names"""
    keep: float = 0.2
    """boundary: share of the samples that the plane is fitted to, those of the surest labels"""
    count: int = 10
    """pca and closed_form: how many directions"""
    rows: str = "all"
    """rows of w+ that edits will move, and whose layers closed_form looks at: all, coarse, medium, fine, or numbers
    such as 0-5"""
    num_samples: int = 20_000
    """samples of W"""
    measure: bool = True
    """measure what each direction changes, by the classifier"""
    measure_samples: int = 64
    """samples that are moved to measure it"""
    truncation_psi: float = 0.7
    """of the samples that are moved"""
    strength: float = 2.0
    """how far they are moved along directions that are no attribute's, in standard deviations of W along each"""
    identity: str = "auto"
    """identity network: arcface, dlib, facenet or auto"""
    seed: int = 0
    """of the samples"""

    def __post_init__(self) -> None:
        for name in ("count", "num_samples", "measure_samples"):
            if getattr(self, name) < (1 if name == "count" else 2):
                raise UserError(f"--{name} is too small: {getattr(self, name)}")
        if not 0 < self.keep <= 1:
            raise UserError(f"--keep is a share above 0 and at most 1, not {self.keep}")
        if self.latents is not None and self.labels is None:
            raise UserError("--latents are labelled by a CSV file: give --labels too")
        if not self.strength > 0:
            raise UserError(f"--strength must be positive, but is {self.strength}")

    def wanted(self, labelled: list[str]) -> list[str]:
        """Return the attributes to find directions for. UserError: one that has no labels."""
        return _named("--attributes", self.attributes, labelled)

    def left_alone(self, attribute: str, labelled: list[str]) -> list[str]:
        """Return the attributes that the direction of another is to leave alone."""
        names = [] if self.condition_on == "none" else _named("--condition_on", self.condition_on, labelled)
        return [name for name in names if name != attribute]


def _named(flag: str, text: str, labelled: list[str]) -> list[str]:
    names = labelled if text == "all" else [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in labelled]
    if unknown:
        raise UserError(f"{flag} names {', '.join(unknown)}, but the labels are of {', '.join(labelled)}")
    return names


def find(generator: Generator, o: FindDirections, w: Tensor, scores: dict[str, Tensor]) -> Directions:
    """Find the directions that were asked for.

    Args:
        w: Samples [N, w_dim].
        scores: {attribute: [N]}, what the classifier says of them, for `boundary` without a file.
    """
    rows = range(generator.num_ws) if o.rows == "all" else mask_rows(o.rows, generator.num_ws)
    names = [f"{o.method}{k}" for k in range(o.count)]
    if o.method == "boundary":
        x, y = (w, scores) if o.labels is None else scored_latents(generator, o.labels, o.latents)
        names = o.wanted(list(y))
        vectors = boundaries(x, y, {name: o.left_alone(name, list(y)) for name in names}, w, o.keep)
    elif o.method == "pca":
        vectors, _ = principal_components(w, o.count)
    else:
        vectors, _ = closed_form(generator, rows, o.count)
    return measured(generator, names, vectors, rows, w)


def write_effects(
    generator: Generator, o: FindDirections, found: Directions, classify: Classifier, scores: dict[str, Tensor]
) -> None:
    """Measure the directions, print a table and write it; scores {attribute: [N]} are those of samples."""
    similarity = FaceSimilarity(o.identity, generator.w_avg.device)
    codes = seeded_w(generator, range(o.measure_samples), o.truncation_psi)  # [N, num_ws, w_dim]
    effects = direction_effects(generator, found, codes, classify, similarity, scores, o.strength)
    about = {"truncation_psi": o.truncation_psi, "similarity": similarity.name}
    about["effects"] = {name: asdict(effect) for name, effect in effects.items()}
    write_text(o.exp_dir / f"{o.method}.json", json.dumps(about, indent=2) + "\n")
    write_text(o.exp_dir / f"{o.method}.md", table(effects))
    print(f"changes in standard deviations of the classifier's scores; similarity by {similarity.name}\n")
    print(table(effects))
    for name, effect in effects.items():
        if effect.share is not None and min(effect.share, 1 - effect.share) < RARE:
            print(f"{name}: {effect.share:.1%} of the samples have it, too few for a direction to be more than a guess")


def main(o: FindDirections) -> None:
    device = o.prepare()
    o = with_folder(o, f"directions-{label(o.generator)}")
    record = record_for(o, "directions", writes=(f"{o.method}.*",), part=o.method)
    generator = stylegan2.load(o.generator)[0]
    place(generator.requires_grad_(False), device)
    w, scores = random_w(generator, o.num_samples, o.seed), {}  # [N, w_dim]
    by_classifier = o.method == "boundary" and o.labels is None
    if by_classifier or o.measure:
        labelled = open_labelled(o.attribute_data, classifier_side(generator.img_resolution), o.attribute_labels)
        classifier, accuracy = attribute_classifier(labelled, device)
        print("balanced accuracy on held-out images: " + ", ".join(f"{k} {v:.2f}" for k, v in accuracy.items()))
        classify = classifier.by_name
        scored = (w if by_classifier else w[:SCORED])[:, None].expand(-1, generator.num_ws, -1)  # [n, num_ws, w_dim]
        scores = scores_of(generator, scored, classify, progress="labels")
    found = find(generator, o, w, scores)
    record.write()
    save_directions(o.exp_dir / f"{o.method}.safetensors", found, {"method": o.method, "generator": o.generator})
    if o.measure:
        write_effects(generator, o, found, classify, scores)
    print(f"written: {o.exp_dir / o.method}.safetensors")


if __name__ == "__main__":
    run(main, FindDirections)
