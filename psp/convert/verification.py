"""Verify that a published file gives the same results here as in the code that it was published with."""

from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from psp.convert import formula, layout
from psp.convert.official import ANCHORS, DECODER, from_content, parts
from psp.model import Codes
from stylegan2 import convert
from stylegan2.convert import verification
from stylegan2.convert.envelope import unwrap
from stylegan2.convert.verification import Check, compared
from stylegan2.runtime.errors import UserError


def verify(path: str | Path, dtype: torch.dtype = torch.float32) -> Iterator[Check]:
    """Check a published pSp, e4e or ReStyle file, or another project's generator; yield each check as it is made.

    The codes and the image of one synthetic picture are compared with the published formula, which is written down
    again in `formula` and computed in `dtype`. The noise maps are those of the file. Both sides start each part from
    the same numbers (the generator from the same codes, a further pass of ReStyle from the same rendering), since the
    networks amplify rounding errors.
    """
    try:
        kind = convert.recognise(path)
        if kind in (convert.OURS, convert.PICKLE):
            yield from verification.verify(convert.open_foreign(path), dtype)
            return
        content = convert.read_content(path, kind)
        if isinstance(content, dict) and ("state_dict" in content or any(unwrap(content, name) for name in ANCHORS)):
            yield from _compare_model(content, dtype)
        else:
            yield from verification.verify(convert.from_torch(content, path), dtype)
    except UserError as error:
        yield Check(False, str(error))


@torch.no_grad()
def _compare_model(content: object, dtype: torch.dtype) -> Iterator[Check]:
    model, metadata = from_content(content)
    state, _, options = parts(content)
    name = layout.encoder_name(state, options)
    encoder, generator = model.encoder, model.generator
    encoder.aspect = 1.0  # the formula is written for squares; the layers are the same
    yield Check(True, f"read as {metadata['source']}, encoder {name}: {encoder.num_ws} rows, {encoder.input_size} px")
    yield Check(True, "all tensors have the expected names and shapes, and none is unexpected")
    for note in metadata["notes"]:
        yield Check(True, note)
    images = picture(encoder.input_channels, encoder.input_size)  # [1, C, S, S]
    passes = model.iterations if layout.is_iterative(name) else 0
    state = verification.noise_maps(generator, DECODER) | state  # the maps that were drawn for a file without any
    codes = rendering = None
    expected = formula.inversions(state, images, model.latent_avg, name.endswith("e4e"), passes, dtype)
    for number, (next_codes, next_rendering) in enumerate(expected, start=1):
        ours = model.refine(images, codes, rendering)
        yield compared(f"codes of pass {number}" if passes else "codes", ours.w_plus, next_codes)
        codes, rendering = Codes(next_codes.float()), next_rendering.float()
    if codes is not None and rendering is not None:
        yield compared(f"image of {generator.img_resolution} px", model.decode(codes), rendering)


def picture(channels: int, size: int) -> Tensor:
    """Draw blobs and a little noise, the same on every call: [1, channels, size, size] in [-1, 1]."""
    source = torch.Generator().manual_seed(0)
    blobs = F.interpolate(torch.randn(1, channels, 6, 6, generator=source), (size, size), mode="bicubic")
    return (blobs + 0.1 * torch.randn(1, channels, size, size, generator=source)).clamp(-1, 1)
