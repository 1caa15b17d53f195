"""Listing of the photos of a folder, and names for their results."""

import os
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from stylegan2.runtime.errors import UserError
from stylegan2.runtime.image_files import list_folder
from stylegan2.runtime.output_names import UsedPaths, file_name, key, relative_path


def list_photos(source: Path, results: Sequence[Path] = ()) -> list[Path]:
    """List the image files of a folder.

    If some files are skipped or the images are of several kinds, the number of files of each kind is printed.

    Args:
        source: A folder, or one image.
        results: Files and folders of earlier results, which are left out.

    Raises:
        UserError: There is no such folder, or it contains no images.
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
        raise UserError(f"the folder {str(source)!r} contains no images: {listing.summary() or 'it is empty'}")
    listing.print_summary(source)
    return [source / name for name in listing.names]


class Names:
    """Names of outputs, chosen such that no output overwrites another, even on a disk that ignores case.

    `a/x.jpg` becomes `a/x`. If there is also `a/x.png`, the names are `a/x_jpg` and `a/x_png`. Further faces of a photo
    are `a/x_face1`, `a/x_face2` ..., and several outputs of a face are `a/x_mix0`, `a/x_mix1` ... The names depend only
    on the files and on the number of faces in each. Characters that a file system may not accept are replaced (see
    `stylegan2.runtime.output_names`).

    Args:
        files: All files of the run.
        root: Folder to which the names are relative.
        reserved: Names that are already in use.
    """

    def __init__(self, files: Iterable[Path], root: Path, reserved: Iterable[str] = ()) -> None:
        relative = {file: Path(os.path.relpath(file, root)) for file in files}
        plain = {file: relative_path(path.with_suffix("")) for file, path in relative.items()}
        self.taken = UsedPaths(name + ".png" for name in reserved)
        # A result must not have the name of a folder that is needed, as with a photo `b.jpg` next to a folder `b.png`.
        self.taken.add_folders(plain.values())
        wanted: dict[str, list[Path]] = {}
        for file, name in plain.items():
            wanted.setdefault(key(name), []).append(file)
        self.of_file: dict[Path, str] = {}
        alone = [group[0] for group in wanted.values() if len(group) == 1]
        shared = [file for group in wanted.values() if len(group) > 1 for file in group]
        for file in alone:
            self.of_file[file] = self.taken.take(plain[file])
        for file in shared:
            self.of_file[file] = self.taken.take(f"{plain[file]}_{file_name(file.suffix[1:].lower())}")

    def of_face(self, file: Path, index: int) -> str:
        """Return the name of the face `index` of a file. The largest face, of index 0, has the name of the file."""
        name = self.of_file[file]
        return name if index == 0 else self.taken.take(f"{name}_face{index}")

    def of_outputs(self, name: str, count: int) -> list[str]:
        """Return the names of `count` outputs of the face `name`."""
        return [name] if count == 1 else [self.taken.take(f"{name}_mix{k}") for k in range(count)]


def _under(path: str, folders: Sequence[str]) -> bool:
    return any(path == folder or path.startswith(folder + os.sep) for folder in folders)
