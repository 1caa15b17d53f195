"""Make safe file names for results that are named after text in a file: codes, directions, classes, archive members.

Such a text is untrusted. Unchanged, it could lead out of the folder of results, be hidden there, name a device of
Windows, or be longer than a file system allows. Every such name that becomes part of a path is made here.
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import PurePath, PurePosixPath

LONGEST = 200  # bytes of one part of a path: file systems allow 255, and commands add endings such as _face1_mix3.png
LONGEST_FILE_NAME = 255  # bytes of one part of a path that file systems allow
LONGEST_PATH, MAX_LEVELS = 1000, 32  # bytes and parts of a path: Linux allows 4,096 bytes, which include the folder
DIGITS = 8  # digits of the digest that replaces the rest of a name that was cut
FORBIDDEN = set('<>:"/\\|?*')  # forbidden on Windows, and the slash everywhere
JOINERS = "\u200c\u200d"  # invisible, but Persian and emoji need them
DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{port}{number}" for port in ("com", "lpt") for number in "123456789¹²³"
}


def file_name(text: str) -> str:
    """Turn any text into one part of a path: a readable name that every file system accepts.

    Characters that cannot be shown or are forbidden become underscores; a longer text is cut and ends in `~` and a
    digest of the whole text. A harmless name does not change.
    """
    return _part(text).rstrip(". ") or "_"


def _part(text: str) -> str:
    """Return `file_name` of a part to which an ending is added, so that dots and blanks at its end may stay."""
    name = _harmless(text[: 4 * LONGEST])
    if len(text) > 4 * LONGEST or len(name.encode()) > LONGEST:
        return _cut(name, LONGEST - DIGITS - 1) + "~" + _digest(text)
    return name if name.strip() else "_"


def _harmless(text: str) -> str:
    """Replace the characters of one part of a path that cannot be shown or are forbidden, whatever its length."""
    name = "".join("_" if _is_hidden(c) or c in FORBIDDEN else c for c in text)
    if name.startswith("."):
        name = "_" + name[1:]
    return "_" + name if name.partition(".")[0].rstrip(" ").lower() in DEVICES else name


def is_safe_path(text: str) -> bool:
    """Return whether a text is a path as `relative_path` makes it, with or without endings such as `_face1.png`."""
    parts = text.split("/")
    if len(parts) > MAX_LEVELS or any(len(part) > LONGEST_FILE_NAME for part in parts):
        return False
    return all(
        part.strip(" .") and _harmless(part) == part and len(part.encode()) <= LONGEST_FILE_NAME for part in parts
    )


def relative_path(text: str | PurePath) -> str:
    """Turn any text into a path with "/" that stays inside the folder to which it is joined, and keep its levels.

    Both `../../etc/x` and `/etc/x` become `etc/x`. The caller adds an ending such as .png.
    """
    whole = text.as_posix() if isinstance(text, PurePath) else text
    short = whole[-4 * LONGEST_PATH :]
    *folders, last = short.split("/")
    parts = [file_name(part) for part in folders if part.strip(" .")]
    parts += [_part(last)] if last.strip(" .") or not parts else []
    if short != whole or len(parts) > MAX_LEVELS or len("/".join(parts).encode()) > LONGEST_PATH:
        parts = [f"~{_digest(whole)}", *parts[-1:]]
    return "/".join(parts) or "_"


def unique_paths(
    texts: Iterable[str | PurePath], endings: Sequence[str] = (".png",), reserved: Iterable[str] = ()
) -> list[str]:
    """Turn texts into distinct paths, also for file systems that ignore case or the encoding of accents.

    A repeated path gets a number: `a`, `A_2`. No file takes the name of a folder that another one needs.

    Args:
        texts: Names of what the files show; "/" separates levels.
        endings: What the caller adds to a path; "" where the caller creates a folder of that name.
        reserved: Paths, with their endings, that must not be used.

    Returns:
        The paths, without endings, in the order of `texts`.
    """
    paths = [relative_path(text) for text in texts]
    taken = UsedPaths(reserved)
    taken.add_folders(paths)
    return [taken.take(path, endings) for path in paths]


class UsedPaths:
    """The paths that are in use inside a folder.

    Args:
        reserved: Paths, with their endings, that are in use from the start.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self.keys = {key(path) for path in reserved}
        self._next: dict[str, int] = {}

    def add_folders(self, paths: Iterable[str]) -> None:
        """Reserve the folders of these paths, so that no file gets the name of one."""
        self.keys |= {key(parent.as_posix()) for path in paths for parent in PurePosixPath(path).parents}

    def take(self, path: str, endings: Sequence[str] = (".png",)) -> str:
        """Return and reserve `path`, with a number if it is in use with one of the endings."""
        candidate, start = path, key(path)
        number = self._next.get(start, 1)
        while any(key(candidate + ending) in self.keys for ending in endings):
            number += 1
            candidate = f"{path}_{number}"
        self._next[start] = number  # so that each of a million equal names need not count from 1 again
        self.keys |= {key(candidate + ending) for ending in endings}
        return candidate


def key(path: str) -> str:
    """Return a key that is equal for two paths that some file system treats as the same."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())


def printable(text: str, longest: int = 2000) -> str:
    """Escape the characters of a text that are invisible, control a terminal, or are not valid text."""
    shown = text if len(text) <= longest else f"{text[: longest - 3]}..."
    return "".join(c.encode("unicode_escape").decode() if _is_hidden(c) and c not in "\n\t" else c for c in shown)


def _is_hidden(character: str) -> bool:
    """Return whether a character is invisible, changes the direction of writing, or is not valid text."""
    kind = unicodedata.category(character)
    return kind in ("Cc", "Cs", "Cn", "Co", "Zl", "Zp") or (kind == "Cf" and character not in JOINERS)


def _cut(name: str, size: int) -> str:
    """Return the beginning of a name, at most `size` bytes of whole characters."""
    return name.encode()[:size].decode(errors="ignore")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]
