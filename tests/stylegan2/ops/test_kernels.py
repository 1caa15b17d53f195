"""The Triton kernels without a GPU: what they compute, in the interpreter; what they become on one, compiled for it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stylegan2 import ops

pytest.importorskip("triton", reason="Triton, which compiles the CUDA kernels, is not installed")
if sys.platform != "linux":
    pytest.skip("Triton's compiler for CUDA comes for Linux alone", allow_module_level=True)

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from stylegan2.ops.kernels import epilogue, fir, tiles

HERE = Path(__file__).resolve().parent
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
ITEMSIZE = {"fp32": 4, "fp16": 2, "bf16": 2}
TARGETS = [(capability, dtype) for capability in (75, 80, 90, 100) for dtype in ITEMSIZE]
ONE_OF_EACH = [(75, "fp32"), (80, "fp16"), (90, "bf16"), (100, "fp32")]  # each capability, and each dtype
FILTERS = {  # taps, up, down, rest of the starts
    "blur": (ops.FIR_TAPS, 1, 1, 0, 0),
    "up": (ops.FIR_TAPS, 2, 1, 0, 0),
    "down": (ops.FIR_TAPS, 1, 2, 0, 0),
}


def compilations(forms):
    """List (form, capability, dtype): all targets for the first form, and each capability and dtype for the others."""
    first, *others = forms
    return [(first, *target) for target in TARGETS] + [(name, *target) for name in others for target in ONE_OF_EACH]


def test_in_the_interpreter():
    """Values and derivatives, in a process of its own: Triton chooses the interpreter when it is imported."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(HERE / "interpreted.py")],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        cwd=HERE.parents[2],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert re.search(r"\b\d+ passed", run.stdout)


def compiled(kernel, kinds: dict[str, str], settings: dict, capability: int):
    """A kernel as it is launched with pointers of 16-byte alignment; scalars are 32-bit integers if not in `kinds`."""
    names = kernel.arg_names
    constants = {name: value for name, value in settings.items() if name in names}
    options = {name: value for name, value in settings.items() if name not in names}
    signature = {name: kinds.get(name, "constexpr" if name in constants else "i32") for name in names}
    aligned = {(names.index(name),): [["tt.divisibility", 16]] for name, kind in kinds.items() if kind.startswith("*")}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def resources(binary, folder: Path) -> dict[str, int]:
    """Registers, and bytes of stack and local memory: what is spilled."""
    (folder / "kernel.cubin").write_bytes(binary.asm["cubin"])
    command = [str(CUOBJDUMP), "--dump-resource-usage", str(folder / "kernel.cubin")]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: int(value) for name, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", text)}


def wide(binary, kind: str) -> int:
    """Bytes that a program of four warps loads ("ld") or stores ("st") 16 at a time for each thread."""
    return len(re.findall(rf"\b{kind}\.global\.(?:\S+\.)?v4\.[bfu]32\b", binary.asm["ptx"])) * 16 * tiles.THREADS


def narrow(binary) -> list[str]:
    """Instructions that load or store less than 16 bytes for a thread."""
    found = re.findall(r"\b(?:ld|st)\.global\S*", binary.asm["ptx"])
    return [name for name in found if not re.search(r"v4\.[bfu]32$", name)]


def check_registers(binary, folder: Path) -> None:
    used = resources(binary, folder)
    assert (used["STACK"], used["LOCAL"]) == (0, 0), used
    assert used["REG"] <= 128, used  # sixteen warps on a multiprocessor


@pytest.mark.parametrize(("name", "capability", "dtype"), compilations(FILTERS))
def test_filter_compiled(name, capability, dtype, tmp_path):
    """No spills, 16 bytes at a time, each output written once and each input row loaded once for each tap along x."""
    itemsize = ITEMSIZE[dtype]
    settings = fir.fir_settings(128, itemsize, *FILTERS[name])
    binary = compiled(fir.fir_kernel, {"x": f"*{dtype}", "y": f"*{dtype}", "gain": "fp32"}, settings, capability)
    check_registers(binary, tmp_path)
    assert narrow(binary) == []
    tile = settings["COLUMNS"] * settings["CHANNELS"] * itemsize
    up, down, rows = settings["UP"], settings["DOWN"], settings["ROWS"]
    assert wide(binary, "st") == rows * up * up * tile
    assert wide(binary, "ld") == (rows * down + settings["SPAN_Y"] - down) * settings["SPAN_X"] * tile


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("itemsize", [2, 4])
@pytest.mark.parametrize("channels", [32, 64, 512])
def test_bytes_between_cache_and_multiprocessor(name, itemsize, channels):
    """Against one read and one write: neighbouring programs share the rim of a tile, which comes from the L2 cache."""
    settings = fir.fir_settings(channels, itemsize, *FILTERS[name])
    up, down, rows, columns = (settings[key] for key in ("UP", "DOWN", "ROWS", "COLUMNS"))
    read = (rows * down + settings["SPAN_Y"] - down) * (columns * down + settings["SPAN_X"] - down)
    once = rows * columns * (down**2 + up**2)
    assert read + rows * columns * up**2 < 1.4 * once


EVERYTHING = ("scale", "noise", "bias", "clamp", "of_scale", "of_noise", "of_bias")
EPILOGUES = {  # which of them there are, and how many maps the gradients read
    "generator": (EVERYTHING, 3),
    "discriminator": (("bias",), 2),  # in its gradient, with the bias summed elsewhere, the mask alone
    "styles": (("scale", "of_scale"), 2),
}


def compiled_epilogue(kernel, there: tuple[str, ...], dtype: str, capability: int):
    absent = [name for name in EVERYTHING if name not in there and name in kernel.arg_names]
    slope = 1.0 if there == EPILOGUES["styles"][0] else ops.LRELU_SLOPE
    if slope == 1 and kernel is epilogue.epilogue_gradients_kernel:
        absent.append("y")
    settings = epilogue.epilogue_settings(128, ITEMSIZE[dtype])
    settings = {**settings, "SLOPE": slope, **dict.fromkeys(absent)}
    full = dict.fromkeys(("x", "y", "grad", "of_x", "noise"), f"*{dtype}")
    small = dict.fromkeys(("scale", "bias", "of_scale", "of_noise", "of_bias"), "*fp32")
    kinds = {**full, **small, "clamp": "fp32"}
    kinds = {name: kind for name, kind in kinds.items() if name in kernel.arg_names and name not in settings}
    return compiled(kernel, kinds, settings, capability)


@pytest.mark.parametrize(("name", "capability", "dtype"), compilations(EPILOGUES))
def test_epilogue_compiled(name, capability, dtype, tmp_path):
    """No spills, and one read and one write of the feature maps, 16 bytes at a time."""
    (there, maps), tile = EPILOGUES[name], epilogue.TILES * 16 * tiles.THREADS
    binary = compiled_epilogue(epilogue.epilogue_kernel, there, dtype, capability)
    check_registers(binary, tmp_path)
    assert wide(binary, "st") == tile
    vectors = 4 * 16 * tiles.THREADS  # of eight channels a scale and a bias in float32
    assert tile <= wide(binary, "ld") <= tile + vectors
    there = there if "scale" in there else ()
    binary = compiled_epilogue(epilogue.epilogue_gradients_kernel, there, dtype, capability)
    check_registers(binary, tmp_path)
    assert wide(binary, "st") == tile
    assert maps * tile <= wide(binary, "ld") <= maps * tile + vectors
    assert (narrow(binary) == []) == (there == ())
