"""Download pretrained files, when a user asks for one: resumed after an interruption, verified, complete or not there.

Nothing else in the packages opens a network connection.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.files import make_folder, write_text, writing
from stylegan2.runtime.weights import Download, PretrainedFile, digest_of, verify, weights_folder

SUMS = "SHA256SUMS"  # in the folder of weights, as `sha256sum --check` reads it
CHUNK = 1 << 16  # bytes at a time: less than that is lost where a connection breaks
TIMEOUT = 30  # seconds without an answer
Progress = Callable[[int, int | None], object]
"""Bytes that are there, and how many there will be, where that is known."""


def target(entry: PretrainedFile, folder: Path | None = None) -> Path:
    """Return where the file of an entry is put: `folder`, by default that of weights."""
    return (folder or weights_folder()) / entry.file


def download(
    entry: PretrainedFile, folder: Path | None = None, progress: Progress = lambda done, size: None
) -> tuple[Path, str]:
    """Download a file of the table.

    What an interrupted download left is gone on with, if the server still has the same file.

    Args:
        entry: What to download.
        folder: Where to put it, by default the folder of weights.
        progress: Called as data arrive.

    Returns:
        The path of the file, and its SHA-256, which is recorded in SHA256SUMS beside it.

    Raises:
        UserError: The entry has no address, there is no connection, the server refuses or sends a web page in place of
            the file, or the disk is full. The sentence says where to get the file by hand and where to put it.
        CheckpointError: The file that arrived is not the one that the table or an earlier download knows.
    """
    import pooch  # here, because only who downloads waits for it

    if entry.download is None:
        raise UserError(f"{entry.name} cannot be downloaded here: {entry.source}")
    path = target(entry, folder)
    make_folder(path.parent)
    pooch.get_logger().setLevel("WARNING")
    transfer = _Transfer(entry, entry.download, path, progress)
    with writing(path):
        pooch.retrieve(entry.download.url, None, path.name, path.parent, downloader=transfer)  # type: ignore[arg-type]
    digest = digest_of(path)
    record(path, digest)
    return path, digest


def check_present(entry: PretrainedFile, path: Path) -> str:
    """Return the SHA-256 of a file that is there already.

    Raises:
        CheckpointError: It is not the file that the table or an earlier download knows.
    """
    expected = entry.sha256 or recorded(path)
    if expected:
        verify(path, expected)
    return digest_of(path)


def recorded(path: Path) -> str | None:
    """Return the SHA-256 of a file that an earlier download wrote down, or None."""
    sums = path.parent / SUMS
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    return next((digest for digest, _, name in (line.partition("  ") for line in lines) if name == path.name), None)


def record(path: Path, digest: str) -> None:
    """Write down the SHA-256 of a file in SHA256SUMS beside it."""
    sums = path.parent / SUMS
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    others = [line for line in lines if line.partition("  ")[2] != path.name]
    write_text(sums, "".join(line + "\n" for line in sorted([*others, f"{digest}  {path.name}"])))


class _Transfer:
    """A downloader for pooch that resumes. The file that it hands over is complete and verified."""

    def __init__(self, entry: PretrainedFile, source: Download, path: Path, progress: Progress) -> None:
        self.entry, self.source, self.path, self.progress = entry, source, path, progress
        self.part = path.with_name(path.name + ".part")
        self.version = path.with_name(path.name + ".part.version")  # the server's name for the file's state

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        from requests.exceptions import RequestException

        try:
            self._receive(url)
        except RequestException as error:
            raise UserError(
                f"{self._so_far()} arrived from {urlsplit(url).hostname} ({_reason(error)}): "
                f"run the same command again to go on, or {self._by_hand()}"
            ) from error
        finally:
            if self.part.is_file() and not self.part.stat().st_size:
                self.part.unlink()
        self._verify()
        self.version.unlink(missing_ok=True)
        os.replace(self.part, output_file)

    def _receive(self, url: str) -> None:
        """Append to the part what is missing. OSError: the disk refuses; what has arrived stays."""
        import requests

        with (  # the part is opened first: a folder that cannot be written is said before anything is asked for
            self.part.open("ab") as file,
            requests.get(url, headers=self._request(file.tell()), stream=True, timeout=TIMEOUT) as response,
        ):
            if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # all of it had arrived
            self._check(response.status_code, response.headers)
            if file.tell() and response.status_code != HTTPStatus.PARTIAL_CONTENT:
                file.seek(0)  # the server begins at the beginning
                file.truncate()
            _write_version(self.version, response.headers)
            size = self._check_room(file.tell(), response.headers)
            for chunk in _chunks(response):
                file.write(chunk)
                file.flush()  # a full disk is noticed here, not when the file is closed
                self.progress(file.tell(), size)

    def _request(self, present: int) -> dict[str, str]:
        """Return the headers that ask for the bytes behind those present, of the same state of the file."""
        headers = {"Accept-Encoding": "identity"}
        if present and self.version.is_file():
            headers |= {"Range": f"bytes={present}-", "If-Range": self.version.read_text(encoding="latin-1")}
        return headers

    def _check(self, status: int, headers: Mapping[str, str]) -> None:
        """Raise UserError unless the answer is a file."""
        host = urlsplit(self.source.url).hostname
        if status >= HTTPStatus.BAD_REQUEST:
            known = {code.value: f" {code.phrase}" for code in HTTPStatus}
            raise UserError(f"{host} answered {status}{known.get(status, '')} for {self.entry.file}: {self._by_hand()}")
        if headers.get("Content-Type", "").partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml"):
            self.part.unlink(missing_ok=True)
            raise UserError(
                f"{host} answered with a web page instead of {self.entry.file}, as it does when too many people have "
                f"downloaded it today or it has moved: try again later, or {self._by_hand()}"
            )

    def _check_room(self, present: int, headers: Mapping[str, str]) -> int | None:
        """Return how large the file will be, if the server says so. UserError: the disk has no room for it."""
        if not headers.get("Content-Length", "").isdigit():
            return None
        missing = int(headers["Content-Length"])
        free = shutil.disk_usage(self.path.parent).free
        if free < missing:
            raise UserError(
                f"{self.entry.file} needs {missing / 1e6:.0f} MB more, and the disk of {str(self.path.parent)!r} has "
                f"{free / 1e6:.0f} MB left: make room, or name another folder"
            )
        return present + missing

    def _verify(self) -> None:
        """Raise CheckpointError, and delete the part, if it is not the file that was expected."""
        expected = self.entry.sha256 or recorded(self.path)
        digest = hashlib.sha256()
        with self.part.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        if expected and not digest.hexdigest().startswith(expected.lower()):
            self.part.unlink()
            self.version.unlink(missing_ok=True)
            raise CheckpointError(
                f"what arrived as {self.entry.file} is damaged or another file (its SHA-256 begins with "
                f"{digest.hexdigest()[:16]}, not {expected[:16]}), and was deleted: try again, or {self._by_hand()}"
            )

    def _by_hand(self) -> str:
        return f"get {self.entry.file} from {self.source.page} and put it at {str(self.path)!r}"

    def _so_far(self) -> str:
        present = self.part.stat().st_size if self.part.is_file() else 0
        return f"only {present / 1e6:.1f} MB of {self.entry.file}" if present else f"nothing of {self.entry.file}"


def _chunks(response: Any) -> Iterator[bytes]:
    return (chunk for chunk in response.iter_content(CHUNK) if chunk)


def _write_version(path: Path, headers: Mapping[str, str]) -> None:
    """Remember which state of the file this is, so that two states are never joined; weak tags cannot tell."""
    version = headers.get("ETag", "")
    version = version if version and not version.startswith("W/") else headers.get("Last-Modified", "")
    path.unlink(missing_ok=True)
    if version:
        path.write_text(version, encoding="latin-1")


def _reason(error: Exception) -> str:
    """Say in a few words why there was no answer: the library nests its errors."""
    text = str(error)
    for mark, reason in {
        "NameResolution": "the name is not known: there is no network, or it is blocked",
        "Name or service": "the name is not known: there is no network, or it is blocked",
        "Connection refused": "the connection was refused",
        "timed out": "it does not answer",
        "IncompleteRead": "the connection broke",
        "Connection broken": "the connection broke",
    }.items():
        if mark in text:
            return reason
    return type(error).__name__
