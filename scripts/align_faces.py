"""Align a folder of photos: python scripts/align_faces.py --data_path FOLDER --exp_dir OUT [--landmarks FILE]

Several processes share the work: torchrun --nproc_per_node=N scripts/align_faces.py ...
"""

import _start  # noqa: F401

# isort: split

from dataclasses import replace

from options.commands.align_faces import AlignFaces
from options.parse import run
from options.results import record_for
from psp.inference.aligned_folder import MANIFEST, Aligner, DetectedFaces, GivenFaces, align_folder, summarize
from psp.inference.detect import SEARCH_SIDES, build_detector
from psp.inference.landmarks import read_landmarks
from psp.inference.names import list_photos
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.remote import local
from stylegan2.runtime.work_group import join_group


def face_source(o: AlignFaces, names: set[str]) -> DetectedFaces | GivenFaces:
    """Choose the source of the faces: a detector, or a file of landmarks.

    Raises:
        UserError: The file of landmarks contains none of the `names` of the photos.
    """
    if o.landmarks is None:
        sides = SEARCH_SIDES[-1:] if o.faces == "all" else SEARCH_SIDES
        return DetectedFaces(build_detector(o.detector, sides), o.faces == "all", o.detector)
    given = read_landmarks(o.landmarks)
    if not names & given.keys():
        raise UserError(
            f"{str(o.landmarks)!r} contains none of the photos: its names begin with "
            f"{next(iter(given))!r}, those of the photos with {min(names)!r}"
        )
    if unknown := given.keys() - names:
        print(f"{len(unknown)} files in {o.landmarks} are not among the photos, such as {min(unknown)}")
    return GivenFaces(given)


def main(o: AlignFaces) -> int:
    group = join_group()
    record = record_for(o, "align_faces", fixed=("data_path",), marks=(MANIFEST,))
    o = replace(o, data_path=local(o.data_path))
    files = list_photos(o.data_path, [o.exp_dir])
    root = o.data_path if o.data_path.is_dir() else o.data_path.parent
    names = {file.relative_to(root).as_posix() for file in files}
    aligner = Aligner(root, o.output_size, face_source(o, names))
    record.write()
    group.check_folder(o.exp_dir)
    summary = align_folder(files, aligner, o.exp_dir, o.workers, group)
    return 0 if summary is None else summarize(summary, o.exp_dir)


if __name__ == "__main__":
    run(main, AlignFaces, shares=True)
