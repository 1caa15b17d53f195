"""The measures of a generator by name: each gets its networks and samples, and says where it departs from the paper.

The measures themselves are in stylegan2.metrics, one file each.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from psp.evaluation.features import FeatureNetwork
from psp.inference.detect import build_detector
from stylegan2.latents.sampling import device_of
from stylegan2.metrics import attribution, frechet, kernel_distance, ppl, precision_recall, resolution_usage
from stylegan2.metrics import separability as separation
from stylegan2.metrics.features import FeatureStatistics, describe
from stylegan2.metrics.report import Result, fewer
from stylegan2.metrics.samples import as_rgb, classes, generate, latents, mapped, rounded
from stylegan2.runtime import images
from stylegan2.runtime.errors import UserError

Distance = Callable[[Tensor, Tensor], Tensor]
Classifier = Callable[[Tensor], Tensor]
FACES = 256  # pictures in which face_ratio looks for a face
DETECTION_SIDE = 256  # small pictures are enlarged to this before the detector sees them


class RealImages(Protocol):
    """What the generator was trained on."""

    def __len__(self) -> int: ...

    def statistics(self, network: FeatureNetwork, keep: bool, batch_size: int) -> FeatureStatistics: ...


@dataclass(frozen=True)
class Bench:
    """A generator and what its measures need. Functions are called by the measures that ask for what they build."""

    generator: nn.Module
    real: RealImages
    held_out: Sequence[np.ndarray]
    """uint8 [R, R, C], procedural faces that no training saw or one's own images: for face_ratio and attribution"""
    features: Callable[[str], FeatureNetwork]
    """effnet, dlib or inception"""
    perceptual: Callable[[], tuple[str, Distance]]
    """(name, distance)"""
    classifier: Callable[[], tuple[Sequence[str], Classifier, dict[str, float]]]
    """(attributes, images -> logits [N, A], balanced accuracies)"""
    project: Callable[[Tensor, Distance], Tensor]
    """targets [N, C, R, R] and a distance of such -> their re-synthesis"""
    num_samples: int = 5_000
    batch_size: int = 16
    seed: int = 0
    truncation_psi: float = 1.0
    crop: bool = False
    """path lengths look at the face of an FFHQ-aligned image alone"""
    attribution_images: int = 16
    projection_steps: int = attribution.PAPER_STEPS
    keep_features: bool = False
    """statistics alone serve the Frechet distances; the others need the features themselves"""
    shared: dict[str, tuple[FeatureNetwork, FeatureStatistics, FeatureStatistics]] = field(default_factory=dict)
    """what was computed for one measure and serves others"""

    def sample(self, count: int, name: str = "samples") -> Iterator[Tensor]:
        """The first samples in batches [N, C, R, R]: the same for every measure."""
        z = latents(self.generator, count, self.seed)
        return generate(self.generator, z, self.batch_size, self.truncation_psi, self.seed, name)

    def statistics(self, name: str) -> tuple[FeatureNetwork, FeatureStatistics, FeatureStatistics]:
        """A feature network, and what it says of the real images and of the samples."""
        if name not in self.shared:
            network = self.features(name)
            real = self.real.statistics(network, self.keep_features, self.batch_size)
            fake = describe(self.sample(self.num_samples, f"samples, {name}"), network, self.keep_features)
            self.shared[name] = network, real, fake
        return self.shared[name]

    def departures(self, paper_samples: int, *others: str) -> tuple[str, ...]:
        truncated = () if self.truncation_psi == 1 else (f"truncated to psi {self.truncation_psi}",)
        even = ("classes drawn evenly",) if getattr(self.generator, "num_classes", 0) else ()
        return (*fewer(self.num_samples, paper_samples), *truncated, *even, *filter(None, others))


Measure = Callable[[Bench, str], Result]
MEASURES: dict[str, Measure] = {}
GROUPS = {"ppl": ppl.VARIANTS}
OF_W = tuple(name for name in ppl.VARIANTS if name.startswith("ppl_w"))
KEEPING = (
    "kd_effnet",
    "kd_dlib",
    "kid",
    "precision_recall",
    "precision_recall_dlib",
)  # they need the features themselves
NETWORKS = {
    "fd_effnet": "effnet", "fd_dlib": "dlib", "fid": "inception",
    "kd_effnet": "effnet", "kd_dlib": "dlib", "kid": "inception",
    "precision_recall": "effnet", "precision_recall_dlib": "dlib",
}  # fmt: skip
OTHER_FEATURES = "not on Inception's features, so no {}: numbers of different networks cannot be compared"


def measure(*names: str) -> Callable[[Measure], Measure]:
    """Decorator: the function measures under these names; it gets the bench and the name."""

    def register(function: Measure) -> Measure:
        MEASURES.update(dict.fromkeys(names, function))
        return function

    return register


def has_w(generator: nn.Module) -> bool:
    """Whether there is a space W besides Z: not in PGGAN."""
    return bool(getattr(generator, "has_styles", True))


def chosen(text: str, generator: nn.Module | None = None) -> list[str]:
    """The names of measures in a comma-separated list, groups spelt out, but for those that a generator has not.

    UserError: there is no such measure, or it is not defined for the generator.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in MEASURES and name not in GROUPS:
            raise UserError(f"there is no measure {name!r}: choose among {', '.join([*MEASURES, *GROUPS])}")
    if not names:
        raise UserError(f"no measure was asked for: choose among {', '.join([*MEASURES, *GROUPS])}")
    if generator is not None:
        _check(generator, names)
    spelt = [part for name in names for part in GROUPS.get(name, (name,))]
    return [name for name in dict.fromkeys(spelt) if generator is None or has_w(generator) or name not in OF_W]


def _check(generator: nn.Module, names: Sequence[str]) -> None:
    if "resolution_usage" in names:
        resolution_usage.check_usage(generator)
    if not has_w(generator) and (undefined := [name for name in names if name in OF_W]):
        raise UserError(f"{' and '.join(undefined)} need a space W, which this generator has not: measure ppl_z_full")


def evaluate_generator(bench: Bench, names: Sequence[str]) -> dict[str, Result]:
    """{name: result} of the measures, one after the other."""
    bench = replace(bench, keep_features=any(name in KEEPING for name in names), shared={})
    results = {}
    for name in tqdm(names, desc="measures", unit="measure"):
        started = time.perf_counter()
        result = MEASURES[name](bench, name)
        results[name] = replace(result, seconds=time.perf_counter() - started)
    return results


@measure("fd_effnet", "fd_dlib", "fid")
def _frechet(bench: Bench, name: str) -> Result:
    network, real, fake = bench.statistics(NETWORKS[name])
    departures = bench.departures(
        frechet.PAPER_SAMPLES,
        "" if name == "fid" else OTHER_FEATURES.format("FID"),
        _few(min(real.count, fake.count), len(real.mean)),
    )
    values = {name: frechet.frechet_distance(real, fake)}
    return Result(values, fake.count, frechet.PROTOCOL, departures, network.what, {"real_images": real.count})


@measure("kd_effnet", "kd_dlib", "kid")
def _kernel(bench: Bench, name: str) -> Result:
    network, real, fake = bench.statistics(NETWORKS[name])
    value, deviation = kernel_distance.kernel_distance(*_kept(real, fake), seed=bench.seed)
    departures = bench.departures(kernel_distance.PAPER_SAMPLES, "" if name == "kid" else OTHER_FEATURES.format("KID"))
    details = {"real_images": real.count, "deviation_over_subsets": deviation}
    return Result({name: value}, fake.count, kernel_distance.PROTOCOL, departures, network.what, details)


@measure("precision_recall", "precision_recall_dlib")
def _precision_recall(bench: Bench, name: str) -> Result:
    network, real, fake = bench.statistics(NETWORKS[name])
    real_features, fake_features = (f[: bench.num_samples] for f in _kept(real, fake))  # as many of either
    precision, recall = precision_recall.precision_recall(real_features, fake_features)
    departures = bench.departures(precision_recall.PAPER_SAMPLES, f"features of {network.what} instead of VGG-16's")
    values = {"precision": precision, "recall": recall}
    details = {"real_images": len(real_features)}
    return Result(values, fake.count, precision_recall.PROTOCOL, departures, network.what, details)


@measure(*ppl.VARIANTS)
def _path_length(bench: Bench, name: str) -> Result:
    space, sampling = name.removeprefix("ppl_").split("_")
    network, distance = bench.perceptual()
    lengths = ppl.path_lengths(
        bench.generator, distance, bench.num_samples, space, sampling, bench.crop, bench.batch_size, bench.seed,
        bench.truncation_psi,
    )  # fmt: skip
    departures = bench.departures(
        ppl.PAPER_SAMPLES,
        "" if network == "lpips_vgg" else f"the distance {network} instead of LPIPS on VGG-16",
        "the stored noise maps instead of fresh ones for each pair",
    )
    details = {"mean_with_outliers": float(lengths.mean()), "crop": bench.crop}
    return Result({name: ppl.mean_without_outliers(lengths)}, len(lengths), ppl.PROTOCOL, departures, network, details)


@measure("separability")
@torch.no_grad()
def _separability(bench: Bench, name: str) -> Result:
    attributes, classifier, accuracies = bench.classifier()
    z = latents(bench.generator, bench.num_samples, bench.seed)
    samples = bench.sample(bench.num_samples, "samples, attributes")
    logits = torch.cat([classifier(batch).cpu() for batch in samples])  # [N, A]
    device = device_of(bench.generator)
    found = {"z": separation.separability(z, logits, attributes)}
    if has_w(bench.generator):
        labels = classes(bench.generator, len(z), bench.seed)
        parts = [
            mapped(bench.generator, z[i].to(device), bench.truncation_psi, None if labels is None else labels[i])[:, 0]
            for i in torch.arange(len(z)).split(1000)
        ]  # each [1000, w_dim]
        found["w"] = separation.separability(torch.cat(parts).cpu(), logits, attributes)
    values = {f"separability_{space}{end}": scores[key] for space, scores in found.items() for end, key in _SCORES}
    departures = bench.departures(
        separation.PAPER_SAMPLES,
        f"{len(attributes)} attributes, one small classifier for all of them",
        _few(int(bench.num_samples * separation.KEPT), separation.ENOUGH * z.shape[1])
        and "few samples for an SVM of that many dimensions: trust the held-out score",
    )
    details = {
        "entropies": {space: scores["entropies"] for space, scores in found.items()},
        "constant": found["z"]["constant"],
        "classifier_accuracy": accuracies,
    }
    return Result(values, len(z), separation.PROTOCOL, departures, "attribute classifier", details)


_SCORES = (("", "score"), ("_held_out", "held_out"))


@measure("resolution_usage")
@torch.no_grad()
def _resolution_usage(bench: Bench, name: str) -> Result:
    count = min(bench.num_samples, resolution_usage.PAPER_SAMPLES)
    z = latents(bench.generator, count, bench.seed).to(device_of(bench.generator))
    ws = mapped(bench.generator, z, bench.truncation_psi, classes(bench.generator, count, bench.seed))
    shares = resolution_usage.resolution_usage(bench.generator, ws, bench.batch_size)
    values = {f"resolution_usage_{resolution}": share for resolution, share in shares.items()}
    departures = fewer(count, resolution_usage.PAPER_SAMPLES)
    return Result(values, count, resolution_usage.PROTOCOL, departures)


@measure("attribution")
def _attribution(bench: Bench, name: str) -> Result:
    network, distance = bench.perceptual()
    count = min(bench.attribution_images, len(bench.held_out))
    device = device_of(bench.generator)
    real = torch.stack([images.to_tensor(bench.held_out[i]) for i in range(count)])  # [N, C, R, R]
    generated = torch.cat(list(bench.sample(count)))  # [N, C, R, R]
    found = [
        attribution.projection_distances(
            (part.to(device) for part in pictures.split(bench.batch_size)),
            lambda targets: bench.project(targets, lambda a, b: distance(as_rgb(a), as_rgb(b))),
            distance,
        )
        for pictures in (generated, real)
    ]
    details = attribution.attribution(*found)
    values = {f"attribution_{key}": details.pop(key) for key in ("auc", "generated", "real")}
    steps = bench.projection_steps
    departures = (
        f"{count} images of either kind",
        *((f"{steps} steps instead of {attribution.PAPER_STEPS:,}",) if steps != attribution.PAPER_STEPS else ()),
        *((f"the distance {network} instead of LPIPS on VGG-16",) if network != "lpips_vgg" else ()),
    )
    return Result(values, count, attribution.PROTOCOL, departures, network, details)


@measure("face_ratio")
def _face_ratio(bench: Bench, name: str) -> Result:
    count = min(bench.num_samples, FACES)
    samples = torch.cat([rounded(as_rgb(batch)).cpu() for batch in bench.sample(count)])  # [N, 3, R, R]
    real = [bench.held_out[i] for i in range(min(count, len(bench.held_out)))]
    rates = face_rate(images.to_uint8(samples), "samples"), face_rate(real, "data")
    values = {"face_ratio": rates[0] / max(rates[1], 1e-9), "face_rate": rates[0], "face_rate_data": rates[1]}
    protocol = f"a measure of ours: share of pictures, enlarged to {DETECTION_SIDE} px, in which MTCNN finds a face"
    return Result(values, count, protocol, (), "MTCNN (facenet-pytorch)", {"real_images": len(real)})


def face_rate(pictures: Sequence[np.ndarray] | np.ndarray, name: str) -> float:
    """Share of the uint8 pictures [R, R, C] in which MTCNN finds a face."""
    detect = build_detector("mtcnn")
    found = []
    for picture in tqdm(pictures, desc=f"faces, {name}", unit="img", leave=False):
        rgb = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture[:, :, :3]  # [R, R, 3]
        found.append(bool(detect(images.resize(rgb, (DETECTION_SIDE, DETECTION_SIDE)))))
    return float(np.mean(found))


def _kept(real: FeatureStatistics, fake: FeatureStatistics) -> tuple[Tensor, Tensor]:
    """The features themselves, [M, D] and [N, D]."""
    if real.kept is None or fake.kept is None:
        raise ValueError("this measure needs statistics that keep their features")
    return real.kept, fake.kept


def _few(count: int, wanted: int) -> str:
    return f"only {count:,} images for {wanted:,} features, which raises the distance" if count <= wanted else ""
