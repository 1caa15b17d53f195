"""The flags of a settings dataclass, as users type them, and as messages name them."""

import re
import typing
from dataclasses import MISSING, dataclass, fields, is_dataclass

import tyro

POSITIONAL = typing.get_args(tyro.conf.Positional[int])[1]


@dataclass(frozen=True)
class Flag:
    """A flag of the command line."""

    name: str
    """name that tyro uses; for an alias, the name of the field"""
    boolean: bool
    """whether the flag is switched on without a value"""
    optional: bool
    """whether None (neither on nor off) is a possible value; tyro expects a value after such a boolean"""
    required: bool
    positional: bool = False
    """whether the value is given without the name of the flag, as the first word"""
    may_be_empty: bool = False
    """whether an empty text is allowed, which is only so if it is the default"""


def with_flags(sentence: str, settings: type) -> str:
    """Put `--` before names of fields in a message: the library writes `batch_size`, but users write `--batch_size`.

    A name is recognised if it has an underscore, is in `backticks`, or begins the sentence, as in `seed must not be
    negative`. Elsewhere a word such as seed or data is ordinary English. Quoted text and paths are not changed.
    """
    names = sorted({flag[2:] for flag in flags_by_name(settings)}, key=len, reverse=True)
    sentence = re.sub(rf"`({'|'.join(names)})`", r"--\1", sentence) if names else sentence
    written = "|".join(name for name in names if "_" in name)
    if written:
        sentence = re.sub(rf"(?<![\w\-./'\"`])({written})(?![\w/'\"`(]|[.=\-]\w)", r"--\1", sentence)
    first = sentence.partition(" ")[0]
    if first in names and re.match(r"\w+ (must|is|are|cannot|needs?|takes?|has|have)\b", sentence):
        return f"--{sentence}"
    return sentence


def flags_by_name(settings: type) -> dict[str, Flag]:
    """Return {flag as the user types it, with underscores: flag}, including those of nested dataclasses."""
    hints = typing.get_type_hints(settings, include_extras=True)
    flags: dict[str, Flag] = {}
    for field in fields(settings):
        kind, *extras = _annotation(hints[field.name])
        if is_dataclass(kind):
            flags |= flags_by_name(typing.cast(type, kind))
            continue
        required = field.default is MISSING and field.default_factory is MISSING
        aliases = [alias for extra in extras for alias in getattr(extra, "aliases", None) or ()]
        boolean, optional = kind in (bool, bool | None), kind == bool | None
        positional = POSITIONAL in extras
        flag = Flag(f"--{field.name}", boolean, optional, required, positional, field.default == "")
        for name in (f"--{field.name}", *aliases):
            flags[underscored(name)] = flag
            if boolean:
                flags[underscored(f"--no_{name[2:]}")] = Flag(f"--no_{field.name}", False, optional, False)
    return flags


def _annotation(hint: object) -> tuple[object, ...]:
    """Return (type, *metadata of `Annotated`)."""
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)


def underscored(flag: str) -> str:
    """Return a flag with underscores between its words."""
    return "--" + flag[2:].replace("-", "_")
