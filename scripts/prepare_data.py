"""Pack photos for training: python scripts/prepare_data.py --data_path FOLDER --out FILE.zip --resolution 256"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import options.process  # noqa: F401

# isort: split

from datasets.folder import ImageFiles
from datasets.labels import read_labels
from datasets.people import keep_part
from datasets.prepare import Recipe, prepare_folder, report
from options.parse import parse, run
from options.prepare_data import PrepareData


def main() -> int:
    o = parse(PrepareData)
    files = ImageFiles(o.data_path)
    keep_part(files, o.part)
    names = [files.relative(index) for index in range(len(files))]
    labels = None if o.labels is None else read_labels(o.labels, names)
    min_side = o.resolution if o.min_side is None else o.min_side
    recipe = Recipe(o.resolution, o.channels, o.crop, min_side, o.max_aspect)
    return report(prepare_folder(files, o.out, recipe, labels, o.keep_duplicates, o.workers), o.out, recipe)


if __name__ == "__main__":
    run(main)
