"""Pack images into a data set for training.

python scripts/prepare_data.py --data_path FOLDER --out FILE.zip --resolution 256
python scripts/prepare_data.py --synthetic 50000 --out FILE.zip --resolution 256

Several processes share the work: torchrun --nproc_per_node=N scripts/prepare_data.py ...
"""

import _start  # noqa: F401

# isort: split

from pathlib import Path

from datasets.folder import ImageFiles, open_files
from datasets.labels import DATASET_JSON, read_labels
from datasets.people import keep_part
from datasets.prepare import Outcome, Recipe, prepare_faces, prepare_folder, summarize
from datasets.shards import ShardFiles
from datasets.synthetic import HELD_OUT_SEED, TRAINING_SEED, SyntheticFaces
from options.commands.prepare_data import PrepareData
from options.parse import run
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.work_group import WorkGroup, join_group


def main(o: PrepareData) -> int:
    min_side = o.resolution if o.min_side is None else o.min_side
    recipe = Recipe(o.resolution, o.channels, o.crop, min_side, o.max_aspect)
    group = join_group()
    outcome = pack_faces(o, o.synthetic, group) if o.data_path is None else pack_photos(o, o.data_path, recipe, group)
    return 0 if outcome is None else summarize(outcome, o.out, recipe)


def pack_photos(o: PrepareData, data_path: Path, recipe: Recipe, group: WorkGroup) -> Outcome | None:
    """Pack a folder, zip or shards of photos, and return the outcome in the first process, else None."""
    files = open_files(data_path)
    keep_part(files, o.part)
    names = [files.relative(index) for index in range(len(files))]
    labels = None if o.labels is None else given_labels(o.labels, files, names)
    if labels is None and files.dataset_json() is not None:
        print(f"the labels in {DATASET_JSON} of {data_path} are left out: --labels {DATASET_JSON} keeps them")
    return prepare_folder(files, o.out, recipe, labels, o.keep_duplicates, o.workers, group, o.shards)


def given_labels(source: str, files: ImageFiles | ShardFiles, names: list[str]) -> dict[str, str | tuple[float, ...]]:
    """Read labels from the user's file `source`, or from the dataset.json among the photos.

    Returns:
        {name of a photo: its class, or its vector of numbers}.

    Raises:
        UserError: There is no dataset.json with labels, or the file cannot be read.
    """
    if source != DATASET_JSON or Path(source).exists():
        return read_labels(source, names)
    own = files.labels() if isinstance(files, ShardFiles) or files.dataset_json() is not None else None
    if own is None:
        raise UserError(f"there is no {DATASET_JSON} with labels, neither here nor in {files.path}")
    given = {name: label for name, label in zip(names, own, strict=True) if label is not None}
    return {name: label if isinstance(label, tuple) else str(label) for name, label in given.items()}


def pack_faces(o: PrepareData, count: int, group: WorkGroup) -> Outcome | None:
    """Render and pack procedural faces, and return the outcome in the first process, else None."""
    seed = HELD_OUT_SEED if o.part == "held_out" else TRAINING_SEED
    return prepare_faces(SyntheticFaces(o.resolution, seed, count), o.out, o.workers, group, o.shards)


if __name__ == "__main__":
    run(main, PrepareData, shares=True)
