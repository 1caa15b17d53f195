"""Outputs and edits for photographs of people: python benchmarks/people.py --sources FOLDER [--outputs NAME=FOLDER ...]

Compares outputs with the photographs, and measures what edits change. For figures that mean something, the judges
should be networks that no model was trained with: LPIPS with the file of AlexNet, and a recogniser in TorchScript.
"""

import sys
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import _start  # noqa: F401
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.edited_people import AT_ONCE, RegionClassifier, encode, measure_edits, render
from benchmarks.works import Row, table
from datasets.folder import ImageFiles, square
from datasets.labelled import open_labelled
from options.lists import parse_edits
from options.parse import run
from psp.evaluation.attributes import classifier_side
from psp.evaluation.methods import Method, encode_and_render, mean_face, optimise
from psp.feature_editing import DAMPING
from psp.inference.editing import find_directions
from psp.inference.translate import prepare
from psp.loading import load
from psp.losses import build_losses
from psp.losses.identity import identity_network
from psp.losses.lpips import build_perceptual
from psp.model import LOSS_SIZE, Codes, PSp
from psp.optimize import LAMBDAS
from psp.perception.crop import FACE, WHOLE, Box, crop_resize
from stylegan2.latents.sampling import seeded_w
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import to_tensor, to_uint8
from stylegan2.runtime.ranges import Count, NotNegative

SIDE = 256  # px, side at which outputs are compared with photographs
MOUTH: Box = (0.53, 0.28, 0.375, 0.4375)  # in an FFHQ-aligned image
CHIP = 112  # px, side of the faces that networks of the ArcFace type read
COPY = 0.6  # identity above which two images may show the same person, by networks of the ArcFace type
OTHERS = 20  # one of this many photographs is compared with the others


@dataclass(frozen=True)
class People:
    """Compare outputs with photographs of people, and measure what edits change."""

    sources: Path
    """folder of FFHQ-aligned photographs"""
    outputs: list[str] = field(default_factory=list)
    """outputs to compare with the photographs of the same name: a folder, such as the inference_results of a run, or
    NAME=FOLDER"""
    checkpoint_path: str = "portraits64_inversion"
    """model whose baselines, optimisation and edits are measured"""
    baselines: bool = False
    """also compare the mean face, one call of the model, the photographs reduced to the side of its images, bicubic
    enlargement by 2, 4 and 8, and the mean fill of the hole of scripts/demo.py"""
    optimisation_steps: NotNegative = 0
    """steps of W+ optimisation from the mean face, which is then compared too"""
    copies: NotNegative = 0
    """number of samples of the generator whose most similar photograph is searched, which shows whether it copies
    photographs that trained it"""
    edits: list[str] = field(default_factory=list)
    """edits to measure, NAME=STRENGTH, such as smile=2 yaw=-1.5"""
    damping: list[float] = field(default_factory=lambda: [DAMPING])
    """how strongly the correction of features is damped by edits of w_plus; 0 keeps it unchanged"""
    w_plus_moves: bool = False
    """also measure edits that move w_plus where the directions would move the features"""
    refine: NotNegative = 0
    """steps of refinement before the edits"""
    attribute_data: str = "synthetic"
    """labelled images from which the classifier of attributes learns: a folder or a zip file"""
    attribute_labels: Path | None = None
    """CSV file of their labels, as for scripts/directions.py"""
    attribute_region: Literal["whole", "mouth"] = "whole"
    """part of the images that the classifier sees: at the mouth alone, it cannot infer a smile from the background"""
    skip: NotNegative = 0
    """number of photographs that are left out at the beginning"""
    every: Count = 1
    """takes one of this many photographs"""
    num_images: Count | None = None
    """number of photographs, the first ones; by default all"""
    recogniser: Path | None = None
    """TorchScript file of a face recogniser that maps RGB faces [N, 3, 112, 112] from 0 to 255 to embeddings; by
    default psp's own identity network, with which its models are trained"""
    perceptual_weights: Path | None = None
    """torchvision's file of AlexNet for LPIPS; by default psp's own perceptual network if there is none"""

    def __post_init__(self) -> None:
        if not (self.outputs or self.baselines or self.optimisation_steps or self.copies or self.edits):
            raise UserError(
                "there is nothing to measure: give --outputs, --baselines, --optimisation_steps, --copies or --edits"
            )
        for word in self.edits:
            if len(parse_edits([word])) != 1:
                raise UserError(f"--edits takes one direction a word, such as smile=2 yaw=-1, not {word!r}")


# --- judges ---


class Recogniser:
    """A face recogniser of the ArcFace type from a TorchScript file, which runs the file's code: use trusted files.

    Args:
        path: The file, which maps RGB faces [N, 3, 112, 112] from 0 to 255 to embeddings [N, D].

    Raises:
        UserError: There is no such file, or it is not TorchScript.
    """

    def __init__(self, path: Path) -> None:
        self.name = f"id_{path.stem}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # loading TorchScript is deprecated, but its files are what exists
                self.network = torch.jit.load(str(path)).eval()
        except (RuntimeError, ValueError, OSError) as error:
            raise UserError(f"{str(path)!r} is not a TorchScript file that can be read") from error

    def embed(self, images: Tensor) -> Tensor:
        """Map FFHQ-aligned images [N, 3, H, W] in [-1, 1] to embeddings [N, D]."""
        whole = crop_resize(images, WHOLE, SIDE, SIDE)  # [N, 3, 256, 256]
        return self.network((crop_resize(whole, FACE, CHIP, CHIP) + 1) * 127.5)  # [N, D]

    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the cosine similarity [N] of two batches of embeddings [N, D]."""
        return torch.cosine_similarity(a, b)  # [N]


class Judges:
    """The networks that compare images, each named with its figures."""

    def __init__(self, o: People) -> None:
        self.perceptual: nn.Module = build_perceptual("auto", o.perceptual_weights)
        self.identity = identity_network() if o.recogniser is None else Recogniser(o.recogniser)

    @torch.no_grad()
    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        """Say how similar the faces in two batches [N, 3, H, W] are: [N], 1 for the same person."""
        first, second = (self.identity.embed(images.clamp(-1, 1)) for images in (a, b))  # [N, D] each
        return self.identity.similarity(first, second)  # [N]


# --- outputs ---


def read_photographs(o: People) -> dict[str, np.ndarray]:
    """Read the photographs that the settings choose: {path without its ending: uint8 [S, S, 3]}."""
    return read_pictures(o.sources, o.skip, o.every, o.num_images)


def read_pictures(folder: Path, skip: int = 0, every: int = 1, count: int | None = None) -> dict[str, np.ndarray]:
    """Read the pictures of a folder as squares: {path without its ending: uint8 [S, S, 3]}."""
    files = ImageFiles(folder)
    indices = list(range(skip, len(files), every))[:count]
    pictures = ((files.relative(k), files.read(k, "rgb")) for k in indices)
    return {str(PurePosixPath(name).with_suffix("")): square(image, min(image.shape[:2])) for name, image in pictures}


@torch.no_grad()
def fidelity(judges: Judges, photographs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> Row:
    """Compare outputs with the photographs of the same name.

    Args:
        judges: The networks.
        photographs: {name: uint8 [S, S, 3]}.
        outputs: {name: uint8 [R, R, 3]}.

    Returns:
        The means over all pairs. Both are enlarged to 256 px by the Lanczos filter; the last column is the mean squared
        error at the outputs' own size. Pixels are from -1 to 1.

    Raises:
        UserError: No output has the name of a photograph.
    """
    names = [name for name in photographs if name in outputs]
    if not names:
        raise UserError("no output has the name of a photograph: give the folder of the pictures, inference_results")
    values = []
    for name in names:
        a, b = (_pixels(pictures[name], SIDE) for pictures in (photographs, outputs))  # [1, 3, 256, 256] each
        side = outputs[name].shape[0]
        small = (_pixels(photographs[name], side) - _pixels(outputs[name], side)).square().mean()
        values.append([judges.similarity(a, b).item(), judges.perceptual(a, b).item(), (a - b).square().mean(), small])
    identity, perceptual, mse, own = (f"{value:.4f}" for value in np.mean(np.array(values, float), axis=0))
    titles = (f"identity ({judges.identity.name})", f"perceptual ({judges.perceptual.name})")
    return {"photographs": len(names), titles[0]: identity, titles[1]: perceptual, "mse": mse, "mse, own size": own}


def _pixels(picture: np.ndarray, side: int) -> Tensor:
    return to_tensor(square(picture, side))[None]  # [1, 3, side, side]


def rendered_by(method: Method, model: PSp, photographs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a method on the photographs: {name: uint8 [R, R, 3]}."""
    size, rendered = min(LOSS_SIZE, model.generator.img_resolution), {}
    names = list(photographs)
    for start in range(0, len(names), AT_ONCE):
        batch = names[start : start + AT_ONCE]
        pixels = [to_tensor(photographs[name]) for name in batch]
        source = torch.stack([prepare(image, 3, method.source_size) for image in pixels])  # [N, 3, S, S]
        target = torch.stack([prepare(image, 3, size) for image in pixels])  # [N, 3, R, R]
        with torch.no_grad():
            rendered |= dict(zip(batch, to_uint8(method.render(source, target, lambda step: None)), strict=True))
    return rendered


def baselines(side: int, photographs: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Make outputs without a model: {method: {name: uint8 [side, side, 3]}}."""
    from scripts.demo import hole

    reduced = {name: square(image, side) for name, image in photographs.items()}
    outputs = {f"reduced to {side} px": reduced}
    for factor in (2, 4, 8):
        outputs[f"bicubic enlargement by {factor}"] = {name: _bicubic(image, factor) for name, image in reduced.items()}
    missing = hole(side)[..., 0] > 0  # [side, side]
    outputs["mean fill of the hole"] = {
        name: np.where(missing[..., None], image[~missing].mean(0).astype(np.uint8), image)
        for name, image in reduced.items()
    }
    return outputs


def _bicubic(image: np.ndarray, factor: int) -> np.ndarray:
    """Reduce an image [R, R, 3] and enlarge it again, both with the bicubic filter."""
    pixels = to_tensor(image)[None]  # [1, 3, R, R]
    settings = {"mode": "bicubic", "antialias": True}
    small = nn.functional.interpolate(pixels, scale_factor=1 / factor, **settings).clamp(-1, 1)  # [1, 3, R/f, R/f]
    return to_uint8(nn.functional.interpolate(small, pixels.shape[2:], **settings).clamp(-1, 1))[0]  # [R, R, 3]


def compare(o: People, judges: Judges, model: PSp, photographs: dict[str, np.ndarray]) -> list[Row]:
    """Compare all outputs that the settings ask for: one row each."""
    methods = [mean_face(model), encode_and_render(model, o.checkpoint_path)] if o.baselines else []
    if o.optimisation_steps:
        methods.append(optimise(model, build_losses(LAMBDAS), o.optimisation_steps))
    outputs_of = {method.name: rendered_by(method, model, photographs) for method in methods}
    if o.baselines:
        outputs_of |= baselines(model.generator.img_resolution, photographs)
    for entry in o.outputs:
        name, _, folder = entry.rpartition("=")
        outputs_of[name or folder] = read_pictures(Path(folder))
    return [{"method": name, **fidelity(judges, photographs, outputs)} for name, outputs in outputs_of.items()]


# --- copies ---


@torch.no_grad()
def nearest(o: People, judges: Judges, model: PSp, photographs: dict[str, np.ndarray]) -> list[Row]:
    """Find the photograph that is most similar to each sample, and to other photographs for comparison.

    Returns:
        A row for the samples and one for every 20th photograph, which is compared with all others: mean and maximum of
        the identity with the nearest photograph, and the share below `COPY`.
    """
    embed = judges.identity.embed
    known = torch.cat([embed(_pixels(picture, SIDE)) for picture in photographs.values()])  # [N, D]
    samples = to_uint8(render(model, Codes(seeded_w(model.generator, range(o.copies), 1.0))))  # [M, R, R, 3]
    made = torch.cat([embed(_pixels(sample, SIDE)) for sample in samples])  # [M, D]
    similarities = {"samples": [judges.identity.similarity(each[None], known).max().item() for each in made]}
    others = [(known[k], torch.cat([known[:k], known[k + 1 :]])) for k in range(0, len(known), OTHERS)]
    similarities["photographs"] = [judges.identity.similarity(each[None], rest).max().item() for each, rest in others]
    title = f"identity ({judges.identity.name}) with the nearest"
    return [
        {"images": name, "number": len(values), f"{title}, mean": f"{np.mean(values):.2f}"}
        | {"maximum": f"{max(values):.2f}", f"below {COPY}": f"{np.mean(np.array(values) < COPY):.2f}"}
        for name, values in similarities.items()
    ]


# --- edits ---


def compare_edits(o: People, judges: Judges, model: PSp, photographs: dict[str, np.ndarray]) -> list[Row]:
    """Measure all edits: one row each, with a column for each damping and, of a model with features, for W+ alone."""
    side = model.generator.img_resolution
    labelled = open_labelled(o.attribute_data, classifier_side(side), o.attribute_labels)
    classify = RegionClassifier(labelled, MOUTH if o.attribute_region == "mouth" else WHOLE)
    sources = [to_tensor(image) for image in photographs.values()]  # [3, S, S] each
    wanted = torch.stack([prepare(source, 3, side) for source in sources])  # [N, 3, R, R]
    directions = find_directions(model.generator)
    in_w_plus = [replace(known, features={}) for known in directions]
    codes, columns = encode(model, sources, o.refine), {}
    if codes.features is not None:
        ways = {f"features, k = {k:g}": (directions, k) for k in o.damping}
        ways |= {f"moves of w_plus, k = {k:g}": (in_w_plus, k) for k in o.damping if o.w_plus_moves}
        for name, way in ways.items():
            columns[name] = measure_edits(model, codes, wanted, o.edits, *way, judges, classify)
        report_likeness("features", judges, model, codes, wanted)
        model.iterations = 1  # the first pass gives W+ codes
        codes = encode(model, sources, o.refine)
    columns["W+ alone"] = measure_edits(model, codes, wanted, o.edits, in_w_plus, DAMPING, judges, classify)
    report_likeness("W+ alone", judges, model, codes, wanted)
    return [{"edit": edit, **{name: cells[row] for name, cells in columns.items()}} for row, edit in enumerate(o.edits)]


def report_likeness(name: str, judges: Judges, model: PSp, codes: Codes, photographs: Tensor) -> None:
    """Print how similar the unedited renderings of codes are to the photographs [N, 3, R, R]."""
    likeness = judges.similarity(render(model, codes), photographs).mean()
    print(f"{name}: identity of the unedited outputs with the photographs {likeness:.3f}")


def main(o: People) -> None:
    judges, photographs = Judges(o), read_photographs(o)
    model = load(o.checkpoint_path)[0].eval()
    if o.outputs or o.baselines or o.optimisation_steps:
        print(table(compare(o, judges, model, photographs)) + "\n")
    if o.copies:
        print(table(nearest(o, judges, model, photographs)) + "\n")
    if o.edits:
        print(table(compare_edits(o, judges, model, photographs)))


if __name__ == "__main__":
    run(main, People)
