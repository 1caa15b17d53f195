"""The settings of scripts/directions.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Ge, Interval

from options.results import Results
from options.shared import IdentityNetwork, Machine
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.ranges import Count, Positive, Seed


@dataclass(frozen=True)
class FindDirections(Machine, Results):
    """Find directions of W along which images change in one way, and measure what else they change.

    boundary: the normal of the plane between samples with and without an attribute (InterFaceGAN). pca: the principal
    components of W (GANSpace). closed_form: the directions that change the styles most, from the weights alone (SeFa).
    features: adds to known directions what their attributes change in the feature maps of labelled photographs, which
    edits of the codes of a feature encoder then use (Deep Feature Interpolation).
    """

    method: tyro.conf.Positional[Literal["boundary", "pca", "closed_form", "features"]] = "boundary"
    """method that finds the directions"""
    generator: Annotated[str, tyro.conf.arg(aliases=["--stylegan_weights"])] = "synthfaces64"
    """a shipped name, an experiment folder or a generator's file"""
    checkpoint_path: str = "portraits64_inversion"
    """features: model with a feature encoder, whose generator the directions are of"""
    known: Path | None = None
    """features: file of the directions; by default those that come with the package for this generator"""
    exp_dir: Path | None = None
    """folder for METHOD.safetensors and, with --measure, METHOD.md and METHOD.json; by default
    runs/directions-GENERATOR"""
    attributes: str = "yaw,glasses,smile"
    """boundary: names of the attributes to find directions for, or `all`"""
    labels: Path | None = None
    """boundary: a CSV file with a header `seed,ATTRIBUTE,...` for seeds of the generator, or `name,ATTRIBUTE,...` for
    the codes of --latents; by default a classifier that was trained on --attribute_data labels samples"""
    latents: Path | None = None
    """boundary: codes with the names in --labels, a latents.npz of inference or of scripts/project.py"""
    attribute_data: str = "synthetic"
    """training images of the classifier of attributes: `synthetic` for procedural faces with exact labels, or a folder
    or zip with --attribute_labels; a few hundred images are enough"""
    attribute_labels: Path | None = None
    """a CSV file with a header `file,ATTRIBUTE,...`, then 0, 1 or nothing for each image of --attribute_data"""
    condition_on: str = "all"
    """boundary: attributes that a direction should not change: all others with labels, none, or a list of names"""
    keep: Annotated[float, Interval(gt=0, le=1)] = 0.2
    """boundary: share of the samples to which the plane is fitted, those with the most certain labels"""
    count: Count = 10
    """pca and closed_form: number of directions"""
    rows: str = "all"
    """rows of w+ that edits move, and whose layers closed_form uses: all, coarse, medium, fine, or numbers such as
    0-5"""
    num_samples: Annotated[int, Ge(2)] = 20_000
    """number of samples of W"""
    measure: bool = True
    """measure by the classifier what each direction changes"""
    measure_samples: Annotated[int, Ge(2)] = 64
    """number of samples that are moved for this measurement"""
    truncation_psi: float = 0.7
    """truncation psi of the samples that are moved"""
    strength: Positive = 2.0
    """distance of the move along directions without an attribute, in standard deviations of W along the direction"""
    identity: IdentityNetwork = "auto"
    seed: Seed = 0
    """seed of the samples"""

    def __post_init__(self) -> None:
        if self.latents is not None and self.labels is None:
            raise UserError("--latents needs a CSV file of labels: give --labels too")

    def selected_attributes(self, labelled: list[str]) -> list[str]:
        """Return the attributes to find directions for.

        Args:
            labelled: The attributes that have labels.

        Raises:
            UserError: An attribute has no labels.
        """
        return _named("--attributes", self.attributes, labelled)

    def conditioned_attributes(self, attribute: str, labelled: list[str]) -> list[str]:
        """Return the attributes that the direction of `attribute` should not change.

        Args:
            attribute: Name of the attribute.
            labelled: The attributes that have labels.
        """
        names = [] if self.condition_on == "none" else _named("--condition_on", self.condition_on, labelled)
        return [name for name in names if name != attribute]


def _named(flag: str, text: str, labelled: list[str]) -> list[str]:
    names = labelled if text == "all" else [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in labelled]
    if unknown:
        raise UserError(f"{flag} contains {', '.join(unknown)}, but the labels are of {', '.join(labelled)}")
    return names
