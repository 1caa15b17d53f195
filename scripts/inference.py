"""Translate photos: python scripts/inference.py --data_path FOLDER --exp_dir OUT [--checkpoint_path MODEL]

Several processes share the work: torchrun --nproc_per_node=N scripts/inference.py ...
"""

import _start  # noqa: F401

# isort: split

import contextlib
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from datasets.tasks import Task, task_of
from options.commands.inference import Inference
from options.parse import run
from options.results import record_for
from options.tasks import given_settings
from psp import PSp
from psp.evaluation.methods import digest_of_tensors
from psp.inference.names import list_photos
from psp.inference.photos import Photo, build_reader, read_photos
from psp.inference.report import Pending, Report, own_outputs
from psp.inference.translate import translate
from psp.inference.translated_folder import TranslatedFolder, summarize
from psp.loading import load
from psp.mixing import Variants
from stylegan2 import save_generator
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import to_uint8
from stylegan2.runtime.progress import Progress, write_line
from stylegan2.runtime.randomness import seed_step
from stylegan2.runtime.remote import local
from stylegan2.runtime.work_group import join_group

WRITES = ("manifest.json", "latents.npz", "contact_sheet*", "inference_*", "generators")
FREE_SETTINGS = ("device", "tune_malloc", "workers", "exp_dir", "data_path", "test_batch_size")
"""settings on which the result for a photo does not depend"""
WITHOUT_FACES = 3
NO_FACES = (
    f"the first {WITHOUT_FACES} photos show no face: give --no_align for pictures that are aligned already or that show"
    " no faces"
)


def translate_photos(
    model: PSp,
    task: Task,
    photos: Iterable[Photo],
    report: Report,
    o: Inference,
    device: torch.device,
    progress: Progress,
) -> None:
    """Translate photos in batches, while the next ones are read, and write the results to the report."""
    waiting: deque[tuple[Pending, bool]] = deque()  # (portrait in the networks, whether it is the last of its photo)

    def sources() -> Iterator[Tensor]:
        statuses: list[str] = []
        for photo in photos:
            pendings = report.add(photo)
            statuses.append(photo.status)
            if statuses == ["no_face"] * WITHOUT_FACES:
                write_line(NO_FACES)
            progress.update(not pendings)
            for pending in pendings:
                waiting.append((pending, pending is pendings[-1]))
                yield pending.portrait.source

    mixing, refinement = o.multi_modal.mixing(o.seed), o.optimisation.refinement(o.seed)
    batches = translate(model, sources(), o.test_batch_size, device, o.noise_mode, mixing, refinement, o.precision)
    for batch in batches:
        count = len(batch.images) // o.multi_modal.n_outputs
        pictures = np.split(to_uint8(batch.images), count)  # [K, R, R, C] for each source
        for n, (outputs, codes) in enumerate(zip(pictures, batch.codes.split(o.multi_modal.n_outputs), strict=True)):
            pending, is_last = waiting.popleft()
            portrait = pending.portrait
            finished = [task.finish(picture, portrait.picture, portrait.source.numpy()) for picture in outputs]
            if o.optimisation.save_generators:
                path = o.exp_dir / "generators" / f"{pending.name}.safetensors"
                save_generator(path, batch.generators[n], {"pivotal_steps": o.optimisation.pivotal})
            report.write(pending, finished, codes, batch.seconds / count)  # last, because it completes the record
            progress.update(is_last)


def main(o: Inference) -> int:
    group = join_group()
    device = group.device(o.prepare())
    record = record_for(o, "inference", writes=WRITES, free=("test_batch_size", "couple_outputs"), marks=WRITES[:1])
    seed_step(o.seed, group.rank, 0)
    o = replace(o, data_path=local(o.data_path))
    files = list_photos(o.data_path, own_outputs(o.exp_dir))
    model, metadata = load(o.checkpoint_path)
    if o.iterations is not None:
        model.iterations = o.iterations
    if o.conjugate_steps is not None:
        model.conjugate_steps = o.conjugate_steps
    encoder, generator = model.encoder, model.generator
    task = task_of(metadata, encoder.input_channels, **given_settings(o.task_settings, "inference"))
    o.optimisation.check_task(task.inverts)
    if o.conjugate_steps and not task.inverts:
        raise UserError(
            "--conjugate_steps makes an output more similar to its source, so it needs a model of the inversion task"
        )
    Variants.draw(generator, o.multi_modal.mixing(o.seed))  # reports an invalid mask before any work is done
    size, every_face = generator.img_resolution, o.faces == "all"
    of_faces = metadata.get("faces", True)
    aligning = task.aligns and of_faces if o.align is None else o.align
    if not of_faces and o.align is None:
        shape = "square" if encoder.aspect == 1.0 else f"part, {encoder.aspect:g} as high as wide,"
        print(
            f"the model is not of faces, so faces are not searched for; the middle {shape} of each photo is used: "
            "--no_align --crop pad uses the whole photo"
        )
    if o.paste_back and not aligning:
        raise UserError("--paste_back needs faces that are cut out of photos, but this model is not of faces")
    sides, pads = (encoder.input_size, size), o.crop == "pad"
    reader = build_reader(task, *sides, aligning, o.detector, every_face, pads, encoder.aspect)
    root = o.data_path if o.data_path.is_dir() else o.data_path.parent
    started = time.perf_counter()
    record.write()
    group.check_folder(o.exp_dir)
    key = [{k: v for k, v in record.settings.items() if k not in FREE_SETTINGS}, digest_of_tensors(model.state_dict())]
    results = TranslatedFolder(o.exp_dir, files, root, tuple(model.latent_avg.shape), key)
    todo = results.todo(group, o.overwrite)
    if len(todo) < len(files):
        print(f"{len(files) - len(todo)} of {len(files)} photos are translated already")
    at_once = max(1, min(o.test_batch_size, len(todo) // (2 * group.size)))
    dealt = (files[todo[place]] for place in group.deal("photos", len(todo), at_once))
    total = len(todo) if group.is_alone else None
    options = (o.couple_outputs, o.multi_modal.n_outputs, o.paste_back)
    try:
        with results.journal() as journal, Progress(total, "translating", "photo") as progress:
            report = Report(o.exp_dir, results.names, root, journal, *options)
            translate_photos(model, task, read_photos(dealt, reader, o.workers), report, o, device, progress)
    except BaseException:
        if group.is_alone:  # after an interruption, the report lists what has been done
            with contextlib.suppress(OSError, UserError):  # only the first error is reported
                results.join(todo)
        raise
    lost = group.finish()
    return summarize(results.join(todo), o.exp_dir, time.perf_counter() - started, lost) if group.is_first else 0


if __name__ == "__main__":
    run(main, Inference, shares=True)
