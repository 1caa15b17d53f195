"""A reader for the file of dlib's face recognition network, which is in dlib's own format and is read without dlib.

The format has no lengths or offsets, so a file can be read only in order and only if the network is known. The topology
is therefore defined here as a list of layers. A file must contain exactly these layers and nothing after them.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stylegan2.runtime.errors import CheckpointError

IMAGE_SIZE = 150
STAGES = (32, 32, 32, 64, 64, 64, 64, 128, 128, 128, 256, 256, 256, 256)
"""channels of the 14 residual blocks"""
DOWN = (3, 7, 10, 13)
"""indices of the blocks that halve the resolution"""

_BLOCK = ("tag", "con", "affine", "relu", "con", "affine", "add", "relu")
_DOWN_BLOCK = ("tag", "con", "affine", "relu", "con", "affine", "tag", "skip", "pool", "add", "relu")
LAYERS = (
    *("con", "affine", "relu", "pool"),
    *(layer for i in range(len(STAGES)) for layer in (_DOWN_BLOCK if i in DOWN else _BLOCK)),
    *("pool", "fc"),
)
"""all layers, from the image to the embedding"""

POOLS = (
    ("max_pool_2", 3, 3, 2, 2, 0, 0),
    *[("avg_pool_2", 2, 2, 2, 2, 0, 0)] * len(DOWN),
    ("avg_pool_2", 0, 0, 1, 1, 0, 0),
)
"""record, rows, columns, strides and paddings of every pooling layer; 0 rows and columns mean the whole image"""

_RECORDS = {
    "con": ("con_4", "con_5", "con_6"),
    "affine": ("affine_", "affine_2"),
    "relu": ("relu_",),
    "pool": ("max_pool_2", "avg_pool_2"),
    "add": ("add_prev_",),
    "fc": ("fc_2",),
}


@dataclass
class DlibFile:
    """The contents of the file, in order from the image to the embedding."""

    means: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """RGB means, 0 to 255, which are subtracted from the image before it is divided by 256"""
    filters: list[np.ndarray] = field(default_factory=list)
    """29 arrays [out, in, kh, kw]"""
    biases: list[np.ndarray] = field(default_factory=list)
    """29 arrays [out]"""
    strides: list[tuple[int, int]] = field(default_factory=list)
    paddings: list[tuple[int, int]] = field(default_factory=list)
    gammas: list[np.ndarray] = field(default_factory=list)
    """29 arrays [out]; the affine layer after each convolution multiplies by the gammas and adds the betas"""
    betas: list[np.ndarray] = field(default_factory=list)
    pools: list[tuple] = field(default_factory=list)
    """6 tuples, which are equal to POOLS"""
    projection: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    """matrix [256, 128] with embedding = pooled features @ projection"""


def read_dlib_file(path: str | Path) -> DlibFile:
    """Read the weights in a file.

    Raises:
        CheckpointError: The file is truncated, too long, altered, or contains another network.
    """
    return parse(Path(path).read_bytes(), str(path))


def parse(data: bytes, name: str) -> DlibFile:
    """Parse the bytes of a file, whose `name` is used in error messages, as `read_dlib_file` does."""
    reader = _Reader(data, name)
    content = DlibFile()
    reader.expect(reader.integer() == 1 and reader.string() == "loss_metric_2", "a metric network")
    for _ in range(2):
        reader.real()  # margin and threshold of the training loss
    for i in reversed(range(len(LAYERS))):  # the outermost layer writes its version first
        version = 3 if i == 0 else 1 if LAYERS[i] in ("tag", "skip") else 2
        reader.expect(reader.integer() == version, f"a {LAYERS[i]} layer")
    for i, layer in enumerate(LAYERS):
        if i == 0:
            _read_input(reader, content)
        if layer not in ("tag", "skip"):
            _read_layer(reader, content, layer)
        if i == 0:
            reader.integer()  # the first layer contains the input layer and has one more number
    reader.expect(reader.position == len(reader.data), "nothing behind its end")
    return content


def _read_input(reader: "_Reader", content: DlibFile) -> None:
    reader.expect(reader.string() == "input_rgb_image_sized", "RGB images of one size")
    content.means = (reader.real(), reader.real(), reader.real())
    reader.expect((reader.integer(), reader.integer()) == (IMAGE_SIZE, IMAGE_SIZE), f"images of {IMAGE_SIZE} px")


def _read_layer(reader: "_Reader", content: DlibFile, layer: str) -> None:
    """Read the record of a layer, then the three switches and three tensors, usually empty, that end every layer."""
    record = reader.string()
    reader.expect(record in _RECORDS[layer], f"a {layer} layer here")
    if layer in _SETTINGS:
        _SETTINGS[layer](reader, content, record)
    for _ in range(3):
        reader.boolean()
    for _ in range(3):
        reader.tensor()


def _read_con(reader: "_Reader", content: DlibFile, record: str) -> None:
    block = reader.tensor().ravel()  # the filters, then the biases
    num_filters, rows, columns = reader.integer(), reader.integer(), reader.integer()
    content.strides.append((reader.integer(), reader.integer()))
    content.paddings.append((reader.integer(), reader.integer()))
    shape, bias_shape = reader.alias(), reader.alias()
    reader.expect(shape[0] == num_filters and shape[2:] == (rows, columns), "one shape of its filters")
    reader.expect(block.size == math.prod(shape) + math.prod(bias_shape), "as many weights as its shapes say")
    reader.expect(math.prod(bias_shape) == num_filters, "one bias a filter")
    content.filters.append(block[: math.prod(shape)].reshape(shape))  # [out, in, kh, kw]
    content.biases.append(block[math.prod(shape) :])  # [out]
    for _ in range(4):
        reader.real()  # multipliers of the learning rate and of the weight decay
    for _ in range(("con_4", "con_5", "con_6").index(record)):
        reader.boolean()


def _read_affine(reader: "_Reader", content: DlibFile, record: str) -> None:
    block = reader.tensor().ravel()  # gamma, then beta
    gamma, beta = math.prod(reader.alias()), math.prod(reader.alias())
    reader.expect(gamma == beta and block.size == gamma + beta, "as many weights as its shapes say")
    content.gammas.append(block[:gamma])
    content.betas.append(block[gamma:])
    reader.integer()  # kind of the layer before it
    if record == "affine_2":
        reader.boolean()


def _read_pool(reader: "_Reader", content: DlibFile, record: str) -> None:
    settings = tuple(reader.integer() for _ in range(6))
    expected = POOLS[len(content.pools)]
    reader.expect((record, *settings) == expected, " ".join(map(str, expected)))
    content.pools.append((record, *settings))


def _read_fc(reader: "_Reader", content: DlibFile, record: str) -> None:
    outputs, inputs = reader.integer(), reader.integer()
    weights = reader.tensor()
    reader.expect(weights.size == inputs * outputs, "as many weights as its shapes say")
    content.projection = weights.reshape(inputs, outputs)  # [256, 128]
    for _ in range(2):
        reader.alias()
    reader.expect(reader.integer() == 1, "no bias")
    for _ in range(4):
        reader.real()


_SETTINGS = {"con": _read_con, "affine": _read_affine, "pool": _read_pool, "fc": _read_fc}


class _Reader:
    """The bytes of a file and a position in them. Every read checks that the file is long enough."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data = data
        self.name = name
        self.position = 0

    def expect(self, condition: bool, what: str) -> None:
        if not condition:
            raise CheckpointError(
                f"{self.name} is damaged or not dlib's face recognition network: expected {what}, byte {self.position}"
            )

    def take(self, count: int) -> bytes:
        end = self.position + count
        self.expect(end <= len(self.data), f"{count} more bytes")
        chunk, self.position = self.data[self.position : end], end
        return chunk

    def integer(self) -> int:
        """Read a control byte (low 4 bits: number of bytes; 0x80: negative), then the magnitude, little-endian."""
        control = self.take(1)[0]
        count = control & 0x0F
        self.expect(1 <= count <= 8 and not control & 0x70, "an integer")
        magnitude = int.from_bytes(self.take(count), "little")
        return -magnitude if control & 0x80 else magnitude

    def real(self) -> float:
        """Read two integers, a mantissa and an exponent of 2. Infinity and NaN (exponents from 32000) are refused."""
        mantissa, exponent = self.integer(), self.integer()
        self.expect(abs(exponent) < 1000, "a finite number")
        return math.ldexp(mantissa, exponent)

    def boolean(self) -> bool:
        value = self.take(1)
        self.expect(value in (b"0", b"1"), "a switch")
        return value == b"1"

    def string(self) -> str:
        length = self.integer()
        self.expect(0 <= length <= 64, "a name")
        return self.take(length).decode("latin-1")

    def shape(self) -> tuple[int, ...]:
        """Read the shape of a tensor: (samples, channels, rows, columns)."""
        shape = tuple(self.integer() for _ in range(4))
        self.expect(min(shape) >= 0 and math.prod(shape) <= len(self.data), "the shape of a tensor")
        return shape

    def alias(self) -> tuple[int, ...]:
        """Read the shape of a view into the weights that were just read."""
        self.expect(self.integer() == 1, "a view")
        return self.shape()

    def tensor(self) -> np.ndarray:
        """Read a float32 tensor [samples, channels, rows, columns]."""
        self.expect(self.integer() == 2, "a tensor")
        shape = self.shape()
        values = np.frombuffer(self.take(4 * math.prod(shape)), "<f4").reshape(shape)
        self.expect(bool(np.isfinite(values).all()), "finite weights")
        return values
