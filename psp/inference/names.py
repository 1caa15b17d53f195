"""The photos of a folder, and a name for each of their results."""

import os
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from stylegan2.runtime.errors import UserError
from stylegan2.runtime.image_files import list_folder


def list_photos(source: Path, results: Sequence[Path] = ()) -> list[Path]:
    """List the image files of a folder, without those that lie under `results`, or the one image that `source` is.

    What was found, and what was passed over, is printed by kind where it is not all alike.

    Raises:
        UserError: There is no such folder, or no image in it.
    """
    if source.is_file():
        if zipfile.is_zipfile(source):
            raise UserError(f"{str(source)!r} is a zip file: unpack it and give its folder")
        return [source]
    if not source.is_dir():
        raise UserError(f"there is no folder {str(source)!r} of images")
    listing = list_folder(source)
    own = [os.path.realpath(path) for path in results]
    listing.names = [name for name in listing.names if not _under(os.path.realpath(source / name), own)]
    if not listing.names:
        raise UserError(f"the folder {str(source)!r} holds no images: {listing.describe() or 'it is empty'}")
    listing.say(source)
    return [source / name for name in listing.names]


class Names:
    """Give each picture an output name, such that no output overwrites another, even on a disk that ignores case.

    `a/x.jpg` becomes `a/x`. If `a/x.png` is there too, they become `a/x_jpg` and `a/x_png`. Further faces of a photo
    are `a/x_face1`, `a/x_face2` ..., and several outputs of a face `a/x_mix0`, `a/x_mix1` ... The names depend only on
    the files and on the number of faces in each.

    Args:
        files: All files of the run.
        root: Names are relative to this folder.
        reserved: Names that are taken already.
    """

    def __init__(self, files: Iterable[Path], root: Path, reserved: Iterable[str] = ()) -> None:
        relative = {file: Path(os.path.relpath(file, root)) for file in files}
        # A result must not take the name of a folder that is needed: `b.jpg` beside a folder `b.png`.
        self.taken = {_key(parent) for path in relative.values() for parent in path.parents}
        self.taken.update(_key(Path(name + ".png")) for name in reserved)
        wanted: dict[str, list[Path]] = {}
        for file, path in relative.items():
            wanted.setdefault(_key(path.with_suffix(".png")), []).append(file)
        self.of_file: dict[Path, str] = {}
        alone = [group[0] for group in wanted.values() if len(group) == 1]
        shared = [file for group in wanted.values() if len(group) > 1 for file in group]
        for file in alone:
            self.of_file[file] = self._take(relative[file].with_suffix(""))
        for file in shared:
            path = relative[file]
            self.of_file[file] = self._take(path.with_name(f"{path.stem}_{path.suffix[1:].lower()}"))

    def of_face(self, file: Path, index: int) -> str:
        """Return the name of the face `index` of a file; the largest face bears the file's name."""
        name = self.of_file[file]
        return name if index == 0 else self._take(Path(f"{name}_face{index}"))

    def of_outputs(self, name: str, count: int) -> list[str]:
        """Return the names of the outputs of a face."""
        return [name] if count == 1 else [self._take(Path(f"{name}_mix{k}")) for k in range(count)]

    def _take(self, path: Path) -> str:
        candidate, number = path.as_posix(), 1
        while _key(Path(candidate + ".png")) in self.taken:
            number += 1
            candidate = f"{path.as_posix()}_{number}"
        self.taken.add(_key(Path(candidate + ".png")))
        return candidate


def _under(path: str, folders: Sequence[str]) -> bool:
    return any(path == folder or path.startswith(folder + os.sep) for folder in folders)


def _key(path: Path) -> str:
    return path.as_posix().casefold()
