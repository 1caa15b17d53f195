"""The FIR filter with resampling: each input row is read once and filtered along x, then rows are combined along y."""

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from stylegan2.ops.kernels.tiles import blocks_of, channels_last, quantum_of

REGISTERS = 96  # registers of a thread; with fewer, or with the choice of the assembler, some kernels spill
FIR_ROWS = 8  # rows that a program reads, besides the SPAN - DOWN rows that it shares with the next program


@triton.jit
def filtered_row(row, width, first, c, C, UP: tl.constexpr, SPAN: tl.constexpr, WEIGHTS: tl.constexpr):
    """Filter one input row along x: return a tile [columns, channels] for each phase of the output columns."""
    accumulator: tl.constexpr = tl.float64 if row.dtype.element_ty == tl.float64 else tl.float32
    even = tl.zeros([first.shape[0], c.shape[0]], accumulator)
    odd = even
    for tap in tl.static_range(SPAN):
        ix = first + tap  # [columns]
        mask = ((ix >= 0) & (ix < width))[:, None] & (c < C)[None, :]
        x = tl.load(row + (ix[:, None] * C + c[None, :]), mask=mask, other=0.0).to(accumulator)
        if WEIGHTS[tap] != 0:
            even += WEIGHTS[tap] * x
        if UP == 2:  # noqa: SIM102 - both conditions at once would look beyond the weights of a single phase
            if WEIGHTS[SPAN + tap] != 0:
                odd += WEIGHTS[SPAN + tap] * x
    return even, odd


@triton.jit
def combined_rows(rows, PHASE: tl.constexpr, SPAN: tl.constexpr, WEIGHTS: tl.constexpr):
    """Combine SPAN rows along y into the tile of an output row."""
    y = rows[0] * WEIGHTS[PHASE * SPAN]
    for tap in tl.static_range(1, SPAN):
        if WEIGHTS[PHASE * SPAN + tap] != 0:
            y += rows[tap] * WEIGHTS[PHASE * SPAN + tap]
    return y


@triton.jit(do_not_specialize=["H", "W", "OUT_H", "OUT_W", "channel_groups", "first_y", "first_x"])
def fir_kernel(
    x,
    y,
    H,
    W,
    OUT_H,
    OUT_W,
    channel_groups,
    first_y,
    first_x,
    gain,
    QUANTUM: tl.constexpr,  # channels = channel_groups * QUANTUM
    UP: tl.constexpr,
    DOWN: tl.constexpr,
    SPAN_Y: tl.constexpr,
    SPAN_X: tl.constexpr,
    WEIGHTS_Y: tl.constexpr,
    WEIGHTS_X: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Compute y[o UP + phase] = gain * sum over taps of WEIGHTS[phase, tap] x[o DOWN + first + tap], along y and x.

    A program computes ROWS x COLUMNS positions o of CHANNELS channels. It reads each input row once and keeps, in
    registers and filtered along x, the rows that the next output row needs.
    """
    C = channel_groups * QUANTUM
    program = tl.program_id(0)
    blocks = tl.cdiv(C, CHANNELS)
    c = (program % blocks) * CHANNELS + tl.arange(0, CHANNELS)
    program //= blocks
    blocks = tl.cdiv(tl.cdiv(OUT_W, UP), COLUMNS)
    column = (program % blocks) * COLUMNS + tl.arange(0, COLUMNS)  # o along x
    program //= blocks
    blocks = tl.cdiv(tl.cdiv(OUT_H, UP), ROWS)
    top = (program % blocks) * ROWS  # the first o along y
    n = (program // blocks).to(tl.int64)
    first = column * DOWN + first_x
    even, odd = (), ()  # rows filtered along x, for even and odd output columns
    for step in tl.static_range(SPAN_Y - DOWN + ROWS * DOWN):
        iy = top * DOWN + first_y + step
        row = x + (n * H + iy) * W * C
        width = tl.where((iy >= 0) & (iy < H), W, 0)  # rows above and below the image have no pixels
        new_even, new_odd = filtered_row(row, width, first, c, C, UP, SPAN_X, WEIGHTS_X)
        even, odd = even + (new_even,), odd + (new_odd,)  # noqa: RUF005 - Triton has no starred tuples
        if step >= SPAN_Y - 1 and (step - SPAN_Y + 1) % DOWN == 0:
            for phase in tl.static_range(UP):
                oy = (top + (step - SPAN_Y + 1) // DOWN) * UP + phase
                out = y + (n * OUT_H + oy) * OUT_W * C
                for odd_column in tl.static_range(UP):
                    tile = combined_rows(odd if odd_column else even, phase, SPAN_Y, WEIGHTS_Y)
                    ox = column * UP + odd_column
                    mask = (ox < tl.where(oy < OUT_H, OUT_W, 0))[:, None] & (c < C)[None, :]
                    tl.store(out + (ox[:, None] * C + c[None, :]), (tile * gain).to(y.dtype.element_ty), mask=mask)
            even, odd = even[DOWN:], odd[DOWN:]


def resample(
    x: Tensor,
    taps: tuple[float, ...],
    gain: float,
    up: int,
    down: int,
    start: tuple[int, int],
    size: tuple[int, int],
) -> Tensor:
    """Apply `stylegan2.ops.fir.Resampling` to x [N, C, H, W]: [N, C, *size] in channels_last."""
    x = channels_last(x)
    n, c, h, w = x.shape
    y = torch.empty((n, c, *size), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    settings = fir_settings(c, x.element_size(), taps, up, down, start[0] % up, start[1] % up)
    first_y, first_x = (phases(taps, up, down, before)[0] for before in start)
    programs = n * triton.cdiv(triton.cdiv(size[0], up), settings["ROWS"])
    programs *= triton.cdiv(triton.cdiv(size[1], up), settings["COLUMNS"]) * triton.cdiv(c, settings["CHANNELS"])
    if programs:
        with torch.cuda.device_of(x):
            groups = c // settings["QUANTUM"]
            fir_kernel[(programs,)](x, y, h, w, *size, groups, first_y, first_x, float(gain), **settings)
    return y


@lru_cache
def fir_settings(
    channels: int, itemsize: int, taps: tuple[float, ...], up: int, down: int, start_y: int, start_x: int
) -> dict[str, int | tuple[float, ...]]:
    """Return the constants for which `fir_kernel` is compiled, which depend on the starts modulo `up` only."""
    weights_y, weights_x = phases(taps, up, down, start_y)[1], phases(taps, up, down, start_x)[1]
    columns, block_channels = blocks_of(channels, itemsize)
    return {
        "QUANTUM": quantum_of(channels, itemsize),
        "UP": up,
        "DOWN": down,
        "SPAN_Y": len(weights_y) // up,
        "SPAN_X": len(weights_x) // up,
        "WEIGHTS_Y": weights_y,
        "WEIGHTS_X": weights_x,
        "ROWS": FIR_ROWS // down,
        "COLUMNS": columns,
        "CHANNELS": block_channels,
        "maxnreg": REGISTERS,
        "enable_fp_fusion": True,
    }


@lru_cache
def phases(taps: tuple[float, ...], up: int, down: int, start: int) -> tuple[int, tuple[float, ...]]:
    """Split the filter along one axis into a short filter for each output phase, without products with inserted zeros.

    Output o * up + phase is the sum of weights[phase, j] * x[o * down + first + j].

    Returns:
        `first`, and the weights [up, span], flattened, which sum to 1.
    """
    reached = {}  # (phase, input relative to o * down) -> weight
    for phase in range(up):
        for tap, weight in enumerate(taps):
            place, rest = divmod(phase * down + tap - start, up)
            if rest == 0:
                reached[phase, place] = weight / sum(taps)
    places = [place for _, place in reached]
    span = range(min(places), max(places) + 1)
    return span.start, tuple(reached.get((phase, place), 0.0) for phase in range(up) for place in span)
