"""The settings of scripts/directions.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Ge, Interval

from options.choices import IdentityNetwork
from options.machine import Machine
from options.results import Results
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.ranges import Count, Positive, Seed


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
    attribute_data: str = "synthetic"
    """images that teach the classifier of attributes: `synthetic`, procedural faces with their truth, or a folder or
    zip of yours with --attribute_labels; a few hundred are enough"""
    attribute_labels: Path | None = None
    """a CSV file with a header `file,ATTRIBUTE,...`, then 0, 1 or nothing for each image of --attribute_data"""
    condition_on: str = "all"
    """boundary: attributes that a direction is to leave alone: all the others with labels, none, or their names"""
    keep: Annotated[float, Interval(gt=0, le=1)] = 0.2
    """boundary: share of the samples that the plane is fitted to, those of the surest labels"""
    count: Count = 10
    """pca and closed_form: how many directions"""
    rows: str = "all"
    """rows of w+ that edits will move, and whose layers closed_form looks at: all, coarse, medium, fine, or numbers
    such as 0-5"""
    num_samples: Annotated[int, Ge(2)] = 20_000
    """samples of W"""
    measure: bool = True
    """measure what each direction changes, by the classifier"""
    measure_samples: Annotated[int, Ge(2)] = 64
    """samples that are moved to measure it"""
    truncation_psi: float = 0.7
    """of the samples that are moved"""
    strength: Positive = 2.0
    """how far they are moved along directions that are no attribute's, in standard deviations of W along each"""
    identity: IdentityNetwork = "auto"
    seed: Seed = 0
    """of the samples"""

    def __post_init__(self) -> None:
        if self.latents is not None and self.labels is None:
            raise UserError("--latents are labelled by a CSV file: give --labels too")

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
