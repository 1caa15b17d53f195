"""Metrics of a generator by name, each with its networks and samples and with its departures from the paper.

scripts/evaluate_generator.py calls `evaluate_generator`, which calls the function that is registered under a name. The
mathematics are in stylegan2.metrics, one file per metric.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from psp.evaluation.attributes import LabelledImages, attribute_classifier
from psp.evaluation.features import FeatureNetwork, Pictures, RealImages, feature_network
from psp.inference.detect import build_detector
from psp.losses.lpips import build_perceptual
from psp.pretrained_files import PRETRAINED
from stylegan2.latents.project import Schedule, project
from stylegan2.latents.sampling import device_of
from stylegan2.metrics import attribution, frechet, kernel_distance, ppl, precision_recall, resolution_usage
from stylegan2.metrics import separability as separation
from stylegan2.metrics.features import FeatureStatistics, feature_statistics
from stylegan2.metrics.results import Result, fewer
from stylegan2.metrics.samples import as_rgb, classes, generate, latents, mapped, rounded
from stylegan2.networks.protocols import Generator
from stylegan2.runtime import images
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.progress import track

FACES = 256  # pictures in which face_ratio searches for a face
DETECTION_SIDE = 256  # small pictures are enlarged to this size for the detector


@dataclass(frozen=True)
class MetricInputs:
    """A generator, the images that it is compared with, and the settings of its metrics."""

    generator: Generator
    real: RealImages
    """images that the generator was trained on"""
    held_out: Pictures
    """uint8 [R, R, C], procedural faces that no training saw or one's own images: for face_ratio and attribution"""
    labelled: LabelledImages | None = None
    """images with attributes, for separability"""
    num_samples: int = 5_000
    batch_size: int = 16
    seed: int = 0
    truncation_psi: float = 1.0
    perceptual: str = "auto"
    """distance of ppl and attribution; "auto" is LPIPS on VGG-16 if its file is found, else effnet"""
    inception: Path | None = None
    """file of the Inception network for fid and kid"""
    crop: bool = False
    """whether path lengths compare only the face of an FFHQ-aligned image"""
    attribution_images: int = 16
    projection_steps: int = attribution.PAPER_STEPS
    keep_features: bool = False
    """whether the features themselves are kept, which all metrics but the Frechet distances need"""
    shared: dict[str, tuple[FeatureNetwork, FeatureStatistics, FeatureStatistics]] = field(default_factory=dict)
    """results that several metrics share"""

    @property
    def device(self) -> torch.device:
        """Return the generator's device."""
        return device_of(self.generator)

    def sample(self, count: int, name: str = "samples") -> Iterator[Tensor]:
        """Yield the first samples in batches [N, C, R, R], which are the same for every metric."""
        z = latents(self.generator, count, self.seed)
        return generate(self.generator, z, self.batch_size, self.truncation_psi, self.seed, name)

    def statistics(self, name: str) -> tuple[FeatureNetwork, FeatureStatistics, FeatureStatistics]:
        """Return a feature network, and its statistics of the real images and of the samples."""
        if name not in self.shared:
            network = feature_network(name, self.inception if name == "inception" else None, self.device)
            real = self.real.statistics(network, self.keep_features, self.batch_size)
            samples = self.sample(self.num_samples, f"samples, {name}")
            self.shared[name] = network, real, feature_statistics(samples, network, self.keep_features)
        return self.shared[name]

    def distance(self) -> nn.Module:
        """Return the perceptual distance, with an attribute `name`."""
        automatic = "vgg" if PRETRAINED.find("vgg16") else "effnet"
        return build_perceptual(automatic if self.perceptual == "auto" else self.perceptual).to(self.device)

    def departures(self, paper_samples: int, *others: str) -> tuple[str, ...]:
        """List the departures of this measurement from the paper's; empty texts in `others` are left out."""
        truncated = () if self.truncation_psi == 1 else (f"truncated to psi {self.truncation_psi}",)
        vectors = getattr(self.generator, "label_rows", None)
        drawn = "classes drawn evenly" if vectors is None else f"labels drawn from {len(vectors)} of the data's"
        even = (drawn,) if getattr(self.generator, "num_classes", 0) else ()
        return (*fewer(self.num_samples, paper_samples), *truncated, *even, *filter(None, others))


Metric = Callable[[MetricInputs, str], Result]
METRICS: dict[str, Metric] = {}
GROUPS = {"ppl": ppl.VARIANTS}
METRICS_IN_W = tuple(name for name in ppl.VARIANTS if name.startswith("ppl_w"))
METRICS_OF_FEATURES = ("kd_effnet", "kd_dlib", "kid", "precision_recall", "precision_recall_dlib")
"""metrics that need the features themselves"""
NETWORKS = {
    "fd_effnet": "effnet", "fd_dlib": "dlib", "fid": "inception",
    "kd_effnet": "effnet", "kd_dlib": "dlib", "kid": "inception",
    "precision_recall": "effnet", "precision_recall_dlib": "dlib",
}  # fmt: skip
OTHER_FEATURES = "not computed from Inception's features, so not {}: numbers of different networks cannot be compared"


def register_metric(*names: str) -> Callable[[Metric], Metric]:
    """Register a function as the metric of these names; it takes the inputs and the name."""

    def decorator(function: Metric) -> Metric:
        METRICS.update(dict.fromkeys(names, function))
        return function

    return decorator


def has_w(generator: Generator) -> bool:
    """Return whether a generator has a space W besides Z, which PGGAN does not have."""
    return bool(getattr(generator, "has_styles", True))


def parse_metrics(text: str, generator: Generator | None = None) -> list[str]:
    """Split a comma-separated list of metrics, and expand groups.

    Args:
        text: Names of metrics and groups.
        generator: If given, the metrics of a group that are not defined for it are left out.

    Raises:
        UserError: There is no such metric, or it is not defined for the generator.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in METRICS and name not in GROUPS:
            raise UserError(f"there is no metric {name!r}: choose from {', '.join([*METRICS, *GROUPS])}")
    if not names:
        raise UserError(f"no metric was given: choose from {', '.join([*METRICS, *GROUPS])}")
    if generator is not None:
        _check_defined(generator, names)
    spelt = [part for name in names for part in GROUPS.get(name, (name,))]
    return [name for name in dict.fromkeys(spelt) if generator is None or has_w(generator) or name not in METRICS_IN_W]


def _check_defined(generator: Generator, names: Sequence[str]) -> None:
    if "resolution_usage" in names:
        resolution_usage.check_usage(generator)
    if not has_w(generator) and (undefined := [name for name in names if name in METRICS_IN_W]):
        raise UserError(
            f"{' and '.join(undefined)} need a space W, which this generator does not have: choose ppl_z_full"
        )


def evaluate_generator(inputs: MetricInputs, names: Sequence[str]) -> dict[str, Result]:
    """Compute metrics one after the other, and return {name: result}."""
    inputs = replace(inputs, keep_features=any(name in METRICS_OF_FEATURES for name in names), shared={})
    results = {}
    for name in track(names, "metrics", "metric"):
        started = time.perf_counter()
        result = METRICS[name](inputs, name)
        results[name] = replace(result, seconds=time.perf_counter() - started)
    return results


@register_metric("fd_effnet", "fd_dlib", "fid")
def _frechet(inputs: MetricInputs, name: str) -> Result:
    network, real, fake = inputs.statistics(NETWORKS[name])
    departures = inputs.departures(
        frechet.PAPER_SAMPLES,
        "" if name == "fid" else OTHER_FEATURES.format("FID"),
        _few(min(real.count, fake.count), len(real.mean)),
    )
    values = {name: frechet.frechet_distance(real, fake)}
    return Result(values, fake.count, frechet.PROTOCOL, departures, network.description, {"real_images": real.count})


@register_metric("kd_effnet", "kd_dlib", "kid")
def _kernel(inputs: MetricInputs, name: str) -> Result:
    network, real, fake = inputs.statistics(NETWORKS[name])
    value, deviation = kernel_distance.kernel_distance(*_kept(real, fake), seed=inputs.seed)
    departures = inputs.departures(kernel_distance.PAPER_SAMPLES, "" if name == "kid" else OTHER_FEATURES.format("KID"))
    details = {"real_images": real.count, "deviation_over_subsets": deviation}
    return Result({name: value}, fake.count, kernel_distance.PROTOCOL, departures, network.description, details)


@register_metric("precision_recall", "precision_recall_dlib")
def _precision_recall(inputs: MetricInputs, name: str) -> Result:
    network, real, fake = inputs.statistics(NETWORKS[name])
    real_features, fake_features = (f[: inputs.num_samples] for f in _kept(real, fake))  # the same number of both
    precision, recall = precision_recall.precision_recall(real_features, fake_features)
    departures = inputs.departures(
        precision_recall.PAPER_SAMPLES, f"features of {network.description} instead of VGG-16's"
    )
    values = {"precision": precision, "recall": recall}
    details = {"real_images": len(real_features)}
    return Result(values, fake.count, precision_recall.PROTOCOL, departures, network.description, details)


@register_metric(*ppl.VARIANTS)
def _path_length(inputs: MetricInputs, name: str) -> Result:
    space, sampling = name.removeprefix("ppl_").split("_")
    distance = inputs.distance()
    network = str(distance.name)
    lengths = ppl.path_lengths(
        inputs.generator, distance, inputs.num_samples, space, sampling, inputs.crop, inputs.batch_size, inputs.seed,
        inputs.truncation_psi,
    )  # fmt: skip
    departures = inputs.departures(
        ppl.PAPER_SAMPLES,
        "" if network == "lpips_vgg" else f"the distance {network} instead of LPIPS on VGG-16",
        "the stored noise maps instead of fresh ones for each pair",
    )
    details = {"mean_with_outliers": float(lengths.mean()), "crop": inputs.crop}
    return Result({name: ppl.mean_without_outliers(lengths)}, len(lengths), ppl.PROTOCOL, departures, network, details)


@register_metric("separability")
@torch.no_grad()
def _separability(inputs: MetricInputs, name: str) -> Result:
    if inputs.labelled is None:
        raise UserError("separability needs images with attributes")
    classifier, accuracies = attribute_classifier(inputs.labelled, inputs.device)
    attributes = classifier.names
    z = latents(inputs.generator, inputs.num_samples, inputs.seed)
    samples = inputs.sample(inputs.num_samples, "samples, attributes")
    logits = torch.cat([classifier(batch).cpu() for batch in samples])  # [N, A]
    by_space = {"z": separation.separability(z, logits, attributes)}
    if has_w(inputs.generator):
        labels = classes(inputs.generator, len(z), inputs.seed)
        w = []
        for part in torch.arange(len(z)).split(1000):
            own = None if labels is None else labels[part]
            ws = mapped(inputs.generator, z[part].to(inputs.device), inputs.truncation_psi, own)  # [n, num_ws, w_dim]
            w.append(ws[:, 0].cpu())
        by_space["w"] = separation.separability(torch.cat(w), logits, attributes)
    values = {f"separability_{space}{end}": scores[key] for space, scores in by_space.items() for end, key in _SCORES}
    departures = inputs.departures(
        separation.PAPER_SAMPLES,
        f"{len(attributes)} attributes, one small classifier for all of them",
        _few(int(inputs.num_samples * separation.CONFIDENT_SHARE), separation.SAMPLES_PER_DIMENSION * z.shape[1])
        and "few samples for an SVM of that many dimensions: trust the held-out score",
    )
    details = {
        "entropies": {space: scores["entropies"] for space, scores in by_space.items()},
        "constant": by_space["z"]["constant"],
        "classifier_accuracy": accuracies,
    }
    return Result(values, len(z), separation.PROTOCOL, departures, "attribute classifier", details)


_SCORES = (("", "score"), ("_held_out", "held_out"))


@register_metric("resolution_usage")
@torch.no_grad()
def _resolution_usage(inputs: MetricInputs, name: str) -> Result:
    count = min(inputs.num_samples, resolution_usage.PAPER_SAMPLES)
    z = latents(inputs.generator, count, inputs.seed).to(inputs.device)
    ws = mapped(inputs.generator, z, inputs.truncation_psi, classes(inputs.generator, count, inputs.seed))
    shares = resolution_usage.resolution_usage(inputs.generator, ws, inputs.batch_size)
    values = {f"resolution_usage_{resolution}": share for resolution, share in shares.items()}
    departures = fewer(count, resolution_usage.PAPER_SAMPLES)
    return Result(values, count, resolution_usage.PROTOCOL, departures)


@register_metric("attribution")
def _attribution(inputs: MetricInputs, name: str) -> Result:
    distance = inputs.distance()
    network = str(distance.name)
    count = min(inputs.attribution_images, len(inputs.held_out))
    real = torch.stack([images.to_tensor(inputs.held_out[i]) for i in range(count)])  # [N, C, R, R]
    generated = torch.cat(list(inputs.sample(count)))  # [N, C, R, R]
    resynthesise = partial(_resynthesise, inputs, distance)
    distances = []
    for pictures in (generated, real):
        batches = (part.to(inputs.device) for part in pictures.split(inputs.batch_size))
        distances.append(attribution.projection_distances(batches, resynthesise, distance))  # [N]
    details = attribution.attribution(*distances)
    values = {
        "attribution_auc": details["auc"],
        "attribution_generated": details["generated"],
        "attribution_real": details["real"],
    }
    steps = inputs.projection_steps
    departures = (
        f"{count} images of either kind",
        *((f"{steps} steps instead of {attribution.PAPER_STEPS:,}",) if steps != attribution.PAPER_STEPS else ()),
        *((f"the distance {network} instead of LPIPS on VGG-16",) if network != "lpips_vgg" else ()),
    )
    return Result(values, count, attribution.PROTOCOL, departures, network, {"roc": details["roc"]})


def _resynthesise(inputs: MetricInputs, distance: nn.Module, targets: Tensor) -> Tensor:
    """Return the re-synthesis of targets [N, C, R, R] by the projector: [N, C, R, R]."""
    schedule = Schedule(steps=inputs.projection_steps, seed=inputs.seed)
    projection = project(inputs.generator, targets, lambda a, b: distance(as_rgb(a), as_rgb(b)), schedule=schedule)
    return projection.images


@register_metric("face_ratio")
def _face_ratio(inputs: MetricInputs, name: str) -> Result:
    count = min(inputs.num_samples, FACES)
    samples = torch.cat([rounded(as_rgb(batch)).cpu() for batch in inputs.sample(count)])  # [N, 3, R, R]
    real = [inputs.held_out[i] for i in range(min(count, len(inputs.held_out)))]
    rates = face_rate(images.to_uint8(samples), "samples"), face_rate(real, "data")
    values = {"face_ratio": rates[0] / max(rates[1], 1e-9), "face_rate": rates[0], "face_rate_data": rates[1]}
    protocol = f"a metric of ours: share of pictures, enlarged to {DETECTION_SIDE} px, in which MTCNN finds a face"
    return Result(values, count, protocol, (), "MTCNN (facenet-pytorch)", {"real_images": len(real)})


def face_rate(pictures: Sequence[np.ndarray] | np.ndarray, name: str) -> float:
    """Return the share of the uint8 pictures [R, R, C] in which MTCNN finds a face."""
    detect = build_detector("mtcnn")
    hits = []
    for picture in track(pictures, f"faces, {name}", "img", leave=False):
        rgb = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture[:, :, :3]  # [R, R, 3]
        hits.append(bool(detect(images.resize(rgb, (DETECTION_SIDE, DETECTION_SIDE)))))
    return float(np.mean(hits))


def _kept(real: FeatureStatistics, fake: FeatureStatistics) -> tuple[Tensor, Tensor]:
    """Return the features themselves, [M, D] and [N, D]."""
    if real.kept is None or fake.kept is None:
        raise ValueError("this metric needs statistics that keep their features")
    return real.kept, fake.kept


def _few(count: int, wanted: int) -> str:
    return f"only {count:,} images for {wanted:,} features, which raises the distance" if count <= wanted else ""
