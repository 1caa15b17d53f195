"""List the pictures of a folder or zip file, in the same way for every command.

A file counts as a picture by its extension or its first bytes. Links are followed, and each folder is read once.
Auxiliary files of operating systems and other programs are ignored. All other files are skipped and counted by kind, so
that users know which of their files are not used.
"""

import os
import stat
import struct
import zipfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from stylegan2.runtime.bounded import check_members
from stylegan2.runtime.errors import ImageError, UserError
from stylegan2.runtime.zip_members import LOCAL_SIGNATURE, Member, members, open_member, read_directory

EXTENSIONS = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".webp", ".bmp", ".dib"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".gif", ".avif", ".heic", ".heif", ".hif"),
)
# Files whose first bytes are not read: most are common next to pictures, raw photographs begin like TIFF files, and
# unfinished downloads begin like complete pictures.
NEVER_PICTURES = (
    *(".txt", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".html", ".md", ".yaml", ".yml", ".npy", ".npz", ".pt"),
    *(".pkl", ".safetensors", ".pdf", ".zip", ".mov", ".mp4", ".log", ".py", ".ini", ".aae", ".thm"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw", ".3fr", ".iiq", ".psd"),
    *(".part", ".partial", ".crdownload", ".download", ".tmp", ".temp", ".bak"),
)
# Folders of Synology, QNAP and other network drives, macOS, Windows and Linux, in lower case.
FOREIGN_FOLDERS = {
    *("__macosx", "@eadir", "#recycle", "@recycle", "@recently-snapshot", "#snapshot", "$recycle.bin"),
    *("system volume information", "lost+found", "thumbs", "network trash folder", "temporary items"),
}
FOREIGN_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "picasa.ini", "zbthumbnail.info"}
LABELS_FILE = "dataset.json"
HIDDEN_FILES = "hidden or left by other programs"
MAX_PICTURES = 2_000_000  # in a zip file, whose list of members is in memory
HEAD = 16  # first bytes, which show the type of a file
ISO_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


@dataclass
class Listing:
    """The pictures of a folder or zip file."""

    names: list[str] = field(default_factory=list)
    """sorted paths below the folder, with "/", or names in the zip file"""
    skipped: Counter[str] = field(default_factory=Counter)
    """{kind: number of files} of skipped files"""
    visited: list[str] = field(default_factory=list)
    """the folders that were listed ("" for the top one), and the files whose first bytes were read"""
    members: np.ndarray | None = None
    """int64 [len(names), 6], one `Member` per row, for a zip file; None for a folder"""
    labels_files: dict[str, Member] = field(default_factory=dict)
    """{name with "/": member} of the files of labels (dataset.json) in a zip file"""

    def summary(self) -> str:
        """Return the number of files by kind, such as "2 .jpg, 1 .heic; skipped: 3 .mov, 1 .txt"."""
        kinds = Counter(os.path.splitext(name)[1].lower() or "without an extension" for name in self.names)
        passed = f"skipped: {_counts(self.skipped)}" if self.skipped else ""
        return "; ".join(filter(None, (_counts(kinds), passed)))

    def file_kinds(self) -> str:
        """Return the number of files by kind; "" where all files are pictures of one kind."""
        kinds = {os.path.splitext(name)[1].lower() for name in self.names}
        return self.summary() if self.skipped or len(kinds) > 1 else ""

    def print_summary(self, where: str | os.PathLike) -> None:
        """Print the number of files by kind, unless all files are pictures of one kind."""
        if kinds := self.file_kinds():
            print(f"{os.fspath(where)}: {kinds}")


def list_pictures(path: str | os.PathLike) -> Listing:
    """List the pictures of a folder, with its subfolders, or of a zip file.

    Raises:
        ImageError: The folder, or a folder in it, cannot be listed.
        UserError: The path does not exist, or is neither a folder nor a zip file.
    """
    path = Path(path)
    if path.is_dir():
        return list_folder(path)
    if not path.exists():
        raise UserError(f"there is no folder or zip file {str(path)!r}")
    if not zipfile.is_zipfile(path):
        if _head_of_file(os.fspath(path)).startswith(LOCAL_SIGNATURE):
            raise UserError(f"{path} begins like a zip file, but its end is missing: copy or download it again")
        raise UserError(f"{path} is neither a folder nor a zip file of images: unpack other kinds of archives first")
    return list_zip(path)


def find_images(folder: str | os.PathLike) -> list[Path]:
    """Return the sorted pictures of a folder and its subfolders. ImageError: a folder cannot be listed."""
    return [Path(folder, name) for name in list_folder(folder).names]


def list_folder(folder: str | os.PathLike) -> Listing:
    """List the pictures of a folder and its subfolders. ImageError: one of them cannot be listed."""
    listing, top = Listing(), os.fspath(folder)
    for prefix, entry in _walk(top, listing):
        name = prefix + entry.name
        kind = skipped_kind(name, lambda name=name, path=entry.path: _look_into(listing, name, path))
        if kind is None:
            listing.names.append(name)
        elif kind:
            listing.skipped[kind] += 1
    listing.names.sort()
    return listing


def list_zip(path: str | os.PathLike) -> Listing:
    """List the pictures of a zip file. UserError: it is damaged."""
    listing = Listing()
    try:
        check_members(path, MAX_PICTURES)
        last, fields = dict[str, int](), array("q")
        for number, (name, member, attributes) in enumerate(members(*read_directory(path))):
            last[name] = number  # the last member of a name counts
            fields.extend((*member, attributes))
        rows = np.frombuffer(fields, np.int64).reshape(-1, len(Member._fields) + 1)  # [M, 7]
        with open(path, "rb") as file:
            for name, number in last.items():
                *row, attributes = rows[number].tolist()
                if not name.endswith(("/", "\\")) and not stat.S_ISLNK(attributes >> 16):
                    _add_file(listing, name, Member(*row), file)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError, struct.error, UserError) as error:
        raise UserError(f"{os.fspath(path)} cannot be read as a zip file: {error}") from error
    listing.names.sort()
    listing.members = rows[[last[name] for name in listing.names], :-1]  # [N, 6]
    return listing


def _add_file(listing: Listing, name: str, member: Member, file: BinaryIO) -> None:
    """Add a member of a zip file to the pictures, to the files of labels, or to the skipped files."""
    kind = skipped_kind(inner_name(name), lambda: _head_of_member(file, name, member))
    kind = member.locked if kind is None else kind
    if kind is None:
        listing.names.append(name)
    elif kind:
        listing.skipped[kind] += 1
    else:
        listing.labels_files.setdefault(inner_name(name), member)


def inner_name(member: str) -> str:
    """Return the name of a zip member with "/" instead of the backslashes of Windows, and without a leading "./"."""
    return member.replace("\\", "/").removeprefix("./")


def skipped_kind(name: str, head: Callable[[], bytes]) -> str | None:
    """Return the kind under which a file is skipped; None for a picture, "" for the labels of the pictures.

    Args:
        name: Path below the folder or in the zip file, with "/".
        head: Reads the first HEAD bytes; called only where the name does not tell the type.
    """
    *folders, own = [part for part in name.split("/") if part not in ("", ".")] or [name]
    if any(_is_foreign(folder) for folder in folders) or own.lower() in FOREIGN_FILES or own.startswith("."):
        return HIDDEN_FILES
    if own == LABELS_FILE:
        return ""
    extension = os.path.splitext(own)[1].lower()
    if extension in EXTENSIONS:
        return None
    if extension not in NEVER_PICTURES and is_picture(head()):
        return None
    return extension or "without an extension"


def is_picture_file(path: str | os.PathLike) -> bool:
    """Return whether a file is a picture by its extension or its first bytes."""
    return os.path.splitext(path)[1].lower() in EXTENSIONS or is_picture(_head_of_file(os.fspath(path)))


def is_picture(head: bytes) -> bool:
    """Return whether a file begins like a picture of a format that `read_image` reads."""
    if head.startswith(b"RIFF"):
        return head[8:12] == b"WEBP"
    if head[4:8] == b"ftyp":
        return head[8:12] in ISO_BRANDS
    # Two letters are not enough to recognise a BMP or PPM by its content.
    return head.startswith(
        (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    )


def _counts(kinds: Counter[str]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items(), key=lambda e: (-e[1], e[0])))


def _walk(top: str, listing: Listing) -> Iterator[tuple[str, os.DirEntry]]:
    """Yield (path of its folder below `top`, entry) for each file; each folder is read once.

    Folders come before linked ones, so that a link never replaces the folder that it points to. A link to a folder that
    contains `top` is skipped, because it would lead to files outside of the folder that the user named.
    """
    above = {_identity(parent) for parent in (Path(top).resolve(), *Path(top).resolve().parents) if parent.exists()}
    seen: set[tuple[int, int]] = set()
    folders, links = [(top, "")], []
    while folders or links:
        folder, prefix = folders.pop() if folders else links.pop(0)
        try:
            identity = _identity(folder)
            if identity in seen or (prefix and os.path.islink(folder) and identity in above):
                listing.skipped["links to a folder that was already read or contains this one"] += 1
                continue
            seen.add(identity)
            listing.visited.append(prefix)
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise ImageError(f"cannot list folder {str(error.filename)!r}: {error.strerror}") from error
        for entry in entries:
            if not _is_folder(entry):
                yield prefix, entry
            elif _is_foreign(entry.name):
                listing.skipped[HIDDEN_FILES] += 1
            else:
                (links if entry.is_symlink() else folders).append((entry.path, f"{prefix}{entry.name}/"))


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that points to itself
        return False


def _identity(folder: str | os.PathLike) -> tuple[int, int]:
    state = os.stat(folder)
    return state.st_dev, state.st_ino


def _is_foreign(folder: str) -> bool:
    return (folder.startswith(".") and folder not in (".", "..")) or folder.lower() in FOREIGN_FOLDERS


def _look_into(listing: Listing, name: str, path: str) -> bytes:
    listing.visited.append(name)
    return _head_of_file(path)


def _head_of_file(path: str) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe could block for ever
            return b""
        with open(path, "rb", buffering=0) as file:
            return file.read(HEAD)
    except OSError:  # a broken link, or no permission
        return b""


def _head_of_member(file: BinaryIO, name: str, member: Member) -> bytes:
    try:
        with open_member(file, name, member) as opened:
            return opened.read(HEAD)
    except Exception:  # zipfile raises several kinds on damaged or encrypted members
        return b""
