"""Files on other machines, which fsspec downloads into the cache folder and which are then read like local files.

URLs may have any scheme that fsspec supports, such as s3://bucket/folder or https://host/file. A URL that went through
`Path` has lost a slash (s3:/bucket) and is accepted as well. Only files that the user named are downloaded.
"""

import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

from filelock import FileLock

from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import PARTIAL_PREFIX, cache_folder, make_folder, writing
from stylegan2.runtime.progress import track, write_line
from stylegan2.runtime.work_group import ordered_map

Answer = TypeVar("Answer")
FileInfo = dict[str, Any]
"""what a file system reports about a file: at least "size" in bytes, which is None if it is not known"""

URL = re.compile(r"([a-z][a-z0-9+.-]+):/+(?=[^/])(.*)", re.DOTALL)
TRIES, FIRST_PAUSE = 4, 0.5  # attempts per request; seconds before the second attempt, doubled for each further one
READ_TIMEOUT = 60.0  # seconds without receiving a byte after which a request is retried
FETCHED_AT_A_TIME = 8
LONGEST_PART = 200  # bytes of one component of a path
EXTRA = 'pip install "psp-translate[remote]"'
STATE = ("ETag", "Content-MD5", "Last-Modified", "LastModified", "mtime", "generation", "size")
"""Names that file systems give to the properties by which two versions of a file differ."""


def url_of(path: str | os.PathLike) -> str | None:
    """Return the URL that `path` denotes, or None for a path on this machine."""
    match = URL.fullmatch(path if isinstance(path, str) else Path(path).as_posix())
    return None if match is None else f"{match[1]}://{match[2]}"


def check_local(name: str, path: str | os.PathLike) -> None:
    """Check that a path to write to is on this machine.

    Args:
        name: Name of the setting, for the message.
        path: The path.

    Raises:
        UserError: The path is a URL.
    """
    if (url := url_of(path)) is not None:
        raise UserError(
            f"{name} must be a folder or file of this machine, not {url!r}: copy the results there afterwards,"
            " or mount it"
        )


def local(path: str | os.PathLike) -> Path:
    """Return a local path for a path or URL; a file or folder behind a URL is downloaded first.

    From a folder, the images and `dataset.json` are downloaded. Files in the cache are downloaded again only if they
    have changed on the other machine.

    Raises:
        UserError: The URL does not exist, access is denied, the network does not answer, or the disk is full.
    """
    url = url_of(path)
    if url is None:
        return Path(path)
    place, info = _described(url)
    return fetch_folder(place) if _is_folder(info) else fetch_file(place, info=info)


def local_model(path: str | os.PathLike) -> Path:
    """Return a local path for a checkpoint; from the URL of an experiment folder, the newest checkpoint is downloaded.

    Raises:
        UserError: The folder has no checkpoint, or the download fails as in `local`.
    """
    url = url_of(path)
    if url is None:
        return Path(path)
    place, info = _described(url)
    if not _is_folder(info):
        return fetch_file(place, info=info)
    files = [name for name in list_files(place) if name.endswith(".safetensors")]
    names = [name for name in files if name.startswith("checkpoints/")] or [name for name in files if "/" not in name]
    if not names:
        raise UserError(f"there is no checkpoint in {url}")
    return fetch_file(f"{place.rstrip('/')}/{max(names, key=_number)}")


def remote_info(url: str) -> FileInfo:
    """Return what a file system reports about a file: at least "size" in bytes, which is None if it is not known.

    Raises:
        UserError: The file does not exist or cannot be reached.
    """
    return _described(url)[1]


def state_of(info: FileInfo) -> str:
    """Return a text that changes whenever a file changes, as far as the other machine reports it."""
    return " ".join(str(info[key]) for key in STATE if info.get(key) is not None)


def list_files(url: str) -> dict[str, FileInfo]:
    """List all files below a folder.

    Returns:
        {path relative to the folder: what the file system reports about the file}.

    Raises:
        UserError: The folder does not exist or cannot be reached.
    """
    file_system, path = _open(url)
    entries = _retried(url, lambda: file_system.find(path, detail=True))
    top = file_system._strip_protocol(path).rstrip("/") + "/"
    names = {name.removeprefix(top): info for name, info in entries.items() if name.startswith(top)}
    return {name: info for name, info in names.items() if "?" not in name}  # without the sorting links of web pages


def fetch_file(url: str, folder: Path | None = None, info: FileInfo | None = None) -> Path:
    """Download a file, unless the cache already has its current version.

    Args:
        url: URL of the file.
        folder: Folder for the downloaded file, by default `remote` in the cache folder.
        info: What `remote_info` returned for the URL, if that is known already.

    Returns:
        Path of the file on this machine, with the file name of the URL.

    Raises:
        UserError: The file cannot be downloaded, or the disk is full.
    """
    info = remote_info(url) if info is None else info
    target = cached(url, folder or cache_folder() / "remote", info)
    if target.is_file():
        return target
    make_folder(target.parent)
    with writing(target), FileLock(target.parent / ".lock"):
        if not target.is_file():  # another process may have downloaded it in the meantime
            _fetch(url, target, info.get("size"))
    return target


def cached(url: str, folder: Path, info: FileInfo) -> Path:
    """Return the path in the cache of the version of a file that `info` describes; the file need not exist."""
    key = hashlib.sha256(f"{url} {state_of(info)}".encode()).hexdigest()[:16]
    return folder / key / _file_name(url)


def fetch_folder(url: str) -> Path:
    """Download the images of a folder and its subfolders, and print by kind which other files were skipped.

    A file that cannot be downloaded is left empty, so that it is later reported as unreadable.

    Returns:
        Path of the folder on this machine.

    Raises:
        UserError: The folder holds no images or cannot be reached, or the disk is full.
    """
    folder = cache_folder() / "remote" / hashlib.sha256(url.encode()).hexdigest()[:16] / "files"
    record = folder.with_name("fetched.jsonl")
    make_folder(folder)
    with writing(folder), FileLock(folder.with_name(".lock")):
        wanted = _pictures(url)
        have = _fetched(record)
        for name in have.keys() - wanted.keys():
            (folder / name).unlink(missing_ok=True)
        same = {name for name, info in wanted.items() if have.get(name) == state_of(info)}
        missing = [name for name in wanted if name not in same or not (folder / name).is_file()]
        with record.open("a", encoding="utf-8") as lines:
            work = ordered_map(lambda name: _fetch_one(url, name, folder, wanted[name]), missing, FETCHED_AT_A_TIME)
            for name, error_message in track(work, "fetching", "file", total=len(missing)):
                if error_message is None:
                    lines.write(json.dumps([name, state_of(wanted[name])]) + "\n")
                else:
                    write_line(error_message)
    return folder


def _pictures(url: str) -> dict[str, FileInfo]:
    # Imported here because it imports NumPy, for which the help of a command should not wait.
    from stylegan2.runtime.image_files import LABELS_FILE, Listing, skipped_kind

    listing, wanted = Listing(), {}
    for name, info in sorted(list_files(url).items()):
        kind = skipped_kind(name, bytes) if _is_safe(name) else "whose names are not valid paths"
        if kind is None or name.rpartition("/")[2] == LABELS_FILE:
            wanted[name] = info
        if kind is None:
            listing.names.append(name)
        elif kind:
            listing.skipped[kind] += 1
    if not listing.names:
        raise UserError(f"the folder {url} contains no images: {listing.summary() or 'it is empty'}")
    listing.print_summary(url)
    return wanted


def _is_safe(name: str) -> bool:
    """Return whether a file name from another machine stays within a local folder on every file system."""
    parts = name.split("/")
    refused = any(part in ("", ".", "..") or len(part.encode("utf-8", "replace")) > LONGEST_PART for part in parts)
    return (
        not refused
        and name.isprintable()
        and not set(name) & set('\\:*?"<>|')
        and not PurePosixPath(name).is_absolute()
    )


def _fetch_one(url: str, name: str, folder: Path, info: FileInfo) -> tuple[str, str | None]:
    """Download one file of a folder; return its name, and the error message if it failed or None."""
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _fetch(f"{url.rstrip('/')}/{name}", target, info.get("size"))
    except RefusedError as error:
        target.write_bytes(b"")
        return name, str(error)
    return name, None


def _fetched(record: Path) -> dict[str, str]:
    """Read {name: version} of the files that earlier runs downloaded; an incomplete line is skipped."""
    versions = {}
    for line in record.read_text(encoding="utf-8").splitlines() if record.is_file() else ():
        try:
            name, state = json.loads(line)
        except ValueError:
            continue
        versions[name] = state
    return versions


def _number(name: str) -> tuple[int, str]:
    digits = re.findall(r"\d+", name.rpartition("/")[2])
    return (int(digits[-1][:18]) if digits else -1), name


# ------------------------------------------------------------------------------------------- requests


class RefusedError(UserError):
    """One file does not exist on the other machine, or access to it is denied."""


def _described(url: str) -> tuple[str, FileInfo]:
    """Return a URL and what the file system reports about it; the URL of a web page ends in "/" and is a folder."""
    file_system, path = _open(url)
    info = _retried(url, lambda: file_system.info(path))
    page = str(info.get("mimetype", "")).startswith(("text/html", "application/xhtml"))
    if page and not PurePosixPath(urlsplit(url).path).suffix:
        return url.rstrip("/") + "/", {**info, "type": "directory"}
    return url, info


def _is_folder(info: FileInfo) -> bool:
    return info.get("type") == "directory"


def _file_name(url: str) -> str:
    name = PurePosixPath(urlsplit(url).path).name
    return name if name and _is_safe(name) else "file"


def _fetch(url: str, target: Path, size: int | None) -> None:
    """Download a file under a temporary name and rename it once it is complete. OSError: the disk cannot be written."""
    free = shutil.disk_usage(target.parent).free
    if size is not None and size > free:
        raise UserError(
            f"{url} has {size / 1e6:,.0f} MB, but the disk of {str(target.parent)!r} has only {free / 1e6:,.0f} MB "
            f"left: free some space, or set XDG_CACHE_HOME to a folder of another disk"
        )
    file_system, path = _open(url)
    unfinished = target.with_name(PARTIAL_PREFIX + uuid.uuid4().hex)

    def copy() -> None:
        file_system.get_file(path, str(unfinished))
        arrived = unfinished.stat().st_size
        if size is not None and arrived != size:
            raise ConnectionError(f"{arrived:,} of {size:,} bytes arrived")

    try:
        _retried(url, copy)
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


def _open(url: str) -> tuple[Any, str]:
    """Return (file system, path in it). UserError: fsspec or the package for this kind of URL is not installed."""
    scheme = url.partition("://")[0]
    try:
        return _file_system(scheme), url
    except ImportError as error:
        raise UserError(f"{scheme}:// needs packages that are not installed: {EXTRA}") from error
    except Exception as error:  # such as a setting in the environment that the package rejects
        raise UserError(f"cannot read {scheme}:// ({_reason(error)})") from error


@lru_cache
def _file_system(scheme: str) -> Any:
    import fsspec  # an extra

    settings: dict[str, object] = {"use_listings_cache": False}
    if scheme in ("http", "https"):
        import aiohttp

        settings["client_kwargs"] = {
            "timeout": aiohttp.ClientTimeout(sock_connect=READ_TIMEOUT / 3, sock_read=READ_TIMEOUT)
        }
    elif scheme in ("s3", "s3a"):
        settings["config_kwargs"] = {"connect_timeout": READ_TIMEOUT / 3, "read_timeout": READ_TIMEOUT}
    return fsspec.filesystem(scheme, **settings)


def _retried(url: str, request: Callable[[], Answer]) -> Answer:
    """Return the result of a request, which is retried a few times if the network fails. UserError: all tries fail."""
    for attempt in range(TRIES):
        try:
            return request()
        except Exception as raised:  # each kind of file system raises different errors
            error = _cause(raised)
            if isinstance(error, FileNotFoundError) or getattr(error, "status", None) == HTTPStatus.NOT_FOUND:
                raise RefusedError(f"there is nothing at {url}") from error
            if isinstance(error, PermissionError):
                sentence = f"{url} cannot be accessed ({_reason(error)}): check the credentials of this machine"
                raise RefusedError(sentence) from error
            if isinstance(error, OSError) and error.filename is not None:  # an error of the local disk
                raise error from None
            if _is_final(error):
                raise RefusedError(f"cannot read {url} ({_reason(error)})") from error
            if attempt == TRIES - 1:
                raise UserError(f"cannot read {url} after {TRIES} attempts ({_reason(error)})") from error
            time.sleep(FIRST_PAUSE * 2**attempt)
    raise AssertionError("a request either answers or raises")


def _cause(error: Exception) -> Exception:
    """Return the original error: fsspec reports every failure of a web server as a missing file."""
    cause = error.__cause__
    foreign = type(cause).__module__.partition(".")[0] in ("aiohttp", "asyncio")
    return cause if foreign and isinstance(cause, Exception) and isinstance(error, FileNotFoundError) else error


def _is_final(error: Exception) -> bool:
    """Return whether retrying is pointless: credentials are missing, or the server rejects the request."""
    status = getattr(error, "status", None)
    refused = isinstance(status, int) and 400 <= status < 500 and status not in (408, 429)
    return refused or "Credentials" in type(error).__name__ or isinstance(error, ValueError | TypeError)


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    return text or type(error).__name__
