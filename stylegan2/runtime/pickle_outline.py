"""Find out what a pickle would build without building it, so that a hostile one is rejected before it is unpickled.

Unpickling does what a file says: it hashes keys that collide or that nest so deep that hashing overflows the stack, and
makes tensors that are larger than their storage. Here the program of the pickle is followed on outlines: numbers and
short texts stand for themselves, and every other object is represented by its parts. A file of torch.save is checked as
a whole, because PyTorch trusts the sizes of storages and tensors in the pickle of the file, and unpacks any file.
"""

import io
import pickletools
from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import IO, Any, NamedTuple

from stylegan2.runtime.bounded import open_zip, read_member
from stylegan2.runtime.errors import UserError

MAX_STEPS = 1_000_000  # steps of the program of a pickle: G, D and G_ema of 1024 px take 30,000
DEEPEST = 100  # containers within containers
LONGEST_TEXT = 1000  # characters of a key or a name
LARGEST_KEY = 2**31
LARGEST_NUMBER = 2**80  # the magic number of old PyTorch files has 77 bits
SHARED = 8  # how many times the size of their storages all tensors together may have
FREE = 64 * 2**20  # numbers that the tensors of any file may have beyond that

CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
TEXTS = {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
BYTES = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
EMPTY = {"EMPTY_LIST": "list", "EMPTY_DICT": "dict", "EMPTY_SET": "set", "EMPTY_TUPLE": "tuple"}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
PAIRS = {"OrderedDict", "dict", "EasyDict"}
MARK = object()


class GlobalReference(NamedTuple):
    """A function or class that the pickle names."""

    module: str
    name: str


class ConstructedObject:
    """The outline of a container, a storage, data, or the result of a function.

    Attributes:
        kind: "list", "tuple", "dict", "set", "storage", "data" or "object".
        items: Items of a list or tuple, or arguments of the function that made an object.
        depth: How deep containers are nested, this one included.
        numel: Number of elements of a storage.
    """

    __slots__ = ("depth", "items", "kind", "numel")

    def __init__(self, kind: str, items: Iterable[object] = (), numel: int = 0) -> None:
        self.kind, self.items, self.depth, self.numel = kind, list(items), 1, numel
        self.contain(self.items)

    def contain(self, items: Iterable[object]) -> None:
        """Update the depth for items that were added. UserError: they nest deeper than in any real file."""
        self.depth = max(
            self.depth, 1 + max((item.depth for item in items if isinstance(item, ConstructedObject)), default=0)
        )
        if self.depth > DEEPEST:
            raise UserError(f"its pickle nests deeper than {DEEPEST} levels")


class Outline:
    """Follow the pickles of one file.

    Args:
        storage: Makes the outline of a storage from the outline of a persistent id, as PyTorch's files have them.
    """

    def __init__(self, storage: Callable[[object], ConstructedObject] | None = None) -> None:
        self.storage = storage
        self._shown, self._held = 0, 0  # how many numbers all tensors and all storages have
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}
        self._steps = 0

    def follow(self, file: IO[bytes]) -> object:
        """Follow a pickle from the file's position to its end, and return the outline of what it would build.

        Raises:
            UserError: The pickle holds something that no real file does.
            Exception: The pickle is damaged; the class of the exception depends on the damage.
        """
        self._stack, self._memo = [], {}
        for opcode, argument, _ in pickletools.genops(file):
            self._steps += 1
            if self._steps > MAX_STEPS:
                raise UserError(f"its pickle has more than {MAX_STEPS:,} instructions")
            self._step(opcode.name, argument)
        if self._shown > SHARED * self._held + FREE:
            raise UserError("its tensors repeat the same numbers again and again")
        return self._stack[-1]

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in NUMBERS:
            if isinstance(argument, int) and abs(argument) > LARGEST_NUMBER:
                raise UserError("its pickle contains an integer that is larger than allowed")
            stack.append(argument)
        elif name in TEXTS:
            stack.append(argument if len(argument) <= LONGEST_TEXT else ConstructedObject("data"))
        elif name in BYTES:
            stack.append(ConstructedObject("data"))
        elif name in EMPTY:
            stack.append(ConstructedObject(EMPTY[name]))
        elif name == "MARK":
            stack.append(MARK)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            if not 0 <= int(argument) <= self._steps:  # CPython allocates memory for all indices up to this one
                raise UserError("its pickle refers to objects that it does not contain")
            self._memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[int(argument)])
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            self._marked()
        elif name == "DUP":
            stack.append(stack[-1])
        elif name not in ("PROTO", "FRAME", "STOP"):
            self._compose(name, argument)

    def _compose(self, name: str, argument: Any) -> None:
        """Follow a step that combines objects into one."""
        stack = self._stack
        if name in TUPLES:
            stack.append(ConstructedObject("tuple", [stack.pop() for _ in range(TUPLES[name])][::-1]))
        elif name in ("TUPLE", "LIST"):
            stack.append(ConstructedObject(name.lower(), self._marked()))
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else self._marked()
            container = _container(stack[-1])
            container.items += items
            container.contain(items)
        elif name == "DICT":
            items = self._marked()
            stack.append(ConstructedObject("dict"))
            self._fill(items)
        elif name in ("SETITEM", "SETITEMS"):
            self._fill([stack.pop(), stack.pop()][::-1] if name == "SETITEM" else self._marked())
        elif name in ("ADDITEMS", "FROZENSET"):
            items = self._marked()
            _check_keys(items)
            if name == "FROZENSET":
                stack.append(ConstructedObject("set"))
        elif name == "GLOBAL":
            stack.append(GlobalReference(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(GlobalReference(str(module), str(attribute)))
        elif name == "BINPERSID":
            if self.storage is None:
                raise UserError("its pickle refers to something outside of the file")
            storage = self.storage(stack.pop())
            stack.append(storage)
            self._held += storage.numel
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = _container(stack.pop()), stack.pop()
            stack.append(self._called(function, arguments))
        elif name == "BUILD":
            state = stack.pop()
            _container(stack[-1]).contain([state])
        else:
            raise UserError(f"its pickle contains the instruction {name}, which such a file does not need")

    def _marked(self) -> list[object]:
        """Pop the objects that were pushed since the last mark, and the mark."""
        at = len(self._stack) - 1
        while self._stack[at] is not MARK:
            at -= 1
            if at < 0:
                raise UserError("its pickle is damaged")
        items = self._stack[at + 1 :]
        del self._stack[at:]
        return items

    def _fill(self, items: list[object]) -> None:
        """Put alternating keys and values into the dict on the stack."""
        _check_keys(items[::2])
        _container(self._stack[-1]).contain(items)

    def _called(self, function: object, arguments: ConstructedObject) -> ConstructedObject:
        if not isinstance(function, GlobalReference):
            raise UserError("its pickle calls something that is not a function")
        if function.module == "torch._utils":
            self._check_tensor(function.name, arguments.items)
        elif function.name in ("set", "frozenset"):
            for given in arguments.items:
                _check_keys(_container(given).items)
        elif function.name in PAIRS:
            for given in arguments.items:
                _check_keys([_container(pair).items[0] for pair in _container(given).items])
        return ConstructedObject("object", [arguments])

    def _check_tensor(self, function: str, arguments: list[object]) -> None:
        """Raise a UserError unless a tensor is dense and its storage holds all of its numbers."""
        if function == "_rebuild_parameter":
            return
        if function not in ("_rebuild_tensor_v2", "_rebuild_tensor"):
            raise UserError(
                "it contains tensors that are sparse, quantized or without numbers, but only dense "
                "tensors are supported"
            )
        storage, offset, size, stride = arguments[:4]
        sizes, strides = _whole_numbers(size), _whole_numbers(stride)
        numel = prod(sizes)
        if isinstance(storage, ConstructedObject) and storage.kind == "storage":
            span = sum((side - 1) * step for side, step in zip(sizes, strides, strict=True))
            if not isinstance(offset, int) or offset < 0:
                raise UserError("it has a tensor whose offset is damaged")
            if numel > storage.numel or (numel and offset + span >= storage.numel):
                raise UserError(f"it has a tensor of shape {sizes[:8]}, for which it has too few numbers")
            self._shown += numel


def _container(outline: object) -> ConstructedObject:
    if not isinstance(outline, ConstructedObject):
        raise UserError("its pickle is damaged: it puts something into an object that is not a container")
    return outline


def _check_keys(keys: Iterable[object]) -> None:
    """Raise a UserError unless keys are short texts or small whole numbers, as others may have equal hashes."""
    for key in keys:
        if type(key) is not str and not (type(key) is int and abs(key) <= LARGEST_KEY):
            raise UserError("it has keys that are neither short texts nor small integers")


def _whole_numbers(outline: object) -> list[int]:
    """Return the items of a tuple of sizes or strides, which PyTorch's own class for sizes may wrap."""
    sizes = _container(outline)
    if sizes.kind == "object" and sizes.items:
        return _whole_numbers(_container(sizes.items[0]).items[0])
    numbers = [item for item in sizes.items if type(item) is int and item >= 0]
    if len(sizes.items) > 16 or len(numbers) < len(sizes.items):
        raise UserError("it has a tensor whose shape is damaged")
    return numbers


# --------------------------------------------------------------------------------- files of PyTorch


ITEM_BYTES = {
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
}
ZIP = b"PK\x03\x04"
LARGEST_PICKLE = 256 * 2**20  # bytes of the pickle in a file, which contains names and settings but no numbers


def check_torch(file: IO[bytes]) -> None:
    """Check a file of PyTorch, in the zip format or in the one before version 1.6.

    Args:
        file: The file, open at its beginning.

    Raises:
        UserError: The file claims more than it holds, or has tensors that are not dense tensors of plain numbers.
        Exception: The file is damaged; the class of the exception depends on the damage.
    """
    start = file.read(len(ZIP))
    file.seek(0)
    if start == ZIP:
        _check_zip(file)
    else:
        _check_legacy(file)


def _check_zip(file: IO[bytes]) -> None:
    with open_zip(file) as archive:
        members = {member.filename.lower(): member.file_size for member in archive.infolist()}
        if len(members) < len(archive.infolist()):
            raise UserError("it has two members of the same name")
        pickles = [member.filename for member in archive.infolist() if member.filename.lower().endswith("/data.pkl")]
        if len(pickles) != 1:
            raise UserError("it is a zip file that PyTorch did not write")
        top = pickles[0].rpartition("/")[0].lower()
        records = {name.removeprefix(f"{top}/data/"): size for name, size in members.items()}
        content = read_member(archive, pickles[0], LARGEST_PICKLE)
    Outline(lambda persistent_id: _storage(persistent_id, records)[0]).follow(io.BytesIO(content))


def _check_legacy(file: IO[bytes]) -> None:
    """Check a file of five pickles (two numbers, the machine, the content, keys of storages) and the storages' data."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    claimed: dict[str, int] = {}

    def storage(persistent_id: object) -> ConstructedObject:
        outline, key, needed = _storage(persistent_id, None)
        claimed[key] = max(claimed.get(key, 0), needed)
        if sum(claimed.values()) > size:
            raise UserError("its storages are larger than the file")
        return outline

    pickles = Outline(storage)
    for _ in range(5):
        pickles.follow(file)


def _storage(persistent_id: object, records: Mapping[str, int] | None) -> tuple[ConstructedObject, str, int]:
    """Make the outline of a storage from its persistent id, ("storage", class, key, device, numel, ...).

    Args:
        persistent_id: The outline of the persistent id.
        records: {key: bytes} of the records in the file; None if the file does not list them.

    Returns:
        The outline, the key, and the bytes that the storage needs.

    Raises:
        UserError: The id is damaged, or its record holds fewer bytes.
    """
    items = persistent_id.items if isinstance(persistent_id, ConstructedObject) else []
    if len(items) < 5 or items[0] != "storage":
        raise UserError("it has a storage that is damaged")
    kind, key, _, numel = items[1:5]
    if not isinstance(kind, GlobalReference) or kind.name not in ITEM_BYTES:
        raise UserError(
            f"it has a storage of {getattr(kind, 'name', 'no type')[:50]}, but only plain numbers can be read"
        )
    if type(numel) is not int or numel < 0 or not isinstance(key, str):
        raise UserError("it has a storage that is damaged")
    needed = numel * ITEM_BYTES[kind.name]
    if records is not None and records.get(key.lower(), -1) < needed:
        raise UserError(f"it claims {numel:,} numbers but contains fewer")
    return ConstructedObject("storage", numel=numel), key, needed
