"""Directions of W along which images change in one way: from labels, from the data's spread, from the weights alone.

InterFaceGAN (Shen et al. 2019, arXiv 1907.10786), GANSpace (Härkönen et al. 2020, arXiv 2004.02546) and SeFa (Shen and
Zhou 2020, arXiv 2007.06600). All are unit vectors; strengths are in standard deviations of W along the direction.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan2.loading import PRETRAINED
from stylegan2.metrics.separability import fit_linear_svm
from stylegan2.networks.protocols import Generator
from stylegan2.runtime import checkpoint
from stylegan2.runtime.bounded import LONGEST_NAME, reading
from stylegan2.runtime.checkpoint import Metadata
from stylegan2.runtime.errors import CheckpointError, UserError

Item = TypeVar("Item")
KIND = "directions"
FEATURES = "features."  # prefix of the names of tensors in their file
MAX_DIRECTIONS, MAX_ROWS = 1024, 64  # directions in a file, and rows of w_plus
MIN_RELATIVE_DEVIATION = 1e-2  # smaller deviations of W along a direction, as shares of the largest one, count as noise
MIN_NORM = 1e-3  # a unit vector that conditioning has made shorter than this consists of rounding errors
USEFUL_QUANTILES = (0.005, 0.995)  # edits should end between these quantiles of the samples


@dataclass(frozen=True)
class Directions:
    """K named directions of W."""

    names: tuple[str, ...]
    vectors: Tensor
    """[K, w_dim], of unit length"""
    scales: Tensor
    """[K], standard deviation of W along each: the unit of strengths"""
    rows: tuple[int, ...]
    """rows of w_plus that are moved"""
    fingerprints: tuple[str, ...] = ()
    """`fingerprints` of the generator that they were found for; empty if their file does not say"""
    centres: Tensor | None = None
    """[K], position of the mean of W along each; None in files of earlier versions"""
    ranges: Tensor | None = None
    """[K, 2], the useful range: the positions between which nearly all samples lie, in standard deviations from the
    mean"""
    features: Mapping[str, Tensor] = field(default_factory=dict)
    """{name: [C, r, r]}, change of the generator's feature maps of side r by a unit of strength, which takes the place
    of the move of w_plus for codes with features"""

    def index(self, name: str) -> int:
        """Return the index of a direction. UserError: there is no direction of that name."""
        if name not in self.names:
            raise UserError(f"there is no direction {name!r}; there are {', '.join(self.names)}")
        return self.names.index(name)

    def were_found_for(self, generator: Generator) -> bool:
        """Return whether the generator is known to have the W that these directions were found in."""
        return not set(self.fingerprints).isdisjoint(fingerprints(generator))

    def check(self, generator: Generator) -> None:
        """Raise a UserError if these are directions in the W of another generator."""
        if self.fingerprints and not self.were_found_for(generator):
            raise UserError(
                "these directions were found for another generator and do not apply to this one: find "
                "directions for this one"
            )
        w_dim, rows = self.vectors.shape[1], max(self.rows) + 1
        if w_dim != generator.w_dim or rows > generator.num_ws:
            raise UserError(
                f"these directions are for a generator with w of {w_dim} numbers and {rows} rows or more, but this one "
                f"has {generator.w_dim} and {generator.num_ws}: find directions for it"
            )

    def move(self, codes: Tensor, name: str, strengths: Sequence[float]) -> Tensor:
        """Move codes [N, num_ws, w_dim] along one direction by S strengths: [N, S, num_ws, w_dim]."""
        k = self.index(name)
        steps = torch.tensor(strengths, dtype=codes.dtype) * self.scales[k].to(codes.dtype)  # [S]
        shifts = steps[:, None] * self.vectors[k].to(codes.dtype)  # [S, w_dim]
        moved = codes[:, None].repeat(1, len(steps), 1, 1)  # [N, S, num_ws, w_dim]
        moved[:, :, list(self.rows)] += shifts[:, None].to(codes.device)
        return moved

    def position(self, codes: Tensor, name: str) -> Tensor | None:
        """Return the positions [N] of codes [N, num_ws, w_dim] along a direction, in standard deviations from the mean.

        The position of a code is the average over the rows that are moved. It is None if the file does not contain the
        position of the mean.
        """
        if self.centres is None:
            return None
        k = self.index(name)
        along = codes[:, list(self.rows)].mean(1).cpu() @ self.vectors[k].to(codes.dtype)  # [N]
        return (along - self.centres[k]) / self.scales[k]

    def range_of(self, name: str) -> tuple[float, float] | None:
        """Return the useful range of a direction, in the unit of `position`; None if the file does not say."""
        if self.ranges is None:
            return None
        low, high = self.ranges[self.index(name)].tolist()
        return low, high


def build_directions(
    generator: Generator, names: Sequence[str], vectors: Tensor, rows: Sequence[int], w: Tensor, known: bool = True
) -> Directions:
    """Measure directions on samples of the generator: the unit of strengths, the mean, and the useful range.

    Args:
        generator: The generator in whose W the directions are.
        names: [K].
        vectors: Unit vectors [K, w_dim].
        rows: Rows of w_plus that are moved.
        w: Samples [N, w_dim].
        known: Whether the directions were certainly found for this generator; its fingerprints are then recorded.
    """
    w, vectors = w.cpu(), vectors.cpu()
    along, scales = w @ vectors.T, deviation_along(w, vectors)  # [N, K], [K]
    centres = along.mean(0)  # [K]
    places = (along - centres) / scales.clamp(min=torch.finfo(w.dtype).tiny)  # [N, K]
    ranges = torch.quantile(places, torch.tensor(USEFUL_QUANTILES, dtype=w.dtype), dim=0).T.contiguous()  # [K, 2]
    owner = fingerprints(generator) if known else ()
    return Directions(tuple(names), vectors, scales, tuple(rows), owner, centres, ranges)


def fingerprints(generator: Generator) -> tuple[str, ...]:
    """Return digests by which a generator's W is recognised; two generators with a digest in common have the same W.

    The first one is of the mapping network, or else of all weights. It stays the same where the synthesis alone is
    tuned, where layers are blended, where weights are stored as 16-bit numbers, and in every format that a generator is
    converted to. The second one, of the mean of W where that is known, also stays the same where the mapping network
    alone is trained (`freeze_synthesis`).
    """
    weights = list(generator.mapping.named_parameters()) or list(generator.named_parameters())
    mean = [("w_avg", generator.w_avg)] if generator.w_avg.any() else []
    return tuple(_digest(tensors) for tensors in (weights, mean) if tensors)


def _digest(tensors: Sequence[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors):
        digest.update(f"{name} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().half().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


# ----------------------------------------------------------------------------------------- finding them


def boundary(w: Tensor, scores: Tensor, keep: float = 0.2) -> Tensor:
    """Find the plane that separates samples with an attribute from those without (InterFaceGAN, section 2.1).

    Args:
        w: [N, w_dim].
        scores: [N], higher where the attribute is more likely present: logits of a classifier, degrees, or labels 0 and
            1.
        keep: Share of the samples that the plane is fitted to, half of which have the highest scores and half the
            lowest.

    Returns:
        The normal of the plane, a unit vector [w_dim] towards higher scores.

    Raises:
        UserError: The scores are all the same, so that there is nothing to separate.
    """
    high, low = extremes(scores, keep)
    x = torch.cat([w[high], w[low]]).double()  # [M, w_dim]
    # All axes are scaled alike, so that none is favoured.
    x = (x - x.mean(0)) / x.std().clamp(min=torch.finfo(torch.float32).tiny)
    positive = torch.arange(len(x), device=x.device) < len(high)  # [M]
    normal, _ = fit_linear_svm(x, positive)  # [w_dim]
    return F.normalize(normal, dim=0).to(w.dtype)


def boundaries(
    w: Tensor,
    scores: Mapping[str, Tensor],
    conditioned_attributes: Mapping[str, Sequence[str]],
    samples: Tensor,
    keep: float = 0.2,
) -> Tensor:
    """Find for each attribute the direction that crosses its boundary, but not those of its `conditioned_attributes`.

    InterFaceGAN works in Z, whose distribution is isotropic. That of W is not: a normal there favours axes along which
    samples hardly differ, and following it leads away from the samples. The planes are therefore found and conditioned
    after whitening; the directions are mapped back, and cross and keep the same planes of W.

    Args:
        w: [N, w_dim].
        scores: {attribute: [N]} for all attributes that are named.
        conditioned_attributes: {attribute: other attributes whose planes are not crossed}.
        samples: [M, w_dim], samples of the generator from which the covariance of W is estimated.
        keep: Share of the samples that a plane is fitted to, as in `boundary`.

    Returns:
        Unit vectors [K, w_dim].
    """
    shape = covariance_root(samples)  # [w_dim, w_dim]
    u = torch.linalg.solve(shape, (w - samples.mean(0)).double().T).T  # [N, w_dim], of variance 1 in all directions
    needed = {name for own, others in conditioned_attributes.items() for name in (own, *others)}
    normals = {name: boundary(u, scores[name], keep) for name in sorted(needed)}
    conditioned = [
        condition(normals[own], [normals[b] for b in others]) for own, others in conditioned_attributes.items()
    ]
    return F.normalize(torch.stack(conditioned) @ shape, dim=1).to(w.dtype)


def covariance_root(samples: Tensor) -> Tensor:
    """Return the symmetric square root [D, D] of the covariance of samples [M, D], with a floor for small variances."""
    values, vectors = torch.linalg.eigh(torch.cov(samples.double().T))  # [D], [D, D]
    values = values.clamp(min=MIN_RELATIVE_DEVIATION**2 * float(values[-1]))
    return vectors @ torch.diag(values.sqrt()) @ vectors.T


def extremes(scores: Tensor, keep: float = 0.2) -> tuple[Tensor, Tensor]:
    """Return the indices of the highest and of the lowest scores [N], each a share keep / 2 of all samples.

    A side holds fewer where a label is rarer than that: samples whose score equals that of a sample which was left
    out are left out too.

    Raises:
        UserError: `keep` is out of range, or all scores are the same.
    """
    if not 0 < keep <= 1:
        raise UserError(f"the share of samples to keep must be above 0 and at most 1, not {keep}")
    if len(scores) < 2 or scores.min() == scores.max():
        raise UserError("all samples have the same label: no direction can be found")
    count = max(1, int(len(scores) * keep / 2))
    order = scores.argsort(stable=True)  # [N]
    low, high = order[:count], order[-count:]
    untied_high = high[scores[high] != scores[order[-count - 1]]]  # without those that equal the first one left out
    untied_low = low[scores[low] != scores[order[count]]]
    return (untied_high if len(untied_high) else high), (untied_low if len(untied_low) else low)


def principal_components(w: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Find the principal components of W, along which samples vary most (GANSpace, section 2.1).

    Args:
        w: Samples [N, w_dim].
        count: Number of directions.

    Returns:
        Vectors [count, w_dim] and standard deviations [count].

    Raises:
        UserError: There are fewer directions than `count`.
    """
    _check_count(count, min(w.shape[1], len(w) - 1), "principal components")
    centred = (w - w.mean(0)).double()  # [N, w_dim]
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(w))  # ascending; [w_dim], [w_dim, w_dim]
    return _largest(vectors, count).to(w.dtype), values.flip(0)[:count].clamp(min=0).sqrt().to(w.dtype)


@torch.no_grad()
def closed_form(generator: Generator, rows: Sequence[int], count: int) -> tuple[Tensor, Tensor]:
    """Find the directions that change the styles of some layers most, from the weights alone (SeFa, section 3.2).

    They are the eigenvectors of A^T A, where A is the concatenation of the weights that turn w into the styles of these
    layers.

    Args:
        generator: A style-based generator.
        rows: Rows of w_plus whose layers count.
        count: Number of directions.

    Returns:
        Vectors n [count, w_dim], and how much each changes the styles, |A n| / |A|, [count].

    Raises:
        UserError: There are fewer directions than `count`, or the generator has no such weights.
    """
    weights = style_weights(generator)
    stacked = torch.cat([weights[row] for row in rows]).double()  # [styles, w_dim]
    _check_count(count, stacked.shape[1], "closed-form directions")
    values, vectors = torch.linalg.eigh(stacked.T @ stacked)  # ascending
    shares = (values.flip(0)[:count].clamp(min=0) / values.sum()).sqrt()  # [count]
    return _largest(vectors, count).to(weights[0].dtype), shares.to(weights[0].dtype)


def style_weights(generator: Generator) -> list[Tensor]:
    """Return, for each row of w_plus, the weight [channels, w_dim] that turns it into the style of its layer."""
    synthesis = generator.synthesis
    layers = [*getattr(synthesis, "layers", []), *getattr(synthesis, "to_rgbs", [])[-1:]][: generator.num_ws]
    if len(layers) < generator.num_ws or not all(hasattr(layer, "affine") for layer in layers):
        raise UserError(
            f"closed-form directions are not known for this kind of generator ({type(generator).__module__})"
        )
    return [layer.affine.weight for layer in layers]


def condition(vector: Tensor, others: Sequence[Tensor]) -> Tensor:
    """Subtract from a direction [w_dim] its parts along others (InterFaceGAN, section 2.2: conditional manipulation).

    Moving along the result, which has unit length, keeps the distance to every plane whose normal is one of the others.

    Raises:
        UserError: Nothing is left, because the direction is a combination of the others.
    """
    unit = F.normalize(vector.double(), dim=0)
    if others:
        basis, _ = torch.linalg.qr(torch.stack(list(others), 1).double())  # [w_dim, M]
        unit = unit - basis @ (basis.T @ unit)  # [w_dim]
    if unit.norm() < MIN_NORM:
        raise UserError(
            "a direction is a combination of the directions that it should keep unchanged: list fewer of those"
        )
    return F.normalize(unit, dim=0).to(vector.dtype)


def deviation_along(w: Tensor, vectors: Tensor) -> Tensor:
    """Return the standard deviation of samples w [N, w_dim] along unit vectors [K, w_dim]: [K]."""
    return (w @ vectors.T).std(0, correction=0)


def _largest(vectors: Tensor, count: int) -> Tensor:
    """Return the last `count` columns of [D, D] as rows, last first; signs make the largest entry of each positive."""
    rows = vectors.T.flip(0)[:count]  # [count, D]
    return rows * rows.gather(1, rows.abs().argmax(1, keepdim=True)).sign()


def _check_count(count: int, most: int, what: str) -> None:
    if not 1 <= count <= most:
        raise UserError(f"the number of {what} must be from 1 to {most}, not {count}")


# -------------------------------------------------------------------------------------------- their file


def shipped_directions(generator: Generator) -> dict[str, Directions]:
    """Load {name: directions} of those that come with this package and were found for a generator."""
    shipped = {name: load_directions(name)[0] for name in PRETRAINED.shipped_as(KIND)}
    return {name: directions for name, directions in shipped.items() if directions.were_found_for(generator)}


def save_directions(path: Path, directions: Directions, metadata: Metadata) -> None:
    """Write directions to a .safetensors file, with names, rows, the fingerprints and `metadata` as JSON."""
    known = {name: getattr(directions, name) for name in ("vectors", "scales", "centres", "ranges")}
    tensors = {name: tensor for name, tensor in known.items() if tensor is not None}
    tensors |= {f"{FEATURES}{name}": tensor for name, tensor in directions.features.items()}
    about = {"kind": KIND, "names": list(directions.names), "rows": list(directions.rows)}
    about["fingerprints"] = list(directions.fingerprints)
    checkpoint.save(path, tensors, {**metadata, **about})


def load_directions(path_or_name: str | Path) -> tuple[Directions, Metadata]:
    """Load directions from a file, or directions that come with the package, by name.

    Returns:
        The directions, and the metadata of the file.

    Raises:
        UserError: There is nothing of that name.
        CheckpointError: The file is damaged or holds something else.
    """
    path = Path(path_or_name)
    if not path.is_file():
        path = PRETRAINED.locate_model(str(path_or_name), KIND)
    tensors, metadata = checkpoint.read(path)
    if metadata.get("kind") != KIND:
        raise CheckpointError(f"{str(path)!r} contains no directions: it is a checkpoint of {metadata.get('kind')!r}")
    with reading(path, "a file of directions", CheckpointError):
        return _checked(tensors, metadata), metadata


def _checked(tensors: Mapping[str, Tensor], metadata: Metadata) -> Directions:
    """Build directions from a file. UserError: something is missing, of another type or shape, or not finite."""
    names, rows = metadata.get("names"), metadata.get("rows")
    unique = _is_list(names, str, MAX_DIRECTIONS) and len(set(names)) == len(names)
    if not unique or names is None or any(len(name) > LONGEST_NAME for name in names):
        raise UserError("its directions have no names, or two have the same name")
    if not _is_list(rows, int, MAX_ROWS) or any(not 0 <= row < MAX_ROWS for row in rows):
        raise UserError(f"the rows that its directions move must be whole numbers from 0 to {MAX_ROWS - 1}")
    before = metadata.get("fingerprint")  # of the mapping network, in files of earlier versions
    fingerprints = metadata.get("fingerprints", [] if before is None else [before])
    if not isinstance(fingerprints, list) or not all(isinstance(digest, str) for digest in fingerprints):
        raise UserError("its fingerprints are not texts")
    if missing := [name for name in ("vectors", "scales") if name not in tensors]:
        raise UserError(f"it lacks the tensor {missing[0]!r}")
    count, w_dim = len(names), tensors["vectors"].shape[-1] if tensors["vectors"].ndim else 0
    shapes = {"vectors": [count, w_dim], "scales": [count], "centres": [count], "ranges": [count, 2]}
    known = {name: tensors[name] for name in shapes if name in tensors}
    for name, tensor in known.items():
        if list(tensor.shape) != shapes[name] or not tensor.is_floating_point() or not tensor.isfinite().all():
            raise UserError(f"its {name} are not {shapes[name]} finite numbers but {tensor.dtype} {list(tensor.shape)}")
    features = {name.removeprefix(FEATURES): tensor for name, tensor in tensors.items() if name.startswith(FEATURES)}
    for name, tensor in features.items():
        if name not in names or tensor.ndim != 3 or not tensor.is_floating_point() or not tensor.isfinite().all():
            raise UserError(f"its features {name!r} are not [C, r, r] finite numbers of one of its directions")
    optional = known.get("centres"), known.get("ranges")
    return Directions(
        tuple(names), known["vectors"], known["scales"], tuple(rows), tuple(fingerprints), *optional, features
    )


def _is_list(value: object, kind: type[Item], most: int) -> TypeGuard[list[Item]]:
    """Return whether a value is a list of 1 to `most` items of one type."""
    return isinstance(value, list) and 1 <= len(value) <= most and all(type(item) is kind for item in value)
