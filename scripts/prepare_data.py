"""Pack images for training.

python scripts/prepare_data.py --data_path FOLDER --out FILE.zip --resolution 256
python scripts/prepare_data.py --synthetic 50000 --out FILE.zip --resolution 256
"""

import _start  # noqa: F401

# isort: split

from pathlib import Path

from datasets.folder import ImageFiles
from datasets.labels import read_labels
from datasets.people import keep_part
from datasets.prepare import Outcome, Recipe, prepare_faces, prepare_folder, summarize
from datasets.synthetic import HELD_OUT_SEED, TRAINING_SEED, SyntheticFaces
from options.commands.prepare_data import PrepareData
from options.parse import run


def main(o: PrepareData) -> int:
    min_side = o.resolution if o.min_side is None else o.min_side
    recipe = Recipe(o.resolution, o.channels, o.crop, min_side, o.max_aspect)
    outcome = pack_faces(o, o.synthetic) if o.data_path is None else pack_photos(o, o.data_path, recipe)
    return summarize(outcome, o.out, recipe)


def pack_photos(o: PrepareData, data_path: Path, recipe: Recipe) -> Outcome:
    files = ImageFiles(data_path)
    keep_part(files, o.part)
    names = [files.relative(index) for index in range(len(files))]
    labels = None if o.labels is None else read_labels(o.labels, names)
    return prepare_folder(files, o.out, recipe, labels, o.keep_duplicates, o.workers)


def pack_faces(o: PrepareData, count: int) -> Outcome:
    seed = HELD_OUT_SEED if o.part == "held_out" else TRAINING_SEED
    return prepare_faces(SyntheticFaces(o.resolution, seed, count), o.out, o.workers)


if __name__ == "__main__":
    run(main, PrepareData)
