"""Verify that a file gives the same results here as in the code that wrote it."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan2.convert import build, formula, lucidrains, nvidia, rosinality
from stylegan2.convert.layout import W_AVG, Stored
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.errors import CheckpointError, UserError

TOLERANCE = 1e-4
SAMPLES = 4  # points of Z that the mapping networks are compared on
TRUNCATION = 0.5
NOISE_DEVIATION = 12**-0.5  # of uniform noise in [0, 1]


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    passed: bool
    text: str


def compared(what: str, ours: Tensor, theirs: Tensor) -> Check:
    """Compare two tensors; the difference counts relative to the largest number in `theirs`."""
    scale = float(theirs.abs().max()) or 1.0
    difference = float((ours.to(theirs.dtype) - theirs).abs().max()) / scale
    passed = difference <= TOLERANCE  # False for NaN
    return Check(
        passed, f"{what}: largest difference from the published formula {difference:.1e} (at most {TOLERANCE:.0e})"
    )


def verify(stored: Stored, dtype: torch.dtype = torch.float32) -> Iterator[Check]:
    """Yield the checks of a file of any known format; `stylegan2.convert.formula` is computed in `dtype`."""
    try:
        generator, notes = build(stored)
        yield Check(
            True,
            f"read as a generator of {stored.source}: {generator.img_resolution} px, {generator.num_ws} rows of w+",
        )
        for note in notes:
            yield Check(True, note)
        yield from compare(generator, stored, dtype)
    except UserError as error:
        yield Check(False, str(error))


def require(checks: Iterator[Check]) -> Iterator[str]:
    """Yield the lines of the checks that pass. CheckpointError: a check fails."""
    for check in checks:
        if not check.passed:
            raise CheckpointError(check.text)
        yield check.text


@torch.no_grad()
def compare(generator: Generator, stored: Stored, dtype: torch.dtype = torch.float32) -> Iterator[Check]:
    """Compare our generator with the published formula on the tensors of a file: w, truncation and an image.

    Each part starts from the same numbers on both sides, since the networks amplify rounding errors. Each row of w+
    has another w, so that none can stand in for another.
    """
    source = torch.Generator().manual_seed(0)
    z = torch.randn(max(SAMPLES, generator.num_ws), generator.z_dim, generator=source)
    labels = torch.arange(len(z)) % generator.num_classes if generator.num_classes else None
    ws = generator.mapping(z, labels=labels)  # [M, num_ws, w_dim]
    expected = expected_w(stored, z.to(dtype), labels)  # [M, w_dim]
    yield compared("w", ws, expected[:, None].expand(ws.shape))
    for average in (stored.tensors[name] for name in (rosinality.W_AVG, W_AVG) if name in stored.tensors):
        average = average.reshape(-1).to(dtype)  # [w_dim]
        truncated = generator.mapping(z, TRUNCATION, labels=labels)[:, 0]  # [M, w_dim]
        yield compared("truncated w", truncated, average + TRUNCATION * (expected - average))
    w_plus = ws[: generator.num_ws, 0][None]  # [1, num_ws, w_dim]
    image = expected_image(stored, generator, w_plus.to(dtype))  # [1, C, R, R]
    yield compared(f"image of {generator.img_resolution} px", generator.synthesis(w_plus), image)


def expected_w(stored: Stored, z: Tensor, labels: Tensor | None) -> Tensor:
    """Map z [N, z_dim] to w [N, w_dim] by the published formula."""
    p = formula.Parameters(stored.tensors, "", z.dtype)
    if stored.source == rosinality.SOURCE:
        return formula.rosinality_w(p, z)
    if stored.source == nvidia.SOURCE:
        classes = p["mapping.embed.weight"].shape[1] if labels is not None else 0
        one_hot = None if labels is None else F.one_hot(labels, classes).to(z.dtype)  # [N, classes]
        return formula.nvidia_w(p, z, stored.settings["mapping_lr_multiplier"], one_hot)
    p = formula.Parameters(lucidrains.plain_names(stored), "", z.dtype)
    return formula.lucidrains_w(p, z, stored.settings["lr_mlp"] or lucidrains.LR_MULTIPLIER)


def expected_image(stored: Stored, generator: Generator, ws: Tensor) -> Tensor:
    """Render ws [1, num_ws, w_dim] by the published formula: [1, C, R, R].

    The noise maps are those of the file, or those of the generator if the file has none.
    """
    if stored.source == rosinality.SOURCE:
        p = formula.Parameters(noise_maps(generator) | stored.tensors, "", ws.dtype)
        return formula.rosinality_image(p, ws)
    if stored.source == nvidia.SOURCE:
        clamp = stored.settings["conv_clamp"]
        p = formula.Parameters(stored.tensors, "", ws.dtype)
        return formula.nvidia_image(p, ws, float("inf") if clamp is None else clamp)
    p = formula.Parameters(lucidrains.plain_names(stored), "", ws.dtype)
    (noise_map,) = noise_maps(generator).values()  # [1, 1, R, R]
    noise = 0.5 + NOISE_DEVIATION * noise_map[0].mT.to(ws.dtype)  # [1, R, R]
    return 2 * formula.lucidrains_image(p, ws, noise) - 1


def noise_maps(generator: Generator, prefix: str = "") -> dict[str, Tensor]:
    """Return the noise maps of a generator under rosinality's names."""
    maps = [buffer for name, buffer in generator.synthesis.named_buffers() if name.endswith("noise_const")]
    return {f"{prefix}noises.noise_{k}": noise[None, None] for k, noise in enumerate(maps)}  # [1, 1, r, r] each
