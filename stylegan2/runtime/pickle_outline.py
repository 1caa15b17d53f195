"""What a pickle would build, found out without building it, so that a hostile one is refused before it is unpickled.

Unpickling does what a file says: it hashes keys that collide or nest so deep that hashing them overflows the stack, and
makes tensors of more numbers than their storage has. Here the program of the pickle is followed on outlines: numbers
and short texts are themselves, and of everything else there is only what it is made of.
"""

import pickletools
from collections.abc import Callable, Iterable
from math import prod
from typing import IO, Any, NamedTuple

from stylegan2.runtime.errors import UserError

MOST_STEPS = 1_000_000  # of the pickle's program: G, D and G_ema of 1024 px take 30,000
DEEPEST = 100  # containers within containers
LONGEST_TEXT = 1000  # characters that can be a key or a name
LARGEST_KEY = 2**31
LARGEST_NUMBER = 2**80  # the magic number of old PyTorch files has 77 bits
SHARED = 8  # times over that all tensors may show their storages
FREE = 64 * 2**20  # numbers that the tensors of any file may show

CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
TEXTS = {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
BYTES = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
EMPTY = {"EMPTY_LIST": "list", "EMPTY_DICT": "dict", "EMPTY_SET": "set", "EMPTY_TUPLE": "tuple"}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
PAIRS = {"OrderedDict", "dict", "EasyDict"}
MARK = object()


class Named(NamedTuple):
    """A function or class that the pickle names."""

    module: str
    name: str


class Made:
    """A container, a storage, data, or what a function returned.

    Attributes:
        kind: "list", "tuple", "dict", "set", "storage", "data" or "object".
        items: Of a list, tuple or object.
        depth: Containers within containers, itself included.
        numel: Numbers of a storage.
    """

    __slots__ = ("depth", "items", "kind", "numel")

    def __init__(self, kind: str, items: Iterable[Any] = (), numel: int = 0) -> None:
        self.kind, self.items, self.depth, self.numel = kind, list(items), 1, numel
        self.contain(self.items)

    def contain(self, items: Iterable[Any]) -> None:
        """Count what was put in. UserError: it nests deeper than in any real file."""
        self.depth = max(self.depth, 1 + max((item.depth for item in items if isinstance(item, Made)), default=0))
        if self.depth > DEEPEST:
            raise UserError(f"its pickle nests deeper than {DEEPEST} levels")


class Outline:
    """Follow the pickles of one file.

    Args:
        storage: Makes the outline of a storage from a persistent id, as PyTorch's files have them.
    """

    def __init__(self, storage: Callable[[Any], Made] | None = None) -> None:
        self.storage = storage
        self._shown, self._held = 0, 0  # numbers of all tensors and of all storages
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._steps = 0

    def follow(self, file: IO[bytes]) -> Any:
        """Follow a pickle from the file's position to its end, and return the outline of what it would build.

        Raises:
            UserError: It holds what no real file does.
            Exception: Of several kinds: the pickle is damaged.
        """
        self._stack, self._memo = [], {}
        for opcode, argument, _ in pickletools.genops(file):
            self._steps += 1
            if self._steps > MOST_STEPS:
                raise UserError(f"its pickle has more than {MOST_STEPS:,} steps")
            self._step(opcode.name, argument)
        if self._shown > SHARED * self._held + FREE:
            raise UserError("its tensors show the same numbers again and again")
        return self._stack[-1]

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in NUMBERS:
            if isinstance(argument, int) and abs(argument) > LARGEST_NUMBER:
                raise UserError("its pickle has a whole number beyond all that is used here")
            stack.append(argument)
        elif name in TEXTS:
            stack.append(argument if len(argument) <= LONGEST_TEXT else Made("data"))
        elif name in BYTES:
            stack.append(Made("data"))
        elif name in EMPTY:
            stack.append(Made(EMPTY[name]))
        elif name == "MARK":
            stack.append(MARK)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            if not 0 <= int(argument) <= self._steps:  # CPython takes memory for all numbers up to this one
                raise UserError("its pickle counts its objects beyond how many there are")
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
        """Follow a step that makes one object of others."""
        stack = self._stack
        if name in TUPLES:
            stack.append(Made("tuple", [stack.pop() for _ in range(TUPLES[name])][::-1]))
        elif name in ("TUPLE", "LIST"):
            stack.append(Made(name.lower(), self._marked()))
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else self._marked()
            container = _container(stack[-1])
            container.items += items
            container.contain(items)
        elif name == "DICT":
            items = self._marked()
            stack.append(Made("dict"))
            self._fill(items)
        elif name in ("SETITEM", "SETITEMS"):
            self._fill([stack.pop(), stack.pop()][::-1] if name == "SETITEM" else self._marked())
        elif name in ("ADDITEMS", "FROZENSET"):
            items = self._marked()
            _check_keys(items)
            if name == "FROZENSET":
                stack.append(Made("set"))
        elif name == "GLOBAL":
            stack.append(Named(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(Named(str(module), str(attribute)))
        elif name == "BINPERSID":
            if self.storage is None:
                raise UserError("its pickle refers to what is outside of it")
            stack.append(self.storage(stack.pop()))
            self._held += stack[-1].numel
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = _container(stack.pop()), stack.pop()
            stack.append(self._called(function, arguments))
        elif name == "BUILD":
            state = stack.pop()
            _container(stack[-1]).contain([state])
        else:
            raise UserError(f"its pickle has the step {name}, of which such a file has no need")

    def _marked(self) -> list[Any]:
        """Take what was pushed since the last mark."""
        at = len(self._stack) - 1
        while self._stack[at] is not MARK:
            at -= 1
            if at < 0:
                raise UserError("its pickle is damaged")
        items = self._stack[at + 1 :]
        del self._stack[at:]
        return items

    def _fill(self, items: list[Any]) -> None:
        """Put keys and values in turn into the dict on the stack."""
        _check_keys(items[::2])
        _container(self._stack[-1]).contain(items)

    def _called(self, function: Any, arguments: Made) -> Made:
        if not isinstance(function, Named):
            raise UserError("its pickle calls what is no function")
        if function.module == "torch._utils":
            self._check_tensor(function.name, arguments.items)
        elif function.name in ("set", "frozenset"):
            for given in arguments.items:
                _check_keys(_container(given).items)
        elif function.name in PAIRS:
            for given in arguments.items:
                _check_keys([_container(pair).items[0] for pair in _container(given).items])
        return Made("object", [arguments])

    def _check_tensor(self, function: str, arguments: list[Any]) -> None:
        """Raise UserError unless a tensor is dense, and its storage holds all of its numbers."""
        if function == "_rebuild_parameter":
            return
        if function not in ("_rebuild_tensor_v2", "_rebuild_tensor"):
            raise UserError("it has tensors that are sparse, quantized or hold no numbers, where dense ones are read")
        storage, offset, size, stride = arguments[:4]
        sizes, strides = _whole_numbers(size), _whole_numbers(stride)
        numel = prod(sizes)
        if isinstance(storage, Made) and storage.kind == "storage":
            last = offset + sum((side - 1) * step for side, step in zip(sizes, strides, strict=True)) if numel else 0
            if type(offset) is not int or offset < 0 or numel > storage.numel or last >= max(storage.numel, 1):
                raise UserError(f"it has a tensor of shape {sizes[:8]}, for which its numbers are too few")
            self._shown += numel


def _container(found: Any) -> Made:
    if not isinstance(found, Made):
        raise UserError("its pickle is damaged: something is put into what is no container")
    return found


def _check_keys(keys: Iterable[Any]) -> None:
    """Raise UserError unless keys are short texts or small whole numbers: others may be made to have equal hashes."""
    for key in keys:
        if type(key) is not str and not (type(key) is int and abs(key) <= LARGEST_KEY):
            raise UserError("it has keys that are neither short texts nor small whole numbers")


def _whole_numbers(found: Any) -> list[int]:
    """The items of a tuple of sizes or strides; PyTorch's own class for sizes wraps one."""
    made = _container(found)
    if made.kind == "object" and made.items:
        return _whole_numbers(_container(made.items[0]).items[0])
    if len(made.items) > 16 or any(type(item) is not int or item < 0 for item in made.items):
        raise UserError("it has a tensor whose shape is damaged")
    return made.items
