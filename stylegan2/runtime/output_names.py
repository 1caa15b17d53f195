"""File names for results that are called by what a file says: its codes, directions, classes, members of an archive.

Such a name is text of a stranger. As it stands it could lead out of the folder of results, hide there, be a device of
Windows, or be longer than a file system takes. Every name that becomes part of a path comes through here.
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import PurePath, PurePosixPath

LONGEST = 200  # bytes of one part of a path: file systems take 255, and commands add endings such as _face1_mix3.png
LONGEST_PATH, MOST_LEVELS = 1000, 32  # bytes and parts of a whole name: Linux takes 4,096 bytes with the folder's own
DIGITS = 8  # of the digest that stands for what was cut off
FORBIDDEN = set('<>:"/\\|?*')  # by Windows; the slashes everywhere
JOINERS = "\u200c\u200d"  # invisible, but Persian and emoji are spelt with them
DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{port}{number}" for port in ("com", "lpt") for number in "123456789¹²³"
}


def file_name(text: str, longest: int = LONGEST) -> str:
    """Turn any text into one part of a path: a readable name that every file system takes as it is.

    What cannot be shown or is forbidden becomes an underscore; a longer text is cut and ends in `~` and a digest of the
    whole. A name that is harmless stays as it is.

    Args:
        text: Whatever a file says.
        longest: Bytes in UTF-8, without the ending that the caller adds.
    """
    return _part(text, longest).rstrip(". ") or "_"


def _part(text: str, longest: int = LONGEST) -> str:
    """`file_name` for a part to which an ending is added, so that dots and blanks before that may stay."""
    name = "".join("_" if _is_hidden(c) or c in FORBIDDEN else c for c in text[: 4 * longest])
    if name.startswith("."):
        name = "_" + name[1:]
    if name.partition(".")[0].rstrip(" ").lower() in DEVICES:
        name = "_" + name
    if len(text) > 4 * longest or len(name.encode()) > longest:
        return _cut(name, longest - DIGITS - 1) + "~" + _digest(text)
    return name if name.strip() else "_"


def relative_path(text: str | PurePath) -> str:
    """Turn any text into a path with "/" that stays beneath the folder it is joined to; its levels are kept.

    `../../etc/x` becomes `etc/x`, and so does `/etc/x`. The caller adds an ending such as .png.
    """
    whole = text.as_posix() if isinstance(text, PurePath) else text
    short = whole[-4 * LONGEST_PATH :]
    *folders, last = short.split("/")
    parts = [file_name(part) for part in folders if part.strip(" .")]
    parts += [_part(last)] if last.strip(" .") or not parts else []
    if short != whole or len(parts) > MOST_LEVELS or len("/".join(parts).encode()) > LONGEST_PATH:
        parts = [f"~{_digest(whole)}", *parts[-1:]]
    return "/".join(parts) or "_"


def unique_paths(
    texts: Iterable[str | PurePath], endings: Sequence[str] = (".png",), reserved: Iterable[str] = ()
) -> list[str]:
    """Turn texts into paths of which none is another's, also where the file system ignores case or accents' spelling.

    A path that was given before gets a number: `a`, `A_2`. No file takes the name of a folder that another needs.

    Args:
        texts: What the files are of; "/" parts levels.
        endings: What the caller adds to a path; "" where it makes a folder of that name.
        reserved: Paths, with their endings, that are taken.

    Returns:
        The paths, without endings, in the order of `texts`.
    """
    paths = [relative_path(text) for text in texts]
    taken = Taken(reserved)
    taken.add_folders(paths)
    return [taken.take(path, endings) for path in paths]


class Taken:
    """The paths that are in use beneath a folder.

    Args:
        reserved: Paths, with their endings, that are taken from the start.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self.keys = {key(path) for path in reserved}
        self._next: dict[str, int] = {}

    def add_folders(self, paths: Iterable[str]) -> None:
        """Keep the folders of these paths free of files."""
        self.keys |= {key(parent.as_posix()) for path in paths for parent in PurePosixPath(path).parents}

    def take(self, path: str, endings: Sequence[str] = (".png",)) -> str:
        """Return `path`, with a number where one of its endings is in use, and take it."""
        candidate, start = path, key(path)
        number = self._next.get(start, 1)
        while any(key(candidate + ending) in self.keys for ending in endings):
            number += 1
            candidate = f"{path}_{number}"
        self._next[start] = number  # so that a million equal names are not a million times counted from 1
        self.keys |= {key(candidate + ending) for ending in endings}
        return candidate


def key(path: str) -> str:
    """Return what two paths share where a file system takes them for the same."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())


def printable(text: str, longest: int = 2000) -> str:
    """Return text for a terminal: what is invisible, could steer the terminal, or is no text is escaped."""
    shown = text if len(text) <= longest else f"{text[: longest - 3]}..."
    return "".join(c.encode("unicode_escape").decode() if _is_hidden(c) and c not in "\n\t" else c for c in shown)


def _is_hidden(character: str) -> bool:
    """Return whether a character is invisible, turns the direction of writing, or is no text."""
    kind = unicodedata.category(character)
    return kind in ("Cc", "Cs", "Cn", "Co", "Zl", "Zp") or (kind == "Cf" and character not in JOINERS)


def _cut(name: str, size: int) -> str:
    """The beginning of a name, at most `size` bytes of whole characters."""
    return name.encode()[:size].decode(errors="ignore")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]
