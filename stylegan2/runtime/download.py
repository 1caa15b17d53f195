"""Download pretrained files on request; downloads resume after an interruption, and files are verified and complete.

Nothing else in the packages opens a network connection.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.files import make_folder, write_text, writing
from stylegan2.runtime.weights import Download, PretrainedFile, check_sha256, digest_of, weights_folder

SUMS = "SHA256SUMS"  # file in the folder of weights, in the format of `sha256sum --check`
CHUNK = 1 << 16  # bytes at a time: a broken connection loses less than that
TIMEOUT = 30  # seconds to wait for an answer
Progress = Callable[[int, int | None], object]
"""called with the number of bytes that are present, and the size of the file or None where it is unknown"""


def target(entry: PretrainedFile, folder: Path | None = None) -> Path:
    """Return the path of an entry's file in `folder`, by default the folder of weights."""
    return (folder or weights_folder()) / entry.file


def download(
    entry: PretrainedFile, folder: Path | None = None, progress: Progress = lambda done, size: None
) -> tuple[Path, str]:
    """Download a file of the table.

    An interrupted download is resumed if the server still has the same file.

    Args:
        entry: The file to download.
        folder: The destination, by default the folder of weights.
        progress: Called while data arrive.

    Returns:
        The path of the file, and its SHA-256, which is recorded in SHA256SUMS beside it.

    Raises:
        UserError: The entry has no address, there is no connection, the server refuses or sends a web page instead of
            the file, or the disk is full. The message says where to get the file by hand and where to put it.
        CheckpointError: The SHA-256 of the file differs from that of the table or of an earlier download.
    """
    import pooch  # imported here, so that only downloads wait for it

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
    """Return the SHA-256 of a file that is present already.

    Raises:
        CheckpointError: It differs from that of the table or of an earlier download.
    """
    expected = entry.sha256 or recorded(path)
    if expected:
        check_sha256(path, expected)
    return digest_of(path)


def recorded(path: Path) -> str | None:
    """Return the SHA-256 that an earlier download recorded for a file, or None."""
    sums = path.parent / SUMS
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    return next((digest for digest, _, name in (line.partition("  ") for line in lines) if name == path.name), None)


def record(path: Path, digest: str) -> None:
    """Record the SHA-256 of a file in SHA256SUMS beside it."""
    sums = path.parent / SUMS
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    others = [line for line in lines if line.partition("  ")[2] != path.name]
    write_text(sums, "".join(line + "\n" for line in sorted([*others, f"{digest}  {path.name}"])))


class _Transfer:
    """A downloader for pooch that resumes, and hands over only a complete and verified file."""

    def __init__(self, entry: PretrainedFile, source: Download, path: Path, progress: Progress) -> None:
        self.entry, self.source, self.path, self.progress = entry, source, path, progress
        self.part = path.with_name(path.name + ".part")
        self.version = path.with_name(path.name + ".part.version")  # the server's tag of this version of the file

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        from requests.exceptions import RequestException

        try:
            self._receive(url)
        except RequestException as error:
            raise UserError(
                f"{self._so_far()} arrived from {urlsplit(url).hostname} ({_reason(error)}): "
                f"run the same command again to continue, or {self._by_hand()}"
            ) from error
        finally:
            if self.part.is_file() and not self.part.stat().st_size:
                self.part.unlink()
        self._verify()
        self.version.unlink(missing_ok=True)
        os.replace(self.part, output_file)

    def _receive(self, url: str) -> None:
        """Append the missing bytes to the partial file. OSError: the file cannot be written; earlier bytes stay."""
        import requests

        with (  # the partial file is opened first, so that an unwritable folder is reported before any request
            self.part.open("ab") as file,
            requests.get(url, headers=self._request(file.tell()), stream=True, timeout=TIMEOUT) as response,
        ):
            if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # the file had arrived completely
            self._check(response.status_code, response.headers)
            if file.tell() and response.status_code != HTTPStatus.PARTIAL_CONTENT:
                file.seek(0)  # the server sends the file from the beginning
                file.truncate()
            _write_version(self.version, response.headers)
            size = self._check_room(file.tell(), response.headers)
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                file.flush()  # raises here on a full disk, not when the file is closed
                self.progress(file.tell(), size)

    def _request(self, present: int) -> dict[str, str]:
        """Return the headers that request the bytes after those present, of the same version of the file."""
        headers = {"Accept-Encoding": "identity"}
        if present and self.version.is_file():
            headers |= {"Range": f"bytes={present}-", "If-Range": self.version.read_text(encoding="latin-1")}
        return headers

    def _check(self, status: int, headers: Mapping[str, str]) -> None:
        """Raise a UserError unless the answer is a file."""
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
        """Return the size of the file, if the server states it. UserError: the disk has too little space."""
        if not headers.get("Content-Length", "").isdigit():
            return None
        missing = int(headers["Content-Length"])
        free = shutil.disk_usage(self.path.parent).free
        if free < missing:
            raise UserError(
                f"{self.entry.file} needs {missing / 1e6:.0f} MB more, but the disk of {str(self.path.parent)!r} has "
                f"only {free / 1e6:.0f} MB left: free some space, or give another folder"
            )
        return present + missing

    def _verify(self) -> None:
        """Raise a CheckpointError, and delete the partial file, if it is not the file that was expected."""
        expected = self.entry.sha256 or recorded(self.path)
        digest = hashlib.sha256()
        with self.part.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        if expected and not digest.hexdigest().startswith(expected.lower()):
            self.part.unlink()
            self.version.unlink(missing_ok=True)
            raise CheckpointError(
                f"the downloaded {self.entry.file} is damaged or a different file (its SHA-256 begins with "
                f"{digest.hexdigest()[:16]}, not {expected[:16]}), and was deleted: try again, or {self._by_hand()}"
            )

    def _by_hand(self) -> str:
        return f"get {self.entry.file} from {self.source.page} and put it at {str(self.path)!r}"

    def _so_far(self) -> str:
        present = self.part.stat().st_size if self.part.is_file() else 0
        return f"only {present / 1e6:.1f} MB of {self.entry.file}" if present else f"nothing of {self.entry.file}"


def _write_version(path: Path, headers: Mapping[str, str]) -> None:
    """Record the version of the file, so that parts of two versions are never joined; weak tags identify none."""
    version = headers.get("ETag", "")
    version = version if version and not version.startswith("W/") else headers.get("Last-Modified", "")
    path.unlink(missing_ok=True)
    if version:
        path.write_text(version, encoding="latin-1")


def _reason(error: Exception) -> str:
    """Say in a few words why there was no answer; requests nests its errors."""
    text = str(error)
    for mark, reason in {
        "NameResolution": "the host was not found: there is no network, or it is blocked",
        "Name or service": "the host was not found: there is no network, or it is blocked",
        "Connection refused": "the connection was refused",
        "timed out": "the server does not answer",
        "IncompleteRead": "the connection broke",
        "Connection broken": "the connection broke",
    }.items():
        if mark in text:
            return reason
    return type(error).__name__
